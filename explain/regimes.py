"""The state of the market a row is from: VIX level, trend, time to expiry, cut where training learned to."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNKNOWN = "unknown"
"""The regime where its feature is missing."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One way of telling regimes apart.

    Attributes:
        name: E.g. `vix`.
        feature: The feature that is looked at.
        cuts: Rising cut points; a value equal to one belongs above it.
        names: One more than there are cuts, from the lowest.
    """

    name: str
    feature: str
    cuts: tuple[float, ...]
    names: tuple[str, ...]

    def of(self, value: float | None) -> str:
        """The regime of one value; `unknown` for None and NaN."""
        if value is None or math.isnan(value):
            return UNKNOWN
        return self.names[bisect_right(self.cuts, value)]

    def of_all(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.str_]:
        """The regimes of many values."""
        found = np.array(self.names)[np.searchsorted(self.cuts, values, side="right").clip(0, len(self.cuts))]
        return np.where(np.isnan(values), UNKNOWN, found)


def learn(features: Sequence[str], matrix: npt.NDArray[np.float64]) -> tuple[Dimension, ...]:
    """Cut points from the rows a model is trained on; dimensions whose feature has no values are left out.

    VIX and trend are cut at the terciles of the training rows (the trend's, made symmetric about zero);
    time to expiry at one and at three days, since weekly options behave differently on their last day.

    Args:
        features: Names of the columns.
        matrix: (rows, features); NaN is missing.
    """
    found: list[Dimension] = []
    for name, feature, names in (
        ("vix", "vix", ("low", "normal", "high")),
        ("trend", "trend", ("down", "flat", "up")),
        ("expiry", "days_to_expiry", ("expiry_day", "near", "far")),
    ):
        if feature not in features:
            continue
        values = matrix[:, list(features).index(feature)]
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        if name == "expiry":
            cuts: tuple[float, ...] = (1.0, 3.0)
        elif name == "trend":
            cut = float(np.quantile(np.abs(values), 1 / 3))
            cuts = (-cut, cut)
        else:
            cuts = tuple(float(cut) for cut in np.quantile(values, [1 / 3, 2 / 3]))
        found.append(Dimension(name, feature, cuts, names))
    return tuple(found)
