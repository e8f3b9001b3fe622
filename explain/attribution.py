"""Contributions of a sample of rows, with all that a report says about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from explain.contributions import additivity_error, contributions_of_many, raw_scores
from explain.frame import feature_matrix
from explain.regimes import Dimension
from explain.sampling import Sample, stratified_sample
from lake.errors import NotEnoughDataError, SchemaMismatchError

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

VALUE = "value"
"""Name of the one output of a regression model."""

_PREDICTED_AT_ONCE = 20_000


class Kind(StrEnum):
    """What a model predicts."""

    MULTICLASS = "multiclass"
    BINARY = "binary"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of a model.

    Attributes:
        kind: What it predicts.
        classes: Names of the classes; of a binary model two, of a regression none.
        names: Names of the raw scores: of a binary model the second class alone (the first one's
            contributions are the same with the other sign), of a regression `VALUE`.
        probabilities: Whether `predict` gives probabilities; not after training with an objective of the
            team's own, of which the model file says nothing.
        objective: LightGBM's name, empty for one of the team's own.
    """

    kind: Kind
    classes: tuple[str, ...]
    names: tuple[str, ...]
    probabilities: bool
    objective: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """Contributions of the rows of a sample.

    Attributes:
        outputs: Of the model.
        features: Names in the order of the model's inputs.
        sample: Which rows, and for how many each stands.
        matrix: (rows, features): their values.
        values: (rows, outputs, features): contributions to the raw scores.
        expected: (outputs): what every row starts from.
        predictions: (rows, classes), of a regression (rows, 1): probabilities, values or raw scores.
        regimes: By dimension the regime of each row of the sample.
        regime_rows: By dimension and regime: how many rows there are in all.
        additivity_error: By how much contributions and raw scores differ at most.
    """

    outputs: Outputs
    features: tuple[str, ...]
    sample: Sample
    matrix: Floats
    values: Floats
    expected: Floats
    predictions: Floats
    regimes: Mapping[str, npt.NDArray[np.str_]]
    regime_rows: Mapping[str, Mapping[str, int]]
    additivity_error: float

    def magnitude(self, chosen: npt.NDArray[np.bool_] | None = None) -> Floats:
        """(outputs, features): weighted mean absolute contribution, of all rows or of those chosen."""
        mask = np.ones(len(self.values), dtype=bool) if chosen is None else chosen
        return np.average(np.abs(self.values[mask]), axis=0, weights=self.sample.weights[mask])


def outputs_of(booster: lgb.Booster, classes: Sequence[str]) -> Outputs:
    """What a model's outputs are.

    Args:
        booster: The model.
        classes: Names in the order of its outputs; of a binary model two, the second one predicted; none
            for a regression. None for a multiclass or binary model: they are called 0, 1 ...

    Raises:
        SchemaMismatchError: The model does not have as many classes.
    """
    objective = str(booster.dump_model(num_iteration=1).get("objective", ""))
    name = objective.partition(" ")[0]
    outputs = booster.num_model_per_iteration()
    binary = outputs == 1 and (name in {"binary", "cross_entropy", "cross_entropy_lambda"} or not name)
    if outputs > 1:
        expected, kind = outputs, Kind.MULTICLASS
    elif binary and (name or classes):
        expected, kind = 2, Kind.BINARY
    else:
        expected, kind = 0, Kind.REGRESSION
    if classes and len(classes) != expected:
        what = f"{expected} classes" if expected else "no classes: it is a regression"
        raise SchemaMismatchError(f"the model has {what}, not {len(classes)} ({', '.join(classes)})")
    if len(set(classes)) < len(classes):
        raise SchemaMismatchError(f"two classes have the same name: {', '.join(classes)}")
    named = tuple(classes) or tuple(str(number) for number in range(expected))
    scores = {Kind.MULTICLASS: named, Kind.BINARY: named[1:], Kind.REGRESSION: (VALUE,)}[kind]
    return Outputs(kind, named, scores, bool(name) and kind is not Kind.REGRESSION, name)


