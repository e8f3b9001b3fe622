"""Variates against their distributions, and the series made of them against its definition."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.simulator.draws import Draws, autoregression


def test_uniform_variates_fill_the_open_interval_evenly() -> None:
    drawn = Draws(1, 2).uniform(100_000)
    assert drawn.min() > 0.0
    assert drawn.max() < 1.0
    counts, _ = np.histogram(drawn, bins=10, range=(0.0, 1.0))
    # Four standard deviations of a count of 10,000.
    assert np.abs(counts - 10_000).max() < 4 * 95


def test_normal_variates_have_the_quantiles_of_the_normal_distribution() -> None:
    drawn = Draws(3).normal(100_000)
    probabilities = [0.01, 0.1, 0.5, 0.9, 0.99]
    expected = [statistics.NormalDist().inv_cdf(p) for p in probabilities]
    assert np.quantile(drawn, probabilities).tolist() == pytest.approx(expected, abs=0.03)


def test_the_key_decides_what_is_drawn_and_the_shape_does_not() -> None:
    assert Draws(1, 2).uniform(6).tolist() == Draws(1, 2).uniform(2, 3).ravel().tolist()
    assert Draws(1, 2).uniform(6).tolist() != Draws(2, 1).uniform(6).tolist()


@given(st.floats(-1, 1), st.floats(0, 1), st.lists(st.floats(-1, 1), max_size=20))
def test_autoregression_is_the_discounted_sum_of_start_and_shocks(
    start: float, persistence: float, shocks: list[float]
) -> None:
    innovations = [start, *shocks]
    expected = [
        sum(each * persistence ** (last - index) for index, each in enumerate(innovations[: last + 1]))
        for last in range(len(innovations))
    ]
    assert autoregression(start, persistence, np.array(shocks)).tolist() == pytest.approx(expected, abs=1e-9)
