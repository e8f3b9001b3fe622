"""`explain report`: any LightGBM model that a team trained elsewhere, and data as a team has it."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet
from small_models import CLASSES, FEATURES, SETTINGS, small_booster, small_labels, small_matrix, small_rows
from typer.testing import CliRunner

from explain.contributions import contributions
from explain.external_model import load_model
from explain.frame import feature_matrix
from explain.model_data import read_model_rows
from explain.model_folder import INFO_FILE, MODEL_FILE, FeatureInfo, ModelInfo
from explain.regimes import Dimension
from lake.cli import app
from lake.errors import (
    MalformedInputError,
    ModelNotFoundError,
    ModelNotReadableError,
    NotEnoughDataError,
    SchemaMismatchError,
)

MATRIX = small_matrix(600)
LABELS = small_labels(MATRIX)
NAMES = np.array(CLASSES)[LABELS]


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    return small_booster(MATRIX)


@pytest.fixture
def text_model(booster: lgb.Booster, tmp_path: Path) -> Path:
    file = tmp_path / "mine.txt"
    booster.save_model(file)
    return file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Columns in another order, with two that the model does not know, one of them the label."""
    rows = small_rows(MATRIX)
    extra = rows.append_column("signal", pa.array(NAMES)).append_column("note", pa.array(["x"] * len(NAMES)))
    file = tmp_path / "rows.parquet"
    parquet.write_table(extra.select(sorted(extra.column_names)), file)
    return file


def frame(matrix: Any = MATRIX) -> pd.DataFrame:
    return pd.DataFrame(matrix, columns=list(FEATURES))


def classifier(target: Any = NAMES, **settings: Any) -> lgb.LGBMClassifier:
    kept = {name: value for name, value in SETTINGS.items() if name not in {"objective", "num_class"}}
    return lgb.LGBMClassifier(n_estimators=8, **kept | settings).fit(frame(), target)


def pickled(thing: Any, file: Path, dump: Callable[..., Any] = joblib.dump) -> Path:
    if dump is pickle.dumps:
        file.write_bytes(pickle.dumps(thing))
    else:
        dump(thing, file)
    return file


def test_a_text_file_is_loaded_as_it_predicts(booster: lgb.Booster, text_model: Path) -> None:
    found = load_model(text_model)
    np.testing.assert_array_equal(found.booster.predict(MATRIX), booster.predict(MATRIX))
    assert found.features == FEATURES
    assert found.outputs.classes == ("0", "1", "2")
    assert found.model_version.startswith("mine-")
    assert load_model(text_model, classes=CLASSES).outputs.classes == CLASSES


