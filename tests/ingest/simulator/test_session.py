"""What every update of a session holds."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.contracts import OPTION_CHAIN
from catalog.reference import ReferenceData
from ingest.simulator import MARKETS, SYMBOLS

LEG_KEYS = ["strike", "expiry", "ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "oi_change", "volume", "iv"]

seeds = settings(max_examples=6, deadline=None)
any_seed = st.integers(0, 2**40)
any_symbol = st.sampled_from(SYMBOLS)


def test_legs_hold_canonical_keys_and_plain_python_values(simulated: Any, legs_of: Any) -> None:
    allowed: dict[str, set[type]] = {
        "strike": {float},
        "expiry": {date},
        "ltp": {float, type(None)},
        "bid": {float, type(None)},
        "ask": {float},
        "bid_qty": {int, type(None)},
        "ask_qty": {int},
        "oi": {int},
        "oi_change": {int},
        "volume": {int},
        "iv": {float, type(None)},
    }
    for update in simulated(2):
        for _, leg in legs_of(update):
            assert list(leg) == LEG_KEYS
            assert all(type(value) in allowed[key] for key, value in leg.items())
        assert type(update.received_ns) is int
        assert all(type(value) in {float, type(None)} for value in update.features.values())
        assert {key: type(value) for key, value in update.context.items()} == {
            "underlying_price": float,
            "vix": float,
            "atm_strike": float,
            "pcr": float,
            "lot_size": int,
        }


@seeds
@given(any_seed, any_symbol)
def test_values_keep_the_bounds_of_the_table_contract(
    simulated: Any, legs_of: Any, seed: int, symbol: str
) -> None:
    bounds = {column.name: column for column in OPTION_CHAIN.columns}
    for update in simulated(seed, symbol):
        for _, leg in legs_of(update):
            for name, value in (leg | dict(update.context)).items():
                column = bounds[name]
                if value is None or isinstance(value, date):
                    continue
                assert math.isfinite(value)
                assert column.minimum is None or value >= column.minimum
                assert column.above is None or value > column.above


def test_context_is_that_of_the_chain(simulated: Any) -> None:
    for update in simulated(6):
        near = update.calls[0]["expiry"]
        call_oi, put_oi = (
            sum(leg["oi"] for leg in legs if leg["expiry"] == near) for legs in (update.calls, update.puts)
        )
        assert update.context["pcr"] == pytest.approx(put_oi / call_oi)
        assert update.context["lot_size"] == 65
        assert update.source == "simulator"


def test_lot_is_that_of_the_session_day_and_the_usual_one_where_unknown(
    simulated: Any, reference: ReferenceData
) -> None:
    assert reference.lots.lot_size("NSE", "NIFTY", date(2025, 8, 5), date(2025, 8, 7)) == 75
    assert simulated(1, day=date(2025, 8, 5))[0].context["lot_size"] == 75
    assert reference.lots.lot_size("NSE", "NIFTY", date(2026, 11, 20), date(2026, 11, 24)) is None
    assert simulated(1, day=date(2026, 11, 20))[0].context["lot_size"] == MARKETS["NIFTY"].lot_size


def test_after_a_revision_each_leg_has_the_lot_of_its_expiry(simulated: Any, legs_of: Any) -> None:
    lots = {date(2025, 12, 30): 75, date(2026, 1, 6): 65}
    for update in simulated(1, day=date(2025, 12, 26), interval_s=1800.0)[1:]:
        assert update.context["lot_size"] == 75
        assert {leg["expiry"] for _, leg in legs_of(update)} == set(lots)
        for _, leg in legs_of(update):
            lot = lots[leg["expiry"]]
            assert leg.get("lot_size", 75) == lot
            assert all(leg[name] % lot == 0 for name in ("oi", "oi_change", "volume", "ask_qty"))
        traded = [leg["volume"] for _, leg in legs_of(update) if leg["expiry"] == date(2026, 1, 6)]
        assert math.gcd(*traded) == 65


def test_updates_are_received_shortly_after_they_happened(simulated: Any) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    latencies = [
        update.received_ns - (update.event_time - epoch) // timedelta(microseconds=1) * 1_000
        for update in simulated(8, interval_s=60.0, strikes=1)
    ]
    assert min(latencies) >= 40_000_000
    assert max(latencies) < 3_000_000_000
    assert len(set(latencies)) > 300
