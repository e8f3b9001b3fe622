"""Ends a process that takes more memory than it may: not every system has a limit of its own for that."""

from __future__ import annotations

import subprocess
import threading
from types import TracebackType
from typing import Self

import psutil

LOOK_EVERY_S = 0.02
"""A processor fills some gigabytes a second: a process is beyond its limit by a few dozen MB at most."""


class MemoryWatch:
    """Looks at the resident memory of a process while the block runs, and kills it when it is too much.

    Attributes:
        killed: Whether it was.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, more_bytes: int) -> None:
        """Watch a process that runs.

        Args:
            process: The process.
            more_bytes: How much it may have beyond what it has now.
        """
        self._process = process
        self._more_bytes = more_bytes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="strikelake-memory", daemon=True)
        self.killed = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        try:
            watched = psutil.Process(self._process.pid)
            most = watched.memory_info().rss + self._more_bytes
            while not self._ended.wait(LOOK_EVERY_S):
                if watched.memory_info().rss > most:
                    self.killed = True
                    self._process.kill()
                    return
        except psutil.Error:
            return  # it has ended
