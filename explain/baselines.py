"""What one reaches without a model: each is computed from what was known at the moment, as a model's are."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import numpy.typing as npt

Classes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NO_LABEL = -1


def class_frequencies(labels: Classes, classes: int) -> Floats:
    """How often each class is among labels, as probabilities.

    One row of each class is added (Laplace's rule of succession): a class that has not been seen is rare,
    not impossible, and its log loss finite.
    """
    counts = np.bincount(labels, minlength=classes) + 1.0
    shares: Floats = counts / counts.sum()
    return shares


def last_known_label(
    event_times: npt.NDArray[np.datetime64],
    symbols: npt.NDArray[np.str_],
    labels: Classes,
    horizon: timedelta,
) -> Classes:
    """For each row the newest label of its underlying that was known then; `NO_LABEL` before the first.

    A label is known one horizon after its row: the last row's own would be a look ahead.

    Args:
        event_times: Of the rows, rising.
        symbols: Of the rows.
        labels: Class numbers.
        horizon: How far labels look ahead.
    """
    found = np.full(len(labels), NO_LABEL, dtype=np.int64)
    for symbol in np.unique(symbols):
        mine = np.flatnonzero(symbols == symbol)
        times = event_times[mine]
        newest = np.searchsorted(times, times - np.timedelta64(horizon), side="right") - 1
        found[mine] = np.where(newest >= 0, labels[mine][newest.clip(0)], NO_LABEL)
    return found


def momentum(trend: Floats, threshold: float, classes: tuple[str, ...]) -> Classes:
    """What just happened goes on: BUY above the label's threshold, SELL below minus that, else HOLD.

    Args:
        trend: Return before the moment in expected moves; NaN counts as no move.
        threshold: That of the labels.
        classes: Names by number; BUY, HOLD and SELL are among them.
    """
    moved = np.nan_to_num(trend)
    names = np.select([moved > threshold, moved < -threshold], ["BUY", "SELL"], "HOLD")
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[str(name)] for name in names], dtype=np.int64)
