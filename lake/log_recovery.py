"""What a power cut leaves of a Delta log, and how it is made readable again without losing a row.

delta-rs does not sync what it writes, and a commit only counts for us once we have synced it. So a power
cut can leave the newest commits empty or torn, and a log checkpoint as well; what they told is still in
the spool. A commit file that is empty, torn or missing is *replaced*, never deleted: version numbers stay
without a gap, whoever commits at the same time.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from lake.append import sync_log
from lake.commit_log import METADATA_KEY, commit_file, read_actions, time_of_ms, versions
from lake.data_file import restored_file
from lake.durability import fsync_directory, fsync_file, write_durably
from lake.errors import CommitConflictError, DamagedTableError, one_line
from lake.log_archive import FOLDER, archived_through
from lake.orphans import Orphan, Verdict, find_orphans
from lake.snapshot import plain_schema
from lake.spool import Spool, parse_batch_id
from lake.table import Lake, open_table

logger = logging.getLogger(__name__)

RECOVERY = "RECOVERY"
"""Operation of a commit that stands where a damaged one stood."""


@dataclass(frozen=True, slots=True)
class LogDamage:
    """One thing in a log that cannot be read.

    Attributes:
        kind: `torn_commit`, `empty_commit`, `missing_commit` or `torn_checkpoint`.
        version: Version concerned.
        path: The file.
    """

    kind: str
    version: int
    path: Path


def log_damage(table_path: Path, *, since_checkpoint: bool = False) -> list[LogDamage]:
    """Everything in a log that cannot be read, oldest first.

    Args:
        table_path: Folder of the table.
        since_checkpoint: Look only at the newest log checkpoint that can be read and what came after it:
            what opening the table depends on, at a cost that does not grow with the log.
    """
    log = table_path / "_delta_log"
    damage = []
    sound_through = -1
    for path in sorted(log.glob("*.checkpoint*.parquet"), reverse=True):
        version = int(path.name[:20])
        if can_be_read(path):
            sound_through = max(sound_through, version)
            if since_checkpoint:
                break
        else:
            damage.append(LogDamage("torn_checkpoint", version, path))
    known = versions(table_path)
    looked_at = [v for v in known if not since_checkpoint or v > sound_through]
    for version in looked_at:
        path = commit_file(table_path, version)
        try:
            read_actions(path)
        except FileNotFoundError:
            continue  # cleaned up just now
        except ValueError:
            kind = "torn_commit" if path.stat().st_size else "empty_commit"
            damage.append(LogDamage(kind, version, path))
    present = set(known)
    first = sound_through + 1 if since_checkpoint else min(known, default=0)
    # Without a checkpoint that can be read, the log has to begin at its beginning.
    first = 0 if sound_through < 0 and archived_through(table_path) < 0 else first
    damage += [
        LogDamage("missing_commit", version, commit_file(table_path, version))
        for version in range(first, max(known, default=0))
        if version not in present
    ]
    return sorted(damage, key=lambda d: (d.version, d.kind))


def can_be_read(checkpoint: Path) -> bool:
    """Whether a log checkpoint has a whole footer: a torn one has not."""
    try:
        pq.read_metadata(checkpoint)
    except (OSError, pa.ArrowInvalid):
        return False
    return True


def recover_log(lake: Lake, table_path: Path, *, whole: bool = False) -> list[LogDamage]:
    """Make a log readable again; returns what was mended, which may be nothing.

    Where a commit is empty, torn or missing, a commit is written that brings what the lost one brought, if
    its rows are nowhere else (see `lake.orphans`), and otherwise nothing: after a power cut its rows are
    still in the spool. Checkpoints that cannot be read are removed: the commits they sum up are still
    there, as they are cleaned up only after a checkpoint is synced. What was damaged is kept beside the log.

    Safe beside other writers: nobody can make a commit whose name is taken, and recoveries that run at the
    same time write the same.

    Args:
        lake: The lake, for its spools.
        table_path: Folder of the table.
        whole: Mend also what lies before the newest log checkpoint, where only the mirror looks.

    Raises:
        DamagedTableError: The commit that creates the table is gone; nothing can stand in for it.
        SpoolUnavailableError: A spool cannot be read, so that it cannot be told what was lost.
        OSError: The disk is full or failed.
    """
    damages = log_damage(table_path, since_checkpoint=not whole)
    if damages:
        _mend(lake, table_path, damages)
    _mend_hint(table_path)
    # Who wrote it may have died before syncing it; from now on it is built upon.
    sync_log(table_path, after=None, through=max(versions(table_path), default=-1))
    lake.sync_names(table_path)
    return damages


def _mend(lake: Lake, table_path: Path, damages: Sequence[LogDamage]) -> None:
    if any(d.version == 0 and d.kind != "torn_checkpoint" for d in damages):
        raise DamagedTableError(f"version 0 of {table_path.name}, which says what the table is, is damaged")
    for damage in damages:
        if damage.kind == "torn_checkpoint":
            _set_aside(table_path, damage.path)
            damage.path.unlink(missing_ok=True)
    _mend_hint(table_path)  # opening the table, below, would fail on it
    commits = [d for d in damages if d.kind != "torn_checkpoint"]
    lost = [o for o in find_orphans(lake, table_path) if o.verdict is Verdict.LOST] if commits else []
    lost.sort(key=lambda o: (o.modified_s, o.path))
    by_batch: dict[str, list[Orphan]] = {}
    for orphan in lost:
        by_batch.setdefault(str(orphan.batch_id), []).append(orphan)
    for damage in commits:
        batch = next(iter(by_batch), None)
        files = by_batch.pop(batch) if batch is not None else []
        _set_aside(table_path, damage.path)
        record, actions = restoring_commit(lake, table_path, files)
        write_commit_file(table_path, damage.version, {"recovered": damage.kind, **record}, actions)
    for damage in damages:
        logger.warning(
            "log mended",
            extra={"action": "recover", "table": table_path.name, "damage": damage.kind,
                   "version": damage.version, "batches_restored": len({o.batch_id for o in lost})},
        )  # fmt: skip


def commit_lost(lake: Lake, table_path: Path, lost: Sequence[Orphan]) -> list[int]:
    """Commit the files of lost batches again, a commit each; their versions.

    The stream's counter in the log is left alone where it is further already.

    Raises:
        CommitConflictError: Another writer came in between; try again.
        DamagedTableError: The table cannot be written.
    """
    by_batch: dict[str, list[Orphan]] = {}
    for orphan in sorted(lost, key=lambda o: (o.modified_s, o.path)):
        by_batch.setdefault(str(orphan.batch_id), []).append(orphan)
    made = []
    for files in by_batch.values():
        record, actions = restoring_commit(lake, table_path, files)
        handle = open_table(table_path)
        adds = [a["add"] for a in actions if "add" in a]
        transactions = [
            Transaction(a["txn"]["appId"], a["txn"]["version"])
            for a in actions
            if "txn" in a and (handle.transaction_version(a["txn"]["appId"]) or 0) < a["txn"]["version"]
        ]
        record |= {"operation": RECOVERY, "not_before_ms": time_of_ms(table_path, handle.version())}
        try:
            handle.create_write_transaction(
                [
                    AddAction(
                        a["path"], a["size"], a["partitionValues"], a["modificationTime"], True, a["stats"]
                    )
                    for a in adds
                ],
                mode="append",
                schema=plain_schema(handle),
                partition_by=list(handle.metadata().partition_columns),
                commit_properties=CommitProperties(
                    custom_metadata={METADATA_KEY: record}, app_transactions=transactions
                ),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
        except CommitFailedError as error:
            raise CommitConflictError(f"{table_path.name}: not restored: {one_line(error)}") from error
        except DeltaError as error:
            raise DamagedTableError(f"{table_path.name}: not restored: {one_line(error)}") from error
        made.append(open_table(table_path).version())
        sync_log(table_path, after=None, through=made[-1])
    return made


def restoring_commit(
    lake: Lake, table_path: Path, files: list[Orphan]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Our record and the actions of a commit that names the files of one lost batch again.

    Everything is worked out from the files; only the first sequence of the batch is lost for good.
    """
    if not files:
        return {}, []
    batch_id = str(files[0].batch_id)
    record: dict[str, Any] = {"batch_id": batch_id, "files": {}}
    actions: list[dict[str, Any]] = []
    for orphan in files:
        file = restored_file(table_path, orphan.path)
        record["files"][file.path] = file.record
        actions.append(
            {
                "add": {
                    "path": file.path, "partitionValues": file.partition, "size": file.size_bytes,
                    "modificationTime": int(orphan.modified_s * 1000), "dataChange": True,
                    "stats": json.dumps(file.statistics),
                }
            }
        )  # fmt: skip
    parsed = parse_batch_id(batch_id)
    if parsed is not None:
        stream, sequence = parsed
        record |= {"app_id": stream.rpartition("-")[0], "seq_last": sequence}
        for path in sorted(lake.spools.glob("*.db")):
            spool = Spool(path, read_only=True)
            try:
                if spool.short_stream == stream:
                    actions.append({"txn": {"appId": spool.stream, "version": sequence}})
            finally:
                spool.close()
    return record, actions


