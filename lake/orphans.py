"""Data files that no commit names: leftovers of a crash, or all that is left of a lost commit.

A file is judged by its micro-batch: the column `batch_id`, which of a spool's batch ends in the last
sequence it holds (`lake.spool.Spool.batch_id`), and the note in its footer (`lake.append`). Log, archive
and spool together then say what became of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.commit_log import Commit, read_commit, versions
from lake.data_file import note_of, partition_of
from lake.errors import DamagedTableError, StrikelakeError
from lake.log_archive import archive_files, archive_gaps, read_archive
from lake.spool import Spool, parse_batch_id
from lake.table import Lake, open_table


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
        note: What its footer says of the commit that was to name it.
    """

    path: str
    verdict: Verdict
    why: str
    batch_id: str | None
    modified_s: float
    note: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def at(cls, table_path: Path, path: str) -> Orphan:
        """A file that is not judged.

        Raises:
            OSError: It is not there.
        """
        return cls(path, Verdict.UNKNOWN, "", None, (table_path / path).stat().st_mtime)

    @property
    def sequences(self) -> tuple[str, int, int] | None:
        """Short name of the stream, first and last sequence of the batch; None if no spool made it."""
        parsed = parse_batch_id(self.batch_id) if self.batch_id is not None else None
        return (parsed[0], int(self.note.get("seq_first") or parsed[1]), parsed[1]) if parsed else None


@dataclass(slots=True)
class Recorded:
    """What log and archive tell of some batches.

    Attributes:
        batches: Those of the batches asked for that a commit brought.
        ranges: First and last sequence of every batch of a stream, by the stream's short name, in order.
        whole: Whether all commits before the oldest in the log were kept and can be read.
    """

    batches: set[str] = field(default_factory=set)
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    whole: bool = True

    def covers(self, stream: str, sequence: int) -> bool:
        """Whether a commit has this sequence of a stream."""
        return self.overlaps(stream, sequence, sequence)

    def overlaps(self, stream: str, first: int, last: int) -> bool:
        """Whether a commit has any of these sequences of a stream."""
        ranges = self.ranges.get(stream, [])
        at = bisect_right(ranges, last, key=lambda r: r[0])
        return at > 0 and ranges[at - 1][1] >= first


def recorded_commits(table_path: Path) -> Iterator[Commit]:
    """Every commit of archive and log, oldest first; what is damaged or missing is left out."""
    through = -1
    for file in archive_files(table_path):
        try:
            commits = read_archive(file)
        except DamagedTableError:
            continue
        for one in commits:
            if one.version > through:
                through = one.version
                yield Commit.of(one.version, one.actions, one.modified_ms)
    yield from log_commits(table_path, after=through)


def log_commits(table_path: Path, *, after: int = -1) -> Iterator[Commit]:
    """Every commit that is still in the log, oldest first; what is damaged or missing is left out."""
    for version in versions(table_path):
        if version > after:
            try:
                yield read_commit(table_path, version)
            except StrikelakeError:
                continue


def read_recorded(table_path: Path, batches: Iterable[str]) -> Recorded:
    """What log and archive tell of these batches and of their streams."""
    wanted = set(batches)
    streams = {parsed[0] for batch in wanted if (parsed := parse_batch_id(batch))}
    found = Recorded(whole=not archive_gaps(table_path, before=min(versions(table_path), default=0)))
    for commit in recorded_commits(table_path):
        batch_id = commit.batch.get("batch_id")
        if batch_id is None:
            continue
        if batch_id in wanted:
            found.batches.add(batch_id)
        parsed = parse_batch_id(batch_id)
        if parsed and parsed[0] in streams:
            first = commit.batch.get("seq_first") or parsed[1]
            found.ranges.setdefault(parsed[0], []).append((first, parsed[1]))
    for ranges in found.ranges.values():
        ranges.sort()
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
    files = sorted(path.relative_to(table_path).as_posix() for path in table_path.glob("*=*/**/*.parquet"))
    waiting = _waiting(lake, table_path.name)
    active = active_paths(table_path)
    named = set(active)
    for commit in log_commits(table_path):
        named |= {unquote(action["path"]) for action in (*commit.adds, *commit.removes)}
    held: dict[str, list[str | None] | None] = {}
    orphans: list[Orphan] = []
    for path in files:
        if path in named:
            continue
        try:
            modified_s = (table_path / path).stat().st_mtime
        except FileNotFoundError:
            continue  # its writer has thrown it away
        if older_than_s is None or modified_s <= older_than_s:
            orphan, held[path] = _looked_at(table_path, path, modified_s)
            orphans.append(orphan)
    if not orphans:
        return []
    recorded = read_recorded(table_path, {b for batches in held.values() for b in batches or () if b})
    judged = [_judge(orphan, held[orphan.path], recorded, waiting) for orphan in orphans]
    return _not_in_the_table(table_path, _not_in_each_other(judged), active, whole=recorded.whole)


