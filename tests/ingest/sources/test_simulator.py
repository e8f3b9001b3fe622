"""The simulator's promises: the same for the same seed, and never what a market could not show."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.contracts import ML_FEATURES, OPTION_CHAIN
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources.simulator import (
    INTEREST_RATE,
    MARKETS,
    SYMBOLS,
    next_expiries,
    simulate_session,
    stream_days,
)
from lake.errors import SettingsError

REFERENCE = ReferenceData.load()
FRIDAY = date(2026, 7, 10)
EXPIRY_TUESDAY = date(2026, 7, 14)
BUDGET_SUNDAY = date(2026, 2, 1)
LEG_KEYS = ["strike", "expiry", "ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "oi_change", "volume", "iv"]

seeds = settings(max_examples=6, deadline=None)
any_seed = st.integers(0, 2**40)
any_symbol = st.sampled_from(SYMBOLS)

Leg = dict[str, Any]
LegKey = tuple[str, str, date, float]


@lru_cache(maxsize=64)
def simulated(
    seed: int, symbol: str = "NIFTY", day: date = FRIDAY, interval_s: float = 900.0, strikes: int = 8
) -> tuple[ChainUpdate, ...]:
    """One symbol's session, remembered: several tests look at the same one."""
    return tuple(
        simulate_session(
            day, REFERENCE, seed=seed, symbols=(symbol,), interval_s=interval_s, strikes=strikes, expiries=2
        )
    )


def legs_of(update: ChainUpdate) -> Iterator[tuple[LegKey, Leg]]:
    for option_type, legs in (("CE", update.calls), ("PE", update.puts)):
        for leg in legs:
            yield (update.symbol, option_type, leg["expiry"], leg["strike"]), leg


def context_of(update: ChainUpdate) -> Mapping[str, Any]:
    assert update.context is not None
    return update.context


def features_of(update: ChainUpdate) -> Mapping[str, Any]:
    assert update.features is not None
    return update.features


def digest(updates: Iterable[ChainUpdate]) -> str:
    return hashlib.sha256("\n".join(map(repr, updates)).encode()).hexdigest()


def small(seed: int, **changes: Any) -> Iterator[ChainUpdate]:
    arguments: dict[str, Any] = {"interval_s": 1_800.0, "strikes": 5, "expiries": 2} | changes
    return simulate_session(FRIDAY, REFERENCE, seed=seed, **arguments)


# --- Which updates there are, and that they are always the same --------------------------------------


def test_updates_run_from_open_to_close_in_order_of_event_time() -> None:
    updates = list(small(1))
    opens, closes = (datetime(2026, 7, 10, hour, minute, tzinfo=UTC) for hour, minute in ((3, 45), (10, 0)))
    times = [update.event_time for update in updates]
    assert times == sorted(times)
    per_symbol = {s: [u.event_time for u in updates if u.symbol == s] for s in SYMBOLS}
    every_half_hour = [opens + timedelta(minutes=30 * n) for n in range(13)]
    assert all(own == every_half_hour for own in per_symbol.values())
    assert every_half_hour[-1] <= closes


def test_last_update_is_at_the_close_when_the_interval_divides_the_session() -> None:
    *_, last = small(1, interval_s=375 * 60 / 7)
    assert last.event_time == datetime(2026, 7, 10, 10, 0, tzinfo=UTC)


def test_symbols_of_one_event_time_come_in_the_order_asked_for() -> None:
    first_three = list(itertools.islice(small(1, symbols=("SENSEX", "NIFTY", "BANKNIFTY")), 3))
    assert [update.symbol for update in first_three] == ["SENSEX", "NIFTY", "BANKNIFTY"]
    assert [update.exchange for update in first_three] == ["BSE", "NSE", "NSE"]


def test_number_of_legs_is_as_asked_for() -> None:
    first = next(small(1, strikes=20, expiries=3))
    assert len(first.calls) == len(first.puts) == 3 * 41
    assert len({leg["expiry"] for leg in first.calls}) == 3


def test_legs_are_ordered_by_expiry_and_strike_and_calls_pair_with_puts() -> None:
    for update in small(1, interval_s=600.0, strikes=2):
        keys = [(leg["expiry"], leg["strike"]) for leg in update.calls]
        assert keys == sorted(set(keys))
        assert keys == [(leg["expiry"], leg["strike"]) for leg in update.puts]


