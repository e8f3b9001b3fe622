"""Walk-forward splits: train on what came before, test on what came after, a label horizon apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from lake.errors import NotEnoughDataError

Indices = npt.NDArray[np.intp]
Moments = npt.NDArray[np.datetime64]

_STOPPING_SHARE = 0.2
"""Share of a fold's training moments, the last ones, that early stopping looks at."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One step forward, as row numbers; no row is in two of the three.

    Attributes:
        number: From 1.
        fit: Rows that trees are grown on.
        stopping: Later rows, on which early stopping chooses the number of rounds.
        test: Rows after both, on which the model is measured.
        purged_rows: Rows before the test that are in neither, because what their label is made of reaches
            into the rows that come after.
    """

    number: int
    fit: Indices
    stopping: Indices
    test: Indices
    purged_rows: int

    @property
    def train(self) -> Indices:
        """Everything the fold's model has seen."""
        return np.concatenate([self.fit, self.stopping])


def walk_forward(event_times: Moments, horizon: timedelta, folds: int) -> tuple[Fold, ...]:
    """Cut rows into folds with scikit-learn's TimeSeriesSplit.

    It splits the distinct moments, so that rows of one moment (several underlyings) stay together. Its `gap`
    counts samples, of which an hour has many and a night none; so the gap is made here, in time: a row is
    left out of training where its label looks at the first moment of the test or beyond, that is where
    event time + horizon >= that moment. The gap before the rows for early stopping is made the same way.
    See Lopez de Prado, "Advances in Financial Machine Learning", 2018, 7.4 (purging).

    Args:
        event_times: Of the rows, in any order.
        horizon: How far labels look ahead.
        folds: How many.

    Raises:
        NotEnoughDataError: There are fewer distinct moments than folds + 1.
    """
    from sklearn.model_selection import TimeSeriesSplit

    moments = np.unique(event_times)
    if len(moments) <= folds:
        raise NotEnoughDataError(
            f"{len(moments):,} distinct event times cannot be cut into {folds} folds, which take at least "
            f"{folds + 1}: use a dataset of more sessions, or fewer folds"
        )
    found = []
    for number, (before, after) in enumerate(TimeSeriesSplit(n_splits=folds).split(moments), start=1):
        first, last = moments[after[0]], moments[after[-1]]
        known_by = event_times + np.timedelta64(horizon)
        training = moments[before][moments[before] + np.timedelta64(horizon) < first]
        count = max(1, round(len(training) * _STOPPING_SHARE))
        stopping_from = training[-count] if len(training) else first
        fit = np.flatnonzero(known_by < stopping_from)
        stopping = np.flatnonzero((event_times >= stopping_from) & (known_by < first))
        test = np.flatnonzero((event_times >= first) & (event_times <= last))
        purged = int(np.count_nonzero(event_times < first)) - len(fit) - len(stopping)
        found.append(Fold(number, fit, stopping, test, purged))
    return tuple(found)
