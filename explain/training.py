"""Train a model on a frame, and measure it walking forward, against what one reaches without a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from explain.baselines import NO_LABEL, class_frequencies, last_known_label, momentum
from explain.boosting import ANY_DEPTH, BoostingTerms, Progress, fit, probabilities
from explain.frame import CLASSES, TrainingFrame
from explain.walk_forward import Fold, walk_forward
from lake.errors import ContractError, NotEnoughDataError

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

CLASS_ROWS = 20
"""Rows of each class at least: a leaf of LightGBM has that many, too."""

FIT_ROWS, STOPPING_ROWS, TEST_ROWS = 50, 10, 10
"""Rows of each part of a fold at least."""

RARE_SHARE = 0.05
"""A class below this share of the rows is warned of."""


@dataclass(frozen=True, slots=True)
class TrainingTerms:
    """How a model is trained and measured.

    Attributes:
        folds: Steps of the walk forward.
        boosting: How trees are grown.
    """

    folds: int = 5
    boosting: BoostingTerms = field(default_factory=BoostingTerms)

    @property
    def all_rounds(self) -> int:
        """Boosting rounds at most: in each fold the model and one of any depth, then the final model."""
        return self.boosting.rounds * (2 * self.folds + 1)


@dataclass(frozen=True, slots=True)
class Tested:
    """What the models said of rows they had not seen.

    Attributes:
        fold: Which rows.
        rounds: That early stopping chose.
        probabilities: (test rows, classes), of the model with the shape of the terms.
        any_depth: Likewise, of one whose depth is not limited.
    """

    fold: Fold
    rounds: int
    probabilities: Floats
    any_depth: Floats


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and how it was measured.

    Attributes:
        booster: Trained on all rows, with the median of the rounds that the folds chose.
        parameters: LightGBM's, with `num_iterations`.
        tested: By fold.
        folds: For `model.json`: rows, dates, metrics and baselines of each fold.
        metrics: Of all test rows together.
        warnings: What a reader has to know, in sentences.
    """

    booster: lgb.Booster
    parameters: dict[str, Any]
    tested: tuple[Tested, ...]
    folds: tuple[dict[str, Any], ...]
    metrics: dict[str, Any]
    warnings: tuple[str, ...]


def train(
    frame: TrainingFrame, terms: TrainingTerms | None = None, *, progress: Progress | None = None
) -> Trained:
    """Measure fold by fold, then train on everything.

    In each fold early stopping chooses the number of rounds on the last fifth of the training part; the
    final model has their median and sees every row, so that no row is kept from it for that. Its own
    quality is not measured: the folds' is, of models that saw less.

    Raises:
        NotEnoughDataError: Too few rows, or a class is missing; the message says how many there are, how
            many it takes and what to do.
        ContractError: A feature is infinite.
    """
    terms = terms or TrainingTerms()
    matrix, labels = frame.matrix(), frame.classes()
    _check_finite(matrix, frame.features)
    check_classes(labels)
    times = frame.rows.column("event_time").to_numpy().astype("datetime64[us]")
    folds = walk_forward(times, frame.terms.horizon, terms.folds)
    for fold in folds:
        check_fold(fold, labels)
    tested = tuple(_test(fold, matrix, labels, frame.features, terms.boosting, progress) for fold in folds)
    rounds = max(1, math.floor(np.median([one.rounds for one in tested])))
    booster = fit((matrix, labels), frame.features, terms.boosting, rounds=rounds, progress=progress)
    if progress:
        progress(terms.boosting.rounds - rounds)
    measured = [_measure_fold(frame, labels, times, one) for one in tested]
    metrics = _measure_all(frame, labels, tested, measured)
    return Trained(
        booster=booster,
        parameters=terms.boosting.parameters() | {"num_iterations": rounds},
        tested=tested,
        folds=tuple(measured),
        metrics=metrics,
        warnings=tuple(_warnings(frame, booster, matrix, metrics, len(folds))),
    )


