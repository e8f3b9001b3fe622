"""The point-in-time join: beside each row, what was known of its key at its moment.

A right row becomes visible at `max(event_time, received_time)` and stays so. Hence one pass over both sides
in the order of (key, moment), carrying the newest right row seen so far, answers every left row:
O(n log n), whatever arrives late or out of order. Terms and ties are defined in `lake.point_in_time`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import QueryError
from lake.point_in_time import (
    UTC_MICROSECONDS,
    ArrowTable,
    AsOfColumn,
    Bools,
    History,
    Int64s,
    Questions,
    Terms,
    as_table,
    check_same_types,
    column_of,
    history,
    microseconds,
    questions,
    source_time_names,
    wanted,
)

__all__ = ["AsOfColumn", "asof_join"]


def asof_join(
    left: ArrowTable,
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
    """For every left row, the values of the newest right row that was known at its moment.

    Args:
        left: Rows with the key columns and a moment each; order and number stay, duplicates included.
        right: Rows with the key columns, event time, received time and values, in any order.
        by: Key columns, of the same names and types on both sides; an empty list matches all rows.
        columns: Columns of `right`; a bare name has no tolerance. A value older than its column's tolerance
            is null.
        as_of: Column of `left` with the moment; a time with zone.
        event_time: Column of `right`; a time with zone.
        received_time: Column of `right`; a time with zone. None if there is none.
        hide_unreceived: Whether a row counts only once it was received. Say False for backfilled rows, whose
            received time is the time of the load.
        allow_exact_matches: Whether an event at the very moment counts; False asks `event_time < as_of`.
        tie_break: Column of `right` that decides between rows of one key with equal event and received
            times: the greatest wins. Without it, and then, the later row of the table.
        source_times: Add, after each value, `<column>_event_time` and `<column>_received_time` (if there
            is one) of the row it is from; null where no row counted.

    Returns:
        The columns of `left`, then those asked for, in their right types; null where nothing counted.

    Raises:
        QueryError: A column is missing or there twice, a name of the result would be there twice, or key
            types differ.
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
    frame, past = as_table(left), as_table(right)
    asked = wanted(columns)
    _check_names(frame, asked, terms, source_times=source_times)
    values = [column_of(past, column.name, "right table") for column in asked]
    search = _Search(questions(frame, terms, "left table"), history(past, terms), terms)
    times = _source_times(past, terms) if source_times else []

    result = frame
    for column, value in zip(asked, values, strict=True):
        kept = np.asarray(pc.is_valid(value)) if column.ignore_nulls and value.null_count else None
        source = search.newest(frame.num_rows, column.tolerance_us, kept)
        result = result.append_column(column.output, past.column(column.name).take(source))
        for name, time in zip(source_time_names(column, terms), times, strict=False):
            result = result.append_column(name, time.take(source))
    return result


class _Search:
    """The newest visible right row of each question; the sorting is done once for all columns."""

    def __init__(self, asks: Questions, known: History, terms: Terms) -> None:
        check_same_types(asks.key, known.key, terms.by)
        self._asks = asks
        self._known = known
        self._asks_key, known_key = _key_codes(asks.key, known.key)
        received = None
        if known.received_time is not None:
            received = pc.fill_null(known.received_time, np.iinfo(np.int64).min).to_numpy()
        self._by_newness = _by_newness(known, known_key, received)
        self._key_by_newness = known_key[self._by_newness]
        newness = np.empty_like(self._by_newness)
        newness[self._by_newness] = np.arange(len(newness))

        visible = _first_visible(known.event_time, received, terms)
        asking = np.repeat([False, True], [len(known.rows), len(asks.rows)])
        moments = np.concatenate([visible, asks.as_of])
        # At the same moment a row is visible before it is asked for.
        merged = np.lexsort((asking, moments, np.concatenate([known_key, self._asks_key])))
        self._merged = merged
        self._newness = np.concatenate([newness, np.full(len(asks.rows), -1)])[merged]
        self._asked_at = np.flatnonzero(asking[merged])
        self._question = merged[self._asked_at] - len(known.rows)
        self._best_of_all = self._best(None)

    def newest(self, rows: int, tolerance_us: int | None, kept: Bools | None) -> pa.Array:
        """Row number in the right table for each row of the left one, null where none counts.

        Args:
            rows: Rows of the left table.
            tolerance_us: Greatest age, in microseconds.
            kept: Which rows of the right table count; None for all.
        """
        best = self._best_of_all if kept is None else self._best(kept)
        found = best >= 0
        found[found] = self._key_by_newness[best[found]] == self._asks_key[self._question[found]]
        source = self._by_newness[best[found]]
        question = self._question[found]
        if tolerance_us is not None:
            young = self._asks.as_of[question] - self._known.event_time[source] <= tolerance_us
            source, question = source[young], question[young]
        result = np.full(rows, -1)
        result[self._asks.rows[question]] = self._known.rows[source]
        return pa.array(result, mask=result < 0)

    def _best(self, kept: Bools | None) -> Int64s:
        """The newness reached before each question, -1 where there was nothing yet.

        Newness counts on from key to key, so what is carried is never of a later key; it may be of an
        earlier one.
        """
        newness = self._newness
        if kept is not None:
            counts = np.concatenate([kept[self._known.rows], np.zeros(len(self._asks.rows), np.bool_)])
            newness = np.where(counts[self._merged], newness, -1)
        best: Int64s = np.maximum.accumulate(newness)[self._asked_at]
        return best


def _by_newness(known: History, key: Int64s, received: Int64s | None) -> Int64s:
    """Positions sorted by key, then from the oldest to the newest; the sort is stable."""
    order = [known.event_time, key]
    if received is not None:
        order.insert(0, received)
    if known.tie_break is not None:
        ranks = pl.Series(known.tie_break).rank("dense").fill_null(0)
        order.insert(0, ranks.to_numpy().astype(np.int64))
    return np.lexsort(order)


def _first_visible(event_time: Int64s, received_time: Int64s | None, terms: Terms) -> Int64s:
    """The earliest moment at which each row is visible, in microseconds since 1970 UTC."""
    happened = event_time if terms.allow_exact_matches else event_time + 1
    if not terms.hide_unreceived or received_time is None:
        return happened
    return np.maximum(happened, received_time)


def _key_codes(asks: pa.Table, known: pa.Table) -> tuple[Int64s, Int64s]:
    """A number for each key, the same on both sides."""
    try:
        both = pl.concat([pl.DataFrame(asks), pl.DataFrame(known)])
        codes = both.with_row_index("row").select(pl.col("row").first().over(both.columns))
    except pl.exceptions.PolarsError as error:
        raise QueryError(f"these key columns cannot be compared: {error}") from error
    numbers = codes.to_series().to_numpy().astype(np.int64)
    return numbers[: asks.num_rows], numbers[asks.num_rows :]


def _source_times(right: pa.Table, terms: Terms) -> list[pa.Array]:
    names = [terms.event_time, *([] if terms.received_time is None else [terms.received_time])]
    return [microseconds(right, name, "right table").cast(UTC_MICROSECONDS) for name in names]


def _check_names(left: pa.Table, asked: list[AsOfColumn], terms: Terms, *, source_times: bool) -> None:
    names = list(left.column_names)
    for column in asked:
        names.append(column.output)
        names += source_time_names(column, terms) if source_times else []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise QueryError(f"the result would have these columns twice: {', '.join(twice)}; rename them")
