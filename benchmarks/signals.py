"""What a signal costs beside the bare calls of LightGBM that it is made of.

    python benchmarks/signals.py [--calls 400] [--features 50] [--rounds 300]

One model of the default shape: 3 classes, max_depth 5, 31 leaves. The ways take turns, row by row:

    predict         Booster.predict of one row, one thread
    context         SignalGenerator(depth="context"): at most 2 x predict
    pred_contrib    Booster.predict(pred_contrib=True) of one row, one thread
    exact           SignalGenerator(depth="exact"): at most 1.2 x pred_contrib, and under 5 ms
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import lightgbm as lgb
import numpy as np

from explain.boosting import model_text
from explain.frame import CLASSES
from explain.model_folder import FeatureInfo, ModelInfo, model_version, write_model
from explain.regimes import learn
from explain.signals import SignalGenerator

NAMED = ("vix", "trend", "days_to_expiry")


def write_folder(models: Path, features: int, rounds: int) -> Path:
    """A model trained on random rows with something to learn in them."""
    random = np.random.default_rng(1)
    names = (*NAMED, *(f"feature_{n}" for n in range(features - len(NAMED))))
    matrix = random.normal(size=(20_000, features))
    score = matrix @ random.normal(size=features) / 3 + random.normal(size=len(matrix))
    labels = np.where(score > 0.8, 0, np.where(score < -0.8, 2, 1))
    booster = lgb.train(
        {"objective": "multiclass", "num_class": 3, "max_depth": 5, "num_leaves": 31, "verbose": -1,
         "seed": 1, "deterministic": True, "force_row_wise": True},
        lgb.Dataset(matrix, labels, feature_name=list(names)), rounds,
    )  # fmt: skip
    text = model_text(booster)
    info = ModelInfo(
        model_version=model_version("2026-10-23", text), model_sha256=hashlib.sha256(text).hexdigest(),
        exchange="NSE", symbols=("NIFTY",), created_at=datetime.now(UTC),
        dataset={"name": "random", "content_digest": "", "last_date": "2026-10-23"}, classes=CLASSES,
        features=tuple(FeatureInfo(name, 0.0, 1.0, (), 0.0, 1 / features) for name in names),
        regimes=learn(names, matrix), top_features={"all": names}, label={}, parameters={}, folds=(),
        software={},
    )  # fmt: skip
    return write_model(models, info, text, "")[0]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = write_folder(Path(folder), given.features, given.rounds)
        booster = lgb.Booster(model_file=str(made / "model.txt"))
        context, exact = SignalGenerator(made, depth="context"), SignalGenerator(made)
    names = exact.info.feature_names
    rows = np.random.default_rng(2).normal(size=(given.calls, given.features))
    at = datetime(2026, 10, 26, 6, 30, tzinfo=UTC)
    ways: dict[str, Callable[[np.ndarray, dict[str, float]], object]] = {
        "predict": lambda row, _: booster.predict(row, num_threads=1),
        "context": lambda _, named: context.generate_signal(named, event_time=at, symbol="NIFTY"),
        "pred_contrib": lambda row, _: booster.predict(row, pred_contrib=True, num_threads=1),
        "exact": lambda _, named: exact.generate_signal(named, event_time=at, symbol="NIFTY"),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for row in rows:
        named = dict(zip(names, row.tolist(), strict=True))
        for name, way in ways.items():
            began = time.perf_counter()
            way(row[None, :], named)
            took[name].append(time.perf_counter() - began)
    beside = {"context": "predict", "exact": "pred_contrib"}
    print(f"{'':14}{'median us':>12}{'p99 us':>12}{'ratio':>8}")
    for name, times in took.items():
        ratio = ""
        if name in beside:
            ratio = f"{statistics.median(times) / statistics.median(took[beside[name]]):.2f}"
        p99 = sorted(times)[int(len(times) * 0.99)]
        print(f"{name:14}{statistics.median(times) * 1e6:12.0f}{p99 * 1e6:12.0f}{ratio:>8}")


if __name__ == "__main__":
    main()
