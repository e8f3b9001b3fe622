"""Train a model on a frame, and measure it walking forward, against what one reaches without a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from explain.boosting import ANY_DEPTH, BoostingTerms, Progress, fit, probabilities
from explain.frame import CLASSES, TrainingFrame
from explain.measures import Tested, measure_all, measure_fold, warnings_of
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
    measured = [measure_fold(frame, labels, times, one) for one in tested]
    metrics = measure_all(frame, labels, tested, measured)
    return Trained(
        booster=booster,
        parameters=terms.boosting.parameters() | {"num_iterations": rounds},
        tested=tested,
        folds=tuple(measured),
        metrics=metrics,
        warnings=tuple(warnings_of(frame, booster, matrix, metrics, len(folds))),
    )


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
