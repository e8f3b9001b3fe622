"""The command line within the test's own process: as a user's call, without the second that Python takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from typer.testing import CliRunner

from lake.cli import app


@dataclass(frozen=True)
class Called:
    """What a call printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str


def call(words: Sequence[str]) -> Called:
    """Call `strikelake` with some words; raises what is no exit."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    finally:
        # A call sets logging up for a stderr that is gone afterwards.
        root.handlers, root.level = handlers, level
    return Called(done.exit_code, done.stdout, done.stderr)
