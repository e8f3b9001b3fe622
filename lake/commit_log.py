"""Read single commits of a Delta log.

deltalake answers for whole snapshots, at a cost that grows with the table; following the log one
commit at a time costs the same however old the table is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake.errors import DamagedTableError, VersionNotFoundError

METADATA_KEY = "strikelake"
"""Key of our own record in `commitInfo`."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table.

    Attributes:
        version: Version this commit made.
        time: When it was made, by the writer's clock.
        operation: Delta's name of it, e.g. `WRITE`, `OPTIMIZE`, `CREATE TABLE`.
        adds: The add actions as in the log.
        removes: The remove actions as in the log.
        transactions: Last sequence by stream id, from the txn actions.
        batch: What `lake.append` recorded of its micro-batch, empty for other commits.
    """

    version: int
    time: datetime
    operation: str
    adds: tuple[Mapping[str, Any], ...] = ()
    removes: tuple[Mapping[str, Any], ...] = ()
    transactions: Mapping[str, int] = field(default_factory=dict)
    batch: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows added, from the statistics of the files."""
        return sum(int(json.loads(add.get("stats") or "{}").get("numRecords", 0)) for add in self.adds)


def commit_file(table_path: Path, version: int) -> Path:
    """Where the log keeps a commit."""
    return table_path / "_delta_log" / f"{version:020d}.json"


def read_commit(table_path: Path, version: int) -> Commit:
    """One commit.

    Raises:
        VersionNotFoundError: The log has no file of that version (never had, or was cleaned up).
        DamagedTableError: The file is empty or torn.
    """
    path = commit_file(table_path, version)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise VersionNotFoundError(f"the log of {table_path.name} has no commit {version}") from error
    try:
        # Not splitlines(): deltalake writes U+2028 and its like unescaped within a line.
        actions = [json.loads(line) for line in content.decode().split("\n") if line.strip()]
    except ValueError as error:
        raise DamagedTableError(f"commit {version} of {table_path.name} is torn: {path}") from error
    if not actions:
        raise DamagedTableError(f"commit {version} of {table_path.name} is empty: {path}")
    if not all(isinstance(action, dict) for action in actions):
        raise DamagedTableError(f"commit {version} of {table_path.name} has lines that are not actions")
    info: dict[str, Any] = next((a["commitInfo"] for a in actions if "commitInfo" in a), {})
    milliseconds = info.get("timestamp")
    if milliseconds is None:
        milliseconds = path.stat().st_mtime_ns // 1_000_000
    return Commit(
        version=version,
        time=datetime.fromtimestamp(milliseconds / 1000, UTC),
        operation=str(info.get("operation", "")),
        adds=tuple(a["add"] for a in actions if "add" in a),
        removes=tuple(a["remove"] for a in actions if "remove" in a),
        transactions={a["txn"]["appId"]: int(a["txn"]["version"]) for a in actions if "txn" in a},
        batch=info.get(METADATA_KEY) or {},
    )


def versions(table_path: Path) -> list[int]:
    """Versions whose commit files are still in the log, oldest first."""
    names = (path.stem for path in (table_path / "_delta_log").glob("*.json"))
    return sorted(int(name) for name in names if name.isdigit() and len(name) == 20)


def commits_after(table_path: Path, version: int) -> Iterator[Commit]:
    """Commits newer than `version`, oldest first, up to the newest there is."""
    while commit_file(table_path, version + 1).exists():
        version += 1
        yield read_commit(table_path, version)


def version_at(table_path: Path, moment: datetime) -> int:
    """The newest version committed at or before a moment.

    Uses the time recorded in each commit, not the file's: copying a lake does not move it in time.

    Raises:
        VersionNotFoundError: The table did not exist then, or the log of that time is gone.
    """
    numbers = versions(table_path)
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        if read_commit(table_path, numbers[middle]).time <= moment:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        first = read_commit(table_path, numbers[0]).time.isoformat() if numbers else "never"
        raise VersionNotFoundError(
            f"{table_path.name} has no version at or before {moment.isoformat()}; "
            f"the oldest in its log was committed {first}"
        )
    return numbers[low - 1]
