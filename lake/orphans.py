"""Data files that no commit names: leftovers of a crash, or all that is left of a lost commit.

A file is judged by the micro-batch in its column `batch_id`. A batch id of a spool ends in the last
sequence it holds (`lake.spool.Spool.batch_id`), so log, archive and spool together say what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.commit_log import commits_after, first_recorded, read_commit, versions
from lake.errors import DamagedTableError, StrikelakeError
from lake.spool import Spool, parse_batch_id
from lake.table import Lake, local_file, open_table


class Verdict(StrEnum):
    """What an orphan is.

    Attributes:
        LEFTOVER: Its rows are in the table by another file; it can go.
        WAITING: Its rows are still in a spool, and will be committed from there; it can go.
        LOST: Its rows are nowhere else: a commit that was acknowledged is gone. It must be committed again.
        UNKNOWN: Cannot be told: not of ours, not readable, or of a spool that is not here. It stays.
    """

    LEFTOVER = "leftover"
    WAITING = "waiting"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A data file that no commit names.

    Attributes:
        path: Relative to the table, with `/`.
        verdict: What it is.
        why: For a person.
        batch_id: The micro-batch whose rows it holds, if it is one.
        modified_s: Time of the file, epoch seconds.
    """

    path: str
    verdict: Verdict
    why: str
    batch_id: str | None
    modified_s: float


@dataclass(slots=True)
class Recorded:
    """What log and archive tell of a table.

    Attributes:
        paths: Every data file that a commit ever added.
        batches: Version that brought a batch, by batch id.
        ranges: First and last sequence of every batch of a stream, by the stream's short name.
        unreadable: Versions that are damaged or missing.
    """

    paths: set[str] = field(default_factory=set)
    batches: dict[str, int] = field(default_factory=dict)
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)

    def covers(self, stream: str, sequence: int) -> bool:
        """Whether a commit has this sequence of a stream."""
        return any(first <= sequence <= last for first, last in self.ranges.get(stream, ()))


def read_recorded(table_path: Path) -> Recorded:
    """Read all of log and archive; what is damaged is left out and noted."""
    found = Recorded()
    newest = max(versions(table_path), default=-1)
    at = (first_recorded(table_path) or 0) - 1
    while at < newest:
        try:
            for commit in commits_after(table_path, at):
                at = commit.version
                found.paths |= {str(add["path"]) for add in commit.adds}
                batch_id = commit.batch.get("batch_id")
                if batch_id is None:
                    continue
                found.batches[batch_id] = commit.version
                parsed = parse_batch_id(batch_id)
                if parsed:
                    first = commit.batch.get("seq_first") or parsed[1]
                    found.ranges.setdefault(parsed[0], []).append((first, parsed[1]))
        except DamagedTableError:
            pass
        if at < newest:
            at += 1
            try:
                read_commit(table_path, at)
            except StrikelakeError:
                found.unreadable.append(at)
            else:
                at -= 1
    return found


def find_orphans(lake: Lake, table_path: Path, *, older_than_s: float | None = None) -> list[Orphan]:
    """Judge every data file that no commit names.

    Safe beside running writers: files are listed before the spools are read, and the spools before the
    log, so that what moves on meanwhile is seen at least once.

    Args:
        lake: The lake, for its spools.
        table_path: Folder of the table.
        older_than_s: Leave out files younger than this epoch second: a running writer's commit may be
            about to name them.

    Raises:
        SpoolUnavailableError: A spool cannot be read, so that nothing can be judged.
    """
    files = sorted(table_path.glob("*=*/**/*.parquet"))
    waiting = _waiting(lake, table_path.name)
    recorded = read_recorded(table_path)
    named = {local_file(table_path, path) for path in recorded.paths}
    try:
        actions = pa.table(open_table(table_path).get_add_actions(flatten=True))
        named |= {local_file(table_path, path) for path in actions.column("path").to_pylist()}
    except DamagedTableError:
        pass  # then the log is all there is
    orphans = []
    for file in files:
        if file in named:
            continue
        try:
            modified_s = file.stat().st_mtime
        except FileNotFoundError:
            continue  # its writer has thrown it away
        if older_than_s is None or modified_s <= older_than_s:
            relative = file.relative_to(table_path).as_posix()
            orphans.append(_judge(file, relative, modified_s, recorded, waiting))
    return orphans


def _judge(
    file: Path, relative: str, modified_s: float, recorded: Recorded, waiting: dict[str, int | None]
) -> Orphan:
    try:
        batches = _batches_of(file)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        why = f"it cannot be read: {str(error).partition(chr(10))[0]}"
        return Orphan(relative, Verdict.UNKNOWN, why, None, modified_s)

    def told(verdict: Verdict, why: str) -> Orphan:
        return Orphan(relative, verdict, why, batches[0] if len(batches) == 1 else None, modified_s)

    unknown = [batch for batch in batches if batch not in recorded.batches]
    if not unknown:
        return told(Verdict.LEFTOVER, "its rows are in the table by other files")
    judged = []
    for batch in unknown:
        parsed = parse_batch_id(batch) if batch is not None else None
        if parsed is None:
            return told(Verdict.UNKNOWN, f"batch {batch} is not of a spool")
        stream, sequence = parsed
        if recorded.covers(stream, sequence):
            judged.append(Verdict.LEFTOVER)
        elif stream not in waiting:
            return told(Verdict.UNKNOWN, f"the spool of batch {batch} is not here")
        else:
            oldest = waiting[stream]
            still = oldest is not None and oldest <= sequence
            judged.append(Verdict.WAITING if still else Verdict.LOST)
    if Verdict.LOST in judged:
        if len(batches) > 1:
            return told(Verdict.UNKNOWN, "it holds several batches, and some are in no commit")
        return told(Verdict.LOST, f"batch {batches[0]} is in no commit and no longer in its spool")
    if Verdict.WAITING in judged:
        return told(Verdict.WAITING, "its rows are still in the spool")
    return told(Verdict.LEFTOVER, "its rows were committed with a later batch")


def _batches_of(file: Path) -> list[str | None]:
    column = pq.read_table(file, columns=["batch_id"], partitioning=None).column("batch_id")
    found: list[str | None] = pc.unique(column).to_pylist()
    return found


def _waiting(lake: Lake, table: str) -> dict[str, int | None]:
    """Sequence of the oldest entry that waits for a table, by short stream name of every spool here."""
    oldest: dict[str, int | None] = {}
    for path in sorted(lake.spools.glob("*.db")):
        spool = Spool(path, read_only=True)
        try:
            oldest[spool.short_stream] = spool.oldest(table)
        finally:
            spool.close()
    return oldest
