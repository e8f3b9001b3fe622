"""Keep a lake fast as it ages: compact, write a log checkpoint, clean the log, delete what no version needs.

One call, safe at any time and beside running writers. A commit leaves the log `retention` after it was
made, once a log checkpoint sums it up; it is kept in the archive, and the files that it removed are
deleted with it. So a version can be read as long as its commit is in the log, and costs depend on the
retention, not on the age of the lake.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from lake.append import sync_log, write_log_checkpoint
from lake.commit_log import (
    Commit,
    checkpoint_version,
    commit_file,
    commits_after,
    read_actions,
    read_commit,
    versions,
)
from lake.compaction import Compacted, Finished, active_files, compact, small_files
from lake.durability import fsync_directory
from lake.errors import CommitConflictError, DamagedTableError, StrikelakeError
from lake.log_archive import FOLDER, ArchivedCommit, archive_commits, archived_through
from lake.log_damage import can_be_read
from lake.process_lock import ProcessLock
from lake.table import Lake, TableSpec, open_table

logger = logging.getLogger(__name__)

RETENTION = timedelta(days=7)
"""How long a commit stays in the log: Delta's own default for removed files."""

_CHECKPOINT_AFTER = 10  # commits since the last log checkpoint that make another worth its file
_COMMITS_AN_ARCHIVE = 10_000


@dataclass(frozen=True, slots=True)
class Maintained:
    """What maintenance did to one table.

    Attributes:
        table: Table name.
        compacted: Its compactions, one a partition.
        checkpoint: Version of the log checkpoint it wrote, None if the last one was recent.
        archived_commits: Commits that moved from the log into the archive.
        deleted_files: Data files deleted that no version in the log needs.
        freed_bytes: Their size.
        problems: What could not be done, and why; empty if all was.
    """

    table: str
    compacted: tuple[Compacted, ...] = ()
    checkpoint: int | None = None
    archived_commits: int = 0
    deleted_files: int = 0
    freed_bytes: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CleanedLog:
    """Commits archived, and the data files that went with them."""

    commits: int = 0
    files: int = 0
    bytes: int = 0


def maintain(
    lake: Lake,
    specs: Mapping[str, TableSpec],
    finished: Finished,
    *,
    retention: timedelta = RETENTION,
    now: datetime | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Maintained]:
    """Look after every table that there is a spec for.

    Args:
        lake: The lake.
        specs: Layout by table name.
        finished: Which partitions to compact.
        retention: Age at which commits leave the log.
        now: The moment it is, for tests and simulations.
        progress: Called with the number of files just compacted.

    Returns:
        What was done, by table; a problem with one table does not keep the others waiting.

    Raises:
        StreamInUseError: Another process is maintaining a table of this lake.
        SpoolUnavailableError: The lock cannot be taken: the folder is read-only, or the disk full.
    """
    moment = now or datetime.now(UTC)
    done = []
    for name, path in lake.tables().items():
        if name not in specs:
            continue
        with maintenance_lock(path):
            done.append(_maintain_table(path, specs[name], finished, retention, moment, progress))
    return done


def files_to_compact(lake: Lake, specs: Mapping[str, TableSpec], finished: Finished) -> int:
    """How many files `maintain` would compact now.

    Raises:
        DamagedTableError: A table cannot be opened.
    """
    return sum(
        sum(len(group) for group in small_files(active_files(open_table(path)), finished).values())
        for name, path in lake.tables().items()
        if name in specs
    )


@contextmanager
def maintenance_lock(table_path: Path) -> Iterator[None]:
    """At most one process rewrites or deletes files of a table: two compactions would double its rows.

    Raises:
        StreamInUseError: Another process holds it.
    """
    lock = ProcessLock(
        table_path / FOLDER / "maintenance.lock",
        role=f"maintenance of {table_path.name}",
        hint="wait until it is done",
    )
    try:
        yield
    finally:
        lock.release()


def _maintain_table(
    path: Path,
    spec: TableSpec,
    finished: Finished,
    retention: timedelta,
    now: datetime,
    progress: Callable[[int], None] | None,
) -> Maintained:
    started = time.perf_counter()
    compacted: list[Compacted] = []
    problems: list[str] = []
    checkpoint = None
    cleaned = CleanedLog()
    try:
        keep_append_only(path)
        try:
            for one in compact(path, spec, finished, progress=progress, now_ms=_ms(now)):
                compacted.append(one)  # noqa: PERF402 - what was done counts when it fails half-way
        except (DamagedTableError, CommitConflictError) as error:
            problems.append(str(error))
        newest = open_table(path).version()
        if newest - checkpoint_version(path) >= _CHECKPOINT_AFTER:
            write_log_checkpoint(path)
            checkpoint = newest
        cleaned = clean_log(path, before=now - retention)
    except (StrikelakeError, OSError) as error:
        problems.append(str(error))
    logger.info(
        "table maintained",
        extra={
            "action": "maintain", "table": spec.name, "checkpoint": checkpoint,
            "compacted_files": sum(c.files_before for c in compacted),
            "archived_commits": cleaned.commits, "deleted_files": cleaned.files,
            "problems": len(problems), "wall_s": round(time.perf_counter() - started, 3),
        },
    )  # fmt: skip
    return Maintained(
        table=spec.name,
        compacted=tuple(compacted),
        checkpoint=checkpoint,
        archived_commits=cleaned.commits,
        deleted_files=cleaned.files,
        freed_bytes=cleaned.bytes,
        problems=tuple(problems),
    )