def test_same_seed_gives_the_same_updates() -> None:
    assert digest(small(11)) == digest(small(11))


def test_another_seed_gives_other_updates() -> None:
    assert digest(small(11)) != digest(small(12))


def test_another_day_gives_other_updates_of_the_same_seed() -> None:
    spots = {
        context_of(next(simulate_session(day, REFERENCE, seed=3)))["underlying_price"]
        for day in (date(2026, 7, 8), date(2026, 7, 9), date(2026, 7, 10))
    }
    assert len(spots) == 3


def test_a_symbol_does_not_depend_on_which_others_are_asked_for() -> None:
    of_three = (update for update in small(5) if update.symbol == "SENSEX")
    assert digest(of_three) == digest(small(5, symbols=("SENSEX",)))


_SCRIPT = """
import hashlib
from datetime import date
from catalog.reference import ReferenceData
from ingest.sources.simulator import simulate_session
updates = simulate_session(date(2026, 7, 10), ReferenceData.load(), seed=11, interval_s=1800.0, strikes=5)
print(hashlib.sha256("\\n".join(map(repr, updates)).encode()).hexdigest())
"""


def test_another_process_hash_seed_and_processor_give_the_same_updates() -> None:
    vector_extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environments: list[dict[str, str]] = [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}]
    if vector_extensions:
        environments[1]["NPY_DISABLE_CPU_FEATURES"] = " ".join(vector_extensions)
    printed = {
        subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            cwd=Path(__file__).parents[3],
            env=os.environ | extra,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for extra in environments
    }
    assert printed == {digest(small(11))}


# --- Sessions and expiries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "day", [date(2026, 7, 11), date(2026, 7, 12), date(2026, 1, 26)], ids=["Saturday", "Sunday", "holiday"]
)
def test_a_day_without_session_is_refused_at_the_call(day: date) -> None:
    with pytest.raises(SettingsError, match=f"NSE has no session on {day}"):
        simulate_session(day, REFERENCE, seed=1)


def test_the_budget_sunday_is_a_full_session() -> None:
    updates = simulated(1, day=BUDGET_SUNDAY)
    assert updates[0].event_time == datetime(2026, 2, 1, 3, 45, tzinfo=UTC)
    assert updates[-1].event_time == datetime(2026, 2, 1, 10, 0, tzinfo=UTC)


def test_the_muhurat_session_lasts_its_hour() -> None:
    updates = simulated(1, day=date(2025, 10, 21), interval_s=60.0)
    assert updates[0].event_time == datetime(2025, 10, 21, 8, 15, tzinfo=UTC)
    assert updates[-1].event_time == datetime(2025, 10, 21, 9, 15, tzinfo=UTC)
    assert len(updates) == 61


@pytest.mark.parametrize(
    ("symbol", "day", "expected"),
    [
        ("NIFTY", "2026-07-10", ["2026-07-14", "2026-07-21", "2026-07-28"]),
        ("NIFTY", "2026-07-14", ["2026-07-14", "2026-07-21", "2026-07-28"]),
        ("NIFTY", "2026-07-15", ["2026-07-21", "2026-07-28", "2026-08-04"]),
        ("SENSEX", "2026-07-10", ["2026-07-16", "2026-07-23", "2026-07-30"]),
        ("BANKNIFTY", "2026-07-10", ["2026-07-28", "2026-08-25", "2026-09-29"]),
        ("BANKNIFTY", "2026-07-28", ["2026-07-28", "2026-08-25", "2026-09-29"]),
        ("BANKNIFTY", "2026-07-29", ["2026-08-25", "2026-09-29", "2026-10-27"]),
        # Holi, Tuesday 2026-03-03: Monday's session is the expiry, and Tuesday's list starts a week later.
        ("NIFTY", "2026-02-27", ["2026-03-02", "2026-03-10", "2026-03-17"]),
        ("NIFTY", "2026-03-02", ["2026-03-02", "2026-03-10", "2026-03-17"]),
        ("NIFTY", "2026-03-03", ["2026-03-10", "2026-03-17", "2026-03-24"]),
        # Mahavir Jayanti, Tuesday 2026-03-31, moves the monthly expiry.
        ("BANKNIFTY", "2026-03-10", ["2026-03-30", "2026-04-28", "2026-05-26"]),
        # Ram Navami, Thursday 2026-03-26.
        ("SENSEX", "2026-03-20", ["2026-03-25", "2026-04-02", "2026-04-09"]),
        # December rolls over into the next year.
        ("BANKNIFTY", "2026-01-28", ["2026-02-24", "2026-03-30", "2026-04-28"]),
        ("NIFTY", "2025-12-31", ["2026-01-06", "2026-01-13", "2026-01-20"]),
        # The Sunday session is no expiry and shifts none.
        ("NIFTY", "2026-02-01", ["2026-02-03", "2026-02-10", "2026-02-17"]),
    ],
)
def test_expiries_follow_the_weekday_rule_and_move_before_holidays(
    symbol: str, day: str, expected: list[str]
) -> None:
    found = next_expiries(symbol, date.fromisoformat(day), REFERENCE.calendar, 3)
    assert [expiry.isoformat() for expiry in found] == expected