def unrecorded_files(table_path: Path) -> list[Orphan]:
    """Files of micro-batches that are or were in the table, but that no commit adds: it was lost.

    Behind a log checkpoint a table still has the files of a commit that is gone, but nothing else says
    which batch they brought. Empty where commits were cleaned up by other tools: then nothing can be told.
    """
    added: set[str] = set()
    removed: set[str] = set()
    for commit in recorded_commits(table_path):
        added |= {unquote(add["path"]) for add in commit.adds}
        removed |= {unquote(remove["path"]) for remove in commit.removes}
    if archive_gaps(table_path, before=min(versions(table_path), default=0)):
        return []
    found = []
    for path in sorted((active_paths(table_path) | removed) - added):
        try:
            modified_s = (table_path / path).stat().st_mtime
        except OSError:
            continue
        orphan, batches = _looked_at(table_path, path, modified_s)
        if batches is not None and len(batches) == 1 and orphan.batch_id is not None:
            found.append(replace(orphan, verdict=Verdict.LOST, why="the commit that added it is gone"))
    return found


def active_paths(table_path: Path) -> set[str]:
    """Paths of the files of the newest version; empty if the table cannot be opened."""
    try:
        actions = pa.table(open_table(table_path).get_add_actions(flatten=True))
    except StrikelakeError:
        return set()  # then the log is all there is
    return {unquote(path) for path in actions.column("path").to_pylist()}


def _looked_at(table_path: Path, path: str, modified_s: float) -> tuple[Orphan, list[str | None] | None]:
    """A file that is not judged yet, and the batches in it, None if it cannot be read."""
    try:
        batches, note = _batches_of(table_path / path), note_of(table_path / path)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        why = f"it cannot be read: {str(error).partition(chr(10))[0]}"
        return Orphan(path, Verdict.UNKNOWN, why, None, modified_s), None
    batch_id = batches[0] if len(batches) == 1 else None
    return Orphan(path, Verdict.UNKNOWN, "", batch_id, modified_s, note), batches


def _judge(
    orphan: Orphan, batches: list[str | None] | None, recorded: Recorded, waiting: dict[str, int | None]
) -> Orphan:
    def told(verdict: Verdict, why: str) -> Orphan:
        return replace(orphan, verdict=verdict, why=why)

    if batches is None:
        return orphan
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
        return told(*_lost(orphan, recorded))
    if Verdict.WAITING in judged:
        return told(Verdict.WAITING, "its rows are still in the spool")
    return told(Verdict.LEFTOVER, "its rows were committed with a later batch")


def _lost(orphan: Orphan, recorded: Recorded) -> tuple[Verdict, str]:
    if orphan.batch_id is None:
        return Verdict.UNKNOWN, "it holds several batches, and some are in no commit"
    if orphan.sequences and recorded.overlaps(*orphan.sequences):
        return Verdict.UNKNOWN, "a part of its rows was committed with other batches"
    return Verdict.LOST, f"batch {orphan.batch_id} is in no commit and no longer in its spool"


def _not_in_each_other(orphans: list[Orphan]) -> list[Orphan]:
    """Of failed attempts and the commit that then had their rows, all of them lost, only the last counts.

    It has the most entries, and of as many it was written last.
    """
    lost = [o for o in orphans if o.verdict is Verdict.LOST]
    ranges = {o.sequences for o in lost if o.sequences}
    last = {
        (o.batch_id, o.path.rpartition("/")[0]): o.path
        for o in sorted(lost, key=lambda o: (o.modified_s, o.path))
    }

    def within(mine: tuple[str, int, int] | None) -> bool:
        return mine is not None and any(
            stream == mine[0] and first <= mine[1] and mine[2] < end for stream, first, end in ranges
        )

    judged = []
    for orphan in orphans:
        again = last.get((orphan.batch_id, orphan.path.rpartition("/")[0])) != orphan.path
        if orphan.verdict is Verdict.LOST and (again or within(orphan.sequences)):
            why = "another file that was lost as well has its rows"
            judged.append(replace(orphan, verdict=Verdict.LEFTOVER, why=why))
        else:
            judged.append(orphan)
    return judged


def _not_in_the_table(
    table_path: Path, orphans: list[Orphan], active: set[str], *, whole: bool
) -> list[Orphan]:
    """What seems lost is not if the table has its batch, and cannot be told where old commits are unknown."""
    lost = [o for o in orphans if o.verdict is Verdict.LOST]
    places = {tuple(partition_of(o.path).items()) for o in lost}
    present: set[str | None] = set()
    for path in active:
        if tuple(partition_of(path).items()) in places:
            try:
                present.update(_batches_of(table_path / path))
            except (OSError, pa.ArrowInvalid, KeyError):
                whole = False  # it may hold anything
    judged = []
    for orphan in orphans:
        if orphan.verdict is not Verdict.LOST:
            judged.append(orphan)
        elif orphan.batch_id in present:
            judged.append(replace(orphan, verdict=Verdict.LEFTOVER, why="its rows are in another file"))
        elif not whole:
            why = f"batch {orphan.batch_id} may be of old commits or files that cannot be read"
            judged.append(replace(orphan, verdict=Verdict.UNKNOWN, why=why))
        else:
            judged.append(orphan)
    return judged


def batches_in(file: Path) -> set[str | None]:
    """The batches whose rows a file has; empty if it cannot be read."""
    try:
        return set(_batches_of(file))
    except (OSError, pa.ArrowInvalid, KeyError):
        return set()


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
