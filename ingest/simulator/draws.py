"""Random variates that are the same on every machine, and the series made of them."""

from __future__ import annotations

import math

import numpy as np

from ingest.simulator import black76
from ingest.simulator.arrays import FloatArray


class Draws:
    """Uniform and normal variates out of PCG64's raw stream, which numpy promises never to change.

    What is drawn depends on the key and on all draws before: their order is part of a simulation.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, *shape: int) -> FloatArray:
        """Draw from the open interval (0, 1)."""
        # 52 bits and a half: exact in a double, and never 0 or 1.
        raw = self._bits.random_raw(math.prod(shape)) >> np.uint64(12)
        return ((raw.astype(np.float64) + 0.5) * 2.0**-52).reshape(shape)

    def normal(self, *shape: int) -> FloatArray:
        """Draw from the standard normal distribution."""
        return black76.norm_ppf(self.uniform(*shape))


def autoregression(start: float, persistence: float, shocks: FloatArray) -> FloatArray:
    """x[0] = start, x[k] = persistence x[k-1] + shocks[k-1]."""
    value = start
    values = [value]
    for shock in shocks.tolist():
        value = persistence * value + shock
        values.append(value)
    return np.array(values)
