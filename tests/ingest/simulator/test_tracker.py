"""Features against the updates they were computed from."""

from __future__ import annotations

import itertools
import math
import statistics
from datetime import date
from typing import Any

import pytest

from catalog.contracts import ML_FEATURES

EXPIRY_TUESDAY = date(2026, 7, 14)


def test_features_have_the_same_usable_names_in_every_update(simulated: Any) -> None:
    updates = simulated(3, interval_s=60.0)
    names = list(updates[0].features)
    assert 40 <= len(names) <= 50
    assert all(list(update.features) == names for update in updates)
    assert all(name.isidentifier() and name == name.lower() for name in names)
    assert not set(names) & {column.name for column in ML_FEATURES.columns}
    for update in updates:
        assert all(math.isfinite(value) for value in update.features.values() if value is not None)
    assert all(value is not None for value in updates[40].features.values())


def test_features_agree_with_the_updates_they_were_computed_from(simulated: Any) -> None:
    updates = simulated(3, interval_s=60.0)
    spots = [update.context["underlying_price"] for update in updates]
    index = 200
    now, context = updates[index].features, updates[index].context
    spot = spots[index]
    assert now["minutes_since_open"] == 200.0
    assert now["minutes_to_close"] == 175.0
    assert now["days_to_expiry"] == pytest.approx(4.0 + 175.0 / 1_440.0)
    assert now["is_expiry_day"] == 0.0
    assert now["return_5m"] == pytest.approx(spot / spots[index - 5] - 1.0)
    assert now["return_since_open"] == pytest.approx(spot / spots[0] - 1.0)
    assert now["sma_gap_15m"] == pytest.approx(spot / statistics.mean(spots[186:201]) - 1.0)
    window = spots[181:201]
    assert now["bollinger_z_20m"] == pytest.approx(
        (spot - statistics.mean(window)) / statistics.pstdev(window), rel=1e-6
    )
    assert now["range_since_open"] == pytest.approx((max(spots[:201]) - min(spots[:201])) / spots[0])
    returns = [later / earlier - 1.0 for earlier, later in itertools.pairwise(spots[170:201])]
    assert now["realised_volatility_30m"] == pytest.approx(
        math.sqrt(sum(r * r for r in returns) * 375 / 30 * 252)
    )
    gains = losses = None
    for earlier, later in itertools.pairwise(spots[:201]):
        up, down = max(later - earlier, 0.0), max(earlier - later, 0.0)
        gains = up if gains is None else (13 * gains + up) / 14
        losses = down if losses is None else (13 * losses + down) / 14
    assert gains is not None
    assert losses is not None
    assert now["rsi_14m"] == pytest.approx(100.0 - 100.0 / (1.0 + gains / losses))
    assert now["vix_change_5m"] == pytest.approx(context["vix"] - updates[195].context["vix"])
    assert now["pcr_oi_change_5m"] == pytest.approx(context["pcr"] - updates[195].context["pcr"])
    near = updates[index].calls[0]["expiry"]
    calls, puts = (
        [leg for leg in legs if leg["expiry"] == near] for legs in (updates[index].calls, updates[index].puts)
    )
    assert now["call_oi_change"] == sum(leg["oi_change"] for leg in calls)
    assert now["pcr_volume"] == pytest.approx(
        sum(leg["volume"] for leg in puts) / sum(leg["volume"] for leg in calls)
    )
    paid = {
        settled: sum(leg["oi"] * max(settled - leg["strike"], 0.0) for leg in calls)
        + sum(leg["oi"] * max(leg["strike"] - settled, 0.0) for leg in puts)
        for settled in (leg["strike"] for leg in calls)
    }
    assert now["max_pain_gap"] == pytest.approx(min(paid, key=paid.__getitem__) / spot - 1.0)
    wall = max(calls, key=lambda leg: leg["oi"])["strike"]
    assert now["call_wall_gap"] == pytest.approx(wall / spot - 1.0)
    atm_leg = next(leg for leg in calls if leg["strike"] == context["atm_strike"])
    assert now["atm_iv"] == pytest.approx(atm_leg["iv"], abs=1e-6)


def test_features_that_need_more_history_are_missing_until_there_is_enough(simulated: Any) -> None:
    updates = simulated(3, interval_s=60.0)
    first_known = {
        name: next(i for i, update in enumerate(updates) if update.features[name] is not None)
        for name in ("return_5m", "return_30m", "sma_gap_30m", "rsi_14m", "vix_change_5m", "pcr_oi")
    }
    assert first_known == {
        "return_5m": 5,
        "return_30m": 30,
        "sma_gap_30m": 29,
        "rsi_14m": 14,
        "vix_change_5m": 5,
        "pcr_oi": 0,
    }


def test_expiry_day_is_flagged(simulated: Any) -> None:
    assert {u.features["is_expiry_day"] for u in simulated(1, day=EXPIRY_TUESDAY)} == {1.0}
    assert {u.features["is_expiry_day"] for u in simulated(1)} == {0.0}
