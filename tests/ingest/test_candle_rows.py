"""Candles become rows that are known when they are complete, and nothing else becomes one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from catalog.contracts import CANDLES
from catalog.reference import ReferenceData
from ingest.convert import Converted
from ingest.convert_candles import convert_candles
from ingest.events import CandleUpdate, Reject

INDIA = timezone(timedelta(hours=5, minutes=30))
START = datetime(2026, 1, 30, 9, 15, tzinfo=INDIA)


def candle(**more: Any) -> dict[str, Any]:
    figures = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 0}
    return {"start_time": START, "interval_s": 180, "instrument": "index", **figures, **more}


def option(**more: Any) -> dict[str, Any]:
    contract = {"instrument": "option", "expiry": date(2026, 2, 3), "strike": 25000.0, "option_type": "CE"}
    return candle(**contract | more)


def future(**more: Any) -> dict[str, Any]:
    return candle(**{"instrument": "future", "expiry": date(2026, 2, 24)} | more)


def converted(reference: ReferenceData, *candles: Mapping[str, Any], **more: Any) -> Converted:
    given: dict[str, Any] = {
        "exchange": "NSE",
        "symbol": "NIFTY",
        "received_ns": time.time_ns(),
        "candles": candles,
        "day": START.date(),
        "source": "candle-csv",
    }
    return convert_candles([CandleUpdate(**given | more)], reference)


def rows_of(done: Converted, table: str = "candles") -> list[dict[str, Any]]:
    return [row for entry in done.entries if entry.table == table for row in entry.batch.to_pylist()]


@pytest.mark.parametrize(
    ("start", "interval_s", "known"),
    [
        ("2026-01-30 09:15", 180, "2026-01-30 09:18"),
        ("2026-01-30 15:27", 180, "2026-01-30 15:30"),
        ("2026-01-30 15:15", 1800, "2026-01-30 15:30"),
        ("2026-01-30 15:15", 3600, "2026-01-30 15:30"),
        ("2026-01-30 15:30", 60, "2026-01-30 15:31"),  # after the close a candle has its whole length
        ("2026-01-30 09:00", 60, "2026-01-30 09:01"),
        ("2026-01-30 00:00", 86400, "2026-01-30 15:30"),
        ("2026-01-31 00:00", 86400, "2026-01-31 15:30"),  # a Saturday, without a session
        ("2026-02-01 00:00", 86400, "2026-02-01 15:30"),  # the Sunday of the budget
        ("2024-11-01 00:00", 86400, "2024-11-01 19:00"),  # muhurat trading, in the evening
        ("2024-11-01 18:57", 300, "2024-11-01 19:00"),
    ],
)
def test_a_candle_is_known_at_its_end_and_no_later_than_the_close(
    reference: ReferenceData, start: str, interval_s: int, known: str
) -> None:
    begin = datetime.fromisoformat(start).replace(tzinfo=INDIA)
    (row,) = rows_of(converted(reference, candle(start_time=begin, interval_s=interval_s)))
    assert row["event_time"] == datetime.fromisoformat(known).replace(tzinfo=INDIA)
    assert row["start_time"] == begin
    assert row["date"] == begin.date()
    assert row["event_time"] > row["start_time"]


def test_the_date_is_the_exchanges_whatever_the_zone_of_the_label(reference: ReferenceData) -> None:
    late = datetime(2026, 1, 29, 19, 0, tzinfo=UTC)
    (row,) = rows_of(converted(reference, candle(start_time=late)))
    assert row["date"] == date(2026, 1, 30)


def test_rows_have_the_columns_and_types_of_the_contract(reference: ReferenceData) -> None:
    done = converted(reference, candle(), option(oi=75, oi_change=-75, lot_size=75), future(settle=11.5))
    (entry,) = done.entries
    assert entry.batch.schema.names == [name for name in CANDLES.schema.names if name != "batch_id"]
    for column in entry.batch.schema:
        assert column.type == CANDLES.schema.field(column.name).type
    required = [column.name for column in CANDLES.columns if column.required and column.name != "batch_id"]
    assert all(row[name] is not None for row in rows_of(done) for name in required)


def test_a_contract_without_a_trade_has_a_close_and_no_other_price(reference: ReferenceData) -> None:
    session = {"interval_s": 86400, "open": None, "high": None, "low": None}
    (row,) = rows_of(converted(reference, option(**session, close=80.0, volume=0)))
    assert (row["open"], row["close"], row["volume"]) == (None, 80.0, 0)


def test_the_close_of_a_session_may_lie_beyond_the_prices_traded(reference: ReferenceData) -> None:
    assert len(rows_of(converted(reference, future(close=8.0, interval_s=86400)))) == 1
    assert converted(reference, future(close=8.0)).rejects == {"bad_candle": 1}


@pytest.mark.parametrize(
    ("bad", "reason", "named"),
    [
        (candle(high=8.0), "bad_candle", "high 8.0"),
        (candle(open=13.0), "bad_candle", "open 13.0"),
        (candle(close=-1.0), "contract", "close"),
        (candle(low=math.nan), "contract", "low"),
        (candle(high=math.inf), "contract", "high"),
        (candle(open=10), "contract", "open"),
        (candle(volume=1.5), "contract", "volume"),
        (candle(volume=-1), "contract", "volume"),
        (candle(oi=2**63), "contract", "oi"),
        (candle(trades=True), "contract", "trades"),
        (candle(lot_size=2**31), "contract", "lot_size"),
        (candle(lot_size=0), "contract", "lot_size"),
        (candle(underlying_price=0.0), "contract", "underlying_price"),
        (candle(interval_s=0), "contract", "interval_s"),
        (candle(interval_s=86_401), "contract", "interval_s"),
        (candle(interval_s=None), "contract", "interval_s"),
        (candle(instrument="bond"), "contract", "instrument"),
        (candle(expiry=date(2026, 2, 3)), "contract", "expiry"),
        (future(strike=1.0), "contract", "strike"),
        (future(expiry=None), "contract", "expiry"),
        (option(option_type=None), "contract", "option_type"),
        (option(option_type="XX"), "contract", "option_type"),
        (option(strike=0.0), "contract", "strike"),
        (option(strike=-5.0), "contract", "strike"),
        (candle(start_time=None), "bad_event_time", "start_time"),
        (candle(start_time=datetime(2026, 1, 30, 9, 15)), "bad_event_time", "start_time"),  # noqa: DTZ001
        (candle(start_time=datetime(1970, 1, 1, 5, 30, tzinfo=INDIA)), "bad_event_time", "1970"),
        (candle(start_time=datetime(2099, 1, 1, 9, 15, tzinfo=INDIA)), "bad_event_time", "2099"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_candle_that_breaks_the_contract_is_rejected_and_no_other(
    reference: ReferenceData, bad: dict[str, Any], reason: str, named: str
) -> None:
    done = converted(reference, candle(), {**bad, "raw": {"as": "it came"}}, option())
    assert len(rows_of(done)) == 2
    assert done.rejects == {reason: 1}
    (reject,) = rows_of(done, "quarantine")
    assert named in reject["detail"]
    assert (reject["table"], reject["payload"]) == ("candles", '{"as": "it came"}')
    assert reject["date"] == START.date()


def test_every_candle_offered_becomes_a_row_or_a_reject(reference: ReferenceData) -> None:
    before = Reject("bad_number", "open: 'x'", {"open": "x"}, "candles")
    done = converted(reference, candle(), candle(high=8.0), rejects=(before,), identity=b"one")
    assert done.offered == {("candles", "NSE"): 3}
    assert len(rows_of(done)) + len(rows_of(done, "quarantine")) == 3
    assert {entry.origin for entry in done.entries} == {"candles"}
    assert done.identities == [b"one"]


def test_without_a_session_date_a_reject_is_filed_under_its_receipt(reference: ReferenceData) -> None:
    received = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
    done = converted(
        reference,
        rejects=(Reject("ragged_row", "", {}, "candles"),),
        day=None,
        received_ns=int(received.timestamp() * 1e9),
    )
    (reject,) = rows_of(done, "quarantine")
    assert reject["date"] == date(2026, 3, 3)
