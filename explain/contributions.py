"""What each feature added to each class's raw score: exact TreeSHAP, as LightGBM computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lake.errors import ModelNotReadableError, one_line

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]

_ADDITIVITY = 1e-6
"""Relative to the raw scores. Measured on sound models: below 1e-12; trees left out give far more."""


def contributions(booster: lgb.Booster, matrix: Floats, *, num_threads: int = 1) -> Floats:
    """Signed contributions of every feature to every class's raw score (log-odds).

    Lundberg et al., "From local explanations to global understanding with explainable AI for trees", 2020
    (path-dependent TreeSHAP). Over its last axis the result sums to the raw score.

    Args:
        booster: A LightGBM model.
        matrix: (rows, features), in the order of the model's features; NaN is missing.
        num_threads: 1 for single rows: starting threads costs more than it gives.

    Returns:
        (rows, classes, features + 1), the expected score last; of a binary or regression model one class.
    """
    values = np.asarray(booster.predict(matrix, pred_contrib=True, num_threads=num_threads))
    return values.reshape(len(matrix), booster.num_model_per_iteration(), booster.num_feature() + 1)


def contributions_of_many(
    booster: lgb.Booster,
    matrix: Floats,
    *,
    num_threads: int = 0,
    chunk_rows: int = 200,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    """`contributions` of many rows, in chunks, checked to add up to the model's raw scores.

    Args:
        booster: A LightGBM model.
        matrix: (rows, features), in the order of the model's features; NaN is missing.
        num_threads: 0 for as many as there are cores; the result does not depend on it.
        chunk_rows: Rows between two calls of `progress`.
        progress: Called with the number of rows just done.

    Returns:
        As `contributions`.

    Raises:
        ModelNotReadableError: LightGBM has no contributions for such a model (linear trees), or they are
            not finite, or do not add up to the raw scores.
    """
    import lightgbm as lgb

    shape = (len(matrix), booster.num_model_per_iteration(), booster.num_feature() + 1)
    found = np.empty(shape)
    for start in range(0, len(matrix), chunk_rows):
        part = matrix[start : start + chunk_rows]
        try:
            found[start : start + len(part)] = contributions(booster, part, num_threads=num_threads)
        except lgb.basic.LightGBMError as error:
            raise ModelNotReadableError(
                f"LightGBM gives no contributions for this model: {one_line(error)}"
            ) from error
        if progress:
            progress(len(part))
    raw = raw_scores(booster, matrix)
    # Not finite compares as False, so the test is for what is right.
    if not additivity_error(found, raw) <= _ADDITIVITY * (1 + np.abs(raw).max(initial=0.0)):
        raise ModelNotReadableError(
            "the contributions do not add up to the model's raw scores "
            f"(they differ by up to {additivity_error(found, raw):.3g}): they would explain another model"
        )
    return found


def raw_scores(booster: lgb.Booster, matrix: Floats) -> Floats:
    """The model's output before its link function, as (rows, classes); of a binary model one class."""
    raw = np.asarray(booster.predict(matrix, raw_score=True))
    return raw.reshape(len(matrix), booster.num_model_per_iteration())


def additivity_error(found: Floats, raw: Floats) -> float:
    """By how much sums of contributions and raw scores differ at most; 0 for no row, NaN if one is NaN."""
    return float(np.abs(found.sum(axis=-1) - raw).max(initial=0.0))


def softmax(scores: Floats) -> Floats:
    """Probabilities of raw scores, over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
