"""What each feature added to each class's raw score: exact TreeSHAP, as LightGBM computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]


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


def softmax(scores: Floats) -> Floats:
    """Probabilities of raw scores, over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
