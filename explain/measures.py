"""How good a model is on rows it had not seen, beside what one reaches without a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from explain.baselines import NO_LABEL, class_frequencies, last_known_label, momentum
from explain.frame import CLASSES, TrainingFrame
from explain.walk_forward import Fold

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

RARE_SHARE = 0.05
"""A class below this share of the rows is warned of."""


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


def measure_fold(
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


def measure_all(
    frame: TrainingFrame, labels: Classes, tested: Sequence[Tested], folds: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The folds' metrics, each row counting the same, and whether the model beats the frequencies.

    It does if its log loss is lower by more than one standard error of the folds' differences: rows near in
    time share most of their label's window, so that single rows prove nothing.
    """

    def pooled(name: str) -> float:
        return float(
            np.average([fold[name] for fold in folds], weights=[fold["test_rows"] for fold in folds])
        )

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
        "last_label_accuracy": _last_label_accuracy(folds),
        "momentum_accuracy": pooled("momentum_accuracy") if "trend" in frame.features else None,
        "any_depth_logloss": any_depth,
        "depth_cost_logloss": logloss - any_depth,
        "gain_mean": float(gains.mean()),
        "gain_standard_error": error,
        "beats_baseline": bool(gains.mean() > error and logloss < baseline),
    }


def _last_label_accuracy(folds: Sequence[dict[str, Any]]) -> float | None:
    rows = sum(fold["last_label_rows"] for fold in folds)
    right = sum(fold["last_label_accuracy"] * fold["last_label_rows"] for fold in folds)
    return right / rows if rows else None


def _accuracy(truth: Classes, said: Classes) -> float:
    """Share of rows that are right; 0 of no rows, which count nothing in a weighted mean."""
    if not len(truth):
        return 0.0
    return float((truth == said).mean())


def warnings_of(
    frame: TrainingFrame, booster: lgb.Booster, matrix: Floats, metrics: dict[str, Any], folds: int
) -> list[str]:
    """What a reader has to know, in sentences."""
    told = []
    if not metrics["beats_baseline"]:
        told.append(verdict(metrics))
    for name, share in metrics["class_shares"].items():
        if share < RARE_SHARE:
            told.append(
                f"Only {share:.1%} of the rows are {name}; classes are not weighted, so the model will "
                "seldom say it."
            )
    if metrics["sessions"] <= folds:
        told.append(
            f"Sessions: {metrics['sessions']}, folds: {folds}. Folds begin within sessions, so the metrics "
            "say little about another day."
        )
    counts = (~np.isnan(matrix)).sum(axis=0).tolist()
    empty = [name for name, count in zip(frame.features, counts, strict=True) if not count]
    if empty:
        told.append(f"Without any value in the dataset: {', '.join(empty)}.")
    if not booster.feature_importance("split").any():
        told.append("The model has no split: it says the same of every row.")
    return told


def verdict(metrics: dict[str, Any]) -> str:
    """Whether the model is better than no model, in one sentence."""
    better = "Better" if metrics["beats_baseline"] else "No better"
    return (
        f"{better} than guessing by frequency: log loss {metrics['logloss']:.4f} on "
        f"{metrics['test_rows']:,} rows it had not seen, {metrics['baseline_logloss']:.4f} by class "
        f"frequencies (gain a fold {metrics['gain_mean']:+.4f}, standard error "
        f"{metrics['gain_standard_error']:.4f})."
    )


def log_loss(labels: Classes, shares: Floats) -> float:
    """Mean of -log of the probability given to what came; a probability of 0 counts as the smallest float."""
    given = shares[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, np.finfo(np.float64).eps)).mean())
