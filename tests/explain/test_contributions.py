"""Contributions are Shapley values: by an independent computation from the definition, and by their sums."""

from __future__ import annotations

import copy
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pytest
from brute_force_shap import shapley_values

from explain.contributions import (
    additivity_error,
    contributions,
    contributions_of_many,
    raw_scores,
    softmax,
)
from lake.errors import ModelNotReadableError

Floats = npt.NDArray[np.float64]

BASE = {"verbose": -1, "num_leaves": 12, "max_depth": 4, "min_data_in_leaf": 5, "num_threads": 1, "seed": 3}
MODELS: dict[str, dict[str, Any]] = {
    "multiclass": {"objective": "multiclass", "num_class": 3},
    "one model a class": {"objective": "multiclassova", "num_class": 3},
    "binary": {"objective": "binary"},
    "regression": {"objective": "regression"},
    "zero is missing": {"objective": "multiclass", "num_class": 3, "zero_as_missing": True},
    "missing is not handled": {"objective": "multiclass", "num_class": 3, "use_missing": False},
    "bagged": {"objective": "multiclass", "num_class": 3, "bagging_fraction": 0.6, "bagging_freq": 1},
    "categories": {"objective": "binary", "min_data_per_group": 5},
}


def rows_of(seed: int, count: int) -> Floats:
    """Six features: noise, holes, zeros, holes in all but a third, integers, and a category with holes."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, 6))
    matrix[random.random(count) < 0.2, 1] = np.nan
    matrix[random.random(count) < 0.4, 2] = 0.0
    matrix[random.random(count) < 0.66, 3] = np.nan
    matrix[:, 4] = random.integers(0, 4, count)
    matrix[:, 5] = random.integers(0, 5, count)
    matrix[random.random(count) < 0.1, 5] = np.nan
    return matrix


def trained(name: str, rounds: int = 6) -> lgb.Booster:
    """A small model in which every feature, and whether it is missing, has a part."""
    matrix = rows_of(1, 600)
    score = (
        matrix[:, 0] * (matrix[:, 4] > 1) + np.where(np.isnan(matrix[:, 1]), 0.8, matrix[:, 1])
        + np.where(matrix[:, 2] == 0, -0.7, matrix[:, 2]) + np.isnan(matrix[:, 3]) * 0.6
        + np.where(np.isin(matrix[:, 5], [1, 3]), 1.1, 0.0)
    )  # fmt: skip
    target = np.digitize(score, np.quantile(score, [1 / 3, 2 / 3])).astype(np.float64)
    if MODELS[name]["objective"] == "binary":
        target = (target == 2).astype(np.float64)
    categories = [5] if name == "categories" else []
    data = lgb.Dataset(matrix, target, categorical_feature=categories)
    return lgb.train(BASE | MODELS[name], data, rounds)


def edge_rows() -> Floats:
    """Rows training never saw: nothing known, nothing but zeros, far out, and an unknown category."""
    rows = np.array([[np.nan] * 6, [0.0] * 6, [1e9] * 6, [-1e9] * 5 + [77.0], [1e-36] * 5 + [2.0]])
    return np.vstack([rows, rows_of(2, 12)])


@pytest.mark.parametrize("name", MODELS)
def test_contributions_are_shapley_values_by_their_definition(name: str) -> None:
    booster, rows = trained(name), edge_rows()
    expected = shapley_values(booster.dump_model(), rows)
    np.testing.assert_allclose(contributions(booster, rows), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_contributions_add_up_to_the_raw_score(name: str) -> None:
    booster, rows = trained(name, rounds=40), np.vstack([edge_rows(), rows_of(5, 500)])
    found = contributions(booster, rows)
    assert found.shape == (517, booster.num_model_per_iteration(), 7)
    assert additivity_error(found, raw_scores(booster, rows)) < 1e-9


def test_one_call_gives_the_probabilities_as_well() -> None:
    booster, rows = trained("multiclass", rounds=40), rows_of(5, 300)
    found = softmax(contributions(booster, rows).sum(axis=-1))
    np.testing.assert_allclose(found, booster.predict(rows), rtol=0, atol=1e-9)


def test_the_models_put_every_way_of_missing_to_the_test() -> None:
    def kinds(node: dict[str, Any]) -> set[tuple[str, str, bool]]:
        if "split_feature" not in node:
            return set()
        here = {(node["decision_type"], node["missing_type"], node["default_left"])}
        return here | kinds(node["left_child"]) | kinds(node["right_child"])

    found = set()
    for name in MODELS:
        for tree in trained(name).dump_model()["tree_info"]:
            found |= kinds(tree["tree_structure"])
    assert {missing for _, missing, _ in found} == {"None", "NaN", "Zero"}
    assert {left for decision, missing, left in found if missing == "NaN" and decision == "<="} == {
        True,
        False,
    }
    assert "==" in {decision for decision, _, _ in found}


@pytest.mark.parametrize("changed", ["leaf_value", "leaf_count", "threshold", "default_left"])
def test_the_reference_can_fail(changed: str) -> None:
    """One changed number of one tree, and it no longer agrees."""
    booster, rows = trained("multiclass"), edge_rows()
    model = copy.deepcopy(booster.dump_model())
    for tree in model["tree_info"]:
        _change(tree["tree_structure"], changed)
    assert np.abs(contributions(booster, rows) - shapley_values(model, rows)).max() > 1e-4


def _change(node: dict[str, Any], name: str) -> None:
    if name in node:
        node[name] = not node[name] if isinstance(node[name], bool) else node[name] * 1.5 + 0.1
    for child in ("left_child", "right_child"):
        if child in node:
            _change(node[child], name)


def test_many_rows_in_chunks_are_the_same_as_at_once() -> None:
    booster, rows = trained("multiclass"), rows_of(6, 505)
    done: list[int] = []
    found = contributions_of_many(booster, rows, chunk_rows=100, progress=done.append)
    np.testing.assert_array_equal(found, contributions(booster, rows))
    assert done == [100] * 5 + [5]


def test_a_model_with_early_stopping_is_explained_as_it_predicts() -> None:
    """Predictions and contributions leave out the same trees, before and after a reload."""
    matrix = rows_of(1, 600)
    target = np.random.default_rng(0).integers(0, 3, 600)
    booster = lgb.train(
        BASE | MODELS["multiclass"], lgb.Dataset(matrix, target), 30,
        valid_sets=[lgb.Dataset(rows_of(9, 200), np.random.default_rng(1).integers(0, 3, 200))],
        callbacks=[lgb.early_stopping(20, verbose=False)], keep_training_booster=True,
    )  # fmt: skip
    assert 0 < booster.best_iteration < booster.current_iteration()
    rows = rows_of(2, 20)
    again = lgb.Booster(model_str=booster.model_to_string())
    assert again.best_iteration == -1
    for model in (booster, again):
        found = contributions_of_many(model, rows)
        np.testing.assert_allclose(softmax(found.sum(axis=-1)), booster.predict(rows), rtol=0, atol=1e-12)


def test_linear_trees_are_refused_with_the_reason() -> None:
    matrix = np.random.default_rng(0).normal(size=(300, 3))
    settings = BASE | {"objective": "regression", "linear_tree": True}
    booster = lgb.train(settings, lgb.Dataset(matrix, matrix[:, 0], params=settings), 3)
    with pytest.raises(ModelNotReadableError, match="linear trees"):
        contributions_of_many(booster, matrix)


def test_a_model_that_never_splits_has_no_contributions() -> None:
    matrix = np.zeros((50, 2))
    booster = lgb.train(BASE | {"objective": "regression"}, lgb.Dataset(matrix, np.arange(50.0)), 3)
    found = contributions_of_many(booster, matrix)
    assert not found[:, :, :-1].any()
    np.testing.assert_allclose(found[:, 0, -1], 24.5)
