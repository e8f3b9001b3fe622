"""Lines brought into the order of their times, whatever the size of the file: they are sorted on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from ingest.sources.found_bytes import ERRORS, first_damage, found_bytes, replaced

_CACHE_KIB: Final = 16_384
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TimeSorted:
    """Takes lines in any order and gives them back by time.

    Lines of one time keep the order of their file, or, where its times fall more often than they rise, that
    order backwards: some recorders write the newest line first.

    Attributes:
        is_empty: Whether no line was taken yet.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._last_us: int | None = None
        self.is_empty = True
        self._rises = self._falls = 0

    def add(self, moment: datetime | None, text: str) -> None:
        """Take one line; None for one whose time cannot be read.

        Raises:
            OSError: There is no room for it.
        """
        moment_us = None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)
        if moment_us is not None:
            if self._last_us is not None:
                self._rises += moment_us > self._last_us
                self._falls += moment_us < self._last_us
            self._last_us = moment_us
        self.is_empty = False
        with _as_os_error():
            found = None if first_damage(text) is None else found_bytes(text)
            values = (moment_us, replaced(text), found)
            self._connection.execute("INSERT INTO line (moment_us, text, found) VALUES (?, ?, ?)", values)

    def lines(self) -> Iterator[tuple[object, str]]:
        """Yield what tells the time of a line from that of the next, and the line.

        Lines without a time come first, equal ones together; what tells one from the next is the line itself.

        Raises:
            OSError: There is no room to sort them.
        """
        direction = "DESC" if self._falls > self._rises else "ASC"
        with _as_os_error():
            for text, found in self._connection.execute(
                "SELECT text, found FROM line WHERE moment_us IS NULL ORDER BY text"
            ):
                yield text, _as_found(text, found)
            for moment_us, text, found in self._connection.execute(
                "SELECT moment_us, text, found FROM line WHERE moment_us IS NOT NULL"
                f" ORDER BY moment_us, number {direction}"
            ):
                yield moment_us, _as_found(text, found)


@contextmanager
def time_sorted() -> Iterator[TimeSorted]:
    """Open a sorter; what it holds on disk is gone when it is closed.

    Raises:
        OSError: There is no room for it.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        # A database without a name is a temporary file of SQLite's own, which nobody else opens.
        for pragma in (
            f"cache_size = -{_CACHE_KIB}",
            "journal_mode = OFF",
            "synchronous = OFF",
            "temp_store = FILE",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(
            "CREATE TABLE line"
            " (number INTEGER PRIMARY KEY, moment_us INTEGER, text TEXT NOT NULL, found BLOB)"
        )
        connection.execute("BEGIN")
        yield TimeSorted(connection)


def _as_found(text: str, found: bytes | None) -> str:
    return text if found is None else found.decode("utf-8", ERRORS)


@contextmanager
def _as_os_error() -> Iterator[None]:
    """A full disk is no fault of the file's content."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"its lines cannot be sorted: {error}") from error