def test_a_text_file_from_windows_is_the_same_model(booster: lgb.Booster, text_model: Path) -> None:
    text_model.write_bytes(text_model.read_bytes().replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(load_model(text_model).booster.predict(MATRIX), booster.predict(MATRIX))


@pytest.mark.parametrize("dump", [joblib.dump, pickle.dumps])
def test_a_pickled_classifier_brings_its_class_names(tmp_path: Path, dump: Callable[..., Any]) -> None:
    model = classifier()
    file = pickled(model, tmp_path / "mine.pkl", dump)
    found = load_model(file, allow_pickle=True)
    assert found.outputs.classes == tuple(model.classes_) == CLASSES
    np.testing.assert_array_equal(found.booster.predict(MATRIX), model.predict_proba(frame()))


def test_class_names_that_are_numbers_keep_the_order_of_the_outputs(tmp_path: Path) -> None:
    model = classifier(np.array([10, -1, 7])[LABELS])
    found = load_model(pickled(model, tmp_path / "mine.pkl"), allow_pickle=True)
    assert found.outputs.classes == ("-1", "7", "10")


def test_a_pickled_booster_and_a_regressor_are_taken(booster: lgb.Booster, tmp_path: Path) -> None:
    found = load_model(pickled(booster, tmp_path / "booster.pkl"), allow_pickle=True)
    np.testing.assert_array_equal(found.booster.predict(MATRIX), booster.predict(MATRIX))
    regressor = lgb.LGBMRegressor(n_estimators=3, verbose=-1).fit(frame(), MATRIX[:, 0])
    outputs = load_model(pickled(regressor, tmp_path / "r.pkl"), allow_pickle=True).outputs
    assert (outputs.kind, outputs.names) == ("regression", ("value",))


def test_of_a_pickle_with_early_stopping_the_trees_after_it_do_not_count(tmp_path: Path) -> None:
    """In memory the trees after `best_iteration` are still there, and a reload would count them."""
    random = np.random.default_rng(0)
    booster = lgb.train(
        SETTINGS, lgb.Dataset(frame(), LABELS), 40, keep_training_booster=True,
        valid_sets=[lgb.Dataset(frame(small_matrix(200, seed=2)), random.integers(0, 3, 200))],
        callbacks=[lgb.early_stopping(30, verbose=False)],
    )  # fmt: skip
    assert 0 < booster.best_iteration < booster.current_iteration()
    found = load_model(pickled(booster, tmp_path / "mine.pkl"), allow_pickle=True)
    assert found.booster.current_iteration() == booster.best_iteration
    np.testing.assert_array_equal(contributions(found.booster, MATRIX), contributions(booster, MATRIX))
    assert not np.array_equal(booster.predict(MATRIX), booster.predict(MATRIX, num_iteration=-1))


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_pickle_is_not_opened_unless_that_is_asked_for(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    file = pickled(Trap(sprung), tmp_path / "mine.pkl", pickle.dumps)
    with pytest.raises(ModelNotReadableError, match=r"runs any code .* --allow-pickle"):
        load_model(file)
    assert not sprung.exists()
    with pytest.raises(ModelNotReadableError, match="holds a NoneType"):
        load_model(file, allow_pickle=True)
    assert sprung.exists()


def test_what_is_no_model_is_refused_with_the_reason(booster: lgb.Booster, tmp_path: Path) -> None:
    from sklearn.pipeline import make_pipeline

    def refused(file: Path, words: str, error: type[Exception] = ModelNotReadableError) -> None:
        with pytest.raises(error, match=words):
            load_model(file, allow_pickle=True)

    refused(tmp_path / "nowhere.txt", "no model at", ModelNotFoundError)
    refused(tmp_path, r"no model\.json", ModelNotFoundError)
    cut = tmp_path / "cut.txt"
    cut.write_text(booster.model_to_string()[:500], encoding="utf-8")
    refused(cut, "cannot be read as a LightGBM model")
    listed = tmp_path / "model.json"
    listed.write_text(json.dumps(booster.dump_model()), encoding="utf-8")
    refused(listed, "save_model")
    noise = tmp_path / "noise.pkl"
    noise.write_bytes(b"\x80 no pickle")
    refused(noise, "cannot be unpickled")
    refused(pickled(lgb.LGBMClassifier(), tmp_path / "raw.pkl"), "never fitted")
    refused(pickled(make_pipeline(classifier()), tmp_path / "p.pkl"), "Pipeline.*LightGBM step")
    with pytest.raises(SchemaMismatchError, match="3 classes, not 2"):
        load_model(pickled(booster, tmp_path / "b.pkl"), allow_pickle=True, classes=("A", "B"))


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow", ".csv"])
def test_columns_in_any_order_and_format_are_the_same_matrix(
    text_model: Path, tmp_path: Path, suffix: str
) -> None:
    table = small_rows(MATRIX).select(list(reversed(FEATURES)))
    file = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, file)
    elif suffix == ".csv":
        # An empty field is missing; pyarrow would write NaN as a word, which is read back as one too.
        csv.write_csv(table.set_column(0, "never_there", pa.nulls(len(MATRIX))), file)
    else:
        feather.write_feather(table, file)
    found = read_model_rows(file, load_model(text_model))
    np.testing.assert_array_equal(feature_matrix(found.table, FEATURES), MATRIX)
    assert [d.name for d in found.regimes] == ["vix", "trend", "expiry"]
    assert found.ignored == ()


def test_extra_columns_are_named_and_the_label_is_read(text_model: Path, data: Path) -> None:
    model = load_model(text_model, classes=CLASSES)
    found = read_model_rows(data, model, label="signal")
    assert found.ignored == ("note",)
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, LABELS)
    assert read_model_rows(data, model).ignored == ("note", "signal")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\nleaf_value=", b"\nleaf_value=1"), (b"right_child=", b"right_child "),
        (b"leaf_count=", b"leaf_count=x"),
        (b"Tree=4\n", b"Tree=40\n"), (b"end of trees", b""), (b"max_feature_idx=5", b"max_feature_idx=1"),
        (b"left_child=1", b"left_child=0"), (b"\nthreshold=", b"\nthreshold= "),
    ],
)  # fmt: skip
def test_a_damaged_text_is_refused_and_does_not_end_the_process(
    text_model: Path, old: bytes, new: bytes
) -> None:
    """LightGBM itself aborts on most of these, so it must not see them."""
    whole = text_model.read_bytes()
    assert old in whole
    text_model.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(ModelNotReadableError, match="cut off or changed"):
        load_model(text_model)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_text_is_refused(text_model: Path, share: float) -> None:
    whole = text_model.read_bytes()
    text_model.write_bytes(whole[: int(share * whole.index(b"end of trees"))])
    with pytest.raises(ModelNotReadableError, match="cut off or changed"):
        load_model(text_model)


