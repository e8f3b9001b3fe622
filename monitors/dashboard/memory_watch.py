"""Kills a process that takes more memory than it may: on every system, beside what that system limits."""

from __future__ import annotations

import subprocess
import threading

import psutil

_EVERY_S = 0.02
_IMPORTS_BYTES = 400_000_000
"""What a worker has before its statement begins: DuckDB, Arrow and polars, with room to spare."""

_BEYOND = 2
"""DuckDB's own limit comes first and says it better; as many times that is what it does not count."""


class MemoryWatch:
    """Looks at the resident memory of a process every 20 ms, in a thread of its own.

    A process that fills memory as fast as it can (about 2 GB/s) is some tens of megabytes further when it
    is seen.

    Attributes:
        exceeded: Whether it was killed for what it took.
    """

    def __init__(self, process: subprocess.Popen[bytes], allowed_bytes: int) -> None:
        """Nothing is watched yet.

        Args:
            process: Whom to watch.
            allowed_bytes: What its statement may take.
        """
        self.exceeded = False
        self._process = process
        self._limit = _IMPORTS_BYTES + _BEYOND * allowed_bytes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory of a statement", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; when it returns, nothing is killed any more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            there = psutil.Process(self._process.pid)
            while not self._stopped.wait(_EVERY_S):
                if _taken(there) > self._limit:
                    self.exceeded = True
                    self._process.kill()
                    return
        except psutil.NoSuchProcess:
            return  # it has ended by itself
        except psutil.Error:
            # What cannot be watched may not go on.
            self.exceeded = True
            self._process.kill()


def _taken(process: psutil.Process) -> int:
    memory = process.memory_info()
    # Windows: committed memory as well, since what was put into the page file is not resident.
    return max(int(memory.rss), int(getattr(memory, "pagefile", 0)))
