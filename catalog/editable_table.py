"""A shipped table with the user's file laid over it, read again when that file has changed."""

from __future__ import annotations

import logging
import time as clocks
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from lake.errors import SettingsError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_EVERY_S = 1.0
"""How often at most the user's file is looked at: soon enough for a person, seldom enough for the writer."""

_Stamp = tuple[int, int] | None


class EditableTable(Generic[T]):
    """What the tables say, as of a second ago at most.

    A line counts at once in whatever runs, the recorder and the monitor too. A file that is no longer valid
    changes nothing and is told of in the log, once.
    """

    def __init__(
        self,
        read: Callable[[Path | None], T],
        extra: Path | None,
        clock: Callable[[], float] = clocks.monotonic,
    ) -> None:
        """Read the tables.

        Args:
            read: Reads the shipped table and, laid over it, the file it is given.
            extra: The user's file; it need not exist, now or ever.
            clock: Seconds that pass.

        Raises:
            SettingsError: A line is not valid; the message names file and line.
        """
        self._read, self._extra, self._clock = read, extra, clock
        self._look_next = clock() + _LOOK_EVERY_S
        self._stamp = self._told = _stamp(extra)
        self._said = read(extra)
        self._version = 0

    @property
    def version(self) -> int:
        """How often the user's file was read again: who keeps what the tables said looks whether it moved."""
        self.newest()
        return self._version

    def newest(self) -> T:
        """Return what the tables say; it does not change, a later call may return another."""
        if self._extra is not None and self._clock() >= self._look_next:
            self._look_again(self._extra)
        return self._said

    def _look_again(self, extra: Path) -> None:
        """Read the user's file if it has changed; threads that ask meanwhile have what was said before."""
        self._look_next = self._clock() + _LOOK_EVERY_S
        stamp = _stamp(extra)
        if stamp == self._stamp:
            return
        try:
            self._said = self._read(extra)
        except SettingsError as error:
            # A file that could not even be read, since its editor has it locked, may be there in a second.
            if not isinstance(error.__cause__, OSError):
                self._stamp = stamp
            if stamp != self._told:
                self._told = stamp
                problem = "table was changed and is not valid; what it said before stays in force"
                logger.error(problem, extra={"action": "read", "error": str(error)})  # noqa: TRY400
            return
        self._stamp = self._told = stamp
        self._version += 1
        logger.info("table was changed and read again", extra={"action": "read", "file": str(extra)})


def _stamp(extra: Path | None) -> _Stamp:
    """What tells one state of a file from another; None for a file that is not there."""
    try:
        state = extra.stat() if extra is not None else None
    except OSError:
        return None
    return None if state is None else (state.st_mtime_ns, state.st_size)
