"""Files of Kite's ticks against Python's own reading of their lines."""

from __future__ import annotations

import ast
import gzip
import json
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import ADAPTERS
from ingest.sources.kite_ticks import LINE_BYTES

NAME = "NIFTY26JAN25000CE.txt"
IST = timedelta(hours=5, minutes=30)
BOOK = {
    "buy": [{"quantity": 65, "price": 120.5, "orders": 1}, {"quantity": 130, "price": 120.0, "orders": 2}],
    "sell": [{"quantity": 195, "price": 121.0, "orders": 3}],
}
TICK = {
    "instrument_token": 1,
    "last_price": 120.75,
    "volume": 650,
    "oi": 6500,
    "timestamp": "2026-01-22T10:00:00",
    "depth": BOOK,
}


def _tick(when: str = "10:00:00", **changes: Any) -> str:
    return repr({**TICK, "timestamp": f"2026-01-22T{when}", **changes})


def _file(*lines: str) -> bytes:
    return "\n".join((*lines, "")).encode()


def _path(recordings: Path) -> Path:
    return recordings / "kite_ticks" / "BANKNIFTY21SEP35300PE_2021_08_20.txt.gz"


def test_every_tick_of_the_recording_is_a_row_in_the_order_of_time(
    recordings: Path, read: Any, text_of: Any
) -> None:
    ticks = [ast.literal_eval(line) for line in reversed(text_of(_path(recordings)).splitlines())]
    reading = read("kite-ticks", _path(recordings))
    assert reading.files == []
    assert len(reading.chains) == len(ticks) > 20
    assert len(set(reading.identities)) == len(ticks)

    # The oldest line is the state before the first tick of the day, with a time of none.
    assert ticks[0]["timestamp"] == "1970-01-01T05:30:00"
    (reject,) = reading.rejects
    assert reject.reason == "bad_event_time"
    assert ticks[0].items() <= reject.payload.items()
    assert reading.chains[0].rejects == (reject,)

    volumes = []
    for chain, tick in zip(reading.chains[1:], ticks[1:], strict=True):
        local = datetime.fromisoformat(tick["timestamp"]).replace(tzinfo=UTC) - IST
        assert (chain.event_time, chain.exchange, chain.symbol) == (local, "NSE", "BANKNIFTY")
        assert chain.calls == []
        (leg,) = chain.puts
        bid, ask = (tick["depth"][side][0] for side in ("buy", "sell"))
        assert leg == {
            "strike": 35300.0,
            "expiry": date(2021, 9, 30),
            "ltp": tick["last_price"],
            "bid": bid["price"] or None,
            "ask": ask["price"] or None,
            "bid_qty": bid["quantity"],
            "ask_qty": ask["quantity"],
            "oi": tick["oi"],
            "oi_change": None,
            "volume": tick["volume"],
            "iv": None,
            "underlying_price": None,
            "lot_size": 25,
        }
        volumes.append(leg["volume"])
    assert volumes == sorted(volumes)
    assert {chain.context["lot_size"] for chain in reading.chains[1:]} == {25}


def test_repeats_in_the_recording_are_rows_too(recordings: Path, read: Any, text_of: Any) -> None:
    lines = Counter(text_of(_path(recordings)).splitlines())
    repeats = sum(count - 1 for count in lines.values())
    assert repeats > 0
    assert read("kite-ticks", _path(recordings)).accounted == len(lines) + repeats


def test_a_file_that_grew_at_its_newest_end_repeats_the_identities_of_its_ticks(read: Any) -> None:
    old = [_tick("10:00:01", oi=6565), _tick("10:00:01"), _tick("10:00:01"), _tick("10:00:00")]
    new = [_tick("10:00:02"), _tick("10:00:01"), *old]
    before = read("kite-ticks", _file(*old), name=NAME).identities
    after = read("kite-ticks", _file(*new), name=NAME).identities
    assert len(set(before)) == 4
    assert len(set(after)) == 6
    assert set(before) < set(after)


@pytest.mark.parametrize("newest_first", [True, False])
def test_ticks_of_one_second_stay_in_the_order_in_which_they_happened(newest_first: bool, read: Any) -> None:
    seconds = [0, 1, 1, 1, 2, 3, 3]
    lines = [_tick(f"10:00:{second:02}", volume=65 * number) for number, second in enumerate(seconds)]
    reading = read("kite-ticks", _file(*(lines[::-1] if newest_first else lines)), name=NAME)
    assert [leg["volume"] for leg in reading.legs] == [65 * number for number in range(len(seconds))]


def test_other_spellings_of_a_tick_are_read(read: Any) -> None:
    (plain,) = read("kite-ticks", _file(_tick()), name=NAME).chains
    newer = {**TICK, "volume_traded": TICK["volume"], "exchange_timestamp": TICK["timestamp"]}
    del newer["volume"], newer["timestamp"]
    native = _tick().replace("'2026-01-22T10:00:00'", "datetime.datetime(2026, 1, 22, 10, 0)")
    for line in (repr(newer), native, json.dumps(TICK)):
        (chain,) = read("kite-ticks", _file(line), name=NAME).chains
        assert (chain.calls, chain.event_time) == (plain.calls, plain.event_time)


