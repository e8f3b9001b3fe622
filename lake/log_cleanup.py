"""Take old commits out of a Delta log: into the archive, and the files that they removed off the disk.

Delta's own clean-up only deletes commit files, and forgets what they said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from lake.append import sync_log
from lake.commit_log import Commit, commit_file, commits_after, read_actions, read_commit, versions
from lake.compaction import active_files
from lake.durability import fsync_directory
from lake.errors import DamagedTableError
from lake.log_archive import ArchivedCommit, archive_commits, archived_through
from lake.log_damage import can_be_read
from lake.table import open_table

logger = logging.getLogger(__name__)

_COMMITS_AN_ARCHIVE = 10_000


@dataclass(frozen=True, slots=True)
class CleanedLog:
    """Commits archived, and the data files that went with them."""

    commits: int = 0
    files: int = 0
    bytes: int = 0


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
