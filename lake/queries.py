"""Queries kept in files: one SELECT a file, told apart by file name, explained by its header.

A header is the block of `--` lines at the top. A field is `-- key: text`; a line that begins with
`--` and two or more spaces continues the field above it:

    -- purpose: What a person gets from it, in one sentence.
    -- reads: readings, stations
    -- parameter $since: UTC, earliest reading wanted
    -- grain: one row per station
    -- units: degrees Celsius
    -- note: Anything else a reader must know; may be repeated.
    SELECT ...

`purpose`, `reads`, `grain`, `units` and `parameters: none` (or one `parameter $name` for every `$name` of
the statement) are required. `reads` lists tables and other queries, or `none`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import MappingProxyType

from lake.errors import QueryError

QUERIES = Path(__file__).resolve().parents[1] / "sql"
"""The folder of all queries, a subfolder for each kind."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FIELD = re.compile(r"-- (?P<key>[a-z]+(?: \$\w+)?): (?P<text>\S.*)")
_CONTINUATION = re.compile(r"-- {2,}(?P<text>\S.*)")
_ONCE = ("purpose", "reads", "parameters", "grain", "units")
_REQUIRED = ("purpose", "reads", "grain", "units")
_NOT_CODE = re.compile(
    r"""'(?:[^']|'')*'      # text
      | "(?:[^"]|"")*"      # quoted name
      | --[^\n]*            # comment to the end of the line
      | /\*.*?\*/           # comment in a block""",
    re.DOTALL | re.VERBOSE,
)
_PARAMETER = re.compile(r"\$([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One SELECT statement and what its header says of it.

    Attributes:
        name: The file's stem; also the name of the view, where the query becomes one.
        sql: The statement, without the header and without a closing semicolon.
        purpose: What it is for, one sentence.
        reads: Tables and other queries it selects from, in the header's order.
        parameters: Unit and meaning of each `$name`, by name without the dollar sign.
        grain: What one row of the result stands for.
        units: Units of the result's columns.
        notes: What else a reader must know: definitions, sources, limits.
        path: The file.
    """

    name: str
    sql: str
    purpose: str
    reads: tuple[str, ...]
    parameters: Mapping[str, str]
    grain: str
    units: str
    notes: tuple[str, ...]
    path: Path


@dataclass(slots=True)
class _Header:
    """The fields of a header as they are collected, line by line."""

    once: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, key: str, text: str, path: Path) -> None:
        """Keep one field.

        Raises:
            QueryError: The key is not known, or stands there twice.
        """
        if key == "note":
            self.notes.append(text)
            return
        kind, _, parameter = key.partition(" $")
        known = kind == "parameter" if parameter else key in _ONCE
        if not known:
            raise QueryError(f"{path}: the header field {key!r} is not known")
        fields, name = (self.parameters, parameter) if parameter else (self.once, key)
        if name in fields:
            raise QueryError(f"{path}: the header field {key!r} stands there twice")
        fields[name] = text


def load_query(path: Path) -> Query:
    """Read one query from its file.

    Raises:
        QueryError: The file cannot be read, its name is no plain lower-case identifier, its header is not
            complete or does not fit the statement, or it does not hold exactly one statement.
    """
    if not _NAME.fullmatch(path.stem):
        raise QueryError(f"{path}: a query's file name must be lower-case letters, digits and underscores")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{path}: the query cannot be read: {error}") from error

    header, sql = _split(text, path)
    for key in _REQUIRED:
        if key not in header.once:
            raise QueryError(f"{path}: the header has no '-- {key}: ...'")
    code = _NOT_CODE.sub(" ", sql)
    if not code.strip():
        raise QueryError(f"{path}: there is no statement below the header")
    if ";" in code:
        raise QueryError(f"{path}: more than one statement; a file holds one")
    _check_parameters(header, set(_PARAMETER.findall(code)), path)
    return Query(
        name=path.stem,
        sql=sql,
        purpose=header.once["purpose"],
        reads=_names(header.once["reads"], path),
        parameters=MappingProxyType(header.parameters),
        grain=header.once["grain"],
        units=header.once["units"],
        notes=tuple(header.notes),
        path=path,
    )


def load_folder(folder: Path, *, known: Collection[str] | None = None) -> list[Query]:
    """Read every `*.sql` file of a folder, each query after those of the folder that it reads.

    The order is the same on every machine. Subfolders are not read.

    Args:
        folder: Where the files are.
        known: Tables and queries that exist outside the folder. None: every name that is no file of the
            folder is taken to be one.

    Raises:
        QueryError: The folder does not exist, a file is not valid (see `load_query`), a query reads a name
            that is neither in the folder nor known, or queries read one another in a circle.
    """
    if not folder.is_dir():
        raise QueryError(f"{folder}: there is no such folder of queries")
    queries = {path.stem: load_query(path) for path in sorted(folder.glob("*.sql"))}
    graph: dict[str, list[str]] = {}
    for name, query in queries.items():
        unknown = [] if known is None else [r for r in query.reads if r not in queries and r not in known]
        if unknown:
            raise QueryError(f"{query.path}: reads {', '.join(unknown)}, which does not exist")
        graph[name] = [r for r in query.reads if r in queries]
    try:
        return [queries[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        circle = " -> ".join(str(queries[name].path) for name in error.args[1])
        raise QueryError(f"queries read one another in a circle: {circle}") from error


def _split(text: str, path: Path) -> tuple[_Header, str]:
    """Part a file into its header and its statement, the closing semicolon taken off.

    Raises:
        QueryError: A comment line above the statement is neither a field nor its continuation.
    """
    lines = text.splitlines()
    header = _Header()
    key, parts = "", list[str]()
    end = 0
    for end, line in enumerate([*lines, ""]):
        stripped = line.rstrip()
        if not stripped.startswith("--"):
            break
        if found := _FIELD.fullmatch(stripped):
            if key:
                header.add(key, " ".join(parts), path)
            key, parts = found["key"], [found["text"]]
        elif key and (found := _CONTINUATION.fullmatch(stripped)):
            parts.append(found["text"])
        else:
            raise QueryError(f"{path}:{end + 1}: not a header field '-- key: text': {stripped!r}")
    if key:
        header.add(key, " ".join(parts), path)
    return header, "\n".join(lines[end:]).strip().removesuffix(";").rstrip()


def _names(text: str, path: Path) -> tuple[str, ...]:
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not _NAME.fullmatch(name):
            raise QueryError(f"{path}: {name!r} in '-- reads:' is no name of a table or query")
    return names


def _check_parameters(header: _Header, used: set[str], path: Path) -> None:
    declared = set(header.parameters)
    says_none = header.once.get("parameters")
    if says_none is None and not declared:
        raise QueryError(
            f"{path}: the header has neither '-- parameters: none' nor '-- parameter $name: ...'"
        )
    if says_none is not None and (says_none != "none" or declared):
        raise QueryError(
            f"{path}: '-- parameters:' takes 'none' only; declare each as '-- parameter $name: ...'"
        )
    if used != declared:
        differing = ", ".join(f"${name}" for name in sorted(used ^ declared))
        raise QueryError(f"{path}: header and statement differ in the parameters {differing}")
