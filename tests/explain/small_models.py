"""A small model of three classes, with rows that have regimes, gaps and one rare state of the market."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

CLASSES = ("BUY", "HOLD", "SELL")
FEATURES = ("return_3m", "vix", "trend", "days_to_expiry", "pcr_oi", "never_there")
SETTINGS: dict[str, Any] = {
    "objective": "multiclass", "num_class": 3, "num_leaves": 7, "max_depth": 4, "verbose": -1,
    "num_threads": 1, "seed": 5, "deterministic": True, "force_row_wise": True,
}  # fmt: skip


def small_matrix(rows: int, seed: int = 1) -> npt.NDArray[np.float64]:
    """Values of `FEATURES`: the VIX rarely missing, the put-call ratio often, the last one always."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, len(FEATURES)))
    matrix[:, 1] = 14 + 2 * matrix[:, 1]
    matrix[: max(3, rows // 200), 1] = np.nan
    matrix[:, 3] = random.integers(0, 6, rows)
    matrix[random.random(rows) < 0.3, 4] = np.nan
    matrix[:, 5] = np.nan
    return matrix


def small_labels(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """What came after, by chance and by what the features say; HOLD in four of five rows."""
    noise = np.random.default_rng(4).normal(size=len(matrix)) * 0.4
    score = matrix[:, 0] * (matrix[:, 3] > 1) + 0.5 * matrix[:, 2] + noise
    return np.where(score > 1.1, 0, np.where(score < -1.3, 2, 1)).astype(np.int64)


def small_booster(matrix: npt.NDArray[np.float64], rounds: int = 15) -> lgb.Booster:
    return lgb.train(SETTINGS, lgb.Dataset(matrix, small_labels(matrix), feature_name=list(FEATURES)), rounds)


def small_rows(matrix: npt.NDArray[np.float64]) -> pa.Table:
    """As the rows of a training frame."""
    start = datetime(2026, 7, 20, 3, 45, tzinfo=UTC)
    moments = [start + timedelta(seconds=5 * i) for i in range(len(matrix))]
    keys = {
        "event_time": pa.array(moments, pa.timestamp("us", "UTC")),
        "date": pa.array([moment.date() for moment in moments]),
        "exchange": ["NSE"] * len(matrix),
        "symbol": ["NIFTY"] * len(matrix),
    }
    return pa.table(keys | {name: matrix[:, i] for i, name in enumerate(FEATURES)})
