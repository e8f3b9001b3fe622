"""Volume, last prices and open interest from one update to the next."""

from __future__ import annotations

import itertools
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator import SYMBOLS

seeds = settings(max_examples=6, deadline=None)
any_seed = st.integers(0, 2**40)
any_symbol = st.sampled_from(SYMBOLS)

Leg = dict[str, Any]
LegKey = tuple[str, str, date, float]


@seeds
@given(any_seed, any_symbol)
def test_last_price_is_within_the_quote_after_a_trade_and_stays_without_one(
    simulated: Any, legs_of: Any, seed: int, symbol: str
) -> None:
    before: dict[LegKey, Leg] = {}
    for update in simulated(seed, symbol):
        for key, leg in legs_of(update):
            last = before.get(key, {"volume": 0, "ltp": None})
            if leg["volume"] > last["volume"]:
                assert (leg["bid"] or 0.05) <= leg["ltp"] <= leg["ask"]
            else:
                assert leg["ltp"] == last["ltp"]
            before[key] = leg


@seeds
@given(any_seed, any_symbol)
def test_volume_starts_at_nothing_grows_and_comes_in_lots(
    simulated: Any, legs_of: Any, seed: int, symbol: str
) -> None:
    updates = simulated(seed, symbol)
    assert all(leg["volume"] == 0 and leg["ltp"] is None for _, leg in legs_of(updates[0]))
    before: dict[LegKey, int] = {}
    for update in updates:
        lot = update.context["lot_size"]
        for key, leg in legs_of(update):
            assert leg["volume"] >= before.get(key, 0)
            assert leg["volume"] % lot == 0
            assert leg["ask_qty"] % lot == 0
            assert leg["ask_qty"] > 0
            assert leg["bid_qty"] is None or (leg["bid_qty"] % lot == 0 and leg["bid_qty"] > 0)
            before[key] = leg["volume"]
    assert max(before.values()) > 0


@seeds
@given(any_seed, any_symbol)
def test_open_interest_moves_by_no_more_than_was_traded(
    simulated: Any, legs_of: Any, seed: int, symbol: str
) -> None:
    opening: dict[LegKey, int] = {}
    before: dict[LegKey, Leg] = {}
    moved = 0
    for update in simulated(seed, symbol):
        for key, leg in legs_of(update):
            opening.setdefault(key, leg["oi"] - leg["oi_change"])
            assert leg["oi"] >= 0
            assert leg["oi"] % update.context["lot_size"] == 0
            assert leg["oi_change"] == leg["oi"] - opening[key]
            if key in before:
                change = leg["oi"] - before[key]["oi"]
                assert abs(change) <= leg["volume"] - before[key]["volume"]
                moved += change != 0
            before[key] = leg
    assert moved > 0


def test_deep_options_trade_rarely_and_keep_a_stale_price(simulated: Any, legs_of: Any) -> None:
    updates = simulated(4, interval_s=60.0, strikes=20)
    atm = updates[0].context["atm_strike"]
    far_expiry = updates[0].calls[-1]["expiry"]

    def traded_intervals(expiry: date, strike: float) -> int:
        volumes = [dict(legs_of(u))["NIFTY", "CE", expiry, strike]["volume"] for u in updates]
        return sum(later > earlier for earlier, later in itertools.pairwise(volumes))

    deep, middle = traded_intervals(far_expiry, atm - 1_000), traded_intervals(far_expiry, atm)
    assert deep < len(updates) / 2
    assert middle > 0.95 * (len(updates) - 1)


def test_some_leg_has_not_traded_while_others_have(simulated: Any, legs_of: Any) -> None:
    legs = [leg for _, leg in legs_of(simulated(4, "BANKNIFTY", interval_s=60.0, strikes=40)[20])]
    assert any(leg["ltp"] is None for leg in legs)
    assert any(leg["ltp"] is not None for leg in legs)