def test_models_of_every_make_are_whole(tmp_path: Path) -> None:
    """Categories, random forests, dart, constant trees: the check refuses no model that LightGBM wrote."""
    codes = MATRIX.copy()
    codes[:, 3] = np.arange(len(codes)) % 6
    makes: list[dict[str, Any]] = [
        {}, {"boosting": "dart"}, {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1},
        {"min_data_in_leaf": 10_000}, {"min_data_per_group": 5, "max_cat_to_onehot": 1},
        {"linear_tree": True}, {"monotone_constraints": [1, 0, 0, 0, 0, 0]},
    ]  # fmt: skip
    for make in makes:
        settings = SETTINGS | make
        rows = lgb.Dataset(codes, LABELS, categorical_feature=[3] if "max_cat_to_onehot" in make else [])
        booster = lgb.train(settings, rows, 4)
        booster.save_model(tmp_path / "mine.txt")
        found = load_model(tmp_path / "mine.txt").booster
        np.testing.assert_array_equal(found.predict(codes), booster.predict(codes))


def one_feature_model(tmp_path: Path) -> Path:
    settings = SETTINGS | {"objective": "regression", "num_class": 1}
    booster = lgb.train(settings, lgb.Dataset(MATRIX[:, :1], MATRIX[:, 0], feature_name=["x"]), 2)
    booster.save_model(tmp_path / "one.txt")
    return tmp_path / "one.txt"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, 3], pa.int32()), [1, np.nan, 3]),
        (pa.array([True, False, None]), [1, 0, np.nan]),
        (pa.array([Decimal("1.25"), None, Decimal("3.00")]), [1.25, np.nan, 3]),
        (pa.array([1.5, None, 2.5], pa.float32()), [1.5, np.nan, 2.5]),
        (pa.array([1, 2, 2]).dictionary_encode(), [1, 2, 2]),
        (pa.nulls(3), [np.nan] * 3),
    ],
)
def test_numbers_of_every_type_are_taken(tmp_path: Path, column: pa.Array, expected: list[float]) -> None:
    parquet.write_table(pa.table({"x": column}), tmp_path / "rows.parquet")
    found = read_model_rows(tmp_path / "rows.parquet", load_model(one_feature_model(tmp_path)))
    np.testing.assert_array_equal(feature_matrix(found.table, ("x",))[:, 0], expected)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array(["1.5", "-", "2"]), r"column x is string, not numbers \(such as '1.5'\)"),
        (pa.array([1, 2, 3], pa.timestamp("us")), "column x is timestamp"),
        (pa.array([[1.0], [2.0], None]), "column x is list"),
        (pa.array([2**60 + 1, 1, 2]), "column x does not fit float64"),
    ],
)
def test_what_is_no_number_is_refused_by_column(tmp_path: Path, column: pa.Array, words: str) -> None:
    parquet.write_table(pa.table({"x": column}), tmp_path / "rows.parquet")
    with pytest.raises(SchemaMismatchError, match=words):
        read_model_rows(tmp_path / "rows.parquet", load_model(one_feature_model(tmp_path)))


