"""DuckDB's own syntax tree of a statement, as it gives it in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import duckdb

Node = dict[str, Any]


def syntax_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> Node:
    """The tree of SELECT statements; of other kinds, `{"error": true, "error_message": ...}`.

    Raises:
        duckdb.Error: The statement cannot be parsed.
    """
    found = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchall()
    tree: Node = json.loads(found[0][0])
    return tree


def to_sql(connection: duckdb.DuckDBPyConnection, tree: Node) -> str:
    """The statement that a tree stands for.

    Raises:
        duckdb.Error: It stands for none.
    """
    found = connection.execute("SELECT json_deserialize_sql($tree)", {"tree": json.dumps(tree)}).fetchall()
    return str(found[0][0])


def nodes(tree: Any) -> Iterator[Node]:
    """Every JSON object of a statement, however deep."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def tables_read(found: Iterable[Node]) -> Iterator[str]:
    """Names of tables, views and common table expressions that are selected from, in lower case."""
    for node in found:
        if node.get("type") == "BASE_TABLE":
            yield table_name(node)


def table_name(node: Node) -> str:
    """The last part of the name that a reference to a table gives, in lower case."""
    return str(node.get("table_name") or node["qualified_name"]["path"][-1]).casefold()


def common_table_names(found: Iterable[Node]) -> set[str]:
    """Names of the common table expressions (WITH), in lower case."""
    maps = (node["cte_map"] for node in found if isinstance(node.get("cte_map"), dict))
    return {str(entry["key"]).casefold() for one in maps for entry in one.get("map", [])}
