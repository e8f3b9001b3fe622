"""Which features a model's outputs came from, over all rows and by regime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from explain.boosting import Progress
from explain.contributions import contributions
from explain.regimes import UNKNOWN, Dimension

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]

_PIECE_ROWS = 100
_ALL_THREADS = 0
_STRATUM_ROWS = 20
"""Rows of each stratum at least, where it has them."""


@dataclass(frozen=True, slots=True)
class Importance:
    """Mean absolute contributions.

    Attributes:
        shares: By feature, over all rows and classes, normalised to a sum of one; 0 of a model that
            has no split.
        order: By regime (`vix=high`; `all` for all rows) the numbers of the features, most important first.
    """

    shares: Floats
    order: dict[str, tuple[int, ...]]


def importance(
    booster: lgb.Booster,
    matrix: Floats,
    labels: npt.NDArray[np.int64],
    features: Sequence[str],
    regimes: Sequence[Dimension],
    *,
    seed: int,
    sample_rows: int = 2_000,
    progress: Progress | None = None,
) -> Importance:
    """Contributions over a sample, stratified by class and regime, weighted back to all rows.

    Args:
        booster: The model.
        matrix: (rows, features), NaN is missing.
        labels: Class numbers of the rows.
        features: Names of the columns.
        regimes: Cut points.
        seed: Of the sample.
        sample_rows: Rows of the sample, about.
        progress: Called with the number of rows just done, at most `sample_rows` and some in all.
    """
    names = {d.name: d.of_all(matrix[:, list(features).index(d.feature)]) for d in regimes}
    strata = np.array([f"{c}" for c in labels], dtype=object)
    for found in names.values():
        strata = strata + " " + found.astype(object)
    rows, weights = stratified(strata.astype(str), sample_rows, seed)
    absolute = np.empty((len(rows), len(features)))
    for start in range(0, len(rows), _PIECE_ROWS):
        piece = contributions(booster, matrix[rows[start : start + _PIECE_ROWS]], num_threads=_ALL_THREADS)
        absolute[start : start + _PIECE_ROWS] = np.abs(piece[:, :, :-1]).mean(axis=1)
        if progress:
            progress(len(piece))
    overall = np.average(absolute, axis=0, weights=weights)
    order = {"all": ranking(overall)}
    for d in regimes:
        of_rows = names[d.name][rows]
        for name in (*d.names, UNKNOWN):
            mine = of_rows == name
            if mine.any():
                means = np.average(absolute[mine], axis=0, weights=weights[mine])
                order[f"{d.name}={name}"] = ranking(means)
    total = overall.sum()
    return Importance(overall / total if total else overall, order)


def stratified(strata: npt.NDArray[np.str_], size: int, seed: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """A sample in which small strata have enough rows, and what each row of it stands for.

    Args:
        strata: Stratum of each row.
        size: Rows wanted, about; all rows if there are no more.
        seed: Of the random choice.

    Returns:
        Row numbers, rising, and weights: rows of the stratum per row in the sample.
    """
    if len(strata) <= size:
        return np.arange(len(strata)), np.ones(len(strata))
    random = np.random.default_rng(seed)
    rows, weights = [], []
    for stratum in np.unique(strata):
        mine = np.flatnonzero(strata == stratum)
        wanted = min(len(mine), max(_STRATUM_ROWS, round(size * len(mine) / len(strata))))
        rows.append(random.choice(mine, wanted, replace=False))
        weights.append(np.full(wanted, len(mine) / wanted))
    chosen = np.concatenate(rows)
    order = np.argsort(chosen)
    return chosen[order], np.concatenate(weights)[order]


def ranking(values: Floats) -> tuple[int, ...]:
    """Numbers of the values, largest first; of equal ones the first first."""
    return tuple(int(number) for number in np.argsort(-values, kind="stable"))
