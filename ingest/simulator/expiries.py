"""Expiry dates of the simulated markets, by the rule in force since September 2025."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count as count_from
from typing import Final

from catalog.calendar import SessionCalendar
from ingest.simulator.markets import market_of

EXPIRIES: Final = 2
"""Expiries of a symbol that are simulated, unless another number is asked for."""


def next_expiries(symbol: str, day: date, calendar: SessionCalendar, count: int) -> list[date]:
    """Return the next `count` expiry dates from `day` on, `day` included, in order.

    The rule in force since September 2025, applied to any day: NIFTY every Tuesday, SENSEX every
    Thursday, BANKNIFTY the last Tuesday of the month; without a session that day, the session before.

    Raises:
        SettingsError: The symbol is not one of `MARKETS`.
    """
    market = market_of(symbol)
    nominal_days = (_weekly_days if market.weekly else _monthly_days)(day, market.expiry_weekday)
    expiries: list[date] = []
    while len(expiries) < count:
        nominal = next(nominal_days)
        sessions = calendar.sessions(market.exchange, max(day, nominal - timedelta(days=6)), nominal)
        days = [session.date for session in sessions if session.has_expiries]
        expiries += days[-1:]
    return expiries


def _weekly_days(day: date, weekday: int) -> Iterator[date]:
    first = day + timedelta(days=(weekday - day.weekday()) % 7)
    return (first + timedelta(weeks=week) for week in count_from())


def _monthly_days(day: date, weekday: int) -> Iterator[date]:
    for month in count_from(day.year * 12 + day.month):
        end = date(month // 12, month % 12 + 1, 1) - timedelta(days=1)
        nominal = end - timedelta(days=(end.weekday() - weekday) % 7)
        if nominal >= day:
            yield nominal
