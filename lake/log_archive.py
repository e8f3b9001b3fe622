"""Commits that left the Delta log: kept beside it, compressed, so that nothing recorded is ever lost.

Delta's own log clean-up forgets what a commit said. Here old commits move, as they are, into
`<table>/_strikelake/commits-<first>-<last>.jsonl.gz`, one JSON object a line: `version`, `modified_ms`
(the commit file's time) and `actions`. Delta readers and vacuum pass over folders that begin with `_`.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lake.durability import fsync_directory, write_durably
from lake.errors import DamagedTableError

FOLDER = "_strikelake"
_NAME = re.compile(r"commits-(\d{20})-(\d{20})\.jsonl\.gz")


@dataclass(frozen=True, slots=True)
class ArchivedCommit:
    """One commit as the log had it.

    Attributes:
        version: Version it made.
        modified_ms: Time of the commit file, epoch milliseconds.
        actions: The lines of the commit file.
    """

    version: int
    modified_ms: int
    actions: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """Consecutive commits in one file, `first` to `last`."""

    first: int
    last: int
    path: Path


def archive_files(table_path: Path) -> list[ArchiveFile]:
    """The archive of a table, oldest first; files whose commits a longer one has as well are left out."""
    found = [
        ArchiveFile(int(match[1]), int(match[2]), path)
        for path in (table_path / FOLDER).glob("commits-*.jsonl.gz")
        if (match := _NAME.fullmatch(path.name))
    ]
    files: list[ArchiveFile] = []
    for file in sorted(found, key=lambda f: (f.first, -f.last)):
        if not files or file.last > files[-1].last:
            files.append(file)
    return files


def archive_gaps(table_path: Path, *, before: int) -> list[tuple[int, int]]:
    """First and last of each run of versions that are not archived or cannot be read; sorted.

    Args:
        table_path: Folder of the table.
        before: Oldest version that is still in the log.
    """
    gaps = []
    at = 0
    for file in archive_files(table_path):
        if archive_problem(file):
            continue
        if at < min(file.first, before):
            gaps.append((at, min(file.first, before) - 1))
        at = max(at, file.last + 1)
    return [*gaps, (at, before - 1)] if at < before else gaps


def archived_through(table_path: Path) -> int:
    """Newest archived version, -1 if there is none."""
    files = archive_files(table_path)
    return files[-1].last if files else -1


def archived_commits(table_path: Path, *, after: int = -1) -> Iterator[ArchivedCommit]:
    """Archived commits newer than `after`, oldest first.

    Raises:
        DamagedTableError: An archive file cannot be read.
    """
    for file in archive_files(table_path):
        if file.last > after:
            for commit in read_archive(file):
                if commit.version > after:
                    after = commit.version
                    yield commit


def archived_commit(table_path: Path, version: int) -> ArchivedCommit | None:
    """One archived commit, None if the archive does not have it.

    Raises:
        DamagedTableError: The archive file cannot be read.
    """
    for file in archive_files(table_path):
        if file.first <= version <= file.last:
            return read_archive(file)[version - file.first]
    return None


def read_archive(file: ArchiveFile) -> tuple[ArchivedCommit, ...]:
    """All commits of one archive file, oldest first.

    Raises:
        DamagedTableError: It cannot be read, or does not have the commits that its name says.
    """
    commits = _read(file.path, _modified_ns(file.path))
    if [c.version for c in commits] != list(range(file.first, file.last + 1)):
        raise DamagedTableError(f"the archive of old commits {file.path} lacks some of them")
    return commits


def archive_problem(file: ArchiveFile) -> str:
    """Why an archive file cannot be read, empty if it can; each file is only read once."""
    return _problem(file, _modified_ns(file.path))


@lru_cache(maxsize=4096)
def _problem(file: ArchiveFile, modified_ns: int) -> str:
    del modified_ns  # part of the cache's key
    try:
        read_archive(file)
    except DamagedTableError as error:
        return str(error)
    return ""


def archive_commits(table_path: Path, commits: list[ArchivedCommit]) -> ArchiveFile:
    """Write consecutive commits into one new file, synced; they may be deleted from the log afterwards.

    Raises:
        OSError: The disk is full or failed; no file is left.
    """
    first, last = commits[0].version, commits[-1].version
    lines = "".join(
        json.dumps(
            {"version": c.version, "modified_ms": c.modified_ms, "actions": list(c.actions)},
            separators=(",", ":"), ensure_ascii=True,
        ) + "\n"
        for c in commits
    )  # fmt: skip
    folder = table_path / FOLDER
    folder.mkdir(exist_ok=True)
    target = folder / f"commits-{first:020d}-{last:020d}.jsonl.gz"
    draft = folder / f"{uuid.uuid4().hex}.tmp"
    # mtime=0: the same commits make the same bytes, whoever archives them.
    write_durably(draft, gzip.compress(lines.encode(), 6, mtime=0))
    os.replace(draft, target)  # noqa: PTH105 - Path.replace says less plainly that the target may be there
    fsync_directory(folder)
    fsync_directory(table_path)
    return ArchiveFile(first, last, target)


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading it will say why


@lru_cache(maxsize=4)
def _read(path: Path, modified_ns: int) -> tuple[ArchivedCommit, ...]:
    del modified_ns  # part of the cache's key
    try:
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        parsed = [json.loads(line) for line in lines if line]
        return tuple(ArchivedCommit(p["version"], p["modified_ms"], tuple(p["actions"])) for p in parsed)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DamagedTableError(f"the archive of old commits {path} cannot be read: {error}") from error
