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
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deltalake import Transaction

from lake.append import sync_log
from lake.commit_log import (
    METADATA_KEY,
    checkpoint_version,
    commit_file,
    read_actions,
    time_of_ms,
    versions,
)
from lake.compaction import COMPACTION
from lake.data_file import restored_file
from lake.durability import fsync_directory, write_durably
from lake.errors import DamagedTableError
from lake.file_changes import addition, change_files
from lake.log_archive import FOLDER, archived_commit, archived_commits
from lake.log_damage import LogDamage, log_damage
from lake.lost_columns import widen_again
from lake.lost_compactions import lost_compactions, restoring_compaction
from lake.orphans import Orphan, Verdict, find_orphans, unrecorded_files
from lake.table import Lake, TableSpec, open_table

logger = logging.getLogger(__name__)

RECOVERY = "RECOVERY"
"""Operation of a commit that stands where a damaged one stood."""


def recover_log(
    lake: Lake, table_path: Path, *, spec: TableSpec | None = None, whole: bool = False
) -> list[LogDamage]:
    """Make a log readable again; returns what was mended, which may be nothing.

    Where a commit is empty, torn or missing, a commit is written that brings what the lost one brought, if
    its rows are nowhere else (see `lake.orphans`), and otherwise nothing: after a power cut its rows are
    still in the spool. Checkpoints that cannot be read are removed: the commits they sum up are in the log
    or come back from the archive. What was damaged is kept beside the log.

    Safe beside other writers: nobody can make a commit whose name is taken, and recoveries that run at the
    same time write the same.

    Args:
        lake: The lake, for its spools.
        table_path: Folder of the table.
        spec: What the table was created from, needed where the commit that created it is damaged.
        whole: Mend also what lies before the newest log checkpoint, where only the mirror looks.

    Raises:
        DamagedTableError: The commit that creates the table is gone, and there is no spec of it.
        SpoolUnavailableError: A spool cannot be read, so that it cannot be told what was lost.
        OSError: The disk is full or failed.
    """
    damages = log_damage(table_path, since_checkpoint=not whole)
    if damages:
        _mend(lake, table_path, damages, spec)
    # Who wrote it may have died before syncing it; from now on it is built upon.
    sync_log(table_path, after=None, through=max(versions(table_path), default=-1))
    lake.sync_names(table_path)
    return damages


def _mend(lake: Lake, table_path: Path, damages: Sequence[LogDamage], spec: TableSpec | None) -> None:
    creation = next((d for d in damages if d.version == 0 and d.kind != "torn_checkpoint"), None)
    if creation is not None and spec is None:
        raise DamagedTableError(f"version 0 of {table_path.name}, which says what the table is, is damaged")
    for damage in damages:
        if damage.kind == "torn_checkpoint":
            _set_aside(table_path, damage.path)
            damage.path.unlink(missing_ok=True)
    fsync_directory(table_path / "_delta_log")
    if checkpoint_version(table_path) < 0:
        _return_archived(table_path)
    if creation is not None and spec is not None:
        _set_aside(table_path, creation.path)
        write_commit_file(table_path, creation, {"recovered": creation.kind}, _creating(spec))
    commits = [
        d
        for d in damages
        if d.kind != "torn_checkpoint" and d is not creation and not _take_from_archive(table_path, d)
    ]
    restored = _replace_commits(lake, table_path, commits) if commits else 0
    if commits or creation is not None:
        widen_again(table_path)
    for damage in damages:
        logger.warning(
            "log mended",
            extra={"action": "recover", "table": table_path.name, "damage": damage.kind,
                   "version": damage.version, "batches_restored": restored},
        )  # fmt: skip


def _replace_commits(lake: Lake, table_path: Path, damages: list[LogDamage]) -> int:
    """Put a commit in the place of each damaged one, and one for each further lost batch at the end."""
    lost = [o for o in find_orphans(lake, table_path) if o.verdict is Verdict.LOST]
    known = unrecorded_files(table_path)
    batches = {o.batch_id for o in known}
    by_batch: dict[str, list[Orphan]] = {}
    for orphan in [*known, *(o for o in lost if o.batch_id not in batches)]:
        by_batch.setdefault(str(orphan.batch_id), []).append(orphan)
    swaps = {lost.output.path: lost for lost in lost_compactions(table_path)}
    found = [*by_batch.values(), *([swap.output] for swap in swaps.values())]
    places = _places(table_path, damages, found)
    for damage in damages:
        files = places.get(damage.version, [])
        swap = swaps.get(files[0].path) if files else None
        _set_aside(table_path, damage.path)
        if swap is not None:
            record, actions = restoring_compaction(table_path, swap, COMPACTION)
        else:
            record, actions = restoring_commit(table_path, files)
        write_commit_file(table_path, damage, {"recovered": damage.kind, **record}, actions)
    commit_lost(table_path, [o for o in find_orphans(lake, table_path) if o.verdict is Verdict.LOST])
    return len(by_batch)


def _places(
    table_path: Path, damages: Sequence[LogDamage], batches: Sequence[list[Orphan]]
) -> dict[int, list[Orphan]]:
    """Which batch goes where: files are older than the commit that named them, streams keep their order."""
    free = [d.version for d in damages]
    taken: dict[int, list[Orphan]] = {}
    for files in sorted(batches, key=lambda b: (max(o.modified_s for o in b), b[0].path)):
        if free:
            modified_ms = int(max(o.modified_s for o in files) * 1000)
            place = next(
                (v for v in free if (time_of_ms(table_path, v + 1) or modified_ms) >= modified_ms), free[0]
            )
            free.remove(place)
            taken[place] = files
    for stream in {o[0].sequences[0] for o in taken.values() if o[0].sequences}:
        mine = sorted(v for v, o in taken.items() if o[0].sequences and o[0].sequences[0] == stream)
        in_order = sorted((taken[v] for v in mine), key=lambda o: o[0].sequences or ("", 0, 0))
        taken.update(zip(mine, in_order, strict=True))
    return taken


