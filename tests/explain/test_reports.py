"""The reports: right by an independent computation, valid by their schemas, and replaced as one."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from small_models import CLASSES, FEATURES, SETTINGS, small_booster, small_labels, small_matrix, small_rows

from explain.regimes import learn
from explain.report_documents import DOCUMENTS, json_schema
from explain.reports import Reports, write_reports
from lake.errors import NotEnoughDataError, SchemaMismatchError

ROWS = 1_500
MATRIX = small_matrix(ROWS)
LABELS = small_labels(MATRIX)
NOW = datetime(2026, 7, 24, 11, 0, tzinfo=UTC)
DATASET = {"name": "week30", "content_digest": "d1g35t", "row_count": ROWS}


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    return small_booster(MATRIX)


def write(booster: lgb.Booster, folder: Path, **changed: Any) -> Reports:
    """The reports of the small model; a sample of 300 rows."""
    arguments: dict[str, Any] = {
        "rows": small_rows(MATRIX), "features": FEATURES, "classes": CLASSES,
        "regimes": learn(FEATURES, MATRIX), "folder": folder, "labels": LABELS,
        "model_version": "20260724-0a1b2c3d4e5f", "dataset": DATASET, "created_at": NOW, "sample_rows": 300,
    }  # fmt: skip
    return write_reports(booster, **arguments | changed)


@pytest.fixture(scope="module")
def sampled(booster: lgb.Booster, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return write(booster, tmp_path_factory.mktemp("models") / "NSE" / "reports")


@pytest.fixture(scope="module")
def whole(booster: lgb.Booster, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return write(booster, tmp_path_factory.mktemp("whole") / "reports", sample_rows=ROWS)


def read(reports: Reports, name: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (reports.folder / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_holds_what_was_promised_and_nothing_else(sampled: Reports) -> None:
    assert set(content(sampled.folder)) == set(sampled.files) == {
        "feature_importance.json", "shap_summary.json", "shap_top_features.json", "importance.png",
        "beeswarm_BUY.png", "beeswarm_HOLD.png", "beeswarm_SELL.png", "regimes.png", "waterfall.png",
    }  # fmt: skip
    beside = {path.name for path in sampled.folder.parent.iterdir()}
    assert beside == {"reports", ".reports.lock"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_keeps_its_schema_which_documents_every_field(sampled: Reports, name: str) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = read(sampled, name)
    jsonschema.validate(document, schema)
    assert all("description" in field for field in schema["properties"].values())
    assert document["dataset"] == {"name": "week30", "content_digest": "d1g35t"}
    assert document["model_version"] == "20260724-0a1b2c3d4e5f"
    assert document["created_at"] == "2026-07-24T11:00:00+00:00"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"iterations": -1}, schema)


def test_importance_sums_to_one_in_gain_and_in_splits(booster: lgb.Booster, sampled: Reports) -> None:
    document = read(sampled, "feature_importance")
    nodes = booster.trees_to_dataframe().dropna(subset=["split_feature"])
    for kind, expected in (
        ("gain", nodes.groupby("split_feature")["split_gain"].sum()),
        ("split", nodes.groupby("split_feature")["split_gain"].count()),
    ):
        assert sum(document[kind].values()) == pytest.approx(1)
        shares = (expected / expected.sum()).reindex(FEATURES).fillna(0).to_dict()
        assert document[kind] == pytest.approx(shares)
        assert list(document[kind].values()) == sorted(document[kind].values(), reverse=True)


def test_figures_agree_with_an_independent_run_of_shap_and_pandas(
    booster: lgb.Booster, whole: Reports
) -> None:
    """`shap` asks LightGBM too, so this proves layout and statistics; the rest is in test_contributions."""
    import shap

    explanation = shap.TreeExplainer(booster)(pd.DataFrame(MATRIX, columns=list(FEATURES)))
    document = read(whole, "shap_summary")
    assert document["additivity_error"] < 1e-9
    for k, name in enumerate(CLASSES):
        values = pd.DataFrame(explanation.values[:, :, k], columns=list(FEATURES))
        assert document["expected"][name] == pytest.approx(explanation.base_values[0, k])
        for feature in FEATURES:
            found = document["features"][feature][name]
            assert found["mean"] == pytest.approx(values[feature].mean(), abs=1e-12)
            assert found["mean_abs"] == pytest.approx(values[feature].abs().mean(), abs=1e-12)
            assert found["std"] == pytest.approx(values[feature].std(ddof=0), abs=1e-9)
            for level, value in found["quantiles"].items():
                expected = np.quantile(values[feature], float(level), method="inverted_cdf")
                assert value == pytest.approx(expected, abs=1e-12)


def test_a_regime_is_ranked_by_its_own_rows(booster: lgb.Booster, whole: Reports) -> None:
    import shap

    values = np.abs(shap.TreeExplainer(booster)(MATRIX).values).mean(axis=2)
    document = read(whole, "shap_top_features")
    (vix,) = [dimension for dimension in document["regimes"] if dimension["name"] == "vix"]
    rows = MATRIX[:, FEATURES.index("vix")] >= vix["cuts"][1]
    found = document["by_regime"]["vix=high"]
    assert found["ranked"] is True
    assert found["rows"] == found["rows_sampled"] == rows.sum()
    expected = pd.Series(values[rows].mean(axis=0), index=list(FEATURES)).sort_values(ascending=False)
    assert [entry["feature"] for entry in found["top"]][:5] == list(expected.index)[:5]
    assert [entry["share"] for entry in found["top"]] == pytest.approx(list(expected / expected.sum()))


def test_a_regime_with_too_few_rows_is_named_and_not_ranked(whole: Reports) -> None:
    found = read(whole, "shap_top_features")["by_regime"]
    assert set(found) == {
        "vix=low", "vix=normal", "vix=high", "vix=unknown", "trend=down", "trend=flat", "trend=up",
        "expiry=expiry_day", "expiry=near", "expiry=far",
    }  # fmt: skip
    unknown = found.pop("vix=unknown")
    assert (unknown["ranked"], unknown["rows"], unknown["top"]) == (False, 7, [])
    assert "fewer than 30" in unknown["reason"]
    assert all(one["ranked"] for one in found.values())


def test_a_sample_gives_nearly_the_figures_of_all_rows(sampled: Reports, whole: Reports) -> None:
    part, all_rows = read(sampled, "shap_summary"), read(whole, "shap_summary")
    assert part["sample"]["rows"] == 300
    assert part["sample"]["of_rows"] == ROWS
    assert part["sample"]["strata"] == ["label", "vix", "trend", "expiry"]
    assert part["sample"]["effective_rows"] < 300
    for name in CLASSES:
        found, expected = (d["features"]["return_3m"][name]["mean_abs"] for d in (part, all_rows))
        assert found == pytest.approx(expected, rel=0.15)


def test_the_same_input_gives_the_same_files(booster: lgb.Booster, sampled: Reports, tmp_path: Path) -> None:
    again = write(booster, tmp_path / "reports")
    assert content(again.folder) == content(sampled.folder)
    other = write(booster, tmp_path / "other", seed=8)
    assert read(other, "shap_summary")["features"] != read(sampled, "shap_summary")["features"]


def test_the_waterfall_is_of_the_most_confident_signal(booster: lgb.Booster, whole: Reports) -> None:
    found = read(whole, "shap_summary")["waterfall"]
    predicted = np.asarray(booster.predict(MATRIX))
    signals = np.where(predicted.argmax(axis=1) == CLASSES.index("HOLD"), 0, predicted.max(axis=1))
    assert found["row"] == signals.argmax()
    assert found["prediction"] == pytest.approx(signals.max())
    assert found["predicted"] == found["output"] == CLASSES[int(predicted[found["row"]].argmax())]
    raw = np.asarray(booster.predict(MATRIX[[found["row"]]], raw_score=True))
    total = found["expected"] + sum(found["contributions"].values())
    assert total == pytest.approx(found["raw_score"]) == raw[0, CLASSES.index(found["output"])]
    moment = small_rows(MATRIX).column("event_time")[found["row"]].as_py()
    assert found["keys"]["event_time"] == moment.isoformat()


def test_a_binary_and_a_regression_model_have_one_output(tmp_path: Path) -> None:
    one = SETTINGS | {"num_class": 1}
    target = (LABELS == 0).astype(float)
    for objective, classes, names in (("binary", ("NO", "BUY"), ["BUY"]), ("regression", (), ["value"])):
        booster = lgb.train(one | {"objective": objective}, lgb.Dataset(MATRIX, target), 10)
        found = write(booster, tmp_path / objective, classes=classes, labels=None)
        assert found.summary["outputs"] == names
        assert f"beeswarm_{names[0]}.png" in found.files
        for name in DOCUMENTS:
            jsonschema.validate(read(found, name), json_schema(name))
        raw = np.asarray(booster.predict(MATRIX[[found.summary["waterfall"]["row"]]], raw_score=True))
        assert found.summary["waterfall"]["raw_score"] == pytest.approx(raw[0])


def test_an_objective_of_the_teams_own_gives_no_probabilities(tmp_path: Path) -> None:
    def to_target(predicted: Any, data: lgb.Dataset) -> tuple[Any, Any]:
        return predicted - np.asarray(data.get_label()), np.ones_like(predicted)

    settings = SETTINGS | {"num_class": 1, "objective": to_target}
    booster = lgb.train(settings, lgb.Dataset(MATRIX, (LABELS == 0) * 2.0 - 1), 10)
    found = write(booster, tmp_path / "reports", classes=("NO", "BUY"), labels=None)
    assert found.summary["kind"] == "binary"
    assert found.summary["waterfall"]["prediction_is"] == "raw score"


def test_a_model_that_never_splits_is_reported_too(tmp_path: Path) -> None:
    booster = lgb.train(SETTINGS | {"min_data_in_leaf": ROWS}, lgb.Dataset(MATRIX, LABELS), 2)
    found = write(booster, tmp_path / "reports", labels=None)
    # Without labels, strata are by what the model predicts.
    assert found.summary["sample"]["strata"][0] == "predicted class"
    assert set(found.importance["gain"].values()) == {0.0}
    assert found.top_features["global"][0]["share"] == 0


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"classes": ("A", "B")}, SchemaMismatchError, "3 classes, not 2"),
        ({"classes": ("A", "A", "B")}, SchemaMismatchError, "same name"),
        ({"labels": LABELS[:-1]}, SchemaMismatchError, "labels for 1,500 rows"),
        ({"labels": LABELS + 1}, SchemaMismatchError, "0 to 2"),
        ({"rows": small_rows(MATRIX).drop_columns(["trend"])}, SchemaMismatchError, "no column trend"),
        ({"rows": small_rows(MATRIX)[:0], "labels": None}, NotEnoughDataError, "no row"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    booster: lgb.Booster, tmp_path: Path, changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        write(booster, tmp_path / "reports", **changed)
    assert not (tmp_path / "reports").exists()


@pytest.fixture
def earlier(sampled: Reports, tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """A folder with the reports of an earlier run, and what is in it."""
    folder = tmp_path / "NSE" / "reports"
    shutil.copytree(sampled.folder, folder)
    return folder, content(folder)


def test_an_interrupt_leaves_the_earlier_reports(
    booster: lgb.Booster, earlier: tuple[Path, dict[str, bytes]]
) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(booster, earlier[0], progress=interrupt)
    assert content(earlier[0]) == earlier[1]
    assert {path.name for path in earlier[0].parent.iterdir()} == {"reports", ".reports.lock"}


def test_a_disk_that_fails_at_the_swap_leaves_the_earlier_reports(
    booster: lgb.Booster, earlier: tuple[Path, dict[str, bytes]]
) -> None:
    blocking = earlier[0].with_name(".reports.old")
    blocking.write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match="reports"):
        write(booster, earlier[0], sample_rows=100)
    assert content(earlier[0]) == earlier[1]
    blocking.unlink()
    write(booster, earlier[0], sample_rows=100)
    assert content(earlier[0]) != earlier[1]


def test_rows_of_two_exchanges_are_of_none(booster: lgb.Booster, tmp_path: Path) -> None:
    rows = small_rows(MATRIX)
    both = pa.array(["NSE", "BSE"] * (ROWS // 2))
    rows = rows.set_column(rows.column_names.index("exchange"), "exchange", both)
    found = write(booster, tmp_path / "reports", rows=rows, regimes=())
    assert found.importance["exchange"] is None
    assert "regimes.png" not in found.files
    assert found.top_features["by_regime"] == {}