def clean_log(table_path: Path, *, before: datetime, dry_run: bool = False) -> CleanedLog:
    """Archive the commits made before a moment that a log checkpoint sums up, and delete what they removed.

    To be called under the table's maintenance lock. It can be interrupted anywhere: commits are deleted
    from the log only once they are archived and the files that they removed are gone.

    Args:
        table_path: Folder of the table.
        before: Commits of this moment and later stay.
        dry_run: Only tell what would be done.

    Raises:
        DamagedTableError: A commit cannot be read; nothing newer is touched.
        OSError: The disk failed.
    """
    known = versions(table_path)
    keep = _oldest_to_keep(table_path, known, before)
    old = [v for v in known if v < keep]
    if not old:
        return CleanedLog()
    needed = _needed_since(table_path, keep)
    if not dry_run:
        # Before a commit leaves the log, whatever it says has to be on the disk in the checkpoint.
        sync_log(table_path, after=keep - 1, through=open_table(table_path).version())
    archived = archived_through(table_path)
    files = size = 0
    for start in range(0, len(old), _COMMITS_AN_ARCHIVE):
        chunk = [_read_for_archive(table_path, v) for v in old[start : start + _COMMITS_AN_ARCHIVE]]
        doomed = {
            unquote(remove["path"])
            for one in chunk
            for remove in Commit.of(one.version, one.actions, one.modified_ms).removes
        } - needed
        if dry_run:
            sizes = [(table_path / path).stat().st_size for path in doomed if (table_path / path).exists()]
            files, size = files + len(sizes), size + sum(sizes)
            continue
        for run in _runs([c for c in chunk if c.version > archived]):
            archive_commits(table_path, run)
        for path in sorted(doomed):
            freed = delete_data_file(table_path / path)
            files, size = files + (freed is not None), size + (freed or 0)
        for one in chunk:
            commit_file(table_path, one.version).unlink(missing_ok=True)
    if not dry_run:
        for checkpoint in (table_path / "_delta_log").glob("*.checkpoint*.parquet"):
            if int(checkpoint.name[:20]) < keep:
                checkpoint.unlink(missing_ok=True)
        fsync_directory(table_path / "_delta_log")
    return CleanedLog(len(old), files, size)


def _needed_since(table_path: Path, keep: int) -> set[str]:
    """Files that any version from `keep` on needs; reads the whole log checkpoint of `keep` on the way."""
    needed = {f.path for f in active_files(open_table(table_path, keep))}
    for commit in commits_after(table_path, keep):
        needed |= {unquote(add["path"]) for add in commit.adds}
    return needed | {f.path for f in active_files(open_table(table_path))}


def _runs(commits: list[ArchivedCommit]) -> Iterator[list[ArchivedCommit]]:
    """Parts without a gap: one archive file has consecutive commits."""
    run: list[ArchivedCommit] = []
    for one in commits:
        if run and one.version != run[-1].version + 1:
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def keep_append_only(table_path: Path) -> bool:
    """Set `delta.appendOnly` again if a `drop` was interrupted before it could; True if it was needed.

    Raises:
        DamagedTableError: The table cannot be opened.
    """
    handle = open_table(table_path)
    if handle.metadata().configuration.get("delta.appendOnly") == "true":
        return False
    handle.alter.set_table_properties({"delta.appendOnly": "true"})
    sync_log(table_path, after=None, through=open_table(table_path).version())
    return True


def _oldest_to_keep(table_path: Path, known: list[int], before: datetime) -> int:
    """The newest version with a log checkpoint that was made before a moment; 0 if there is none."""
    present = set(known)
    for path in sorted((table_path / "_delta_log").glob("*.checkpoint*.parquet"), reverse=True):
        version = int(path.name[:20])
        if version in present and read_commit(table_path, version).time < before and can_be_read(path):
            return version
    return 0


def _read_for_archive(table_path: Path, version: int) -> ArchivedCommit:
    path = commit_file(table_path, version)
    try:
        return ArchivedCommit(version, path.stat().st_mtime_ns // 1_000_000, read_actions(path))
    except ValueError as error:
        raise DamagedTableError(f"commit {version} of {table_path.name} {error}: {path}") from error


def delete_data_file(path: Path) -> int | None:
    """Delete a data file; its size, None if it was gone already or somebody has it open (Windows)."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        logger.warning(
            "data file not deleted", extra={"action": "delete", "file": str(path), "error": str(error)}
        )
        return None
    return size


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