def test_data_that_does_not_fit_is_refused_by_name(text_model: Path, data: Path, tmp_path: Path) -> None:
    model = load_model(text_model, classes=CLASSES)
    table = parquet.read_table(data)

    def refused(given: pa.Table, words: str, error: type[Exception] = SchemaMismatchError) -> None:
        parquet.write_table(given, tmp_path / "bad.parquet")
        with pytest.raises(error, match=words):
            read_model_rows(tmp_path / "bad.parquet", model, label="signal")

    refused(table.drop_columns(["vix", "trend"]), "lacks 2 of the model's 6 features: vix, trend")
    refused(table.drop_columns(["signal"]), "no column signal")
    refused(table[:0], "no rows", NotEnoughDataError)
    strange = pa.array(["WAIT"] * table.num_rows)
    refused(
        table.set_column(table.column_names.index("signal"), "signal", strange),
        r"no classes \('WAIT'\): the classes are BUY, HOLD, SELL",
    )
    with pytest.raises(MalformedInputError, match=r"as \.parquet, \.arrow"):
        read_model_rows(text_model, model)
    (tmp_path / "torn.parquet").write_bytes(data.read_bytes()[:100])
    with pytest.raises(MalformedInputError, match=r"torn\.parquet cannot be read"):
        read_model_rows(tmp_path / "torn.parquet", model)
    twice = tmp_path / "twice.csv"
    twice.write_text("vix,vix\n1,2\n", encoding="utf-8")
    with pytest.raises(SchemaMismatchError, match="several columns called vix"):
        read_model_rows(twice, model)


def test_a_model_of_an_array_says_what_its_columns_are_called(data: Path, tmp_path: Path) -> None:
    lgb.train(SETTINGS, lgb.Dataset(MATRIX, LABELS), 2).save_model(tmp_path / "array.txt")
    with pytest.raises(SchemaMismatchError, match=r"Column_0, .*trained on an array without names"):
        read_model_rows(data, load_model(tmp_path / "array.txt"))


def test_blanks_in_names_are_found_as_lightgbm_writes_them(tmp_path: Path) -> None:
    settings = SETTINGS | {"objective": "regression", "num_class": 1}
    data = lgb.Dataset(MATRIX[:, :1], MATRIX[:, 0], feature_name=["call oi"])
    lgb.train(settings, data, 2).save_model(tmp_path / "mine.txt")
    parquet.write_table(pa.table({"call oi": MATRIX[:, 0]}), tmp_path / "rows.parquet")
    found = read_model_rows(tmp_path / "rows.parquet", load_model(tmp_path / "mine.txt"))
    assert found.table.column_names == ["call_oi"]
    assert found.ignored == ()


@pytest.mark.parametrize("how", ["pickle", "text"])
def test_categories_of_pandas_become_the_codes_of_training(tmp_path: Path, how: str) -> None:
    kinds = np.array(["weekly", "monthly", "other"])[np.arange(len(MATRIX)) % 3]
    table = frame().assign(kind=pd.Categorical(kinds, categories=["weekly", "monthly", "other"]))
    model = lgb.LGBMClassifier(n_estimators=6, min_data_per_group=5, verbose=-1).fit(
        table, kinds == "monthly"
    )
    file = tmp_path / "mine"
    if how == "pickle":
        pickled(model, file)
    else:
        model.booster_.save_model(file)
    shuffled = table.sample(frac=1, random_state=1).astype({"kind": "object"})
    shuffled.iloc[0, shuffled.columns.get_loc("kind")] = "never seen"
    shuffled.to_parquet(tmp_path / "rows.parquet", index=False)
    loaded = load_model(file, allow_pickle=how == "pickle")
    rows = read_model_rows(tmp_path / "rows.parquet", loaded)
    seen = shuffled["kind"].where(shuffled["kind"] != "never seen")
    as_trained = shuffled.assign(kind=pd.Categorical(seen, categories=table["kind"].cat.categories))
    found = loaded.booster.predict(feature_matrix(rows.table, loaded.features))
    np.testing.assert_array_equal(found, model.predict_proba(as_trained)[:, 1])
    assert loaded.outputs.classes == (("False", "True") if how == "pickle" else ("0", "1"))


