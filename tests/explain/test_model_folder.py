"""A model on disk: whole or not there, and what it says is what was measured."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_frames import FEATURES, frame

from catalog.datasets import Dataset
from explain.boosting import BoostingTerms
from explain.contributions import contributions
from explain.frame import CLASSES, TrainingFrame
from explain.model_card import model_card
from explain.model_folder import (
    QUANTILES,
    find_model,
    load_booster,
    model_folders,
    read_info,
    write_model,
)
from explain.training import TrainingTerms
from explain.training_run import TrainingRun, run_training, steps
from lake.digest import content_digest
from lake.errors import ModelNotFoundError, ModelNotReadableError

TERMS = TrainingTerms(folds=3, boosting=BoostingTerms(rounds=30))
DATASET = Dataset(
    name="july",
    created_at=datetime(2026, 1, 13, tzinfo=UTC),
    first=date(2026, 1, 1),
    last=date(2026, 1, 31),
    exchanges=(),
    tables=(),
    query=None,
    views={},
    timezone="Asia/Kolkata",
    row_count=123_456,
    content_digest="0123456789abcdef0123456789abcdef",
    software={},
)
COMMANDS = ("strikelake dataset verify july", "strikelake explain train NSE --dataset july --seed 7")


def run(given: TrainingFrame, models: Path, **options: Any) -> TrainingRun:
    return run_training(given, DATASET, "NSE", models, TERMS, commands=COMMANDS, **options)


@pytest.fixture(scope="module")
def planted() -> TrainingFrame:
    return frame()


@pytest.fixture(scope="module")
def made(planted: TrainingFrame, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    return run(planted, tmp_path_factory.mktemp("made") / "models")


def test_the_folder_has_model_info_and_card_and_nothing_else(made: TrainingRun) -> None:
    assert sorted(p.name for p in made.folder.iterdir()) == ["MODEL_CARD.md", "model.json", "model.txt"]
    assert [p.name for p in made.folder.parent.iterdir()] == [made.info.model_version]
    assert not made.was_there
    assert re.fullmatch(r"2026-01-12-[0-9a-f]{12}", made.info.model_version)
    assert made.info.model_sha256.startswith(made.info.model_version[-12:])
    assert find_model(made.folder.parents[1], "NSE") == made.folder


def test_what_was_written_is_read_again(planted: TrainingFrame, made: TrainingRun) -> None:
    info = read_info(made.folder)
    assert info == made.info
    booster = load_booster(made.folder, info)
    expected = made.trained.booster.predict(planted.matrix())
    assert np.array_equal(booster.predict(planted.matrix()), expected)
    assert info.feature_names == FEATURES
    assert info.classes == CLASSES
    assert info.symbols == ("BANKNIFTY", "NIFTY")
    assert info.dataset == {
        "name": "july", "content_digest": DATASET.content_digest, "row_count": 123_456, "versions": {},
        "first_date": "2026-01-05", "last_date": "2026-01-12", "query": False,
        "frame_digest": content_digest(planted.rows),
    }  # fmt: skip
    assert info.label == {"horizon_s": 900.0, "threshold": 0.5}
    assert info.parameters["seed"] == 7
    assert {d.name for d in info.regimes} == {"vix", "trend", "expiry"}
    assert len(info.folds) == 3
    assert info.metrics == made.trained.metrics


def test_features_are_described_as_pandas_would(planted: TrainingFrame, made: TrainingRun) -> None:
    values = planted.rows.select(list(FEATURES)).to_pandas()
    for feature in made.info.features:
        column = values[feature.name]
        assert feature.mean == pytest.approx(column.mean(), abs=1e-12)
        assert feature.std == pytest.approx(column.std(ddof=0), abs=1e-12)
        assert feature.quantiles == pytest.approx(column.quantile(list(QUANTILES)).tolist(), abs=1e-12)
        assert feature.missing_share == pytest.approx(column.isna().mean(), abs=1e-12)
    assert 0.6 < made.info.features[-1].missing_share < 0.8


def test_importance_is_the_mean_absolute_contribution(planted: TrainingFrame, made: TrainingRun) -> None:
    """The frame has fewer rows than the sample, so that every row counts once."""
    parts = np.abs(contributions(made.trained.booster, planted.matrix())[:, :, :-1]).mean(axis=1)
    expected = parts.mean(axis=0) / parts.mean(axis=0).sum()
    assert [f.importance for f in made.info.features] == pytest.approx(expected.tolist(), abs=1e-12)
    order = tuple(FEATURES[n] for n in np.argsort(-expected, kind="stable"))
    assert made.info.top_features["all"] == order
    assert order[:2] == ("return_3m", "pcr_oi_change_5m")
    for dimension in made.info.regimes:
        found = dimension.of_all(planted.rows.column(dimension.feature).to_numpy())
        for regime in np.unique(found):
            means = parts[found == regime].mean(axis=0)
            expected_order = tuple(FEATURES[n] for n in np.argsort(-means, kind="stable"))
            assert made.info.top_features[f"{dimension.name}={regime}"] == expected_order


def test_a_sample_of_many_rows_comes_near_to_all_of_them(tmp_path: Path) -> None:
    many = frame(sessions=9, every_s=60)
    assert many.rows.num_rows > 6_000
    found = run(many, tmp_path)
    parts = np.abs(contributions(found.trained.booster, many.matrix(), num_threads=2)[:, :, :-1])
    whole = parts.mean(axis=(0, 1))
    shares = np.array([feature.importance for feature in found.info.features])
    assert shares == pytest.approx(whole / whole.sum(), abs=0.01)


def test_the_same_model_twice_is_there_already(planted: TrainingFrame, made: TrainingRun) -> None:
    models = made.folder.parents[1]
    before = {p: p.read_bytes() for p in made.folder.iterdir()}
    again = run(planted, models, now=datetime(2030, 1, 1, tzinfo=UTC))
    assert again.was_there
    assert again.folder == made.folder
    assert {p: p.read_bytes() for p in made.folder.iterdir()} == before
    assert model_folders(models, "NSE") == [made.folder]


class Stop:
    """Interrupts at a step."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, done: int) -> None:
        self.left -= done
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.0])
def test_an_interrupt_at_any_step_leaves_nothing(
    planted: TrainingFrame, tmp_path: Path, share: float
) -> None:
    """The last is within the rows explained, after the final model is trained."""
    assert TERMS.all_rounds < steps(planted, TERMS)
    with pytest.raises(KeyboardInterrupt):
        run(planted, tmp_path / "models", progress=Stop(int(share * TERMS.all_rounds)))
    assert not (tmp_path / "models").exists()


