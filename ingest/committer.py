"""Commit a spool to the Delta tables: one commit a table and micro-batch, exactly once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from sqlalchemy import Engine

from catalog import flag_counts
from catalog.batches import sync
from catalog.contracts import CAPTURED, Contract
from catalog.database import open_database
from ingest.events import CHAIN_TABLE
from lake.append import append, sync_log
from lake.errors import (
    CatalogUnavailableError,
    DamagedTableError,
    SchemaMismatchError,
    SettingsError,
    StrikelakeError,
)
from lake.log_recovery import recover_log
from lake.process_lock import ProcessLock
from lake.settings import Settings
from lake.spool import Spool, SpooledRows
from lake.table import Lake, open_table

logger = logging.getLogger(__name__)

MICRO_BATCH_ROWS = 1_000_000
"""Rows of one commit at most, so that memory is bounded after a long stand-still."""

MICRO_BATCH_BYTES = 128_000_000
"""Spooled (compressed) bytes of one commit at most, for the same reason."""


@dataclass(slots=True)
class FlushResult:
    """What one flush did.

    Attributes:
        rows: Rows committed, by table.
        versions: New versions, by table.
        mirrored: False if the catalog could not be reached; the next flush catches up.
    """

    rows: dict[str, int] = field(default_factory=dict)
    versions: dict[str, list[int]] = field(default_factory=dict)
    mirrored: bool = True


class Committer:
    """Takes whole entries from one spool, commits them, mirrors the log, and only then forgets them.

    A crash between any two steps is finished by the next flush: entries whose sequence the Delta log
    already has are cleared without being written again. Use it from one thread.
    """

    def __init__(self, settings: Settings, *, app_id: str | None = None) -> None:
        """Become the one committer of an app's spool and create the tables that are not there.

        Raises:
            StreamInUseError: Another process commits this spool.
            SpoolUnavailableError: The spool cannot be opened.
            DamagedTableError: A table cannot be created.
        """
        self.app_id = app_id or settings.app_id
        self.lake: Lake = settings.lake
        self._catalog_url = settings.catalog
        self._engine: Engine | None = None
        self._mirror_is_behind = False
        self._lock = ProcessLock(
            self.lake.spools / f"{self.app_id}.commit.lock", role=f"committer of app id {self.app_id!r}"
        )
        try:
            self._paths: dict[str, Path] = {}
            for name, contract in CAPTURED.items():
                self._paths[name] = self.lake.create(contract.spec)
                recover_log(self.lake, self._paths[name], spec=contract.spec)
            self._synced: dict[str, int] = {}
            self._spool = Spool(self.lake.spools / f"{self.app_id}.db")
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let the next committer in."""
        self._spool.close()
        if self._engine is not None:
            self._engine.dispose()
        self._lock.release()

    def flush(self, *, progress: Callable[[int], None] | None = None) -> FlushResult:
        """Commit everything that is spooled now.

        Args:
            progress: Called with the rows just committed.

        Raises:
            CommitConflictError: Another writer of this stream won; flush again.
            CommitStateUnknownError: A commit may have landed; flush again finds out.
            DamagedTableError: A table cannot be read or written.
            SpoolUnavailableError: The spool is locked or its disk failing; flush again.
            OSError: The disk of the lake is full or failing; flush again.
        """
        result = FlushResult()
        newest = self._spool.newest()
        failures: list[StrikelakeError | OSError] = []
        if self._mirror_is_behind:
            self._mirror(result)
        for table in self._spool.tables():
            try:
                while self._commit_one(table, result, progress, newest):
                    pass
            except (StrikelakeError, OSError) as error:
                # One table that cannot be written must not hold up the others.
                if failures:
                    logger.error(  # noqa: TRY400 - only the first is raised below
                        "micro-batch not committed",
                        extra={"action": "commit", "table": table, "error": str(error)},
                    )
                failures.append(error)
        if failures:
            raise failures[0]
        return result

    def _commit_one(
        self, table: str, result: FlushResult, progress: Callable[[int], None] | None, newest: int
    ) -> bool:
        """Commit one micro-batch of a table; False if nothing was waiting when the flush began."""
        started, cpu = time.perf_counter(), time.process_time()
        path, contract = self._paths[table], CAPTURED[table]
        handle = self._open(table)
        committed = handle.transaction_version(self._spool.stream)
        oldest = self._spool.oldest(table)
        if committed is not None and oldest is not None and oldest <= committed:
            # An earlier run died between its commit and its clearing, perhaps before the commit was synced.
            sync_log(path, after=self._synced.get(table), through=handle.version(), rewrite=True)
            self._spool.clear(table, committed)
            logger.warning(
                "resumed after a commit that was not cleared",
                extra={"action": "resume", "table": table, "sequence": committed},
            )
            self._mirror(result)
        waiting = self._spool.waiting(table, limit_rows=MICRO_BATCH_ROWS, limit_bytes=MICRO_BATCH_BYTES)
        # What came in since is the next flush's: a slow disk would else turn this one into an endless row
        # of tiny commits.
        if waiting is None or waiting.first > newest:
            return False
        batch_id = self._spool.batch_id(waiting.last)
        commit = append(
            path,
            contract.spec,
            _with_batch_id(waiting, contract, batch_id, [f.name for f in handle.schema().fields]),
            stream=self._spool.stream,
            sequence=waiting.last,
            metadata={
                "batch_id": batch_id,
                "app_id": self.app_id,
                "seq_first": waiting.first,
                "seq_last": waiting.last,
                **_flag_counts(table, waiting.rows),
            },
            handle=handle,
            synced_through=self._synced.get(table),
        )
        if commit is not None:
            self._synced[table] = commit.version
        self._mirror(result)
        rows = self._spool.clear(table, waiting.last)
        if commit is not None:
            result.rows[table] = result.rows.get(table, 0) + rows
            result.versions.setdefault(table, []).append(commit.version)
        if progress:
            progress(rows)
        logger.info(
            "micro-batch committed",
            extra={
                "action": "commit", "table": table, "batch_id": batch_id, "rows": rows,
                "version": commit.version if commit else None, "entries": waiting.entries,
                "waited_s": round(time.time() - waiting.oldest_us / 1e6, 3),
                "wall_s": round(time.perf_counter() - started, 4),
                "cpu_s": round(time.process_time() - cpu, 4),
            },
        )  # fmt: skip
        return True

    def mirror(self) -> bool:
        """Follow the logs into the catalog, e.g. after maintenance; False if that could not be done."""
        result = FlushResult()
        self._mirror(result)
        return result.mirrored

    def _open(self, table: str) -> DeltaTable:
        """A fresh handle; a log that was damaged while we ran is mended first."""
        path = self._paths[table]
        try:
            return open_table(path)
        except DamagedTableError:
            recover_log(self.lake, path, spec=CAPTURED[table].spec)
            return open_table(path)

    def _mirror(self, result: FlushResult) -> None:
        """Follow the Delta logs into the catalog; the log has it all, so a failure only delays."""
        try:
            if self._engine is None:
                self._engine = open_database(self._catalog_url)
            sync(self.lake, self._engine, tables=CAPTURED)
            result.mirrored = True
            self._mirror_is_behind = False
        except (CatalogUnavailableError, DamagedTableError, SettingsError) as error:
            result.mirrored = False
            self._mirror_is_behind = True
            if self._engine is not None:
                # Opened anew the next time, with the schema made where somebody deleted the database.
                self._engine.dispose()
                self._engine = None
            logger.error("mirror is behind", extra={"action": "mirror", "error": str(error)})  # noqa: TRY400


