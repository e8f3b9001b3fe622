"""Implied volatility: its term structure at the money, and the smile across strikes.

At the money it is the expected mean variance of a mean-reverting variance (Heston, 1993), which gives the
term structure. Across strikes it is quadratic with a skew in m = ln(K/F) / (sigma sqrt T), the
log-moneyness in standard deviations, and linear beyond |m| = 2.5, because there a parabola would let calls
gain value as the strike rises.
"""

from __future__ import annotations

import numpy as np

from ingest.simulator import black76
from ingest.simulator.arrays import FloatArray, IntArray
from ingest.simulator.markets import MARKETS, SimulatedMarket
from ingest.simulator.timetable import SESSIONS_PER_YEAR
from ingest.simulator.vix import VIX_MEAN, VIX_REVERSION_PER_SESSION

# The VIX prices the whole smile; at the money the options are cheaper.
_ATM_TO_VIX = 0.85

# Fitted by eye to the chains of 2026-07-10 and 2026-08-19 at 4 to 27 days.
_SKEW = -0.07
_CURVATURE = 0.05
_LINEAR_BEYOND = 2.5
_MAXIMUM = 4.0


def atm_volatility(market: SimulatedMarket, vix: FloatArray, years: FloatArray) -> FloatArray:
    """Square root of the mean variance to be expected until expiry while the VIX reverts to its mean.

    Heston (1993): theta + (v - theta) (1 - exp(-kappa T)) / (kappa T).

    Args:
        market: Its volatility relative to NIFTY's, which the VIX is made of, scales the result.
        vix: Points.
        years: Time to expiry.

    Returns:
        Annualised fraction; the arguments broadcast against one another.
    """
    decay = 2.0 * VIX_REVERSION_PER_SESSION * SESSIONS_PER_YEAR * np.maximum(years, 1e-6)
    share = (1.0 - black76.exp(-decay)) / decay
    long_run = VIX_MEAN * VIX_MEAN
    points = np.sqrt(long_run + (vix * vix - long_run) * share)
    relative = market.daily_volatility / MARKETS["NIFTY"].daily_volatility
    result: FloatArray = _ATM_TO_VIX * relative * points / 100.0
    return result


def log_moneyness(
    strike: IntArray, *, forward: FloatArray, years: FloatArray, volatility: FloatArray
) -> FloatArray:
    """ln(K/F) in standard deviations until expiry, of at least a day: a smile does not become a spike.

    Args:
        strike: Rupees.
        forward: Of the strike's expiry, rupees.
        years: Time to that expiry.
        volatility: At the money of that expiry, annualised fraction.
    """
    deviation = volatility * np.sqrt(np.maximum(years, 1.0 / 365.0))
    moneyness: FloatArray = black76.log(strike / forward) / deviation
    return moneyness


def smile(moneyness: FloatArray) -> FloatArray:
    """Implied volatility over that at the money, for a moneyness in standard deviations."""
    inner = np.minimum(np.maximum(moneyness, -_LINEAR_BEYOND), _LINEAR_BEYOND)
    level = 1.0 + inner * (_SKEW + _CURVATURE * inner)
    slope = _SKEW + 2.0 * _CURVATURE * inner
    return np.minimum(level + slope * (moneyness - inner), _MAXIMUM)
