"""Compactions whose commit was lost, though the table went on from it: their files have to be swapped again.

A log checkpoint, or a later commit that removes the compacted file, tells that it was in the table.
Without its commit the files that it was made of would come back beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lake.commit_log import versions
from lake.data_file import restored_file
from lake.log_archive import archive_gaps
from lake.orphans import Orphan, active_paths, batches_in, recorded_commits


@dataclass(frozen=True, slots=True)
class LostCompaction:
    """A compacted file that no commit adds.

    Attributes:
        output: The file.
        sources: Add actions of the files that it was made of, as far as they were still in the table.
    """

    output: Orphan
    sources: tuple[Mapping[str, Any], ...]


def lost_compactions(table_path: Path) -> list[LostCompaction]:
    """Every one that can be told; none where other tools cleaned the log."""
    if archive_gaps(table_path, before=min(versions(table_path), default=0)):
        return []
    added: dict[str, tuple[Mapping[str, Any], str | None]] = {}
    removed: set[str] = set()
    for commit in recorded_commits(table_path):
        for add in commit.adds:
            batch_id = commit.batch.get("batch_id") if add.get("dataChange", True) else None
            added[unquote(add["path"])] = add, batch_id
        removed |= {unquote(remove["path"]) for remove in commit.removes}
    found = []
    for path in sorted((active_paths(table_path) | removed) - added.keys()):
        batches = batches_in(table_path / path)
        if len(batches) > 1:
            place = path.rpartition("/")[0]
            sources = tuple(
                add
                for source, (add, batch_id) in added.items()
                if source.rpartition("/")[0] == place
                and source not in removed
                and ({batch_id} if batch_id else batches_in(table_path / source) or {None}) <= batches
            )
            orphan = Orphan.at(table_path, path)
            found.append(LostCompaction(orphan, sources))
    return found


def restoring_compaction(
    table_path: Path, lost: LostCompaction, operation: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Our record and the actions of a commit that swaps the files again.

    Raises:
        DamagedTableError: The compacted file cannot be read.
    """
    file = restored_file(table_path, lost.output.path)
    modified_ms = int(lost.output.modified_s * 1000)
    add = file.add_action(modified_ms, new_rows=False)
    removes = [
        {
            "remove": {
                "path": source["path"], "deletionTimestamp": modified_ms, "dataChange": False,
                "extendedFileMetadata": True, "partitionValues": source["partitionValues"],
                "size": source["size"],
            }
        }
        for source in lost.sources
    ]  # fmt: skip
    return {"operation": operation, "files": {file.path: file.record}}, [{"add": add}, *removes]
