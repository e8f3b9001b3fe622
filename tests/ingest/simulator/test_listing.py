"""Strikes that are listed, and what they open with."""

from __future__ import annotations

import statistics
from datetime import date
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator import SYMBOLS

seeds = settings(max_examples=6, deadline=None)
any_seed = st.integers(0, 2**40)
any_symbol = st.sampled_from(SYMBOLS)

LegKey = tuple[str, str, date, float]


def test_number_of_legs_is_as_asked_for(small: Any) -> None:
    first = next(small(1, strikes=20, expiries=3))
    assert len(first.calls) == len(first.puts) == 3 * 41
    assert len({leg["expiry"] for leg in first.calls}) == 3


def test_legs_are_ordered_by_expiry_and_strike_and_calls_pair_with_puts(small: Any) -> None:
    for update in small(1, interval_s=600.0, strikes=2):
        keys = [(leg["expiry"], leg["strike"]) for leg in update.calls]
        assert keys == sorted(set(keys))
        assert keys == [(leg["expiry"], leg["strike"]) for leg in update.puts]


@seeds
@given(any_seed)
def test_strikes_follow_the_spot_and_none_is_taken_away(simulated: Any, legs_of: Any, seed: int) -> None:
    listed: set[LegKey] = set()
    for update in simulated(seed, interval_s=300.0, strikes=2):
        now = dict(legs_of(update))
        assert listed <= set(now)
        for key in set(now) - listed if listed else ():
            assert now[key]["oi"] == now[key]["oi_change"]
        listed |= set(now)
        spot, atm = update.context["underlying_price"], update.context["atm_strike"]
        assert abs(atm - spot) <= 25.0
        for expiry in {leg["expiry"] for leg in update.calls}:
            strikes = [leg["strike"] for leg in update.calls if leg["expiry"] == expiry]
            assert {atm - 50.0, atm, atm + 50.0} <= set(strikes)
            assert set(np.diff(strikes)) == {50.0}


def test_a_spot_that_runs_away_adds_strikes(simulated: Any) -> None:
    updates = simulated(0, interval_s=60.0, strikes=1)
    assert len(updates[0].calls) == 2 * 3
    assert len(updates[-1].calls) > len(updates[0].calls)


@seeds
@given(any_seed, any_symbol)
def test_open_interest_of_a_first_day_is_where_writers_sell(
    simulated: Any, legs_of: Any, seed: int, symbol: str
) -> None:
    update = simulated(seed, symbol, strikes=20)[0]
    atm = update.context["atm_strike"]
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
