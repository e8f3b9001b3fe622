"""What a statement from outside may name: the lake's tables and views, and functions that tell nothing else.

A file cannot be read and a setting not changed anyhow (`lake.session.Session.confine`). But DuckDB tells of
the machine it runs on as well: paths of settings, of databases and of files, extensions, secrets, logs. Such
relations and functions are refused by DuckDB's own syntax tree of a statement, by what is allowed and not
by what is known to tell: a later version may have more of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from lake.errors import QueryError
from lake.query_check import PURE_TABLE_FUNCTIONS
from lake.syntax_tree import Node, common_table_names, nodes, syntax_tree, table_name

_TABLE_FUNCTIONS = PURE_TABLE_FUNCTIONS | {"duckdb_functions", "duckdb_keywords", "duckdb_types"}
_CATALOG_VIEWS = frozenset({("information_schema", "columns"), ("information_schema", "tables")})
_SHOWN = frozenset({"tables", "__show_tables_expanded"})
"""SHOW TABLES and DESCRIBE without a name, as the tree has them."""

_OF_THE_MOMENT = frozenset(
    {
        "error", "gen_random_uuid", "get_current_time", "get_current_timestamp", "now", "random", "setseed",
        "sleep_ms", "today", "transaction_timestamp", "uuid", "uuidv4", "uuidv7",
    }
)  # fmt: skip
"""Of the functions that DuckDB does not call consistent those that tell of time and chance, or of nothing."""

_ALSO_REFUSED = frozenset({"json_serialize_plan"})
"""It runs what is constant in a text that it is given, unseen from here."""


def check_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise unless a SELECT reads the relations of the session alone.

    Args:
        connection: The session's, in which every relation of the lake is a view.
        sql: One statement.

    Raises:
        QueryError: It names something else, or cannot be examined.
    """
    try:
        tree = syntax_tree(connection, sql)
        if tree.get("error", True):
            raise QueryError(f"this cannot be examined: {tree.get('error_message', 'unknown form')}")
        _Check(connection).statement(tree)
    except duckdb.Error as error:
        raise QueryError(str(error)) from error


class _Check:
    """What is known of one connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        views = connection.execute("SELECT view_name, internal FROM duckdb_views()").fetchall()
        self._ours = {name.casefold() for name, internal in views if not internal}
        self._internal = {name.casefold() for name, internal in views if internal}
        changing = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        ).fetchall()
        self._refused = ({name for (name,) in changing} - _OF_THE_MOMENT) | _ALSO_REFUSED
        self._examined: set[tuple[str, bool]] = set()

    def statement(self, tree: Node) -> None:
        """Look at a statement of a stranger."""
        found = list(nodes(tree))
        own = common_table_names(found)
        # Outside of its scope, and within itself, such a name would mean DuckDB's own view.
        if hidden := sorted(own & self._internal):
            raise QueryError(f"{hidden[0]} is a name of DuckDB's own: give that part of the query another")
        for node in found:
            self._relation(node, own)
        self._functions(found)

    def _relation(self, node: Node, own: set[str]) -> None:
        kind = node.get("type")
        if kind == "SHOW_REF" and node.get("table_name"):
            name = str(node["table_name"]).strip('"').casefold()
            if name not in self._ours | own | _SHOWN:
                raise _no_relation(name)
        elif kind == "BASE_TABLE":
            name, schema = table_name(node), str(node.get("schema_name") or "").casefold()
            is_ours = name in self._ours | own and schema in {"", "main"}
            if not is_ours and (schema, name) not in _CATALOG_VIEWS:
                raise _no_relation(f"{schema}.{name}" if schema else name)

    def _functions(self, found: list[Node]) -> None:
        for name, is_table in _called(found):
            if is_table and name not in _TABLE_FUNCTIONS and not self._definitions(name, is_table):
                raise QueryError(
                    f"{name}() tells of more than the lake: here a query reads its tables and views alone"
                )
            if not is_table and name in self._refused:
                raise QueryError(f"{name}() tells of the machine, or changes something: it is not taken here")
            self._macro(name, is_table)

    def _macro(self, name: str, is_table: bool) -> None:
        """Look into what a name of DuckDB's own stands for."""
        if (name, is_table) in self._examined:
            return
        self._examined.add((name, is_table))
        for definition in self._definitions(name, is_table):
            tree = syntax_tree(self._connection, definition if is_table else f"SELECT {definition}")
            if tree.get("error", True):
                raise QueryError(f"{name}() cannot be examined")
            found = list(nodes(tree))
            own = common_table_names(found)
            for node in found:
                self._relation(node, own)
            self._functions(found)

    def _definitions(self, name: str, is_table: bool) -> list[str]:
        """SQL of the macros of a name; none of a function."""
        rows = self._connection.execute(
            "SELECT macro_definition FROM duckdb_functions() WHERE lower(function_name) = $name "
            "AND function_type = $type AND macro_definition IS NOT NULL",
            {"name": name, "type": "table_macro" if is_table else "macro"},
        ).fetchall()
        return [str(definition) for (definition,) in rows]


def _called(found: list[Node]) -> Iterator[tuple[str, bool]]:
    """Functions that are called, in lower case, and whether rows are selected from them."""
    of_tables = {id(node["function"]) for node in found if node.get("type") == "TABLE_FUNCTION"}
    for node in found:
        if "function_name" in node:
            yield str(node["function_name"]).casefold(), id(node) in of_tables


def _no_relation(name: str) -> QueryError:
    return QueryError(f"{name} is none of the lake's tables and views: SHOW TABLES names them")
