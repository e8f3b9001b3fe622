"""Candles -> Arrow rows of `candles`; each is checked before it becomes a row.

A row of a candle is known when the candle is complete, and not at the time it is labelled with: that is its
`event_time`, so that a join as of a moment sees no price that was still to come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from catalog.calendar import SessionCalendar
from catalog.contracts import CANDLES, SESSION_INTERVAL_S, Column
from ingest.events import CANDLE_TABLE, CandleUpdate, Reject
from ingest.live_values import event_moment, moment_of, shown

_SCHEMA = pa.schema([f for f in CANDLES.schema if f.name != "batch_id"])
_OPTION_TYPES = ("CE", "PE")
# What of the columns expiry, strike and option_type an instrument has.
_HAS = {"index": (False, False, False), "future": (True, False, False), "option": (True, True, True)}
_CONTRACT = ("expiry", "strike", "option_type")
_FIGURES = tuple(
    column
    for column in CANDLES.columns
    if column.unit and not pa.types.is_timestamp(column.type) and column.name != "interval_s"
)
_LARGEST = {"int32": 2**31, "int64": 2**63}


class CandleRows:
    """Collects candles of one exchange."""

    def __init__(self, exchange: str, calendar: SessionCalendar) -> None:
        self._exchange, self._calendar = exchange, calendar
        self._zone = calendar.timezone(exchange)
        self._rows: list[dict[str, Any]] = []

    def add(self, update: CandleUpdate) -> list[Reject]:
        """Collect the candles of one update; gives back those that break the contract."""
        head = {
            "exchange": self._exchange,
            "received_time": moment_of(update.received_ns),
            "symbol": update.symbol,
            "source": update.source,
        }
        rejects = []
        for candle in update.candles:
            try:
                self._rows.append(head | self._row(candle, update.received_ns))
            except _BreachError as breach:
                payload = candle.get("raw", candle)
                rejects.append(
                    Reject(breach.reason, breach.detail, dict(payload), CANDLE_TABLE, candle.get("origin"))
                )
        return rejects

    def finish(self) -> pa.Table | None:
        """Rows of everything collected; None if there are none."""
        return pa.Table.from_pylist(self._rows, schema=_SCHEMA) if self._rows else None

    def _row(self, candle: Mapping[str, Any], received_ns: int) -> dict[str, Any]:
        row = {name: candle.get(name) for name in ("instrument", *_CONTRACT)}
        _check_instrument(row)
        interval_s = candle.get("interval_s")
        if type(interval_s) is not int or not 0 < interval_s <= SESSION_INTERVAL_S:
            raise _BreachError("contract", f"interval_s: {shown(interval_s)} is no length within a day")
        row["interval_s"] = interval_s
        start = candle.get("start_time")
        if not isinstance(start, datetime) or start.tzinfo is None:
            raise _BreachError("bad_event_time", f"start_time {shown(start)} is no time with a zone")
        start = start.astimezone(self._zone)
        row["date"] = start.date()
        row["start_time"] = start.astimezone(UTC)
        row["event_time"] = self._complete(start, interval_s, received_ns)
        for column in _FIGURES:
            row[column.name] = _figure(column, candle.get(column.name))
        _check_range(row)
        return row

    def _complete(self, start: datetime, interval_s: int, received_ns: int) -> datetime:
        """When a candle is known: at its end, which is no later than the session's close.

        A candle that begins at or after the close has its whole length.
        """
        end = start.astimezone(UTC) + timedelta(seconds=interval_s)
        close = self._calendar.close_of(self._exchange, start.date())
        if start < close or interval_s == SESSION_INTERVAL_S:
            end = min(end, close.astimezone(UTC))
        try:
            return event_moment(end, received_ns, self._zone)
        except ValueError as error:
            raise _BreachError("bad_event_time", str(error)) from None


class _BreachError(Exception):
    """A candle that cannot be stored."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def _check_instrument(row: Mapping[str, Any]) -> None:
    instrument = row["instrument"]
    if instrument not in _HAS:
        raise _BreachError("contract", f"instrument: {shown(instrument)} is none of {', '.join(_HAS)}")
    for name, needed in zip(_CONTRACT, _HAS[instrument], strict=True):
        if (row[name] is not None) is not needed:
            rule = "must be there" if needed else "must be null"
            raise _BreachError("contract", f"{name}: {shown(row[name])} breaks: {rule} for {instrument}")
    if row["option_type"] is not None and row["option_type"] not in _OPTION_TYPES:
        raise _BreachError("contract", f"option_type: {shown(row['option_type'])} is none of CE, PE")


def _figure(column: Column, value: Any) -> Any:
    if value is None:
        return None
    whole = pa.types.is_integer(column.type)
    if type(value) is not (int if whole else float) or not math.isfinite(value):
        kind = "whole number" if whole else "finite number"
        raise _BreachError("contract", f"{column.name}: {shown(value)} is no {kind}")
    if column.minimum is not None and value < column.minimum:
        raise _BreachError("contract", f"{column.name}: {shown(value)} breaks: at least {column.minimum:g}")
    if column.above is not None and value <= column.above:
        raise _BreachError("contract", f"{column.name}: {shown(value)} breaks: above {column.above:g}")
    if whole and abs(value) >= _LARGEST[str(column.type)]:
        raise _BreachError("contract", f"{column.name}: {shown(value)} is beyond {column.type}")
    return value


def _check_range(row: Mapping[str, Any]) -> None:
    """What must hold of the four prices.

    A session's close is what the exchange says it is: of futures an average of the last half hour, which
    may lie beyond the prices traded, and of contracts without a trade the close before.
    """
    opened, high, low, close = (row[name] for name in ("open", "high", "low", "close"))
    inside = [opened] if row["interval_s"] == SESSION_INTERVAL_S else [opened, close]
    known = [price for price in inside if price is not None]
    low, high = (low if low is not None else -math.inf), (high if high is not None else math.inf)
    if low > high or any(not low <= price <= high for price in known):
        prices = ", ".join(f"{name} {row[name]}" for name in ("open", "high", "low", "close"))
        raise _BreachError("bad_candle", f"{prices}: not between low and high")