def _creating(spec: TableSpec) -> list[dict[str, Any]]:
    """The actions that create a table, as deltalake writes them."""
    with tempfile.TemporaryDirectory() as folder:
        made = Lake.at(folder).create(replace(spec, area="raw_stream"))
        actions = read_actions(commit_file(made, 0))
    return [action for action in actions if "commitInfo" not in action]


def _take_from_archive(table_path: Path, damage: LogDamage) -> bool:
    """Write a damaged commit again from the archive, if that has it: a clean-up was interrupted there."""
    try:
        one = archived_commit(table_path, damage.version)
    except DamagedTableError:
        return False
    if one is None:
        return False
    _set_aside(table_path, damage.path)
    draft = damage.path.with_name(f"{uuid.uuid4().hex}.tmp")
    write_durably(draft, _lines(one.actions).encode())
    os.utime(draft, ns=(one.modified_ms * 1_000_000,) * 2)
    os.replace(draft, damage.path)  # noqa: PTH105 - the target may be there, and is meant to go
    fsync_directory(damage.path.parent)
    return True


def _lines(actions: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions)


def _return_archived(table_path: Path) -> None:
    """Put archived commits back into a log that has lost every checkpoint, and so begins in the middle."""
    oldest = min(versions(table_path), default=0)
    if oldest == 0:
        return
    for one in archived_commits(table_path):
        path = commit_file(table_path, one.version)
        if not path.exists():
            path.write_text(
                _lines(one.actions), encoding="utf-8", newline="\n"
            )  # not synced: the archive has it
            os.utime(path, ns=(one.modified_ms * 1_000_000,) * 2)
    fsync_directory(table_path / "_delta_log")


def commit_lost(table_path: Path, lost: Sequence[Orphan]) -> list[int]:
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
        record, actions = restoring_commit(table_path, files)
        handle = open_table(table_path)
        adds = [a["add"] for a in actions if "add" in a]
        transactions = [
            Transaction(a["txn"]["appId"], a["txn"]["version"])
            for a in actions
            if "txn" in a and (handle.transaction_version(a["txn"]["appId"]) or 0) < a["txn"]["version"]
        ]
        record |= {"operation": RECOVERY, "not_before_ms": time_of_ms(table_path, handle.version())}
        change_files(
            handle, [addition(add, new_rows=True) for add in adds], record,
            task=f"{table_path.name}: not restored", transactions=transactions,
        )  # fmt: skip
        made.append(open_table(table_path).version())
        sync_log(table_path, after=None, through=made[-1])
    return made


def restoring_commit(table_path: Path, files: list[Orphan]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Our record and the actions of a commit that names the files of one lost batch again.

    Everything is worked out from the files: their rows, and the note in their footers.
    """
    if not files:
        return {}, []
    note = dict(files[0].note)
    stream, sequence = note.pop("stream", None), note.pop("sequence", None)
    record: dict[str, Any] = {"batch_id": str(files[0].batch_id), **note, "files": {}}
    actions: list[dict[str, Any]] = []
    for orphan in files:
        file = restored_file(table_path, orphan.path)
        record["files"][file.path] = file.record
        actions.append({"add": file.add_action(int(orphan.modified_s * 1000), new_rows=True)})
    if isinstance(stream, str) and isinstance(sequence, int):
        actions.append({"txn": {"appId": stream, "version": sequence}})
    return record, actions


def write_commit_file(
    table_path: Path, damage: LogDamage, record: dict[str, Any], actions: list[dict[str, Any]]
) -> None:
    """Put a commit of ours where a damaged or missing one stands, synced.

    Args:
        table_path: Folder of the table.
        damage: What stands there; a commit that has appeared there meanwhile is left alone.
        record: Kept in the commit as ours.
        actions: What it does.

    Raises:
        OSError: The disk is full or failed; what stood there stands there still.
    """
    version = damage.version
    # The damaged commit's own time is lost: its files were written just before.
    written = [a["add"]["modificationTime"] for a in actions if "add" in a]
    written += [before] if (before := time_of_ms(table_path, version - 1)) else []
    info = {
        "timestamp": max(written or [time.time_ns() // 1_000_000]),
        "operation": RECOVERY,
        "operationParameters": {},
        METADATA_KEY: {"operation": RECOVERY, **record},
    }
    lines = [{"commitInfo": info}, *actions]
    target = commit_file(table_path, version)
    draft = target.with_name(f"{uuid.uuid4().hex}.tmp")
    write_durably(draft, _lines(lines).encode())
    if damage.kind != "missing_commit":
        os.replace(draft, target)  # noqa: PTH105 - the target is there, and is meant to go
    else:
        _put_new(draft, target)
    fsync_directory(target.parent)


def _put_new(draft: Path, target: Path) -> None:
    """Give a file its name unless that is taken."""
    try:
        os.link(draft, target)  # unlike a rename it never overwrites
    except FileExistsError:
        pass
    except OSError:  # a disk without hard links
        if not target.exists():
            draft.rename(target)
    draft.unlink(missing_ok=True)


def _set_aside(table_path: Path, path: Path) -> None:
    """Keep a copy of what was damaged: evidence costs little, and may be all there is."""
    content = path.read_bytes() if path.exists() else b""
    if not content:
        return
    folder = table_path / FOLDER / "damaged"
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / f"{path.name}.{uuid.uuid4().hex[:8]}", content)