@pytest.fixture
def own_model(booster: lgb.Booster, tmp_path: Path) -> Path:
    """A model folder as training makes it, in `models/NSE`."""
    text = booster.model_to_string().encode()
    digest = hashlib.sha256(text).hexdigest()
    folder = tmp_path / "models" / "NSE" / f"20260724-{digest[:12]}"
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(text)
    info = ModelInfo(
        model_version=folder.name, model_sha256=digest, exchange="NSE", symbols=("NIFTY",),
        created_at=datetime(2026, 7, 24, tzinfo=UTC), dataset={"name": "week30"}, classes=CLASSES,
        features=tuple(FeatureInfo(name, None, None, (), 0.0, 0.0) for name in FEATURES),
        regimes=(Dimension("vix", "vix", (14.0,), ("calm", "wild")),), top_features={}, label={},
        parameters={}, folds=(), software={},
    )  # fmt: skip
    (folder / INFO_FILE).write_text(info.to_json(), encoding="utf-8")
    return folder


@pytest.mark.parametrize("named", [".", "model.txt"])
def test_a_model_of_ours_brings_its_classes_and_regimes(own_model: Path, data: Path, named: str) -> None:
    done = run("--model", own_model / named, "--data", data, "--sample-rows", 100)
    assert done.exit_code == 0, done.output
    top = json.loads((own_model.parent / "reports" / "shap_top_features.json").read_text(encoding="utf-8"))
    assert top["model_version"] == own_model.name
    assert top["exchange"] == "NSE"
    assert tuple(top["outputs"]) == CLASSES
    assert set(top["by_regime"]) == {"vix=calm", "vix=wild", "vix=unknown"}


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["explain", "report", *map(str, arguments)])


def test_the_command_reports_on_a_foreign_model_in_80_columns(text_model: Path, data: Path) -> None:
    long = data.with_name("a_file_whose_name_is_rather_long_as_those_of_teams_often_are_in_practice.parquet")
    data.rename(long)
    done = run("--model", text_model, "--data", long, "--classes", "BUY,HOLD,SELL", "--label", "signal")
    assert done.exit_code == 0, done.output
    folder = text_model.parent / "mine_reports"
    assert (folder / "shap_summary.json").is_file()
    assert "return_3m" in done.stdout
    assert "ignored columns: note" in done.stdout
    assert "beeswarm_BUY.png" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if str(folder) not in line)


def test_the_command_gives_json(data: Path, tmp_path: Path) -> None:
    model = pickled(classifier(), tmp_path / "mine.pkl")
    done = run(
        "--model", model, "--allow-pickle", "--data", data, "--to", tmp_path / "out", "--output", "json",
        "--sample-rows", 200,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["outputs"] == list(CLASSES)
    assert told["ignored_columns"] == ["note", "signal"]
    assert told["sample"]["rows"] == 200
    assert set(told["files"]) == {path.name for path in (tmp_path / "out").iterdir()}


def test_the_command_refuses_in_one_line(data: Path, tmp_path: Path) -> None:
    model = pickled(classifier(), tmp_path / "mine.pkl")
    done = run("--model", model, "--data", data)
    assert isinstance(done.exception, ModelNotReadableError)
    assert "--allow-pickle" in str(done.exception)
    assert not (tmp_path / "mine_reports").exists()
