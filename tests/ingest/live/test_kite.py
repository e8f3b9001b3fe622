"""Kite's ticker against a real server that sends recorded ticks in the published layout."""

from __future__ import annotations

import ast
import gzip
import json
import logging
from collections import Counter
from datetime import UTC, date, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import kite_packets
import pytest
from feed_server import FeedServer, Play, feed_server
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ingest.live import kite
from ingest.live.delivery import Delivery
from ingest.live.kite_instruments import Instruments, choose, read_instruments
from ingest.live.kite_packets import PacketError, read_ticks
from ingest.live.runner import Listen
from ingest.live.websocket import Limits
from lake.errors import MalformedInputError, SettingsError

RECORDED = "kite_ticks/BANKNIFTY21SEP35300PE_2021_08_20.txt.gz"
TOKEN = 12612866
INDEX_TOKEN = 260105
SECRET = "s3cr3t-access"  # noqa: S105 - made up
API_KEY = "k3y-of-the-app"
INDIA = ZoneInfo("Asia/Kolkata")
DAY = date(2021, 8, 20)

HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    "instrument_type,segment,exchange\n"
)
LIST = (
    HEADER
    + f"{INDEX_TOKEN},1016,NIFTY BANK,NIFTY BANK,0,,0,0,0,EQ,INDICES,NSE\n"
    + f"{TOKEN},49269,BANKNIFTY21SEP35300PE,BANKNIFTY,0,2021-09-30,35300,0.05,25,PE,NFO-OPT,NFO\n"
    + "12612610,49268,BANKNIFTY21SEP35300CE,BANKNIFTY,0,2021-09-30,35300,0.05,25,CE,NFO-OPT,NFO\n"
    + "12612354,49267,BANKNIFTY21OCT35300CE,BANKNIFTY,0,2021-10-28,35300,0.05,25,CE,NFO-OPT,NFO\n"
    + "9999874,39062,BANKNIFTY21AUGFUT,BANKNIFTY,0,2021-08-26,0,0.05,25,FUT,NFO-FUT,NFO\n"
)


@pytest.fixture
def ticks(samples: Path) -> list[dict[str, Any]]:
    """Recorded ticks, oldest first; the very first has epoch 0 as its time."""
    lines = gzip.decompress((samples / RECORDED).read_bytes()).decode().splitlines()
    return [ast.literal_eval(line) for line in reversed(lines)]


@pytest.fixture
def instruments() -> Instruments:
    return choose(LIST, ["Nifty Bank"], expiries=1, today=DAY)


def listener(
    server: FeedServer,
    instruments: Instruments,
    *,
    every_s: float = 0.0,
    silence_s: float = 30.0,
    **more: Any,
) -> Listen:
    async def listen(delivery: Delivery) -> None:
        await kite.listen(
            instruments,
            delivery,
            api_key=SecretStr(API_KEY),
            access_token=SecretStr(SECRET),
            address=server.url,
            every_s=every_s,
            limits=Limits(silence_s=silence_s, open_timeout_s=20.0),
            **more,
        )

    return listen


def as_row(tick: dict[str, Any]) -> tuple[Any, ...]:
    """What a recorded tick must become, by hand."""
    bid, ask = tick["depth"]["buy"][0], tick["depth"]["sell"][0]
    return (
        datetime.fromisoformat(tick["timestamp"]).replace(tzinfo=INDIA).astimezone(UTC),
        tick["last_price"] or None, bid["price"] or None, ask["price"] or None, bid["quantity"],
        ask["quantity"], tick["oi"], tick["volume"],
    )  # fmt: skip


