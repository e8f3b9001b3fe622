"""Parts of tickers' messages that could not be read come in once, when they can be, and nothing else does."""

from __future__ import annotations

import ast
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import kite_packets as kite
import pytest
import upstox_packets as upstox

from catalog.dq_flags import DqFlag
from ingest.live import kite_packets, upstox_protobuf
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.kite_instruments import Instruments
from ingest.live.kite_messages import KiteMessages
from ingest.live.tick_chains import Contract, TickChains
from ingest.live.upstox_contracts import Subscribed
from ingest.live.upstox_messages import UpstoxMessages
from ingest.live.upstox_protobuf import FeedError
from ingest.retry import retry
from ingest.tap import StreamTap

UPSTOX_LOG = "upstox_chain_log/FinNifty.2025-01-23.payload_lines.log.gz"
KITE_TICKS = "kite_ticks/BANKNIFTY21SEP35300PE_2021_08_20.txt.gz"
FINNIFTY = "NSE_INDEX|Nifty Fin Service"
AT = datetime(2025, 1, 23, 8, 23, 26, 41_000, tzinfo=UTC)
AT_MS = int(AT.timestamp() * 1000)
TOKEN = 12612866
BANKNIFTY = 260105
SPOT = 22714.8


@pytest.fixture
def legs(samples: Path) -> dict[str, tuple[Contract, dict[str, float]]]:
    """Recorded quotes of Upstox by instrument key, and their contracts."""
    line = gzip.decompress((samples / UPSTOX_LOG).read_bytes()).decode().splitlines()[0]
    found = {}
    for row in ast.literal_eval(line.partition("Data fetched successfully: ")[2])["data"]:
        for side, name in (("CE", "call_options"), ("PE", "put_options")):
            market, iv = row[name]["market_data"], row[name]["option_greeks"]["iv"] / 100
            quote = {
                "ltp": market["ltp"], "bid": market["bid_price"], "ask": market["ask_price"],
                "bid_qty": market["bid_qty"], "ask_qty": market["ask_qty"], "oi": market["oi"],
                "volume": market["volume"], "iv": iv,
            }  # fmt: skip
            expiry = date.fromisoformat(row["expiry"])
            contract = Contract("NSE", "FINNIFTY", expiry, row["strike_price"], side)
            found[row[name]["instrument_key"]] = (contract, quote)
    return found


@pytest.fixture
def ticks(samples: Path) -> list[dict[str, Any]]:
    """Recorded ticks of Kite."""
    lines = gzip.decompress((samples / KITE_TICKS).read_bytes()).decode().splitlines()
    return [ast.literal_eval(line) for line in lines[100:103]]


def heard(lake: Any, make: Callable[[Delivery, TickChains], Any], *messages: bytes, at: datetime) -> None:
    """A run of a source that hears these messages."""
    tap = StreamTap(lake.settings)
    delivery = Delivery(tap, "some-ticker")
    reader = make(delivery, TickChains(delivery, gather=False))
    for message in messages:
        reader.take(Message(message, int(at.timestamp() * 1e9)))
    assert tap.close()


def row_of(contract: Contract, quote: dict[str, float]) -> tuple[Any, ...]:
    prices = [quote[name] or None for name in ("ltp", "bid", "ask", "iv")]
    counts = [quote[name] for name in ("bid_qty", "ask_qty", "oi", "volume")]
    return (contract.expiry, contract.strike, contract.option_type, *prices, *counts)


