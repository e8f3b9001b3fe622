"""Refuse a query whose result depends on more than the rows it reads: the clock, chance, files, settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import duckdb

from lake.errors import QueryError
from lake.syntax_tree import Node, common_table_names, nodes, syntax_tree, tables_read

_CLOCK_WORDS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""What SQL reads like a column, and DuckDB takes for the time of day unless there is such a column."""

_ALSO_REFUSED = frozenset({"ago", "pg_conf_load_time", "pg_postmaster_start_time", "version"})
"""They are not called volatile."""

PURE_TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "summary"}
)
"""Every other table function reads files, settings or DuckDB's own state, or runs text as SQL."""

_HARMLESS = frozenset({"error"})
"""Called volatile by DuckDB so that it is not optimised away."""


def check_query(
    connection: duckdb.DuckDBPyConnection, sql: str, *, tables: Collection[str], views: Mapping[str, str]
) -> None:
    """Raise unless a query is one SELECT whose result follows from its tables alone.

    What two runs would show (`random()`) is only half of it: `current_date` is the same all day.

    Args:
        connection: DuckDB, to parse with.
        sql: The query.
        tables: Names of the tables it may read.
        views: SQL by name of the views it may read; those it does read are looked into as well.

    Raises:
        QueryError: It is not; the message says why.
    """
    tree = _parsed(connection, sql)
    refused = _impure_functions(connection)
    known = {name.casefold() for name in tables}
    bodies = {name.casefold(): body for name, body in views.items()}
    waiting = [("the query", tree)]
    seen: set[str] = set()
    while waiting:
        what, tree = waiting.pop()
        found = list(nodes(tree))
        _check_functions(what, found, refused)
        own = common_table_names(found)
        for name in tables_read(found):
            if name in bodies and name not in seen:
                seen.add(name)
                waiting.append((f"the view {name}", _parsed(connection, bodies[name])))
            elif name not in known and name not in own and name not in bodies:
                raise QueryError(
                    f"{what} reads {name}, which is no table of the dataset and no view "
                    f"(tables: {', '.join(sorted(tables))})"
                )


def _parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> Node:
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError(f"a dataset's query is one SELECT statement; this is {_told(statements)}")
        tree = syntax_tree(connection, sql)
    except duckdb.Error as error:
        raise QueryError(one_line(error)) from error
    if tree.get("error", True):
        raise QueryError(f"the query cannot be examined: {tree.get('error_message', 'unknown form')}")
    return tree


def _told(statements: list[Any]) -> str:
    kinds = ["PIVOT (write it as GROUP BY with FILTER)" if s.type.name == "MULTI" else s.type.name
             for s in statements]  # fmt: skip
    return ", ".join(kinds) or "none"


def one_line(error: Exception) -> str:
    """What DuckDB says was wrong, without the line of SQL that it points into."""
    return " ".join(str(error).partition("\n\nLINE")[0].split())


def _impure_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    ).fetchall()
    return (frozenset(name for (name,) in rows) | _ALSO_REFUSED) - _HARMLESS


def _check_functions(what: str, found: list[Node], refused: frozenset[str]) -> None:
    for node in found:
        kind = node.get("type")
        if kind == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).casefold()
            if name not in PURE_TABLE_FUNCTIONS:
                raise QueryError(
                    f"{what} calls {name}(): a dataset is made of the rows of its tables, not of files or "
                    "settings, which change"
                )
        elif kind == "FUNCTION" and str(node.get("function_name", "")).casefold() in refused:
            raise _changes(what, f"{node['function_name']}()")
        elif kind == "COLUMN_REF" and len(node.get("column_names", ())) == 1:
            name = str(node["column_names"][0]).casefold()
            if name in _CLOCK_WORDS:
                raise _changes(what, name)
        elif kind == "SHOW_REF":
            raise QueryError(f"{what} is no SELECT of rows: DESCRIBE, SHOW and SUMMARIZE make no dataset")


def _changes(what: str, name: str) -> QueryError:
    return QueryError(
        f"{what} uses {name}, which gives something else another time: write the date or value itself"
    )
