"""Go back from a damaged compacted file to the files that it was made of, as long as they are there."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lake.append import sync_log
from lake.compaction import file_records
from lake.data_file import partition_of
from lake.doubled_rows import UNDO
from lake.errors import DamagedTableError
from lake.file_changes import addition, change_files, removal
from lake.orphans import active_paths, log_commits, recorded_commits
from lake.table import open_table

logger = logging.getLogger(__name__)


def sources_by_output(table_path: Path, damaged: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The files that damaged ones were compacted from, where all of these are on the disk as committed.

    Kept for as long as the compaction's commit is in the log.

    Args:
        table_path: Folder of the table.
        damaged: Paths relative to the table.

    Raises:
        DamagedTableError: A commit or archive on the way cannot be read.
    """
    wanted = set(damaged)
    found: dict[str, tuple[str, ...]] = {}
    for commit in log_commits(table_path):
        outputs = [unquote(a["path"]) for a in commit.adds if not a.get("dataChange", True)]
        removes = [unquote(r["path"]) for r in commit.removes]
        for output in wanted.intersection(outputs):
            place = output.rpartition("/")[0]
            sources = tuple(p for p in removes if p.rpartition("/")[0] == place)
            alone = sum(p.rpartition("/")[0] == place for p in outputs) == 1
            if sources and alone and _as_committed(table_path, sources):
                found[output] = sources
    return found


def undo_compactions(table_path: Path, damaged: Iterable[str]) -> list[str]:
    """Put the sources of damaged files in their place again; those for which that was done.

    Raises:
        CommitConflictError: Another writer came in between; try again.
        DamagedTableError: The table cannot be written.
    """
    usable = sources_by_output(table_path, set(damaged) & active_paths(table_path))
    if not usable:
        return []
    adds: dict[str, Mapping[str, Any]] = {}
    for commit in recorded_commits(table_path):
        adds |= {unquote(add["path"]): {**add, "path": unquote(add["path"])} for add in commit.adds}
    now_ms = time.time_ns() // 1_000_000
    for output, sources in usable.items():
        change_files(
            open_table(table_path),
            [
                removal(output, adds[output]["size"], partition_of(output), now_ms),
                *(addition(adds[source], new_rows=False) for source in sources),
            ],
            {"operation": UNDO, "damaged": output},
            task=f"{table_path.name}: compaction not undone",
        )
        sync_log(table_path, after=None, through=open_table(table_path).version())
        logger.warning(
            "compaction undone",
            extra={"action": "undo_compaction", "table": table_path.name, "file": output,
                   "files": len(sources)},
        )  # fmt: skip
    return sorted(usable)


def _as_committed(table_path: Path, paths: tuple[str, ...]) -> bool:
    try:
        records = file_records(table_path, set(paths))
        return all(
            path in records
            and hashlib.sha256((table_path / path).read_bytes()).hexdigest() == records[path]["sha256"]
            for path in paths
        )
    except (OSError, DamagedTableError):
        return False