def test_times_in_both_spellings_are_sorted_together(read: Any) -> None:
    native = _tick("10:00:01").replace("'2026-01-22T10:00:01'", "datetime.datetime(2026, 1, 22, 10, 0, 1)")
    reading = read("kite-ticks", _file(_tick("10:00:02"), native, _tick("10:00:00")), name=NAME)
    assert [chain.event_time.second for chain in reading.chains] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ticks.txt", "bad_trading_symbol"),
        ("NIFTY26XYZ25000CE.txt", "bad_trading_symbol"),
        ("NIFTY2613225000CE.txt", "bad_trading_symbol"),
        ("NIFTY26JANFUT.txt", "not_an_option"),
        ("SENSEX19MAY40000CE.txt", "unknown_expiry"),
    ],
)
def test_a_file_whose_name_tells_no_contract_is_one_reject(name: str, reason: str, read: Any) -> None:
    reading = read("kite-ticks", _file(_tick(), _tick("10:00:01")), name=name)
    assert reading.chains == []
    assert reading.file_reasons == [reason]


@pytest.mark.parametrize(
    ("name", "exchange", "symbol", "expiry", "strike"),
    [
        ("SENSEX2612283000CE_2026-01-22.txt", "BSE", "SENSEX", date(2026, 1, 22), 83000.0),
        ("FINNIFTY26JAN27000CE.txt", "NSE", "FINNIFTY", date(2026, 1, 27), 27000.0),
        ("M&M26JAN3162.5CE.txt", "NSE", "M&M", date(2026, 1, 27), 3162.5),
        ("BAJAJ-AUTO26JAN9500CE.txt", "NSE", "BAJAJ-AUTO", date(2026, 1, 27), 9500.0),
    ],
)
def test_the_contract_stands_in_the_name(
    name: str, exchange: str, symbol: str, expiry: date, strike: float, read: Any
) -> None:
    (chain,) = read("kite-ticks", _file(_tick()), name=name).chains
    assert (chain.exchange, chain.symbol) == (exchange, symbol)
    assert [(leg["expiry"], leg["strike"]) for leg in chain.calls] == [(expiry, strike)]


def test_ticks_of_other_contracts_have_other_identities(read: Any) -> None:
    names = ("NIFTY26JAN25000CE.txt", "NIFTY26JAN25000PE.txt", "NIFTY26FEB25000CE.txt")
    identities = {read("kite-ticks", _file(_tick()), name=name).identities[0] for name in names}
    assert len(identities) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (_tick("10:00:01")[:-3], "malformed_payload"),
        (_tick("10:00:01").replace("'oi'", "'volume'"), "repeated_names"),
        (_tick("10:00:01", depth=7), "bad_leg"),
        (_tick("10:00:01", depth={"buy": [7]}), "bad_leg"),
        (_tick("10:00:01", oi=6500.5), "fractional_units"),
        (_tick("soon"), "bad_event_time"),
        (_tick("10:00:01", oi=[[]]), "bad_number"),
    ],
)
def test_a_bad_tick_is_one_reject_and_costs_no_other(line: str, reason: str, read: Any) -> None:
    reading = read("kite-ticks", _file(_tick("10:00:02"), line, line, _tick()), name=NAME)
    assert [reject.reason for reject in reading.rejects] == [reason] * 2
    assert (len(reading.legs), reading.files) == (2, [])
    assert len(set(reading.identities)) == 4
    for reject in reading.rejects:
        json.dumps(reject.payload, allow_nan=False)


@pytest.mark.parametrize("depth", [None, {}, {"buy": [], "sell": None}, {"buy": [{}], "sell": []}])
def test_a_tick_without_a_book_is_read(depth: Any, read: Any) -> None:
    reading = read("kite-ticks", _file(_tick(depth=depth)), name=NAME)
    assert reading.rejects == []
    assert [(leg["bid"], leg["ask_qty"], leg["oi"]) for leg in reading.legs] == [(None, None, 6500)]


def test_lines_that_are_no_ticks_are_rejects_of_their_own(read: Any) -> None:
    endless = _tick("10:00:01") + " " * LINE_BYTES
    reading = read("kite-ticks", _file("# ticks", _tick("10:00:02"), endless, "???", _tick()), name=NAME)
    assert reading.file_reasons == ["unknown_shape", "line_too_long", "unknown_shape"]
    assert len(reading.legs) == 2
    assert reading.files[1].reject.payload["bytes"] == len(endless) + 1
    again = read(
        "kite-ticks", _file("# ticks", _tick("10:00:02"), endless, "???", _tick(), _tick()), name=NAME
    )
    assert [each.identity for each in again.files] == [each.identity for each in reading.files]


def test_a_long_file_that_has_no_tick_is_one_reject(read: Any) -> None:
    reading = read("kite-ticks", _file(*(f"{number}" for number in range(5_000)), _tick()), name=NAME)
    assert reading.file_reasons == ["unknown_shape"]
    assert reading.chains == []


def test_ticks_before_the_end_of_a_broken_file_are_kept(read: Any) -> None:
    content = gzip.compress(
        _file(*(_tick(f"10:{number // 60:02}:{number % 60:02}") for number in range(600)))
    )
    reading = read("kite-ticks", content[: len(content) * 3 // 4], name=NAME)
    assert reading.file_reasons == ["undecodable"]
    assert 0 < len(reading.legs) < 600
    assert reading.rejects == []


def test_a_file_is_sorted_in_bounded_memory(tmp_path: Path, reference: ReferenceData) -> None:
    path = tmp_path / f"{NAME}.gz"
    tick_count, padding = 12_000, "x" * 8_000
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in reversed(range(tick_count)):
            when = f"{10 + number // 3600}:{number // 60 % 60:02}:{number % 60:02}"
            file.write(_tick(when, mode=padding) + "\n")
    tracemalloc.start()
    last, count = None, 0
    for each in ADAPTERS["kite-ticks"].read(path, reference):
        assert isinstance(each, ChainUpdate)
        assert last is None or each.event_time > last
        last, count = each.event_time, count + 1
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == tick_count
    assert peak_bytes < tick_count * len(padding) / 20
