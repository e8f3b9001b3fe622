"""The underlying against what was measured of NIFTY and India VIX."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

from catalog.reference import ReferenceData
from ingest.simulator import MARKETS, SYMBOLS, stream_days

Moves = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def test_all_symbols_see_one_vix(small: Any) -> None:
    by_time: dict[datetime, set[float]] = {}
    for update in small(9):
        by_time.setdefault(update.event_time, set()).add(update.context["vix"])
    assert len(by_time) == 13
    assert all(len(values) == 1 for values in by_time.values())


@pytest.fixture(scope="module")
def quarter_hours(simulated: Any) -> Moves:
    """Log returns of spot and VIX by quarter of an hour, one row a seed."""
    spot, vix = [], []
    for seed in range(150):
        updates = simulated(seed, strikes=1)
        spot.append([math.log(update.context["underlying_price"]) for update in updates])
        vix.append([math.log(update.context["vix"]) for update in updates])
    return np.diff(spot), np.diff(vix)


def test_spot_moves_as_much_in_a_session_as_its_market_says(quarter_hours: Moves) -> None:
    spot, _ = quarter_hours
    realised = math.sqrt(float((spot**2).sum(axis=1).mean()))
    assert realised == pytest.approx(MARKETS["NIFTY"].daily_volatility, rel=0.1)


def test_spot_moves_most_at_the_open_and_least_at_noon(quarter_hours: Moves) -> None:
    spot, _ = quarter_hours
    by_time = np.sqrt((spot**2).mean(axis=0))
    opening, noon, closing = by_time[:3].mean(), by_time[11:16].mean(), by_time[-3:].mean()
    assert opening > 1.3 * noon
    assert closing > 1.05 * noon


def test_vix_moves_against_the_spot(quarter_hours: Moves) -> None:
    spot, vix = quarter_hours
    # Measured over 30 minutes: -0.62.
    assert -0.8 < np.corrcoef(spot.ravel(), vix.ravel())[0, 1] < -0.45


def test_indices_move_together(small: Any) -> None:
    spots: dict[str, list[float]] = {symbol: [] for symbol in SYMBOLS}
    for update in small(10, interval_s=60.0, strikes=1, expiries=1):
        spots[update.symbol].append(math.log(update.context["underlying_price"]))
    correlation = np.corrcoef(np.diff([spots[symbol] for symbol in ("NIFTY", "BANKNIFTY", "SENSEX")]))
    assert correlation[0, 2] > 0.95
    assert 0.88 < correlation[0, 1] < 0.98


def test_vix_returns_to_its_mean_over_a_year(reference: ReferenceData) -> None:
    days = [s.date for s in reference.calendar.sessions("NSE", date(2025, 1, 1), date(2026, 6, 30))]
    updates: Iterator[Any] = stream_days(
        days, reference, seed=1, symbols=("NIFTY",), interval_s=22_500.0, strikes=1, expiries=1
    )
    levels = [math.log(update.context["vix"] / 13.1) for update in updates]
    # Without reversion the standard deviation after n sessions would be 0.056 sqrt(n): above 1 here.
    assert len(days) > 350
    assert abs(statistics.mean(levels)) < 0.15
    assert 0.08 < statistics.stdev(levels) < 0.35
