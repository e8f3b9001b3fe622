"""NSE's page as files, scraped until 2020 and downloaded today, against the csv module's reading of them."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

INDIA = ZoneInfo("Asia/Kolkata")
LOTS = {"NIFTY": 75, "BANKNIFTY": 20}
SAVED = datetime(2026, 6, 25, 15, 30, tzinfo=INDIA)


def scraped(recordings: Path) -> list[Path]:
    return sorted((recordings / "nse_web_table_csv").rglob("*.csv"))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def figure(text: str) -> float | None:
    return None if text == "-" else float(text.replace(",", ""))


def positive(text: str) -> float | None:
    return figure(text) or None


def test_each_scraped_file_is_a_chain_at_the_time_of_its_name(recordings: Path, read: Any) -> None:
    with_rows = 0
    for path in scraped(recordings):
        rows = rows_of(path)
        reading = read("nse-table-csv", path)
        if not rows:
            assert reading.file_reasons == ["header_only"]
            continue
        with_rows += 1
        symbol, day, clock = path.stem.split("_")
        (chain,) = reading.chains
        assert (chain.symbol, chain.exchange, reading.rejects, reading.files) == (symbol, "NSE", [], [])
        hour, minute = re.split(r"\W", clock)
        when = datetime.strptime(f"{day} {hour}{minute}", "%d-%m-%Y %H%M").replace(tzinfo=INDIA)
        assert chain.event_time == when
        expiry = datetime.strptime(path.parent.name.title(), "%d%b%Y").replace(tzinfo=INDIA).date()
        for side, legs in (("Call", chain.calls), ("Put", chain.puts)):
            for row, leg in zip(rows, legs, strict=True):
                lots = figure(row[f"{side}Volume"])
                iv = positive(row[f"{side}IV"])
                assert leg == {
                    "strike": float(row["StrikePrice"]),
                    "expiry": expiry,
                    "ltp": positive(row[f"{side}LTP"]),
                    "bid": positive(row[f"{side}BidPrice"]),
                    "ask": positive(row[f"{side}AskPrice"]),
                    "bid_qty": figure(row[f"{side}BidQty"]),
                    "ask_qty": figure(row[f"{side}AskQty"]),
                    "oi": figure(row[f"{side}OI"]),
                    "oi_change": figure(row[f"{side}ChnginOI"]),
                    "volume": None if lots is None else lots * LOTS[symbol],
                    "iv": None if iv is None else pytest.approx(iv / 100, rel=1e-12),
                    "underlying_price": float(row["CurrentVal"]),
                    "lot_size": LOTS[symbol],
                }
    assert with_rows > 3


def test_files_of_one_name_without_rows_in_two_folders_are_two_rejects(read: Any, recordings: Path) -> None:
    (empty,) = (p for p in scraped(recordings) if p.parent.name == "18JUL2019" and "NIFTY_18-07-2019_09" in
                p.name and p.name.startswith("NIFTY") and re.search(r"09\W00", p.name))  # fmt: skip
    content = empty.read_bytes()
    names = [f"{folder}/NIFTY_18-07-2019_09-00.csv" for folder in ("18JUL2019", "25JUL2019")]
    rejects = [read("nse-table-csv", content, name=name).files[0] for name in names]
    assert rejects[0].identity != rejects[1].identity


@pytest.mark.parametrize("separator", ["-", ".", "", "_", " "])
def test_the_time_in_a_name_may_be_written_in_several_ways(
    separator: str, recordings: Path, read: Any
) -> None:
    content = next(path for path in scraped(recordings) if path.parent.name == "25JUL2019").read_bytes()
    name = f"25JUL2019/NIFTY_19-07-2019_10{separator}15.csv"
    (chain,) = read("nse-table-csv", content, name=name).chains
    assert chain.event_time == datetime(2019, 7, 19, 10, 15, tzinfo=INDIA)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("25JUL2019/chain.csv", "bad_event_time"),
        ("25JUL2019/NIFTY_19-07-2019_25-15.csv", "bad_event_time"),
        ("25JUL2019/_19-07-2019_10-15.csv", "bad_event_time"),
        ("25JUL2019/N\N{SNOWMAN}Y_19-07-2019_10-15.csv", "bad_symbol"),
        ("25JUL2019/WHO_19-07-2019_10-15.csv", "unknown_lot_size"),
        ("somewhere/NIFTY_19-07-2019_10-15.csv", "bad_expiry"),
        ("31JUN2019/NIFTY_19-07-2019_10-15.csv", "bad_expiry"),
    ],
)
def test_a_path_that_does_not_say_enough_rejects_every_leg(
    name: str, reason: str, recordings: Path, read: Any
) -> None:
    path = next(p for p in scraped(recordings) if p.parent.name == "25JUL2019" and len(rows_of(p)) > 0)
    reading = read("nse-table-csv", path.read_bytes(), name=name)
    assert reading.legs == []
    assert [reject.reason for reject in reading.rejects] == [reason] * 2 * len(rows_of(path))


def test_the_download_adds_up(recordings: Path, read: Any) -> None:
    path = next((recordings / "nse_website_csv").glob("*.csv"))
    _, header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
    reading = read("nse-website-csv", path)
    (chain,) = reading.chains
    assert (chain.symbol, chain.event_time, reading.rejects) == ("NIFTY", SAVED, [])
    assert len(chain.calls) == len(chain.puts) == len(rows)
    middle = header.index("STRIKE")
    for legs, place in ((chain.calls, header.index), (chain.puts, lambda n: header.index(n, middle))):
        for row, leg in zip(rows, legs, strict=True):
            value = {name: figure(row[place(name)]) for name in set(header) - {"", "STRIKE"}}
            assert (leg["strike"], leg["expiry"]) == (figure(row[middle]), date(2026, 6, 30))
            assert leg["oi"] == (None if value["OI"] is None else 65 * value["OI"])
            assert leg["volume"] == (None if value["VOLUME"] is None else 65 * value["VOLUME"])
            assert leg["oi_change"] == (None if value["CHNG IN OI"] is None else 65 * value["CHNG IN OI"])
            assert (leg["bid_qty"], leg["ask_qty"]) == (value["BID QTY"], value["ASK QTY"])
            assert (leg["bid"], leg["ask"], leg["ltp"]) == (value["BID"], value["ASK"], value["LTP"])
            assert (leg["iv"] or 0) * 100 == pytest.approx(value["IV"] or 0, rel=1e-12)
            assert leg["underlying_price"] is None


@pytest.mark.parametrize(
    ("name", "symbol", "expiry", "lot_size"),
    [
        ("option-chain-ED-BANKNIFTY-30-Jun-2026 (1).csv", "BANKNIFTY", date(2026, 6, 30), 30),
        ("OPTION-CHAIN-ED-MIDCPNIFTY-30-JUN-2026.CSV", "MIDCPNIFTY", date(2026, 6, 30), 120),
        ("option-chain-ED-NIFTY-07-Jul-2026.csv.gz", "NIFTY", date(2026, 7, 7), 65),
        ("option-chain-ED-NIFTYNXT50-30-Jun-2026.csv.zip", "NIFTYNXT50", date(2026, 6, 30), 25),
    ],
)
def test_downloads_of_other_chains_are_named_alike(
    name: str, symbol: str, expiry: date, lot_size: int, samples: Path, read: Any
) -> None:
    content = next((samples / "nse_website_csv").glob("*.csv")).read_bytes()
    reading = read("nse-website-csv", content, name=name)
    assert {chain.symbol for chain in reading.chains} == {symbol}
    assert {leg["expiry"] for leg in reading.legs} == {expiry}
    _, header, *rows = csv.reader(io.StringIO(content.decode()))
    figures = [figure(row[header.index("OI")]) for row in rows]
    assert [leg["oi"] for leg in reading.chains[0].calls] == [
        None if value is None else lot_size * value for value in figures
    ]


def test_longer_names_of_older_downloads_are_the_same_columns(samples: Path, read: Any) -> None:
    content = next((samples / "nse_website_csv").glob("*.csv")).read_bytes()
    older = content.replace(b",BID,ASK,", b",BID PRICE,ASK PRICE,").replace(b",STRIKE,", b",STRIKE PRICE,")
    assert older.count(b"PRICE") == 5
    assert read("nse-website-csv", older).legs == read("nse-website-csv", content).legs


def test_without_a_time_the_download_is_kept_unread_and_says_what_to_do(
    recordings: Path, reference: Any
) -> None:
    from ingest.sources import ADAPTERS

    path = next((recordings / "nse_website_csv").glob("*.csv"))
    (reject,) = ADAPTERS["nse-website-csv"].read(path, reference)
    assert reject.reject.reason == "no_event_time"
    assert "--captured-at" in reject.reject.detail
