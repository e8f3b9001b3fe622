"""Rows of a table by the micro-batches that brought them, in an order that never changes.

Tables are append-only and every row names its batch, so a set of batches is the same rows for ever:
whatever was appended, compacted, cleaned up or widened since. That is what a dataset is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lake.batch_audit import batch_faults
from lake.data_file import NOT_CONTENT
from lake.digest import digests_by
from lake.errors import DamagedTableError
from lake.partition_reader import Partition, files_apart, files_by_partition, read_files
from lake.snapshot import Snapshot, quote, select_files

_SMALL_ROWS = 32_768
"""Chunks of fewer rows on the average are joined."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Some batches of a table.

    Attributes:
        table: Table name.
        batches: What was recorded of the batches wanted, by partition: a table of `batch_id`, `rows` and
            `content_digest`, one row a batch.
        columns: Columns wanted, in order; those that came later are left out.
    """

    table: str
    batches: Mapping[Partition, pa.Table]
    columns: tuple[str, ...]


def select_batches(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, selection: Selection) -> str:
    """A DuckDB SELECT of the selected rows, in no order; registers the batch ids as a table.

    Nothing is compared with what was recorded: that is what `rows_in_order` does.

    Raises:
        DamagedTableError: The table lacks a column or a partition that was selected.
    """
    schema = _schema(snapshot, selection)
    files = files_by_partition(snapshot)
    wanted = [file for p in sorted(selection.batches) for file in _files_of(files, snapshot, selection, p)]
    select = select_files(_with_batch_id(schema, snapshot), snapshot.partition_by, wanted)
    if not wanted:
        return select
    ids = f"{selection.table}__batches"
    connection.register(ids, _wanted_ids(snapshot, selection))
    names = ", ".join(quote(name) for name in schema.names)
    keys = ", ".join(quote(name) for name in (*snapshot.partition_by, "batch_id"))
    return f"SELECT {names} FROM ({select}) SEMI JOIN {quote(ids)} USING ({keys})"


def rows_in_order(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, selection: Selection
) -> Iterator[pa.Table]:
    """The selected rows, one table a partition, partitions by value and rows by all columns from the left.

    That order is total but for rows that are equal altogether, so it is the same whatever the layout of
    the files. Nulls come last, NaN after every other number, text by its UTF-8 bytes. Compaction leaves
    rows in this order, which is then only checked. A partition comes only when the digest of each of its
    batches is as recorded.

    Raises:
        DamagedTableError: A batch is not as recorded, or a column or partition is not there.
    """
    schema = _schema(snapshot, selection)
    reading = _with_batch_id(schema, snapshot)
    files = files_by_partition(snapshot)
    for partition, recorded in sorted(selection.batches.items()):
        rows, unreadable = _read(
            connection, snapshot, _files_of(files, snapshot, selection, partition), reading
        )
        rows = _joined(rows)
        wanted = pc.is_in(rows.column("batch_id"), recorded.column("batch_id").combine_chunks())
        if not pc.all(wanted).as_py():
            rows = rows.filter(wanted)
        _prove(selection.table, partition, rows, recorded, unreadable)
        rows = rows.select(schema.names)
        yield rows if is_in_order(rows) else sort_rows(rows)


def sort_rows(rows: pa.Table) -> pa.Table:
    """Rows sorted by all columns from left to right; see `rows_in_order`."""
    import polars  # 0.15 s, which most commands need not wait for

    keys = [(name, "ascending") for name in rows.column_names if not _is_constant(rows.column(name))]
    if not keys:
        return rows
    order = pc.sort_indices(rows, sort_keys=keys)  # nulls at the end
    # Of ways to sort, pyarrow's is the fastest by far on keys such as ours; of ways to gather, polars'.
    ordered: pa.Table = polars.DataFrame(rows)[order.to_numpy()].to_arrow()
    return ordered.cast(rows.schema)


def is_in_order(rows: pa.Table) -> bool:
    """Whether rows are as `sort_rows` would have them; looks no further than the columns that decide."""
    if rows.num_rows < 2:
        return True
    # Pairs of neighbours that are equal in all columns so far.
    undecided: pa.Array | None = None
    for name in rows.column_names:
        column = rows.column(name).combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        if undecided is None:
            left, right = column.slice(0, len(column) - 1), column.slice(1)
        else:
            left, right = column.take(undecided), column.take(pc.add(undecided, 1))
        less, equal = _compare(left, right)
        if not pc.all(pc.or_(less, equal)).as_py():
            return False
        still = pc.indices_nonzero(equal)
        if not len(still):
            return True
        if len(still) < len(equal):
            undecided = still.cast(pa.int64()) if undecided is None else undecided.take(still)
    return True


def _compare(left: pa.Array, right: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(left < right, left = right) of each pair, with null after everything and NaN next to last."""
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    less = pc.fill_null(pc.less(left, right), False)
    equal = pc.fill_null(pc.equal(left, right), False)
    if pa.types.is_floating(left.type):
        left_nan, right_nan = (pc.fill_null(pc.is_nan(side), False) for side in (left, right))
        less = pc.or_(less, pc.and_(pc.and_not(pc.is_valid(left), left_nan), right_nan))
        equal = pc.or_(equal, pc.and_(left_nan, right_nan))
    return pc.or_(less, pc.and_(pc.is_valid(left), pc.is_null(right))), pc.or_(equal, both_null)


