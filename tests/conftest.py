"""What every test shares: where the recordings are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "data"
_WHOLE = Path(os.environ.get("STRIKELAKE_RECORDINGS", Path(__file__).parents[2] / "shared" / "data" / "real"))


@pytest.fixture(scope="session")
def samples() -> Path:
    """Small cuts of real recordings, kept with the tests."""
    return SAMPLES


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The whole recordings where they are at hand, else the samples; both have the same folders."""
    return _WHOLE if _WHOLE.is_dir() else SAMPLES
