"""What was known at a moment: the terms that the as-of join and the look-ahead audit share.

A row of a history is *visible* at the moment `as_of` when it had happened (`event_time <= as_of`) and had
been received (`received_time <= as_of`). Of the visible rows with the same key the *newest* is the one
with the greatest event time; of those, the one received last; of those, the one with the greatest
tie-break; of those, the later row of the table. An older event that arrives late displaces nothing.

Null is not a value to match: a null key, a null `as_of`, a null event time and, where what was not received
is hidden, a null received time match nothing. Where it is not hidden, a null received time loses ties.
NaN is a value as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import ContractError, QueryError

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
_MICROSECOND = timedelta(microseconds=1)
# 2^61 us are 73,000 years: beyond that are only infinities, and differences that do not fit 64 bits.
_FARTHEST = 2**61


class ArrowTable(Protocol):
    """Anything that hands out its rows as Arrow: pyarrow, polars and pandas frames, DuckDB relations."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


@dataclass(frozen=True, slots=True)
class AsOfColumn:
    """One column of the history that is wanted beside each row.

    Attributes:
        name: Its name in the history.
        tolerance: Greatest age (`as_of - event_time`) that still counts; None for any age.
        rename: Its name in the result; None keeps the name.
        ignore_nulls: False: the newest row counts, also when the value is null there, since a source that
            says nothing now must not pass off an old value as current. True: the newest row that has a
            value, as SQL's IGNORE NULLS.
    """

    name: str
    tolerance: timedelta | None = None
    rename: str | None = None
    ignore_nulls: bool = False

    def __post_init__(self) -> None:
        if self.tolerance is not None and self.tolerance < timedelta(0):
            raise QueryError(f"the tolerance of {self.name!r} is negative: {self.tolerance}")

    @property
    def output(self) -> str:
        """Name in the result."""
        return self.name if self.rename is None else self.rename

    @property
    def tolerance_us(self) -> int | None:
        """Tolerance in microseconds."""
        return None if self.tolerance is None else self.tolerance // _MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How rows are matched and what is hidden; the parameters of `lake.asof.asof_join` of the same names."""

    by: tuple[str, ...]
    as_of: str
    event_time: str
    received_time: str | None
    hide_unreceived: bool
    allow_exact_matches: bool
    tie_break: str | None

    def __post_init__(self) -> None:
        if self.hide_unreceived and self.received_time is None:
            raise QueryError(
                "what was not yet received can be hidden only by a received time: name its column, "
                "or say hide_unreceived=False"
            )


@dataclass(frozen=True, slots=True)
class Questions:
    """The rows that ask: what was known of `key` at `as_of`?

    Attributes:
        rows: Their numbers in the table they are from; those that can match nothing are left out.
        key: One column for each of `Terms.by`, without nulls.
        as_of: Microseconds since 1970 UTC.
    """

    rows: Int64s
    key: pa.Table
    as_of: Int64s


@dataclass(frozen=True, slots=True)
class History:
    """The rows that can become visible.

    Attributes:
        rows: Their numbers in the table they are from; those that can match nothing are left out.
        key: One column for each of `Terms.by`, without nulls.
        event_time: Microseconds since 1970 UTC.
        received_time: Likewise, null where unknown; None if there is no such column.
        tie_break: Greater wins, null loses; None if there is no such column.
    """

    rows: Int64s
    key: pa.Table
    event_time: Int64s
    received_time: pa.Array | None
    tie_break: pa.ChunkedArray | None


def wanted(columns: Sequence[str | AsOfColumn]) -> list[AsOfColumn]:
    """The columns asked for, a bare name standing for one without tolerance.

    Raises:
        QueryError: There is none.
    """
    if isinstance(columns, str) or not columns:
        raise QueryError("columns: give a list of at least one column")
    return [AsOfColumn(column) if isinstance(column, str) else column for column in columns]


def source_time_names(column: AsOfColumn, terms: Terms) -> list[str]:
    """Columns of the result that say when the value of `column` happened and was received."""
    known = [] if terms.received_time is None else [f"{column.output}_received_time"]
    return [f"{column.output}_event_time", *known]


def as_table(data: ArrowTable) -> pa.Table:
    """The rows as a pyarrow table, with text in a form that pyarrow can compute with.

    Raises:
        QueryError: It is nothing tabular.
    """
    if isinstance(data, pl.DataFrame):
        return data.to_arrow()
    try:
        table = pa.table(data)
    except (TypeError, pa.ArrowInvalid) as error:
        raise QueryError(f"a {type(data).__name__} is no table: {error}") from error
    for position, field in enumerate(table.schema):
        if field.type == pa.string_view():  # pyarrow 26 cannot take rows of it
            text = table.column(position).cast(pa.large_string())
            table = table.set_column(position, field.name, text)
    return table