def _is_constant(column: pa.ChunkedArray) -> bool:
    """Whether all values are equal, judged from the first and the last one first."""
    if not len(column) or column.null_count == len(column):
        return True
    ends = (column[0].as_py(), column[-1].as_py())
    if column.null_count or ends[0] != ends[1] or pa.types.is_floating(column.type):
        return False
    return bool(pc.all(pc.equal(column, column[0])).as_py())


def _read(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, files: Sequence[Path], schema: pa.Schema
) -> tuple[pa.Table, list[str]]:
    """All rows that can be read, and why others cannot.

    A broken file need not concern the selection: it may hold nothing but later batches.
    """
    try:
        return read_files(connection, snapshot, files, schema), []
    except (duckdb.Error, DamagedTableError, pa.ArrowException, OSError):
        parts = [schema.empty_table()]
        problems = []
        for rows, problem in files_apart(snapshot, files):
            if rows is None:
                problems.append(problem)
                continue
            try:
                parts.append(_conform(rows, schema))
            except pa.ArrowException as error:
                problems.append(f"a file of {snapshot.table} has other types: {error}")
        return pa.concat_tables(parts), problems


def _conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        rows.column(f.name).cast(f.type) if f.name in rows.column_names else pa.nulls(len(rows), f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def _prove(
    table: str, partition: Partition, rows: pa.Table, recorded: pa.Table, unreadable: Sequence[str]
) -> None:
    names = (recorded.column(name).to_pylist() for name in ("batch_id", "rows", "content_digest"))
    expected = {batch_id: (count, digest) for batch_id, count, digest in zip(*names, strict=True)}
    faults = batch_faults(digests_by(rows, "batch_id", ignore=NOT_CONTENT), expected)
    if faults:
        told = "; ".join(f"batch {fault.batch_id}: {fault.detail}" for fault in faults[:3])
        more = f"; and {len(faults) - 3:,} more batches" if len(faults) > 3 else ""
        why = f" ({unreadable[0]})" if unreadable else ""
        raise DamagedTableError(f"{table} of {', '.join(partition)} is not as recorded: {told}{more}{why}")


def _joined(rows: pa.Table) -> pa.Table:
    """Small files come in small chunks, which cost everything that follows more than joining them."""
    chunks = rows.column(0).num_chunks if rows.num_columns else 0
    return rows.combine_chunks() if rows.num_rows < chunks * _SMALL_ROWS else rows


def _files_of(
    files: Mapping[Partition, list[Path]], snapshot: Snapshot, selection: Selection, partition: Partition
) -> list[Path]:
    if partition not in files:
        told = ", ".join(
            f"{name}={value}" for name, value in zip(snapshot.partition_by, partition, strict=True)
        )
        raise DamagedTableError(f"{selection.table} has no rows of {told} any more")
    return files[partition]


def _wanted_ids(snapshot: Snapshot, selection: Selection) -> pa.Table:
    parts = []
    for partition, recorded in selection.batches.items():
        ids = recorded.column("batch_id")
        values = {
            name: pa.repeat(pa.scalar(value), len(ids)).cast(snapshot.schema.field(name).type)
            for name, value in zip(snapshot.partition_by, partition, strict=True)
        }
        parts.append(pa.table({**values, "batch_id": ids}))
    return pa.concat_tables(parts)


def _schema(snapshot: Snapshot, selection: Selection) -> pa.Schema:
    missing = [name for name in selection.columns if name not in snapshot.schema.names]
    if missing:
        raise DamagedTableError(f"{selection.table} has no column {', '.join(missing)} any more")
    return pa.schema([snapshot.schema.field(name) for name in selection.columns])


def _with_batch_id(schema: pa.Schema, snapshot: Snapshot) -> pa.Schema:
    return schema if "batch_id" in schema.names else schema.append(snapshot.schema.field("batch_id"))
