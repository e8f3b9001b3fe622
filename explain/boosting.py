"""LightGBM, set so that the same rows and seed give the same model, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from explain.frame import CLASSES

if TYPE_CHECKING:
    import lightgbm as lgb

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
Progress = Callable[[int], None]
"""Called with the number of boosting rounds just done."""

ANY_DEPTH = -1
"""LightGBM's value for trees that only `num_leaves` limits."""

_ALL_THREADS = 0
_ONE_THREAD_CELLS = 1_000_000
"""Up to so many numbers one thread is about as quick, and never waits for another that has no processor."""

# LightGBM writes names into a text of lines and refuses those with signs of JSON.
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.+-]")


@dataclass(frozen=True, slots=True)
class BoostingTerms:
    """How trees are grown.

    Attributes:
        seed: Of everything random.
        rounds: Boosting rounds at most; early stopping chooses fewer.
        patience_rounds: Rounds without a better log loss before early stopping gives up.
        max_depth: Exact contributions of one row cost by depth: 5 keeps them under 5 ms.
        num_leaves: Leaves of a tree at most.
        learning_rate: Share of each tree that counts.
    """

    seed: int = 7
    rounds: int = 300
    patience_rounds: int = 30
    max_depth: int = 5
    num_leaves: int = 31
    learning_rate: float = 0.05

    def parameters(self, max_depth: int | None = None) -> dict[str, Any]:
        """LightGBM's parameters.

        `deterministic`, with each column's histogram summed by one thread, gives the same trees with any
        number of threads. Classes are not weighted.

        Args:
            max_depth: Another one than these terms'.
        """
        return {
            "objective": "multiclass",
            "num_class": len(CLASSES),
            "max_depth": self.max_depth if max_depth is None else max_depth,
            "num_leaves": self.num_leaves,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


def fit(
    rows: tuple[Floats, Classes],
    features: Sequence[str],
    terms: BoostingTerms,
    *,
    stopping: tuple[Floats, Classes] | None = None,
    rounds: int | None = None,
    max_depth: int | None = None,
    progress: Progress | None = None,
) -> lgb.Booster:
    """Train one model.

    Args:
        rows: Features (rows, features), float64, and class numbers to grow trees on.
        features: Names of the features.
        terms: How.
        stopping: Other rows, whose log loss ends the training; `best_iteration` is then set.
        rounds: Another number than the terms'.
        max_depth: Likewise.
        progress: See `Progress`; in the end it was told of all rounds, also of those not needed.
    """
    import lightgbm as lgb

    # LightGBM writes it into the model's text: it must depend on the rows alone, not on the machine.
    threads = 1 if rows[0].size <= _ONE_THREAD_CELLS else _ALL_THREADS
    parameters = terms.parameters(max_depth) | {"num_threads": threads}
    rounds = terms.rounds if rounds is None else rounds
    done = 0

    def count(_: object) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(1)

    callbacks: list[Callable[..., Any]] = [count]
    names = safe_names(features)
    grown = lgb.Dataset(rows[0], rows[1], feature_name=names, params=parameters)
    watched = []
    if stopping is not None:
        watched = [lgb.Dataset(stopping[0], stopping[1], reference=grown, params=parameters)]
        callbacks.append(lgb.early_stopping(terms.patience_rounds, verbose=False))
    booster = lgb.train(parameters, grown, rounds, valid_sets=watched, callbacks=callbacks)
    if progress and done < rounds:
        progress(rounds - done)
    return booster


def probabilities(booster: lgb.Booster, matrix: Floats) -> Floats:
    """(rows, classes), with the rounds that early stopping chose if there was any."""
    return np.asarray(booster.predict(matrix), dtype=np.float64)


def model_text(booster: lgb.Booster) -> bytes:
    """The model's text: no time, no path and nothing of the machine is in it."""
    return booster.model_to_string(num_iteration=-1).encode()


def safe_names(features: Sequence[str]) -> list[str]:
    """Names that LightGBM takes as they are; `model.json` has the true ones, in the same order."""
    names: list[str] = []
    for feature in features:
        name = plain = _NOT_IN_A_NAME.sub("_", feature)
        number = 1
        while name in names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names
