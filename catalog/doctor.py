"""Find what is wrong with a lake, and name it; `catalog.doctor_repairs` mends what can be mended.

Each finding has a kind that never changes, for scripts:

| kind | what | `--repair` |
|---|---|---|
| `torn_commit`, `empty_commit`, `missing_commit` | a commit says nothing | replaced, with its rows |
| `torn_checkpoint` | a log checkpoint that cannot be read | removed: the commits are there |
| `history_gap` | commits cleaned up by another tool, not archived | no |
| `unreadable_table` | deltalake cannot open the table | no |
| `lost_batch` | a data file whose batch is in no commit and no spool | committed again |
| `orphan_file` | a data file that no version needs | deleted |
| `unknown_file` | a data file that no commit names and nobody can judge | no: it stays |
| `missing_file`, `file_size`, `file_checksum`, `unreadable_file` | a data file is not as committed | no |
| `small_files` | a finished partition with many small files | compacted |
| `old_checkpoint` | many commits since the last log checkpoint | written |
| `not_append_only` | a drop was interrupted | set again |
| `catalog_behind` | commits that are not mirrored | mirrored |
| `catalog_differs` | rows of `ml_feature_batches` that the log does not know, or the reverse | rebuilt |
| `catalog_unavailable` | the catalog does not answer | no |
| `spool_committed` | spool entries that the log has already | cleared, counted as committed |
| `ledger_unbalanced` | rows that were offered and are nowhere | no |
| `dataset_unreadable` | a dataset's manifest is damaged | no |
| `dataset_unmirrored` | the catalog's datasets are not those of the lake | mirrored |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select

from catalog import dataset_manifest
from catalog.audit import file_damage
from catalog.database import opened_database, transaction
from catalog.datasets import mirrored_datasets
from catalog.models import FeatureBatch, MirrorCursor
from lake.commit_log import checkpoint_version, commits_after, versions
from lake.compaction import Finished, active_files, small_files
from lake.errors import CatalogUnavailableError, DamagedTableError, SettingsError, StrikelakeError
from lake.log_archive import archived_through
from lake.log_damage import log_damage
from lake.orphans import Verdict, find_orphans
from lake.snapshot import read_snapshot
from lake.spool import Spool
from lake.table import CHECKPOINT_INTERVAL, Lake, open_table

MANY_SMALL_FILES = 16
"""Small files of a finished partition from which compaction is worth asking for: a fifth of an hour's."""