@given(any_symbol, st.dates(date(2025, 9, 1), date(2026, 12, 31)))
@settings(max_examples=50)
def test_expiries_are_sessions_from_the_day_on(symbol: str, day: date) -> None:
    expiries = next_expiries(symbol, day, REFERENCE.calendar, 3)
    assert expiries == sorted(set(expiries))
    assert expiries[0] >= day
    assert all(REFERENCE.calendar.session(MARKETS[symbol].exchange, expiry) for expiry in expiries)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"symbols": ("NIFTY", "RELIANCE")}, "RELIANCE"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("NIFTY", "NIFTY")}, "symbols"),
        ({"interval_s": 0.0}, "interval_s"),
        ({"interval_s": math.nan}, "interval_s"),
        ({"strikes": 0}, "strikes"),
        ({"expiries": 0}, "expiries"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        simulate_session(FRIDAY, REFERENCE, **({"seed": 1} | changes))


# --- What a leg may be -------------------------------------------------------------------------------


def test_legs_hold_canonical_keys_and_plain_python_values() -> None:
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
        assert all(type(value) in {float, type(None)} for value in features_of(update).values())
        assert {key: type(value) for key, value in context_of(update).items()} == {
            "underlying_price": float,
            "vix": float,
            "atm_strike": float,
            "pcr": float,
            "lot_size": int,
        }


@seeds
@given(any_seed, any_symbol)
def test_values_keep_the_bounds_of_the_table_contract(seed: int, symbol: str) -> None:
    bounds = {column.name: column for column in OPTION_CHAIN.columns}
    for update in simulated(seed, symbol):
        for _, leg in legs_of(update):
            for name, value in (leg | dict(context_of(update))).items():
                column = bounds[name]
                if value is None or isinstance(value, date):
                    continue
                assert math.isfinite(value)
                assert column.minimum is None or value >= column.minimum
                assert column.above is None or value > column.above


@seeds
@given(any_seed, any_symbol)
def test_prices_are_on_the_tick_and_bids_below_asks(seed: int, symbol: str) -> None:
    for update in simulated(seed, symbol):
        for _, leg in legs_of(update):
            for name in ("bid", "ask", "ltp"):
                if leg[name] is not None:
                    assert leg[name] == round(round(leg[name] * 20) * 0.05, 2)
                    assert leg[name] >= 0.05
            assert leg["bid"] is None or leg["bid"] < leg["ask"]
            assert (leg["bid"] is None) == (leg["bid_qty"] is None)


@seeds
@given(any_seed, any_symbol)
def test_last_price_is_within_the_quote_after_a_trade_and_stays_without_one(seed: int, symbol: str) -> None:
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
def test_volume_starts_at_nothing_grows_and_comes_in_lots(seed: int, symbol: str) -> None:
    updates = simulated(seed, symbol)
    assert all(leg["volume"] == 0 and leg["ltp"] is None for _, leg in legs_of(updates[0]))
    before: dict[LegKey, int] = {}
    for update in updates:
        lot = context_of(update)["lot_size"]
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
def test_open_interest_moves_by_no_more_than_was_traded(seed: int, symbol: str) -> None:
    opening: dict[LegKey, int] = {}
    before: dict[LegKey, Leg] = {}
    moved = 0
    for update in simulated(seed, symbol):
        for key, leg in legs_of(update):
            opening.setdefault(key, leg["oi"] - leg["oi_change"])
            assert leg["oi"] >= 0
            assert leg["oi"] % context_of(update)["lot_size"] == 0
            assert leg["oi_change"] == leg["oi"] - opening[key]
            if key in before:
                change = leg["oi"] - before[key]["oi"]
                assert abs(change) <= leg["volume"] - before[key]["volume"]
                moved += change != 0
            before[key] = leg
    assert moved > 0


@seeds
@given(any_seed)
def test_strikes_follow_the_spot_and_none_is_taken_away(seed: int) -> None:
    listed: set[LegKey] = set()
    for update in simulated(seed, interval_s=300.0, strikes=2):
        now = dict(legs_of(update))
        assert listed <= set(now)
        for key in set(now) - listed if listed else ():
            assert now[key]["oi"] == now[key]["oi_change"]
        listed |= set(now)
        spot, atm = context_of(update)["underlying_price"], context_of(update)["atm_strike"]
        assert abs(atm - spot) <= 25.0
        for expiry in {leg["expiry"] for leg in update.calls}:
            strikes = [leg["strike"] for leg in update.calls if leg["expiry"] == expiry]
            assert {atm - 50.0, atm, atm + 50.0} <= set(strikes)
            assert set(np.diff(strikes)) == {50.0}


def test_a_spot_that_runs_away_adds_strikes() -> None:
    updates = simulated(0, interval_s=60.0, strikes=1)
    assert len(updates[0].calls) == 2 * 3
    assert len(updates[-1].calls) > len(updates[0].calls)


# --- What a chain may be -----------------------------------------------------------------------------


@seeds
@given(any_seed, any_symbol)
def test_quotes_of_an_expiry_agree_on_one_forward(seed: int, symbol: str) -> None:
    """Put-call parity: no synthetic forward can be bought below what another is sold for."""
    for update in simulated(seed, symbol):
        puts = {key[2:]: leg for key, leg in legs_of(update) if key[1] == "PE"}
        for expiry in {leg["expiry"] for leg in update.calls}:
            close = REFERENCE.calendar.close_of(update.exchange, expiry)
            discount = math.exp(-INTEREST_RATE * (close - update.event_time) / timedelta(days=365))
            sold, bought = [], []
            for call in update.calls:
                put = puts[call["expiry"], call["strike"]]
                if call["expiry"] == expiry and call["bid"] is not None and put["bid"] is not None:
                    sold.append(call["strike"] + (call["bid"] - put["ask"]) / discount)
                    bought.append(call["strike"] + (call["ask"] - put["bid"]) / discount)
            assert sold
            assert max(sold) <= min(bought) + 1e-6


@seeds
@given(any_seed, any_symbol)
def test_no_strike_costs_more_than_one_nearer_or_deeper_in_the_money(seed: int, symbol: str) -> None:
    for update in simulated(seed, symbol, strikes=20):
        for legs in (update.calls, update.puts[::-1]):
            for nearer, farther in itertools.pairwise(legs):
                if nearer["expiry"] == farther["expiry"]:
                    assert (farther["bid"] or 0.0) < nearer["ask"]


@seeds
@given(any_seed, any_symbol)
def test_reported_volatility_prices_the_leg_within_its_quote(seed: int, symbol: str) -> None:
    priced = 0
    for update in simulated(seed, symbol):
        near = update.calls[0]["expiry"]
        close = REFERENCE.calendar.close_of(update.exchange, near)
        years = (close - update.event_time) / timedelta(days=365)
        forward = context_of(update)["underlying_price"] * (1.0 + features_of(update)["futures_basis"])
        for (_, option_type, expiry, strike), leg in legs_of(update):
            if expiry != near or leg["iv"] is None:
                continue
            side = 1 if option_type == "CE" else -1
            deviation = leg["iv"] * math.sqrt(years)
            d1 = math.log(forward / strike) / deviation + deviation / 2
            n1, n2 = (0.5 * (1 + math.erf(side * d / math.sqrt(2))) for d in (d1, d1 - deviation))
            value = math.exp(-INTEREST_RATE * years) * side * (forward * n1 - strike * n2)
            assert leg["bid"] - 0.01 <= value <= leg["ask"] + 0.01
            priced += 1
    assert priced > 100


@seeds
@given(any_seed)
def test_volatility_is_a_fraction_and_missing_without_a_bid(seed: int) -> None:
    volatilities = [leg for update in simulated(seed, strikes=30) for _, leg in legs_of(update)]
    assert all(leg["iv"] is None for leg in volatilities if leg["bid"] is None)
    assert all(0.03 < leg["iv"] < 1.0 for leg in volatilities if leg["iv"] is not None)
    assert any(leg["iv"] is None for leg in volatilities)


def test_smile_is_skewed_to_the_puts_and_higher_in_the_wings() -> None:
    update = simulated(4, strikes=20)[0]
    near = update.calls[0]["expiry"]
    atm = context_of(update)["atm_strike"]
    puts = {leg["strike"]: leg["iv"] for leg in update.puts if leg["expiry"] == near}
    calls = {leg["strike"]: leg["iv"] for leg in update.calls if leg["expiry"] == near}
    assert puts[atm - 800] > calls[atm + 800] > calls[atm] == puts[atm]


def test_spread_grows_with_distance_from_the_money() -> None:
    update = simulated(4, strikes=20)[0]
    near = update.calls[0]["expiry"]
    atm = context_of(update)["atm_strike"]
    calls = {leg["strike"]: leg for leg in update.calls if leg["expiry"] == near}
    deep, middle, far = (calls[atm + offset] for offset in (-1_000, 0, 900))
    assert deep["ask"] - deep["bid"] > 5 * (middle["ask"] - middle["bid"])
    relative = [(leg["ask"] - leg["bid"]) / (leg["ask"] + leg["bid"]) for leg in (middle, far)]
    assert relative[1] > 3 * relative[0]


def test_deep_options_trade_rarely_and_keep_a_stale_price() -> None:
    updates = simulated(4, interval_s=60.0, strikes=20)
    atm = context_of(updates[0])["atm_strike"]
    far_expiry = updates[0].calls[-1]["expiry"]

    def traded_intervals(expiry: date, strike: float) -> int:
        volumes = [dict(legs_of(u))["NIFTY", "CE", expiry, strike]["volume"] for u in updates]
        return sum(later > earlier for earlier, later in itertools.pairwise(volumes))

    deep, middle = traded_intervals(far_expiry, atm - 1_000), traded_intervals(far_expiry, atm)
    assert deep < len(updates) / 2
    assert middle > 0.95 * (len(updates) - 1)


def test_some_leg_has_not_traded_while_others_have() -> None:
    legs = [leg for _, leg in legs_of(simulated(4, "BANKNIFTY", interval_s=60.0, strikes=40)[20])]
    assert any(leg["ltp"] is None for leg in legs)
    assert any(leg["ltp"] is not None for leg in legs)


@seeds
@given(any_seed, any_symbol)
def test_open_interest_of_a_first_day_is_where_writers_sell(seed: int, symbol: str) -> None:
    update = simulated(seed, symbol, strikes=20)[0]
    atm = context_of(update)["atm_strike"]
    above = {"CE": 0, "PE": 0}
    below = {"CE": 0, "PE": 0}
    round_strikes: list[int] = []
    others: list[int] = []
    for (_, option_type, _, strike), leg in legs_of(update):
        if strike != atm:
            (above if strike > atm else below)[option_type] += leg["oi"]
        (round_strikes if strike % 500 == 0 else others).append(leg["oi"])
    assert above["CE"] > 2 * below["CE"]
    assert below["PE"] > 2 * above["PE"]
    assert statistics.mean(round_strikes) > statistics.mean(others)


@seeds
@given(any_seed)
def test_at_the_close_of_expiry_only_the_intrinsic_value_is_left(seed: int) -> None:
    updates = simulated(seed, day=EXPIRY_TUESDAY, interval_s=1_500.0)
    assert updates[-1].event_time == datetime(2026, 7, 14, 10, 0, tzinfo=UTC)
    spot = context_of(updates[-1])["underlying_price"]
    expiring = [(key, leg) for key, leg in legs_of(updates[-1]) if key[2] == EXPIRY_TUESDAY]
    assert expiring
    for (_, option_type, _, strike), leg in expiring:
        intrinsic = max((spot - strike) * (1 if option_type == "CE" else -1), 0.0)
        assert (leg["bid"] or 0.0) <= intrinsic + 1e-9 <= leg["ask"] + 1e-9
        assert leg["iv"] is None
        if not intrinsic:
            assert (leg["bid"], leg["ask"]) == (None, 0.05)


def test_time_value_at_the_money_decays_over_the_expiry_day() -> None:
    decays = []
    for seed in range(20):
        updates = simulated(seed, day=EXPIRY_TUESDAY, interval_s=3_750.0, strikes=4)
        values = []
        for update in updates:
            now = dict(legs_of(update))
            atm, spot = context_of(update)["atm_strike"], context_of(update)["underlying_price"]
            asks = [now["NIFTY", side, EXPIRY_TUESDAY, atm]["ask"] for side in ("CE", "PE")]
            values.append(sum(asks) - abs(spot - atm))
        decays.append(values)
    means = np.mean(decays, axis=0)
    assert (np.diff(means) < 0).all()
    assert means[0] > 50.0
    assert means[-1] < 0.5


def test_context_is_that_of_the_chain() -> None:
    for update in simulated(6):
        near = update.calls[0]["expiry"]
        call_oi, put_oi = (
            sum(leg["oi"] for leg in legs if leg["expiry"] == near) for legs in (update.calls, update.puts)
        )
        assert context_of(update)["pcr"] == pytest.approx(put_oi / call_oi)
        assert context_of(update)["lot_size"] == 65
        assert update.source == "simulator"


def test_lot_is_that_of_the_session_day_and_the_usual_one_where_unknown() -> None:
    assert REFERENCE.lots.lot_size("NSE", "NIFTY", date(2025, 8, 5)) == 75
    assert context_of(simulated(1, day=date(2025, 8, 5))[0])["lot_size"] == 75
    assert REFERENCE.lots.lot_size("NSE", "NIFTY", date(2026, 11, 20)) is None
    assert context_of(simulated(1, day=date(2026, 11, 20))[0])["lot_size"] == MARKETS["NIFTY"].lot_size


def test_updates_are_received_shortly_after_they_happened() -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    latencies = [
        update.received_ns - (update.event_time - epoch) // timedelta(microseconds=1) * 1_000
        for update in simulated(8, interval_s=60.0, strikes=1)
    ]
    assert min(latencies) >= 40_000_000
    assert max(latencies) < 3_000_000_000
    assert len(set(latencies)) > 300


# --- The underlying ----------------------------------------------------------------------------------


def test_all_symbols_see_one_vix() -> None:
    by_time: dict[datetime, set[float]] = {}
    for update in small(9):
        by_time.setdefault(update.event_time, set()).add(context_of(update)["vix"])
    assert len(by_time) == 13
    assert all(len(values) == 1 for values in by_time.values())


@pytest.fixture(scope="module")
def quarter_hours() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Log returns of spot and VIX by quarter of an hour, one row a seed."""
    spot, vix = [], []
    for seed in range(150):
        updates = simulated(seed, strikes=1)
        spot.append([math.log(context_of(update)["underlying_price"]) for update in updates])
        vix.append([math.log(context_of(update)["vix"]) for update in updates])
    return np.diff(spot), np.diff(vix)


def test_spot_moves_as_much_in_a_session_as_its_market_says(
    quarter_hours: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    spot, _ = quarter_hours
    realised = math.sqrt(float((spot**2).sum(axis=1).mean()))
    assert realised == pytest.approx(MARKETS["NIFTY"].daily_volatility, rel=0.1)


def test_spot_moves_most_at_the_open_and_least_at_noon(
    quarter_hours: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    spot, _ = quarter_hours
    by_time = np.sqrt((spot**2).mean(axis=0))
    opening, noon, closing = by_time[:3].mean(), by_time[11:16].mean(), by_time[-3:].mean()
    assert opening > 1.3 * noon
    assert closing > 1.05 * noon


def test_vix_moves_against_the_spot(
    quarter_hours: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    spot, vix = quarter_hours
    # Measured over 30 minutes: -0.62.
    assert -0.8 < np.corrcoef(spot.ravel(), vix.ravel())[0, 1] < -0.45


def test_indices_move_together() -> None:
    spots: dict[str, list[float]] = {symbol: [] for symbol in SYMBOLS}
    for update in small(10, interval_s=60.0, strikes=1, expiries=1):
        spots[update.symbol].append(math.log(context_of(update)["underlying_price"]))
    correlation = np.corrcoef(np.diff([spots[symbol] for symbol in ("NIFTY", "BANKNIFTY", "SENSEX")]))
    assert correlation[0, 2] > 0.95
    assert 0.88 < correlation[0, 1] < 0.98


def test_vix_returns_to_its_mean_over_a_year() -> None:
    days = [s.date for s in REFERENCE.calendar.sessions("NSE", date(2025, 1, 1), date(2026, 6, 30))]
    updates = stream_days(
        days, REFERENCE, seed=1, symbols=("NIFTY",), interval_s=22_500.0, strikes=1, expiries=1
    )
    levels = [math.log(context_of(update)["vix"] / 13.1) for update in updates]
    # Without reversion the standard deviation after n sessions would be 0.056 sqrt(n): above 1 here.
    assert len(days) > 350
    assert abs(statistics.mean(levels)) < 0.15
    assert 0.08 < statistics.stdev(levels) < 0.35


# --- Features ----------------------------------------------------------------------------------------


def test_features_have_the_same_usable_names_in_every_update() -> None:
    updates = simulated(3, interval_s=60.0)
    names = list(features_of(updates[0]))
    assert 40 <= len(names) <= 50
    assert all(list(features_of(update)) == names for update in updates)
    assert all(name.isidentifier() and name == name.lower() for name in names)
    assert not set(names) & {column.name for column in ML_FEATURES.columns}
    for update in updates:
        assert all(math.isfinite(value) for value in features_of(update).values() if value is not None)
    assert all(value is not None for value in features_of(updates[40]).values())


def test_features_agree_with_the_updates_they_were_computed_from() -> None:
    updates = simulated(3, interval_s=60.0)
    spots = [context_of(update)["underlying_price"] for update in updates]
    index = 200
    now, context = features_of(updates[index]), context_of(updates[index])
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
    assert now["vix_change_5m"] == pytest.approx(context["vix"] - context_of(updates[195])["vix"])
    assert now["pcr_oi_change_5m"] == pytest.approx(context["pcr"] - context_of(updates[195])["pcr"])
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


def test_features_that_need_more_history_are_missing_until_there_is_enough() -> None:
    updates = simulated(3, interval_s=60.0)
    first_known = {
        name: next(i for i, update in enumerate(updates) if features_of(update)[name] is not None)
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


def test_expiry_day_is_flagged() -> None:
    assert {features_of(u)["is_expiry_day"] for u in simulated(1, day=EXPIRY_TUESDAY)} == {1.0}
    assert {features_of(u)["is_expiry_day"] for u in simulated(1)} == {0.0}


# --- Several days ------------------------------------------------------------------------------------


def three_days(seed: int) -> dict[date, list[ChainUpdate]]:
    days = [date(2026, 7, 13), date(2026, 7, 14), date(2026, 7, 15)]
    by_day: dict[date, list[ChainUpdate]] = {day: [] for day in days}
    for update in stream_days(
        days, REFERENCE, seed=seed, symbols=("NIFTY",), interval_s=1_800.0, strikes=5, expiries=2
    ):
        by_day[update.event_time.date()].append(update)
    return by_day


@seeds
@given(any_seed)
def test_a_day_opens_with_the_open_interest_and_strikes_the_last_one_closed_with(seed: int) -> None:
    carried = 0
    for before, after in itertools.pairwise(three_days(seed).values()):
        closing, opening = dict(legs_of(before[-1])), dict(legs_of(after[0]))
        session_date = after[0].event_time.date()
        for key, leg in opening.items():
            assert leg["oi_change"] == 0
            if key in closing:
                assert leg["oi"] == closing[key]["oi"]
                carried += 1
        assert {key for key in closing if key[2] >= session_date} <= set(opening)
        assert all(key[2] >= session_date for key in opening)
        gap = context_of(after[0])["underlying_price"] / context_of(before[-1])["underlying_price"] - 1.0
        assert 0.0 < abs(gap) < 0.04
    assert carried > 0


def test_the_first_of_several_days_is_the_session_by_itself() -> None:
    first = iter(three_days(4)[date(2026, 7, 13)])
    alone = simulate_session(
        date(2026, 7, 13), REFERENCE, seed=4, symbols=("NIFTY",), interval_s=1_800.0, strikes=5, expiries=2
    )
    assert digest(first) == digest(alone)


@pytest.mark.parametrize("days", [[date(2026, 7, 14), date(2026, 7, 13)], [FRIDAY, FRIDAY]])
def test_days_that_do_not_ascend_are_refused(days: list[date]) -> None:
    with pytest.raises(SettingsError, match="ascend"):
        stream_days(days, REFERENCE, seed=1)


def test_a_day_without_session_among_several_is_refused_before_the_first_update() -> None:
    with pytest.raises(SettingsError, match="2026-07-11"):
        stream_days([FRIDAY, date(2026, 7, 11)], REFERENCE, seed=1)
