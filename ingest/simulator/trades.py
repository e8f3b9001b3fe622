"""Trades between two updates: volume, last price and open interest of every leg.

Counts are exponential, rounded at random, of a mean that follows the session's activity and falls slowly
out of the money, fast in the money and from each expiry to the next (measured). The last price stays where
the last trade left it. Open interest moves by a part of the volume: at most all of it opens or closes
contracts.
"""

from __future__ import annotations

import numpy as np

from ingest.simulator import black76
from ingest.simulator.arrays import FloatArray
from ingest.simulator.legs import SIDES, Legs
from ingest.simulator.quotes import Quotes

VARIATES = 5
"""Uniform variates that `trade` takes for each leg."""


def trade(
    legs: Legs, quotes: Quotes, *, atm_lots: float, exponential: FloatArray, uniform: FloatArray
) -> None:
    """Trade since the update before, at the quotes of this one.

    Counts and changes are rounded at random, or a leg that seldom trades would never trade at all.

    Args:
        legs: Changed in place.
        quotes: The market.
        atm_lots: Expected contracts of one at-the-money leg of the nearest expiry.
        exponential: Standard exponential, one a leg.
        uniform: Of (0, 1), `VARIATES` a leg, the first axis.
    """
    out = SIDES * quotes.moneyness
    inside_decay = np.where(legs.expiry == 0, 3.2, 5.0)
    appetite = black76.exp(np.where(out > 0.0, -0.65, inside_decay) * out)
    rate = atm_lots * legs.popularity * appetite
    lots = np.floor(rate * exponential + uniform[0])
    volume = lots.astype(np.int64)
    legs.volume += volume
    low = np.where(quotes.bid >= 1, quotes.bid, quotes.ask)
    price = low + np.floor(uniform[1] * (quotes.ask - low + 1)).astype(np.int64)
    legs.last_price = np.where(volume > 0, price, legs.last_price)
    opened = legs.opening_bias + 0.4 * (uniform[2] - uniform[3])
    opened = np.minimum(np.maximum(opened, -1.0), 1.0)
    change = np.floor(opened * lots + uniform[4]).astype(np.int64)
    legs.oi = np.maximum(legs.oi + change, 0)
