"""Keep serving tables in another database up to date, each batch exactly once.

How far a table has come stands in the target itself (`strikelake_export`) and moves in the transaction that
brings the rows: an export that is killed has done all of a table or nothing, and the next goes on from there.
The Delta log says what is new: batches add rows, a drop takes sessions away, a compaction changes nothing.
What the log cannot answer for (the table was replaced, restored, or its log has a hole) is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from catalog.serving import SERVING_TABLES, ServingTable, columns_of, is_served, read_rows
from lake.commit_log import Commit, commits_after, read_commit
from lake.errors import DamagedTableError, VersionNotFoundError
from lake.session import Session
from lake.snapshot import Snapshot
from lake.table import Lake, open_table

Partition = tuple[date, str]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a serving table has come.

    Attributes:
        source_id: Id of the Delta table.
        version: Its version that is exported.
        commit_ms: When that version was committed, epoch milliseconds: a lake that was restored and has
            gone another way since has another commit there.
    """

    source_id: str
    version: int
    commit_ms: int


class Writer(Protocol):
    """A transaction in the target; nobody else exports meanwhile."""

    def mark(self, table: str) -> Mark | None:
        """How far a table has come, None if it was never exported."""

    def prepare(self, table: ServingTable, columns: pa.Schema) -> bool:
        """Make the table, or widen it; True if its columns are what they were before.

        Raises:
            SettingsError: There is a table of that name that no export made.
        """

    def clear(self, table: str) -> None:
        """Delete all rows."""

    def delete(self, table: str, partition: Partition, batches: Sequence[str] | None) -> None:
        """Delete the rows of a session of an exchange, of some batches or all."""

    def delete_since(self, table: str, column: str, since: datetime) -> None:
        """Delete the rows of a moment and later."""

    def insert(self, table: str, rows: pa.Table) -> None:
        """Add rows."""

    def set_mark(self, table: str, mark: Mark) -> None:
        """Write down how far the table has come."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source that is no table of the lake has now.

    Attributes:
        rows: Flat, with `date` and `exchange`.
        mark: What they are known by; the next reading with the same mark has nothing new.
        since: The target keeps its rows from before this moment and the others are replaced; None to
            replace all.
    """

    rows: pa.Table
    mark: Mark
    since: datetime | None = None


class Source(Protocol):
    """State outside the lake's tables that is served too; other rooms name theirs as entry points."""

    @property
    def table(self) -> ServingTable:
        """The table it fills."""

    def read(self, mark: Mark | None) -> Reading | None:
        """What is there now, None if there is nothing to read.

        Args:
            mark: How far the target has come.

        Raises:
            StrikelakeError: It cannot be read now.
        """


class Target(Protocol):
    """Where to.

    Raises:
        ExportUnavailableError: From every method: it cannot be read or written now; nothing was changed.
    """

    def marks(self) -> Mapping[str, Mark]:
        """How far each table has come, without waiting for others; nothing is made."""

    def writing(self) -> AbstractContextManager[None]:
        """Around all transactions of one export."""

    def transaction(self) -> AbstractContextManager[Writer]:
        """All or nothing."""


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """What an export did to a table.

    Attributes:
        table: Name of the serving table.
        version: Version of the source that it has come to.
        done: `nothing new`, `added`, or `made anew`.
        row_count: Rows that were written.
        why: Why it was made anew.
    """

    table: str
    version: int
    done: str
    row_count: int = 0
    why: str = ""


@dataclass(slots=True)
class _News:
    """What is to be done.

    Attributes:
        batches: New batches by session; None for a session that is made anew.
        why: Why everything is made anew, empty if it is not.
    """

    batches: dict[Partition, list[str] | None] = field(default_factory=dict)
    why: str = ""