def log_loss(labels: Classes, shares: Floats) -> float:
    """Mean of -log of the probability given to what came; a probability of 0 counts as the smallest float."""
    given = shares[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, np.finfo(np.float64).eps)).mean())


def check_classes(labels: Classes) -> None:
    """Raise NotEnoughDataError unless every class has enough rows."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    if counts.min() >= CLASS_ROWS:
        return
    told = ", ".join(f"{name} {count:,}" for name, count in zip(CLASSES, counts, strict=True))
    fewest = CLASSES[int(counts.argmin())]
    threshold = "raise" if fewest == "HOLD" else "lower"
    raise NotEnoughDataError(
        f"{len(labels):,} rows with a label are too few: {told}, and each class needs {CLASS_ROWS}; use a "
        f"dataset of more sessions, or {threshold} --threshold"
    )


def check_fold(fold: Fold, labels: Classes) -> None:
    """Raise NotEnoughDataError unless a fold has rows to grow trees on, to stop by and to test on."""
    needed = {"to train on": FIT_ROWS, "for early stopping": STOPPING_ROWS, "to test on": TEST_ROWS}
    parts = (fold.fit, fold.stopping, fold.test)
    advice = "use a dataset of more sessions, fewer --folds or a shorter --horizon"
    for (what, least), rows in zip(needed.items(), parts, strict=True):
        if len(rows) < least:
            raise NotEnoughDataError(
                f"fold {fold.number} has {len(rows):,} rows {what} and needs {least} ({fold.purged_rows:,} "
                f"before it are left out, since their labels look into what comes after): {advice}"
            )
    missing = [name for number, name in enumerate(CLASSES) if not np.any(labels[fold.fit] == number)]
    if missing:
        raise NotEnoughDataError(
            f"none of the {len(fold.fit):,} rows that fold {fold.number} trains on is "
            f"{' or '.join(missing)}: {advice}"
        )


def _check_finite(matrix: Floats, features: Sequence[str]) -> None:
    infinite = np.isinf(matrix).sum(axis=0)
    if infinite.any():
        worst = int(infinite.argmax())
        raise ContractError(
            f"feature {features[worst]} is infinite in {infinite[worst]:,} rows: what cannot be computed "
            "is null"
        )


def _test(
    fold: Fold,
    matrix: Floats,
    labels: Classes,
    features: Sequence[str],
    terms: BoostingTerms,
    progress: Progress | None,
) -> Tested:
    rows = (matrix[fold.fit], labels[fold.fit])
    stopping = (matrix[fold.stopping], labels[fold.stopping])
    model, free = (
        fit(rows, features, terms, stopping=stopping, max_depth=depth, progress=progress)
        for depth in (None, ANY_DEPTH)
    )
    test = matrix[fold.test]
    return Tested(fold, model.best_iteration, probabilities(model, test), probabilities(free, test))


def _measure_fold(
    frame: TrainingFrame, labels: Classes, times: npt.NDArray[np.datetime64], tested: Tested
) -> dict[str, Any]:
    """Metrics of one fold beside those of the baselines; these see the same training rows."""
    fold = tested.fold
    truth = labels[fold.test]
    frequencies = class_frequencies(labels[fold.train], len(CLASSES))
    symbols = np.asarray(frame.rows.column("symbol").to_pylist())
    last = last_known_label(times, symbols, labels, frame.terms.horizon)[fold.test]
    dates = frame.rows.column("date")
    first_and_last = {
        name: [str(pc.min(dates.take(rows)).as_py()), str(pc.max(dates.take(rows)).as_py())]
        for name, rows in (("train_dates", fold.train), ("test_dates", fold.test))
    }
    trend = None
    if "trend" in frame.features:
        values = frame.rows.column("trend").to_numpy()[fold.test]
        trend = _accuracy(truth, momentum(values, frame.terms.threshold, CLASSES))
    known = last != NO_LABEL
    return {
        "fold": fold.number,
        "train_rows": len(fold.train),
        "purged_rows": fold.purged_rows,
        "test_rows": len(fold.test),
        **first_and_last,
        "rounds": tested.rounds,
        "logloss": log_loss(truth, tested.probabilities),
        "accuracy": _accuracy(truth, tested.probabilities.argmax(axis=1)),
        "any_depth_logloss": log_loss(truth, tested.any_depth),
        "frequency_logloss": log_loss(truth, np.tile(frequencies, (len(truth), 1))),
        "majority_accuracy": _accuracy(truth, np.full(len(truth), frequencies.argmax())),
        "last_label_rows": int(known.sum()),
        "last_label_accuracy": _accuracy(truth[known], last[known]),
        "momentum_accuracy": trend,
    }


def _measure_all(
    frame: TrainingFrame, labels: Classes, tested: Sequence[Tested], folds: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The folds' metrics, each row counting the same, and whether the model beats the frequencies.

    It does if its log loss is lower by more than one standard error of the folds' differences: rows near in
    time share most of their label's window, so that single rows prove nothing.
    """

    def pooled(name: str, rows: str = "test_rows") -> float:
        return float(np.average([fold[name] for fold in folds], weights=[fold[rows] for fold in folds]))

    gains = np.array([fold["frequency_logloss"] - fold["logloss"] for fold in folds])
    error = float(gains.std(ddof=1) / math.sqrt(len(gains)))
    logloss, baseline, any_depth = (
        pooled(name) for name in ("logloss", "frequency_logloss", "any_depth_logloss")
    )
    shares = np.bincount(labels, minlength=len(CLASSES)) / len(labels)
    dates = frame.rows.column("date")
    return {
        "rows": len(labels),
        "sessions": pc.count_distinct(dates).as_py(),
        "class_shares": dict(zip(CLASSES, shares.tolist(), strict=True)),
        "test_rows": sum(len(one.fold.test) for one in tested),
        "logloss": logloss,
        "accuracy": pooled("accuracy"),
        "baseline_logloss": baseline,
        "majority_accuracy": pooled("majority_accuracy"),
        "last_label_accuracy": pooled("last_label_accuracy", "last_label_rows"),
        "momentum_accuracy": pooled("momentum_accuracy") if "trend" in frame.features else None,
        "any_depth_logloss": any_depth,
        "depth_cost_logloss": logloss - any_depth,
        "gain_mean": float(gains.mean()),
        "gain_standard_error": error,
        "beats_baseline": bool(gains.mean() > error and logloss < baseline),
    }


