"""India VIX over one session: an exponential Ornstein-Uhlenbeck process, the same for all symbols.

After Scott, "Option pricing when the variance changes randomly" (1987): mean 13.1 points, 4 % of
volatility a session, moving against the market (measured).
"""

from __future__ import annotations

import math

from ingest.simulator import black76
from ingest.simulator.arrays import FloatArray
from ingest.simulator.draws import autoregression
from ingest.simulator.timetable import REGULAR_SESSION_S, Timetable

VIX_MEAN = 13.1
VIX_REVERSION_PER_SESSION = 0.05

_VOLATILITY_PER_SESSION = 0.040
_OVERNIGHT_VOLATILITY = 0.039
_START_DEVIATION = 0.13
_MARKET_CORRELATION = -0.65


def first_vix_deviation(shock: float) -> float:
    """ln(VIX / mean) at the close before a simulation's first day, for a standard normal shock."""
    return _START_DEVIATION * shock


def simulate_vix_deviation(
    timetable: Timetable, *, market_shock: FloatArray, own_shock: FloatArray, previous: float
) -> FloatArray:
    """Simulate ln(VIX / mean) at each update.

    Args:
        timetable: Of the session.
        market_shock: Standard normal, one an update, the first for the night.
        own_shock: Likewise, independent of the market.
        previous: ln(VIX / mean) at the close before.
    """
    independent = math.sqrt(1.0 - _MARKET_CORRELATION * _MARKET_CORRELATION)
    shock = _MARKET_CORRELATION * market_shock + independent * own_shock
    reversion = VIX_REVERSION_PER_SESSION * timetable.interval_s / REGULAR_SESSION_S
    return autoregression(
        previous + _OVERNIGHT_VOLATILITY * float(shock[0]),
        float(black76.exp(-reversion)),
        _VOLATILITY_PER_SESSION * timetable.volatility_weight * shock[1:],
    )


def vix_points(deviation: FloatArray) -> FloatArray:
    """VIX in points for ln(VIX / mean)."""
    return VIX_MEAN * black76.exp(deviation)
