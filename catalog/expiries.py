"""When index derivatives expire: the weekday, which exchanges have changed often, and the session it is."""

from __future__ import annotations

import time as clocks
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Literal, cast, get_args

from catalog.calendar import SessionCalendar
from catalog.editable_csv import Line, is_there, read_lines
from catalog.editable_table import EditableTable
from catalog.exchanges import EXCHANGES, canonical_symbol

Cycle = Literal["weekly", "monthly"]

_COLUMNS: Final = ("exchange", "symbol", "cycle", "valid_from", "weekday")
_SHIPPED: Final = Path(__file__).parent / "data" / "expiry_days.csv"
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_WEEK: Final = timedelta(days=7)

_Key = tuple[str, str, Cycle]
_Changes = dict[_Key, dict[date, int | None]]


class ExpiryDays:
    """Weekdays of expiry by exchange, symbol and cycle, each from a date of expiry on.

    Build it with `load`. The user's file is read again when it has changed, see `EditableTable`.
    """

    def __init__(self, extra: Path | None = None, clock: Callable[[], float] = clocks.monotonic) -> None:
        """Read the tables; see `load`, which has the arguments but the clock, in seconds."""
        self._table = EditableTable(_changes, extra, clock)

    @classmethod
    def load(cls, extra: Path | None = None) -> ExpiryDays:
        """Read the shipped table and, laid over it, the user's.

        A user's line replaces the shipped one of the same exchange, symbol, cycle and `valid_from`.

        Args:
            extra: The user's file, of the same form as the shipped one; it need not exist, now or ever.

        Raises:
            SettingsError: A line is not valid; the message names file and line.
        """
        return cls(extra)

    def symbols(self, exchange: str) -> list[str]:
        """Return the underlyings of an exchange whose expiries are known, sorted."""
        return sorted({symbol for code, symbol, _ in self._table.newest() if code == exchange})

    def known_from(self, exchange: str) -> date | None:
        """Return the first date for which any weekday of expiry is known, None if none is."""
        return min(
            (lines[0][0] for (code, _, _), lines in self._table.newest().items() if code == exchange),
            default=None,
        )

    def expiries(
        self, calendar: SessionCalendar, exchange: str, symbol: str, first: date, last: date
    ) -> list[date]:
        """Return the dates from `first` to `last`, both included, on which contracts expire, in order.

        Args:
            calendar: Sessions: an expiry that falls on a day without one moves to the session before; the
                Diwali hour and special sessions of weekends do not count (`Session.has_expiries`).
            exchange: `NSE` or `BSE`.
            symbol: Canonical underlying, e.g. `NIFTY`.
            first: First date wanted.
            last: Last date wanted.

        Returns:
            No date before the symbol's first line: what was then is not established.
        """
        # A date on which nothing trades can move an expiry from after `last` into the range.
        end = last + _WEEK
        months = list(self._nominal(exchange, symbol, "monthly", first - timedelta(days=31), end))
        weeks_of_months = {_monday(day) for day in months}
        weekly = self._nominal(exchange, symbol, "weekly", first, end)
        nominal = {*months, *(day for day in weekly if _monday(day) not in weeks_of_months)}
        found = {_session_by(calendar, exchange, day) for day in nominal}
        return sorted(day for day in found if day is not None and first <= day <= last)

    def month_expiry(
        self, calendar: SessionCalendar, exchange: str, symbol: str, year: int, month: int
    ) -> date | None:
        """Return when the month's contract expires, None if that is not known."""
        first = date(year, month, 1)
        nominal = next(self._nominal(exchange, symbol, "monthly", first, _month_end(first)), None)
        return None if nominal is None else _session_by(calendar, exchange, nominal)

    def _nominal(self, exchange: str, symbol: str, cycle: Cycle, first: date, last: date) -> Iterator[date]:
        """Days of expiry by the rule alone, in order."""
        changes = self._table.newest().get((exchange, symbol, cycle), [])
        starts = [start for start, _ in changes]
        day = first
        while day <= last:
            place = bisect_right(starts, day)
            weekday = changes[place - 1][1] if place else None
            in_cycle = cycle == "weekly" or (day + _WEEK).month != day.month
            if weekday is not None and day.weekday() == weekday and in_cycle:
                yield day
            day += timedelta(days=1)


def _changes(extra: Path | None) -> dict[_Key, list[tuple[date, int | None]]]:
    changes = _read(read_lines(_SHIPPED, _COLUMNS))
    if is_there(extra):
        for key, by_day in _read(read_lines(extra, _COLUMNS)).items():
            changes.setdefault(key, {}).update(by_day)
    return {key: sorted(by_day.items()) for key, by_day in changes.items()}


def _session_by(calendar: SessionCalendar, exchange: str, day: date) -> date | None:
    """The last session up to that day in which contracts expire; None if the week before it has none."""
    sessions = calendar.sessions(exchange, day - timedelta(days=6), day)
    return next((session.date for session in reversed(sessions) if session.has_expiries), None)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _month_end(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _read(lines: Iterable[Line]) -> _Changes:
    changes: _Changes = {}
    for line in lines:
        exchange, symbol, cycle = (line.fields[name] for name in ("exchange", "symbol", "cycle"))
        if exchange not in EXCHANGES:
            raise line.error(f"{exchange!r} is no exchange; known: {', '.join(EXCHANGES)}")
        if not symbol or symbol != canonical_symbol(symbol):
            raise line.error(f"symbol {symbol!r} must be written {canonical_symbol(symbol)!r}")
        if cycle not in get_args(Cycle):
            raise line.error(f"cycle {cycle!r} must be one of {', '.join(get_args(Cycle))}")
        weekday = line.fields["weekday"]
        if weekday and weekday not in _WEEKDAYS:
            raise line.error(f"weekday {weekday!r} must be one of {', '.join(_WEEKDAYS)}, or empty for none")
        by_day = changes.setdefault((exchange, symbol, cast(Cycle, cycle)), {})
        valid_from = line.date("valid_from")
        if valid_from in by_day:
            raise line.error(f"{exchange} {symbol} {cycle} has a second line for {valid_from}")
        by_day[valid_from] = _WEEKDAYS.index(weekday) if weekday else None
    return changes
