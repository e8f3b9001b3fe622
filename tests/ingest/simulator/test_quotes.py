"""Quotes that a market could show: on the tick, without arbitrage, and worth what they say."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.reference import ReferenceData
from ingest.simulator import INTEREST_RATE, SYMBOLS

EXPIRY_TUESDAY = date(2026, 7, 14)

seeds = settings(max_examples=6, deadline=None)
any_seed = st.integers(0, 2**40)
any_symbol = st.sampled_from(SYMBOLS)


@seeds
@given(any_seed, any_symbol)
def test_prices_are_on_the_tick_and_bids_below_asks(
    simulated: Any, legs_of: Any, seed: int, symbol: str
) -> None:
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
def test_quotes_of_an_expiry_agree_on_one_forward(
    simulated: Any, legs_of: Any, reference: ReferenceData, seed: int, symbol: str
) -> None:
    """Put-call parity: no synthetic forward can be bought below what another is sold for."""
    for update in simulated(seed, symbol):
        puts = {key[2:]: leg for key, leg in legs_of(update) if key[1] == "PE"}
        for expiry in {leg["expiry"] for leg in update.calls}:
            close = reference.calendar.close_of(update.exchange, expiry)
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
def test_no_strike_costs_more_than_one_nearer_or_deeper_in_the_money(
    simulated: Any, seed: int, symbol: str
) -> None:
    for update in simulated(seed, symbol, strikes=20):
        for legs in (update.calls, update.puts[::-1]):
            for nearer, farther in itertools.pairwise(legs):
                if nearer["expiry"] == farther["expiry"]:
                    assert (farther["bid"] or 0.0) < nearer["ask"]


@seeds
@given(any_seed, any_symbol)
def test_reported_volatility_prices_the_leg_within_its_quote(
    simulated: Any, legs_of: Any, reference: ReferenceData, seed: int, symbol: str
) -> None:
    priced = 0
    for update in simulated(seed, symbol):
        near = update.calls[0]["expiry"]
        close = reference.calendar.close_of(update.exchange, near)
        years = (close - update.event_time) / timedelta(days=365)
        forward = update.context["underlying_price"] * (1.0 + update.features["futures_basis"])
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
def test_volatility_is_a_fraction_and_missing_without_a_bid(simulated: Any, legs_of: Any, seed: int) -> None:
    volatilities = [leg for update in simulated(seed, strikes=30) for _, leg in legs_of(update)]
    assert all(leg["iv"] is None for leg in volatilities if leg["bid"] is None)
    assert all(0.03 < leg["iv"] < 1.0 for leg in volatilities if leg["iv"] is not None)
    assert any(leg["iv"] is None for leg in volatilities)


def test_spread_grows_with_distance_from_the_money(simulated: Any) -> None:
    update = simulated(4, strikes=20)[0]
    near = update.calls[0]["expiry"]
    atm = update.context["atm_strike"]
    calls = {leg["strike"]: leg for leg in update.calls if leg["expiry"] == near}
    deep, middle, far = (calls[atm + offset] for offset in (-1_000, 0, 900))
    assert deep["ask"] - deep["bid"] > 5 * (middle["ask"] - middle["bid"])
    relative = [(leg["ask"] - leg["bid"]) / (leg["ask"] + leg["bid"]) for leg in (middle, far)]
    assert relative[1] > 3 * relative[0]


@seeds
@given(any_seed)
def test_at_the_close_of_expiry_only_the_intrinsic_value_is_left(
    simulated: Any, legs_of: Any, seed: int
) -> None:
    updates = simulated(seed, day=EXPIRY_TUESDAY, interval_s=1_500.0)
    assert updates[-1].event_time == datetime(2026, 7, 14, 10, 0, tzinfo=UTC)
    spot = updates[-1].context["underlying_price"]
    expiring = [(key, leg) for key, leg in legs_of(updates[-1]) if key[2] == EXPIRY_TUESDAY]
    assert expiring
    for (_, option_type, _, strike), leg in expiring:
        intrinsic = max((spot - strike) * (1 if option_type == "CE" else -1), 0.0)
        assert (leg["bid"] or 0.0) <= intrinsic + 1e-9 <= leg["ask"] + 1e-9
        assert leg["iv"] is None
        if not intrinsic:
            assert (leg["bid"], leg["ask"]) == (None, 0.05)


def test_time_value_at_the_money_decays_over_the_expiry_day(simulated: Any, legs_of: Any) -> None:
    decays = []
    for seed in range(20):
        updates = simulated(seed, day=EXPIRY_TUESDAY, interval_s=3_750.0, strikes=4)
        values = []
        for update in updates:
            now = dict(legs_of(update))
            atm, spot = update.context["atm_strike"], update.context["underlying_price"]
            asks = [now["NIFTY", side, EXPIRY_TUESDAY, atm]["ask"] for side in ("CE", "PE")]
            values.append(sum(asks) - abs(spot - atm))
        decays.append(values)
    means = np.mean(decays, axis=0)
    assert (np.diff(means) < 0).all()
    assert means[0] > 50.0
    assert means[-1] < 0.5
