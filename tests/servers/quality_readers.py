"""Recordings read for the tests of feed quality, without the adapters: csv, polars and ast alone."""

from __future__ import annotations

import ast
import csv
import gzip
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa

from catalog.dq_flags import DqFlag
from catalog.reference import ReferenceData
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.feed_quality import FeedQuality

IST = ZoneInfo("Asia/Kolkata")
Legs = dict[str, list[dict[str, Any]]]


def chain(
    symbol: str,
    event_time: datetime,
    expiry: Any,
    legs: Legs,
    spot: float | None,
    source: str,
    exchange: str = "NSE",
) -> ChainUpdate:
    """An update received a second after it happened."""
    received = event_time + timedelta(seconds=1)
    return ChainUpdate(
        exchange,
        symbol,
        event_time,
        int(received.timestamp()) * 1_000_000_000,
        legs["CE"],
        legs["PE"],
        expiry,
        context={"underlying_price": spot},
        source=source,
    )


def kite_polls(folder: Path) -> Iterator[ChainUpdate]:
    """`kite_poll_csv`, newer header: one update a symbol and file, in order of the files."""
    for path in sorted(folder.glob("*.csv")):
        chains: dict[tuple[str, str, str], tuple[Legs, float]] = {}
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                key = (row["Symbol"], row["timestamp"], row["Expiry"])
                legs, _ = chains.setdefault(key, ({"CE": [], "PE": []}, float(row["Spot"])))
                for side in ("CE", "PE"):
                    legs[side].append(
                        {
                            "strike": float(row["Strike"]),
                            "ltp": float(row[f"{side}_LTP"]) or None,
                            "oi": float(row[f"{side}_OI"]),
                            "volume": float(row[f"{side}_Volume"]),
                        }
                    )
        for (symbol, text, expiry), (legs, spot) in chains.items():
            moment = datetime.fromisoformat(text).replace(tzinfo=IST)
            yield chain(symbol, moment, expiry, legs, spot or None, "kite")


