"""A DuckDB connection in which every table and every view of a lake is there by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import DamagedTableError, QueryError, TableNotFoundError, VersionNotFoundError
from lake.partition_pruning import Reference, partitions_wanted, reading_of, replaced
from lake.queries import QUERIES, load_folder
from lake.selection import Selection, select_batches
from lake.snapshot import Snapshot, duckdb_type, literal, quote, read_snapshot
from lake.spool import Spool
from lake.table import Lake
from lake.time_travel import archived_version, selection_at

VIEWS = QUERIES / "views"

_READING = {
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.MULTI,  # PIVOT
}


class Session:
    """Tables and views bound at opening: later commits are not seen, a query is repeatable.

    Use it as a context manager, from one thread.

    Attributes:
        snapshots: What each table is bound to.
        unbound: Tables and views that are not there, with the reason.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        at: int | datetime | None = None,
        live: bool = False,
        only: Mapping[str, Selection] | None = None,
        views: Path = VIEWS,
    ) -> None:
        """Bind every table to its newest version, to one version or moment, or to some of its batches.

        Args:
            lake: The lake.
            at: A version (of every table that has it) or a moment with zone.
            live: Add the spooled rows that are not committed yet; not together with `at`.
            only: Bind these tables, and no others, to these batches: how a dataset is queried.
            views: Folder of view files.

        Raises:
            TableNotFoundError: The lake has no tables.
            VersionNotFoundError: No table has that version, or had any at that time.
            DamagedTableError: A table cannot be read.
            QueryError: More than one of `at`, `live` and `only`.
        """
        if only is not None and (live or at is not None):
            raise QueryError("a dataset is what it is: not together with live, a version or a time")
        if live and at is not None:
            raise QueryError("spooled rows have no version: use live, or a version or time, not both")
        tables = lake.tables()
        if not tables:
            raise TableNotFoundError(
                f"no lake at {lake.root}: run 'strikelake demo', or 'strikelake ingest load', or give --root"
            )
        self.lake = lake
        self.snapshots: dict[str, Snapshot] = {}
        self.unbound: dict[str, str] = {}
        self._selects: dict[str, str] = {}
        self._spooled_selects: dict[str, str] = {}
        self._partitions: dict[str, pa.Table] = {}
        self._reads: dict[str, tuple[str, ...]] = {}
        self._confined = False
        self._connection = duckdb.connect(":memory:")
        try:
            self._configure()
            # Spool before snapshots: rows committed in between are then seen twice and told apart by
            # sequence; the other way round they would be seen in neither.
            spooled = self._spooled(list(tables)) if live else {}
            for name, path in tables.items():
                if only is None:
                    self._bind_table(name, path, at, spooled.get(name, []))
                elif name in only:
                    self._bind_selection(read_snapshot(path), only[name])
                else:
                    self.unbound[name] = f"{name} is not in the dataset"
            self._bind_views(views)
        except BaseException:
            self._connection.close()
            raise
        if not self.snapshots:
            self._connection.close()
            raise VersionNotFoundError("; ".join(self.unbound[name] for name in tables))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection, for whatever this class does not offer; every name is bound to its files.

        Raises:
            DamagedTableError: A table cannot be read.
        """
        for name in list(self._selects):
            self._bind_files(name)
        return self._connection

    def confine(self, *, memory_mb: int, threads: int) -> None:
        """Take statements of strangers from now on: they read the tables, and nothing else; for good.

        No file but those of the tables can be read, none can be written; nothing can be attached or loaded;
        what does not fit into the memory fails and is not put on the disk; no setting can be changed. DuckDB
        does not count every byte of long texts: who must be sure of the memory runs this in a process of its
        own, with a limit by the system.

        Args:
            memory_mb: Megabytes that DuckDB may take.
            threads: Threads that it may use.
        """
        paths = ", ".join(literal(name) for one in self.snapshots.values() for name in one.names)
        for setting in (
            f"memory_limit = '{int(memory_mb)}MB'",
            f"threads = {int(threads)}",
            "temp_directory = ''",
            f"allowed_paths = [{paths}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")
        self._confined = True

    def interrupt(self) -> None:
        """Stop the query that runs in another thread: it raises `QueryError` there."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def table(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        check: Callable[[duckdb.DuckDBPyConnection, str], None] | None = None,
    ) -> pa.Table:
        """Run one query and return its rows; Ctrl-C stops it.

        Args:
            sql: One statement that reads: SELECT, DESCRIBE, SUMMARIZE ...; `$name` marks a parameter.
            parameters: Values by name.
            limit: Rows at most.
            check: Looks at the statement before it is bound or run, and raises if it may not be.

        Returns:
            The rows; of columns of one name, the second is called `name_1`, and so on.

        Raises:
            QueryError: The statement is not valid, failed, is not one that reads, or names something
                that is not bound.
            DamagedTableError: A table that it reads cannot be read.
        """
        given = dict(parameters or {})
        try:
            self._check_reads(sql)
            if check is not None:
                check(self._connection, sql)
            with self._bound_for(sql, given) as bound:
                return self._interruptible(lambda: self._run(bound, given, limit))
        except duckdb.Error as error:
            reasons = [reason for name, reason in self.unbound.items() if name in sql]
            raise QueryError("; ".join([str(error).strip(), *reasons])) from error

    def _check_reads(self, sql: str) -> None:
        statements = self._connection.extract_statements(sql)
        if len(statements) != 1:
            raise QueryError(f"give one statement; this is {len(statements) or 'none'}")
        kind = statements[0].type
        if kind not in _READING:
            raise QueryError(
                f"{kind.name} is no query: rows come in through ingest, and views are files of sql/views"
            )
        # EXPLAIN ANALYZE runs what it explains, whatever that is.
        if self._confined and kind is duckdb.StatementType.MULTI:
            raise QueryError(
                "a PIVOT that looks its columns up is not taken here: name them, ON x IN ('a', 'b')"
            )
        if self._confined and kind is not duckdb.StatementType.SELECT:
            raise QueryError(f"only SELECT is taken here, not {kind.name}")

    @contextmanager
    def _bound_for(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[str]:
        """Bind what a statement reads, and give it back with its references to parts of tables replaced."""
        whole = {name.casefold(): name for name in self._partitions}
        keys = {low: self._partitions[name].column_names for low, name in whole.items()}
        reading = reading_of(self._connection, sql, keys)
        if reading is None:
            for name in list(self._selects):
                self._bind_files(name)
            yield sql
            return
        parts: dict[Reference, str] = {}
        names = set(reading.names)
        try:
            for number, reference in enumerate(reading.references):
                name = whole[reference.table]
                partitions = self._partitions[name]
                wanted = partitions_wanted(self._connection, reference, partitions, reading, parameters)
                if wanted is None or wanted.num_rows == partitions.num_rows:
                    names.add(reference.table)
                    continue
                part = f"{name}__part{number or ''}"
                self._create(part, self._select_partitions(name, wanted), of=name)
                parts[reference] = part
            self._bind_read(names)
            yield replaced(sql, parts)
        finally:
            for part in parts.values():
                self._connection.execute(f"DROP VIEW IF EXISTS {quote(part)}")

    def _select_partitions(self, name: str, wanted: pa.Table) -> str:
        select = self.snapshots[name].select_partitions(wanted)
        spooled = self._spooled_selects.get(name)
        return select if spooled is None else f"{select} UNION ALL BY NAME {spooled}"

    def _bind_read(self, names: Iterable[str]) -> None:
        """Bind the files of tables, and of all that views of these names read."""
        folded = {name.casefold(): name for name in (*self._selects, *self._reads)}
        waiting, seen = [name.casefold() for name in names], set[str]()
        while waiting:
            name = waiting.pop()
            if name in folded and name not in seen:
                seen.add(name)
                waiting += [read.casefold() for read in self._reads.get(folded[name], ())]
                self._bind_files(folded[name])

    def _run(self, sql: str, parameters: Mapping[str, Any], limit: int | None) -> pa.Table:
        relation = self._connection.sql(sql, params=dict(parameters) or None)
        if relation is None:
            return pa.table({})
        return _tell_apart((relation if limit is None else relation.limit(limit)).to_arrow_table())

    def _interruptible(self, run: Callable[[], pa.Table]) -> pa.Table:
        """Run in another thread: Python sees Ctrl-C only between two steps of the thread it came to."""
        if threading.current_thread() is not threading.main_thread():
            return run()
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(run)
            try:
                # Windows delivers Ctrl-C only to a wait that ends now and then.
                while not wait([future], timeout=0.2).done:
                    pass
            except KeyboardInterrupt:
                self._connection.interrupt()
                raise
            return future.result()

    def _configure(self) -> None:
        settings = {
            # Offline machines would wait two seconds for a download at every unknown function.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # A name that is no table must not be looked for among the variables of the program.
            "python_enable_replacements": "false",
            "parquet_metadata_cache": "true",
            "TimeZone": literal(self.lake.timezone),
        }
        for key, value in settings.items():
            self._connection.execute(f"SET {key} = {value}")

    def _bind_table(
        self, name: str, path: Path, at: int | datetime | None, spooled: list[tuple[str, int, pa.Table]]
    ) -> None:
        try:
            archived = None if at is None else archived_version(path, at)
            if archived is not None:
                self._bind_archived(path, archived)
                return
            snapshot = read_snapshot(path, at)
        except VersionNotFoundError as error:
            self.unbound[name] = str(error)
            return
        self.snapshots[name] = snapshot
        selects = [snapshot.select()]
        waiting = [
            rows
            for stream, sequence, rows in spooled
            if sequence > (snapshot.handle.transaction_version(stream) or 0)
        ]
        if waiting:
            rows = _fold_names(waiting, snapshot.schema.names)
            waiting = [rows]
            self._connection.register(f"{name}__spooled", rows)
            known = set(rows.column_names)
            columns = [
                quote(f.name) if f.name in known else f"NULL::{duckdb_type(f.type)} AS {quote(f.name)}"
                for f in snapshot.schema
            ]
            columns += [quote(n) for n in rows.column_names if n not in set(snapshot.schema.names)]
            self._spooled_selects[name] = f"SELECT {', '.join(columns)} FROM {quote(name + '__spooled')}"
            selects.append(self._spooled_selects[name])
        further = [f for rows in waiting for f in rows.schema if f.name not in set(snapshot.schema.names)]
        self._declare(name, " UNION ALL BY NAME ".join(selects), [*snapshot.schema, *further])
        self._bind_partitions(snapshot, waiting)
        self._partitions[name] = snapshot.partitions().select(list(snapshot.partition_by))
        if not waiting:
            self._declare(f"{name}_recent", snapshot.select_recent(), snapshot.schema)

    def _bind_partitions(self, snapshot: Snapshot, spooled: Iterable[pa.Table]) -> None:
        """`<table>_partitions`: what the log knows of each partition without opening a file."""
        keys = list(snapshot.partition_by)
        parts = [snapshot.partitions()]
        for rows in spooled:
            counted = rows.select(keys).group_by(keys).aggregate([([], "count_all")])
            parts.append(counted.rename_columns([*keys, "row_count"]).select(parts[0].column_names))
        totals = pa.concat_tables(parts, promote_options="permissive").group_by(keys)
        name = f"{snapshot.table}_partitions"
        found = totals.aggregate([("row_count", "sum")]).rename_columns([*keys, "row_count"])
        self._connection.register(f"{name}__log", found)
        self._connection.execute(f"CREATE VIEW {quote(name)} AS SELECT * FROM {quote(name + '__log')}")
        self._reads[name] = ()

    def _bind_archived(self, path: Path, version: int) -> None:
        newest = read_snapshot(path)
        selection = selection_at(path, version, newest.partition_by, tuple(newest.schema.names))
        self._bind_selection(replace(newest, version=version), selection)

    def _bind_selection(self, snapshot: Snapshot, selection: Selection) -> None:
        self.snapshots[snapshot.table] = snapshot
        select = select_batches(self._connection, snapshot, selection)
        columns = [snapshot.schema.field(column) for column in selection.columns]
        self._declare(snapshot.table, select, columns)

    def _declare(self, name: str, select: str, columns: Iterable[pa.Field]) -> None:
        """Make an empty view of the right columns; the files are put in when a statement reads it.

        DuckDB looks at every file of a view whenever it makes another view over it, and at every statement:
        with hundreds of files that costs more than most queries.
        """
        nulls = ", ".join(f"NULL::{duckdb_type(f.type)} AS {quote(f.name)}" for f in columns)
        self._connection.execute(f"CREATE VIEW {quote(name)} AS SELECT {nulls} WHERE false")
        self._selects[name] = select
        self._reads[name] = ()

    def _bind_files(self, name: str) -> None:
        """Put the files into a table's view, unless they are in it already.

        Raises:
            DamagedTableError: A file cannot be read.
        """
        select = self._selects.pop(name, None)
        if select is not None:
            self._create(name, select, of=name)

    def _create(self, name: str, select: str, *, of: str) -> None:
        try:
            self._connection.execute(f"CREATE OR REPLACE VIEW {quote(name)} AS {select}")
        except duckdb.Error as error:
            table = self.snapshots.get(of) or self.snapshots[of.removesuffix("_recent")]
            why = str(error).partition("\n")[0]
            raise DamagedTableError(
                f"{table.table} cannot be read at version {table.version}: {why}"
            ) from error

    def _bind_views(self, folder: Path) -> None:
        for query in load_folder(folder):
            missing = [name for name in query.reads if name in self.unbound]
            absent = [name for name in query.reads if name not in self.unbound and name not in self._reads]
            if missing or absent:
                why = [self.unbound[name] for name in missing] + [
                    f"the lake has no table {name}" for name in absent
                ]
                self.unbound[query.name] = f"{query.name} needs " + "; ".join(why)
                continue
            if query.name in self._reads:
                continue  # bound from the log already, which is quicker
            try:
                self._connection.execute(f"CREATE VIEW {quote(query.name)} AS {query.sql}")
                self._reads[query.name] = query.reads
            except duckdb.Error as error:
                # E.g. a column that the table did not have yet at the version asked for.
                self.unbound[query.name] = f"{query.name}: {str(error).partition(chr(10))[0]}"

    def _spooled(self, tables: list[str]) -> dict[str, list[tuple[str, int, pa.Table]]]:
        """Entries by table: stream, sequence and rows of each."""
        found: dict[str, list[tuple[str, int, pa.Table]]] = {}
        for path in sorted(self.lake.spools.glob("*.db")):
            spool = Spool(path, read_only=True)
            try:
                for table in tables:
                    found.setdefault(table, []).extend(
                        (spool.stream, seq, rows) for seq, rows in spool.entries(table)
                    )
            finally:
                spool.close()
        return found


def _tell_apart(rows: pa.Table) -> pa.Table:
    """Give columns of one name (`SELECT a.x, b.x`) names of their own; by name only one could be read."""
    names: list[str] = []
    taken = set(rows.column_names)
    for name in rows.column_names:
        unique, count = name, 0
        while unique in names or (count and unique in taken):
            count += 1
            unique = f"{name}_{count}"
        names.append(unique)
    return rows if names == rows.column_names else rows.rename_columns(names)


def _fold_names(parts: list[pa.Table], names: list[str]) -> pa.Table:
    """Rows of several entries in one table, in which columns differ by more than upper and lower case.

    DuckDB takes `rsi` and `RSI` for one column, and so does the commit that these rows wait for.
    """
    spelling = {name.casefold(): name for name in names}
    renamed = []
    for part in parts:
        columns: dict[str, pa.ChunkedArray] = {}
        for name in part.column_names:
            known = spelling.setdefault(name.casefold(), name)
            values = part.column(name)
            columns[known] = pc.coalesce(columns[known], values) if known in columns else values
        renamed.append(pa.table(columns))
    return pa.concat_tables(renamed, promote_options="default")