def predictions(booster: lgb.Booster, matrix: Floats, outputs: Outputs) -> Floats:
    """What the model predicts: (rows, classes), of a regression (rows, 1).

    Of a binary model the first column is one minus the second; without probabilities, its negative.
    """
    parts = []
    for start in range(0, max(1, len(matrix)), _PREDICTED_AT_ONCE):
        part = matrix[start : start + _PREDICTED_AT_ONCE]
        found = np.asarray(booster.predict(part)).reshape(len(part), booster.num_model_per_iteration())
        if outputs.kind is Kind.BINARY:
            found = np.hstack([1 - found if outputs.probabilities else -found, found])
        parts.append(found)
    return np.concatenate(parts)


def attribute(
    booster: lgb.Booster,
    rows: pa.Table,
    features: tuple[str, ...],
    outputs: Outputs,
    regimes: Sequence[Dimension],
    *,
    labels: Codes | None = None,
    seed: int = 7,
    sample_rows: int = 2000,
    progress: Callable[[int], None] | None = None,
) -> Attribution:
    """Contributions of a sample of the rows, stratified by class, then by regime.

    Args:
        booster: The model; up to `best_iteration` if it knows one, as in `predict`.
        rows: Has the features and what the regimes look at; null is missing.
        features: Names of the columns in the order of the model's inputs.
        outputs: Of the model.
        regimes: Ways of telling regimes apart.
        labels: The class of each row, as its number. Without them, strata are by predicted class, for which
            every row has to be predicted.
        seed: Of the sample.
        sample_rows: Rows of the sample; 10,000 took 35 s (50 features, 300 rounds of 3 classes).
        progress: Called with the number of rows of the sample just done.

    Raises:
        NotEnoughDataError: There is no row.
        SchemaMismatchError: Columns are missing, or labels do not fit.
        ModelNotReadableError: LightGBM has no contributions for such a model.
    """
    if not rows.num_rows:
        raise NotEnoughDataError("there is no row to explain the model with")
    _check_columns(booster, rows, features, regimes)
    matrix = feature_matrix(rows, features)
    kept = {d.name: d.of_all(feature_matrix(rows, (d.feature,))[:, 0]) for d in regimes}
    strata: dict[str, npt.NDArray[np.generic]] = {}
    if labels is not None:
        strata["label"] = _checked_labels(labels, rows.num_rows, outputs)
    elif outputs.classes and rows.num_rows > sample_rows:
        strata["predicted class"] = predictions(booster, matrix, outputs).argmax(axis=1)
    sample = stratified_sample(strata | kept, rows.num_rows, size=sample_rows, seed=seed)
    chosen = matrix[sample.indices]
    found = contributions_of_many(booster, chosen, progress=progress)
    return Attribution(
        outputs=outputs,
        features=features,
        sample=sample,
        matrix=chosen,
        values=found[:, :, :-1],
        expected=found[0, :, -1],
        predictions=predictions(booster, chosen, outputs),
        regimes={name: of[sample.indices] for name, of in kept.items()},
        regime_rows={name: _counts(of) for name, of in kept.items()},
        additivity_error=additivity_error(found, raw_scores(booster, chosen)),
    )


def _counts(regimes: npt.NDArray[np.str_]) -> dict[str, int]:
    names, counts = np.unique(regimes, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _check_columns(
    booster: lgb.Booster, rows: pa.Table, features: tuple[str, ...], regimes: Sequence[Dimension]
) -> None:
    if booster.num_feature() != len(features):
        raise SchemaMismatchError(f"the model has {booster.num_feature()} features, not {len(features)}")
    needed = [*features, *(dimension.feature for dimension in regimes)]
    missing = [name for name in dict.fromkeys(needed) if name not in rows.column_names]
    if missing:
        raise SchemaMismatchError(f"the data has no column {', '.join(missing)}")


def _checked_labels(labels: Codes, rows: int, outputs: Outputs) -> Codes:
    codes = np.asarray(labels)
    if len(codes) != rows:
        raise SchemaMismatchError(f"there are {len(codes):,} labels for {rows:,} rows")
    if not outputs.classes:
        raise SchemaMismatchError("the model is a regression: it has no classes that labels could name")
    if codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= len(outputs.classes):
        raise SchemaMismatchError(f"labels are numbers of classes, 0 to {len(outputs.classes) - 1}")
    return codes.astype(np.int64)
