"""Mend what the doctor found, without losing a row; doing it again does nothing more."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine

from catalog import batches as mirror
from catalog import datasets
from catalog.database import opened_database
from catalog.doctor import UNDER_WAY_S, examine
from catalog.doctor_catalog import compare_mirror
from catalog.findings import Finding
from lake.append import sync_log, write_log_checkpoint
from lake.compaction import Finished, compact
from lake.doubled_rows import undo_doubled
from lake.errors import StreamInUseError, StrikelakeError
from lake.log_recovery import commit_lost, recover_log
from lake.lost_columns import widen_again
from lake.maintenance import keep_append_only, maintenance_lock
from lake.orphans import Verdict, find_orphans
from lake.process_lock import ProcessLock
from lake.spool import Spool
from lake.table import Lake, TableSpec, open_table
from lake.undo_compaction import undo_compactions

_ROUNDS = 3
_DAMAGED_FILE = {"missing_file", "file_size", "file_checksum", "unreadable_file"}
_OUR_FILE = re.compile(r"part-[0-9a-f]{8}-[0-9a-f]{32}\.parquet")


def examine_and_repair(
    lake: Lake,
    catalog_url: str,
    *,
    specs: Mapping[str, TableSpec],
    finished: Finished,
    checksums: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[Finding]:
    """Find, mend, and look again, as one damage may hide another: what was mended, then what is left.

    Args:
        lake: The lake.
        catalog_url: Its catalog.
        specs: Layout by table name.
        finished: Which partitions get no new rows.
        checksums: Read every data file and compare its checksum.
        progress: Called with the number of files just read.

    Raises:
        StreamInUseError: A table is being maintained by another process.
    """
    mended: list[Finding] = []
    left: list[Finding] = []
    for _ in range(_ROUNDS):
        left = examine(lake, catalog_url, finished=finished, checksums=checksums, progress=progress)
        if not any(f.repair for f in left):
            break
        left = repair(lake, catalog_url, left, specs=specs, finished=finished)
        done = [f for f in left if f.repaired]
        mended += done
        left = [f for f in left if not f.repaired]
        if not done:
            break
        progress = None  # it counts to the files there are
    return mended + left


def repair(
    lake: Lake,
    catalog_url: str,
    findings: list[Finding],
    *,
    specs: Mapping[str, TableSpec],
    finished: Finished,
) -> list[Finding]:
    """Mend what can be mended; the same findings, each with what became of it.

    Doing it again does nothing more. Nothing is deleted that a running writer might be about to name:
    while one runs, files of the last hour stay.

    Raises:
        StreamInUseError: A table is being maintained by another process.
    """
    done: dict[Finding, str] = {}
    tables = lake.tables()
    for name in sorted({f.table for f in findings if f.repair and f.table in tables}):
        with maintenance_lock(tables[name]):
            mine = [f for f in findings if f.table == name]
            done.update(_repair_table(lake, tables[name], mine, specs.get(name), finished))
    for finding in findings:
        if finding.kind == "spool_committed":
            done[finding] = _attempt(lambda f=finding: _clear_committed(lake, f))  # type: ignore[misc]
    if any(f.kind in {"catalog_behind", "catalog_differs", "dataset_unmirrored"} for f in findings) or done:
        outcome = _attempt(lambda: _repair_catalog(lake, catalog_url, findings))
        done.update({f: outcome for f in findings if f.kind.startswith("catalog_") and f.repair})
        done.update({f: outcome for f in findings if f.kind == "dataset_unmirrored"})
    return [
        replace(
            f,
            repaired=done[f] == "",
            detail=f.detail if not done[f] else f"{f.detail}; not mended: {done[f]}",
        )
        if f in done
        else f
        for f in findings
    ]


def _repair_table(
    lake: Lake, path: Path, findings: list[Finding], spec: TableSpec | None, finished: Finished
) -> dict[Finding, str]:
    done: dict[Finding, str] = {}
    kinds = {f.kind for f in findings if f.repair}

    def mend(names: set[str], action: Callable[[], object]) -> None:
        if kinds & names:
            outcome = _attempt(action)
            done.update({f: outcome for f in findings if f.kind in names and f.repair})

    mend(
        {"torn_commit", "empty_commit", "missing_commit", "torn_checkpoint"},
        lambda: recover_log(lake, path, spec=spec, whole=True),
    )
    mend({"lost_columns"}, lambda: widen_again(path))
    mend({"not_append_only"}, lambda: keep_append_only(path))
    mend({"lost_batch"}, lambda: _commit_lost(lake, path))
    if "orphan_file" in kinds:
        done.update(_delete_orphans(lake, path, findings))
    damaged = {f.subject for f in findings if f.kind in _DAMAGED_FILE and f.repair}
    mend(_DAMAGED_FILE, lambda: undo_compactions(path, damaged))
    mend({"doubled_rows"}, lambda: undo_doubled(path))
    if spec is not None:
        mend({"small_files"}, lambda: list(compact(path, spec, finished)))
    mend({"old_checkpoint"}, lambda: write_log_checkpoint(path))
    return done


def _commit_lost(lake: Lake, path: Path) -> None:
    # Judged again: mending the log may have brought them back already.
    lost = [o for o in find_orphans(lake, path) if o.verdict is Verdict.LOST]
    commit_lost(path, lost)


def _delete_orphans(lake: Lake, path: Path, findings: list[Finding]) -> dict[Finding, str]:
    done = {}
    with ExitStack() as stack:
        quiet = _no_writer(lake, stack)
        doomed = {
            o.path: o for o in find_orphans(lake, path) if o.verdict in {Verdict.LEFTOVER, Verdict.WAITING}
        }
        for finding in findings:
            if finding.kind != "orphan_file":
                continue
            orphan = doomed.get(finding.subject)
            if orphan is None:
                done[finding] = "it is needed by now"
            elif orphan.modified_s > time.time() - UNDER_WAY_S and not (quiet and _is_ours(orphan.path)):
                done[finding] = "a writer or another tool may be about to commit it: try again in an hour"
            else:
                done[finding] = _attempt(lambda f=finding: (path / f.subject).unlink())  # type: ignore[misc]
    return done


def _is_ours(path: str) -> bool:
    """Whether a data file has a name as `lake.data_file` gives: other tools know nothing of our locks."""
    return _OUR_FILE.fullmatch(path.rpartition("/")[2]) is not None


def _no_writer(lake: Lake, stack: ExitStack) -> bool:
    """Take the committer's lock of every app, if none is running; they are held as long as `stack`."""
    for spool in sorted(lake.spools.glob("*.db")):
        try:
            lock = ProcessLock(lake.spools / f"{spool.stem}.commit.lock", role="doctor")
        except StreamInUseError:
            return False
        stack.callback(lock.release)
    return True


