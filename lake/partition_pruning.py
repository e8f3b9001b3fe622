"""Which partitions a statement can find rows in, read from its own WHERE clauses.

DuckDB prunes a list of files by their folders, but only after it has looked at each of them, at every
statement: with a year of sessions that costs more than reading one. So the conditions on partition columns
are asked of the list of partitions first, by DuckDB itself, and the statement is bound to the files of the
partitions that are left. Where anything is unclear, to all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from lake.snapshot import quote
from lake.syntax_tree import Node, common_table_names, nodes, syntax_tree, table_name, tables_read, to_sql

_PURE = frozenset(
    {"COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "CAST", "CONSTANT", "PARAMETER", "TYPE"}
)
"""Classes of expressions whose value follows from the columns they name."""

_PURE_FUNCTIONS = frozenset({"to_years", "to_months", "to_weeks", "to_days", "trunc"})
"""What DuckDB writes for an interval; operators are functions as well, and say so."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A place of a statement that reads one table alone, under a condition on its partition columns.

    Attributes:
        table: Name of the table, in lower case.
        start: Where its name begins, in bytes of UTF-8.
        alias: Under which name the statement speaks of it.
        named: Whether the statement gives that name itself.
        conditions: Expressions that hold for all rows it needs, over partition columns and constants.
    """

    table: str
    start: int
    alias: str
    named: bool
    conditions: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a statement reads.

    Attributes:
        names: Tables and views, in lower case; those of references are left out unless they are read
            elsewhere in the statement as well.
        references: Where a part of a table will do; from the end of the statement to its beginning.
        parameters: Names of the parameters of the statement, with their numbers, as DuckDB keeps them.
    """

    names: frozenset[str]
    references: tuple[Reference, ...]
    parameters: tuple[Node, ...]


def reading_of(
    connection: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, Collection[str]]
) -> Reading | None:
    """What one statement reads; None where DuckDB gives no tree of it (DESCRIBE, PIVOT ...).

    Args:
        connection: To parse with.
        sql: One statement.
        tables: Partition columns of the tables that can be read in part, by their names in lower case.

    Raises:
        duckdb.Error: The statement cannot be parsed.
    """
    tree = syntax_tree(connection, sql)
    if tree.get("error", True) or len(tree["statements"]) != 1:
        return None
    found = list(nodes(tree))
    # A common table expression may have the name of a table; which of the two is meant is a matter of scope.
    own = common_table_names(found)
    references: dict[int, Reference] = {}
    for node in found:
        if node.get("type") == "SELECT_NODE":
            reference = _reference(node, sql.encode(), {t: c for t, c in tables.items() if t not in own})
            if reference is not None:
                references[id(node["from_table"])] = reference
    others = (node for node in found if id(node) not in references)
    return Reading(
        names=frozenset(tables_read(others)),
        references=tuple(sorted(references.values(), key=lambda r: r.start, reverse=True)),
        parameters=tuple(tree["statements"][0].get("named_param_map", ())),
    )


def partitions_wanted(
    connection: duckdb.DuckDBPyConnection,
    reference: Reference,
    partitions: pa.Table,
    reading: Reading,
    parameters: Mapping[str, Any],
) -> pa.Table | None:
    """The partitions in which a reference can find rows, None if its conditions cannot be asked.

    Args:
        connection: To ask with.
        reference: Of `reading`.
        partitions: All partitions of the table, one column a partition column.
        reading: Of the statement.
        parameters: Values of the statement's parameters.
    """
    asked = "strikelake_partitions"
    keys = ", ".join(quote(name) for name in partitions.column_names)
    used = {
        str(node["identifier"])
        for condition in reference.conditions
        for node in nodes(condition)
        if node.get("class") == "PARAMETER"
    }
    connection.register(asked, partitions)
    try:
        tree = syntax_tree(
            connection, f"SELECT {keys} FROM {asked} AS {quote(reference.alias)} WHERE 0 AND 0"
        )
        statement = tree["statements"][0]
        statement["named_param_map"] = list(reading.parameters)
        statement["node"]["where_clause"]["children"] = [*reference.conditions, *reference.conditions[:1]]
        given = {name: value for name, value in parameters.items() if name in used}
        found: pa.Table = connection.sql(to_sql(connection, tree), params=given or None).to_arrow_table()
    except duckdb.Error:
        return None  # a value that is no date, say: the statement itself shall say so
    else:
        return found
    finally:
        connection.unregister(asked)


def replaced(sql: str, references: Mapping[Reference, str]) -> str:
    """The statement with other names in the places of references, which are called as before in it."""
    text = sql.encode()
    for reference, name in sorted(references.items(), key=lambda item: item[0].start, reverse=True):
        end = reference.start + _length_of_name(text[reference.start :], reference.table)
        alias = "" if reference.named else f" AS {quote(reference.alias)}"
        text = text[: reference.start] + f"{quote(name)}{alias}".encode() + text[end:]
    return text.decode()


def _reference(node: Node, sql: bytes, tables: Mapping[str, Collection[str]]) -> Reference | None:
    source = node.get("from_table") or {}
    if source.get("type") != "BASE_TABLE" or table_name(source) not in tables:
        return None
    table = table_name(source)
    further = ("schema_name", "catalog_name", "sample", "column_name_alias", "at_clause")
    path = (source.get("qualified_name") or {}).get("path") or [table]
    start = int(source.get("query_location", len(sql)))
    if any(source.get(key) for key in further) or len(path) != 1 or not _length_of_name(sql[start:], table):
        return None
    alias = str(source.get("alias") or "")
    names = {column.casefold() for column in tables[table]}
    speaks_of = (alias or table).casefold()
    conditions = tuple(c for c in _conjuncts(node.get("where_clause")) if _is_about(c, names, speaks_of))
    if not conditions:
        return None
    return Reference(table, start, alias or table, bool(alias), conditions)


def _length_of_name(text: bytes, table: str) -> int:
    """Bytes of a table's name at the start of a text, bare or in quotes; 0 if something else is there."""
    for name in (table, quote(table)):
        bare = name.encode()
        if text[: len(bare)].decode(errors="replace").casefold() == name:
            return len(bare)
    return 0


def _conjuncts(condition: Node | None) -> Iterator[Node]:
    """The parts of a condition that all have to hold."""
    if condition is None:
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition["children"]:
            yield from _conjuncts(child)
    else:
        yield condition


def _is_about(condition: Node, columns: Collection[str], alias: str) -> bool:
    """Whether a condition's value follows from those columns and constants."""
    for node in nodes(condition):
        kind = node.get("class")
        if kind is None or kind in _PURE:
            continue
        if kind == "COLUMN_REF":
            *of, name = (str(part).casefold() for part in node["column_names"])
            if name not in columns or of not in ([], [alias]):
                return False
        elif kind != "FUNCTION" or not (node["is_operator"] or node["function_name"] in _PURE_FUNCTIONS):
            return False
    return True
