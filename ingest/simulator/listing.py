"""Which strikes are listed: a range around the money, which grows as the spot moves and never shrinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from ingest.simulator import black76
from ingest.simulator.arrays import FloatArray, IntArray
from ingest.simulator.draws import Draws
from ingest.simulator.implied_volatility import log_moneyness
from ingest.simulator.legs import SIDES, HeldLegs, Legs, roundness
from ingest.simulator.markets import SimulatedMarket
from ingest.simulator.path import UnderlyingPath


class Listing:
    """Lists the legs of one symbol's session.

    Args:
        legs: Where they are added.
        market: Gives the distance of strikes and the scale of open interest.
        path: The underlying's session.
        reach: Strikes listed above, and below, the money.
        draws: The symbol's own.
    """

    def __init__(
        self, legs: Legs, market: SimulatedMarket, path: UnderlyingPath, *, reach: int, draws: Draws
    ) -> None:
        self._legs = legs
        self._market = market
        self._path = path
        self._reach = reach
        self._draws = draws
        self._ranges: list[tuple[int, int]] = []

    def open(self, expiries: Sequence[date], held: Mapping[date, HeldLegs]) -> None:
        """List what the session opens with; to be called once.

        Args:
            expiries: In order.
            held: Expiries that open with what the session before left; the others get a first day's.
        """
        for index, expiry in enumerate(expiries):
            low, high = self._around(self._market.atm_strike(float(self._path.spot[0])))
            before = held.get(expiry)
            if before is None:
                strike = self._every_strike(low, high)
                opening_oi = self._first_open_interest(index, strike)
            else:
                low, high = min(low, int(before.strike[0])), max(high, int(before.strike[-1]))
                strike = self._every_strike(low, high)
                opening_oi = np.zeros((2, len(strike)), dtype=np.int64)
                opening_oi[:, np.searchsorted(strike, before.strike)] = before.oi
            self._ranges.append((low, high))
            self._add(index, strike, opening_oi)

    def follow(self, atm: int) -> None:
        """Add strikes where the at-the-money one has come too near the end of an expiry's range."""
        step = self._market.strike_step
        margin = (self._reach + 1) // 2 * step
        wanted_low, wanted_high = self._around(atm)
        for index, (low, high) in enumerate(self._ranges):
            new_low = wanted_low if atm - low < margin and low > wanted_low else low
            new_high = wanted_high if high - atm < margin else high
            if (new_low, new_high) == (low, high):
                continue
            self._ranges[index] = (new_low, new_high)
            below, above = self._every_strike(new_low, low - step), self._every_strike(high + step, new_high)
            strike = np.concatenate((below, above))
            self._add(index, strike, np.zeros((2, len(strike)), dtype=np.int64))

    def _around(self, atm: int) -> tuple[int, int]:
        step = self._market.strike_step
        return max(atm - self._reach * step, step), atm + self._reach * step

    def _every_strike(self, low: int, high: int) -> IntArray:
        return np.arange(low, high + 1, self._market.strike_step, dtype=np.int64)

    def _add(self, expiry: int, strike: IntArray, opening_oi: IntArray) -> None:
        # At its last session a contract is closed more than opened.
        mean = -0.02 if self._path.years[0, expiry] * 365.0 < 1.0 else 0.01
        bias: FloatArray = mean + 0.015 * self._draws.normal(2, len(strike))
        self._legs.add(expiry, strike, opening_oi, bias)

    def _first_open_interest(self, expiry: int, strike: IntArray) -> IntArray:
        """Draw the open interest of a first day: most of it some way out of the money, at round strikes."""
        path = self._path
        out = SIDES * log_moneyness(
            strike,
            forward=path.forward[0, expiry],
            years=path.years[0, expiry],
            volatility=path.atm_volatility[0, expiry],
        )
        shape = np.where(
            out > 0.0,
            (0.5 + np.minimum(out, 8.0)) * black76.exp(-0.5 * np.maximum(out, 0.0)),
            0.5 * black76.exp(1.5 * np.minimum(out, 0.0)),
        )
        spread = black76.exp(0.5 * self._draws.normal(2, len(strike)))
        scale = self._market.open_interest_lots / (1.0 + 19.0 * expiry * expiry)
        return np.floor(scale * roundness(strike) * shape * spread).astype(np.int64)
