"""A table that its user edits while something runs: a clock told to go on, a file whose state differs."""

from __future__ import annotations

import os
from pathlib import Path


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, text: str) -> None:
    """Write the file so that its state differs, also where a disk keeps whole seconds."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 2_000_000_000, before + 2_000_000_000))
