"""The look-ahead audit: does a frame hold at each moment what was known then, and nothing else?

It asks DuckDB for what was known (`sql/audit/`), by another way than `lake.asof` joins, and compares cell by
cell. So it also audits frames that were made elsewhere, by whatever means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import QueryError
from lake.point_in_time import (
    UTC_MICROSECONDS,
    ArrowTable,
    AsOfColumn,
    Bools,
    Terms,
    as_table,
    check_same_types,
    column_of,
    history,
    key_columns,
    microseconds,
    questions,
    source_time_names,
    wanted,
)
from lake.queries import QUERIES, load_query

OFFENCES = pa.schema(
    [
        ("row", pa.int64()),
        ("column", pa.string()),
        ("as_of", UTC_MICROSECONDS),
        ("event_time", UTC_MICROSECONDS),
        ("received_time", UTC_MICROSECONDS),
        ("known_event_time", UTC_MICROSECONDS),
        ("reason", pa.string()),
    ]
)
"""Columns and types of what the audit returns."""

_AUDIT = QUERIES / "audit"

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # Everything that the statements read is registered: Python variables of these names are not meant.
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def audit_lookahead(
    frame: ArrowTable,
    right: ArrowTable,
    *,
    by: str | Sequence[str],
    columns: Sequence[str | AsOfColumn],
    as_of: str = "event_time",
    event_time: str = "event_time",
    received_time: str | None = "received_time",
    hide_unreceived: bool = True,
    allow_exact_matches: bool = True,
    tie_break: str | None = None,
    source_times: bool = False,
) -> pa.Table:
    """The cells of a frame that hold something else than what was known at their moment.

    That a cell is reported is a fact: the value is not that of the newest row known then. The reason is an
    inference from where that value occurs in `right`, since values repeat; with `source_times` it follows the
    event time that the frame itself claims. Two values are the same if equal in the frame's own type;
    null and NaN are the same.

    Args:
        frame: Rows with the key columns, a moment each, and the values to audit.
        right: The rows that the values are from, as for `lake.asof.asof_join`.
        by: As for `lake.asof.asof_join`, and so are all that follow.
        columns: What is audited; in the frame a column has its `rename`, if it has one.
        as_of: Column of `frame` with the moment.
        event_time: Column of `right`.
        received_time: Column of `right`, or None.
        hide_unreceived: Whether a row counts only once it was received.
        allow_exact_matches: Whether an event at the very moment counts.
        tie_break: Column of `right` that decides between rows with equal times.
        source_times: Whether the frame has the columns that `asof_join(source_times=True)` adds; then they
            too must be right.

    Returns:
        One row per wrong cell, by row and column; none means pass. `row` counts from 0; `event_time` and
        `received_time` are those of the row the value seems to be from, `known_event_time` that of the row
        that was known; `reason` is one of

        * `event_after_as_of`: it had not happened (or, without exact matches, happened at that moment);
        * `received_after_as_of`: it had happened, and was not received;
        * `older_than_tolerance`: it was known, and too old to count;
        * `superseded`: it was known, and so was a newer one;
        * `value_missing`: the cell is null though a value was known;
        * `value_not_found`: no row of that key has the value (at the event time that the frame claims).

    Raises:
        QueryError: A column is missing or there twice, or types cannot be compared.
        ContractError: A column of times is not one of moments in UTC microseconds.
    """
    terms = Terms(
        by=(by,) if isinstance(by, str) else tuple(by),
        as_of=as_of,
        event_time=event_time,
        received_time=received_time,
        hide_unreceived=hide_unreceived,
        allow_exact_matches=allow_exact_matches,
        tie_break=tie_break,
    )
    asked = wanted(columns)
    with duckdb.connect(":memory:", config=_CONFIG) as connection:
        try:
            audit = _Audit(connection, as_table(frame), as_table(right), terms)
            found = [audit.offences(column, source_times=source_times) for column in asked]
        except duckdb.Error as error:
            raise QueryError(f"these columns cannot be audited: {error}") from error
    return pa.concat_tables(found).sort_by("row")


@dataclass(frozen=True, slots=True)
class _Cells:
    """One column of the frame beside what it should be.

    Attributes:
        value: What the frame holds, NaN as null.
        claimed: Event and received times that the frame holds for it, in microseconds, as far as it does.
        known: Row of the right table that was known, null where none was.
        wrong: Which cells differ.
    """

    value: pa.ChunkedArray
    claimed: list[pa.Array]
    known: pa.Array
    wrong: Bools


class _Audit:
    """One frame against one history."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, frame: pa.Table, right: pa.Table, terms: Terms
    ) -> None:
        self._connection = connection
        self._frame = frame
        self._right = right
        self._terms = terms
        self._as_of = microseconds(frame, terms.as_of, "frame")
        self._key = key_columns(frame, terms, "frame")
        self._times = [
            microseconds(right, name, "right table")
            for name in (terms.event_time, terms.received_time)
            if name is not None
        ]
        check_same_types(self._key, key_columns(right, terms, "right table"), terms.by)
        asks = questions(frame, terms, "frame")
        connection.register("questions", _rows(asks.rows, asks.key, as_of=asks.as_of))
        self._known_of_all = self._newest_known(None)

    def offences(self, column: AsOfColumn, *, source_times: bool) -> pa.Table:
        """The wrong cells of one column, by row."""
        cells = self._cells(column, source_times=source_times)
        if not cells.wrong.any():
            return OFFENCES.empty_table()
        rows = np.flatnonzero(cells.wrong)
        reasons = self._reasons(column, cells, rows)
        known = self._times[0].take(cells.known.take(pa.array(rows)))
        found = {
            "row": reasons["row"],
            "column": pa.array([column.output]).take(pa.array(np.zeros(len(rows), np.int64))),
            "as_of": reasons["as_of"],
            "event_time": reasons["event_time"],
            "received_time": reasons["received_time"],
            "known_event_time": known,
            "reason": reasons["reason"],
        }
        return pa.table(found).cast(OFFENCES)

    def _cells(self, column: AsOfColumn, *, source_times: bool) -> _Cells:
        value = _without_nan(column_of(self._frame, column.output, "frame"))
        if pa.types.is_null(value.type):  # what some libraries make of a column without any value
            value = value.cast(column_of(self._right, column.name, "right table").type)
        known = self._known(column)
        same = _same(value, self._in_type_of_frame(column, value).take(known))
        claimed = []
        if source_times:
            for name, time in zip(source_time_names(column, self._terms), self._times, strict=True):
                claimed.append(microseconds(self._frame, name, "frame"))
                same &= _same(claimed[-1], time.take(known))
        return _Cells(value, claimed, known, ~same)

    def _known(self, column: AsOfColumn) -> pa.Array:
        """Row of the right table known at each moment and young enough; null where there is none."""
        known = self._known_of_all
        value = column_of(self._right, column.name, "right table")
        if column.ignore_nulls and value.null_count:
            known = self._newest_known(np.asarray(pc.is_valid(value)))
        if column.tolerance_us is None:
            return known
        age = pc.subtract(self._as_of, self._times[0].take(known))
        return pc.if_else(pc.less_equal(age, column.tolerance_us), known, pa.scalar(None, pa.int64()))

    def _newest_known(self, keep: Bools | None) -> pa.Array:
        past = history(self._right, self._terms, keep)
        nothing = pa.nulls(len(past.rows), pa.int64())
        received = nothing if past.received_time is None else past.received_time
        tie_break = nothing if past.tie_break is None else past.tie_break
        table = _rows(
            past.rows, past.key, event_time=past.event_time, received_time=received, tie_break=tie_break
        )
        self._connection.register("history", table)
        answers = self._run("newest_known")
        known = np.full(self._frame.num_rows, -1)
        known[answers["question"].to_numpy()] = answers["answer"].to_numpy()
        return pa.array(known, mask=known < 0)

    def _reasons(self, column: AsOfColumn, cells: _Cells, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Where the values of these rows of the frame seem to come from."""
        at = pa.array(rows)
        claimed = {"claimed": cells.claimed[0].take(at)} if cells.claimed else {}
        missing = pc.is_null(cells.value.take(at))
        if claimed:
            missing = pc.and_(missing, pc.is_null(claimed["claimed"]))
        like = _append(self._key.take(at), value=cells.value.take(at), **claimed)
        offences = _rows(rows, like, as_of=self._as_of.take(at), missing=missing)

        past = history(self._right, replace(self._terms, hide_unreceived=False, tie_break=None))
        values = self._in_type_of_frame(column, cells.value).take(pa.array(past.rows))
        times = {"claimed": past.event_time} if claimed else {}
        received = past.received_time
        table = _rows(
            past.rows,
            _append(past.key, value=values, **times),
            event_time=past.event_time,
            received_time=pa.nulls(len(past.rows), pa.int64()) if received is None else received,
        )
        self._connection.register("offences", offences)
        self._connection.register("history", table)
        return self._run("wrong_values", tolerance_us=column.tolerance_us)

    def _in_type_of_frame(self, column: AsOfColumn, value: pa.ChunkedArray) -> pa.ChunkedArray:
        past = column_of(self._right, column.name, "right table")
        try:
            return _without_nan(past if past.type == value.type else past.cast(value.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise QueryError(
                f"{column.output!r} is {value.type} in the frame and {past.type} in the right table: {error}"
            ) from error

    def _run(self, name: str, **parameters: Any) -> pa.Table:
        values = {
            "hide_unreceived": self._terms.hide_unreceived,
            "allow_exact_matches": self._terms.allow_exact_matches,
            **parameters,
        }
        sql = load_query(_AUDIT / f"{name}.sql").sql
        return self._connection.sql(sql, params=values).to_arrow_table()


def _rows(rows: npt.NDArray[np.int64], key: pa.Table, **columns: Any) -> pa.Table:
    """Row numbers, the key as one column, and what else there is."""
    return pa.table({"row": rows, "key": key.to_struct_array(), **columns})


def _append(table: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        table = table.append_column(name, array)
    return table


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _same(one: pa.ChunkedArray | pa.Array, other: pa.ChunkedArray | pa.Array) -> Bools:
    """Which values are equal, null equal to null."""
    if pa.types.is_null(one.type):
        return np.ones(len(one), np.bool_)
    try:
        equal = pc.fill_null(pc.equal(one, other), False)
    except pa.ArrowNotImplementedError as error:
        raise QueryError(f"values of type {one.type} cannot be compared: {error}") from error
    same: Bools = np.asarray(pc.or_(equal, pc.and_(pc.is_null(one), pc.is_null(other))))
    return same
