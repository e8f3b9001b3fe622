"""Find what is wrong with a lake, and name it; `catalog.doctor_repairs` mends what can be mended.

Each finding has a kind that never changes, for scripts:

| kind | what | `--repair` |
|---|---|---|
| `torn_commit`, `empty_commit`, `missing_commit` | a commit says nothing | replaced, with its rows |
| `torn_checkpoint` | a log checkpoint that cannot be read | removed: the commits are there |
| `lost_columns` | data files have columns that the table lacks | added again |
| `torn_archive` | archived commits that cannot be read | no |
| `history_gap` | commits cleaned up by another tool, not archived | no |
| `unreadable_table` | deltalake cannot open the table | no |
| `lost_batch` | a data file whose batch is in no commit and no spool | committed again |
| `orphan_file` | a data file that no version needs | deleted |
| `unknown_file` | a data file that no commit names and nobody can judge | no: it stays |
| `missing_file`, `unreadable_file` | a data file is gone or cannot be read | compacted ones: see below |
| `file_size`, `file_checksum` | a data file is not as committed | likewise |
| `doubled_rows` | two tools compacted the same files at once | one compaction is undone |
| `small_files` | a finished partition with many small files | compacted |
| `old_checkpoint` | many commits since the last log checkpoint | written |
| `not_append_only` | a drop was interrupted | set again |
| `catalog_behind` | commits that are not mirrored | mirrored |
| `catalog_differs` | rows of `ml_feature_batches` that the log does not know, or the reverse | rebuilt |
| `catalog_unavailable` | the catalog does not answer | no |
| `unreadable_spool` | a spool that cannot be read | no; data files that it may wait for stay |
| `spool_committed` | spool entries that the log has already | cleared, counted as committed |
| `ledger_unbalanced` | rows that were offered and are nowhere | no |
| `quarantine_file_missing` | a rejected input that was kept whole in a file, and the file is gone | no |
| `dataset_unreadable` | a dataset's manifest is damaged | no |
| `dataset_unmirrored` | the catalog's datasets are not those of the lake | mirrored |

A damaged file that was compacted in the last days gives way to the files that it was made of, see
`lake.undo_compaction`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from catalog.audit import file_damage
from catalog.doctor_catalog import examine_catalog
from catalog.findings import Finding
from catalog.quarantine_store import examine_store
from lake.commit_log import checkpoint_version, versions
from lake.compaction import ActiveFile, Finished, active_files, small_files
from lake.doubled_rows import doubled_rewrites
from lake.errors import DamagedTableError, SpoolUnavailableError, StrikelakeError
from lake.log_archive import archive_files, archive_gaps, archive_problem
from lake.log_damage import log_damage
from lake.lost_columns import lacking_columns
from lake.maintenance import maintenance_lock_file
from lake.orphans import Verdict, find_orphans
from lake.process_lock import is_held
from lake.snapshot import Snapshot, read_snapshot
from lake.spool import Spool
from lake.table import CHECKPOINT_INTERVAL, Lake, open_table
from lake.undo_compaction import sources_by_output

MANY_SMALL_FILES = 16
"""Small files of a finished partition from which compaction is worth asking for: a fifth of an hour's."""

_ORPHANS = {
    Verdict.LEFTOVER: "orphan_file",
    Verdict.WAITING: "orphan_file",
    Verdict.LOST: "lost_batch",
    Verdict.UNKNOWN: "unknown_file",
}


UNDER_WAY_S = 3600.0
"""A data file this young may belong to a commit under way."""

_LOG_DAMAGE = {
    "torn_commit": ("put a commit with the lost rows there", "the commit file is torn"),
    "empty_commit": (
        "put a commit with the lost rows there",
        "the commit file is empty, and Delta readers see a version without its rows",
    ),
    "missing_commit": ("put a commit with the lost rows there", "the commit file is gone"),
    "torn_checkpoint": ("remove it", "the log checkpoint cannot be read"),
}


