"""Training: what is measured is true, what is planted is found, and what is noise is called noise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, log_loss
from synthetic_frames import FEATURES, frame, with_labels

from explain.boosting import BoostingTerms, fit, model_text, probabilities, safe_names
from explain.frame import CLASSES, TrainingFrame
from explain.training import Trained, TrainingTerms, train
from lake.errors import ContractError, NotEnoughDataError

QUICK = TrainingTerms(folds=3, boosting=BoostingTerms(rounds=40))


@pytest.fixture(scope="module")
def planted() -> TrainingFrame:
    return frame()


@pytest.fixture(scope="module")
def trained(planted: TrainingFrame) -> Trained:
    return train(planted, QUICK)


def test_a_planted_signal_beats_the_baselines(trained: Trained) -> None:
    metrics = trained.metrics
    assert metrics["beats_baseline"]
    assert metrics["logloss"] < metrics["baseline_logloss"] - 0.3
    assert metrics["accuracy"] > metrics["majority_accuracy"] + 0.2
    assert not any("No better" in warning for warning in trained.warnings)


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_labels_are_no_better_than_guessing(planted: TrainingFrame, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(planted.rows.column("label").to_pylist())
    found = train(with_labels(planted, labels.tolist()), QUICK)
    assert not found.metrics["beats_baseline"]
    assert found.warnings[0].startswith("No better than guessing by frequency")


def test_metrics_are_those_of_scikit_learn_on_the_predictions(
    planted: TrainingFrame, trained: Trained
) -> None:
    truth = planted.classes()
    numbers = list(range(len(CLASSES)))
    every_truth, every_said = [], []
    for told, tested in zip(trained.folds, trained.tested, strict=True):
        of = truth[tested.fold.test]
        assert told["logloss"] == pytest.approx(log_loss(of, tested.probabilities, labels=numbers), abs=1e-12)
        assert told["accuracy"] == accuracy_score(of, tested.probabilities.argmax(axis=1))
        seen = np.concatenate([truth[tested.fold.train], numbers])
        shares = np.bincount(seen) / len(seen)
        guessed = np.tile(shares, (len(of), 1))
        assert told["frequency_logloss"] == pytest.approx(log_loss(of, guessed, labels=numbers), abs=1e-12)
        assert told["majority_accuracy"] == accuracy_score(of, np.full(len(of), shares.argmax()))
        assert told["any_depth_logloss"] == pytest.approx(
            log_loss(of, tested.any_depth, labels=numbers), abs=1e-12
        )
        every_truth.append(of)
        every_said.append(tested.probabilities)
    whole = log_loss(np.concatenate(every_truth), np.concatenate(every_said), labels=numbers)
    assert trained.metrics["logloss"] == pytest.approx(whole, abs=1e-12)
    assert trained.metrics["test_rows"] == sum(map(len, every_truth))


def test_a_fold_predicts_with_a_model_that_has_not_seen_its_test_rows(
    planted: TrainingFrame, trained: Trained
) -> None:
    """Other labels from the test rows on, and the fold's predictions stay."""
    first = min(trained.tested[0].fold.test)
    labels = planted.rows.column("label").to_pylist()
    changed = [*labels[:first], *reversed(labels[first:])]
    again = train(with_labels(planted, changed), QUICK).tested[0]
    assert np.array_equal(again.probabilities, trained.tested[0].probabilities)
    assert np.array_equal(again.any_depth, trained.tested[0].any_depth)


def test_the_final_model_has_the_median_of_the_folds_rounds_and_all_rows(
    planted: TrainingFrame, trained: Trained
) -> None:
    rounds = int(np.median([one.rounds for one in trained.tested]))
    assert trained.booster.num_trees() == rounds * len(CLASSES)
    assert trained.parameters["num_iterations"] == rounds
    root = trained.booster.dump_model()["tree_info"][0]["tree_structure"]
    assert root["internal_count"] == planted.rows.num_rows
    depths = trained.booster.trees_to_dataframe()["node_depth"]
    assert depths.max() <= 6  # the root counts as one


def test_progress_counts_to_what_was_told(planted: TrainingFrame) -> None:
    done: list[int] = []
    train(planted, QUICK, progress=done.append)
    assert sum(done) == QUICK.all_rounds
    assert min(done) >= 0


_TRAIN = """
import sys
from synthetic_frames import frame
from explain.boosting import BoostingTerms, model_text
from explain.training import TrainingTerms, train
terms = TrainingTerms(folds=2, boosting=BoostingTerms(seed=int(sys.argv[1]), rounds=20))
sys.stdout.buffer.write(model_text(train(frame(), terms).booster))
"""
_FIT_MANY = """
import sys
import numpy as np
from explain.boosting import BoostingTerms, fit, model_text
random = np.random.default_rng(2)
matrix = random.normal(size=(26_000, 40))
matrix[random.random(matrix.shape) < 0.2] = np.nan
labels = (np.nan_to_num(matrix[:, 0]) + random.normal(size=26_000) > 0) * random.integers(0, 3, 26_000)
names = [f"f{n}" for n in range(40)]
sys.stdout.buffer.write(model_text(fit((matrix, labels), names, BoostingTerms(rounds=8))))
"""


