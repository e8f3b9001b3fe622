"""Legs of chain updates -> Arrow rows of `option_chain`, column by column.

Legs of many updates are collected into plain lists and turned into arrays together: the fixed cost of
an array call is paid once for some thousand rows, and no single call holds the interpreter for long.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog.contracts import OPTION_CHAIN, Column
from catalog.exchanges import canonical_symbol
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject
from ingest.live_values import epoch_us, expiry_date, is_missing, number, shown
from ingest.origins import origin_of

BLOCK_ROWS = 4_096
"""Rows turned into arrays together."""

_SCHEMA = pa.schema([f for f in OPTION_CHAIN.schema if f.name != "batch_id"])
_COLUMNS = {column.name: column for column in OPTION_CHAIN.columns}
_LEG = tuple(
    _COLUMNS[n]
    for n in ("strike", "ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "oi_change", "volume", "iv")
)
# Of the context, what a leg may have of its own.
_OWN = tuple(_COLUMNS[n] for n in ("underlying_price", "lot_size"))
_CONTEXT = tuple(_COLUMNS[n] for n in ("underlying_price", "vix", "atm_strike", "pcr", "lot_size"))
_LARGEST_EXACT = 2.0**53  # from here on a double skips whole numbers
_BAD_EXPIRY = 0
_Floats = npt.NDArray[np.float64]


@dataclass(slots=True, frozen=True)
class RejectedLeg:
    """A leg that breaks the contract, with the update it came in."""

    update: ChainUpdate
    moment: datetime
    reject: Reject


@dataclass(slots=True)
class _Segment:
    """Legs of one side of one update, as rows `start` to the start of the next segment."""

    update: ChainUpdate
    number: int
    moment: datetime
    day: date
    option_type: str
    start: int
    rows: int


class ChainRows:
    """Collects legs of one exchange; `finish` turns them into rows and rejects."""

    def __init__(self, exchange: str, reference: ReferenceData) -> None:
        self._exchange = exchange
        self._calendar = reference.calendar
        self._expiry_codes = _ExpiryCodes(exchange, reference)
        self._blocks: list[pa.Table] = []
        self._rejects: list[RejectedLeg] = []
        self._updates: list[npt.NDArray[np.int64]] = []
        self._update: ChainUpdate | None = None
        self._update_number = 0
        self._start_block()

    def add(
        self,
        update: ChainUpdate,
        moment: datetime,
        context: Sequence[float],
        option_type: str,
        legs: Sequence[Mapping[str, Any]],
    ) -> None:
        """Collect legs of one side of one update.

        Args:
            update: Where they come from.
            moment: Its event time, UTC.
            context: As `context_numbers` gives it.
            option_type: CE or PE.
            legs: Mappings with the canonical keys.
        """
        columns = self._columns
        for column in (*_LEG, *_OWN):
            name = column.name
            columns[name] += [leg.get(name) for leg in legs]
        stated = [leg.get("option_type") for leg in legs]
        if any(value is not None for value in stated):
            for index, value in enumerate(stated):
                same = value == option_type if isinstance(value, str) else is_missing(value)
                if not same:
                    self._note(
                        len(self._legs) + index,
                        "bad_option_type",
                        f"option_type is {shown(value)} among the {option_type} legs",
                    )
        default = update.expiry
        values = [default if (own := leg.get("expiry")) is None else own for leg in legs]
        try:
            self._expiries += map(self._expiry_codes.__getitem__, values)
        except Exception:  # noqa: BLE001 - some value is missing, wrong, or raises: find out which
            self._expiries[len(self._legs) :] = [
                self._expiry_code(index, default if is_missing(value) else value)
                for index, value in enumerate(values)
            ]
        day = self._calendar.session_date(self._exchange, moment)
        if update is not self._update:
            self._update, self._update_number = update, self._update_number + 1
        self._segments.append(
            _Segment(update, self._update_number, moment, day, option_type, len(self._legs), len(legs))
        )
        self._context.append(context)
        self._legs += legs
        if len(self._legs) >= BLOCK_ROWS:
            self._end_block()

    def finish(self) -> tuple[pa.Table | None, list[RejectedLeg]]:
        """Rows of everything collected, None if there are none, and the legs that became none."""
        self._end_block()
        table = pa.concat_tables(self._blocks) if self._blocks else None
        return table, self._rejects

    def update_numbers(self) -> npt.NDArray[np.int64]:
        """One a row of what `finish` gave: which update brought it, counted up."""
        return np.concatenate(self._updates)

    def _start_block(self) -> None:
        self._columns: dict[str, list[Any]] = {c.name: [] for c in (*_LEG, *_OWN)}
        self._legs: list[Mapping[str, Any]] = []
        self._expiries: list[int] = []
        self._segments: list[_Segment] = []
        self._context: list[Sequence[float]] = []
        self._problems: dict[int, list[tuple[str, str]]] = {}

    def _expiry_code(self, index: int, value: Any) -> int:
        try:
            return self._expiry_codes[value]
        except Exception as error:  # noqa: BLE001 - hashing the app's object may raise anything
            self._note(len(self._legs) + index, "bad_expiry", f"expiry {shown(value)}: {shown(error)}")
            return _BAD_EXPIRY

    def _end_block(self) -> None:
        if not self._legs:
            return
        sizes = np.array([s.rows for s in self._segments])
        context = np.repeat(np.array(self._context, np.float64), sizes, axis=0)
        numbers: dict[str, _Floats] = {}
        for column in _LEG:
            numbers[column.name] = self._numbers(column, self._columns[column.name])
        # Feeds write 0 for legs they have no spot for, as they do for a whole chain.
        own = {c.name: self._numbers(c, self._columns[c.name], zero_is_missing=True) for c in _OWN}
        for position, column in enumerate(_CONTEXT):
            values = context[:, position]
            self._check_bounds(column, values, None)
            numbers[column.name] = values
        for name, values in own.items():
            numbers[name] = np.where(np.isnan(values), numbers[name], values)
        rows = self._table(numbers, sizes)
        brought_by = np.repeat(np.array([s.number for s in self._segments]), sizes)
        if self._problems:
            self._reject()
            keep = np.ones(len(self._legs), dtype=bool)
            keep[list(self._problems)] = False
            rows, brought_by = rows.filter(pa.array(keep)), brought_by[keep]
        if rows.num_rows:
            self._blocks.append(rows)
            self._updates.append(brought_by)
        self._start_block()

    def _table(self, numbers: Mapping[str, _Floats], sizes: npt.NDArray[np.int64]) -> pa.Table:
        segments = self._segments
        event_us = np.repeat(np.array([epoch_us(s.moment) for s in segments], np.int64), sizes)
        received_us = np.repeat(np.array([s.update.received_ns // 1000 for s in segments], np.int64), sizes)
        days = np.repeat(np.array([s.day for s in segments], "datetime64[D]"), sizes)
        codes = np.array(self._expiries)
        expiry_days, close_us = self._expiry_codes.arrays()
        time_type = pa.timestamp("us", tz="UTC")
        arrays: dict[str, pa.Array] = {
            "date": pa.array(days),
            "exchange": pa.repeat(self._exchange, len(codes)),
            "event_time": pa.array(event_us).view(time_type),
            "received_time": pa.array(received_us).view(time_type),
            "symbol": _repeat_text([canonical_symbol(s.update.symbol) for s in segments], sizes),
            "expiry": pa.array(expiry_days[codes]),
            "option_type": _repeat_text([s.option_type for s in segments], sizes),
            "time_to_expiry_s": pa.array((close_us[codes] - event_us) / 1e6),
            "source": _repeat_text([str(s.update.source) for s in segments], sizes),
            "dq_flags": pa.array(np.zeros(len(codes), np.int32)),
        }
        for column in (*_LEG, *_CONTEXT):
            arrays[column.name] = _to_arrow(numbers[column.name], column.type)
        return pa.Table.from_arrays([arrays[f.name] for f in _SCHEMA], schema=_SCHEMA)

    def _numbers(self, column: Column, values: list[Any], *, zero_is_missing: bool = False) -> _Floats:
        """Values as doubles, NaN where missing; what is no number, or out of bounds, is noted."""
        result: _Floats | None
        try:
            result = np.array(values, dtype=np.float64)
        except Exception:  # noqa: BLE001 - `__float__` of the app's object may raise anything
            result = None
        if result is None or result.ndim != 1:
            result = np.full(len(values), np.nan)
            for index, value in enumerate(values):
                try:
                    result[index] = number(value)
                except ValueError as error:
                    self._note(index, "bad_number", f"{column.name}: {error}")
        if zero_is_missing:
            result = np.where(result == 0, np.nan, result)
        self._check_bounds(column, result, values)
        return result

    def _check_bounds(self, column: Column, values: _Floats, given: list[Any] | None) -> None:
        bad = np.isinf(values)
        if column.required:
            bad |= np.isnan(values)
        if column.minimum is not None:
            bad |= values < column.minimum
        if column.above is not None:
            bad |= values <= column.above
        if pa.types.is_integer(column.type):
            with np.errstate(invalid="ignore"):
                fraction = values != np.floor(values)
            bad |= (fraction & ~np.isnan(values)) | (np.abs(values) >= _limit(column.type))
        for index in np.flatnonzero(bad):
            at = int(index)
            if any(text.startswith(f"{column.name}: ") for _, text in self._problems.get(at, ())):
                continue  # no number at all was noted already
            value = given[at] if given is not None else float(values[at])
            self._note(at, "contract", f"{column.name}: {shown(value)} breaks: {_rule(column)}")

    def _note(self, row: int, reason: str, detail: str) -> None:
        self._problems.setdefault(row, []).append((reason, detail))

    def _reject(self) -> None:
        starts = [s.start for s in self._segments]
        for row in sorted(self._problems):
            found = self._problems[row]
            segment = self._segments[bisect_right(starts, row) - 1]
            reject = Reject(
                found[0][0],
                "; ".join(detail for _, detail in found),
                leg_payload(self._legs[row], segment.option_type),
                origin=origin_of(segment.update, segment.moment, self._legs[row], segment.option_type),
            )
            self._rejects.append(RejectedLeg(segment.update, segment.moment, reject))


def context_numbers(context: Mapping[str, Any] | None) -> tuple[list[float], list[str]]:
    """The context as numbers in the order of the columns, and what is wrong with it."""
    given = context or {}
    values: list[float] = []
    problems: list[str] = []
    for column in _CONTEXT:
        try:
            value = number(given.get(column.name))
        except ValueError as error:
            problems.append(f"{column.name}: {error}")
            value = float("nan")
        # A source that has no figure says 0, for these as for prices; a ratio of 0 is a figure.
        values.append(float("nan") if value == 0 and column.name != "pcr" else value)
    return values, problems


def leg_payload(leg: Mapping[str, Any], option_type: str) -> dict[str, Any]:
    """A leg as quarantine keeps it."""
    return {"option_type": option_type, **{str(key): value for key, value in leg.items()}}


class _ExpiryCodes(dict[Any, int]):
    """Expiry as given -> a small number; each is parsed once. Code 0 stands for a bad one."""

    def __init__(self, exchange: str, reference: ReferenceData) -> None:
        super().__init__()
        self._exchange, self._calendar = exchange, reference.calendar
        self._days = [date(1970, 1, 1)]
        self._close_us = [0]

    def __missing__(self, value: Any) -> int:
        day = expiry_date(value)
        self._days.append(day)
        self._close_us.append(epoch_us(self._calendar.close_of(self._exchange, day)))
        code = len(self._days) - 1
        self[value] = code
        return code

    def arrays(self) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.int64]]:
        """Date and epoch microseconds of the session's close, by code."""
        return np.array(self._days, "datetime64[D]"), np.array(self._close_us, np.int64)


def _repeat_text(texts: list[str], sizes: npt.NDArray[np.int64]) -> pa.Array:
    if len(set(texts)) == 1:
        return pa.repeat(texts[0], int(sizes.sum()))
    return pa.array(texts, pa.string()).take(pa.array(np.repeat(np.arange(len(texts)), sizes)))


def _to_arrow(values: _Floats, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_integer(kind):
        return pa.array(values, from_pandas=True)
    usable = np.isfinite(values) & (np.abs(values) < _limit(kind))
    whole = np.where(usable, values, 0).astype(kind.to_pandas_dtype())
    return pa.array(whole, kind, mask=~usable)


def _limit(kind: pa.DataType) -> float:
    """What a whole number of that type must stay below."""
    bits: int = kind.bit_width
    return min(2.0 ** (bits - 1), _LARGEST_EXACT)


def _rule(column: Column) -> str:
    rules = []
    if column.required:
        rules.append("must be there")
    if column.above is not None:
        rules.append(f"must be above {column.above:g}")
    if column.minimum is not None:
        rules.append(f"must be at least {column.minimum:g}")
    if pa.types.is_integer(column.type):
        rules.append(f"must be a whole number below {_limit(column.type):.0f}")
    return ", ".join([*rules, "must be finite"])