def _accuracy(truth: Classes, said: Classes) -> float:
    """Share of rows that are right; 0 of no rows, which count nothing in a weighted mean."""
    if not len(truth):
        return 0.0
    return float((truth == said).mean())


def _warnings(
    frame: TrainingFrame, booster: lgb.Booster, matrix: Floats, metrics: dict[str, Any], folds: int
) -> list[str]:
    told = []
    if not metrics["beats_baseline"]:
        told.append(
            f"No better than guessing by frequency: log loss {metrics['logloss']:.4f} against "
            f"{metrics['baseline_logloss']:.4f} without a model (gain by fold {metrics['gain_mean']:+.4f}, "
            f"standard error {metrics['gain_standard_error']:.4f})."
        )
    for name, share in metrics["class_shares"].items():
        if share < RARE_SHARE:
            told.append(
                f"Only {share:.1%} of the rows are {name}; classes are not weighted, so the model will "
                "seldom say it."
            )
    if metrics["sessions"] <= folds:
        told.append(
            f"{metrics['sessions']} sessions in {folds} folds: folds begin within sessions, so the metrics "
            "say little about another day."
        )
    counts = (~np.isnan(matrix)).sum(axis=0).tolist()
    empty = [name for name, count in zip(frame.features, counts, strict=True) if not count]
    if empty:
        told.append(f"Without any value in the dataset: {', '.join(empty)}.")
    if not booster.feature_importance("split").any():
        told.append("The model has no split: it says the same of every row.")
    return told
