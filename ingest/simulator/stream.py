"""Simulated sessions as one stream of chain updates: all symbols, one day after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from heapq import merge
from itertools import pairwise
from typing import Any

from catalog.calendar import Session, SessionCalendar
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.simulator.expiries import EXPIRIES
from ingest.simulator.markets import SYMBOLS, SimulatedMarket, market_of
from ingest.simulator.session import Scope, SessionClose, SymbolSession
from lake.errors import SettingsError

_MINIMUM_INTERVAL_S = 0.001


def simulate_session(
    day: date,
    reference: ReferenceData,
    *,
    seed: int,
    symbols: Sequence[str] = SYMBOLS,
    interval_s: float = 60.0,
    strikes: int = 20,
    expiries: int = EXPIRIES,
) -> Iterator[ChainUpdate]:
    """Simulate one day: one update per symbol and interval, in order of event time.

    The first update of a symbol is at its exchange's open, before anything has traded, the last one not
    after the close. An update holds all expiries of its symbol; legs are ordered by expiry and strike.
    A symbol's updates do not depend on which other symbols are asked for. Symbols of one event time come
    in the order of `symbols`. `received_ns` is 40 ms or more after the event; when `interval_s` is that
    short, receipts can overtake one another.

    Args:
        day: Session date.
        reference: Sessions and lot sizes.
        seed: Not negative.
        symbols: Of `MARKETS`, each at most once.
        interval_s: Seconds between a symbol's updates, at least 0.001.
        strikes: Strikes listed above, and below, the money at the open. More are added when the spot
            leaves less than half of them on one side; none is taken away.
        expiries: Number of expiries.

    Raises:
        SettingsError: An argument is out of range, or an exchange has no session that day.
    """
    return stream_days(
        [day],
        reference,
        seed=seed,
        symbols=symbols,
        interval_s=interval_s,
        strikes=strikes,
        expiries=expiries,
    )


def stream_days(
    days: Iterable[date],
    reference: ReferenceData,
    *,
    seed: int,
    symbols: Sequence[str] = SYMBOLS,
    interval_s: float = 60.0,
    strikes: int = 20,
    expiries: int = EXPIRIES,
) -> Iterator[ChainUpdate]:
    """Simulate several sessions, each opening from the spot, VIX, strikes and OI of the one before.

    Otherwise as `simulate_session`, which is the case of one day. Features start afresh each day.

    Args:
        days: Session dates, ascending.
        reference: Sessions and lot sizes.
        seed: Not negative.
        symbols: Of `MARKETS`, each at most once.
        interval_s: Seconds between a symbol's updates, at least 0.001.
        strikes: Strikes listed above, and below, the money at the open.
        expiries: Number of expiries.

    Raises:
        SettingsError: An argument is out of range, the days do not ascend, or an exchange has no session
            on one of them. Raised at the call, before the first update.
    """
    days = list(days)
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise SettingsError("days must ascend, each at most once")
    if not symbols or len(set(symbols)) != len(symbols):
        raise SettingsError(f"symbols must name at least one symbol, each once, not {list(symbols)}")
    if seed < 0:
        raise SettingsError(f"seed must not be negative, not {seed}")
    if not (math.isfinite(interval_s) and interval_s >= _MINIMUM_INTERVAL_S):
        raise SettingsError(f"interval_s must be at least {_MINIMUM_INTERVAL_S}, not {interval_s}")
    if strikes < 1 or expiries < 1:
        raise SettingsError(f"strikes and expiries must be at least 1, not {strikes} and {expiries}")
    markets = [market_of(symbol) for symbol in symbols]
    sessions = [[_session(reference.calendar, market.exchange, day) for market in markets] for day in days]
    scope = Scope(reference, seed, interval_s, strikes, expiries)
    return _run(markets, sessions, scope)


def _session(calendar: SessionCalendar, exchange: str, day: date) -> Session:
    session = calendar.session(exchange, day)
    if session is None:
        raise SettingsError(f"{exchange} has no session on {day}; choose a day of the session calendar")
    return session


def _run(
    markets: Sequence[SimulatedMarket], sessions: Iterable[Sequence[Session]], scope: Scope
) -> Iterator[ChainUpdate]:
    closes: list[SessionClose | None] = [None] * len(markets)
    for of_day in sessions:
        running = [
            SymbolSession(market, session, scope, previous)
            for market, session, previous in zip(markets, of_day, closes, strict=True)
        ]
        yield from merge(*(symbol.updates() for symbol in running), key=_event_time)
        closes = [symbol.close() for symbol in running]


def _event_time(update: ChainUpdate) -> Any:
    return update.event_time