def column_of(table: pa.Table, name: str, side: str) -> pa.ChunkedArray:
    """A column by name.

    Raises:
        QueryError: There is none, or more than one.
    """
    count = table.column_names.count(name)
    if count != 1:
        there = ", ".join(table.column_names)
        raise QueryError(f"the {side} has {count or 'no'} column {name!r} (columns: {there})")
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


def microseconds(table: pa.Table, name: str, side: str) -> pa.Array:
    """A column of times as int64 microseconds since 1970 UTC, nulls kept.

    Raises:
        QueryError: There is no such column.
        ContractError: It holds no times, or times without a zone, finer than a microsecond, or infinite.
    """
    column = column_of(table, name, side)
    if not pa.types.is_timestamp(column.type):
        raise ContractError(f"{name!r} of the {side} is {column.type}; it must be a time with a zone")
    if column.type.tz is None:
        raise ContractError(f"{name!r} of the {side} has no zone; times must be UTC")
    try:
        times = column.cast(UTC_MICROSECONDS).cast(pa.int64()).combine_chunks()
    except pa.ArrowInvalid as error:
        raise ContractError(f"{name!r} of the {side} does not fit UTC microseconds: {error}") from error
    bounds = pc.min_max(times).as_py()
    if bounds["min"] is not None and (bounds["min"] < -_FARTHEST or bounds["max"] > _FARTHEST):
        raise ContractError(f"{name!r} of the {side} has times that no calendar has, e.g. infinity")
    return times


def questions(left: pa.Table, terms: Terms, side: str) -> Questions:
    """The rows of `left` that can match at all.

    Raises:
        QueryError: A column is missing.
        ContractError: A column of times is not in UTC microseconds.
    """
    as_of = microseconds(left, terms.as_of, side)
    key = key_columns(left, terms, side)
    rows = np.flatnonzero(_complete([as_of, *key.columns], left.num_rows))
    return Questions(rows, key.take(pa.array(rows)), _numbers(as_of, rows))


def history(right: pa.Table, terms: Terms, keep: Bools | None = None) -> History:
    """The rows of `right` that can match at all.

    Args:
        right: The table.
        terms: Names of its columns, and what is hidden.
        keep: Which rows may count at all; None for all.

    Raises:
        QueryError: A column is missing.
        ContractError: A column of times is not in UTC microseconds.
    """
    event_time = microseconds(right, terms.event_time, "right table")
    received = None
    if terms.received_time is not None:
        received = microseconds(right, terms.received_time, "right table")
    tie_break = None if terms.tie_break is None else column_of(right, terms.tie_break, "right table")
    key = key_columns(right, terms, "right table")
    needed = [event_time, *key.columns]
    needed += [received] if terms.hide_unreceived else []
    complete = _complete(needed, right.num_rows)
    rows = np.flatnonzero(complete if keep is None else complete & keep)
    at = pa.array(rows)
    return History(
        rows,
        key.take(at),
        _numbers(event_time, rows),
        None if received is None else received.take(at),
        None if tie_break is None else tie_break.take(at),
    )


def key_columns(table: pa.Table, terms: Terms, side: str) -> pa.Table:
    """The columns of `Terms.by`, named by position so that no name of theirs is in the way.

    Raises:
        QueryError: A column is missing.
    """
    columns = [column_of(table, name, side) for name in terms.by]
    columns = [c.cast(pa.large_string()) if pa.types.is_string(c.type) else c for c in columns]
    # Without any key column all rows have the same key; a table without columns would have no rows.
    same = pa.array(np.zeros(table.num_rows, np.int8))
    return pa.table([*columns, same], names=[f"key_{n}" for n in range(len(columns) + 1)])


def check_same_types(left: pa.Table, right: pa.Table, by: Sequence[str]) -> None:
    """Compare keys only where equality has one meaning.

    Raises:
        QueryError: A key column has another type on the other side.
    """
    for position, name in enumerate(by):
        one, other = left.schema.field(position).type, right.schema.field(position).type
        if one != other:
            raise QueryError(f"the key {name!r} is {one} on the left and {other} on the right: cast one")


def _complete(columns: Sequence[pa.Array | pa.ChunkedArray], rows: int) -> Bools:
    """Which rows have no null in any of the columns."""
    complete = np.ones(rows, np.bool_)
    for column in columns:
        if column.null_count:
            complete &= np.asarray(pc.is_valid(column))
    return complete


def _numbers(times: pa.Array, rows: Int64s) -> Int64s:
    numbers: Int64s = pc.fill_null(times, 0).to_numpy(zero_copy_only=False)[rows]
    return numbers
