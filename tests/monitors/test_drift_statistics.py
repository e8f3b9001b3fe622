"""The statistics of drift against scipy, brute force, and what is known of AR(1)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitors.drift_tests import (
    Spread,
    critical_t,
    effective_sample_size,
    integrated_autocorrelation_time,
    lag_one,
    population_stability_index,
    prediction_p_value,
    prediction_t,
    previous,
    spread_of,
    step_statistic,
)
from monitors.evidently_report import wasserstein_distance


def ar1(phi: float, shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.empty(shape)
    rows[:, 0] = rng.normal(size=shape[0])
    for t in range(1, shape[1]):
        rows[:, t] = phi * rows[:, t - 1] + math.sqrt(1 - phi**2) * rng.normal(size=shape[0])
    return rows


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=12))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_psi_is_the_symmetric_divergence_of_the_smoothed_shares(counts: list[tuple[int, int]]) -> None:
    current, reference = (np.array(side, dtype=np.float64) for side in zip(*counts, strict=True))
    p, q = (current + 0.5) / (current + 0.5).sum(), (reference + 0.5) / (reference + 0.5).sum()

    expected = stats.entropy(p, q) + stats.entropy(q, p)

    assert float(population_stability_index(current, reference)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.97])
def test_the_autocorrelation_time_of_an_ar1_is_the_known_one(phi: float) -> None:
    rows = ar1(phi, (400, 375))

    assert integrated_autocorrelation_time(rows) == pytest.approx((1 + phi) / (1 - phi), rel=0.12)
    assert effective_sample_size(rows) == pytest.approx(rows.size * (1 - phi) / (1 + phi), rel=0.12)


@pytest.mark.parametrize("phi", [0.3, 0.9, 0.99])
def test_the_coefficient_of_one_step_is_found_whatever_the_pace_of_the_rows(phi: float) -> None:
    rows = ar1(phi, (300, 375))
    every_third = np.where(np.arange(375) % 3 == 0, rows, np.nan)

    assert lag_one(rows) == pytest.approx(phi, abs=0.02)
    assert lag_one(every_third) == pytest.approx(phi, abs=0.05)


def test_the_value_before_is_the_last_that_was_there() -> None:
    nan = math.nan
    values, steps = previous(np.array([[1.0, nan, nan, 4.0, 5.0], [nan, 2.0, nan, 3.0, nan]]))

    np.testing.assert_array_equal(values, [[nan, nan, nan, 1.0, 4.0], [nan, nan, nan, 2.0, nan]])
    np.testing.assert_array_equal(steps, [[0, 0, 0, 3, 1], [0, 0, 0, 2, 0]])


def test_the_step_statistic_is_the_likelihood_ratio_of_a_lasting_step() -> None:
    phi, rng = 0.8, np.random.default_rng(3)
    rows = ar1(phi, (1, 40), seed=4)[0]
    rows[rng.choice(40, 8, replace=False)] = np.nan
    known = np.flatnonzero(np.isfinite(rows))
    covariance = phi ** np.abs(known[:, None] - known[None, :])
    inverse = np.linalg.inv(covariance)
    expected = 0.0
    for onset in known[known >= 10]:
        step = (known >= onset).astype(float)
        # Generalised least squares of the size of a step, over its standard error.
        expected = max(expected, abs(step @ inverse @ rows[known]) / math.sqrt(step @ inverse @ step))

    found = float(step_statistic(rows, np.array([phi]), 10))

    assert found == pytest.approx(expected, rel=1e-9)


def test_one_more_observation_lies_within_the_interval_as_often_as_promised() -> None:
    rng = np.random.default_rng(5)
    draws, sessions, alpha = 20_000, 12, 0.05
    reference, more = rng.normal(3, 2, size=(sessions, draws)), rng.normal(3, 2, size=draws)
    mean, std = reference.mean(axis=0), reference.std(axis=0, ddof=1)
    spread = Spread(mean, std, np.full(draws, float(sessions)))

    t = prediction_t(more, spread)
    p_value = prediction_p_value(t, spread, two_sided=True)

    outside = float((np.abs(t) > critical_t(alpha, spread, two_sided=True)).mean())
    assert outside == pytest.approx(alpha, abs=4 * math.sqrt(alpha * (1 - alpha) / draws))
    np.testing.assert_allclose(p_value, 2 * stats.t.sf(np.abs(t), sessions - 1), rtol=1e-9)


def test_sessions_that_resemble_one_another_count_for_fewer() -> None:
    alike, apart = ar1(0.8, (200, 40)).T, ar1(0.0, (200, 40)).T

    assert np.median(spread_of(alike, least=0).sessions) < 0.5 * np.median(spread_of(apart, least=0).sessions)


def test_the_wasserstein_distance_is_scipys_over_the_references_std() -> None:
    rng = np.random.default_rng(6)
    current, reference = rng.normal(0.4, 1, 700), rng.exponential(2, 900)

    expected = stats.wasserstein_distance(current, reference) / reference.std()

    assert wasserstein_distance(current, reference) == pytest.approx(expected, rel=1e-12)
