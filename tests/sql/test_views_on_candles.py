"""The VIX series and the chain at the close, told from candles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest

INDIA = timezone(timedelta(hours=5, minutes=30))
DAY = date(2026, 5, 19)
CLOSE = datetime(2026, 5, 19, 15, 30, tzinfo=INDIA)

Fetch = Callable[[duckdb.DuckDBPyConnection, str], list[dict[str, Any]]]


def candle(**more: Any) -> dict[str, Any]:
    return {
        "date": DAY,
        "exchange": "NSE",
        "symbol": "INDIAVIX",
        "instrument": "index",
        "start_time": CLOSE - timedelta(minutes=3),
        "event_time": CLOSE,
        "received_time": CLOSE + timedelta(hours=3),
        "interval_s": 180,
        "close": 12.5,
        "source": "candle-csv",
        "batch_id": "b-1",
        **more,
    }


def contract(strike: float, option_type: str, **more: Any) -> dict[str, Any]:
    return candle(
        symbol="NIFTY",
        instrument="option",
        expiry=date(2026, 5, 26),
        strike=strike,
        option_type=option_type,
        interval_s=86400,
        source="bhavcopy-udiff",
        **more,
    )


@pytest.fixture
def ask(
    session: Callable[..., duckdb.DuckDBPyConnection], fetch: Fetch
) -> Callable[..., list[dict[str, Any]]]:
    def run(sql: str, *candles: dict[str, Any]) -> list[dict[str, Any]]:
        return fetch(session([], candles=candles), sql)

    return run


def test_the_vix_as_of_a_moment_is_the_close_of_the_newest_candle_that_had_ended(ask: Any) -> None:
    series = [
        candle(
            start_time=CLOSE - timedelta(minutes=3 * back),
            event_time=CLOSE - timedelta(minutes=3 * back - 3),
            close=10.0 + back,
        )
        for back in range(1, 6)
    ]
    sql = """
        SELECT value FROM (VALUES (TIMESTAMPTZ '2026-05-19 15:26:59+05:30')) AS asked (moment)
        ASOF JOIN india_vix ON moment >= event_time
    """
    # At 15:26:59 the candle from 15:24 on is still open; the one before it closed at 15:24.
    assert ask(sql, *series) == [{"value": 13.0}]


def test_one_value_of_the_vix_a_moment_the_shortest_candle_and_the_last_received(ask: Any) -> None:
    rows = ask(
        "FROM india_vix",
        candle(close=1.0, interval_s=86400, received_time=CLOSE + timedelta(days=1)),
        candle(close=2.0),
        candle(close=3.0, received_time=CLOSE + timedelta(hours=4)),
        candle(close=4.0, symbol="NIFTY"),
        candle(close=None, event_time=CLOSE - timedelta(minutes=3)),
    )
    assert [row["value"] for row in rows] == [3.0]


def test_the_chain_at_the_close_has_both_sides_and_counts_a_contract_once(ask: Any) -> None:
    rows = ask(
        "FROM eod_chain",
        contract(25000.0, "CE", close=100.0, oi=650, underlying_price=25100.0),
        contract(25000.0, "CE", close=101.0, oi=715, received_time=CLOSE + timedelta(hours=9)),
        contract(25000.0, "PE", close=80.0, oi=130, underlying_price=25100.0),
        contract(25100.0, "PE", close=120.0, oi=65),
        candle(symbol="NIFTY", close=25100.0, interval_s=86400),
        contract(25000.0, "CE", close=99.0) | {"interval_s": 180},
    )
    assert [(row["strike"], row["call_close"], row["put_close"]) for row in rows] == [
        (25000.0, 101.0, 80.0),
        (25100.0, None, 120.0),
    ]
    assert [(row["call_oi"], row["put_oi"]) for row in rows] == [(715, 130), (None, 65)]
    assert rows[0]["underlying_price"] == 25100.0
    assert rows[1]["moneyness"] == pytest.approx(1.0)


def test_chains_of_two_sources_stand_side_by_side(ask: Any) -> None:
    rows = ask(
        "FROM eod_chain",
        contract(25000.0, "CE", close=100.0),
        contract(25000.0, "CE", close=100.5) | {"source": "bhavcopy-fo"},
    )
    assert {(row["source"], row["call_close"]) for row in rows} == {
        ("bhavcopy-udiff", 100.0),
        ("bhavcopy-fo", 100.5),
    }
