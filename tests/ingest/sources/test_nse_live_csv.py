"""NSE's list of live derivatives against polars' reading of the same file."""

from __future__ import annotations

import tracemalloc
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from catalog.reference import ReferenceData
from ingest.sources import ADAPTERS

LOT = 65
HEADER = "contract,expiryDate,optionType,strikePrice,lastPrice,volume,underlyingValue,openInterest,datetime"
ROW = "NIFTY 16-Jun-2026,16-Jun-2026,Call,24000,57.4,6755125,23366.7,29434.0,2026-06-08 09:01:52.631243+05:30"
PUT = ROW.replace("Call", "Put")
LATER = ROW.replace("09:01:52", "09:05:55")


def _path(recordings: Path) -> Path:
    return recordings / "nse_live_derivatives_csv" / "nifty50-16-Jun-2026.csv.gz"


def _file(*lines: str) -> bytes:
    return "\n".join((HEADER, *lines, "")).encode()


def test_the_recording_adds_up(recordings: Path, read: Any, text_of: Any) -> None:
    frame = pl.read_csv(text_of(_path(recordings)).encode(), infer_schema_length=None)
    reading = read("nse-live-csv", _path(recordings))
    assert (reading.files, reading.rejects) == ([], [])
    assert len(reading.legs) == frame.height
    assert reading.total("oi") == LOT * frame["openInterest"].sum()
    assert reading.total("volume") == frame["volume"].sum()
    assert reading.total("ltp") == pytest.approx(frame["lastPrice"].sum(), rel=1e-12)
    assert reading.nulls("ltp") == (frame["lastPrice"] == 0).sum()
    assert reading.nulls("oi_change") == frame.height
    assert {leg["expiry"] for leg in reading.legs} == {date(2026, 6, 16)}


def test_each_poll_of_the_recording_is_a_chain(recordings: Path, read: Any, text_of: Any) -> None:
    frame = pl.read_csv(text_of(_path(recordings)).encode(), infer_schema_length=None)
    polls = frame.partition_by("datetime", maintain_order=True)
    chains = read("nse-live-csv", _path(recordings)).chains
    assert len(chains) == len(polls) > 1
    for chain, poll in zip(chains, polls, strict=True):
        assert (chain.exchange, chain.symbol) == ("NSE", "NIFTY")
        assert chain.event_time == datetime.fromisoformat(poll["datetime"][0])
        assert chain.context == {"underlying_price": poll["underlyingValue"][0], "lot_size": LOT}
        assert len(chain.calls) == (poll["optionType"] == "Call").sum()
        assert len(chain.puts) == (poll["optionType"] == "Put").sum()
        calls = poll.filter(pl.col("optionType") == "Call")
        assert [leg["oi"] for leg in chain.calls] == [LOT * int(each) for each in calls["openInterest"]]
        assert [leg["volume"] for leg in chain.calls] == calls["volume"].to_list()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (ROW + ",1", "ragged_row"),
        ("NIFTY 16-Jun-2026,16-Jun-2026", "ragged_row"),
        (ROW.replace("Call", "-"), "bad_option_type"),
        (ROW.replace("24000", "ATM"), "bad_strike"),
        (ROW.replace("2026,16-Jun-2026", "2026,soon"), "bad_expiry"),
        (ROW.replace("24000", "24100").replace("29434.0", "29434.5"), "fractional_units"),
        (ROW.replace("24000,57.4", "ATM,x").replace("29434.0", "y"), "bad_strike"),
    ],
)
def test_a_bad_row_is_one_reject_whatever_else_is_wrong_with_it(line: str, reason: str, read: Any) -> None:
    for lines in ((ROW, line, PUT), (line, ROW, PUT), (ROW, PUT, line), (line, ROW, PUT, LATER)):
        reading = read("nse-live-csv", _file(*lines))
        assert [reject.reason for reject in reading.rejects] == [reason]
        assert len(reading.legs) == len(lines) - 1
        assert len(reading.chains) == (2 if LATER in lines else 1)
    alone = read("nse-live-csv", _file(line))
    assert [reject.reason for reject in alone.rejects] == [reason]


def test_a_time_that_comes_back_is_a_further_chain(read: Any) -> None:
    reading = read("nse-live-csv", _file(ROW, LATER, ROW))
    assert [chain.event_time.minute for chain in reading.chains] == [1, 5, 1]
    assert len(set(reading.identities)) == 3


def test_a_file_that_grew_repeats_the_identities_of_its_chains(read: Any) -> None:
    before = read("nse-live-csv", _file(ROW, LATER, ROW)).identities
    after = read("nse-live-csv", _file(ROW, LATER, ROW, LATER)).identities
    assert after[:3] == before
    assert after[3] not in before


def test_a_poll_that_stands_twice_is_two_chains(read: Any) -> None:
    once = read("nse-live-csv", _file(ROW, PUT))
    twice = read("nse-live-csv", _file(ROW, PUT, ROW, PUT))
    assert [(len(chain.calls), len(chain.puts)) for chain in twice.chains] == [(1, 1), (1, 1)]
    assert twice.identities[0] == once.identities[0] != twice.identities[1]


def test_each_symbol_of_a_poll_is_a_chain(read: Any) -> None:
    bank = ROW.replace("NIFTY", "BANKNIFTY").replace("Call", "Put")
    reading = read("nse-live-csv", _file(ROW, bank, ROW.replace("24000", "24100")))
    assert [(chain.symbol, len(chain.calls), len(chain.puts)) for chain in reading.chains] == [
        ("NIFTY", 2, 0),
        ("BANKNIFTY", 0, 1),
    ]


def test_a_chain_is_given_before_the_next_but_one_is_read(tmp_path: Path, reference: ReferenceData) -> None:
    path = tmp_path / "long.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADER + "\n")
        for poll in range(2000):
            line = ROW.replace("09:01:52.631243", f"09:{poll // 60 % 60:02}:{poll % 60:02}.{poll:06}")
            file.writelines(line.replace("24000", f"{strike}") + "\n" for strike in range(23000, 24500, 50))
    tracemalloc.start()
    chains = sum(1 for _ in ADAPTERS["nse-live-csv"].read(path, reference))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert chains == 2000
    assert peak_bytes < path.stat().st_size / 4
