"""The files of a table at a version, and the DuckDB SQL that reads them.

`read_parquet` over the list of active files runs at the speed of raw Parquet; the list comes from the
log, so a snapshot never sees files of an unfinished commit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lake.commit_log import commit_file, version_at
from lake.errors import DamagedTableError
from lake.table import open_table

_DUCKDB_TYPES = {
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}
RECENT = 5
"""How many dates a question about now looks at: `<table>_recent`."""

_PATTERN = set("*?[")
_OUR_FILE_PARTS = 3  # part-<fingerprint of the columns>-<random>.parquet


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table's state at one version.

    Attributes:
        table: Table name.
        folder: Absolute folder of the table.
        version: The version.
        schema: Arrow schema at that version.
        partition_by: Partition columns.
        names: Absolute paths of the active files with `/`, in the order of their commits.
        row_counts: Rows of each of them, by the statistics in the log.
        handle: The deltalake handle it was read with.
    """

    table: str
    folder: Path
    version: int
    schema: pa.Schema
    partition_by: tuple[str, ...]
    names: tuple[str, ...]
    row_counts: tuple[int, ...]
    handle: DeltaTable

    @property
    def files(self) -> tuple[Path, ...]:
        """The active files, in the order of their commits."""
        return tuple(Path(name) for name in self.names)

    def partitions(self) -> pa.Table:
        """Every partition, by its values and the number of its rows (`row_count`), from the log alone."""
        counts: dict[tuple[str, ...], int] = {}
        for file, rows in zip(self.names, self.row_counts, strict=True):
            key = _partition_values(file, len(self.partition_by))
            counts[key] = counts.get(key, 0) + rows
        columns = {
            name: pa.array([key[i] for key in counts], pa.string()).cast(self.schema.field(name).type)
            for i, name in enumerate(self.partition_by)
        }
        return pa.table(columns | {"row_count": pa.array(counts.values(), pa.int64())})

    def select(self) -> str:
        """A DuckDB SELECT of every row, with the columns in the order of the schema."""
        return select_files(self.schema, self.partition_by, self.names)

    def select_recent(self) -> str:
        """The same of the newest `RECENT` values of the first partition column, by those of the others."""
        keys = [_partition_values(name, len(self.partition_by)) for name in self.names]
        firsts: dict[tuple[str, ...], set[str]] = {}
        for first, *others in keys:
            firsts.setdefault(tuple(others), set()).add(first)
        recent = {others: set(sorted(values)[-RECENT:]) for others, values in firsts.items()}
        names = [name for name, key in zip(self.names, keys, strict=True) if key[0] in recent[key[1:]]]
        return select_files(self.schema, self.partition_by, names)

    def select_partitions(self, wanted: pa.Table) -> str:
        """The same of some partitions: a row for each, with its values in the partition columns."""
        columns = (wanted.column(name).cast(pa.string()).to_pylist() for name in self.partition_by)
        keys = set(zip(*columns, strict=True))
        depth = len(self.partition_by)
        names = [name for name in self.names if _partition_values(name, depth) in keys]
        return select_files(self.schema, self.partition_by, names)


def _partition_values(name: str, depth: int) -> tuple[str, ...]:
    """Values of the partition columns, of which there are `depth`, that the folders of a file name."""
    return tuple(folder.partition("=")[2] for folder in name.split("/")[-1 - depth : -1])


def read_snapshot(table_path: Path, at: int | datetime | None = None) -> Snapshot:
    """The state at a version, at a moment (the last commit at or before it), or now.

    Raises:
        TableNotFoundError: No table there.
        VersionNotFoundError: No such version, or none that old.
        DamagedTableError: The table uses features that a plain Parquet reader would misread.
    """
    version = version_at(table_path, at) if isinstance(at, datetime) else at
    handle = open_table(table_path, version)
    _refuse_empty_commit(table_path, handle.version())
    features = set(handle.protocol().reader_features or ())
    if misread := features & {"deletionVectors", "columnMapping"}:
        raise DamagedTableError(
            f"{table_path.name} uses {', '.join(sorted(misread))}, which strikelake does not write or read"
        )
    schema = plain_schema(handle)
    folder = table_path.resolve()
    _refuse_hive_names_above(folder, schema)
    actions = pa.table(handle.get_add_actions(flatten=True))
    wanted = ("modification_time", "path", "num_records")
    ordered = sorted(zip(*(actions.column(name).to_pylist() for name in wanted), strict=True))
    above = folder.as_posix()
    return Snapshot(
        table=table_path.name,
        folder=folder,
        version=handle.version(),
        schema=schema,
        partition_by=tuple(handle.metadata().partition_columns),
        names=tuple(f"{above}/{unquote(path)}" for _, path, _ in ordered),
        row_counts=tuple(count or 0 for _, _, count in ordered),
        handle=handle,
    )


