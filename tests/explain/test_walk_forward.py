"""Walk-forward splits: no label of a training row sees a test row."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_frames import frame

from explain.walk_forward import walk_forward
from lake.errors import NotEnoughDataError

HORIZON = timedelta(minutes=15)


def moments(seconds: list[int]) -> np.ndarray:
    return np.array(seconds, dtype="timedelta64[s]") + np.datetime64("2026-01-05T03:45:00", "us")


@given(
    seconds=st.lists(st.integers(0, 200_000), min_size=8, max_size=150),
    folds=st.integers(2, 5),
    horizon_s=st.integers(1, 5_000),
)
def test_no_training_label_reaches_a_test_row(seconds: list[int], folds: int, horizon_s: int) -> None:
    times = moments(seconds)
    if len(set(seconds)) <= folds:
        with pytest.raises(NotEnoughDataError, match=f"into {folds} folds"):
            walk_forward(times, timedelta(seconds=horizon_s), folds)
        return
    found = walk_forward(times, timedelta(seconds=horizon_s), folds)
    assert [fold.number for fold in found] == list(range(1, folds + 1))
    tested: list[int] = []
    for fold in found:
        first_test = min(seconds[row] for row in fold.test)
        assert all(seconds[row] + horizon_s < first_test for row in fold.train)
        for later in fold.stopping:
            assert all(seconds[row] + horizon_s < seconds[later] for row in fold.fit)
        parts = [*fold.fit, *fold.stopping, *fold.test]
        assert len(parts) == len(set(parts))
        # Nothing is left out but what has to be.
        before = [row for row, second in enumerate(seconds) if second < first_test]
        assert fold.purged_rows == len(set(before) - set(parts))
        assert set(fold.train) <= set(before)
        tested += fold.test.tolist()
    # Each row is tested once at most; the last folds end where the rows end; moments stay together.
    assert len(tested) == len(set(tested))
    assert seconds.index(max(seconds)) in tested
    whole = {seconds[row] for row in tested}
    assert sorted(tested) == [row for row, second in enumerate(seconds) if second in whole]


def test_folds_are_those_of_scikit_learn_less_the_gap() -> None:
    from sklearn.model_selection import TimeSeriesSplit

    seconds = list(range(0, 60_000, 60))
    found = walk_forward(moments(seconds), HORIZON, 4)
    # The gap of scikit-learn counts rows: one a minute, it is 15 minutes, and the row at its very end.
    for fold, (train, test) in zip(found, TimeSeriesSplit(4, gap=15).split(seconds), strict=True):
        assert fold.test.tolist() == test.tolist()
        assert fold.purged_rows >= 15
        assert max(fold.train) == max(train)


def test_the_gap_is_of_time_and_not_of_rows() -> None:
    dense, sparse = frame(sessions=2, every_s=30), frame(sessions=2, every_s=300)
    gaps = []
    for one in (dense, sparse):
        times = one.rows.column("event_time").to_numpy()
        folds = walk_forward(times, HORIZON, 3)
        gaps += [times[fold.test].min() - times[fold.train].max() for fold in folds]
    assert min(gaps) > np.timedelta64(15, "m")


def test_a_night_is_gap_enough() -> None:
    one = frame(sessions=4, every_s=600)
    times = one.rows.column("event_time").to_numpy()
    # Four sessions of the same length in three folds: every fold tests one whole session.
    for fold in walk_forward(times, HORIZON, 3):
        days = times.astype("datetime64[D]")
        assert len(set(days[fold.test])) == 1
        # Purged is only what early stopping asks for within the session before.
        assert not np.isin(days[fold.test], days[fold.train]).any()
        assert times[fold.stopping].max() == times[times < times[fold.test].min()].max()


def test_early_stopping_looks_at_the_last_fifth_of_the_training_moments() -> None:
    one = frame(sessions=5, every_s=60)
    for fold in walk_forward(one.rows.column("event_time").to_numpy(), HORIZON, 4):
        share = len(fold.stopping) / (len(fold.train) + fold.purged_rows)
        assert share == pytest.approx(0.2, abs=0.02)
