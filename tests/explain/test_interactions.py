"""Interactions are those of each class by itself, and right by an independent computation."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import lightgbm as lgb
import numpy as np
import pytest
from brute_force_shap import shapley_interactions
from small_models import CLASSES, FEATURES, SETTINGS, small_booster, small_labels, small_matrix, small_rows

from explain.contributions import contributions
from explain.interactions import interaction_values
from explain.report_documents import INTERACTIONS, json_schema
from explain.reports import write_reports
from lake.errors import ModelNotReadableError

MATRIX = small_matrix(600)


def test_interactions_are_those_of_each_class_by_their_definition() -> None:
    booster, rows = small_booster(MATRIX, rounds=5), MATRIX[:12]
    found = interaction_values(booster, rows, contributions(booster, rows)[:, :, :-1])
    expected = shapley_interactions(booster.dump_model(), rows)
    assert np.abs(expected[:, 0] - expected[:, 2]).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_the_pair_that_acts_together_comes_first(tmp_path: Path) -> None:
    """The labels depend on the product of return and days to expiry, and on the trend alone."""
    found = write_reports(
        small_booster(MATRIX), small_rows(MATRIX), FEATURES, CLASSES, (), tmp_path / "reports",
        labels=small_labels(MATRIX), interactions=True, sample_rows=300,
    )  # fmt: skip
    assert f"{INTERACTIONS}.json" in found.files
    document = json.loads((found.folder / f"{INTERACTIONS}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(json_schema(INTERACTIONS))
    jsonschema.validate(document, json_schema(INTERACTIONS))
    assert document["rows"] == 200
    assert set(document["by_class"]) == set(CLASSES)
    assert set(document["by_class"]["BUY"][0]["features"]) == {"return_3m", "days_to_expiry"}


def test_where_shap_is_wrong_nothing_is_said(tmp_path: Path) -> None:
    """Where a feature is missing that never was in training, shap takes the wrong branch; not elsewhere."""
    codes = MATRIX.copy()
    codes[:, 3] = np.arange(len(codes)) % 6
    target = np.isin(codes[:, 3], [1, 4]) * (1 + codes[:, 0])
    settings = SETTINGS | {"objective": "regression", "num_class": 1, "max_cat_to_onehot": 1}
    rows = lgb.Dataset(codes, target, categorical_feature=[3])
    booster = lgb.train(settings | {"min_data_per_group": 5}, rows, 5)
    assert "==" in set(booster.trees_to_dataframe()["decision_type"])
    known = interaction_values(booster, codes[:12], contributions(booster, codes[:12])[:, :, :-1])
    expected = shapley_interactions(booster.dump_model(), codes[:12])
    np.testing.assert_allclose(known, expected, rtol=0, atol=1e-9)
    codes[::3, 0] = np.nan
    with pytest.raises(ModelNotReadableError, match="do not add up"):
        write_reports(booster, small_rows(codes), FEATURES, (), (), tmp_path / "reports", interactions=True)
    assert not (tmp_path / "reports").exists()
