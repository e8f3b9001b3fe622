"""Databases that a catalog can live in, empty at first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres_server import PostgresServer

# A test that takes the fixture `database` runs on both; one with this mark, on SQLite alone.
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

_SOMEBODY_WAITS = """
    SELECT count(*) > 0 FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE NOT granted AND datname = current_database()
"""


@dataclass(frozen=True)
class SqliteDatabase:
    """A file that is not there yet."""

    file: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file.as_posix()}"

    def delete(self) -> None:
        """Lose it, as a user does who deletes the file."""
        self.file.unlink()


@dataclass(frozen=True)
class PostgresDatabase:
    """A database of a running server."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def delete(self) -> None:
        """Lose it, and make an empty one of that name."""
        self.server.drop_database(self.name)
        self.server.run(f"CREATE DATABASE {self.name}")

    def run(self, statement: str) -> None:
        """Run one statement as the owner."""
        self.server.run(statement, database=self.name)

    def wait_until_somebody_waits(self) -> None:
        """Wait until a connection to this database waits for a lock.

        Raises:
            AssertionError: None did within half a minute.
        """
        self.server.wait_for(_SOMEBODY_WAITS, database=self.name)


Database = SqliteDatabase | PostgresDatabase