def from_lake(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("expiry", "strike", "option_type", "ltp", "bid", "ask", "iv", "bid_qty", "ask_qty", "oi")
    return (*(row[name] for name in names), row["volume"])


@pytest.mark.parametrize("count", [6, 600], ids=["in its row", "in a file"])
def test_a_message_of_upstox_comes_in_with_the_contracts_and_the_underlying_of_its_moment(
    lake: Any,
    legs: dict[str, tuple[Contract, dict[str, float]]],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    """600 are more than a row of quarantine holds: recorded quotes of strikes further and further away."""
    legs = {
        f"{key}{number}": (replace(contract, strike=contract.strike + 20_000 * number), quote)
        for number in range(20)
        for key, (contract, quote) in legs.items()
    }
    named = dict(list(legs.items())[:count])
    assert len(named) == count
    message = upstox.response(
        upstox.LIVE, {key: upstox.option(quote) for key, (_, quote) in named.items()}, AT_MS
    )
    index = upstox.response(upstox.LIVE, {FINNIFTY: upstox.index(SPOT)}, AT_MS)
    subscribed = Subscribed({key: contract for key, (contract, _) in legs.items()}, {FINNIFTY: "FINNIFTY"})
    parsed = upstox_protobuf._parsed

    def broken(content: bytes) -> Any:
        if content == message:
            raise FeedError("bad_protobuf", "a field changed its type")
        return parsed(content)

    with monkeypatch.context() as patch:
        patch.setattr(upstox_protobuf, "_parsed", broken)
        heard(lake, lambda d, c: UpstoxMessages(subscribed, d, c), index, message, at=AT)
        (kept,) = lake.rows("quarantine")
        still = retry(lake.settings)
        assert (still.accepted, still.failed) == (0, {"bad_protobuf": 1})
    if kept["stored"] is None:
        assert set(json.loads(kept["origin"])["contracts"]) == set(named)
    assert (kept["stored"] is None) == (kept["origin"] is not None) == (count == 6)
    assert (kept["source"], lake.rows()) == ("some-ticker", [])

    done = retry(lake.settings)
    assert (done.tried, done.accepted, done.rows) == (1, 1, {"option_chain": len(named)})
    rows = lake.rows()
    assert Counter(map(from_lake, rows)) == Counter(row_of(*each) for each in named.values())
    assert {(row["symbol"], row["event_time"], row["underlying_price"], row["source"]) for row in rows} == {
        ("FINNIFTY", AT, SPOT, "some-ticker")
    }
    # A tick without its chain cannot be judged.
    assert {row["dq_flags"] for row in rows} == {int(DqFlag.UNCHECKED)}
    again = retry(lake.settings)
    assert (again.tried, len(lake.rows())) == (0, len(named))
    assert lake.totals()["difference"] == lake.totals(app_id="backfill")["difference"] == 0


def test_of_a_message_of_kite_only_what_was_not_taken_comes_in(
    lake: Any, ticks: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet of a mode that is not known, with one before it and one after it that are."""
    before, strange, after = (kite.full_packet(tick) for tick in ticks)
    strange += bytes(16)
    message = kite.message([before, strange, after])
    contract = Contract("NSE", "BANKNIFTY", date(2021, 9, 30), 35300.0, "PE")
    other = Contract("NSE", "BANKNIFTY", date(2021, 9, 30), 35400.0, "PE")
    instruments = Instruments({TOKEN: contract, TOKEN + 256: other}, {BANKNIFTY: "BANKNIFTY"})
    at = datetime.fromisoformat(ticks[0]["timestamp"] + "+05:30")
    heard(lake, lambda d, c: KiteMessages(instruments, d, c), message, at=at)
    assert [row["volume"] for row in lake.rows()] == [ticks[0]["volume"]]
    (kept,) = lake.rows("quarantine")
    assert kept["reason"] == "unknown_packet"
    assert list(json.loads(kept["origin"])["contracts"]) == [str(TOKEN)]
    assert retry(lake.settings).failed == {"unknown_packet": 1}

    read = kite_packets._tick
    framed_full = 2 + kite_packets.FULL_BYTES
    monkeypatch.setattr(kite_packets, "_tick", lambda framed, number: read(framed[:framed_full], number))
    monkeypatch.setattr(kite_packets, "_packet_at", _packet_at)
    done = retry(lake.settings)
    assert (done.accepted, done.rows) == (1, {"option_chain": 2})
    moments = [datetime.fromisoformat(tick["timestamp"] + "+05:30") for tick in ticks]
    assert Counter((row["event_time"], row["volume"], row["ltp"]) for row in lake.rows()) == Counter(
        (moment.astimezone(UTC), tick["volume"], tick["last_price"])
        for moment, tick in zip(moments, ticks, strict=True)
    )
    assert retry(lake.settings).tried == 0
    assert lake.totals()["difference"] == lake.totals(app_id="backfill")["difference"] == 0


def _packet_at(message: bytes, at: int, number: int) -> Any:
    """As it would be if the longer mode were known."""
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    return replace(kite_packets._tick(message[at:end], number), packet=message[at:end])


def test_instruments_that_were_not_asked_for_are_kept_alone_and_stay_out(
    lake: Any, ticks: list[dict[str, Any]]
) -> None:
    """A message of many of them must not be kept once for each."""
    count = 300
    strangers = [
        kite.full_packet({**ticks[0], "instrument_token": number << 8 | 2}) for number in range(count)
    ]
    instruments = Instruments(
        {TOKEN: Contract("NSE", "BANKNIFTY", date(2021, 9, 30), 35300.0, "PE")}, {BANKNIFTY: "BANKNIFTY"}
    )
    at = datetime.fromisoformat(ticks[0]["timestamp"] + "+05:30")
    message = kite.message([*strangers, kite.full_packet(ticks[0])])
    heard(lake, lambda d, c: KiteMessages(instruments, d, c), message, at=at)
    kept = lake.rows("quarantine")
    assert (len(lake.rows()), len(kept)) == (1, count)
    assert sum(len(row["payload"]) for row in kept) < 3 * len(message)
    done = retry(lake.settings)
    assert (done.accepted, done.failed) == (0, {"unknown_token": count})
    assert len(lake.rows()) == 1


def test_a_bad_value_of_an_index_is_kept_and_the_one_before_it_stands(
    lake: Any, ticks: list[dict[str, Any]]
) -> None:
    moment = ticks[0]["timestamp"]
    packets = [
        kite.index_packet(BANKNIFTY, 35033.85, moment), kite.index_packet(BANKNIFTY, -1.0, moment),
        kite.full_packet(ticks[0]),
    ]  # fmt: skip
    instruments = Instruments(
        {TOKEN: Contract("NSE", "BANKNIFTY", date(2021, 9, 30), 35300.0, "PE")}, {BANKNIFTY: "BANKNIFTY"}
    )
    at = datetime.fromisoformat(moment + "+05:30")
    heard(lake, lambda d, c: KiteMessages(instruments, d, c), kite.message(packets), at=at)
    assert [row["underlying_price"] for row in lake.rows()] == [35033.85]
    assert [row["reason"] for row in lake.rows("quarantine")] == ["bad_number"]


def test_a_fault_of_the_reader_costs_one_message_and_not_the_feed(
    lake: Any,
    legs: dict[str, tuple[Contract, dict[str, float]]],
    ticks: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, (contract, quote) = next(iter(legs.items()))
    subscribed = Subscribed({key: contract}, {FINNIFTY: "FINNIFTY"})
    instruments = Instruments({TOKEN: contract}, {BANKNIFTY: "BANKNIFTY"})
    take, calls = TickChains.take, iter([RuntimeError, None, RuntimeError, None])

    def faulty(chains: TickChains, *given: Any) -> None:
        if (error := next(calls)) is not None:
            raise error
        take(chains, *given)

    monkeypatch.setattr(TickChains, "take", faulty)
    good = upstox.response(upstox.LIVE, {key: upstox.option(quote)}, AT_MS)
    heard(lake, lambda d, c: UpstoxMessages(subscribed, d, c), good, good, at=AT)
    packet = kite.message([kite.full_packet({**ticks[0], "timestamp": "2025-01-23T13:53:26"})])
    heard(lake, lambda d, c: KiteMessages(instruments, d, c), packet, packet, at=AT)
    assert len(lake.rows()) == 2
    assert [row["reason"] for row in lake.rows("quarantine")] == ["unreadable"] * 2
    # Some of it may be in: it must not come in a second time.
    assert (retry(lake.settings).accepted, len(lake.rows())) == (0, 2)


def test_a_library_that_is_missing_is_said_and_nothing_is_lost(
    lake: Any, legs: dict[str, tuple[Contract, dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, (contract, quote) = next(iter(legs.items()))
    message = upstox.response(upstox.LIVE, {key: upstox.option(quote)}, AT_MS)
    subscribed = Subscribed({key: contract}, {FINNIFTY: "FINNIFTY"})
    heard(lake, lambda d, c: UpstoxMessages(subscribed, d, c), message[:-9], at=AT)
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "ingest.live.upstox_protobuf")
        patch.setitem(sys.modules, "google.protobuf", None)
        without = retry(lake.settings)
    assert without.failed == {"library_missing": 1}
    assert "live" in without.examples["library_missing"][1]
    assert retry(lake.settings).failed == {"bad_protobuf": 1}