def write_commit_file(
    table_path: Path, version: int, record: dict[str, Any], actions: list[dict[str, Any]] | None = None
) -> None:
    """Put a commit of ours where a damaged or missing one stands, synced.

    Args:
        table_path: Folder of the table.
        version: Its version.
        record: Kept in the commit as ours.
        actions: What it does, nothing by default.

    Raises:
        OSError: The disk is full or failed; what stood there stands there still.
    """
    # The damaged commit's own time is lost: its files were written just before.
    written = [a["add"]["modificationTime"] for a in actions or [] if "add" in a]
    written += [before] if (before := time_of_ms(table_path, version - 1)) else []
    info = {
        "timestamp": max(written or [time.time_ns() // 1_000_000]),
        "operation": RECOVERY,
        "operationParameters": {},
        METADATA_KEY: {"operation": RECOVERY, **record},
    }
    lines = [{"commitInfo": info}, *(actions or [])]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    target = commit_file(table_path, version)
    draft = target.with_name(f"{uuid.uuid4().hex}.tmp")
    write_durably(draft, text.encode())
    os.replace(draft, target)  # noqa: PTH105 - the target may be there, and is meant to go
    fsync_directory(target.parent)


def _set_aside(table_path: Path, path: Path) -> None:
    """Keep a copy of what was damaged: evidence costs little, and may be all there is."""
    content = path.read_bytes() if path.exists() else b""
    if not content:
        return
    folder = table_path / FOLDER / "damaged"
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / f"{path.name}.{uuid.uuid4().hex[:8]}", content)


def _mend_hint(table_path: Path) -> None:
    """Remove a `_last_checkpoint` that names a checkpoint which is not there: opening would fail on it."""
    hint = table_path / "_delta_log" / "_last_checkpoint"
    try:
        version = int(json.loads(hint.read_bytes())["version"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        version = -1
    if not any(hint.parent.glob(f"{version:020d}.checkpoint*.parquet")):
        hint.unlink(missing_ok=True)
        fsync_directory(hint.parent)
    else:
        fsync_file(hint)