def from_lake(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(
        row[name] for name in ("event_time", "ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "volume")
    )


def test_every_recorded_tick_is_a_row_across_a_dropped_connection(
    lake: Any, new_run: Any, instruments: Instruments, ticks: list[dict[str, Any]]
) -> None:
    """Ticks one by one; the wrong clock of the first is refused as it stands, not corrected."""
    half = len(ticks) // 2

    def first(play: Play) -> None:
        play.hear()
        play.hear()
        play.send(kite_packets.HEARTBEAT)
        for tick in ticks[:half]:
            play.send(kite_packets.message([kite_packets.full_packet(tick)]))
        play.send('{"type": "order", "data": {}}', '{"type": "error", "data": "something is wrong"}')
        play.cut()

    def second(play: Play) -> None:
        play.hear()
        play.hear()
        packets = [kite_packets.full_packet(tick) for tick in ticks[half:]]
        play.send(
            kite_packets.message([kite_packets.index_packet(INDEX_TOKEN, 35033.85, "2021-08-20T12:00:00")])
        )
        play.send(kite_packets.message(packets), kite_packets.HEARTBEAT)
        play.stay()

    run = new_run("kite")
    with feed_server(first, second) as server:
        run.until(lambda: run.delivery.counts.chains == len(ticks), listener(server, instruments))
        asked = server.requests[0].path
    assert asked == f"/?api_key={API_KEY}&access_token={SECRET}"
    tokens = [INDEX_TOKEN, TOKEN, 12612610]
    assert [json.loads(text) for text in server.heard] == [
        {"a": "subscribe", "v": tokens},
        {"a": "mode", "v": ["full", tokens]},
    ] * 2
    rows = lake.rows()
    assert ticks[0]["timestamp"].startswith("1970")
    assert Counter(map(from_lake, rows)) == Counter(map(as_row, ticks[1:]))
    assert {(row["symbol"], row["expiry"], row["strike"], row["option_type"]) for row in rows} == {
        ("BANKNIFTY", date(2021, 9, 30), 35300.0, "PE")
    }
    assert {row["underlying_price"] for row in rows} == {None, 35033.85}
    assert Counter(row["reason"] for row in lake.rows("quarantine")) == {"bad_event_time": 1, "kite_error": 1}
    assert run.ups == [True, False, True, False]
    assert lake.totals()["difference"] == 0


def test_ticks_of_an_interval_are_one_chain_with_the_newest_of_each_contract(
    lake: Any, new_run: Any, instruments: Instruments, ticks: list[dict[str, Any]]
) -> None:
    older, newer = ticks[100], ticks[101]
    call = {**ticks[99], "instrument_token": 12612610}
    index = kite_packets.index_packet(INDEX_TOKEN, 35033.85, "2021-08-20T12:00:00")
    burst = [index, *(kite_packets.full_packet(tick) for tick in (older, call, newer))]

    def script(play: Play) -> None:
        play.hear()
        play.hear()
        play.send(kite_packets.message(burst))
        play.stay()

    run = new_run("kite")
    with feed_server(script) as server:
        run.until(lambda: run.delivery.counts.chains == 1, listener(server, instruments, every_s=0.2))
    rows = {row["option_type"]: row for row in lake.rows()}
    latest = max(as_row(tick)[0] for tick in (older, call, newer))
    assert from_lake(rows["PE"]) == (latest, *as_row(newer)[1:])
    assert from_lake(rows["CE"]) == (latest, *as_row(call)[1:])
    assert rows["CE"]["underlying_price"] == 35033.85
    assert len(lake.rows()) == 2


def test_truncated_packets_are_kept_whole_and_what_came_before_them_is_taken(
    lake: Any, new_run: Any, instruments: Instruments, ticks: list[dict[str, Any]]
) -> None:
    good, bad, last = (kite_packets.full_packet(tick) for tick in ticks[50:53])
    truncated = kite_packets.message([good, bad])[:-40]
    strange = kite_packets.message([bad[:50]])
    surplus = kite_packets.message([last]) + b"more"
    foreign = kite_packets.message([kite_packets.ltp_packet(777 << 8 | 2, 1.5)])

    def script(play: Play) -> None:
        play.hear()
        play.hear()
        play.send(truncated, strange, foreign, surplus)
        play.stay()

    run = new_run("kite")
    with feed_server(script) as server:
        run.until(lambda: sum(run.delivery.counts.rejected.values()) == 4, listener(server, instruments))
    assert Counter(map(from_lake, lake.rows())) == Counter(map(as_row, (ticks[50], ticks[52])))
    kept = {row["reason"]: json.loads(row["payload"]) for row in lake.rows("quarantine")}
    assert set(kept) == {"truncated_packet", "unknown_packet", "surplus_bytes", "unknown_token"}
    assert kept["truncated_packet"]["message"] == {"hex": truncated.hex()}
    assert lake.totals()["difference"] == 0


def test_ticks_that_end_without_a_word_are_noticed_although_heartbeats_go_on(
    new_run: Any, instruments: Instruments, ticks: list[dict[str, Any]]
) -> None:
    def script(play: Play) -> None:
        play.hear()
        play.hear()
        play.send(kite_packets.message([kite_packets.full_packet(ticks[50])]))
        for _ in range(2_000):
            play.send(kite_packets.HEARTBEAT)
            if play.over(0.02):
                return

    run = new_run("kite")
    with feed_server(script) as server:
        run.until(lambda: server.connections >= 2, listener(server, instruments, silence_s=0.3))
    assert run.states[1].why == "no data for 0.3 s"


def test_an_access_token_that_ended_gives_up_with_words_and_without_the_token(
    new_run: Any, instruments: Instruments, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run("kite")
    with (
        caplog.at_level(logging.DEBUG),
        feed_server(lambda play: play.stay(), refuse=HTTPStatus.FORBIDDEN) as server,
        pytest.raises(SettingsError, match="access token has ended") as raised,
    ):
        run.until(lambda: False, listener(server, instruments))
    assert server.connections == 1
    for text in (str(raised.value), caplog.text, "".join(str(vars(record)) for record in caplog.records)):
        assert SECRET not in text
        assert API_KEY not in text


def test_many_tokens_are_shared_out_and_too_many_refused(new_run: Any, instruments: Instruments) -> None:
    parts = kite.split_tokens(list(range(4_001)))
    assert [len(part) for part in parts] == [1334, 1334, 1333]
    assert [token for part in parts for token in part] == list(range(4_001))
    with pytest.raises(SettingsError, match="choose fewer"):
        kite.split_tokens(list(range(6_001)))
    run = new_run("kite")
    with feed_server(lambda play: play.stay()) as server:
        run.until(lambda: bool(run.ups), listener(server, instruments, tokens_a_connection=1))
        assert server.connections == 3
    assert run.ups == [True, False]


def test_the_list_of_instruments_is_read_as_kite_writes_it(recordings: Path) -> None:
    text = read_instruments(recordings / "kite_instruments/instruments_bfo.csv.gz")
    chosen = choose(text, ["SENSEX", "BANKEX"], expiries=1, today=date(2025, 9, 1))
    assert chosen.exchanges == ("BSE",)
    by_hand = [line.split(",") for line in text.splitlines()[1:]]
    for symbol in ("SENSEX", "BANKEX"):
        options = [line for line in by_hand if line[3] == symbol and line[9] in {"CE", "PE"}]
        nearest = min(line[5] for line in options)
        expected = {(int(line[0]), float(line[6]), line[9]) for line in options if line[5] == nearest}
        found = {
            (token, c.strike, c.option_type) for token, c in chosen.contracts.items() if c.symbol == symbol
        }
        assert found == expected


def test_a_list_without_the_underlying_or_without_its_columns_is_refused() -> None:
    with pytest.raises(MalformedInputError, match="no option on NIFTY"):
        choose(LIST, ["NIFTY"], expiries=1, today=DAY)
    with pytest.raises(MalformedInputError, match="no option on BANKNIFTY"):
        choose(LIST, ["BANKNIFTY"], expiries=1, today=date(2026, 1, 1))
    with pytest.raises(MalformedInputError, match="header lacks"):
        choose("a,b\n1,2\n", ["NIFTY"], expiries=1, today=DAY)
    with pytest.raises(MalformedInputError, match="line 2"):
        choose(HEADER + "x,1,N,NIFTY,0,2026-01-01,1,0,1,CE,NFO-OPT,NFO\n", ["NIFTY"], expiries=1, today=DAY)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,1,N,NIFTY,0,2026-01-01,nan,0,1,CE,NFO-OPT,NFO", "line 2 .*no strike price"),
        ("1,1,N,NIFTY,0,2026-01-01,inf,0,1,CE,NFO-OPT,NFO", "line 2 .*no strike price"),
        ("1,1,N,NIFTY,0,2026-01-01,1\r,0,1,CE,NFO-OPT,NFO", "new-line"),
        ("1,1," + "x" * 200_000, "field larger"),
    ],
)
def test_a_line_of_a_list_that_cannot_be_read_is_told(line: str, problem: str) -> None:
    with pytest.raises(MalformedInputError, match=problem):
        choose(f"{HEADER}{line}\n", ["NIFTY"], expiries=1, today=DAY)


def test_a_list_is_read_packed_or_not_and_told_where_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "instruments.csv"
    packed = gzip.compress(LIST.encode(), mtime=0)
    for content in (LIST.encode(), packed, LIST.encode("utf-16"), LIST.encode("utf-8-sig")):
        path.write_bytes(content)
        assert read_instruments(path) == LIST
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 0xFF
    for content in (
        bytes(broken),
        packed[:-20],
        b"PK\x03\x04",
        LIST.encode() + b"\xff",
        gzip.compress(bytes(1 << 26)),
    ):
        path.write_bytes(content)
        with pytest.raises(MalformedInputError, match=r"instruments\.csv is no list of instruments"):
            read_instruments(path)


@given(st.binary(max_size=600))
def test_any_bytes_are_ticks_or_a_packet_error(content: bytes) -> None:
    try:
        list(read_ticks(content))
    except PacketError as error:
        rest = error.rest
    else:
        rest = b""
    assert content.endswith(rest)
