"""States of a table older than its Delta log: worked out from the archive and the batch ids in the rows.

Delta can read a version as long as its commit is in the log. Tables are append-only and every row names
its batch, so an older state is the rows of the batches that had been committed by then.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from lake.commit_log import commits_after, read_commit, version_at, versions
from lake.errors import VersionNotFoundError
from lake.log_archive import archived_through
from lake.selection import Partition, Selection


def archived_version(table_path: Path, at: int | datetime) -> int | None:
    """The version meant, if only the archive still has its commit.

    Raises:
        VersionNotFoundError: The table did not exist then.
        DamagedTableError: The archive cannot be read.
    """
    last = archived_through(table_path)
    if last < 0:
        return None
    oldest = min(versions(table_path), default=last + 1)
    if isinstance(at, int):
        return at if 0 <= at < oldest else None
    if oldest in versions(table_path) and read_commit(table_path, oldest).time <= at:
        return None
    return version_at(table_path, at)


def selection_at(
    table_path: Path, version: int, partition_by: tuple[str, ...], columns: tuple[str, ...]
) -> Selection:
    """The batches that a table had at an archived version.

    Args:
        table_path: Folder of the table.
        version: The version.
        partition_by: Partition columns.
        columns: Columns of the newest version: those that were not there yet are null in these rows.

    Raises:
        VersionNotFoundError: Rows it had were dropped since, or were committed by another tool and belong to
            no batch, or its commits were cleaned up by another tool.
        DamagedTableError: A commit cannot be read.
    """
    batches: dict[Partition, list[str]] = {}
    name = table_path.name
    expected = 0
    for commit in commits_after(table_path, -1):
        expected = commit.version + 1
        if commit.version > version:
            gone = {tuple(p[key] for key in partition_by) for p in commit.batch.get("partitions", ())}
            if gone & batches.keys():
                told = ", ".join("/".join(partition) for partition in sorted(gone & batches.keys())[:3])
                raise VersionNotFoundError(
                    f"{name} cannot be read at version {version} any more: {told} was dropped since"
                )
            continue
        for add in commit.adds:
            if not add.get("dataChange", True):
                continue
            batch_id = commit.batch.get("batch_id")
            if batch_id is None:
                raise VersionNotFoundError(
                    f"{name} cannot be read at version {version} any more: version {commit.version} was "
                    "committed by another tool, and its rows belong to no batch"
                )
            key = tuple(add["partitionValues"][column] for column in partition_by)
            batches.setdefault(key, []).append(batch_id)
    if expected <= version:
        raise VersionNotFoundError(f"{name} has lost its commits from version {expected} on")
    return Selection(name, batches, columns)