def _flag_counts(table: str, rows: pa.Table) -> dict[str, object]:
    return {flag_counts.METADATA_KEY: flag_counts.flagged_rows(rows)} if table == CHAIN_TABLE else {}


def _with_batch_id(waiting: SpooledRows, contract: Contract, batch_id: str, columns: list[str]) -> pa.Table:
    """The rows in the order of the contract's columns, further features after them by name.

    Feature names are told apart without regard to case, as DuckDB does: `rsi` goes into the column `RSI`
    once there is one.

    Args:
        waiting: Rows from the spool.
        contract: The table's contract.
        batch_id: For the column of that name.
        columns: Columns the table has already.

    Raises:
        SchemaMismatchError: There are further columns, and the contract has no room for them.
    """
    rows = waiting.rows.append_column("batch_id", pa.repeat(batch_id, waiting.rows.num_rows))
    known = contract.schema.names
    further = sorted(set(rows.column_names) - set(known))
    if further and not contract.widens:
        raise SchemaMismatchError(f"{contract.table} has no column {', '.join(further)}")
    spelling = {name.casefold(): name for name in columns}
    features: dict[str, pa.ChunkedArray] = {}
    for name in further:
        column = spelling.setdefault(name.casefold(), name)
        values = rows.column(name)
        features[column] = pc.coalesce(features[column], values) if column in features else values
    for since in contract.columns:
        # Entries of an earlier version lack the columns that came since.
        if since.name not in rows.column_names and not since.required:
            rows = rows.append_column(since.name, pa.nulls(rows.num_rows, since.type))
    result = rows.select(known)
    for name in sorted(features):
        result = result.append_column(name, features[name])
    return result
