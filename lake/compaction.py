"""Rewrite the many small files of a finished partition as few large ones; rows stay what they are.

A compaction reads files whose checksums are as committed, sorts their rows, checks that the content
digest is the sum of what the commits recorded, and makes one commit that removes the old files and adds
the new. So a damaged file is never compacted away: it stays, to be named by an audit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

from lake.append import sync_log
from lake.commit_log import Commit, commits_after, read_commit, time_of_ms, versions
from lake.data_file import NOT_CONTENT, DataFile, file_record, partition_of, write_data_file
from lake.digest import ContentDigest
from lake.durability import fsync_directory
from lake.errors import CommitConflictError, DamagedTableError, StrikelakeError
from lake.file_changes import change_files, removal
from lake.log_archive import archived_commits
from lake.snapshot import plain_schema, quote, select_files
from lake.table import TableSpec, open_table

logger = logging.getLogger(__name__)

COMPACTION = "COMPACTION"
"""Operation of these commits."""

ROWS_A_FILE = 4_000_000
"""Rows of one compacted file at most: a day of both sides of an index fits, and sorting it fits memory."""

_STREAM = "strikelake/compaction"
"""A txn action of this name makes deltalake refuse the second of two compactions of one snapshot."""

Finished = Callable[[Mapping[str, str]], bool]
"""Whether a partition, given by its values, gets no new rows in the ordinary course of things."""


@dataclass(frozen=True, slots=True)
class ActiveFile:
    """A data file of the newest version.

    Attributes:
        path: Relative to the table, with `/`.
        partition: Partition values as text.
        rows: Rows in it.
        size_bytes: Its size.
        modified_ms: Time of the add action, epoch milliseconds.
    """

    path: str
    partition: Mapping[str, str]
    rows: int
    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """What one commit of a compaction did."""

    version: int
    partition: Mapping[str, str]
    files_before: int
    files_after: int
    rows: int


def active_files(handle: DeltaTable) -> list[ActiveFile]:
    """The data files of a handle's version, in the order of their commits."""
    actions = pa.table(handle.get_add_actions(flatten=True)).to_pylist()
    files = [
        ActiveFile(
            path=unquote(a["path"]),
            partition=partition_of(unquote(a["path"])),
            rows=a["num_records"] or 0,
            size_bytes=a["size_bytes"],
            modified_ms=a["modification_time"],
        )
        for a in actions
    ]
    return sorted(files, key=lambda f: (f.modified_ms, f.path))


def small_files(files: Iterable[ActiveFile], finished: Finished) -> dict[tuple[str, ...], list[ActiveFile]]:
    """Finished partitions that compaction would make smaller in number of files, oldest first."""
    groups: dict[tuple[str, ...], list[ActiveFile]] = {}
    for file in files:
        if file.rows < ROWS_A_FILE // 2:
            groups.setdefault(tuple(file.partition.values()), []).append(file)
    return {
        key: group for key, group in sorted(groups.items()) if len(group) > 1 and finished(group[0].partition)
    }


