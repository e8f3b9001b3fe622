"""A DuckDB file as the target of an export, for Superset and whoever opens it read-only.

DuckDB lets one process write a file, or many read it. So an export never writes into the file that readers
have open: it writes into a copy and puts that in the file's place. Readers see the old content until they
open the file again, and never half of a new one.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from catalog.export import Mark, Partition, Writer
from catalog.serving import ServingTable
from lake.durability import fsync_directory, fsync_file
from lake.errors import ExportUnavailableError, SettingsError, StreamInUseError
from lake.process_lock import ProcessLock
from lake.snapshot import duckdb_type, literal, quote

MARKS = "strikelake_export"

_STORAGE = "v1.0.0"
"""Readers of any DuckDB from 1.0 on can open the file."""

_WAIT_S = 30.0
_CONFIG: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
_MARKS_SQL = (
    f"CREATE TABLE IF NOT EXISTS {MARKS} (table_name VARCHAR PRIMARY KEY, source_id VARCHAR NOT NULL, "
    "source_version BIGINT NOT NULL, commit_ms BIGINT NOT NULL, exported_at TIMESTAMPTZ NOT NULL)"
)


class DuckDbTarget:
    """A file; it is made by the first export."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet.

        Args:
            path: The file.
        """
        self.path = path
        self._draft = path.with_name(f".{path.name}.draft")
        self._connection: duckdb.DuckDBPyConnection | None = None

    def marks(self) -> Mapping[str, Mark]:
        """As `Target` says."""
        if not self.path.exists():
            return {}
        with self._mapped(), _connected(self.path, read_only=True) as connection:
            if not _has_table(connection, MARKS):
                return {}
            rows = connection.execute(
                f"SELECT table_name, source_id, source_version, commit_ms FROM {MARKS}"
            ).fetchall()
        return {name: Mark(source, version, commit_ms) for name, source, version, commit_ms in rows}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """As `Target` says: the file is replaced at the end, unless something goes wrong."""
        with self._mapped():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._lock()
        try:
            with self._mapped():
                self._forget_draft()  # of an export that was killed
                if self.path.exists():
                    shutil.copyfile(self.path, self._draft)
                with _connected(self._draft, read_only=False) as self._connection:
                    self._connection.execute(_MARKS_SQL)
                    yield
                    self._connection.execute("CHECKPOINT")
                fsync_file(self._draft)
                os.replace(self._draft, self.path)  # noqa: PTH105 - meant to replace
                fsync_directory(self.path.parent)
        finally:
            self._connection = None
            self._forget_draft()
            lock.release()

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """As `Target` says; within `writing`."""
        connection = self._connection
        if connection is None:
            raise RuntimeError("a transaction is made within writing()")
        with self._mapped():
            connection.execute("BEGIN")
            try:
                yield _Writer(connection, self.path)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    def _lock(self) -> ProcessLock:
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                return ProcessLock(
                    self.path.with_name(f".{self.path.name}.lock"), role=f"export to {self.path}",
                    hint="it brings the same rows",
                )  # fmt: skip
            except StreamInUseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _forget_draft(self) -> None:
        for path in (self._draft, self._draft.with_name(f"{self._draft.name}.wal")):
            path.unlink(missing_ok=True)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, OSError) as error:
            told = " ".join(str(error).split())
            raise ExportUnavailableError(f"export to {self.path}: {told}") from error


class _Writer:
    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def mark(self, table: str) -> Mark | None:
        row = self._connection.execute(
            f"SELECT source_id, source_version, commit_ms FROM {MARKS} WHERE table_name = $table",
            {"table": table},
        ).fetchone()
        return None if row is None else Mark(*row)

    def prepare(self, table: ServingTable, columns: pa.Schema) -> bool:
        name = table.name
        types = {field.name: duckdb_type(field.type) for field in columns}
        if not _has_table(self._connection, name):
            made = ", ".join(f"{quote(column)} {kind}" for column, kind in types.items())
            self._connection.execute(f"CREATE TABLE {quote(name)} ({made})")
            # Rows that were there went with the table.
            self._connection.execute(f"DELETE FROM {MARKS} WHERE table_name = $table", {"table": name})
            return False
        if self.mark(name) is None:
            raise SettingsError(f"{self._path} has a table {name} that no export made: use another file")
        there = {row[0] for row in self._connection.execute(f"DESCRIBE {quote(name)}").fetchall()}
        lacking = [column for column in types if column not in there]
        for column in lacking:
            self._connection.execute(f"ALTER TABLE {quote(name)} ADD COLUMN {quote(column)} {types[column]}")
        return not lacking

    def clear(self, table: str) -> None:
        self._connection.execute(f"DELETE FROM {quote(table)}")

    def delete(self, table: str, partition: Partition, batches: Sequence[str] | None) -> None:
        of_batches = "" if batches is None else " AND list_contains($batches, batch_id)"
        values: dict[str, object] = {"date": partition[0], "exchange": partition[1]}
        if batches is not None:
            values["batches"] = list(batches)
        self._connection.execute(
            f"DELETE FROM {quote(table)} WHERE date = $date AND exchange = $exchange{of_batches}", values
        )

    def delete_since(self, table: str, column: str, since: datetime) -> None:
        self._connection.execute(
            f"DELETE FROM {quote(table)} WHERE {quote(column)} >= $since", {"since": since}
        )

    def insert(self, table: str, rows: pa.Table) -> None:
        self._connection.register("new_rows", rows)
        try:
            self._connection.execute(f"INSERT INTO {quote(table)} BY NAME SELECT * FROM new_rows")
        finally:
            self._connection.unregister("new_rows")

    def set_mark(self, table: str, mark: Mark) -> None:
        self._connection.execute(
            f"INSERT OR REPLACE INTO {MARKS} VALUES ($table, $source, $version, $commit_ms, $now)",
            {
                "table": table, "source": mark.source_id, "version": mark.version,
                "commit_ms": mark.commit_ms, "now": datetime.now(UTC),
            },
        )  # fmt: skip


@contextmanager
def _connected(path: Path, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    # Through an attachment, since the form of storage can be said of one alone.
    connection = duckdb.connect(":memory:", config=_CONFIG)
    try:
        # A file that is there keeps the form it has.
        form = "" if path.exists() else f"(STORAGE_VERSION {literal(_STORAGE)})"
        how = "(READ_ONLY)" if read_only else form
        connection.execute(f"ATTACH {literal(str(path))} AS target {how}")
        connection.execute("USE target")
        yield connection
    finally:
        connection.close()


def _has_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    found = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'target' AND table_name = $name",
        {"name": name},
    ).fetchone()
    return bool(found and found[0])
