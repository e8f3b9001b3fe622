"""A signal is what the model says, and its reasons are the model's contributions to it, worked out anew."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from signal_models import FEATURES, rows_of, write_small_model

from explain.model_folder import read_info
from explain.signals import SignalGenerator
from lake.errors import ContractError, ModelNotFoundError, ModelNotReadableError, StaleModelError

AT = datetime(2026, 10, 26, 6, 30, tzinfo=UTC)
CLASSES = ("BUY", "HOLD", "SELL")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def booster(folder: Path) -> lgb.Booster:
    return lgb.Booster(model_file=str(folder / "model.txt"))


def named(row: np.ndarray[Any, Any]) -> dict[str, float]:
    return dict(zip(FEATURES, row.tolist(), strict=True))


def test_class_and_probabilities_are_the_models(folder: Path, booster: lgb.Booster) -> None:
    rows = rows_of(60, 9)
    expected = booster.predict(rows)
    for depth in ("exact", "context"):
        generator = SignalGenerator(folder, depth=depth, allow_missing=True)  # type: ignore[arg-type]
        for row, shares in zip(rows, expected, strict=True):
            signal = generator.generate_signal(named(row), event_time=AT, symbol="NIFTY")
            assert list(signal.probabilities) == list(CLASSES)
            np.testing.assert_allclose(list(signal.probabilities.values()), shares, rtol=0, atol=1e-14)
            assert signal.signal == CLASSES[int(shares.argmax())]
            assert signal.confidence == signal.probabilities[signal.signal]


def test_the_reasons_are_the_largest_contributions_to_the_predicted_class(
    folder: Path, booster: lgb.Booster
) -> None:
    info = {feature.name: feature for feature in read_info(folder).features}
    generator = SignalGenerator(folder, top=4, allow_missing=True)
    for row in rows_of(60, 10):
        signal = generator.generate_signal(named(row), event_time=AT)
        # One call for one row, laid out as LightGBM documents it: class by class, the expected score last.
        flat = np.asarray(booster.predict(row[None, :], pred_contrib=True))[0]
        width = len(FEATURES) + 1
        at = CLASSES.index(signal.signal) * width
        mine = flat[at : at + width - 1]
        wanted = sorted(range(len(FEATURES)), key=lambda i: (-abs(mine[i]), i))[:4]

        top = signal.metadata["top_features"]
        assert [feature["name"] for feature in top] == [FEATURES[i] for i in wanted]
        assert [feature["contribution"] for feature in top] == [mine[i] for i in wanted]
        for feature, place in zip(top, wanted, strict=True):
            assert feature["magnitude"] == pytest.approx(abs(mine[place]) / np.abs(mine).sum())
            told = info[feature["name"]]
            if np.isnan(row[place]):
                assert feature["value"] is None
                assert feature["z"] is None
            else:
                assert feature["value"] == row[place]
                assert told.mean is not None
                assert told.std is not None
                assert feature["z"] == pytest.approx((row[place] - told.mean) / told.std)


def leaves(node: dict[str, Any]) -> list[tuple[float, int]]:
    """Value and training rows of every leaf."""
    if "leaf_value" in node:
        return [(node["leaf_value"], node["leaf_count"])]
    return leaves(node["left_child"]) + leaves(node["right_child"])


def test_the_score_is_the_models_and_starts_from_the_mean_over_its_leaves(
    folder: Path, booster: lgb.Booster
) -> None:
    trees = [leaves(one["tree_structure"]) for one in booster.dump_model()["tree_info"]]
    means = [sum(value * rows for value, rows in tree) / sum(rows for _, rows in tree) for tree in trees]
    expected = {name: sum(means[place::3]) for place, name in enumerate(CLASSES)}
    generator = SignalGenerator(folder, top=4, allow_missing=True)
    for row in rows_of(60, 11):
        signal = generator.generate_signal(named(row), event_time=AT)
        scores = np.asarray(booster.predict(row[None, :], raw_score=True))[0]
        assert signal.metadata["raw_score"] == pytest.approx(scores[CLASSES.index(signal.signal)], abs=1e-9)
        assert signal.metadata["expected"] == pytest.approx(expected[signal.signal], abs=1e-9)
        assert signal.to_record()["raw_score"] == signal.metadata["raw_score"]
    context = SignalGenerator(folder, depth="context", allow_missing=True)
    told = context.generate_signal(named(rows_of(1, 11)[0]), event_time=AT).metadata
    assert (told["expected"], told["raw_score"]) == (None, None)


def test_a_context_has_the_ranking_of_its_regime_and_no_contribution(folder: Path) -> None:
    info = read_info(folder)
    generator = SignalGenerator(folder, depth="context", top=3)
    values = dict.fromkeys(FEATURES, 0.0)
    high = generator.generate_signal(values | {"vix": 50.0}, event_time=AT)
    low = generator.generate_signal(values | {"vix": -50.0}, event_time=AT)

    assert high.metadata["regime"]["vix"] == "high"
    assert [f["name"] for f in high.metadata["top_features"]] == list(info.top_features["vix=high"][:3])
    assert [f["name"] for f in low.metadata["top_features"]] == list(info.top_features["all"][:3])
    assert {f["contribution"] for f in high.metadata["top_features"]} == {None}
    assert high.metadata["depth"] == "context"


def test_hold_may_be_left_unexplained(folder: Path) -> None:
    plain = SignalGenerator(folder, allow_missing=True)
    frugal = SignalGenerator(folder, explain_hold=False, allow_missing=True)
    seen = set()
    for row in rows_of(80, 11):
        full, short = (g.generate_signal(named(row), event_time=AT) for g in (plain, frugal))
        seen.add(full.signal)
        assert short.signal == full.signal
        assert short.metadata["depth"] == ("context" if full.signal == "HOLD" else "exact")
        if full.signal != "HOLD":
            assert short.metadata["top_features"] == full.metadata["top_features"]
    assert seen == set(CLASSES)


def test_order_and_kind_of_numbers_do_not_matter(folder: Path) -> None:
    generator = SignalGenerator(folder)
    row = rows_of(1, 12)[0]
    row[np.isnan(row)] = 0.25
    row = np.round(row * 64) / 64
    expected = generator.generate_signal(named(row), event_time=AT)
    kinds: list[Callable[[float], Any]] = [np.float64, np.float32, Decimal, lambda value: value]
    for kind in kinds:
        mixed = {name: kind(value) for name, value in reversed(named(row).items())}
        assert generator.generate_signal(mixed, event_time=AT) == expected
    assert generator.generate_signal(named(row), event_time=AT) == expected
    whole = dict.fromkeys(FEATURES, 1.0)
    ones: list[Any] = [True, 1, np.bool_(True), np.int64(1), Decimal(1)]
    for one in ones:
        assert generator.generate_signal(dict.fromkeys(FEATURES, one), event_time=AT) == (
            generator.generate_signal(whole, event_time=AT)
        )


def test_missing_and_unknown_features_are_named(folder: Path) -> None:
    generator = SignalGenerator(folder)
    values: dict[str, Any] = {**named(np.zeros(len(FEATURES))), "gamma_flip": 3.0, "another": "text"}
    del values["app_rsi"]
    values["atm_iv"] = None
    values["pcr_oi"] = float("nan")

    signal = generator.generate_signal(values, event_time=AT)

    assert signal.metadata["missing_features"] == ("pcr_oi", "atm_iv", "app_rsi")
    assert signal.metadata["unknown_features"] == ("another", "gamma_flip")
    explicit = {**dict.fromkeys(FEATURES, 0.0), "pcr_oi": None, "atm_iv": None, "app_rsi": None}
    assert generator.generate_signal(explicit, event_time=AT).probabilities == signal.probabilities


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("inf"), "vix is inf"),
        (-np.inf, "vix is -inf"),
        ("14.2", "vix is '14.2', a str"),
        ([14.2], "features are numbers"),
        (10**400, "vix is"),
        (Decimal("Infinity"), "vix is inf"),
    ],
)
def test_a_value_that_is_no_finite_number_is_refused_by_name(folder: Path, value: Any, told: str) -> None:
    with pytest.raises(ContractError, match=told.replace("[", r"\[")):
        SignalGenerator(folder).generate_signal({**dict.fromkeys(FEATURES, 0.0), "vix": value}, event_time=AT)


def test_features_without_names_are_refused(folder: Path) -> None:
    with pytest.raises(ContractError, match="from name to number"):
        SignalGenerator(folder).generate_signal([0.0] * len(FEATURES), event_time=AT)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="no zone"):
        SignalGenerator(folder).generate_signal(
            dict.fromkeys(FEATURES, 0.0), event_time=AT.replace(tzinfo=None)
        )


def test_an_answer_from_something_else_than_the_model_knows_is_refused(folder: Path) -> None:
    with pytest.raises(ContractError, match=r"10 of 10 features are missing, with 100%"):
        SignalGenerator(folder).generate_signal({"another": 1.0}, event_time=AT)

    signal = SignalGenerator(folder, allow_missing=True).generate_signal({}, event_time=AT)
    assert len(signal.metadata["missing_features"]) == len(FEATURES)


def test_just_over_half_of_the_importance_is_too_much_to_miss(folder: Path) -> None:
    generator, values = SignalGenerator(folder), dict.fromkeys(FEATURES, 0.0)
    gone, share = [], 0.0
    for feature in sorted(generator.info.features, key=lambda feature: -feature.importance):
        gone.append(feature.name)
        share += feature.importance
        row = {name: value for name, value in values.items() if name not in gone}
        if share > 0.5:
            break
        assert set(generator.generate_signal(row, event_time=AT).metadata["missing_features"]) == set(gone)
    assert 0.5 < share < 0.8
    with pytest.raises(ContractError, match=f"with {share:.0%} of the model's importance"):
        generator.generate_signal(row, event_time=AT)


def test_a_stale_model_is_told_of_once_in_the_log_or_refused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = dict.fromkeys(FEATURES, 0.0)
    generator = SignalGenerator(folder, max_age_days=30)
    fresh = generator.generate_signal(values, event_time=datetime(2026, 11, 22, tzinfo=UTC))
    assert fresh.metadata["stale"] is False
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            old = generator.generate_signal(values, event_time=datetime(2026, 11, 23, tzinfo=UTC))
    assert old.metadata["stale"] is True
    assert any("31 days old" in warning for warning in old.metadata["warnings"])
    assert [record.message for record in caplog.records] == ["stale model"]
    with pytest.raises(StaleModelError, match="31 days old"):
        SignalGenerator(folder, on_stale="raise").generate_signal(values, event_time=AT + timedelta(days=28))


def test_a_symbol_that_the_model_does_not_know_is_told(folder: Path) -> None:
    signal = SignalGenerator(folder).generate_signal(
        dict.fromkeys(FEATURES, 0.0), event_time=AT, symbol="BANKNIFTY"
    )
    assert any("not trained on BANKNIFTY" in warning for warning in signal.metadata["warnings"])


def test_a_mapping_that_makes_up_values_has_them_missing_and_is_left_as_it_was(folder: Path) -> None:
    given: defaultdict[str, float] = defaultdict(float, dict.fromkeys(FEATURES[1:], 1.0))

    signal = SignalGenerator(folder, allow_missing=True).generate_signal(given, event_time=AT)

    assert signal.metadata["missing_features"] == FEATURES[:1]
    assert set(given) == set(FEATURES[1:])


def test_a_symbol_is_known_by_all_its_names(folder: Path) -> None:
    generator = SignalGenerator(folder)
    for name in ("NIFTY", "NIFTY50", "Nifty 50"):
        signal = generator.generate_signal(dict.fromkeys(FEATURES, 0.0), event_time=AT, symbol=name)
        assert (signal.symbol, signal.metadata["warnings"]) == ("NIFTY", [])


def test_the_folder_of_an_exchange_gives_the_model_made_last(tmp_path: Path) -> None:
    for day, seed in ((20, 1), (24, 2), (22, 3)):
        write_small_model(tmp_path, seed, rounds=2, created=datetime(2026, 10, day, tzinfo=UTC))
    newest = SignalGenerator(tmp_path / "NSE").info
    assert newest.created_at == datetime(2026, 10, 24, tzinfo=UTC)
    with pytest.raises(ModelNotFoundError, match="BSE"):
        SignalGenerator(tmp_path / "BSE")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path, 1, rounds=2)
    other = write_small_model(tmp_path, 2, rounds=2)
    text = (folder / "model.txt").read_bytes()
    (folder / "model.txt").write_bytes((other / "model.txt").read_bytes())
    with pytest.raises(ModelNotReadableError, match="is not the model"):
        SignalGenerator(folder)
    (folder / "model.txt").write_bytes(text)
    info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    info["features"].pop()
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(ModelNotReadableError, match="10 inputs"):
        SignalGenerator(folder)


@pytest.mark.parametrize("objective", ["regression", "binary"])
def test_a_model_of_one_output_is_no_classifier_of_three(tmp_path: Path, objective: str) -> None:
    folder = write_small_model(tmp_path, 1, rounds=2)
    matrix = np.nan_to_num(rows_of(200, 1))
    other = lgb.train(
        {"objective": objective, "verbose": -1, "num_threads": 1},
        lgb.Dataset(matrix, matrix[:, 0] > 0, feature_name=list(FEATURES)), 2,
    )  # fmt: skip
    text = other.model_to_string().encode()
    (folder / "model.txt").write_bytes(text)
    info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    info["model_sha256"] = hashlib.sha256(text).hexdigest()
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(ModelNotReadableError, match="1 outputs"):
        SignalGenerator(folder)


def test_what_cannot_be_asked_for_is_said_at_once(folder: Path) -> None:
    for wrong in ({"top": 2}, {"top": 6}, {"depth": "deep"}, {"on_stale": "shout"}):
        with pytest.raises(ValueError, match=r"is|are"):
            SignalGenerator(folder, **wrong)  # type: ignore[arg-type]


def test_threads_get_the_answers_that_one_thread_gets(folder: Path) -> None:
    generator = SignalGenerator(folder, allow_missing=True)
    rows = [named(row) for row in rows_of(200, 13)]
    expected = [generator.generate_signal(row, event_time=AT) for row in rows]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: generator.generate_signal(row, event_time=AT), rows)) == expected


def test_a_live_app_loads_lightgbm_and_nothing_of_training(folder: Path) -> None:
    code = (
        "import sys; from explain.signals import SignalGenerator; "
        f"SignalGenerator({str(folder)!r}).generate_signal({{n: 0.0 for n in {FEATURES!r}}}); "
        "print([m for m in ('shap', 'matplotlib', 'sklearn.ensemble', 'evidently', 'sqlalchemy', 'duckdb', "
        "'polars') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
