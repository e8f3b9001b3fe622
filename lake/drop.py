"""Take whole partitions out of a table, on purpose: the one thing that removes rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deltalake.exceptions import DeltaError

from lake.append import sync_log, write_log_checkpoint
from lake.commit_log import time_of_ms
from lake.compaction import ActiveFile, active_files
from lake.errors import DamagedTableError, one_line
from lake.file_changes import change_files, removal
from lake.log_cleanup import delete_data_file
from lake.maintenance import keep_append_only, maintenance_lock
from lake.table import open_table

logger = logging.getLogger(__name__)

DROP = "DROP"
"""Operation of these commits."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What left a table.

    Attributes:
        table: Table name.
        partitions: Partitions that are gone.
        files: Data files of them.
        rows: Their rows.
        bytes: Their size.
    """

    table: str
    partitions: int
    files: int
    rows: int
    bytes: int


def doomed_files(table_path: Path, doomed: Callable[[Mapping[str, str]], bool]) -> list[ActiveFile]:
    """The files of the partitions that `drop_partitions` would take out.

    Raises:
        DamagedTableError: The table cannot be opened.
    """
    return [file for file in active_files(open_table(table_path)) if doomed(file.partition)]


def drop_partitions(table_path: Path, doomed: Callable[[Mapping[str, str]], bool]) -> Dropped:
    """Remove all rows of some partitions, and delete their files.

    Delta allows no removal from an append-only table, so the table is made an ordinary one for the time of
    the commit; if that is interrupted, the next maintenance sets it right. Versions that had the rows cannot
    be read any more.

    Args:
        table_path: Folder of the table.
        doomed: Which partitions, by their values.

    Raises:
        StreamInUseError: The table is being maintained.
        CommitConflictError: Another writer changed the table in between; try again.
        DamagedTableError: The table cannot be read or written.
        OSError: The disk failed.
    """
    with maintenance_lock(table_path):
        files = doomed_files(table_path, doomed)
        if not files:
            return Dropped(table_path.name, 0, 0, 0, 0)
        try:
            open_table(table_path).alter.set_table_properties({"delta.appendOnly": "false"})
            _commit(table_path, files)
        except DeltaError as error:
            raise DamagedTableError(f"{table_path.name}: not dropped: {one_line(error)}") from error
        finally:
            keep_append_only(table_path)
        write_log_checkpoint(table_path)
        for file in files:
            delete_data_file(table_path / file.path)
        _remove_empty_folders(table_path, files)
    done = Dropped(
        table=table_path.name,
        partitions=len({tuple(file.partition.values()) for file in files}),
        files=len(files),
        rows=sum(file.rows for file in files),
        bytes=sum(file.size_bytes for file in files),
    )
    logger.info(
        "partitions dropped",
        extra={"action": "drop", "table": done.table, "partitions": done.partitions, "rows": done.rows},
    )
    return done


def _commit(table_path: Path, files: Iterable[ActiveFile]) -> None:
    handle = open_table(table_path)
    now_ms = time.time_ns() // 1_000_000
    partitions = sorted({tuple(file.partition.items()) for file in files})
    change_files(
        handle,
        [removal(f.path, f.size_bytes, f.partition, now_ms, rows_go=True) for f in files],
        {
            "operation": DROP,
            # Rows that came in later stay.
            "through_version": handle.version(),
            "partitions": [dict(values) for values in partitions],
            "not_before_ms": time_of_ms(table_path, handle.version()),
        },
        task=f"{table_path.name}: not dropped",
    )
    sync_log(table_path, after=None, through=open_table(table_path).version())


def _remove_empty_folders(table_path: Path, files: Iterable[ActiveFile]) -> None:
    for file in files:
        for folder in (table_path / file.path).parents:
            if folder == table_path:
                break
            try:
                folder.rmdir()
            except OSError:
                break  # gone already, or a writer has put a new file there
