"""At most one process in a role: a lock that dies with its holder, on Windows and Linux alike.

It is an exclusive SQLite transaction on a file of its own: SQLite knows each system's file locks.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from lake.errors import SpoolUnavailableError, StreamInUseError


class ProcessLock:
    """Held from construction until `release`, or until the process ends.

    Raises:
        StreamInUseError: Somebody else holds it.
        SpoolUnavailableError: The lock file cannot be written: the folder is read-only, or the disk full.
    """

    def __init__(self, path: Path, *, role: str, hint: str = "stop it, or use another app id") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Half a second, so that somebody who only looks (`is_held`) is not taken for a holder.
            self._db = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise SpoolUnavailableError(f"lock {path}: {error}") from error
        try:
            self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._db.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise SpoolUnavailableError(f"lock {path}: {error}") from error
            raise StreamInUseError(f"another process already is the {role} (lock {path}); {hint}") from error

    def release(self) -> None:
        """Let the next one in; releasing twice does nothing."""
        self._db.close()


def is_held(path: Path) -> bool:
    """Whether some process holds the lock in this file, without taking it."""
    if not path.exists():
        return False
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=0, uri=True)
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            db.close()
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
    return False
