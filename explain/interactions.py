"""Which pairs of features act together: SHAP interaction values, one output at a time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from explain.attribution import Attribution
from lake.errors import ModelNotReadableError

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]

ROWS = 200
"""Rows at most, evenly spread over the sample: this costs far more than contributions."""

TOP = 10

_AGREEMENT = 1e-6


def interaction_values(booster: lgb.Booster, matrix: Floats, contributions: Floats) -> Floats:
    """SHAP interaction values, of every output by itself.

    Lundberg et al. (2020), path-dependent. `shap` (0.51) gives of a multiclass LightGBM model the sum over
    the classes, so each class's trees go to it as a model of their own. Its own code takes the
    wrong branch where a feature is missing that never was in training (LightGBM takes it for 0); therefore
    the rows of the result must sum to LightGBM's contributions.

    Args:
        booster: The model.
        matrix: (rows, features).
        contributions: (rows, outputs, features): LightGBM's.

    Returns:
        (rows, outputs, features, features), symmetric; half of what two features do together is in each of
        their two places, what one does alone is on the diagonal.

    Raises:
        ModelNotReadableError: They do not add up to the contributions.
    """
    import shap

    found = np.empty((*contributions.shape, contributions.shape[-1]))
    for output, alone in enumerate(_one_by_one(booster)):
        found[:, output] = shap.TreeExplainer(alone).shap_interaction_values(matrix)
    error = float(np.abs(found.sum(axis=-1) - contributions).max(initial=0.0))
    if not error <= _AGREEMENT * (1 + np.abs(contributions).max(initial=0.0)):
        raise ModelNotReadableError(
            f"shap's interactions of this model do not add up to its contributions "
            f"(they differ by {error:.3g}; "
            "shap goes wrong where a feature is missing that never was in training): "
            "leave out the interactions"
        )
    return found


def interactions_body(booster: lgb.Booster, found: Attribution) -> dict[str, Any]:
    """What `shap_interactions.json` says beside its head: the strongest pairs, of all outputs and of each.

    Raises:
        ModelNotReadableError: See `interaction_values`.
    """
    rows = np.unique(np.linspace(0, len(found.values) - 1, min(ROWS, len(found.values))).astype(np.int64))
    values = interaction_values(booster, found.matrix[rows], found.values[rows])
    strength = 2 * np.average(np.abs(values), axis=0, weights=found.sample.weights[rows])
    return {
        "rows": len(rows),
        "global": _strongest(strength.mean(axis=0), found.features),
        "by_class": {
            name: _strongest(strength[k], found.features) for k, name in enumerate(found.outputs.names)
        },
    }


def _strongest(strength: Floats, features: tuple[str, ...]) -> list[dict[str, Any]]:
    first, second = np.triu_indices(len(features), k=1)
    pairs = strength[first, second]
    total = float(pairs.sum()) or 1.0
    return [
        {
            "features": [features[first[p]], features[second[p]]],
            "mean_abs": float(pairs[p]),
            "share": float(pairs[p]) / total,
        }
        for p in np.argsort(-pairs, kind="stable")[:TOP]
    ]


def _one_by_one(booster: lgb.Booster) -> Iterator[lgb.Booster]:
    """For each output a model with one output, of that output's trees."""
    import lightgbm as lgb

    outputs = booster.num_model_per_iteration()
    head, _, rest = booster.model_to_string().encode().partition(b"\n\n")
    listed = re.search(rb"^tree_sizes=(.*)$", head, re.MULTILINE)
    ends = np.cumsum([0, *map(int, listed[1].split() if listed else [])])
    trees = [rest[start:end] for start, end in itertools.pairwise(ends)]
    for output in range(outputs):
        own = [
            re.sub(rb"^Tree=\d+", b"Tree=%d" % number, tree)
            for number, tree in enumerate(trees[output::outputs])
        ]
        lines = head
        for name, value in (
            (b"num_class", b"1"),
            (b"num_tree_per_iteration", b"1"),
            (b"objective", b"regression"),
            (b"tree_sizes", b" ".join(b"%d" % len(tree) for tree in own)),
        ):
            lines = re.sub(rb"^%s=.*$" % name, b"%s=%s" % (name, value), lines, flags=re.MULTILINE)
        text = b"\n\n".join([lines, b"".join(own) + b"end of trees", b"pandas_categorical:null\n"])
        yield lgb.Booster(model_str=text.decode())
