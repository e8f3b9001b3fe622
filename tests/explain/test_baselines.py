"""Baselines know what was known, and no more."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from synthetic_frames import frame

from explain.baselines import NO_LABEL, class_frequencies, last_known_label, momentum
from explain.frame import CLASSES


def test_frequencies_are_shares_and_no_class_is_impossible() -> None:
    shares = class_frequencies(np.array([0, 0, 1, 0]), 3)
    assert shares.tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_the_last_label_is_the_newest_of_the_symbol_that_is_a_horizon_old() -> None:
    one = frame(sessions=2, every_s=240)
    rows = one.rows.select(["event_time", "symbol"]).to_pylist()
    labels = one.classes()
    horizon = timedelta(minutes=15)
    found = last_known_label(
        one.rows.column("event_time").to_numpy(),
        np.array([row["symbol"] for row in rows]),
        labels,
        horizon,
    )
    for number, row in enumerate(rows):
        known = [
            labels[k]
            for k, other in enumerate(rows)
            if other["symbol"] == row["symbol"] and other["event_time"] + horizon <= row["event_time"]
        ]
        assert found[number] == (known[-1] if known else NO_LABEL)
    assert (found == NO_LABEL).sum() == 8


def test_momentum_goes_on_as_it_went() -> None:
    said = momentum(np.array([0.6, 0.5, 0.0, -0.5, -0.6, np.nan]), 0.5, CLASSES)
    assert [CLASSES[number] for number in said] == ["BUY", "HOLD", "HOLD", "HOLD", "SELL", "HOLD"]
