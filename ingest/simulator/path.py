"""The underlying over one session: spot, VIX, and forward and at-the-money volatility of each expiry.

* Spot: d ln S = -s^2/2 dt + s dW, where s is proportional to the VIX and to the session's activity. The
  symbols share the market's shocks.
* Forward of each expiry: cost of carry plus a mean-reverting basis of a few basis points that dies out
  over the last day, so that at the expiry's close the forward is the spot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ingest.simulator import black76
from ingest.simulator.arrays import FloatArray
from ingest.simulator.draws import Draws, autoregression
from ingest.simulator.implied_volatility import atm_volatility
from ingest.simulator.markets import SimulatedMarket
from ingest.simulator.timetable import Timetable
from ingest.simulator.vix import VIX_MEAN, first_vix_deviation, simulate_vix_deviation, vix_points

INTEREST_RATE = 0.065
"""Annual rate, continuously compounded, at which option values are discounted."""

_CARRY_RATE = 0.053
_YEAR_S = 365.0 * 86_400.0

_SPOT_START_DEVIATION = 0.01
_SPOT_OVERNIGHT_RATIO = 0.7

_NOISE_MEMORY_S = 1_800.0
_ATM_NOISE = 0.01
_BASIS_NOISE = 0.0003


@dataclass(frozen=True, slots=True)
class UnderlyingClose:
    """What one session of the underlying leaves to the next.

    Attributes:
        spot: Rupees.
        vix_deviation: ln(VIX / mean).
    """

    spot: float
    vix_deviation: float


@dataclass(frozen=True, slots=True)
class UnderlyingPath:
    """The underlying over one session: one row an update, one column an expiry where there are two axes.

    Attributes:
        spot: Rupees, to the paisa.
        vix: Points, to two decimals.
        years: Time to each expiry's close.
        forward: Forward price of each expiry, rupees.
        discount: Present value of one rupee at each expiry.
        atm_volatility: At-the-money implied volatility of each expiry, annualised fraction.
        close: As of the last update.
    """

    spot: FloatArray
    vix: FloatArray
    years: FloatArray
    forward: FloatArray
    discount: FloatArray
    atm_volatility: FloatArray
    close: UnderlyingClose


def simulate_path(
    market: SimulatedMarket,
    timetable: Timetable,
    expiry_s: FloatArray,
    *,
    market_draws: Draws,
    own_draws: Draws,
    previous: UnderlyingClose | None,
) -> UnderlyingPath:
    """Simulate VIX, spot and forwards.

    Args:
        market: Which.
        timetable: Of the session.
        expiry_s: From the open to each expiry's close.
        market_draws: The same for every symbol, so that the VIX is too.
        own_draws: The symbol's own.
        previous: The close before; None starts near the market's usual level.
    """
    updates = len(timetable.times)
    start_shocks = market_draws.normal(2)
    shocks = market_draws.normal(updates, 2)
    if previous is None:
        start = UnderlyingClose(market.spot, first_vix_deviation(float(start_shocks[1])))
        start_gap = _SPOT_START_DEVIATION * float(start_shocks[0])
    else:
        start, start_gap = previous, 0.0
    deviation = simulate_vix_deviation(
        timetable, market_shock=shocks[:, 0], own_shock=shocks[:, 1], previous=start.vix_deviation
    )
    vix = vix_points(deviation)
    loading = market.market_correlation
    spot = _simulate_spot(
        timetable,
        volatility=market.daily_volatility * vix / VIX_MEAN,
        shock=loading * shocks[:, 0] + math.sqrt(1.0 - loading * loading) * own_draws.normal(updates),
        start=start.spot,
        start_gap=start_gap,
    )
    years = np.maximum(expiry_s - timetable.elapsed_s[:, np.newaxis], 0.0) / _YEAR_S
    basis_noise, atm_noise = _simulate_noise(timetable, len(expiry_s), own_draws)
    basis = basis_noise * np.minimum(years * 365.0, 1.0)
    return UnderlyingPath(
        spot=spot,
        vix=np.rint(vix * 100.0) / 100.0,
        years=years,
        forward=spot[:, np.newaxis] * black76.exp(_CARRY_RATE * years) * (1.0 + basis),
        discount=black76.exp(-INTEREST_RATE * years),
        atm_volatility=atm_volatility(market, vix[:, np.newaxis], years) * (1.0 + atm_noise),
        close=UnderlyingClose(float(spot[-1]), float(deviation[-1])),
    )


def _simulate_spot(
    timetable: Timetable, *, volatility: FloatArray, shock: FloatArray, start: float, start_gap: float
) -> FloatArray:
    """Simulate the spot at each update, rupees to the paisa.

    Args:
        timetable: Of the session.
        volatility: Of a session, at each update.
        shock: Standard normal, one an update, the first for the night.
        start: Spot at the close before.
        start_gap: Added to the night's log return.
    """
    step = volatility[:-1] * timetable.volatility_weight
    gap = _SPOT_OVERNIGHT_RATIO * volatility[0] * shock[0] + start_gap
    moves = np.concatenate(([gap], step * shock[1:] - 0.5 * step * step))
    spot: FloatArray = np.rint(start * black76.exp(np.cumsum(moves)) * 100.0) / 100.0
    return spot


def _simulate_noise(timetable: Timetable, expiries: int, draws: Draws) -> FloatArray:
    """Simulate the noise of basis and at-the-money volatility: by kind, update and expiry, as fractions."""
    updates = len(timetable.times)
    memory = float(black76.exp(-timetable.interval_s / _NOISE_MEMORY_S))
    noise = np.empty((2, updates, expiries))
    for expiry in range(expiries):
        for kind, size in enumerate((_BASIS_NOISE, _ATM_NOISE)):
            shock = size * draws.normal(updates)
            noise[kind, :, expiry] = autoregression(
                float(shock[0]), memory, math.sqrt(1.0 - memory * memory) * shock[1:]
            )
    return noise
