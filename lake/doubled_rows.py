"""Two compactions of the same files: deltalake lets both commit, and every row is there twice.

Our own exclude each other by a lock that other tools know nothing of. The log tells it afterwards: a
commit removes files that an earlier one has removed already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lake.append import sync_log
from lake.commit_log import Commit
from lake.data_file import partition_of
from lake.errors import DamagedTableError
from lake.file_changes import addition, change_files, removal, size_on_disk
from lake.orphans import active_paths, log_commits, recorded_commits
from lake.table import open_table

logger = logging.getLogger(__name__)

UNDO = "UNDO COMPACTION"
"""Operation of the commit that takes one of two compactions out again."""


@dataclass(slots=True)
class Rewrite:
    """What one compaction did in one partition.

    Attributes:
        version: Its commit.
        ours: Whether it is one of ours.
        sources: Files it removed.
        outputs: Files it added that are still in the table.
    """

    version: int
    ours: bool
    sources: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)


def doubled_rewrites(table_path: Path) -> list[list[Rewrite]]:
    """Groups of compactions that read the same files and are both in the table."""
    return _doubled(table_path)[0]


def undo_doubled(table_path: Path) -> int:
    """Leave only one of compactions that read the same files; how many commits that took.

    Raises:
        CommitConflictError: Another writer came in between; try again.
        DamagedTableError: It cannot be undone without losing a row, or the table cannot be written.
    """
    groups, adds = _doubled(table_path)
    for group in groups:
        rewrites = _without_contained(group)
        dropped = {path for one in group if one not in rewrites for path in one.outputs}
        returned: set[str] = set()
        if len(rewrites) > 1:  # they overlap: back to the files that were there before
            dropped |= {path for one in rewrites for path in one.outputs}
            returned = {path for one in rewrites for path in one.sources}
            adds = dict(_adds(recorded_commits(table_path)))
            gone = [p for p in returned if p not in adds or size_on_disk(table_path / p) != adds[p]["size"]]
            if gone:
                versions = ", ".join(str(one.version) for one in group)
                raise DamagedTableError(
                    f"{table_path.name}: versions {versions} compacted the same files, and {len(gone):,} of "
                    "these are gone: rows are there twice"
                )
        handle = open_table(table_path)
        now_ms = time.time_ns() // 1_000_000
        change_files(
            handle,
            [
                *(removal(p, adds[p]["size"], partition_of(p), now_ms) for p in sorted(dropped)),
                *(addition(adds[p], new_rows=False) for p in sorted(returned)),
            ],
            {"operation": UNDO, "undoes": sorted(one.version for one in group)},
            task=f"{table_path.name}: doubled rows not taken out",
        )
        sync_log(table_path, after=None, through=open_table(table_path).version())
        logger.warning(
            "doubled rows taken out",
            extra={"action": "undo_doubled", "table": table_path.name,
                   "versions": [one.version for one in group], "files": len(dropped)},
        )  # fmt: skip
    return len(groups)


def _doubled(table_path: Path) -> tuple[list[list[Rewrite]], Mapping[str, Mapping[str, Any]]]:
    adds: dict[str, Mapping[str, Any]] = {}
    removed_by: dict[str, Rewrite] = {}
    groups: list[list[Rewrite]] = []
    # The log is enough: a commit stays in it for longer than a compaction takes.
    for commit in log_commits(table_path):
        for one in _rewrites(commit).values():
            for path in one.sources:
                before = removed_by.get(path)
                if before is not None:
                    _join(groups, before, one)
                removed_by[path] = one
        for path, add in _adds([commit]):
            adds[path] = add
            removed_by.pop(path, None)
    if not groups:
        return [], adds
    active = active_paths(table_path)
    for group in groups:
        for one in group:
            one.outputs &= active
    still = [[one for one in group if one.outputs] for group in groups]
    return [group for group in still if len(group) > 1], adds


def _adds(commits: Iterable[Commit]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for commit in commits:
        for add in commit.adds:
            path = unquote(add["path"])
            yield path, {**add, "path": path}


def _rewrites(commit: Commit) -> dict[str, Rewrite]:
    """The compactions of a commit by partition; empty for a commit that changes rows."""
    if not commit.adds or not commit.removes or any(a.get("dataChange", True) for a in commit.adds):
        return {}
    found: dict[str, Rewrite] = {}
    for name, actions in (("sources", commit.removes), ("outputs", commit.adds)):
        for action in actions:
            path = unquote(action["path"])
            place = path.rpartition("/")[0]
            one = found.setdefault(place, Rewrite(commit.version, bool(commit.batch)))
            getattr(one, name).add(path)
    return found


def _join(groups: list[list[Rewrite]], first: Rewrite, second: Rewrite) -> None:
    touched = [g for g in groups if any(one is first or one is second for one in g)]
    joined: list[Rewrite] = []
    for one in [*(one for g in touched for one in g), first, second]:
        if not any(one is known for known in joined):
            joined.append(one)
    groups[:] = [g for g in groups if not any(g is t for t in touched)]
    groups.append(joined)


def _without_contained(group: list[Rewrite]) -> list[Rewrite]:
    """Those that are left when each whose rows another one has as well goes; of equals ours stays."""
    left = list(group)
    for one in sorted(group, key=lambda r: (r.ours, -r.version)):
        if any(other is not one and one.sources <= other.sources for other in left):
            left = [other for other in left if other is not one]
    return left