def compact(
    table_path: Path,
    spec: TableSpec,
    finished: Finished,
    *,
    progress: Callable[[int], None] | None = None,
    now_ms: int | None = None,
) -> Iterator[Compacted]:
    """Compact every finished partition, one commit each; to be called under the table's maintenance lock.

    Args:
        table_path: Folder of the table.
        spec: Its layout; rows are sorted by `spec.sort_by`.
        finished: Which partitions to take.
        progress: Called with the number of files just compacted.
        now_ms: Moment the old files count as removed, by default now.

    Raises:
        DamagedTableError: Files are not as committed: they are left alone, and named.
        CommitConflictError: Somebody else compacted the same files; nothing was changed.
        OSError: The disk is full or failed; nothing was changed.
    """
    damaged: list[DamagedTableError] = []
    for group in small_files(active_files(open_table(table_path)), finished).values():
        for chunk in _chunks(group):
            try:
                done = _compact_files(table_path, spec, chunk, now_ms or time.time_ns() // 1_000_000)
            except DamagedTableError as error:
                # One damaged day must not keep the others from being looked after.
                damaged.append(error)
            else:
                yield done
            if progress:
                progress(len(chunk))
    if damaged:
        raise DamagedTableError("; ".join(str(error) for error in damaged))


def _chunks(files: Sequence[ActiveFile]) -> Iterator[list[ActiveFile]]:
    """Files of one partition, parted so that each part fits one file."""
    chunk: list[ActiveFile] = []
    for file in files:
        if chunk and sum(f.rows for f in chunk) + file.rows > ROWS_A_FILE:
            if len(chunk) > 1:
                yield chunk
            chunk = []
        chunk.append(file)
    if len(chunk) > 1:
        yield chunk


def _compact_files(table_path: Path, spec: TableSpec, files: list[ActiveFile], now_ms: int) -> Compacted:
    started = time.perf_counter()
    partition = files[0].partition
    handle = open_table(table_path)
    base = handle.version()
    still = {file.path for file in active_files(handle)}
    if any(file.path not in still for file in files):
        raise CommitConflictError(f"{spec.name}: files were compacted by somebody else meanwhile")
    expected = _recorded_digest(table_path, files)
    rows = _sorted_rows(table_path, spec, handle, files)
    found = ContentDigest(threads=1)
    found.update(rows, ignore=NOT_CONTENT)
    if rows.num_rows != sum(f.rows for f in files) or (
        expected is not None and found.hexdigest() != expected.hexdigest()
    ):
        raise DamagedTableError(
            f"{spec.name} {_told(partition)}: the rows of {len(files)} files are not those that were "
            "committed; run 'strikelake catalog verify'"
        )
    file = write_data_file(table_path, spec, dict(partition), rows.drop_columns(list(spec.partition_by)))
    fsync_directory((table_path / file.path).parent)
    record = {
        "operation": COMPACTION,
        "files": {file.path: file_record(rows, file.sha256)},
        "compacted_files": len(files),
        "not_before_ms": time_of_ms(table_path, base),
    }
    try:
        _commit(handle, file, files, record, now_ms)
    except (StrikelakeError, OSError):
        # Only what is in no commit may go: an error can come after the commit has landed.
        if _landed(table_path, base, file) is None:
            (table_path / file.path).unlink(missing_ok=True)
        raise
    version = _landed(table_path, base, file)
    if version is None:
        raise DamagedTableError(f"deltalake reported {file.path} committed, but no commit has it")
    sync_log(table_path, after=None, through=version)
    _undo_if_doubled(table_path, spec, base, version, file, files)
    logger.info(
        "partition compacted",
        extra={
            "action": "compact", "table": spec.name, "partition": _told(partition), "version": version,
            "files": len(files), "rows": rows.num_rows, "wall_s": round(time.perf_counter() - started, 3),
        },
    )  # fmt: skip
    return Compacted(version, partition, len(files), 1, rows.num_rows)


def _commit(
    handle: DeltaTable,
    added: DataFile | None,
    removed: Sequence[ActiveFile],
    record: Mapping[str, Any],
    now_ms: int,
) -> None:
    actions: list[AddAction | RemoveAction] = []
    if added is not None:
        statistics = json.dumps(added.statistics)
        actions.append(AddAction(added.path, added.size_bytes, added.partition, now_ms, False, statistics))
    actions += [removal(f.path, f.size_bytes, f.partition, now_ms) for f in removed]
    change_files(
        handle, actions, record, task=f"{handle.metadata().name}: not compacted",
        transactions=[Transaction(_STREAM, handle.version() + 1)],
    )  # fmt: skip


def _landed(table_path: Path, base: int, file: DataFile) -> int | None:
    for commit in commits_after(table_path, base):
        if any(unquote(add["path"]) == file.path for add in commit.adds):
            return commit.version
    return None


def _undo_if_doubled(
    table_path: Path, spec: TableSpec, base: int, version: int, file: DataFile, files: Sequence[ActiveFile]
) -> None:
    """Take our file out again if a tool that knows nothing of our lock compacted the same files just before.

    deltalake lets both commits through, and every row would be there twice.
    """
    ours = {f.path for f in files}
    for commit in commits_after(table_path, base):
        if commit.version >= version:
            return
        if any(unquote(remove["path"]) in ours for remove in commit.removes):
            handle = open_table(table_path)
            mine = [f for f in active_files(handle) if f.path == file.path]
            record = {"operation": COMPACTION, "undoes": version}
            _commit(handle, None, mine, record, time.time_ns() // 1_000_000)
            sync_log(table_path, after=None, through=open_table(table_path).version())
            raise CommitConflictError(
                f"{spec.name}: another tool compacted the same files at version {commit.version}; "
                f"version {version} is undone"
            )


def _recorded_digest(table_path: Path, files: Sequence[ActiveFile]) -> ContentDigest | None:
    """Sum of the digests that the commits recorded, None if one did not; checks the bytes on the way.

    Raises:
        DamagedTableError: A file's bytes are not those that were committed.
    """
    records = file_records(table_path, {f.path for f in files})
    total = ContentDigest()
    whole = True
    for file in files:
        record = records.get(file.path)
        if record is None:
            whole = False
            continue
        try:
            digest = hashlib.sha256((table_path / file.path).read_bytes()).hexdigest()
        except OSError as error:
            raise DamagedTableError(f"data file {table_path / file.path} cannot be read: {error}") from error
        if digest != record["sha256"]:
            raise DamagedTableError(
                f"data file {table_path / file.path} is not as it was committed; "
                "run 'strikelake catalog verify'"
            )
        total += ContentDigest.from_hex(record["content_digest"], file.rows)
    return total if whole else None


def file_records(table_path: Path, paths: set[str]) -> dict[str, Mapping[str, Any]]:
    """What our commits recorded of these files; the newest commits are looked at first.

    Raises:
        DamagedTableError: A commit on the way cannot be read.
    """
    found: dict[str, Mapping[str, Any]] = {}

    def take(commit: Commit) -> None:
        for path, record in commit.batch.get("files", {}).items():
            if unquote(path) in paths:
                found[unquote(path)] = record

    for version in reversed(versions(table_path)):
        if len(found) == len(paths):
            return found
        take(read_commit(table_path, version))
    if len(found) < len(paths):
        for archived in archived_commits(table_path):
            take(Commit.of(archived.version, archived.actions, archived.modified_ms))
    return found


def _sorted_rows(
    table_path: Path, spec: TableSpec, handle: DeltaTable, files: Sequence[ActiveFile]
) -> pa.Table:
    """All rows, sorted, with the columns that any of the files has, in the order of the table's."""
    schema = plain_schema(handle)
    select = select_files(schema, spec.partition_by, [table_path.resolve() / f.path for f in files])
    order = f" ORDER BY {', '.join(quote(name) for name in spec.sort_by)}" if spec.sort_by else ""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.sql(f"SELECT * FROM ({select}){order}").to_arrow_table()
    except duckdb.Error as error:
        raise DamagedTableError(f"{spec.name} cannot be read: {error}") from error
    finally:
        connection.close()
    rows = rows.cast(schema)
    empty = [
        f.name
        for f in schema
        if f.name not in spec.schema.names and rows.column(f.name).null_count == rows.num_rows
    ]
    return rows.drop_columns(empty) if empty else rows


def _told(partition: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in partition.items())