def select_files(schema: pa.Schema, partition_by: Sequence[str], files: Sequence[Path | str]) -> str:
    """A DuckDB SELECT over Parquet files in hive folders, one scan for each set of equal columns.

    Args:
        schema: Columns wanted; null where a file lacks one.
        partition_by: Those that the folders hold.
        files: Absolute paths; as text, with `/`.

    Raises:
        DamagedTableError: A file cannot be read.
    """
    if not files:
        nulls = ", ".join(f"NULL::{duckdb_type(f.type)} AS {quote(f.name)}" for f in schema)
        return f"SELECT {nulls} WHERE false"
    groups: dict[str, list[str]] = {}
    for file in files:
        name = file if isinstance(file, str) else file.as_posix()
        groups.setdefault(_columns_key(name), []).append(name)
    types = ", ".join(f"{quote(n)}: {duckdb_type(schema.field(n).type)}" for n in partition_by)
    scans = []
    for group in groups.values():
        present = set(_file_columns(group[0])) | set(partition_by)
        columns = ", ".join(
            quote(f.name) if f.name in present else f"NULL::{duckdb_type(f.type)} AS {quote(f.name)}"
            for f in schema
        )
        names = ", ".join(literal(_not_a_pattern(name)) for name in group)
        scans.append(
            f"SELECT {columns} FROM read_parquet([{names}], hive_partitioning = true, "
            f"hive_types = {{{types}}})"
        )
    return "\nUNION ALL\n".join(scans)


def duckdb_type(kind: pa.DataType) -> str:
    """DuckDB's name of a column type.

    Raises:
        DamagedTableError: A type that strikelake tables do not have.
    """
    if pa.types.is_list(kind):
        return f"{duckdb_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quote(f.name)} {duckdb_type(f.type)}' for f in kind)})"
    try:
        return _DUCKDB_TYPES[kind]
    except KeyError:
        raise DamagedTableError(f"a column of type {kind} cannot be read") from None


def quote(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text as a SQL literal, for the places where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def _not_a_pattern(path: str) -> str:
    """A path in which DuckDB's file patterns match only themselves."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path) if _PATTERN & set(path) else path


def _refuse_empty_commit(table_path: Path, version: int) -> None:
    """Refuse a version whose commit is empty: deltalake takes it for one that brought no rows.

    Raises:
        DamagedTableError: It is.
    """
    try:
        empty = commit_file(table_path, version).stat().st_size == 0
    except FileNotFoundError:
        return
    if empty:
        raise DamagedTableError(
            f"commit {version} of {table_path.name} is empty, after a power cut perhaps: rows are missing; "
            "start the writer, or run 'strikelake lake doctor --repair'"
        )


def _refuse_hive_names_above(table_path: Path, schema: pa.Schema) -> None:
    """Refuse a lake below a folder such as `date=2026-01-05`: its name would replace the column's values.

    Raises:
        DamagedTableError: There is such a folder.
    """
    columns = {name.casefold() for name in schema.names}
    for part in table_path.parts:
        name, equals, _ = part.partition("=")
        if equals and name.casefold() in columns:
            raise DamagedTableError(
                f"{table_path} cannot be read there: the folder {part!r} stands for a column; move the lake"
            )


def plain_schema(handle: DeltaTable) -> pa.Schema:
    """A table's Arrow schema, without the view types deltalake reports."""
    fields = []
    for column in pa.schema(handle.schema().to_arrow()):
        kind = pa.string() if pa.types.is_string_view(column.type) else column.type
        fields.append(pa.field(column.name, kind))
    return pa.schema(fields)


def _columns_key(name: str) -> str:
    """Equal for files of equal columns; only files that others wrote (compaction) are opened."""
    parts = name.rpartition("/")[2].removesuffix(".parquet").split("-")
    if len(parts) == _OUR_FILE_PARTS and parts[0] == "part" and len(parts[1]) == 8:
        return parts[1]
    return ",".join(_file_columns(name))


@lru_cache(maxsize=65_536)
def _file_columns(name: str) -> tuple[str, ...]:
    try:
        return tuple(pq.read_schema(name).names)
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedTableError(f"data file {name} cannot be read: {error}") from error
