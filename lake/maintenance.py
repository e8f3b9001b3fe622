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
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lake.append import sync_log, write_log_checkpoint
from lake.commit_log import (
    checkpoint_version,
)
from lake.compaction import Compacted, Finished, active_files, compact, small_files
from lake.doubled_rows import undo_doubled
from lake.errors import CommitConflictError, DamagedTableError, StrikelakeError
from lake.log_archive import FOLDER
from lake.log_cleanup import CleanedLog, clean_log, delete_data_file
from lake.orphans import Verdict, find_orphans
from lake.process_lock import ProcessLock
from lake.table import Lake, TableSpec, open_table

logger = logging.getLogger(__name__)

RETENTION = timedelta(days=7)
"""How long a commit stays in the log: Delta's own default for removed files."""

_UNDER_WAY = timedelta(days=1)  # a data file this young may belong to a commit under way, of whatever tool
_CHECKPOINT_AFTER = 10  # commits since the last log checkpoint that make another worth its file


@dataclass(frozen=True, slots=True)
class Maintained:
    """What maintenance did to one table.

    Attributes:
        table: Table name.
        compacted: Its compactions, one a partition.
        checkpoint: Version of the log checkpoint it wrote, None if the last one was recent.
        archived_commits: Commits that moved from the log into the archive.
        deleted_files: Data files deleted that no version in the log needs, leftovers of crashes included.
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
class Planned:
    """What maintenance would do to one table, see `Maintained`."""

    table: str
    compacted_files: int
    partitions: int
    archived_commits: int
    deleted_files: int
    freed_bytes: int


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
            done.append(_maintain_table(lake, path, specs[name], finished, retention, moment, progress))
    return done


def files_to_compact(lake: Lake, specs: Mapping[str, TableSpec], finished: Finished) -> int:
    """How many files `maintain` would compact now; a table that cannot be opened is left out."""
    total = 0
    for name, path in lake.tables().items():
        if name in specs:
            with suppress(StrikelakeError):
                total += sum(len(g) for g in small_files(active_files(open_table(path)), finished).values())
    return total


def planned(
    lake: Lake,
    specs: Mapping[str, TableSpec],
    finished: Finished,
    *,
    retention: timedelta = RETENTION,
    now: datetime | None = None,
) -> list[Planned]:
    """What `maintain` would do now; changes nothing.

    What would be archived may be more, as compaction and a new log checkpoint come first.

    Raises:
        DamagedTableError: A table cannot be opened.
        OSError: The disk failed.
    """
    before = (now or datetime.now(UTC)) - retention
    plans = []
    for name, path in lake.tables().items():
        if name in specs:
            groups = small_files(active_files(open_table(path)), finished).values()
            cleaned = clean_log(path, before=before, dry_run=True)
            plans.append(Planned(name, sum(len(g) for g in groups), len(groups), *astuple(cleaned)))
    return plans


def maintenance_lock_file(table_path: Path) -> Path:
    """The file of `maintenance_lock`."""
    return table_path / FOLDER / "maintenance.lock"


@contextmanager
def maintenance_lock(table_path: Path) -> Iterator[None]:
    """At most one process rewrites or deletes files of a table: two compactions would double its rows.

    Raises:
        StreamInUseError: Another process holds it.
    """
    lock = ProcessLock(
        maintenance_lock_file(table_path),
        role=f"maintenance of {table_path.name}",
        hint="wait until it is done",
    )
    try:
        yield
    finally:
        lock.release()


def _maintain_table(
    lake: Lake,
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
            # First: compacting what is there twice would make it harder to tell.
            undo_doubled(path)
            for one in compact(path, spec, finished, progress=progress, now_ms=_ms(now)):
                compacted.append(one)  # noqa: PERF402 - what was done counts when it fails half-way
        except (DamagedTableError, CommitConflictError) as error:
            problems.append(str(error))
        newest = open_table(path).version()
        if newest - checkpoint_version(path) >= _CHECKPOINT_AFTER:
            write_log_checkpoint(path)
            checkpoint = newest
        cleaned = clean_log(path, before=now - retention)
        cleaned, lost = _vacuum(lake, path, cleaned)
        if lost:
            problems.append(f"{spec.name}: {lost:,} data files are in no commit: 'strikelake lake doctor'")
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


def _vacuum(lake: Lake, table_path: Path, cleaned: CleanedLog) -> tuple[CleanedLog, int]:
    """Delete what crashes left, once it is a day old; also how many files hold rows of lost commits."""
    lost = files = size = 0
    for orphan in find_orphans(lake, table_path, older_than_s=time.time() - _UNDER_WAY.total_seconds()):
        if orphan.verdict in {Verdict.LEFTOVER, Verdict.WAITING}:
            freed = delete_data_file(table_path / orphan.path)
            files, size = files + (freed is not None), size + (freed or 0)
        elif orphan.verdict is Verdict.LOST:
            lost += 1
    return CleanedLog(cleaned.commits, cleaned.files + files, cleaned.bytes + size), lost


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


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
