"""The JSON documents of a model's reports; `explain/schemas/` says what each field means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from explain.attribution import Attribution, Kind
from explain.frame import KEYS
from explain.regimes import Dimension

if TYPE_CHECKING:
    import lightgbm as lgb

Document = dict[str, Any]

DOCUMENTS = ("feature_importance", "shap_summary", "shap_top_features")
INTERACTIONS = "shap_interactions"
"""The document that is written on request alone."""

VERSION = 1
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOP = 10
"""Features of a ranking at most."""

RANKED_ROWS = 30
"""A regime with fewer rows in the sample is named, and not ranked: the order would be chance."""

_QUIET_CLASS = "HOLD"


@dataclass(frozen=True, slots=True)
class Subject:
    """Which model is explained, and on what.

    Attributes:
        model_version: Of the model, None if it has none.
        exchange: None if the rows do not say, or are of several.
        dataset: name and content_digest, None if unknown.
        created_at: When the reports are made, with zone.
        iterations: Boosting rounds used.
    """

    model_version: str | None
    exchange: str | None
    dataset: Mapping[str, str] | None
    created_at: datetime
    iterations: int

    def head(self, document: str) -> Document:
        """The fields that every document starts with."""
        return {
            "schema": f"strikelake/{document}/{VERSION}",
            "model_version": self.model_version,
            "exchange": self.exchange,
            "dataset": dict(self.dataset) if self.dataset else None,
            "created_at": self.created_at.isoformat(),
            "iterations": self.iterations,
        }


def json_schema(document: str) -> Document:
    """The JSON Schema of one of `DOCUMENTS`, or of `INTERACTIONS`."""
    file = resources.files("explain") / "schemas" / f"{document}.schema.json"
    schema: Document = json.loads(file.read_text(encoding="utf-8"))
    return schema


def to_text(document: Document) -> str:
    """The text of a document's file.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not have.
    """
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def importance_document(booster: lgb.Booster, features: Sequence[str], subject: Subject) -> Document:
    """Gain and split counts of every feature, each normalised to a sum of 1 (all 0 if no tree splits)."""
    found: Document = {}
    for kind in ("gain", "split"):
        values = np.asarray(booster.feature_importance(kind), dtype=np.float64)
        shares = values / (values.sum() or 1.0)
        order = np.argsort(-shares, kind="stable")
        found[kind] = {features[index]: float(shares[index]) for index in order}
    return subject.head("feature_importance") | found


def summary_document(found: Attribution, subject: Subject, waterfall: Document) -> Document:
    """How the contributions of every feature to every output are spread."""
    weights = found.sample.weights
    means = np.average(found.values, axis=0, weights=weights)
    stds = np.sqrt(np.average(np.square(found.values - means), axis=0, weights=weights))
    # Of the weighted quantiles numpy has this one: the smallest value that enough weight does not exceed.
    quantiles = np.quantile(found.values, QUANTILES, axis=0, weights=weights, method="inverted_cdf")
    magnitudes = found.magnitude()
    features = {
        feature: {
            output: {
                "mean": float(means[k, f]),
                "mean_abs": float(magnitudes[k, f]),
                "std": float(stds[k, f]),
                "quantiles": {str(q): float(quantiles[i, k, f]) for i, q in enumerate(QUANTILES)},
            }
            for k, output in enumerate(found.outputs.names)
        }
        for f, feature in enumerate(found.features)
    }
    return subject.head("shap_summary") | {
        "kind": found.outputs.kind.value,
        "classes": list(found.outputs.classes),
        "outputs": list(found.outputs.names),
        "expected": {name: float(found.expected[k]) for k, name in enumerate(found.outputs.names)},
        "additivity_error": found.additivity_error,
        "sample": _sample(found),
        "features": features,
        "waterfall": waterfall,
    }


def top_features_document(found: Attribution, regimes: Sequence[Dimension], subject: Subject) -> Document:
    """Features by falling mean absolute contribution: globally, by output and by regime."""
    magnitudes = found.magnitude()
    by_regime: Document = {}
    for dimension in regimes:
        counts = found.regime_rows[dimension.name]
        known = [*dimension.names, *(name for name in counts if name not in dimension.names)]
        for regime in known:
            chosen = found.regimes[dimension.name] == regime
            by_regime[f"{dimension.name}={regime}"] = _regime(found, chosen, counts.get(regime, 0))
    return subject.head("shap_top_features") | {
        "outputs": list(found.outputs.names),
        "sample": _sample(found),
        "global": _ranking(magnitudes.mean(axis=0), found.features),
        "by_class": {
            name: _ranking(magnitudes[k], found.features) for k, name in enumerate(found.outputs.names)
        },
        "regimes": [
            {"name": d.name, "feature": d.feature, "cuts": list(d.cuts), "names": list(d.names)}
            for d in regimes
        ],
        "by_regime": by_regime,
    }


def waterfall_document(found: Attribution, rows: pa.Table) -> Document:
    """The one row that the waterfall shows, and its contributions by falling size.

    That is the most confident prediction of a class other than HOLD; where none is predicted, of any
    class. Of a regression it is the row that is furthest from the expected value.
    """
    index, predicted, reason = _most_confident(found)
    # A binary model has one raw score, of the second class.
    output = found.outputs.classes.index(predicted) if found.outputs.kind is Kind.MULTICLASS else 0
    values = found.values[index, output]
    order = np.argsort(-np.abs(values), kind="stable")
    row = int(found.sample.indices[index])
    column = found.outputs.classes.index(predicted) if predicted in found.outputs.classes else 0
    return {
        "row": row,
        "keys": {name: _plain(rows.column(name)[row].as_py()) for name in KEYS if name in rows.column_names},
        "chosen_as": reason,
        "predicted": predicted or None,
        "prediction": float(found.predictions[index, column]),
        "prediction_is": _prediction_is(found),
        "output": found.outputs.names[output],
        "expected": float(found.expected[output]),
        "raw_score": float(found.expected[output] + values.sum()),
        "contributions": {found.features[f]: float(values[f]) for f in order},
    }


def _prediction_is(found: Attribution) -> str:
    if found.outputs.kind is Kind.REGRESSION:
        return "value"
    return "probability" if found.outputs.probabilities else "raw score"


def _most_confident(found: Attribution) -> tuple[int, str, str]:
    if found.outputs.kind is Kind.REGRESSION:
        distances = np.abs(found.values[:, 0].sum(axis=-1))
        return int(distances.argmax()), "", "furthest from the expected value"
    classes = np.array(found.outputs.classes)
    predicted = classes[found.predictions.argmax(axis=1)]
    confidence = found.predictions.max(axis=1)
    told = predicted != _QUIET_CLASS
    reason = "most confident prediction"
    if _QUIET_CLASS in classes:
        reason += f" other than {_QUIET_CLASS}" if told.any() else f" (all are {_QUIET_CLASS})"
    index = int(np.where(told if told.any() else True, confidence, -np.inf).argmax())
    return index, str(predicted[index]), reason


def _regime(found: Attribution, chosen: npt.NDArray[np.bool_], rows: int) -> Document:
    sampled = int(chosen.sum())
    if sampled < RANKED_ROWS:
        reason = f"fewer than {RANKED_ROWS} rows in the sample"
        return {"rows": rows, "rows_sampled": sampled, "ranked": False, "reason": reason, "top": []}
    top = _ranking(found.magnitude(chosen).mean(axis=0), found.features)
    return {"rows": rows, "rows_sampled": sampled, "ranked": True, "reason": None, "top": top}


def _ranking(magnitudes: npt.NDArray[np.float64], features: Sequence[str]) -> list[Document]:
    order = np.argsort(-magnitudes, kind="stable")[:TOP]
    total = magnitudes.sum() or 1.0
    return [
        {"feature": features[f], "mean_abs": float(magnitudes[f]), "share": float(magnitudes[f] / total)}
        for f in order
    ]


def _sample(found: Attribution) -> Document:
    return {
        "rows": len(found.sample.indices),
        "of_rows": found.sample.of_rows,
        "effective_rows": found.sample.effective_rows,
        "strata": list(found.sample.strata),
        "seed": found.sample.seed,
    }


def _plain(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, date) else str(value)
