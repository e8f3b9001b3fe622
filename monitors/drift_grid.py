"""Rows of features laid on a grid of session time, and the windows that are compared.

A session is cut into `CELLS` equal cells (on a regular day one a minute); the last row in a cell counts, so
that a quick feed weighs no more than a slow one. 25 cells are a slot, and a window is the last four slots of
the session so far: one ends every 25 minutes, and early ones are shorter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog.calendar import Session as TradingSession
from catalog.calendar import SessionCalendar
from lake.errors import SchemaMismatchError
from monitors.drift_tests import Floats

CELLS = 375
SLOT_CELLS = 25
SLOTS = CELLS // SLOT_CELLS
WINDOW_SLOTS = 4
KEYS = ("event_time", "date", "exchange", "symbol")
LABELS = ("forward_return", "label")


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of one symbol, laid on the grid.

    Attributes:
        sessions: Date of each, in order.
        present: (sessions, cells): there is a row.
        values: By feature (sessions, cells); NaN where there is no row or no finite value.
        infinite: By feature, how many values were infinite, by session and cell.
    """

    sessions: tuple[date, ...]
    present: npt.NDArray[np.bool_]
    values: dict[str, Floats]
    infinite: dict[str, npt.NDArray[np.bool_]]


def window_slots(number: int) -> slice:
    """The cells of the window that ends with slot `number` (1 to `SLOTS`)."""
    return slice(max(0, number - WINDOW_SLOTS) * SLOT_CELLS, number * SLOT_CELLS)


def window_times(session: TradingSession, number: int) -> tuple[datetime, datetime]:
    """When that window of a session begins and ends, UTC."""
    cells, length = window_slots(number), session.close - session.open
    start, end = (session.open + length * place / CELLS for place in (cells.start, cells.stop))
    return start.astimezone(UTC), end.astimezone(UTC)


def feature_columns(rows: pa.Table) -> tuple[str, ...]:
    """Names of the columns that are features: numbers or truth values that are no keys and no labels."""
    return tuple(
        field.name for field in rows.schema if field.name not in {*KEYS, *LABELS} and _is_number(field.type)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def as_floats(column: pa.ChunkedArray) -> Floats:
    """A column of numbers or truth values as float64; null is NaN."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def lay_out(
    rows: pa.Table, exchange: str, features: Sequence[str], calendar: SessionCalendar
) -> Iterator[tuple[str, Grid]]:
    """The rows of each symbol on the grid, sorted by symbol; rows out of session hours are left out.

    Raises:
        SchemaMismatchError: A key is missing, or is of another type.
    """
    lacking = [name for name in KEYS if name not in rows.column_names]
    if lacking:
        raise SchemaMismatchError(f"rows of features lack {', '.join(lacking)}")
    rows = rows.filter(pc.equal(rows.column("exchange"), exchange)).combine_chunks()
    days = [day for day in sorted(pc.unique(rows.column("date")).to_pylist()) if day is not None]
    hours = {day: session for day in days if (session := calendar.session(exchange, day)) is not None}
    if not hours:
        return
    time_us = rows.column("event_time").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    session_of = pc.index_in(rows.column("date"), pa.array(list(hours), pa.date32()))
    number = pc.fill_null(session_of, -1).to_numpy()
    opens, lengths = (
        np.array(values, dtype=np.float64)
        for values in zip(
            *((s.open.timestamp() * 1e6, (s.close - s.open).total_seconds() * 1e6) for s in hours.values()),
            strict=True,
        )
    )
    cell = np.floor((time_us - opens[number]) / lengths[number] * CELLS)
    # The row of the closing moment belongs to the session.
    cell = np.where(time_us == opens[number] + lengths[number], CELLS - 1, cell)
    inside = (number >= 0) & (cell >= 0) & (cell < CELLS)
    symbols = rows.column("symbol").to_numpy(zero_copy_only=False)
    matrix = {name: as_floats(rows.column(name)) for name in features if name in rows.column_names}
    for symbol in sorted({name for name in symbols[inside] if name is not None}):
        chosen = np.flatnonzero(inside & (symbols == symbol))
        # Of several rows of a cell the assignment below keeps the last.
        chosen = chosen[np.argsort(time_us[chosen], kind="stable")]
        where = (number[chosen], cell[chosen].astype(np.int64))
        yield symbol, _fill(tuple(hours), where, {name: column[chosen] for name, column in matrix.items()})


def _fill(
    sessions: tuple[date, ...],
    where: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    columns: dict[str, Floats],
) -> Grid:
    shape = (len(sessions), CELLS)
    present = np.zeros(shape, dtype=np.bool_)
    present[where] = True
    values, infinite = {}, {}
    for name, column in columns.items():
        laid = np.full(shape, np.nan)
        laid[where] = column
        infinite[name] = np.isinf(laid)
        values[name] = np.where(infinite[name], np.nan, laid)
    return Grid(sessions, present, values, infinite)


def missing_share(values: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    """Share of the rows there are that have no finite value, over the last axis; 0 without rows."""
    rows = present.sum(axis=-1)
    lacking = (present & ~np.isfinite(values)).sum(axis=-1)
    return np.asarray(lacking / np.maximum(rows, 1))