def export(
    lake: Lake,
    target: Target,
    *,
    tables: Sequence[ServingTable] = SERVING_TABLES,
    full: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[ExportedTable]:
    """Bring serving tables up to date.

    Args:
        lake: The lake.
        target: Where to.
        tables: Which.
        full: Make them anew, whatever is there.
        progress: Called with the number of rows just written.

    Returns:
        A line a table that the lake has something for.

    Raises:
        TableNotFoundError: There is no lake.
        DamagedTableError: A table of the lake cannot be read; a file of DuckDB is then as it was, a database
            server has the tables before it.
        SettingsError: The target has a table of that name that no export made.
        ExportUnavailableError: The target cannot be read or written now.
    """
    with Session(lake) as session:
        served = [table for table in tables if is_served(session, table)]
        newest = {table.name: _mark_of(session.snapshots[table.source]) for table in served}
        marks = {} if full else target.marks()
        if all(marks.get(name) == mark for name, mark in newest.items()):
            return [ExportedTable(name, mark.version, "nothing new") for name, mark in newest.items()]
        done = []
        with target.writing():
            for table in served:
                with target.transaction() as writer:
                    done.append(_bring(session, writer, table, newest[table.name], full, progress))
    return done


def export_sources(target: Target, sources: Sequence[Source], *, full: bool = False) -> list[ExportedTable]:
    """Bring what is not in the lake's tables up to date, each source in a transaction of its own.

    What a target has of a source that keeps no history beyond some days stays there; `full` makes anew no
    more than the source still has.

    Raises:
        SettingsError: The target has a table of that name that no export made.
        ExportUnavailableError: The target cannot be read or written now.
        StrikelakeError: A source cannot be read now.
    """
    marks = target.marks()
    readings = {one.table.name: one.read(None if full else marks.get(one.table.name)) for one in sources}
    there = {name: reading.mark for name, reading in readings.items() if reading is not None}
    if not full and all(marks.get(name) == mark for name, mark in there.items()):
        return [ExportedTable(name, mark.version, "nothing new") for name, mark in there.items()]
    done = []
    with target.writing():
        for source in (one for one in sources if one.table.name in there):
            with target.transaction() as writer:
                done.append(_bring_source(writer, source, full))
    return done


def _bring_source(writer: Writer, source: Source, full: bool) -> ExportedTable:
    name = source.table.name
    before = writer.mark(name)
    # Again, now that nobody else exports: else an older reading could replace a newer one.
    reading = source.read(None if full else before)
    if reading is None:
        return ExportedTable(name, before.version if before else 0, "nothing new")
    writer.prepare(source.table, reading.rows.schema)
    if before is not None and writer.mark(name) is None:  # somebody deleted the table there
        again = source.read(None)
        reading = reading if again is None else again
    elif not full and before == reading.mark:
        return ExportedTable(name, reading.mark.version, "nothing new")
    if reading.since is None:
        writer.clear(name)
    else:
        writer.delete_since(name, source.table.time, reading.since)
    writer.insert(name, reading.rows)
    writer.set_mark(name, reading.mark)
    done = "made anew" if reading.since is None else "added"
    return ExportedTable(name, reading.mark.version, done, reading.rows.num_rows)


def _bring(
    session: Session,
    writer: Writer,
    table: ServingTable,
    newest: Mark,
    full: bool,
    progress: Callable[[int], None] | None,
) -> ExportedTable:
    mark = writer.mark(table.name)
    snapshot = session.snapshots[table.source]
    if not full and mark is not None and (mark == newest or _is_ahead(mark, newest, snapshot.folder)):
        return ExportedTable(table.name, mark.version, "nothing new")
    unchanged = writer.prepare(table, columns_of(session, table))
    mark = writer.mark(table.name)  # gone if somebody deleted the table there
    if full or mark is None:
        news = _News(why="as asked" if full else "it is new")
    elif not unchanged and table.by_session:
        news = _News(why="its columns have changed")
    else:
        news = _news(snapshot, table, mark)
    if news.why:
        writer.clear(table.name)
        news.batches = dict.fromkeys(_partitions(snapshot))
    count = 0
    for (day, exchange), batches in sorted(news.batches.items(), key=lambda one: one[0]):
        # Of batches as well: one that another program wrote a second time must not double.
        writer.delete(table.name, (day, exchange), batches)
        rows = read_rows(session, table, day, exchange, batches)
        writer.insert(table.name, rows)
        count += rows.num_rows
        if progress:
            progress(rows.num_rows)
    writer.set_mark(table.name, newest)
    done = "made anew" if news.why else "added" if news.batches else "nothing new"
    return ExportedTable(table.name, newest.version, done, count, news.why)


def _news(snapshot: Snapshot, table: ServingTable, mark: Mark) -> _News:
    """What came after a mark."""
    try:
        if str(snapshot.handle.metadata().id) != mark.source_id:
            return _News(why="the table of the lake is another one")
        if _milliseconds(read_commit(snapshot.folder, mark.version)) != mark.commit_ms:
            return _News(why="the lake was restored, and has gone another way")
        news, at = _News(), mark.version
        for commit in commits_after(snapshot.folder, mark.version):
            if commit.version > snapshot.version:
                break
            at = commit.version
            _follow(news, commit, table)
    except (VersionNotFoundError, DamagedTableError) as error:
        return _News(why=str(error))
    if at != snapshot.version:
        return _News(why=f"the log has no commit {at + 1}")
    there = set(_partitions(snapshot))
    for partition in news.batches:
        if partition not in there:
            news.batches[partition] = None
    return news


def _follow(news: _News, commit: Commit, table: ServingTable) -> None:
    batch_id = commit.batch.get("batch_id")
    adds = [add for add in commit.adds if add.get("dataChange", True)]
    removes = [one for one in commit.removes if one.get("dataChange", True)]
    for action in (*adds, *removes):
        values = action["partitionValues"]
        partition = (date.fromisoformat(values["date"]), values["exchange"])
        known = news.batches.get(partition, [])
        if table.by_session or removes or not batch_id or known is None:
            news.batches[partition] = None
        elif batch_id not in known:
            news.batches[partition] = [*known, batch_id]


def _is_ahead(mark: Mark, newest: Mark, folder: Path) -> bool:
    """Whether another export, that began later than this one, has come further."""
    if mark.source_id != newest.source_id or mark.version <= newest.version:
        return False
    return mark.version <= open_table(folder).version()


def _mark_of(snapshot: Snapshot) -> Mark:
    commit = read_commit(snapshot.folder, snapshot.version)
    return Mark(str(snapshot.handle.metadata().id), snapshot.version, _milliseconds(commit))


def _milliseconds(commit: Commit) -> int:
    return round(commit.time.timestamp() * 1000)


def _partitions(snapshot: Snapshot) -> list[Partition]:
    return [(row["date"], row["exchange"]) for row in snapshot.partitions().to_pylist()]