def _clear_committed(lake: Lake, finding: Finding) -> None:
    lock = ProcessLock(
        lake.spools / f"{finding.table}.commit.lock",
        role=f"committer of app id {finding.table!r}",
        hint="its next flush clears them",
    )
    try:
        spool = Spool(lake.spools / f"{finding.table}.db")
        try:
            table = finding.subject.split(" ")[0]
            path = lake.path(table)
            handle = open_table(path)
            committed = handle.transaction_version(spool.stream)
            if committed is not None:
                sync_log(path, after=None, through=handle.version())
                spool.clear(table, committed)
        finally:
            spool.close()
    finally:
        lock.release()


def _repair_catalog(lake: Lake, url: str, findings: list[Finding]) -> None:
    with opened_database(url) as engine:
        if any(f.kind == "catalog_differs" for f in findings) or _differs(engine, lake):
            mirror.rebuild(lake, engine)
        else:
            mirror.sync(lake, engine)
        datasets.sync_datasets(lake, engine)


def _differs(engine: Engine, lake: Lake) -> bool:
    """Whether mending the log has changed what was mirrored of it."""
    return any(
        finding.kind == "catalog_differs"
        for name, path in lake.tables().items()
        for finding in compare_mirror(engine, lake, name, path)
    )


def _attempt(action: Callable[[], object]) -> str:
    """Why something could not be done, empty if it was."""
    try:
        action()
    except (StrikelakeError, OSError) as error:
        return str(error)
    return ""