def test_a_write_that_fails_leaves_nothing(made: TrainingRun, tmp_path: Path) -> None:
    """A lone surrogate cannot be written as UTF-8: the card fails after the model was written."""
    text = (made.folder / "model.txt").read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_model(tmp_path, made.info, text, "card \ud800")
    assert not list(tmp_path.rglob("model*"))


def test_a_draft_that_a_crash_left_is_no_model(made: TrainingRun, tmp_path: Path) -> None:
    text = (made.folder / "model.txt").read_bytes()
    folder, _ = write_model(tmp_path, made.info, text, "card")
    folder.rename(folder.with_name(f".{folder.name}.0123.tmp"))
    assert model_folders(tmp_path, "NSE") == []
    with pytest.raises(ModelNotFoundError, match="no model of NSE"):
        find_model(tmp_path, "NSE")


def test_a_damaged_folder_is_not_taken_for_the_model(made: TrainingRun, tmp_path: Path) -> None:
    text = (made.folder / "model.txt").read_bytes()
    folder, _ = write_model(tmp_path, made.info, text, "card")
    (folder / "model.txt").write_bytes(text.replace(b"leaf_value=", b"leaf_value=9", 1))
    with pytest.raises(ModelNotReadableError, match="its SHA-256 is"):
        write_model(tmp_path, made.info, text, "card")


def test_the_card_says_what_a_reader_has_to_know(made: TrainingRun) -> None:
    card = (made.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for needed in (
        made.info.model_version, made.info.model_sha256, "`july`", DATASET.content_digest, *COMMANDS,
        "2026-01-05 to 2026-01-12", "in 15 minutes", "**Better than guessing by frequency:",
        "Classes are not weighted", "return_3m", "vix=low", "max_depth 5",
    ):  # fmt: skip
        assert needed in card
    assert len(re.findall(r"^\| \d \|", card, re.MULTILINE)) == 3
    widths = {line.count("|") for line in card.splitlines() if line.startswith(("| fold", "| 1 ", "| all"))}
    assert len(widths) == 1


def test_the_card_of_a_model_that_learnt_nothing_says_so(tmp_path: Path) -> None:
    found = run(frame(signal=0.0), tmp_path)
    card = (found.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "**No better than guessing by frequency:" in card
    assert found.info.warnings[0] in card


def test_the_card_of_a_query_says_that_the_labels_are_not_ours(made: TrainingRun) -> None:
    info = dataclasses.replace(made.info, dataset=made.info.dataset | {"query": True})
    assert "nothing here can check it" in model_card(info, COMMANDS)


def test_the_info_is_plain_json_without_nan(made: TrainingRun) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (made.folder / "model.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse)["metrics"]["rows"] == 1080