def in_another_process(code: str, *arguments: str, threads: int) -> bytes:
    root = Path(__file__).parents[2]
    places = os.pathsep.join(str(place) for place in (root, root / "tests" / "servers"))
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=True, cwd=root).stdout


def test_the_same_rows_and_seed_give_the_same_bytes_in_another_process() -> None:
    one = in_another_process(_TRAIN, "7", threads=1)
    other = in_another_process(_TRAIN, "7", threads=2)
    assert one == other
    assert b"Tree=0" in one
    assert str(Path(__file__).parents[2]).encode() not in one
    assert in_another_process(_TRAIN, "8", threads=1) != one


def test_the_number_of_threads_changes_nothing_where_many_work() -> None:
    one = in_another_process(_FIT_MANY, threads=1)
    assert b"[num_threads: 0]" in one
    assert one == in_another_process(_FIT_MANY, threads=3)


def test_the_text_gives_the_model_back_bit_for_bit(planted: TrainingFrame, trained: Trained) -> None:
    import lightgbm as lgb

    again = lgb.Booster(model_str=model_text(trained.booster).decode())
    matrix = planted.matrix()
    assert np.array_equal(probabilities(again, matrix), probabilities(trained.booster, matrix))


def test_features_may_have_any_name() -> None:
    names = ["app_x:y", "app_x_y", "äpp [1]", 'app_"q", {x}', "a b"]
    safe = safe_names(names)
    assert len(set(safe)) == len(names)
    random = np.random.default_rng(1)
    matrix, labels = random.normal(size=(300, len(names))), random.integers(0, 3, 300)
    booster = fit((matrix, labels), names, BoostingTerms(rounds=2))
    assert booster.feature_name() == safe


def some(given: TrainingFrame, rows: Sequence[int]) -> TrainingFrame:
    return TrainingFrame(given.rows.take(pa.array(rows)), given.features, given.terms)


def test_too_few_rows_are_refused_with_what_there_is_and_what_to_do(planted: TrainingFrame) -> None:
    with pytest.raises(NotEnoughDataError) as caught:
        train(some(planted, range(30)), QUICK)
    told = str(caught.value)
    assert "30 rows with a label are too few: BUY " in told
    assert "each class needs 20; use a dataset of more sessions" in told


@pytest.mark.parametrize(("gone", "advice"), [("SELL", "lower --threshold"), ("HOLD", "raise --threshold")])
def test_a_class_that_never_comes_is_refused(planted: TrainingFrame, gone: str, advice: str) -> None:
    labels = [("BUY" if label == gone else label) for label in planted.rows.column("label").to_pylist()]
    with pytest.raises(NotEnoughDataError, match=f"{gone} 0.*each class needs 20.*{advice}"):
        train(with_labels(planted, labels), QUICK)


def test_a_fold_without_enough_rows_is_refused(planted: TrainingFrame) -> None:
    with pytest.raises(
        NotEnoughDataError, match=r"fold 1 has \d+ rows to train on and needs 50.*fewer --folds"
    ):
        train(some(planted, range(180)), QUICK)


def test_a_class_that_comes_too_late_for_the_first_fold_is_refused(planted: TrainingFrame) -> None:
    labels = planted.rows.column("label").to_pylist()
    early = ["HOLD" if label == "BUY" and n < 500 else label for n, label in enumerate(labels)]
    with pytest.raises(NotEnoughDataError, match=r"none of the \d+ rows that fold 1 trains on is BUY"):
        train(with_labels(planted, early), QUICK)


def test_a_rare_class_few_sessions_and_an_empty_feature_are_warned_of(planted: TrainingFrame) -> None:
    labels = planted.rows.column("label").to_pylist()
    rare = ["HOLD" if label == "BUY" and n % 10 else label for n, label in enumerate(labels)]
    one = with_labels(planted, rare)
    index = one.rows.schema.get_field_index("noise_1")
    empty = one.rows.set_column(index, "noise_1", pa.nulls(one.rows.num_rows, pa.float64()))
    terms = TrainingTerms(folds=6, boosting=BoostingTerms(rounds=5))
    told = train(TrainingFrame(empty, FEATURES, one.terms), terms).warnings
    assert any("of the rows are BUY; classes are not weighted" in warning for warning in told)
    assert any("Sessions: 6, folds: 6." in warning for warning in told)
    assert any("Without any value in the dataset: noise_1." in warning for warning in told)


def test_an_infinite_feature_is_refused_by_name(planted: TrainingFrame) -> None:
    index = planted.rows.schema.get_field_index("noise_2")
    values = planted.rows.column("noise_2").to_numpy().copy()
    values[[3, 8]] = np.inf
    rows = planted.rows.set_column(index, "noise_2", pa.array(values))
    with pytest.raises(ContractError, match="noise_2 is infinite in 2 rows"):
        train(TrainingFrame(rows, planted.features, planted.terms), QUICK)
