"""Bids and asks: Black-76 values between two prices on the tick.

The half-spread grows with the price and with the distance in the money; a cheap option keeps at least a
tick. As at the NSE there is no implied volatility where the bid is missing or below the intrinsic value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.simulator import black76
from ingest.simulator.arrays import BoolArray, FloatArray, IntArray
from ingest.simulator.implied_volatility import log_moneyness, smile
from ingest.simulator.legs import SIDES, Legs
from ingest.simulator.path import UnderlyingPath

TICKS_PER_RUPEE = 20


@dataclass(frozen=True, slots=True)
class Quotes:
    """The market of every leg at one moment, in the order of `Legs`.

    Attributes:
        moneyness: ln(K/F) in standard deviations, one a strike.
        volatility: Implied volatility, annualised fraction, one a strike; call and put share it.
        value: Black-76 value, rupees.
        bid: Ticks; below 1 there is no bid.
        ask: Ticks.
        solvable: Whether the bid has an implied volatility.
    """

    moneyness: FloatArray
    volatility: FloatArray
    value: FloatArray
    bid: IntArray
    ask: IntArray
    solvable: BoolArray


def quote(legs: Legs, path: UnderlyingPath, index: int) -> Quotes:
    """Quote every leg at one update."""
    forward, discount, years, atm_volatility = (
        by_expiry[index][legs.expiry]
        for by_expiry in (path.forward, path.discount, path.years, path.atm_volatility)
    )
    moneyness = log_moneyness(legs.strike, forward=forward, years=years, volatility=atm_volatility)
    volatility = atm_volatility * smile(moneyness)
    value = black76.price(forward, legs.strike, years, volatility, side=SIDES, discount=discount)
    inside = np.maximum(-SIDES * moneyness, 0.0)
    widening = (1.0 + 1.5 * np.minimum(inside * inside, 40.0)) * (1.0 + 0.5 * legs.expiry)
    half_spread = 0.04 + 0.0008 * value * widening
    bid = np.floor((value - half_spread) * TICKS_PER_RUPEE).astype(np.int64)
    intrinsic = discount * np.maximum(SIDES * (forward - legs.strike), 0.0)
    return Quotes(
        moneyness=moneyness,
        volatility=volatility,
        value=value,
        bid=bid,
        ask=np.ceil((value + half_spread) * TICKS_PER_RUPEE).astype(np.int64),
        solvable=(bid >= 1) & (bid > intrinsic * TICKS_PER_RUPEE),
    )
