"""Term structure and smile against the formulas' own laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ingest.simulator import MARKETS
from ingest.simulator.implied_volatility import atm_volatility, log_moneyness, smile

YEARS = np.array([1 / 365, 7 / 365, 30 / 365, 1.0, 50.0])


def test_term_structure_is_the_mean_of_a_variance_that_reverts_to_its_mean() -> None:
    # Integrated step by step: the closed form is not used here.
    sessions = np.linspace(0.0, 252.0 * YEARS[2], 100_001)
    expected_variance = 13.1**2 + (20.0**2 - 13.1**2) * np.exp(-2 * 0.05 * sessions)
    mean = math.sqrt(np.trapezoid(expected_variance, sessions) / sessions[-1])
    found = atm_volatility(MARKETS["NIFTY"], np.array([20.0]), YEARS[2:3])
    assert found == pytest.approx([0.85 * mean / 100.0], rel=1e-6)


def test_term_structure_is_flat_at_the_mean_and_falls_from_a_high_vix() -> None:
    market = MARKETS["NIFTY"]
    assert np.ptp(atm_volatility(market, np.array([13.1]), YEARS)) < 1e-12
    assert (np.diff(atm_volatility(market, np.array([25.0]), YEARS)) < 0).all()
    assert (np.diff(atm_volatility(market, np.array([9.0]), YEARS)) > 0).all()


def test_moneyness_counts_standard_deviations_of_at_least_a_day() -> None:
    forward, volatility = np.full(3, 25_000.0), np.full(3, 0.16)
    strike = np.array([24_000, 25_000, 26_000])
    found = log_moneyness(strike, forward=forward, years=np.full(3, 0.25), volatility=volatility)
    assert found.tolist() == pytest.approx([math.log(k / 25_000) / 0.08 for k in (24_000, 25_000, 26_000)])
    within_a_day = [
        log_moneyness(strike, forward=forward, years=np.full(3, years), volatility=volatility).tolist()
        for years in (0.0, 0.5 / 365, 1 / 365)
    ]
    assert within_a_day[0] == within_a_day[1] == within_a_day[2]


def test_smile_is_one_at_the_money_and_straight_in_the_wings() -> None:
    assert smile(np.array([0.0])).tolist() == [1.0]
    for wing in (np.linspace(2.5, 8.0, 12), np.linspace(-8.0, -2.5, 12)):
        assert np.diff(smile(wing), n=2) == pytest.approx(np.zeros(10), abs=1e-12)
    # No jump and no kink where the parabola ends.
    slopes = np.diff(smile(np.array([2.498, 2.499, 2.5, 2.501, 2.502]))) / 0.001
    assert np.ptp(slopes) < 1e-3


def test_smile_is_skewed_to_the_puts_and_higher_in_the_wings(simulated: Any) -> None:
    update = simulated(4, strikes=20)[0]
    near = update.calls[0]["expiry"]
    atm = update.context["atm_strike"]
    puts = {leg["strike"]: leg["iv"] for leg in update.puts if leg["expiry"] == near}
    calls = {leg["strike"]: leg["iv"] for leg in update.calls if leg["expiry"] == near}
    assert puts[atm - 800] > calls[atm + 800] > calls[atm] == puts[atm]