_ORPHANS = {
    Verdict.LEFTOVER: "orphan_file",
    Verdict.WAITING: "orphan_file",
    Verdict.LOST: "lost_batch",
    Verdict.UNKNOWN: "unknown_file",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: Stable code, see the table of this module.
        table: Table, spool or dataset concerned.
        subject: File, version, partition or batch.
        detail: For a person: what is wrong, and what it means.
        repair: What `--repair` does about it, empty if it cannot.
        repaired: True once that is done.
    """

    kind: str
    table: str
    subject: str
    detail: str
    repair: str = ""
    repaired: bool = False


def examine(
    lake: Lake,
    catalog_url: str,
    *,
    finished: Finished,
    checksums: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[Finding]:
    """Everything that is wrong with a lake; changes nothing.

    Args:
        lake: The lake.
        catalog_url: SQLAlchemy URL of the catalog.
        finished: Which partitions should be compacted.
        checksums: Read every data file and compare its checksum.
        progress: Called with the number of files just read.
    """
    findings: list[Finding] = []
    for name, path in lake.tables().items():
        findings += _examine_table(lake, name, path, finished, progress if checksums else None, checksums)
    findings += _examine_spools(lake)
    findings += _examine_catalog(lake, catalog_url)
    return findings


def _examine_table(
    lake: Lake,
    name: str,
    path: Path,
    finished: Finished,
    progress: Callable[[int], None] | None,
    checksums: bool,
) -> Iterator[Finding]:
    for damage in log_damage(path):
        mend = "remove it" if damage.kind == "torn_checkpoint" else "put a commit with the lost rows there"
        what = {
            "torn_commit": "the commit file ends in the middle",
            "empty_commit": "the commit file is empty: Delta readers see a version without its rows",
            "missing_commit": "the commit file is gone",
            "torn_checkpoint": "the log checkpoint cannot be read",
        }[damage.kind]
        damaged_creation = damage.version == 0 and damage.kind != "torn_checkpoint"
        yield Finding(damage.kind, name, f"version {damage.version}", what, "" if damaged_creation else mend)
    known = versions(path)
    if known and known[0] > archived_through(path) + 1:
        first, last = archived_through(path) + 1, known[0] - 1
        yield Finding(
            "history_gap", name, f"versions {first} to {last}",
            "cleaned up by another tool, and not archived: batches of these commits cannot be mirrored again",
        )  # fmt: skip
    yield from _orphans(lake, name, path)
    try:
        handle = open_table(path)
        files = active_files(handle)
    except StrikelakeError as error:
        yield Finding("unreadable_table", name, str(path), str(error))
        return
    if handle.metadata().configuration.get("delta.appendOnly") != "true":
        yield Finding(
            "not_append_only", name, "delta.appendOnly", "a drop was interrupted", "set the property again"
        )
    behind = handle.version() - checkpoint_version(path)
    if behind > 2 * CHECKPOINT_INTERVAL:
        told = f"{behind:,} commits since the last log checkpoint: opening the table is slow"
        yield Finding("old_checkpoint", name, f"version {handle.version()}", told, "write one")
    for group in small_files(files, finished).values():
        if len(group) >= MANY_SMALL_FILES:
            where = ", ".join(f"{key}={value}" for key, value in group[0].partition.items())
            yield Finding(
                "small_files",
                name,
                where,
                f"{len(group):,} small files in a finished session",
                "compact them",
            )
    for damage_ in file_damage(name, read_snapshot(path), files, checksums=checksums, progress=progress):
        yield Finding(damage_.kind, name, str(damage_.path), damage_.detail)


def _orphans(lake: Lake, name: str, path: Path) -> Iterator[Finding]:
    for orphan in find_orphans(lake, path):
        mend = {
            Verdict.LOST: "commit it again", Verdict.LEFTOVER: "delete it", Verdict.WAITING: "delete it",
        }.get(orphan.verdict, "")  # fmt: skip
        yield Finding(_ORPHANS[orphan.verdict], name, orphan.path, f"no commit names it: {orphan.why}", mend)


def _examine_spools(lake: Lake) -> Iterator[Finding]:
    for file in sorted(lake.spools.glob("*.db")):
        try:
            spool = Spool(file, read_only=True)
        except StrikelakeError as error:
            yield Finding("unreadable_file", file.stem, str(file), str(error))
            continue
        try:
            for row in spool.ledger():
                if row.difference:
                    told = f"{row.difference:,} rows of {row.table} {row.group} were offered and are nowhere"
                    yield Finding("ledger_unbalanced", file.stem, f"{row.table} {row.group}", told)
            for table in spool.tables():
                path = lake.tables().get(table)
                oldest = spool.oldest(table)
                try:
                    committed = open_table(path).transaction_version(spool.stream) if path else None
                except DamagedTableError:
                    continue  # named by the table
                if committed is not None and oldest is not None and oldest <= committed:
                    yield Finding(
                        "spool_committed", file.stem, f"{table} {oldest} to {committed}",
                        "entries that the log has already: their writer died before it cleared them",
                        "clear them, as the next flush would",
                    )  # fmt: skip
        finally:
            spool.close()


def _examine_catalog(lake: Lake, url: str) -> Iterator[Finding]:
    try:
        with opened_database(url) as engine:
            for name, path in lake.tables().items():
                yield from compare_mirror(engine, name, path)
            yield from _compare_datasets(lake, engine)
    except (CatalogUnavailableError, SettingsError) as error:
        yield Finding("catalog_unavailable", "catalog", "database", str(error))


def compare_mirror(engine: Engine, name: str, path: Path) -> Iterator[Finding]:
    """Whether the catalog has the batches of one table's log, no more and no less."""
    with transaction(engine) as connection:
        cursor = connection.execute(
            select(MirrorCursor.table_version).where(MirrorCursor.table_name == name)
        ).scalar_one_or_none()
        query = select(FeatureBatch.table_version, FeatureBatch.checksum, FeatureBatch.batch_id)
        mirrored = {tuple(row) for row in connection.execute(query.where(FeatureBatch.table_name == name))}
    at = -1 if cursor is None else cursor
    newest = max(versions(path), default=-1)
    if newest > at:
        yield Finding(
            "catalog_behind",
            name,
            f"version {at}",
            f"{newest - at:,} commits are not mirrored",
            "mirror them",
        )
    if newest < at:
        told = f"the catalog has mirrored version {at}, the log ends at {newest}"
        yield Finding("catalog_differs", name, f"version {at}", told, "rebuild the mirror")
        return
    in_log = set()
    try:
        for commit in commits_after(path, -1):
            if commit.version > at:
                break
            records = commit.batch.get("files", {})
            in_log |= {
                (commit.version, records[add["path"]]["sha256"], commit.batch.get("batch_id"))
                for add in commit.adds
                if add.get("dataChange", True) and add["path"] in records
            }
    except DamagedTableError:
        return  # named by the table
    ours = {row for row in mirrored if row[2] is not None}
    if ours != in_log:
        extra, missing = len(ours - in_log), len(in_log - ours)
        yield Finding(
            "catalog_differs", name, "ml_feature_batches",
            f"{extra:,} batches are not (so) in the log, {missing:,} of the log are not in the catalog",
            "rebuild the mirror",
        )  # fmt: skip


def _compare_datasets(lake: Lake, engine: Engine) -> Iterator[Finding]:
    with transaction(engine) as connection:
        known = mirrored_datasets(connection)
    present = {}
    for name in dataset_manifest.names(lake):
        try:
            dataset = dataset_manifest.read(lake, name)
            dataset.batches()
            present[name] = dataset.manifest_sha256
        except DamagedTableError as error:
            yield Finding("dataset_unreadable", name, "manifest", str(error))
            known.pop(name, None)
    for name in sorted(known.keys() | present.keys()):
        if known.get(name) != present.get(name):
            told = {
                (True, False): "the catalog knows it, the lake does not",
                (False, True): "the lake has it, the catalog does not know it",
                (True, True): "its manifest is not the one that the catalog knows",
            }[name in known, name in present]
            yield Finding("dataset_unmirrored", name, "manifest", told, "take what the lake says")
