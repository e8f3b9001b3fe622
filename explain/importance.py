"""Which features a model's outputs come from, over all rows and by regime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from explain.attribution import attribute, outputs_of
from explain.boosting import Progress
from explain.frame import CLASSES, TrainingFrame
from explain.regimes import UNKNOWN, Dimension

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """Mean absolute contributions.

    Attributes:
        shares: By feature, over all rows and classes, normalised to a sum of one; 0 of a model that has no
            split.
        order: By regime (`vix=high`; `all` for all rows) the features, most important first.
    """

    shares: dict[str, float]
    order: dict[str, tuple[str, ...]]


def importance(
    booster: lgb.Booster,
    frame: TrainingFrame,
    regimes: Sequence[Dimension],
    *,
    seed: int,
    sample_rows: int,
    progress: Progress | None = None,
) -> Importance:
    """Contributions over a sample, stratified by class and regime and weighted back to all rows.

    The sample is that of the reports with this seed and size, so that both say the same.

    Args:
        booster: The model.
        frame: What it was trained on.
        regimes: Cut points.
        seed: Of the sample.
        sample_rows: Rows of the sample.
        progress: Called with the number of rows just done.
    """
    found = attribute(
        booster, frame.rows, frame.features, outputs_of(booster, CLASSES), regimes,
        labels=frame.classes(), seed=seed, sample_rows=sample_rows, progress=progress,
    )  # fmt: skip
    overall = found.magnitude().mean(axis=0)
    order = {"all": _ranking(overall, frame.features)}
    for dimension in regimes:
        for name in (*dimension.names, UNKNOWN):
            mine = found.regimes[dimension.name] == name
            if mine.any():
                means = found.magnitude(mine).mean(axis=0)
                order[f"{dimension.name}={name}"] = _ranking(means, frame.features)
    total = overall.sum()
    shares = overall / total if total else overall
    return Importance(dict(zip(frame.features, shares.tolist(), strict=True)), order)


def _ranking(values: Floats, features: Sequence[str]) -> tuple[str, ...]:
    """Features by falling value; of equal ones the first first."""
    return tuple(features[number] for number in np.argsort(-values, kind="stable"))
