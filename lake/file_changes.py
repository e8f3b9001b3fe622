"""One commit that adds and removes data files which are on the disk already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from lake.commit_log import METADATA_KEY
from lake.errors import CommitConflictError, DamagedTableError, one_line
from lake.snapshot import plain_schema


def change_files(
    handle: DeltaTable,
    changes: Sequence[AddAction | RemoveAction],
    record: Mapping[str, Any],
    *,
    task: str,
    transactions: Sequence[Transaction] = (),
) -> None:
    """Commit changes of files on top of a handle's version; to be synced by the caller.

    Args:
        handle: Opened just now.
        changes: Files to add and to remove.
        record: Kept in the commit as ours.
        task: What is not done if it fails, for the message: `readings: not compacted`.
        transactions: Txn actions.

    Raises:
        CommitConflictError: Another writer changed the same; nothing was changed.
        DamagedTableError: The table cannot be written; the commit may have landed.
    """
    try:
        handle.create_write_transaction(
            list(changes),
            mode="append",
            schema=plain_schema(handle),
            partition_by=list(handle.metadata().partition_columns),
            commit_properties=CommitProperties(
                custom_metadata={METADATA_KEY: dict(record)},
                max_commit_retries=1000,
                app_transactions=list(transactions),
            ),
            post_commithook_properties=PostCommitHookProperties(
                create_checkpoint=False, cleanup_expired_logs=False
            ),
        )
    except CommitFailedError as error:
        raise CommitConflictError(f"{task}: {one_line(error)}") from error
    except DeltaError as error:
        raise DamagedTableError(f"{task}: {one_line(error)}") from error


def removal(
    path: str, size_bytes: int, partition: Mapping[str, str], now_ms: int, *, rows_go: bool = False
) -> RemoveAction:
    """The action that takes a file out of a table; `rows_go` unless its rows are in another file."""
    return RemoveAction(path, rows_go, now_ms, size=size_bytes, partition_values=dict(partition))


def addition(add: Mapping[str, Any], *, new_rows: bool) -> AddAction:
    """The action that puts a file into a table, from an add action as a commit has it."""
    return AddAction(
        add["path"],
        add["size"],
        add["partitionValues"],
        add["modificationTime"],
        new_rows,
        add.get("stats") or "",
    )


def size_on_disk(path: Path) -> int | None:
    """Bytes of a file, None if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return None
