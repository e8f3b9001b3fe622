"""Databases that serving tables are exported to, and what stands in them, read by their own drivers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from catalog_databases import PostgresDatabase

from catalog.export_duckdb import DuckDbTarget
from catalog.export_sql import SqlTarget

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class SqliteExport:
    file: Path

    def target(self) -> SqlTarget:
        return SqlTarget(f"sqlite:///{self.file.as_posix()}")

    def words(self) -> list[str]:
        return ["--to", "sqlite", "--path", str(self.file)]

    def tables(self) -> set[str]:
        return {row["name"] for row in self.run("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def rows(self, table: str) -> Rows:
        return self.run(f"SELECT * FROM {table}")

    def run(self, sql: str) -> Rows:
        db = sqlite3.connect(self.file)
        try:
            found = db.execute(sql)
            names = [column[0] for column in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
            db.commit()
        finally:
            db.close()
        return rows


@dataclass(frozen=True)
class DuckDbExport:
    file: Path

    def target(self) -> DuckDbTarget:
        return DuckDbTarget(self.file)

    def words(self) -> list[str]:
        return ["--to", "duckdb", "--path", str(self.file)]

    def tables(self) -> set[str]:
        return {row["table_name"] for row in self.run("SELECT table_name FROM duckdb_tables()")}

    def rows(self, table: str) -> Rows:
        return self.run(f"SELECT * FROM {table}")

    def run(self, sql: str) -> Rows:
        reading = self.file.exists() and sql.startswith("SELECT")
        with duckdb.connect(str(self.file), read_only=reading) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            relation = connection.sql(sql)
            return [] if relation is None else relation.to_arrow_table().to_pylist()


@dataclass(frozen=True)
class PostgresExport:
    database: PostgresDatabase

    def target(self) -> SqlTarget:
        return SqlTarget(self.database.url)

    def words(self) -> list[str]:
        """The URL has a password: it is in the environment."""
        return ["--to", "postgres"]

    def tables(self) -> set[str]:
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        return {row["table_name"] for row in self.run(sql)}

    def rows(self, table: str) -> Rows:
        return self.run(f"SELECT * FROM {table}")

    def run(self, sql: str) -> Rows:
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(self.database.url, autocommit=True) as connection:
            found = connection.cursor(row_factory=dict_row).execute(sql)
            return found.fetchall() if found.description else []


Export = SqliteExport | DuckDbExport | PostgresExport
EXPORTS = ("sqlite", "duckdb", "postgres")


def export_to(folder: Path, request: pytest.FixtureRequest) -> Export:
    """The target that a fixture with `EXPORTS` as its parameters is asked for, files in that folder."""
    if request.param == "sqlite":
        return SqliteExport(folder / "serving.sqlite")
    if request.param == "duckdb":
        return DuckDbExport(folder / "serving.duckdb")
    return PostgresExport(request.getfixturevalue("postgres_database"))


def comparable(
    rows: Sequence[dict[str, Any]], *, names: Sequence[str] | None = None
) -> list[tuple[Any, ...]]:
    """Rows in one form, whatever the database has for times, dates and truth, in one order."""
    plain = [
        tuple((name, _plain(row[name])) for name in sorted(names if names is not None else row))
        for row in rows
    ]
    return sorted(plain, key=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return int(value)
    return f"{value:.9g}" if isinstance(value, float) else value
