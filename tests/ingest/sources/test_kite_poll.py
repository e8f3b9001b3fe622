"""Polls of Kite's quotes against polars' reading of the same files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

INDIA = timezone(timedelta(hours=5, minutes=30))
HEADER = "Symbol,Expiry,Strike,CE_LTP,CE_OI,CE_Volume,PE_LTP,PE_OI,PE_Volume,Spot,%Change,timestamp,Max_Pain"
ROW = "NIFTY,2026-02-03,25000.0,400.5,130,65,2.4,195,260,25418.9,0.3,2026-01-30 11:01:58,1"


def _files(recordings: Path) -> list[Path]:
    every_tenth = sorted((recordings / "kite_poll_csv").rglob("*.csv"))
    # Eight polls of the first day have the older header; a step of three meets some of them.
    return [
        *every_tenth[:18:3],
        *every_tenth[18::10],
        *sorted((recordings / "kite_poll_stocks_csv").iterdir()),
    ]


def test_recordings_add_up(recordings: Path, read: Any, text_of: Any) -> None:
    headers = set()
    for path in _files(recordings):
        frame = pl.read_csv(text_of(path).encode(), infer_schema_length=None)
        headers.add(tuple(frame.columns))
        symbol, spot = ("Symbol", "Spot") if "Symbol" in frame.columns else ("Stock", "Stock_LTP")
        reading = read("kite-poll", path)
        assert (reading.files, reading.rejects) == ([], [])
        assert len(reading.legs) == 2 * frame.height
        for column, name in {"oi": "OI", "volume": "Volume"}.items():
            assert reading.total(column) == int(
                pl.concat([frame[f"CE_{name}"], frame[f"PE_{name}"]]).cast(pl.Float64).sum()
            )
            assert reading.nulls(column) == 0
        prices = pl.concat([frame["CE_LTP"], frame["PE_LTP"]]).cast(pl.Float64)
        assert reading.nulls("ltp") == (prices == 0).sum()
        assert reading.total("ltp") == pytest.approx(prices.sum(), rel=1e-12)
        keys = frame.select(symbol, "Expiry", "timestamp").unique(maintain_order=True).rows()
        assert [
            (
                chain.symbol,
                chain.calls[0]["expiry"].isoformat(),
                chain.event_time.strftime("%Y-%m-%d %H:%M:%S"),
            )
            for chain in reading.chains
        ] == [(name, expiry, time.ljust(19, "0")[:16] + (time[16:] or ":00")) for name, expiry, time in keys]
        for chain in reading.chains:
            rows = frame.filter(pl.col(symbol) == chain.symbol)
            assert [leg["strike"] for leg in chain.calls] == rows["Strike"].to_list()
            assert [leg["oi"] for leg in chain.puts] == rows["PE_OI"].to_list()
            assert chain.context["underlying_price"] == (rows[spot][0] or None)
            assert chain.exchange == "NSE"
    assert len(headers) == 2


def test_lots_are_told_although_the_format_needs_none(recordings: Path, read: Any) -> None:
    path = max((recordings / "kite_poll_csv" / "2026-01-30").iterdir())
    lots = {chain.symbol: chain.context["lot_size"] for chain in read("kite-poll", path).chains}
    assert lots == {"NIFTY": 65, "BANKNIFTY": 30, "MIDCPNIFTY": 120}


def _file(*lines: str, header: str = HEADER) -> bytes:
    return "\n".join((header, *lines, "")).encode()


def test_columns_are_found_by_name(read: Any) -> None:
    order = [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    turned = [",".join(line.split(",")[at] for at in order) for line in (HEADER, ROW)]
    assert read("kite-poll", _file(turned[1], header=turned[0])).legs == read("kite-poll", _file(ROW)).legs


def test_a_row_becomes_a_call_and_a_put(read: Any) -> None:
    (chain,) = read("kite-poll", _file(ROW)).chains
    assert chain.event_time == datetime(2026, 1, 30, 11, 1, 58, tzinfo=INDIA)
    assert [(leg["ltp"], leg["oi"], leg["volume"]) for leg in chain.calls] == [(400.5, 130, 65)]
    assert [(leg["ltp"], leg["oi"], leg["volume"]) for leg in chain.puts] == [(2.4, 195, 260)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (ROW + ",1", "ragged_row"),
        ("NIFTY,2026-02-03", "ragged_row"),
        (ROW.replace("NIFTY", '"NIFTY'), "ragged_row"),
        (ROW.replace("25000.0", "ATM"), "bad_strike"),
        (ROW.replace("2026-02-03", "03-02-2026"), "bad_expiry"),
        (ROW.replace("25000.0,400.5", "ATM,x").replace("2026-02-03", "?"), "bad_strike"),
        (",,,,,,,,,,,,", "bad_event_time"),
    ],
)
def test_a_bad_row_is_two_rejects_whatever_else_is_wrong_with_it(line: str, reason: str, read: Any) -> None:
    below, above = ROW.replace("25000.0", "24900.0"), ROW.replace("25000.0", "25100.0")
    for lines in ((below, line, above), (line, below, above), (below, above, line)):
        reading = read("kite-poll", _file(*lines))
        assert [reject.reason for reject in reading.rejects] == [reason] * 2
        assert len(reading.legs) == 4
    alone = read("kite-poll", _file(line))
    assert [reject.reason for reject in alone.rejects] == [reason] * 2
    assert alone.legs == []


def test_a_bad_number_spoils_only_its_side_of_the_row(read: Any) -> None:
    reading = read("kite-poll", _file(ROW.replace("195", "many")))
    assert [(reject.reason, reject.detail) for reject in reading.rejects] == [
        ("bad_number", "PE: PE_OI: 'many' is no number")
    ]
    assert [leg["oi"] for leg in reading.chains[0].calls] == [130]


def test_quoted_numbers_may_be_grouped(read: Any) -> None:
    (chain,) = read("kite-poll", _file(ROW.replace(",130,", ',"1,03,805",'))).chains
    assert [leg["oi"] for leg in chain.calls] == [103805]


def test_each_time_symbol_and_expiry_is_a_chain(read: Any) -> None:
    later = ROW.replace("11:01:58", "11:06:58")
    bank = ROW.replace("NIFTY", "BANKNIFTY")
    next_week = ROW.replace("2026-02-03", "2026-02-10")
    reading = read("kite-poll", _file(ROW, later, bank, next_week, ROW))
    assert [len(chain.calls) for chain in reading.chains] == [1, 1, 1, 1, 1]
    assert len(set(reading.identities)) == 5


def test_a_file_that_grew_repeats_the_identities_of_its_chains(read: Any) -> None:
    other, later = ROW.replace("25000.0", "25100.0"), ROW.replace("11:01:58", "11:06:58")
    before = read("kite-poll", _file(ROW, other)).identities
    assert len(before) == 1
    after = read("kite-poll", _file(ROW, other, HEADER, later, HEADER, ROW, other)).identities
    assert after[0] == before[0]
    assert len(set(after)) == 3


def test_interleaved_symbols_are_whole_chains(read: Any) -> None:
    other, bank = ROW.replace("25000.0", "25100.0"), ROW.replace("NIFTY", "BANKNIFTY")
    reading = read("kite-poll", _file(ROW, bank, other))
    assert [(chain.symbol, len(chain.calls)) for chain in reading.chains] == [("NIFTY", 2), ("BANKNIFTY", 1)]


def test_symbols_of_bse_belong_to_bse(read: Any) -> None:
    (chain,) = read("kite-poll", _file(ROW.replace("NIFTY", "SENSEX"))).chains
    assert chain.exchange == "BSE"


def test_missing_columns_are_named(read: Any) -> None:
    reading = read("kite-poll", _file("1,2", header="Strike,Expiry"))
    assert reading.file_reasons == ["missing_columns"]
    detail = reading.files[0].reject.detail
    assert "Symbol or Stock" in detail
    assert "CE_OI" in detail
    assert "Strike" not in detail


def test_a_needed_column_that_stands_twice_is_refused(read: Any) -> None:
    reading = read("kite-poll", _file(ROW + ",7", header=HEADER + ",CE_OI"))
    assert reading.file_reasons == ["duplicate_columns"]
