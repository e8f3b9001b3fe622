"""Shapley values of LightGBM trees by their definition: every subset of features, no dynamic programming.

Written from the definition (Shapley, 1953) and the conditional expectation of path-dependent TreeSHAP
(Lundberg et al., 2020, algorithm 1), over the trees of `Booster.dump_model()`. It shares no line with
LightGBM's or shap's C code, and costs 2^features walks of every tree: for small models only.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Node = dict[str, Any]
Floats = npt.NDArray[np.float64]

_ZERO = 1e-35
"""LightGBM's kZeroThreshold, as the float32 that it is written as."""


def shapley_values(model: dict[str, Any], matrix: Floats) -> Floats:
    """Contributions as (rows, classes, features + 1), the expected score last.

    Args:
        model: What `Booster.dump_model()` gives.
        matrix: (rows, features); NaN is missing.
    """
    features, classes = model["max_feature_idx"] + 1, model["num_tree_per_iteration"]
    found = np.zeros((len(matrix), classes, features + 1))
    for number, tree in enumerate(model["tree_info"]):
        root = tree["tree_structure"]
        for row, values in enumerate(matrix):
            found[row, number % classes] += _of_tree(root, values, features)
    return found


def shapley_interactions(model: dict[str, Any], matrix: Floats) -> Floats:
    """Interaction values as (rows, classes, features, features), by the Shapley interaction index.

    Fujimoto, Kojadinovic and Marichal, 2006; halved into both places, the rest on the diagonal, as Lundberg
    et al. do.
    """
    features, classes = model["max_feature_idx"] + 1, model["num_tree_per_iteration"]
    found = np.zeros((len(matrix), classes, features, features))
    for number, tree in enumerate(model["tree_info"]):
        root = tree["tree_structure"]
        for row, values in enumerate(matrix):
            here = found[row, number % classes]
            single = _of_tree(root, values, features)[:-1]
            pairs = _pairs_of_tree(root, values, features)
            here += pairs + np.diag(single - pairs.sum(axis=1))
    return found


def _pairs_of_tree(root: Node, values: Floats, features: int) -> Floats:
    used = sorted(_features_of(root))
    found = np.zeros((features, features))
    for i, j in itertools.combinations(used, 2):
        others = [feature for feature in used if feature not in {i, j}]
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(len(used) - size - 2)
            weight /= 2 * math.factorial(len(used) - 1)
            for known in map(frozenset, itertools.combinations(others, size)):
                both, first, second, none = (
                    _expectation(root, values, known | more) for more in ({i, j}, {i}, {j}, set())
                )
                found[i, j] += weight * (both - first - second + none)
        found[j, i] = found[i, j]
    return found


def _of_tree(root: Node, values: Floats, features: int) -> Floats:
    used = sorted(_features_of(root))
    worth = {
        frozenset(known): _expectation(root, values, frozenset(known))
        for size in range(len(used) + 1)
        for known in itertools.combinations(used, size)
    }
    found = np.zeros(features + 1)
    found[-1] = worth[frozenset()]
    for feature in used:
        for known, value in worth.items():
            if feature not in known:
                weight = math.factorial(len(known)) * math.factorial(len(used) - len(known) - 1)
                gain = worth[known | {feature}] - value
                found[feature] += weight / math.factorial(len(used)) * gain
    return found


def _features_of(node: Node) -> set[int]:
    if "split_feature" not in node:
        return set()
    return {node["split_feature"]} | _features_of(node["left_child"]) | _features_of(node["right_child"])


def _expectation(node: Node, values: Floats, known: frozenset[int]) -> float:
    """Mean of the leaves that a row of these known features can come to, weighted by training rows."""
    if "split_feature" not in node:
        return float(node["leaf_value"])
    left, right = node["left_child"], node["right_child"]
    if node["split_feature"] in known:
        chosen = left if _goes_left(node, values[node["split_feature"]]) else right
        return _expectation(chosen, values, known)
    total = _cover(node)
    return _cover(left) / total * _expectation(left, values, known) + _cover(right) / total * _expectation(
        right, values, known
    )


def _cover(node: Node) -> int:
    return int(node["internal_count"] if "split_feature" in node else node["leaf_count"])


def _goes_left(node: Node, value: float) -> bool:
    if node["decision_type"] == "==":
        listed = {int(code) for code in str(node["threshold"]).split("||")}
        return not math.isnan(value) and int(value) in listed
    missing = node["missing_type"]
    if math.isnan(value) and missing != "NaN":
        value = 0.0
    if (missing == "NaN" and math.isnan(value)) or (missing == "Zero" and abs(value) <= _ZERO):
        return bool(node["default_left"])
    return bool(value <= node["threshold"])
