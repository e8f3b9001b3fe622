"""Read single commits of a Delta log, and of its archive where the log has been cleaned up.

deltalake answers for whole snapshots, at a cost that grows with the table; following the log one
commit at a time costs the same however old the table is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lake.errors import DamagedTableError, VersionNotFoundError
from lake.log_archive import archived_commit, archived_commits, archived_through

METADATA_KEY = "strikelake"
"""Key of our own record in `commitInfo`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table.

    Attributes:
        version: Version this commit made.
        time: When it was made. Our own commits never say an earlier time than the one before, also when the
            clock was set back.
        operation: What it did: Delta's name, e.g. `WRITE`, `CREATE TABLE`; of our own, `COMPACTION` ...
        adds: The add actions as in the log.
        removes: The remove actions as in the log.
        transactions: Last sequence by stream id, from the txn actions.
        batch: What we recorded with the commit: of a micro-batch its id and files, see `lake.append`; of a
            compaction its files, see `lake.compaction`; empty for commits of others.
    """

    version: int
    time: datetime
    operation: str
    adds: tuple[Mapping[str, Any], ...] = ()
    removes: tuple[Mapping[str, Any], ...] = ()
    transactions: Mapping[str, int] = field(default_factory=dict)
    batch: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, version: int, actions: Sequence[Mapping[str, Any]], modified_ms: int) -> Commit:
        """The commit that these actions make; `modified_ms` counts where they do not tell the time."""
        info: Mapping[str, Any] = next((a["commitInfo"] for a in actions if "commitInfo" in a), {})
        record = info.get(METADATA_KEY) or {}
        milliseconds = info.get("timestamp")
        time_ms = max(modified_ms if milliseconds is None else milliseconds, record.get("not_before_ms") or 0)
        return cls(
            version=version,
            time=_EPOCH + timedelta(milliseconds=time_ms),
            operation=str(record.get("operation") or info.get("operation", "")),
            adds=tuple(a["add"] for a in actions if "add" in a),
            removes=tuple(a["remove"] for a in actions if "remove" in a),
            transactions={a["txn"]["appId"]: int(a["txn"]["version"]) for a in actions if "txn" in a},
            batch=record,
        )

    @property
    def rows(self) -> int:
        """Rows added, from the statistics of the files."""
        return sum(int(json.loads(add.get("stats") or "{}").get("numRecords", 0)) for add in self.adds)


def commit_file(table_path: Path, version: int) -> Path:
    """Where the log keeps a commit."""
    return table_path / "_delta_log" / f"{version:020d}.json"


def read_commit(table_path: Path, version: int) -> Commit:
    """One commit, from the log or its archive.

    Raises:
        VersionNotFoundError: Neither has that version.
        DamagedTableError: The file is empty or torn.
    """
    path = commit_file(table_path, version)
    try:
        actions = read_actions(path)
        modified_ms = path.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError as error:
        archived = archived_commit(table_path, version)
        if archived is None:
            raise VersionNotFoundError(f"the log of {table_path.name} has no commit {version}") from error
        return Commit.of(version, archived.actions, archived.modified_ms)
    except ValueError as error:
        raise DamagedTableError(
            f"commit {version} of {table_path.name} {error}: {path}; run 'strikelake lake doctor --repair'"
        ) from error
    return Commit.of(version, actions, modified_ms)


def read_actions(path: Path) -> tuple[dict[str, Any], ...]:
    """The actions of a commit file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty or torn; the message is the end of a sentence about it.
    """
    content = path.read_bytes()
    try:
        # Not splitlines(): deltalake writes U+2028 and its like unescaped within a line.
        actions = tuple(json.loads(line) for line in content.decode().split("\n") if line.strip())
    except ValueError as error:
        raise ValueError("is torn") from error
    if not actions:
        raise ValueError("is empty")
    if not all(isinstance(action, dict) for action in actions):
        raise ValueError("has lines that are not actions")
    return actions


def versions(table_path: Path) -> list[int]:
    """Versions whose commit files are still in the log, oldest first."""
    names = (path.stem for path in (table_path / "_delta_log").glob("*.json"))
    return sorted(int(name) for name in names if name.isdigit() and len(name) == 20)


def first_recorded(table_path: Path) -> int | None:
    """Oldest version that the archive or the log still tells of."""
    known = versions(table_path)
    if archived_through(table_path) >= 0:
        return next(iter(archived_commits(table_path))).version
    return known[0] if known else None


def is_recorded(table_path: Path, version: int) -> bool:
    """Whether the log or its archive has a commit of that version."""
    return commit_file(table_path, version).exists() or 0 <= version <= archived_through(table_path)


def commits_after(table_path: Path, version: int) -> Iterator[Commit]:
    """Commits newer than `version`, oldest first, up to the newest there is; archived ones included.

    Raises:
        DamagedTableError: A commit is empty or torn, or the archive cannot be read.
    """
    while True:
        before = version
        while commit_file(table_path, version + 1).exists():
            version += 1
            yield read_commit(table_path, version)
        # Also between commits of the log: a power cut may undo some of the deletions of a clean-up.
        for archived in archived_commits(table_path, after=version):
            if archived.version != version + 1:
                break  # a hole: the caller finds that it did not get as far as the newest version
            version = archived.version
            yield Commit.of(version, archived.actions, archived.modified_ms)
        if version == before:
            return


def checkpoint_version(table_path: Path) -> int:
    """Version of the newest log checkpoint, -1 if there is none."""
    checkpoints = [path.name[:20] for path in (table_path / "_delta_log").glob("*.checkpoint*.parquet")]
    return int(max(checkpoints)) if checkpoints else -1


def time_of_ms(table_path: Path, base: int) -> int:
    """Epoch milliseconds of the commit that the next one builds on, 0 if that cannot be read.

    Recorded with each commit, so that times do not fall when a clock is set back: time travel looks for
    the newest commit before a moment (delta-rs does not write Delta's own in-commit timestamps).
    """
    try:
        return int(read_commit(table_path, base).time.timestamp() * 1000)
    except (VersionNotFoundError, DamagedTableError):
        return 0


def version_at(table_path: Path, moment: datetime) -> int:
    """The newest version committed at or before a moment; of archived ones, too.

    Uses the time recorded in each commit, not the file's: copying a lake does not move it in time.

    Raises:
        VersionNotFoundError: The table did not exist then, or the log of that time is gone.
        DamagedTableError: A commit cannot be read.
    """
    numbers = versions(table_path)
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        if read_commit(table_path, numbers[middle]).time <= moment:
            low = middle + 1
        else:
            high = middle
    if low > 0:
        return numbers[low - 1]
    found, first = None, None
    for archived in archived_commits(table_path):
        commit = Commit.of(archived.version, archived.actions, archived.modified_ms)
        first = first or commit.time
        if commit.time > moment:
            break
        found = commit.version
    if found is not None:
        return found
    if first is None and numbers:
        first = read_commit(table_path, numbers[0]).time
    raise VersionNotFoundError(
        f"{table_path.name} has no version at or before {moment.isoformat()}; "
        f"the oldest in its log was committed {first.isoformat() if first else 'never'}"
    )