def live_derivatives(path: Path) -> Iterator[ChainUpdate]:
    """`nse_live_derivatives_csv`: one update a poll."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        polls: dict[str, list[dict[str, str]]] = {}
        for row in csv.DictReader(lines):
            polls.setdefault(row["datetime"], []).append(row)
    for text, rows in polls.items():
        legs: Legs = {"CE": [], "PE": []}
        for row in rows:
            legs["CE" if row["optionType"] == "Call" else "PE"].append(
                {
                    "strike": float(row["strikePrice"]),
                    "ltp": float(row["lastPrice"]) or None,
                    "oi": float(row["openInterest"]) * 65,
                    "volume": float(row["volume"]),
                }
            )
        spot = float(rows[0]["underlyingValue"])
        yield chain("NIFTY", datetime.fromisoformat(text), "2026-06-16", legs, spot, "live-list")


def web_tables(folder: Path, *, lot: int) -> Iterator[ChainUpdate]:
    """`nse_web_table_csv`, one folder of one expiry; header-only files bring nothing."""
    moment_in_name = re.compile(r"_(\d\d-\d\d-\d{4})_(\d\d).(\d\d)\.csv$")
    expiry = datetime.strptime(folder.name, "%d%b%Y").replace(tzinfo=IST).date()
    paths = sorted(folder.glob("*.csv"), key=lambda path: path.name[-9:])
    for path in paths:
        found = moment_in_name.search(path.name)
        assert found, path.name
        moment = datetime.strptime(" ".join(found.groups()), "%d-%m-%Y %H %M").replace(tzinfo=IST)
        legs: Legs = {"CE": [], "PE": []}
        spot = None
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                spot = _figure(row["CurrentVal"])
                for side, prefix in (("CE", "Call"), ("PE", "Put")):
                    volume, iv = _figure(row[f"{prefix}Volume"]), _figure(row[f"{prefix}IV"])
                    legs[side].append(
                        {
                            "strike": float(row["StrikePrice"]),
                            "ltp": _figure(row[f"{prefix}LTP"]),
                            "bid": _figure(row[f"{prefix}BidPrice"]),
                            "ask": _figure(row[f"{prefix}AskPrice"]),
                            "oi": _figure(row[f"{prefix}OI"]),
                            "volume": None if volume is None else volume * lot,
                            "iv": None if iv is None else iv / 100,
                        }
                    )
        if legs["CE"]:
            yield chain(path.name.partition("_")[0], moment, expiry, legs, spot, "web-table")


def v3_chains(path: Path) -> Iterator[ChainUpdate]:
    """`nse_v3_parquet`: one update a snapshot and expiry."""
    rows = pl.read_parquet(path)
    for (text, expiry), group in rows.group_by("timestamp", "expiry", maintain_order=True):
        legs: Legs = {"CE": [], "PE": []}
        for row in group.iter_rows(named=True):
            legs[row["option_type"]].append(
                {
                    "strike": row["strike"],
                    "ltp": row["ltp"],
                    "oi": row["oi"] * 65,
                    "volume": row["volume"] * 65,
                    "iv": row["iv"] / 100,
                }
            )
        moment = datetime.strptime(str(text), "%Y%m%d%H%M").replace(tzinfo=IST)
        day = datetime.strptime(str(expiry), "%d-%b-%Y").replace(tzinfo=IST).date()
        yield chain("NIFTY", moment, day, legs, group["spot"][0], "v3")


def upstox_answers(path: Path, symbol: str, exchange: str) -> Iterator[ChainUpdate]:
    """`upstox_chain_log`: one update a log line."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            answer = ast.literal_eval(line[line.index("{") :])["data"]
            legs: Legs = {"CE": [], "PE": []}
            for row in answer:
                for side, name in (("CE", "call_options"), ("PE", "put_options")):
                    market = row[name]["market_data"]
                    legs[side].append(
                        {
                            "strike": row["strike_price"],
                            "ltp": market["ltp"] or None,
                            "bid": market["bid_price"] or None,
                            "ask": market["ask_price"] or None,
                            "bid_qty": market["bid_qty"],
                            "ask_qty": market["ask_qty"],
                            "oi": market["oi"],
                            "volume": market["volume"],
                            "iv": row[name]["option_greeks"]["iv"] / 100 or None,
                        }
                    )
            moment = datetime.fromisoformat(line[:19]).replace(tzinfo=IST)
            spot = answer[0]["underlying_spot_price"]
            yield chain(symbol, moment, answer[0]["expiry"], legs, spot, "upstox", exchange)


def _figure(text: str) -> float | None:
    return None if text.strip() in {"-", ""} else float(text)


def judged(
    updates: Iterable[ChainUpdate],
    reference: ReferenceData,
    *,
    live: bool = False,
    together: int = 1,
    quality: FeedQuality | None = None,
) -> pl.DataFrame:
    """Rows of `option_chain` with their flags, after so many updates were converted at a time."""
    quality = quality or FeedQuality(reference.calendar, live=live)
    given = list(updates)
    tables = []
    for start in range(0, len(given), together):
        done = convert(given[start : start + together], reference, quality=quality)
        assert not done.rejects
        tables += [entry.batch for entry in done.entries if entry.table == "option_chain"]
    rows = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(rows, pl.DataFrame)
    return rows.with_columns(at=pl.col("event_time").dt.convert_time_zone("Asia/Kolkata"))


def flagged(rows: pl.DataFrame, flag: DqFlag) -> pl.DataFrame:
    """The rows on which a flag is set."""
    return rows.filter(pl.col("dq_flags") & int(flag) != 0)


def flagged_times(rows: pl.DataFrame, flag: DqFlag) -> list[str]:
    """HH:MM of the chains of which every row is flagged, in order; fails if one is flagged in part."""
    chains = rows.group_by("at", "expiry", "symbol", maintain_order=True).agg(
        whole=(pl.col("dq_flags") & int(flag) != 0).all(), any=(pl.col("dq_flags") & int(flag) != 0).any()
    )
    assert (chains["whole"] == chains["any"]).all(), f"{flag!r} is set on a part of a chain"
    return [f"{at:%H:%M}" for at in chains.filter("whole")["at"].to_list()]


def alarms(rows: pl.DataFrame) -> dict[str, int]:
    """Chains with a flag, by flag."""
    found: dict[str, int] = {}
    for flag in DqFlag:
        count = flagged(rows, flag).select("symbol", "expiry", "event_time").n_unique()
        if count:
            found[str(flag.name).lower()] = count
    return found
