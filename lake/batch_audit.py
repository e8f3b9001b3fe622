"""Digest every micro-batch of a partition again, wherever compaction has put its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.data_file import NOT_CONTENT, partition_of, read_data_file
from lake.digest import ContentDigest, digests_by
from lake.errors import DamagedTableError
from lake.selection import Partition
from lake.snapshot import Snapshot, select_files


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


def found_in_partition(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    partition: Partition,
    columns: Sequence[str] | None = None,
) -> tuple[dict[str | None, ContentDigest], list[str]]:
    """Digest of every batch in one partition, and what could not be read.

    Args:
        connection: To read with; its `TimeZone` is UTC.
        snapshot: The table.
        partition: Which one.
        columns: Only these columns count; all by default.
    """
    wanted = dict(zip(snapshot.partition_by, partition, strict=True))
    files = [f for f in snapshot.files if partition_of(f.relative_to(snapshot.folder).as_posix()) == wanted]
    wanted_columns = snapshot.schema.names if columns is None else [*columns, *NOT_CONTENT]
    schema = pa.schema([f for f in snapshot.schema if f.name in wanted_columns])
    if not files:
        return {}, []
    try:
        reader = connection.sql(select_files(schema, snapshot.partition_by, files)).to_arrow_reader()
        return digests_by(reader, "batch_id", ignore=NOT_CONTENT), []
    except (duckdb.Error, DamagedTableError):
        return _file_by_file(snapshot, files, schema)


def _file_by_file(
    snapshot: Snapshot, files: Sequence[Path], schema: pa.Schema
) -> tuple[dict[str | None, ContentDigest], list[str]]:
    """What can be read of a partition of which something cannot."""
    found: dict[str | None, ContentDigest] = {}
    problems = []
    for file in files:
        relative = file.relative_to(snapshot.folder).as_posix()
        try:
            _, rows = read_data_file(snapshot.folder, relative)
        except DamagedTableError as error:
            problems.append(str(error).partition("\n")[0])
            continue
        rows = rows.select([name for name in schema.names if name in rows.column_names])
        for batch_id, digest in digests_by(rows, "batch_id", ignore=NOT_CONTENT).items():
            if batch_id in found:
                found[batch_id] += digest
            else:
                found[batch_id] = digest
    return found, problems


def difference(found: ContentDigest | None, rows: int, digest: str) -> tuple[str, str]:
    """How a batch differs from what was recorded of it: kind and detail, both empty if it does not."""
    if found is None:
        return "missing", f"none of its {rows:,} rows is there"
    if found.rows != rows:
        return "rows", f"{found.rows:,} rows instead of {rows:,}"
    if found.hexdigest() != digest:
        return "values", f"a value of its {rows:,} rows differs (digest {found.hexdigest()}, was {digest})"
    return "", ""
