"""Run a query so that it gives the same rows for ever, whatever the layout of the files and the machine.

Sums of floating-point numbers depend on the order they are added in, and DuckDB's order on files and
threads. So the tables are copied into a database of its own in an order that never changes (see
`lake.selection`), one thread works on them, and the result is sorted by all its columns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.errors import QueryError
from lake.selection import Selection, rows_in_order
from lake.snapshot import Snapshot, literal, quote


@contextmanager
def repeatable_connection(
    tables: Mapping[str, tuple[Snapshot, Selection]], views: Mapping[str, str], *, timezone: str
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with copies of the selected rows and with the views that can be made over them.

    Args:
        tables: Where the rows of each table come from.
        views: SQL by view name, each after those it reads; one that needs what is not there is left out.
        timezone: DuckDB's `TimeZone`.

    Raises:
        DamagedTableError: Rows cannot be read.
    """
    # On disk and not in memory: a dataset may be larger than the machine.
    with tempfile.TemporaryDirectory(prefix="strikelake-", ignore_cleanup_errors=True) as folder:
        connection = duckdb.connect(Path(folder) / "dataset.duckdb")
        try:
            _configure(connection, timezone)
            for name, (snapshot, selection) in tables.items():
                _copy(connection, name, snapshot, selection)
            for name, sql in views.items():
                try:
                    connection.execute(f"CREATE VIEW {quote(name)} AS {sql}")
                except duckdb.CatalogException:
                    continue  # it reads a table that is not part of the dataset
                except duckdb.Error as error:
                    raise QueryError(f"view {name}: {error}") from error
            yield connection
        finally:
            connection.close()


def run_repeatably(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The result of a SELECT, sorted by all its columns from left to right.

    Raises:
        QueryError: The statement is not valid, or fails, or is not one SELECT.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError("a dataset's query is one SELECT statement")
        relation = connection.sql(f"SELECT * FROM ({sql.strip().rstrip(';')}\n) ORDER BY ALL NULLS LAST")
        return relation.to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(str(error).strip()) from error


def _configure(connection: duckdb.DuckDBPyConnection, timezone: str) -> None:
    settings = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "threads": "1",
        "TimeZone": literal(timezone),
    }
    for key, value in settings.items():
        connection.execute(f"SET {key} = {value}")


def _copy(connection: duckdb.DuckDBPyConnection, name: str, snapshot: Snapshot, selection: Selection) -> None:
    made = False
    reader = connection.cursor()
    try:
        reader.execute("SET TimeZone = 'UTC'")
        for rows in rows_in_order(reader, snapshot, selection):
            connection.register("incoming", rows)
            verb = f"INSERT INTO {quote(name)}" if made else f"CREATE TABLE {quote(name)} AS"
            connection.execute(f"{verb} SELECT * FROM incoming")
            connection.unregister("incoming")
            made = True
    finally:
        reader.close()
