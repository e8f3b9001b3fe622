"""Rows of a table by the micro-batches that brought them, in an order that never changes.

Tables are append-only and every row names its batch, so a set of batches is the same rows for ever:
whatever was appended, compacted, cleaned up or widened since. That is what a dataset is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import polars
import pyarrow as pa
import pyarrow.compute as pc

from lake.data_file import partition_of
from lake.errors import DamagedTableError
from lake.snapshot import Snapshot, quote, select_files

Partition = tuple[str, ...]
"""Values of the partition columns as text, outermost first."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Some batches of a table.

    Attributes:
        table: Table name.
        batches: Ids of the batches wanted, by partition.
        columns: Columns wanted, in order; those that came later are left out.
    """

    table: str
    batches: Mapping[Partition, Sequence[str]]
    columns: tuple[str, ...]


def select_batches(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, selection: Selection) -> str:
    """A DuckDB SELECT of the selected rows, in no order; registers the batch ids as a table.

    Raises:
        DamagedTableError: The table lacks a column or a partition that was selected.
    """
    parts = [_select_partition(connection, snapshot, selection, p) for p in sorted(selection.batches)]
    if not parts:
        return select_files(_schema(snapshot, selection), snapshot.partition_by, [])
    return "\nUNION ALL\n".join(parts)


def rows_in_order(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, selection: Selection
) -> Iterator[pa.Table]:
    """The selected rows, one table a partition, partitions by value and rows by all columns from the left.

    That order is total but for rows that are equal altogether, so it is the same whatever the layout of
    the files. Nulls come last, NaN after every other number, text by its UTF-8 bytes. Compaction leaves
    rows in this order, which is then only checked.

    Raises:
        DamagedTableError: A file cannot be read, or a column or partition is not there.
    """
    schema = _schema(snapshot, selection)
    for partition in sorted(selection.batches):
        try:
            # Not a join with the batch ids: that would mix the order in which the rows lie in the files.
            rows = connection.sql(_scan(snapshot, selection, partition)).to_arrow_table()
        except duckdb.Error as error:
            why = str(error).partition("\n")[0]
            raise DamagedTableError(f"{selection.table} cannot be read: {why}") from error
        wanted = pc.is_in(rows.column("batch_id"), pa.array(selection.batches[partition], pa.string()))
        if not pc.all(wanted).as_py():
            rows = rows.filter(wanted)
        rows = rows.select(schema.names).cast(schema)
        yield rows if is_in_order(rows) else sort_rows(rows)


def sort_rows(rows: pa.Table) -> pa.Table:
    """Rows sorted by all columns from left to right; see `rows_in_order`."""
    ordered: pa.Table = polars.DataFrame(rows).sort(rows.column_names, nulls_last=True).to_arrow()
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


def _select_partition(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, selection: Selection, partition: Partition
) -> str:
    ids = f"{selection.table}__batches_{'_'.join(partition)}"
    connection.register(ids, pa.table({"batch_id": pa.array(selection.batches[partition], pa.string())}))
    columns = ", ".join(quote(column) for column in selection.columns)
    scan = _scan(snapshot, selection, partition)
    return f"SELECT {columns} FROM ({scan}) WHERE batch_id IN (SELECT batch_id FROM {quote(ids)})"


def _scan(snapshot: Snapshot, selection: Selection, partition: Partition) -> str:
    """A SELECT of all rows of one partition, with the selection's columns and the batch id."""
    wanted = dict(zip(snapshot.partition_by, partition, strict=True))
    files = [
        file
        for file in snapshot.files
        if partition_of(file.relative_to(snapshot.folder).as_posix()) == wanted
    ]
    if not files:
        told = ", ".join(f"{name}={value}" for name, value in wanted.items())
        raise DamagedTableError(f"{selection.table} has no rows of {told} any more")
    schema = _schema(snapshot, selection)
    if "batch_id" not in schema.names:
        schema = schema.append(snapshot.schema.field("batch_id"))
    return select_files(schema, snapshot.partition_by, files)


def _schema(snapshot: Snapshot, selection: Selection) -> pa.Schema:
    missing = [name for name in selection.columns if name not in snapshot.schema.names]
    if missing:
        raise DamagedTableError(f"{selection.table} has no column {', '.join(missing)} any more")
    return pa.schema([snapshot.schema.field(name) for name in selection.columns])
