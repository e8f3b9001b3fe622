"""Model folders with small real models in them, for signals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from explain import regimes
from explain.boosting import model_text
from explain.frame import CLASSES
from explain.model_folder import QUANTILES, FeatureInfo, ModelInfo, model_version, write_model

FEATURES = (
    "return_3m", "vix", "trend", "days_to_expiry", "call_oi_change_3m", "put_oi_change_15m", "pcr_oi",
    "atm_iv", "app_rsi", "session_elapsed",
)  # fmt: skip


def rows_of(count: int, seed: int, features: Sequence[str] = FEATURES) -> np.ndarray[Any, Any]:
    """Rows of features of any size, one value in ten missing."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, len(features)))
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix


def write_small_model(
    models: Path, seed: int = 1, *, rounds: int = 12, features: Sequence[str] = FEATURES,
    last_date: str = "2026-10-23", learns: bool = True, created: datetime | None = None,
) -> Path:  # fmt: skip
    """Train on random rows, and write the folder as training does; `learns=False` has nothing to learn."""
    matrix = rows_of(600, seed, features)
    random = np.random.default_rng(seed + 1)
    weights = random.normal(size=len(features))
    score = np.nan_to_num(matrix) @ weights * learns + random.normal(size=len(matrix))
    labels = np.where(score > 0.8, 0, np.where(score < -0.8, 2, 1))
    booster = lgb.train(
        {"objective": "multiclass", "num_class": 3, "max_depth": 4, "num_leaves": 15, "verbose": -1,
         "seed": seed, "deterministic": True, "num_threads": 1, "force_row_wise": True},
        lgb.Dataset(matrix, labels, feature_name=list(features)), rounds,
    )  # fmt: skip
    text = model_text(booster)
    text = text if isinstance(text, bytes) else text.encode()
    contributions = booster.predict(matrix, pred_contrib=True).reshape(len(matrix), 3, -1)[..., :-1]
    weight = np.abs(contributions).mean(axis=(0, 1))
    shares = weight / weight.sum() if weight.sum() else weight
    order = tuple(features[place] for place in np.argsort(-shares, kind="stable"))
    dimensions = regimes.learn(features, matrix)
    info = ModelInfo(
        model_version=model_version(last_date, text), model_sha256=sha256(text), exchange="NSE",
        symbols=("NIFTY",), created_at=created or datetime(2026, 10, 24, tzinfo=UTC),
        dataset={"name": "oct", "content_digest": "0" * 32, "last_date": last_date},
        classes=CLASSES,
        features=tuple(
            FeatureInfo(
                name, float(np.nanmean(matrix[:, i])), float(np.nanstd(matrix[:, i])),
                tuple(np.nanquantile(matrix[:, i], QUANTILES).tolist()), float(np.isnan(matrix[:, i]).mean()),
                float(shares[i]),
            )
            for i, name in enumerate(features)
        ),
        regimes=dimensions,
        top_features={"all": order, "vix=high": tuple(reversed(order))},
        label={"horizon_s": 900.0, "threshold": 0.5}, parameters={"seed": seed}, folds=(), software={},
        metrics={"rows": len(matrix), "logloss": 1.0, "baseline_logloss": 1.1},
    )  # fmt: skip
    folder, _ = write_model(models, info, text, "# a card\n")
    return folder


def sha256(text: bytes) -> str:
    import hashlib

    return hashlib.sha256(text).hexdigest()
