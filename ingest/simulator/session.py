"""One symbol's session, update by update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from catalog.calendar import Session
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.simulator import black76, trades
from ingest.simulator.arrays import FloatArray
from ingest.simulator.canonical_legs import canonical_legs
from ingest.simulator.draws import Draws
from ingest.simulator.expiries import next_expiries
from ingest.simulator.figures import chain_figures
from ingest.simulator.legs import HeldLegs, Legs
from ingest.simulator.listing import Listing
from ingest.simulator.markets import SimulatedMarket
from ingest.simulator.path import UnderlyingClose, simulate_path
from ingest.simulator.quotes import Quotes, quote
from ingest.simulator.timetable import REGULAR_SESSION_S, timetable
from ingest.simulator.tracker import Tracker

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one call asks for, the same for all its symbols and days."""

    reference: ReferenceData
    seed: int
    interval_s: float
    strikes: int
    expiries: int


@dataclass(frozen=True, slots=True)
class SessionClose:
    """What one session of a symbol leaves to the next.

    Attributes:
        underlying: Spot and VIX.
        legs: Strikes and open interest of each expiry.
    """

    underlying: UnderlyingClose
    legs: Mapping[date, HeldLegs]


class SymbolSession:
    """One symbol's session, generated update by update.

    Args:
        market: Of the symbol.
        session: Of the symbol's exchange.
        scope: What was asked for.
        previous: The close before; None on a simulation's first day.
    """

    def __init__(
        self, market: SimulatedMarket, session: Session, scope: Scope, previous: SessionClose | None
    ) -> None:
        calendar, day = scope.reference.calendar, session.date
        self._market = market
        self._expiries = next_expiries(market.symbol, day, calendar, scope.expiries)
        lot_size = scope.reference.lots.lot_size
        self._lots = [
            lot_size(market.exchange, market.symbol, day, expiry) or market.lot_size
            for expiry in self._expiries
        ]
        self._timetable = timetable(session, scope.interval_s)
        closes = [calendar.close_of(market.exchange, expiry) for expiry in self._expiries]
        key = (scope.seed, day.toordinal())
        self._draws = Draws(*key, *market.symbol.encode("ascii"))
        self._path = simulate_path(
            market,
            self._timetable,
            np.array([(close - session.open).total_seconds() for close in closes]),
            market_draws=Draws(*key),
            own_draws=self._draws,
            previous=previous.underlying if previous else None,
        )
        latency_s = 0.040 - 0.060 * black76.log(self._draws.uniform(len(self._timetable.times)))
        self._latency_ns: list[int] = (latency_s * 1e9).astype(np.int64).tolist()
        self._tracker = Tracker(scope.interval_s)
        self._legs = Legs()
        self._listing = Listing(self._legs, market, self._path, reach=scope.strikes, draws=self._draws)
        self._listing.open(self._expiries, previous.legs if previous else {})

    def updates(self) -> Iterator[ChainUpdate]:
        """Yield the session's updates in order; to be called once."""
        for index in range(len(self._timetable.times)):
            atm = self._market.atm_strike(float(self._path.spot[index]))
            self._listing.follow(atm)
            quotes = quote(self._legs, self._path, index)
            uniform = self._draws.uniform(3 + trades.VARIATES, *quotes.value.shape)
            exponential = -black76.log(uniform[:3])
            if index:
                trades.trade(
                    self._legs,
                    quotes,
                    atm_lots=self._atm_lots(index),
                    exponential=exponential[0],
                    uniform=uniform[3:],
                )
            yield self._update(index, quotes, atm=atm, depth=exponential[1:])

    def close(self) -> SessionClose:
        """Return what the next session needs; to be called after the last update."""
        return SessionClose(
            underlying=self._path.close,
            legs={expiry: self._legs.held(rank) for rank, expiry in enumerate(self._expiries)},
        )

    def _atm_lots(self, index: int) -> float:
        """Contracts of one at-the-money leg expected to trade in the step that ends with this update."""
        step = index - 1
        per_session = self._market.atm_lots_per_session
        lots = per_session * self._timetable.step_s[step] / REGULAR_SESSION_S * self._timetable.activity[step]
        return float(lots)

    def _update(self, index: int, quotes: Quotes, *, atm: int, depth: FloatArray) -> ChainUpdate:
        figures = chain_figures(
            self._legs, quotes, self._path, self._timetable, index=index, atm=atm, lot=self._lots[0]
        )
        calls, puts = canonical_legs(
            self._legs, quotes, expiries=self._expiries, lots=self._lots, depth=depth
        )
        event_time = self._timetable.times[index]
        microseconds = (event_time - _EPOCH) // timedelta(microseconds=1)
        return ChainUpdate(
            exchange=self._market.exchange,
            symbol=self._market.symbol,
            event_time=event_time,
            received_ns=microseconds * 1_000 + self._latency_ns[index],
            calls=calls,
            puts=puts,
            features=self._tracker.observe(figures),
            context={
                "underlying_price": figures.spot,
                "vix": figures.vix,
                "atm_strike": float(atm),
                "pcr": figures.pcr,
                "lot_size": self._lots[0],
            },
            source="simulator",
        )
