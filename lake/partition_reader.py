"""Read one partition of a table as it is: through DuckDB at once, or file by file where one is broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.data_file import partition_of, read_data_file
from lake.errors import DamagedTableError
from lake.snapshot import Snapshot, select_files

Partition = tuple[str, ...]
"""Values of the partition columns as text, outermost first."""

READ_ROWS = 131_072
"""Rows of a piece when a partition is streamed: what one thread of a digest takes at a time."""


@contextmanager
def plain_reader() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection that reads files as they are: times in UTC, no downloads."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


@contextmanager
def ctrl_c_is_an_interrupt() -> Iterator[None]:
    """Let Ctrl-C during DuckDB's work be what it is elsewhere; DuckDB makes a RuntimeError of it.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    try:
        yield
    except RuntimeError as error:
        if "interrupted" in str(error).casefold():
            raise KeyboardInterrupt from error
        raise


def files_by_partition(snapshot: Snapshot) -> dict[Partition, list[Path]]:
    """The snapshot's files of each partition, in the order of their commits."""
    folders: dict[Path, list[Path]] = {}
    for file in snapshot.files:
        folders.setdefault(file.parent, []).append(file)
    found: dict[Partition, list[Path]] = {}
    for folder, files in folders.items():
        values = partition_of(f"{folder.relative_to(snapshot.folder).as_posix()}/file")
        found.setdefault(tuple(values.get(name, "") for name in snapshot.partition_by), []).extend(files)
    return found


def stream_files(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, files: Sequence[Path], schema: pa.Schema
) -> pa.RecordBatchReader:
    """The rows of some files, piece by piece; errors of reading may come with any piece.

    Raises:
        duckdb.Error: A file cannot be read.
        DamagedTableError: Likewise, or a file has other types than the table.
    """
    with ctrl_c_is_an_interrupt():
        sql = select_files(schema, snapshot.partition_by, files)
        reader = connection.sql(sql).to_arrow_reader(READ_ROWS)
    _check_types(snapshot, reader.schema, schema)
    return reader


def read_files(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, files: Sequence[Path], schema: pa.Schema
) -> pa.Table:
    """All rows of some files; those of one file stay in their order.

    Raises:
        duckdb.Error: A file cannot be read.
        DamagedTableError: Likewise, or a file has other types than the table.
    """
    with ctrl_c_is_an_interrupt():
        rows = connection.sql(select_files(schema, snapshot.partition_by, files)).to_arrow_table()
    _check_types(snapshot, rows.schema, schema)
    return rows.cast(schema)


def files_apart(snapshot: Snapshot, files: Sequence[Path]) -> Iterator[tuple[pa.Table | None, str]]:
    """Rows of each file by itself, with the columns and types that it has; or why it cannot be read."""
    for file in files:
        try:
            _, rows = read_data_file(snapshot.folder, file.relative_to(snapshot.folder).as_posix())
        except DamagedTableError as error:
            yield None, str(error).partition("\n")[0]
        else:
            yield rows, ""


def _check_types(snapshot: Snapshot, found: pa.Schema, schema: pa.Schema) -> None:
    """DuckDB takes the types of the first file for those of all."""
    # A zone is a label: the moments are the same.
    different = [
        field.name
        for field, other in zip(schema, found, strict=True)
        if field.type != other.type
        and not (pa.types.is_timestamp(field.type) and pa.types.is_timestamp(other.type))
    ]
    if different:
        raise DamagedTableError(f"files of {snapshot.table} have another type of {', '.join(different)}")
