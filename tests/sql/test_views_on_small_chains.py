"""Rules that recordings seldom show: ties, missing sides, chains received twice, two sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

INDIA = timezone(timedelta(hours=5, minutes=30))
TEN = datetime(2026, 1, 30, 10, 0, tzinfo=INDIA)

Rows = list[dict[str, Any]]
Session = Callable[..., duckdb.DuckDBPyConnection]
Fetch = Callable[[duckdb.DuckDBPyConnection, str], Rows]
Ask = Callable[[str, Sequence[Mapping[str, Any]]], Rows]


@pytest.fixture(scope="session")
def ask(session: Session, fetch: Fetch) -> Ask:
    """Run one query over rows made for the purpose."""

    def run(sql: str, rows: Sequence[Mapping[str, Any]]) -> Rows:
        with session(rows) as connection:
            return fetch(connection, sql)

    return run


def legs(oi: Mapping[float, tuple[int | None, int | None]], **same: Any) -> Rows:
    """Rows of one chain from call and put OI by strike; None leaves the leg out."""
    return [
        {**same, "strike": strike, "option_type": option_type, "oi": value}
        for strike, sides in oi.items()
        for option_type, value in zip(("CE", "PE"), sides, strict=True)
        if value is not None
    ]


# --- max_pain -----------------------------------------------------------------------------------------


def brute_force(oi: Mapping[float, tuple[int | None, int | None]]) -> tuple[float, float]:
    """Least payout and the lowest strike that has it, every strike tried against every other."""
    return min(
        (
            sum(
                (call or 0) * max(0.0, settled - strike) + (put or 0) * max(0.0, strike - settled)
                for strike, (call, put) in oi.items()
            ),
            settled,
        )
        for settled in oi
    )


open_interest = st.one_of(st.none(), st.integers(0, 40), st.integers(0, 10**9))
small_chains = st.dictionaries(
    # Half rupees, close together: many chains have several strikes of equal payout.
    st.integers(1, 120).map(lambda half_rupees: half_rupees / 2),
    st.tuples(open_interest, open_interest).filter(lambda sides: sides != (None, None)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(chains=st.lists(small_chains, min_size=1, max_size=8))
def test_max_pain_equals_brute_force_whatever_the_chain(
    ask: Ask, chains: list[dict[float, tuple[int | None, int | None]]]
) -> None:
    times = [TEN + timedelta(seconds=number) for number in range(len(chains))]
    rows = [row for when, chain in zip(times, chains, strict=True) for row in legs(chain, event_time=when)]

    found = ask("FROM max_pain ORDER BY event_time", rows)

    assert [row["event_time"] for row in found] == times
    for row, chain in zip(found, chains, strict=True):
        calls = [call for call, _ in chain.values() if call is not None]
        puts = [put for _, put in chain.values() if put is not None]
        if calls and puts and sum(calls) + sum(puts) > 0:
            assert (row["payout"], row["max_pain"]) == brute_force(chain)
        else:
            assert (row["payout"], row["max_pain"]) == (None, None)


def test_of_strikes_with_equal_payout_max_pain_is_the_lowest(ask: Ask) -> None:
    chain = {100.0: (0, 0), 110.0: (5, 0), 120.0: (0, 0), 130.0: (0, 5), 140.0: (0, 0)}
    (row,) = ask("FROM max_pain", legs(chain))
    # Payout is flat from 110 to 130: each rupee up costs five for the call and saves five for the put.
    assert (row["max_pain"], row["payout"]) == (110.0, 100.0)


def test_open_interest_that_a_source_leaves_out_is_no_open_interest(ask: Ask) -> None:
    rows = legs({100.0: (3, 4), 110.0: (7, 2)})
    rows += [{"strike": 90.0, "option_type": kind, "oi": None} for kind in ("CE", "PE")]
    (row,) = ask("FROM max_pain", rows)
    assert (row["payout"], row["max_pain"]) == brute_force({90.0: (0, 0), 100.0: (3, 4), 110.0: (7, 2)})


# --- pcr_5m -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "puts", "expected"),
    [(200, 300, 1.5), (200, 0, 0.0), (0, 300, None), (None, 300, None), (200, None, None), (0, 0, None)],
)
def test_the_put_call_ratio_is_null_and_never_infinite_without_calls(
    ask: Ask, calls: int | None, puts: int | None, expected: float | None
) -> None:
    rows = legs({100.0: (calls, puts)})
    (row,) = ask("FROM pcr_5m", [{**row, "volume": row["oi"]} for row in rows])
    assert (row["pcr_oi"], row["pcr_volume"]) == (expected, expected)
    assert (row["call_oi"], row["put_oi"]) == (calls, puts)


def test_a_bucket_takes_its_last_chain_and_ends_before_the_next_one(ask: Ask) -> None:
    rows = [
        row
        for seconds, puts in ((0, 1), (299.999999, 2), (300, 3), (301, 4), (900, 5))
        for row in legs({100.0: (1, puts)}, event_time=TEN + timedelta(seconds=seconds))
    ]
    found = ask("FROM pcr_5m", rows)
    assert [(row["bucket_start"], row["pcr_oi"]) for row in found] == [
        (TEN, 2.0),
        (TEN + timedelta(minutes=5), 4.0),
        (TEN + timedelta(minutes=15), 5.0),
    ]


def test_totals_of_the_ratio_add_up_past_32_bits(ask: Ask) -> None:
    (row,) = ask("FROM pcr_5m", legs({100.0 + n: (4_000_000_000, 2_000_000_000) for n in range(5)}))
    assert (row["call_oi"], row["put_oi"], row["pcr_oi"]) == (20_000_000_000, 10_000_000_000, 0.5)


# --- oi_change ----------------------------------------------------------------------------------------


def oi_changes(ask: Ask, ages_s: Mapping[float, int | None], **now: Any) -> tuple[Any, Any, Any]:
    """Changes at TEN, where oi is 1000, given the oi of so many seconds before."""
    rows: Rows = [{"event_time": TEN - timedelta(seconds=age), "oi": oi} for age, oi in ages_s.items()]
    rows.append({"event_time": TEN, "oi": 1000, **now})
    found = [row for row in ask("FROM oi_change", rows) if row["event_time"] == TEN]
    (row,) = found
    return row["oi_change_3m"], row["oi_change_5m"], row["oi_change_15m"]


@pytest.mark.parametrize(
    ("ages_s", "expected"),
    [
        ({}, (None, None, None)),
        ({180: 900, 300: 800, 900: 700}, (100, 200, 300)),
        # The last one at or before, not an earlier one and none that is younger.
        ({179.999999: 1, 181: 900, 200: 2, 299: 3, 301: 800, 400: 4, 899: 5, 901: 700}, (100, 200, 300)),
        # Half as old again is the limit.
        ({270: 900, 450: 800, 1350: 700}, (100, 200, 300)),
        ({270.000001: 900, 450.000001: 800, 1350.000001: 700}, (None, None, None)),
        ({400: 800}, (None, 200, None)),
        ({60: 990, 120: 980}, (None, None, None)),
        # A chain that did not say how much: unknown, though an older one did.
        ({180: None, 240: 900}, (None, None, None)),
    ],
)
def test_the_reference_is_the_last_chain_long_enough_ago_within_the_tolerance(
    ask: Ask, ages_s: dict[float, int | None], expected: tuple[int | None, ...]
) -> None:
    assert oi_changes(ask, ages_s) == expected


def test_a_contract_without_open_interest_now_has_no_change(ask: Ask) -> None:
    assert oi_changes(ask, {180: 900}, oi=None) == (None, None, None)


def test_open_interest_is_never_compared_across_a_session_date(ask: Ask) -> None:
    midnight = datetime(2026, 1, 30, 0, 1, tzinfo=INDIA)
    rows = [{"event_time": midnight - timedelta(minutes=4), "oi": 1}, {"event_time": midnight, "oi": 5}]
    assert [row["oi_change_3m"] for row in ask("FROM oi_change", rows)] == [None, None]


@pytest.mark.parametrize(
    "other",
    [
        {"symbol": "BANKNIFTY"},
        {"exchange": "BSE"},
        {"expiry": date(2026, 2, 10)},
        {"strike": 25050.0},
        {"option_type": "PE"},
        {"source": "nse-json"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_open_interest_is_never_compared_with_another_contract_or_source(
    ask: Ask, other: dict[str, Any]
) -> None:
    rows = [{"event_time": TEN - timedelta(minutes=3), "oi": 1, **other}, {"event_time": TEN, "oi": 5}]
    assert [row["oi_change_3m"] for row in ask("FROM oi_change", rows)] == [None, None]


# --- atm_iv_skew --------------------------------------------------------------------------------------


def smile(ivs: Mapping[float, tuple[float | None, float | None]], spot: float | None = 1000.0) -> Rows:
    """Rows of one chain from call and put iv by strike."""
    return [
        {"strike": strike, "option_type": kind, "iv": iv, "underlying_price": spot}
        for strike, sides in ivs.items()
        for kind, iv in zip(("CE", "PE"), sides, strict=True)
    ]


def test_skew_is_the_iv_of_the_put_wing_less_that_of_the_call_wing(ask: Ask) -> None:
    ivs = {
        950.0: (0.9, 0.9),
        975.0: (0.8, 0.16),
        1000.0: (0.12, 0.14),
        1025.0: (0.11, 0.8),
        1050.0: (0.9, 0.9),
    }
    (row,) = ask("FROM atm_iv_skew", smile(ivs))
    assert (row["atm_strike"], row["put_strike"], row["call_strike"]) == (1000.0, 975.0, 1025.0)
    assert row["atm_iv"] == pytest.approx(0.13)
    assert row["skew"] == pytest.approx(0.05)


def test_of_two_strikes_equally_near_the_money_the_lower_one_is_taken(ask: Ask) -> None:
    (row,) = ask("FROM atm_iv_skew", smile({990.0: (0.10, 0.12), 1010.0: (0.20, 0.22)}))
    assert row["atm_strike"] == 990.0
    assert row["atm_iv"] == pytest.approx(0.11)


@pytest.mark.parametrize(
    ("at_the_money", "expected"), [((0.1, None), 0.1), ((None, 0.2), 0.2), ((None, None), None)]
)
def test_volatility_at_the_money_is_the_mean_of_what_is_there(
    ask: Ask, at_the_money: tuple[float | None, float | None], expected: float | None
) -> None:
    (row,) = ask("FROM atm_iv_skew", smile({1000.0: at_the_money, 1010.0: (0.5, 0.5)}))
    assert row["atm_iv"] == expected


def test_no_other_strike_stands_in_for_a_wing_without_iv(ask: Ask) -> None:
    ivs = {970.0: (0.1, 0.2), 975.0: (0.1, None), 1000.0: (0.1, 0.1), 1025.0: (0.1, 0.1)}
    (row,) = ask("FROM atm_iv_skew", smile(ivs))
    assert (row["put_strike"], row["skew"]) == (975.0, None)


def test_a_chain_cut_close_to_the_money_has_a_level_but_no_skew(ask: Ask) -> None:
    (row,) = ask("FROM atm_iv_skew", smile({988.0: (0.1, 0.1), 1000.0: (0.1, 0.1), 1012.0: (0.1, 0.1)}))
    assert (row["put_strike"], row["call_strike"], row["skew"]) == (None, None, None)
    assert row["atm_iv"] == pytest.approx(0.1)


@pytest.mark.parametrize("strike", [400.0, 1000.0, 2500.0])
def test_a_single_strike_is_the_one_at_the_money(ask: Ask, strike: float) -> None:
    (row,) = ask("FROM atm_iv_skew", smile({strike: (0.1, 0.3)}))
    assert (row["atm_strike"], row["atm_iv"], row["skew"]) == (strike, pytest.approx(0.2), None)


def test_without_an_underlying_price_there_is_a_row_but_nothing_at_the_money(ask: Ask) -> None:
    rows = smile({1000.0: (0.1, 0.1)}, spot=None)
    (row,) = ask("FROM atm_iv_skew", rows)
    assert (row["underlying_price"], row["atm_strike"], row["atm_iv"], row["skew"]) == (
        None,
        None,
        None,
        None,
    )
    (row,) = ask("FROM latest_chain", rows)
    assert (row["strike"], row["moneyness"], row["call_iv"]) == (1000.0, None, 0.1)
    assert ask("FROM underlying_ohlc_5m", rows) == []


def test_a_leg_without_underlying_price_takes_that_of_its_chain(ask: Ask) -> None:
    rows = smile({990.0: (0.1, 0.1), 1000.0: (0.2, 0.2)})
    for row in rows[2:]:
        row["underlying_price"] = None
    rows[0]["underlying_price"] = 999.0
    rows[1]["underlying_price"] = None
    (row,) = ask("FROM atm_iv_skew", rows)
    assert (row["underlying_price"], row["atm_strike"]) == (999.0, 1000.0)


@settings(max_examples=40, deadline=None)
@given(
    strikes=st.sets(st.integers(90, 110), min_size=1).map(lambda tens: {ten * 10.0 for ten in tens}),
    spot=st.integers(880, 1120).map(float),
)
def test_the_strike_at_the_money_is_the_nearest_whatever_the_chain(
    ask: Ask, strikes: set[float], spot: float
) -> None:
    (row,) = ask("FROM atm_iv_skew", smile(dict.fromkeys(strikes, (0.1, 0.1)), spot))
    assert row["atm_strike"] == min(strikes, key=lambda strike: (abs(strike - spot), strike))


# --- latest_chain -------------------------------------------------------------------------------------


def test_a_strike_with_one_leg_has_nulls_on_the_other_side(ask: Ask) -> None:
    calls_only, puts_only = ask("FROM latest_chain", legs({100.0: (7, None), 110.0: (None, 9)}))
    assert (calls_only["call_oi"], calls_only["put_oi"]) == (7, None)
    assert (puts_only["call_oi"], puts_only["put_oi"]) == (None, 9)


def test_a_strike_that_the_newest_chain_no_longer_lists_is_gone(ask: Ask) -> None:
    rows = legs({100.0: (1, 1), 110.0: (2, 2)}, event_time=TEN - timedelta(minutes=1)) + legs({110.0: (3, 3)})
    assert [(row["strike"], row["call_oi"]) for row in ask("FROM latest_chain", rows)] == [(110.0, 3)]


def test_each_expiry_has_its_own_newest_chain(ask: Ask) -> None:
    near, far = date(2026, 2, 3), date(2026, 2, 10)
    rows = legs({100.0: (1, 1)}, expiry=far, event_time=TEN - timedelta(days=1)) + legs(
        {100.0: (2, 2)}, expiry=near
    )
    found = ask("FROM latest_chain", rows)
    assert [(row["expiry"], row["call_oi"]) for row in found] == [(near, 2), (far, 1)]


# --- one event_time more than once --------------------------------------------------------------------


def received_again() -> Rows:
    """A chain handed over three times, the call of 110 missing the last time, out of order in the table."""
    chain = {"underlying_price": 105.0, "batch_id": "b1", "received_time": TEN + timedelta(seconds=1)}
    rows = legs({100.0: (1, 10), 110.0: (2, 20)}, **chain)
    chain = {"underlying_price": 107.0, "batch_id": "b2", "received_time": TEN + timedelta(seconds=9)}
    rows += legs({100.0: (5, 50), 110.0: (None, 60)}, **chain)
    chain = {"underlying_price": 106.0, "batch_id": "b1", "received_time": TEN + timedelta(seconds=5)}
    rows += legs({100.0: (3, 30), 110.0: (4, 40)}, **chain)
    return [{**row, "volume": row["oi"], "iv": row["oi"] / 1000} for row in rows]


def test_a_chain_received_again_counts_once_by_the_rows_received_last(ask: Ask) -> None:
    rows = received_again()
    assert len(ask("FROM chain_legs", rows)) == 4
    (pcr,) = ask("FROM pcr_5m", rows)
    assert (pcr["call_oi"], pcr["put_oi"]) == (5 + 4, 50 + 60)
    assert [(row["call_oi"], row["put_oi"]) for row in ask("FROM latest_chain", rows)] == [(5, 50), (4, 60)]
    (pain,) = ask("FROM max_pain", rows)
    assert (pain["payout"], pain["max_pain"]) == brute_force({100.0: (5, 50), 110.0: (4, 60)})
    assert sorted(row["oi"] for row in ask("FROM oi_change", rows)) == [4, 5, 50, 60]
    (level,) = ask("FROM atm_iv_skew", rows)
    assert (level["atm_strike"], level["atm_iv"]) == (110.0, pytest.approx((0.004 + 0.060) / 2))
    (candle,) = ask("FROM underlying_ohlc_5m", rows)
    assert (candle["chains"], candle["open"], candle["close"]) == (1, 107.0, 107.0)


def test_two_sources_of_one_event_time_stand_side_by_side(ask: Ask) -> None:
    rows = legs({100.0: (1, 3), 110.0: (1, 1)}, source="live", underlying_price=100.0)
    rows += legs({100.0: (1, 9), 120.0: (1, 1)}, source="nse-json", underlying_price=120.0)

    def by_source(sql: str, column: str) -> dict[str, Any]:
        return {row["source"]: row[column] for row in ask(sql, rows)}

    assert by_source("FROM pcr_5m", "put_oi") == {"live": 4, "nse-json": 10}
    assert by_source("FROM atm_iv_skew", "atm_strike") == {"live": 100.0, "nse-json": 120.0}
    assert by_source("FROM underlying_ohlc_5m", "close") == {"live": 100.0, "nse-json": 120.0}
    pains = by_source("FROM max_pain", "payout")
    assert pains == {
        "live": brute_force({100.0: (1, 3), 110.0: (1, 1)})[0],
        "nse-json": brute_force({100.0: (1, 9), 120.0: (1, 1)})[0],
    }


@pytest.mark.parametrize(
    ("of_live", "of_file", "wins"),
    [
        ({"event_time": TEN}, {"event_time": TEN - timedelta(seconds=1)}, "live"),
        ({"event_time": TEN - timedelta(seconds=1)}, {"event_time": TEN}, "nse-json"),
        ({"received_time": TEN}, {"received_time": TEN + timedelta(seconds=1)}, "nse-json"),
        ({"received_time": TEN + timedelta(seconds=1)}, {"received_time": TEN}, "live"),
        ({}, {}, "live"),
    ],
)
def test_the_latest_chain_is_never_made_of_two_sources(
    ask: Ask, of_live: dict[str, Any], of_file: dict[str, Any], wins: str
) -> None:
    rows = legs({100.0: (1, 1), 110.0: (1, 1)}, source="live", **of_live)
    rows += legs({105.0: (2, 2), 115.0: (2, 2)}, source="nse-json", **of_file)
    found = ask("FROM latest_chain", rows)
    assert [row["source"] for row in found] == [wins, wins]
    assert [row["strike"] for row in found] == ([100.0, 110.0] if wins == "live" else [105.0, 115.0])


# --- underlying_ohlc_5m -------------------------------------------------------------------------------


def test_a_candle_counts_a_chain_once_however_many_expiries_and_legs_it_has(ask: Ask) -> None:
    rows = [
        {"event_time": TEN + timedelta(minutes=minute), "expiry": date(2026, 2, day), "strike": strike,
         "underlying_price": price}
        for minute, price in ((0, 10.0), (1, 12.0), (2, 9.0), (4, 11.0))
        for day in (3, 10)
        for strike in (100.0, 110.0)
    ]  # fmt: skip
    (candle,) = ask("FROM underlying_ohlc_5m", rows)
    assert candle["bucket_start"] == TEN
    assert [candle[name] for name in ("chains", "open", "high", "low", "close")] == [4, 10.0, 12.0, 9.0, 11.0]


# --- batch_quality ------------------------------------------------------------------------------------


def test_a_gap_belongs_to_the_batch_of_the_later_chain_also_across_batches(ask: Ask) -> None:
    minutes = {"b1": (0, 1), "b2": (8, 10), "b3": (11,)}
    rows = [
        {"event_time": TEN + timedelta(minutes=minute), "batch_id": batch}
        for batch, times in minutes.items()
        for minute in times
    ]
    found = ask("FROM batch_quality", rows)
    assert [(row["batch_id"], row["max_gap_s"], row["median_gap_s"]) for row in found] == [
        ("b1", 60.0, 60.0),
        ("b2", 420.0, 270.0),
        ("b3", 60.0, 60.0),
    ]


def test_gaps_are_counted_by_symbol_and_not_between_symbols(ask: Ask) -> None:
    rows = [
        {"event_time": TEN + timedelta(seconds=seconds), "symbol": symbol}
        for symbol, times in (("NIFTY", (0, 30)), ("BANKNIFTY", (10, 40)))
        for seconds in times
    ]
    (row,) = ask("FROM batch_quality", rows)
    assert (row["chains"], row["max_gap_s"], row["median_gap_s"]) == (4, 30.0, 30.0)


def test_a_batch_tells_what_repeats_what_lacks_its_other_leg_and_how_late_it_came(ask: Ask) -> None:
    rows = legs({100.0: (1, 1), 110.0: (1, None), 120.0: (None, 1)}, ltp=1.0)
    rows += legs({100.0: (1, None)}, ltp=None, received_time=TEN + timedelta(seconds=90))
    (row,) = ask("FROM batch_quality", rows)
    assert (row["row_count"], row["chains"]) == (5, 1)
    assert (row["duplicate_rows"], row["one_sided_strikes"]) == (1, 2)
    assert row["ltp_null_rate"] == pytest.approx(0.2)
    assert row["oi_null_rate"] == 0.0
    assert row["underlying_price_null_rate"] == 1.0
    assert row["max_lateness_s"] == 90.0
    assert (row["max_gap_s"], row["median_gap_s"]) == (None, None)