def examine(
    lake: Lake,
    catalog_url: str,
    *,
    finished: Finished,
    checksums: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[Finding]:
    """Look at everything; changes nothing.

    Safe beside running writers: what they have under way is no finding.

    Args:
        lake: The lake.
        catalog_url: Its catalog.
        finished: Which partitions get no new rows.
        checksums: Read every data file and compare its checksum.
        progress: Called with the number of files just read.
    """
    findings: list[Finding] = []
    for name, path in lake.tables().items():
        findings += _examine_log(name, path)
        findings += _examine_orphans(lake, name, path)
        findings += _examine_files(name, path, finished, progress if checksums else None, checksums)
    findings += _examine_spools(lake)
    findings += examine_store(lake)
    findings += examine_catalog(lake, catalog_url)
    return findings


def _examine_log(name: str, path: Path) -> Iterator[Finding]:
    for damage in log_damage(path):
        mend, what = _LOG_DAMAGE[damage.kind]
        yield Finding(damage.kind, name, f"version {damage.version}", f"{what}: {damage.path.name}", mend)
    known = versions(path)
    unreadable = []
    for file in archive_files(path):
        if problem := archive_problem(file):
            unreadable.append(file)
            yield Finding("torn_archive", name, f"versions {file.first} to {file.last}", problem)
    for first, last in archive_gaps(path, before=min(known, default=0)):
        if not any(file.first <= first <= file.last for file in unreadable) and (first, last) != (0, 0):
            yield Finding(
                "history_gap", name, f"versions {first} to {last}",
                "cleaned up by another tool, and not archived: batches of these commits cannot be mirrored "
                "again",
            )  # fmt: skip


def _examine_orphans(lake: Lake, name: str, path: Path) -> Iterator[Finding]:
    try:
        orphans = find_orphans(lake, path)
    except SpoolUnavailableError:
        return  # named by the spool: nothing can be judged, and nothing is deleted
    # Of writers that run, and of other tools, the newest files may be about to be committed.
    now_s = time.time()
    busy = is_busy(lake, path)
    for orphan in orphans:
        young = orphan.modified_s > now_s - UNDER_WAY_S
        if young and orphan.verdict is not Verdict.LOST and busy:
            continue
        mend = {
            Verdict.LOST: "commit it again", Verdict.LEFTOVER: "delete it", Verdict.WAITING: "delete it",
        }.get(orphan.verdict, "")  # fmt: skip
        yield Finding(_ORPHANS[orphan.verdict], name, orphan.path, f"no commit names it: {orphan.why}", mend)


def is_busy(lake: Lake, table_path: Path) -> bool:
    """Whether a writer of this lake is running, or maintenance of this table."""
    locks = [*lake.spools.glob("*.commit.lock"), maintenance_lock_file(table_path)]
    return any(is_held(lock) for lock in locks)


def _examine_files(
    name: str, path: Path, finished: Finished, progress: Callable[[int], None] | None, checksums: bool
) -> Iterator[Finding]:
    try:
        handle = open_table(path)
        files = active_files(handle)
        snapshot = read_snapshot(path)
        lacking = lacking_columns(path)
    except StrikelakeError as error:
        yield Finding("unreadable_table", name, str(path), str(error))
        return
    if handle.metadata().configuration.get("delta.appendOnly") != "true":
        yield Finding(
            "not_append_only", name, "delta.appendOnly", "a drop was interrupted", "set the property again"
        )
    if lacking:
        told = "data files have these columns, the table does not: the commit that added them is lost"
        yield Finding("lost_columns", name, ", ".join(lacking), told, "add them again")
    for rewrites in doubled_rewrites(path):
        where = " and ".join(str(one.version) for one in rewrites)
        told = "compactions of the same files, and both are in the table: their rows are there twice"
        yield Finding("doubled_rows", name, f"versions {where}", told, "undo one of them")
    behind = handle.version() - checkpoint_version(path)
    if behind > 2 * CHECKPOINT_INTERVAL:
        told = f"{behind:,} commits since the last log checkpoint: opening the table is slow"
        yield Finding("old_checkpoint", name, f"version {handle.version()}", told, "write one")
    for group in small_files(files, finished).values():
        if len(group) >= MANY_SMALL_FILES:
            where = ", ".join(f"{key}={value}" for key, value in group[0].partition.items())
            told = f"{len(group):,} small files in a finished session"
            yield Finding("small_files", name, where, told, "compact them")
    yield from _damaged_files(name, path, snapshot, files, progress, checksums)


def _damaged_files(
    name: str,
    path: Path,
    snapshot: Snapshot,
    files: list[ActiveFile],
    progress: Callable[[int], None] | None,
    checksums: bool,
) -> Iterator[Finding]:
    try:
        damaged = list(file_damage(name, snapshot, files, checksums=checksums, progress=progress))
    except DamagedTableError:
        # A damaged commit or archive, named already: without it no checksum is known, but sizes are.
        damaged = list(file_damage(name, snapshot, files, checksums=False))
    usable = sources_by_output(path, {str(one.path) for one in damaged}) if damaged else {}
    for one in damaged:
        sources = usable.get(str(one.path), ())
        mend = f"put the {len(sources):,} files back that it was compacted from" if sources else ""
        yield Finding(one.kind, name, str(one.path), one.detail, mend)


def _examine_spools(lake: Lake) -> Iterator[Finding]:
    for file in sorted(lake.spools.glob("*.db")):
        try:
            spool = Spool(file, read_only=True)
            try:
                yield from _examine_spool(lake, file.stem, spool)
            finally:
                spool.close()
        except SpoolUnavailableError as error:
            yield Finding("unreadable_spool", file.stem, file.name, str(error))


def _examine_spool(lake: Lake, app_id: str, spool: Spool) -> Iterator[Finding]:
    for row in spool.ledger():
        if row.difference:
            told = f"{row.difference:,} rows of {row.table} {row.group} were offered and are nowhere"
            yield Finding("ledger_unbalanced", app_id, f"{row.table} {row.group}", told)
    running = is_held(lake.spools / f"{app_id}.commit.lock")
    for table in spool.tables():
        path = lake.tables().get(table)
        oldest = spool.oldest(table)
        try:
            committed = open_table(path).transaction_version(spool.stream) if path else None
        except StrikelakeError:
            continue  # named by the table
        # A committer that runs may be between its commit and its clearing.
        if committed is not None and oldest is not None and oldest <= committed and not running:
            yield Finding(
                "spool_committed", app_id, f"{table} {oldest} to {committed}",
                "entries that the log has already: their writer died before it cleared them",
                "clear them, as the next flush would",
            )  # fmt: skip
