"""Run a query so that it gives the same rows for ever, whatever the layout of the files and the machine.

Sums of floating-point numbers depend on the order they are added in, and DuckDB's order on files, threads
and memory. So the tables are copied into a database of its own in an order that never changes (see
`lake.selection`), one thread with a fixed limit of memory works on them, and the result is sorted by all
its columns. What the query may not depend on is refused, see `lake.query_check`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.errors import QueryError
from lake.partition_reader import ctrl_c_is_an_interrupt, plain_reader
from lake.query_check import check_query, one_line
from lake.selection import Selection, rows_in_order
from lake.snapshot import Snapshot, duckdb_type, literal, quote

_REPEATABLE = {"memory_limit": literal("4GB"), "threads": "1"}
"""The same everywhere: beyond its memory DuckDB writes to disk, which changes the order of additions."""

_RESULT = "strikelake__result"


@contextmanager
def repeatable_connection(
    tables: Mapping[str, tuple[Snapshot, Selection]],
    views: Mapping[str, str],
    *,
    timezone: str,
    progress: Callable[[int], None] | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with copies of the selected rows and with the views that can be made over them.

    Nothing else can be reached from it: no file, no network, no other setting, no variable of Python.

    Args:
        tables: Where the rows of each table come from.
        views: SQL by view name, each after those it reads; one that needs what is not there is left out.
        timezone: DuckDB's `TimeZone`.
        progress: Called with the number of rows just copied.

    Raises:
        DamagedTableError: A batch is not as recorded.
    """
    # On disk and not in memory: a dataset may be larger than the machine.
    with tempfile.TemporaryDirectory(prefix="strikelake-", ignore_cleanup_errors=True) as folder:
        connection = duckdb.connect(Path(folder) / "dataset.duckdb")
        try:
            _configure(connection, timezone)
            copy_tables(connection, tables, progress)
            _create_views(connection, views)
            _lock(connection)
            yield connection
        finally:
            connection.close()


def copy_tables(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, tuple[Snapshot, Selection]],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Copy the selected rows of tables, in an order that never changes, into tables of the same names.

    Args:
        connection: The tables are made in its current database.
        tables: Where the rows of each come from.
        progress: Called with the number of rows just copied.

    Raises:
        DamagedTableError: A batch is not as recorded.
    """
    for name, (snapshot, selection) in tables.items():
        connection.execute(_create_table(name, _columns(snapshot, selection)))
        _copy(connection, name, snapshot, selection, progress)


def work_repeatably(connection: duckdb.DuckDBPyConnection) -> None:
    """Let sums of floating-point numbers be added in an order that never changes: slower, see above."""
    for key, value in _REPEATABLE.items():
        connection.execute(f"SET {key} = {value}")


def run_repeatably(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The result of a SELECT, sorted by all its columns from left to right.

    Of columns of one name the second is called `name_1`, and so on.

    Args:
        connection: See `repeatable_connection`.
        sql: A query that passed `check_repeatable`.

    Raises:
        QueryError: The statement is not valid, or fails, or is not one SELECT.
    """
    try:
        with ctrl_c_is_an_interrupt():
            _bind(connection, sql)
            return connection.sql(f"SELECT * FROM {_RESULT} ORDER BY ALL NULLS LAST").to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(one_line(error)) from error


def check_repeatable(
    sql: str, schemas: Mapping[str, pa.Schema], views: Mapping[str, str], *, timezone: str
) -> None:
    """Raise unless a query is valid over such tables and views and can be repeated; no row is read.

    Raises:
        QueryError: It is not; the message says why.
    """
    with plain_reader() as connection:
        _configure(connection, timezone)
        for name, schema in schemas.items():
            connection.execute(_create_table(name, schema))
        _create_views(connection, views)
        check_query(connection, sql, tables=schemas.keys(), views=views)
        _lock(connection)
        try:
            _bind(connection, sql)
        except duckdb.Error as error:
            raise QueryError(one_line(error)) from error


def _bind(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    # As a view and not in brackets: a comment or a semicolon at its end does no harm there.
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("a dataset's query is one SELECT statement")
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {_RESULT} AS {sql}")


def _create_table(name: str, schema: pa.Schema) -> str:
    columns = ", ".join(f"{quote(field.name)} {duckdb_type(field.type)}" for field in schema)
    return f"CREATE TABLE {quote(name)} ({columns})"


def _columns(snapshot: Snapshot, selection: Selection) -> pa.Schema:
    present = [snapshot.schema.field(n) for n in selection.columns if n in snapshot.schema.names]
    return pa.schema(present)


def _create_views(connection: duckdb.DuckDBPyConnection, views: Mapping[str, str]) -> None:
    for name, sql in views.items():
        try:
            connection.execute(f"CREATE VIEW {quote(name)} AS {sql}")
        except duckdb.Error:
            # It reads a table or a column that is not part of the dataset; a query that needs it fails.
            continue


def _configure(connection: duckdb.DuckDBPyConnection, timezone: str) -> None:
    settings = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "TimeZone": literal(timezone),
    }
    for key, value in settings.items():
        connection.execute(f"SET {key} = {value}")
    work_repeatably(connection)


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _copy(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    snapshot: Snapshot,
    selection: Selection,
    progress: Callable[[int], None] | None,
) -> None:
    # Read with a connection of its own, which has all processors.
    with plain_reader() as reader:
        for rows in rows_in_order(reader, snapshot, selection):
            connection.register("incoming", rows)
            with ctrl_c_is_an_interrupt():
                connection.execute(f"INSERT INTO {quote(name)} SELECT * FROM incoming")
            connection.unregister("incoming")
            if progress:
                progress(rows.num_rows)
