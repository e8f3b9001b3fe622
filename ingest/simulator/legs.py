"""The legs that are listed, and what has been traded and is held of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.simulator.arrays import FloatArray, IntArray

CALL, PUT = 0, 1
SIDES = np.array([[1.0], [-1.0]])


@dataclass(frozen=True, slots=True)
class HeldLegs:
    """What one session leaves to the next of one expiry.

    Attributes:
        strike: The strikes listed, ascending, rupees.
        oi: Open interest of calls and puts, contracts, in the order of `strike`.
    """

    strike: IntArray
    oi: IntArray


class Legs:
    """Every leg listed, ordered by expiry and strike; two-dimensional arrays hold calls, then puts.

    Quantities are in contracts, prices in ticks. `expiry` is the rank, 0 the nearest. A `last_price` of 0
    is no trade yet today. `opening_bias` is the part of a leg's volume that opens contracts rather than
    closing them, day's mean. `popularity` is how much is traded in a strike apart from its moneyness, 1 at
    a multiple of 100 of the nearest expiry.
    """

    def __init__(self) -> None:
        self.expiry = np.empty(0, dtype=np.int64)
        self.strike = np.empty(0, dtype=np.int64)
        self.popularity = np.empty(0)
        self.opening_oi = np.empty((2, 0), dtype=np.int64)
        self.oi = np.empty((2, 0), dtype=np.int64)
        self.volume = np.empty((2, 0), dtype=np.int64)
        self.last_price = np.empty((2, 0), dtype=np.int64)
        self.opening_bias = np.empty((2, 0))

    def add(self, expiry: int, strike: IntArray, opening_oi: IntArray, opening_bias: FloatArray) -> None:
        """List the calls and puts of new strikes of one expiry."""
        unused = np.zeros_like(opening_oi)
        self.expiry = np.concatenate((self.expiry, np.full(len(strike), expiry, dtype=np.int64)))
        self.strike = np.concatenate((self.strike, strike))
        order = np.lexsort((self.strike, self.expiry))
        self.expiry, self.strike = self.expiry[order], self.strike[order]
        self.popularity = roundness(self.strike) / (1.0 + 35.0 * self.expiry * self.expiry)
        self.opening_oi = np.concatenate((self.opening_oi, opening_oi), axis=1)[:, order]
        self.oi = np.concatenate((self.oi, opening_oi), axis=1)[:, order]
        self.volume = np.concatenate((self.volume, unused), axis=1)[:, order]
        self.last_price = np.concatenate((self.last_price, unused), axis=1)[:, order]
        self.opening_bias = np.concatenate((self.opening_bias, opening_bias), axis=1)[:, order]

    def of_expiry(self, expiry: int) -> slice:
        """Return where that expiry's legs are."""
        first, end = np.searchsorted(self.expiry, (expiry, expiry + 1)).tolist()
        return slice(first, end)

    def held(self, expiry: int) -> HeldLegs:
        """Return the strikes and open interest of one expiry, as they are now."""
        part = self.of_expiry(expiry)
        return HeldLegs(self.strike[part], self.oi[:, part])


def roundness(strike: IntArray) -> FloatArray:
    """How much more a round strike is held and traded (measured roughly)."""
    weight: FloatArray = np.where(
        strike % 1000 == 0, 2.2, np.where(strike % 500 == 0, 1.5, np.where(strike % 100 == 0, 1.0, 0.5))
    )
    return weight
