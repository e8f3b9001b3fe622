"""One run of `strikelake explain train`: from a dataset to a model's folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from catalog.datasets import Dataset
from explain.boosting import model_text
from explain.frame import CLASSES, LabelTerms, TrainingFrame
from explain.importance import Importance, importance
from explain.model_card import model_card
from explain.model_folder import (
    QUANTILES,
    FeatureInfo,
    ModelInfo,
    model_version,
    read_info,
    write_model,
)
from explain.regimes import learn
from explain.training import Trained, TrainingTerms, train
from lake.digest import content_digest

SOFTWARE = ("strikelake", "lightgbm", "scikit-learn", "numpy", "duckdb")
"""Packages that a model's bytes depend on."""

SAMPLE_ROWS = 2_000
"""Rows whose contributions are computed for the importance of features."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a run made.

    Attributes:
        folder: Of the model.
        info: Its `model.json`.
        was_there: The same model had been made before, and was kept.
        trained: The model and its measurements.
    """

    folder: Path
    info: ModelInfo
    was_there: bool
    trained: Trained

    def summary(self) -> dict[str, Any]:
        """What a script wants to know."""
        info = self.info
        return {
            "model_version": info.model_version, "folder": str(self.folder), "already_there": self.was_there,
            "exchange": info.exchange, "symbols": info.symbols, "dataset": info.dataset,
            "metrics": info.metrics, "folds": info.folds, "warnings": info.warnings,
            "top_features": info.top_features["all"][:5],
        }  # fmt: skip


def run_training(
    frame: TrainingFrame,
    dataset: Dataset,
    exchange: str,
    models: Path,
    terms: TrainingTerms,
    *,
    commands: Sequence[str],
    progress: Progress | None = None,
    now: datetime | None = None,
) -> TrainingRun:
    """Train, measure and save.

    Args:
        frame: Of the dataset.
        dataset: What it was made of.
        exchange: Of whose rows.
        models: Folder of all models.
        terms: How to train.
        commands: For the card: what makes the model again.
        progress: Called with the number of steps just done: boosting rounds and rows explained;
            `steps` in all.
        now: When, the present by default.

    Raises:
        NotEnoughDataError, ContractError: See `explain.training.train`.
        ModelNotReadableError: The model's folder is there, damaged.
        OSError: The disk is full or failed; nothing is left.
    """
    trained = train(frame, terms, progress=progress)
    text = model_text(trained.booster)
    info = describe(frame, dataset, exchange, trained, terms, text, now or datetime.now(UTC), progress)
    folder, was_there = write_model(models, info, text, model_card(info, commands))
    return TrainingRun(folder, read_info(folder), was_there, trained)


def steps(frame: TrainingFrame, terms: TrainingTerms) -> int:
    """How far `progress` of `run_training` goes."""
    return terms.all_rounds + min(len(frame.rows), SAMPLE_ROWS)


def rebuilding(
    start: str, dataset: str, exchange: str, symbols: Sequence[str], labels: LabelTerms, terms: TrainingTerms
) -> list[str]:
    """The commands that make a model again, every option written out.

    Args:
        start: `strikelake`, with the options that lead to the lake.
        dataset: Name of the dataset.
        exchange: Of whose rows.
        symbols: Those that were asked for.
        labels: How labels are made.
        terms: How the model is trained.
    """
    only = "".join(f" --symbol {symbol}" for symbol in symbols)
    return [
        f"{start} dataset verify {dataset}",
        f"{start} explain train {exchange} --dataset {dataset}{only} "
        f"--horizon {labels.horizon.total_seconds():.0f}s --threshold {labels.threshold!r} "
        f"--folds {terms.folds} --seed {terms.boosting.seed} --rounds {terms.boosting.rounds}",
    ]


def describe(
    frame: TrainingFrame,
    dataset: Dataset,
    exchange: str,
    trained: Trained,
    terms: TrainingTerms,
    text: bytes,
    now: datetime,
    progress: Progress | None = None,
) -> ModelInfo:
    """`model.json` of a model; see `run_training`."""
    matrix = frame.matrix()
    regimes = learn(frame.features, matrix)
    found = importance(
        trained.booster, frame, regimes,
        seed=terms.boosting.seed, sample_rows=SAMPLE_ROWS, progress=progress,
    )  # fmt: skip
    dates = frame.rows.column("date")
    first, last = str(pc.min(dates).as_py()), str(pc.max(dates).as_py())
    return ModelInfo(
        model_version=model_version(last, text),
        model_sha256=hashlib.sha256(text).hexdigest(),
        exchange=exchange,
        symbols=tuple(sorted(frame.rows.column("symbol").unique().to_pylist())),
        created_at=now,
        dataset={
            "name": dataset.name,
            "content_digest": dataset.content_digest,
            "row_count": dataset.row_count,
            "versions": dataset.versions,
            "first_date": first,
            "last_date": last,
            "query": dataset.query is not None,
            "frame_digest": content_digest(frame.rows),
        },
        classes=CLASSES,
        features=tuple(_feature_infos(frame.features, matrix, found)),
        regimes=regimes,
        top_features=found.order,
        label={
            "horizon_s": frame.terms.horizon.total_seconds(),
            "threshold": frame.terms.threshold,
        },
        parameters=trained.parameters,
        folds=trained.folds,
        software={package: importlib.metadata.version(package) for package in SOFTWARE},
        metrics=trained.metrics,
        warnings=trained.warnings,
    )


def _feature_infos(
    features: Sequence[str], matrix: npt.NDArray[np.float64], found: Importance
) -> list[FeatureInfo]:
    infos = []
    for number, name in enumerate(features):
        values = matrix[:, number]
        known = values[~np.isnan(values)]
        infos.append(
            FeatureInfo(
                name=name,
                mean=float(known.mean()) if len(known) else None,
                std=_spread(known) if len(known) else None,
                quantiles=tuple(np.quantile(known, QUANTILES).tolist()) if len(known) else (),
                missing_share=1 - len(known) / len(values),
                importance=found.shares[name],
            )
        )
    return infos


def _spread(values: npt.NDArray[np.float64]) -> float:
    """Standard deviation; of a constant exactly 0, which rounding would miss."""
    return float(values.std()) if values.min() < values.max() else 0.0
