"""Append one micro-batch as one commit, exactly once.

Order of the steps, so that a crash or a power cut between any two leaves a state the next start
finishes: data files written and synced; one commit that names them together with the stream's
sequence; the commit synced. A batch whose sequence the log already has is not written again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction, RemoveAction

from lake.commit_log import (
    METADATA_KEY,
    Commit,
    checkpoint_version,
    commit_file,
    commits_after,
    time_of_ms,
)
from lake.data_file import DataFile, file_record, write_data_file
from lake.durability import fsync_directory, fsync_file, rewrite_durably
from lake.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DamagedTableError,
    SchemaMismatchError,
    one_line,
)
from lake.table import CHECKPOINT_INTERVAL, TableSpec, open_table

logger = logging.getLogger(__name__)

# FACTS of deltalake 1.6: with the default of 15 tries, 8 concurrent writers lost 6% of their commits.
_COMMIT_TRIES = 1000


def append(
    table_path: Path,
    spec: TableSpec,
    batch: pa.Table,
    *,
    stream: str,
    sequence: int,
    metadata: Mapping[str, Any],
    handle: DeltaTable | None = None,
    synced_through: int | None = None,
) -> Commit | None:
    """Append one micro-batch as one commit; None if that sequence is already committed.

    Columns the table does not have yet are added to it first, as a commit of their own.

    Args:
        table_path: Folder of the table.
        spec: Layout of the table.
        batch: Rows with the partition columns; times UTC, microseconds.
        stream: Identity of the writer's stream in Delta's txn action.
        sequence: Increases within the stream.
        metadata: Kept in the commit, JSON-serialisable; files and digests are added to it.
        handle: A handle opened just now, if the caller has one; it is of no use afterwards.
        synced_through: Newest version that the caller knows to be synced, see `sync_log`.

    Returns:
        The commit as it stands in the log, synced to disk, and every commit before it.

    Raises:
        SchemaMismatchError: Columns are missing or have other types than the table's.
        CommitConflictError: Another writer of the same stream won; read again, then retry.
        CommitStateUnknownError: It may have landed; read the transaction version first.
        DamagedTableError: The table cannot be read.
        OSError: The disk is full or failed; nothing was committed.
    """
    handle = handle or open_table(table_path)
    committed = handle.transaction_version(stream)
    if committed is not None and committed >= sequence:
        sync_log(table_path, after=synced_through, through=handle.version(), rewrite=True)
        return None
    if _widen(handle, spec, batch.schema):
        handle = open_table(table_path)
    base = handle.version()

    files: list[DataFile] = []
    try:
        record = dict(metadata, files={}, not_before_ms=time_of_ms(table_path, base))
        note = {**metadata, "stream": stream, "sequence": sequence}
        for partition, rows in _partitions(batch, spec.partition_by):
            plain = rows.drop_columns(list(spec.partition_by))
            file = write_data_file(table_path, spec, partition, plain, note=note)
            files.append(file)
            record["files"][file.path] = file_record(rows, file.sha256)
        for folder in {(table_path / file.path).parent for file in files}:
            fsync_directory(folder)
            fsync_directory(folder.parent)
        fsync_directory(table_path)
    except BaseException:
        _discard(table_path, files)
        raise

    _commit(handle, spec, files, batch.schema, stream, sequence, record, table_path)
    commit = next(
        (c for c in commits_after(table_path, base) if c.transactions.get(stream) == sequence), None
    )
    if commit is None:
        raise CommitStateUnknownError(
            f"deltalake reported sequence {sequence} of {stream} committed to {spec.name}, "
            f"but no commit after version {base} has it"
        )
    try:
        sync_log(table_path, after=synced_through, through=commit.version)
    except OSError as error:
        raise CommitStateUnknownError(
            f"{spec.name}: version {commit.version} is committed but not synced: {error}"
        ) from error
    if commit.version % CHECKPOINT_INTERVAL == 0:
        try:
            write_log_checkpoint(table_path)
        except (DeltaError, OSError) as error:
            # It only makes opening faster, and the commit stands.
            logger.warning(
                "log checkpoint failed",
                extra={"action": "log_checkpoint", "table": spec.name, "error": str(error)},
            )
    return commit


def sync_log(table_path: Path, *, after: int | None, through: int, rewrite: bool = False) -> None:
    """Return when the commits of a table are on the disk.

    Others' commits included: a power cut that takes an earlier commit takes the later ones with it. To be
    called before what was committed is forgotten elsewhere, e.g. cleared from a spool.

    Args:
        table_path: Folder of the table.
        after: Newest version known to be synced; None for that of the newest log checkpoint, before which
            everything is synced.
        through: Newest version to sync.
        rewrite: Write them once more, where an earlier sync may have failed: see `rewrite_durably`.

    Raises:
        OSError: The disk failed.
    """
    if after is None:
        after = checkpoint_version(table_path)
    sync = rewrite_durably if rewrite else fsync_file
    for version in range(after + 1, through + 1):
        # What was cleaned up meanwhile is archived, and that is synced.
        with contextlib.suppress(FileNotFoundError):
            sync(commit_file(table_path, version))
    fsync_directory(table_path / "_delta_log")


def write_log_checkpoint(table_path: Path) -> None:
    """Write Delta's log checkpoint of the newest version and sync it.

    Raises:
        DeltaError: deltalake could not write it.
        OSError: The disk is full or failed.
    """
    started = time.perf_counter()
    handle = open_table(table_path)
    # Behind a checkpoint nobody looks whether commits are synced.
    sync_log(table_path, after=None, through=handle.version())
    handle.create_checkpoint()
    log = table_path / "_delta_log"
    for path in [*log.glob(f"{handle.version():020d}.checkpoint*"), log / "_last_checkpoint"]:
        fsync_file(path)
    fsync_directory(log)
    logger.info(
        "log checkpoint written",
        extra={"action": "log_checkpoint", "table": table_path.name, "version": handle.version(),
               "seconds": round(time.perf_counter() - started, 3)},
    )  # fmt: skip


def _commit(
    handle: DeltaTable,
    spec: TableSpec,
    files: list[DataFile],
    schema: pa.Schema,
    stream: str,
    sequence: int,
    record: Mapping[str, Any],
    table_path: Path,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = [
        AddAction(f.path, f.size_bytes, f.partition, now_ms, True, json.dumps(f.statistics)) for f in files
    ]
    try:
        handle.create_write_transaction(
            actions,
            mode="append",
            schema=schema,
            partition_by=list(spec.partition_by),
            commit_properties=CommitProperties(
                custom_metadata={METADATA_KEY: record},
                max_commit_retries=_COMMIT_TRIES,
                app_transactions=[Transaction(stream, sequence)],
            ),
            # Both hooks write without syncing; the checkpoint is written by us, log clean-up by maintenance.
            post_commithook_properties=PostCommitHookProperties(
                create_checkpoint=False, cleanup_expired_logs=False
            ),
        )
    except CommitFailedError as error:
        _discard(table_path, files)
        raise CommitConflictError(
            f"{spec.name}: sequence {sequence} of {stream}: {one_line(error)}"
        ) from error
    except (DeltaError, OSError) as error:
        try:
            landed = open_table(table_path).transaction_version(stream)
        except DamagedTableError:
            raise CommitStateUnknownError(
                f"{spec.name}: sequence {sequence} of {stream} may have landed: {one_line(error)}"
            ) from error
        if landed != sequence:
            _discard(table_path, files)
            raise DamagedTableError(f"cannot commit to {spec.name}: {one_line(error)}") from error


def _discard(table_path: Path, files: list[DataFile]) -> None:
    """Remove data files that no commit names; what cannot be removed stays for vacuum."""
    for file in files:
        try:
            (table_path / file.path).unlink(missing_ok=True)
        except OSError as error:
            logger.warning(
                "orphan data file left",
                extra={"action": "discard", "file": file.path, "error": str(error)},
            )


def _partitions(batch: pa.Table, columns: tuple[str, ...]) -> list[tuple[dict[str, str], pa.Table]]:
    """The rows of each partition, sorted by partition value."""
    for name in columns:
        if batch.column(name).null_count:
            raise SchemaMismatchError(
                f"the partition column {name} is null in {batch.column(name).null_count} rows"
            )
    distinct = [batch.column(name).unique() for name in columns]
    if all(len(values) == 1 for values in distinct):
        only = zip(columns, distinct, strict=True)
        return [({name: str(values[0].as_py()) for name, values in only}, batch)]
    keys = batch.select(list(columns)).group_by(list(columns)).aggregate([]).to_pylist()
    parts = []
    for key in sorted(keys, key=lambda k: tuple(str(k[name]) for name in columns)):
        mask = None
        for name in columns:
            equal = pc.equal(batch.column(name), pa.scalar(key[name], batch.schema.field(name).type))
            mask = equal if mask is None else pc.and_(mask, equal)
        parts.append(({name: str(key[name]) for name in columns}, batch.filter(mask)))
    return parts


def _widen(handle: DeltaTable, spec: TableSpec, schema: pa.Schema) -> bool:
    """Add the columns the table lacks; True if there were any.

    Raises:
        SchemaMismatchError: A column is missing, has another type, or differs in upper and lower case only.
    """
    existing = {f.name: f.type for f in pa.schema(handle.schema().to_arrow())}
    by_folded = {name.casefold(): name for name in existing}
    missing = [name for name in spec.schema.names if name not in schema.names]
    if missing:
        raise SchemaMismatchError(f"{spec.name}: the batch lacks {', '.join(missing)}")
    added = []
    for column in schema:
        twin = by_folded.get(column.name.casefold())
        if twin is None:
            if not column.name:
                raise SchemaMismatchError(f"{spec.name}: a new column has no name")
            if column.name in spec.schema.names:
                # The table was made before its layout had the column.
                added += Schema.from_arrow(pa.schema([column])).fields
                continue
            if not pa.types.is_float64(column.type):
                raise SchemaMismatchError(
                    f"{spec.name}: new column {column.name} must be float64, not {column.type}"
                )
            added.append(Field(column.name, PrimitiveType("double")))
        elif twin != column.name:
            raise SchemaMismatchError(f"{spec.name}: column {column.name!r} is there as {twin!r}")
        elif existing[column.name] != column.type:
            raise SchemaMismatchError(
                f"{spec.name}: {column.name} is {existing[column.name]} in the table, "
                f"{column.type} in the batch"
            )
    if not added:
        return False
    try:
        handle.alter.add_columns(added)
    except CommitFailedError as error:
        raise CommitConflictError(
            f"{spec.name}: another writer changed the columns: {one_line(error)}"
        ) from error
    except OSError as error:
        raise DamagedTableError(f"{spec.name}: columns cannot be added: {one_line(error)}") from error
    except DeltaError as error:
        raise SchemaMismatchError(f"{spec.name}: columns cannot be added: {one_line(error)}") from error
    logger.info(
        "columns added",
        extra={"action": "widen", "table": spec.name, "columns": [f.name for f in added]},
    )
    return True
