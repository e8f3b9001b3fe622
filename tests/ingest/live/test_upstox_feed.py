"""Upstox's feed v3 against a real API and a real WebSocket, with recorded quotes in its wire format."""

from __future__ import annotations

import ast
import gzip
import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import upstox_packets as packets
from command_line import call
from exchange_site import ExchangeSite, Reply, exchange_site, in_turn, json_reply
from feed_server import FeedServer, Play, Script, feed_server
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ingest.live import upstox_feed
from ingest.live.backoff import Backoff
from ingest.live.delivery import Delivery
from ingest.live.runner import Listen
from ingest.live.upstox_protobuf import FeedError, has_ticks, keys_in, read_feed
from ingest.live.websocket import Limits
from lake.errors import SettingsError

LOG = "upstox_chain_log/FinNifty.2025-01-23.payload_lines.log.gz"
INDEX = "NSE_INDEX|Nifty Fin Service"
TOKEN = "t0ken-of-the-day"  # noqa: S105 - made up
CODE = "c0de-for-one-connection"
DAY = date(2025, 1, 23)
AT = datetime(2025, 1, 23, 8, 23, 26, 41_000, tzinfo=UTC)
AT_MS = int(AT.timestamp() * 1000)
CONTRACTS_PATH = "/v2/option/contract"
AUTHORIZE = "/v3/feed/market-data-feed/authorize"


@dataclass
class Recorded:
    """A recorded answer of Upstox's v2 chain: what was quoted then, by instrument key."""

    spot: float
    contracts: list[dict[str, Any]] = field(default_factory=list)
    quotes: dict[str, dict[str, float]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def recorded(samples: Path) -> Recorded:
    line = gzip.decompress((samples / LOG).read_bytes()).decode().splitlines()[0]
    rows = ast.literal_eval(line.partition("Data fetched successfully: ")[2])["data"]
    found = Recorded(rows[0]["underlying_spot_price"])
    for row in rows:
        for side, name in (("CE", "call_options"), ("PE", "put_options")):
            leg = row[name]
            key, market = leg["instrument_key"], leg["market_data"]
            found.contracts.append(
                {"instrument_key": key, "instrument_type": side, "exchange": "NSE",
                 "underlying_symbol": "FINNIFTY", "underlying_key": INDEX, "expiry": row["expiry"],
                 "strike_price": row["strike_price"], "lot_size": 65, "segment": "NSE_FO"}
            )  # fmt: skip
            found.quotes[key] = {
                "ltp": market["ltp"], "bid": market["bid_price"], "ask": market["ask_price"],
                "bid_qty": market["bid_qty"], "ask_qty": market["ask_qty"], "oi": market["oi"],
                "volume": market["volume"], "iv": leg["option_greeks"]["iv"] / 100,
            }  # fmt: skip
    later = {**found.contracts[0], "instrument_key": "NSE_FO|later", "expiry": "2025-02-27"}
    future = {**found.contracts[0], "instrument_key": "NSE_FO|future", "instrument_type": "FUT"}
    found.contracts += [later, future]
    return found


@contextmanager
def upstox(
    recorded: Recorded, *scripts: Script, authorize: list[Reply] | None = None
) -> Iterator[tuple[ExchangeSite, FeedServer]]:
    """The API, and the feed whose address it gives: a new code for each connection."""
    with exchange_site() as site, feed_server(*scripts) as server:

        def address(_: Any, before: int) -> Reply:
            if authorize and before < len(authorize):
                return authorize[before]
            url = f"{server.url}/feeds?requestId=1&code={CODE}-{before}"
            return json_reply({"status": "success", "data": {"authorized_redirect_uri": url}})

        site.on(CONTRACTS_PATH, lambda *_: json_reply({"status": "success", "data": recorded.contracts}))
        site.on(AUTHORIZE, address)
        yield site, server


def listener(site: ExchangeSite, *, every_s: float = 0.1, silence_s: float = 30.0) -> Listen:
    async def listen(delivery: Delivery) -> None:
        await upstox_feed.listen(
            ["Nifty Fin Service"], delivery, access_token=SecretStr(TOKEN), expiries=1,
            today=lambda _: DAY, address=site.url, every_s=every_s,
            limits=Limits(silence_s=silence_s, open_timeout_s=20.0),
            backoff=Backoff(0.02, 0.05),
        )  # fmt: skip

    return listen


def subscribed(play: Play) -> None:
    """Two messages: the index, then the options."""
    play.hear()
    play.hear()


def by_hand(recorded: Recorded) -> Counter[tuple[Any, ...]]:
    """The rows that the recorded quotes must become."""
    found: Counter[tuple[Any, ...]] = Counter()
    for contract in recorded.contracts:
        quote = recorded.quotes.get(contract["instrument_key"])
        if quote is not None:
            prices = [quote[name] or None for name in ("ltp", "bid", "ask", "iv")]
            counts = [quote[name] for name in ("bid_qty", "ask_qty", "oi", "volume")]
            found[contract["strike_price"], contract["instrument_type"], *prices, *counts] += 1
    return found


def from_lake(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("strike", "option_type", "ltp", "bid", "ask", "iv", "bid_qty", "ask_qty", "oi", "volume")
    return tuple(row[name] for name in names)


@pytest.mark.parametrize("mode", ["option_greeks", "full"])
def test_every_recorded_quote_is_a_row_of_one_chain(
    lake: Any, new_run: Any, recorded: Recorded, mode: str
) -> None:
    leg, index = {
        "option_greeks": (packets.option, packets.index),
        "full": (packets.full_option, packets.full_index),
    }[mode]

    def script(play: Play) -> None:
        subscribed(play)
        play.send(packets.market_info(AT_MS))
        play.send(packets.response(packets.INITIAL, {INDEX: index(recorded.spot)}, AT_MS))
        feeds = {key: leg(quote) for key, quote in recorded.quotes.items()}
        play.send(packets.response(packets.LIVE, feeds, AT_MS))
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, server):
        run.until(lambda: run.delivery.counts.rows >= len(recorded.quotes), listener(site))
        asked = site.requests(AUTHORIZE)[0]
        assert site.requests(CONTRACTS_PATH)[0].query == {"instrument_key": INDEX}
        assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
        assert server.requests[0].path == f"/feeds?requestId=1&code={CODE}-0"
    wanted = [ast.literal_eval(message)["data"] for message in map(_json_of, server.heard)]
    assert [(one["mode"], set(one["instrumentKeys"])) for one in wanted] == [
        ("ltpc", {INDEX}), ("option_greeks", set(recorded.quotes))
    ]  # fmt: skip
    rows = lake.rows()
    assert Counter(map(from_lake, rows)) == by_hand(recorded)
    assert {(row["symbol"], row["event_time"], row["underlying_price"], row["source"]) for row in rows} == {
        ("FINNIFTY", AT, recorded.spot, "upstox-feed")
    }
    assert lake.rows("quarantine") == []
    assert run.ups == [True, False]


def _json_of(heard: str) -> str:
    """A binary frame as the server notes it: `b'...'`."""
    message = json.loads(ast.literal_eval(heard))
    assert message["method"] == "sub"
    assert message["guid"]
    return repr(message)


def test_a_cut_connection_is_made_again_with_an_address_of_its_own(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    keys = list(recorded.quotes)

    def part(play: Play, key: str, later_ms: int) -> None:
        subscribed(play)
        feeds = {key: packets.option(recorded.quotes[key])}
        play.send(packets.response(packets.LIVE, feeds, AT_MS + later_ms))

    def first(play: Play) -> None:
        part(play, keys[0], 0)
        play.cut()

    def second(play: Play) -> None:
        subscribed(play)
        play.send_half_a_frame()

    def third(play: Play) -> None:
        part(play, keys[1], 1_000)
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, first, second, third) as (site, server):
        run.until(lambda: run.delivery.counts.chains == 2, listener(site, every_s=0))
        codes = [request.path.rpartition("=")[2] for request in server.requests]
    assert codes == [f"{CODE}-{number}" for number in range(3)]
    assert run.ups == [True, False, True, False, True, False]
    assert {(row["strike"], row["event_time"]) for row in lake.rows()} == {
        (recorded.contracts[number]["strike_price"], AT.replace(second=26 + number)) for number in (0, 1)
    }


def test_messages_that_cannot_be_read_are_kept_whole_and_the_rest_is_taken(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    key, quote = next(iter(recorded.quotes.items()))
    good = packets.response(packets.LIVE, {key: packets.option(quote)}, AT_MS)
    foreign = packets.response(packets.LIVE, {"NSE_FO|1": packets.option(quote)}, AT_MS)
    empty = packets.response(packets.LIVE, {key: b""}, AT_MS)
    bad = {
        good[:-9]: "bad_protobuf",
        b"\xff" * 40: "bad_protobuf",
        foreign: "unknown_token",
        empty: "unknown_shape",
        packets.response(packets.LIVE, {key: packets.option(quote)}, -5): "bad_event_time",
    }

    def script(play: Play) -> None:
        subscribed(play)
        play.send(*bad, "<html>blocked</html>", good)
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, _):
        run.until(lambda: run.delivery.counts.chains == 1, listener(site, every_s=0))
    assert len(lake.rows()) == 1
    kept = [(json.loads(row["payload"]), row["reason"]) for row in lake.rows("quarantine")]
    assert sorted((str(payload), reason) for payload, reason in kept) == sorted(
        [*((str(_kept(content)), reason) for content, reason in bad.items()),
         ("<html>blocked</html>", "unknown_shape")]
    )  # fmt: skip
    assert lake.totals()["difference"] == 0


def _kept(content: bytes) -> Any:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"hex": content.hex()}


@pytest.mark.parametrize("name", ["ltp", "oi", "iv"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_a_value_that_cannot_be_is_kept_with_its_leg_and_costs_no_other(
    lake: Any, new_run: Any, recorded: Recorded, name: str, value: float
) -> None:
    (bad, quote), (good, other), *_ = recorded.quotes.items()

    def script(play: Play) -> None:
        subscribed(play)
        feeds = {bad: packets.option({**quote, name: value}), good: packets.option(other)}
        play.send(packets.response(packets.LIVE, feeds, AT_MS))
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, _):
        run.until(lambda: run.delivery.counts.rows == 2, listener(site))
    taken = [row[name] for row in lake.rows()]
    refused = len(lake.rows("quarantine"))
    assert len(lake.rows()) + refused == 2
    # Not a number is how a table says that there is none.
    assert refused == 1 or (str(value) == "nan" and None in taken)
    assert lake.totals()["difference"] == 0


def test_a_wrong_clock_is_refused_as_it_stands(lake: Any, new_run: Any, recorded: Recorded) -> None:
    key, quote = next(iter(recorded.quotes.items()))
    moments = [5, AT_MS]

    def script(play: Play) -> None:
        subscribed(play)
        for moment in moments:
            play.send(packets.response(packets.LIVE, {key: packets.option(quote)}, moment))
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, _):
        run.until(lambda: run.delivery.counts.chains == 2, listener(site, every_s=0))
    assert [row["event_time"] for row in lake.rows()] == [AT]
    assert [row["reason"] for row in lake.rows("quarantine")] == ["bad_event_time"]


def test_silence_is_noticed_although_segments_are_told_and_pings_answered(
    new_run: Any, recorded: Recorded
) -> None:
    def script(play: Play) -> None:
        subscribed(play)
        for _ in range(2_000):
            play.send(packets.market_info(AT_MS))
            if play.over(0.02):
                return

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, server):
        run.until(lambda: server.connections >= 2, listener(site, silence_s=0.3))
    assert run.states[1].why == "no data for 0.3 s"


def test_messages_with_the_time_alone_do_not_hide_silence(new_run: Any, recorded: Recorded) -> None:
    def script(play: Play) -> None:
        subscribed(play)
        for number in range(2_000):
            play.send(packets.response(packets.LIVE, {}, AT_MS + number), b"")
            if play.over(0.02):
                return

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, server):
        run.until(lambda: server.connections >= 2, listener(site, silence_s=0.3))
    assert run.states[1].why == "no data for 0.3 s"


def test_quotes_are_taken_whatever_the_message_says_it_is_and_a_broken_one_about_segments_is_kept(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    key, quote = next(iter(recorded.quotes.items()))
    feeds = {key: packets.option(quote)}
    in_another_order = packets.whole(3, AT_MS) + packets.response(packets.INFO, feeds, 0)

    def script(play: Play) -> None:
        subscribed(play)
        play.send(packets.market_info(AT_MS)[:-1], packets.market_info(AT_MS))
        play.send(packets.response(packets.INFO, feeds, AT_MS), in_another_order)
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, _):
        run.until(lambda: run.delivery.counts.chains == 2, listener(site, every_s=0))
    assert [row["event_time"] for row in lake.rows()] == [AT, AT]
    assert [row["reason"] for row in lake.rows("quarantine")] == ["bad_protobuf"]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_an_index_at_a_value_that_cannot_be_spoils_no_chain(
    lake: Any, new_run: Any, recorded: Recorded, value: float
) -> None:
    key, quote = next(iter(recorded.quotes.items()))

    def script(play: Play) -> None:
        subscribed(play)
        play.send(packets.response(packets.LIVE, {INDEX: packets.index(recorded.spot)}, AT_MS))
        feeds = {INDEX: packets.index(value), key: packets.option(quote)}
        play.send(packets.response(packets.LIVE, feeds, AT_MS))
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, _):
        run.until(lambda: run.delivery.counts.chains == 1, listener(site, every_s=0))
    assert [row["underlying_price"] for row in lake.rows()] == [recorded.spot]
    assert [row["reason"] for row in lake.rows("quarantine")] == ["bad_number"]


def test_an_instrument_that_was_not_asked_for_costs_no_other_in_its_message(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    (key, quote), (empty, _), *_ = recorded.quotes.items()
    feeds = {"NSE_FO|1": packets.full_option(quote), key: packets.option(quote), empty: b""}

    def script(play: Play) -> None:
        subscribed(play)
        play.send(packets.response(packets.LIVE, feeds, AT_MS))
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, script) as (site, _):
        run.until(lambda: run.delivery.counts.chains == 1, listener(site, every_s=0))
    assert len(lake.rows()) == 1
    kept = {row["reason"]: _bytes(row["payload"]) for row in lake.rows("quarantine")}
    assert set(kept) == {"unknown_token", "unknown_shape"}
    # All that came of it, and of it alone; protobuf may write fields in another order.
    alone = packets.response(packets.LIVE, {"NSE_FO|1": feeds["NSE_FO|1"]}, AT_MS)
    assert Counter(kept["unknown_token"]) == Counter(alone)
    assert kept["unknown_shape"] == packets.response(packets.LIVE, {empty: b""}, AT_MS)
    assert lake.totals()["difference"] == 0


def _bytes(payload: str) -> bytes:
    found = json.loads(payload)
    return found.encode() if isinstance(found, str) else bytes.fromhex(found["hex"])


def test_a_burst_keeps_the_newest_of_each_contract_and_counts_what_was_overtaken(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    key, quote = next(iter(recorded.quotes.items()))
    count = 400

    def script(play: Play) -> None:
        subscribed(play)
        for number in range(1, count + 1):
            feeds = {key: packets.option({**quote, "volume": 65 * number})}
            play.send(packets.response(packets.LIVE, feeds, AT_MS + number))
        play.stay()

    run = new_run("upstox-feed")

    def newest() -> bool:
        taken = run.delivery.counts
        return taken.chains >= 1 and not run.tap.stats().queued and seen_last(lake)

    def seen_last(lake: Any) -> bool:
        run.tap.flush()
        return any(row["volume"] == 65 * count for row in lake.rows())

    with upstox(recorded, script) as (site, _):
        run.until(newest, listener(site, every_s=0.05))
    rows = lake.rows()
    assert len(rows) < count
    assert max(row["volume"] for row in rows) == 65 * count
    assert run.delivery.counts.dropped == {}


def test_the_api_may_fail_first_and_pages_instead_of_json_are_kept(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    key, quote = next(iter(recorded.quotes.items()))

    def script(play: Play) -> None:
        subscribed(play)
        play.send(packets.response(packets.LIVE, {key: packets.option(quote)}, AT_MS))
        play.stay()

    page = Reply(body=b"<html>maintenance</html>")
    secret = f"wss://feed.example/?code={CODE}"
    fails = [
        page, Reply(500, b"{}"), Reply(429, b"{}"), json_reply({"status": "success", "data": {}}),
        json_reply({"status": "success", "data": {"address": secret}}),
        Reply(body=b'{"data": {"authorized_redirect_uri": "' + secret.encode()),
    ]  # fmt: skip
    run = new_run("upstox-feed")
    with upstox(recorded, script, authorize=list(fails)) as (site, server):
        chain = json_reply({"status": "success", "data": recorded.contracts})
        site.on(CONTRACTS_PATH, in_turn(page, json_reply({"status": "error"}), chain))
        run.until(lambda: run.delivery.counts.chains == 1, listener(site))
        assert len(site.requests(CONTRACTS_PATH)) == 3
        assert len(site.requests(AUTHORIZE)) == len(fails) + 1
        assert server.connections == 1
    assert Counter(row["reason"] for row in lake.rows("quarantine")) == {
        "html_instead_of_json": 2, "unknown_shape": 4
    }  # fmt: skip
    assert CODE not in str(lake.rows("quarantine"))
    assert run.ups == [False, True, False]


def test_an_address_that_is_refused_is_asked_for_anew_while_the_token_is_good(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    """One connection an app: the server may count the last one for a while after it was cut.

    Each time anew: what was refused before the last good connection counts no more.
    """
    key, quote = next(iter(recorded.quotes.items()))

    def cut(play: Play) -> None:
        subscribed(play)
        play.send(packets.response(packets.LIVE, {key: packets.option(quote)}, AT_MS))
        server.refuse_next(6, HTTPStatus.FORBIDDEN)
        play.cut()

    def after(play: Play) -> None:
        subscribed(play)
        play.send(packets.response(packets.LIVE, {key: packets.option(quote)}, AT_MS + 1_000))
        play.stay()

    run = new_run("upstox-feed")
    with upstox(recorded, cut, cut, after) as (site, server):
        run.until(lambda: run.delivery.counts.chains == 3, listener(site, every_s=0))
        codes = [request.path.rpartition("=")[2] for request in server.requests]
    assert codes == [f"{CODE}-{number}" for number in range(15)]
    assert run.ups == [True, False, True, False, True, False]
    assert len(lake.rows()) == 3


def test_addresses_that_are_refused_again_and_again_end_it_with_words(
    new_run: Any, recorded: Recorded
) -> None:
    run = new_run("upstox-feed")
    with upstox(recorded, lambda play: play.stay()) as (site, server):
        server.refuse_next(1_000, HTTPStatus.UNAUTHORIZED)
        with pytest.raises(SettingsError, match="HTTP 401") as raised:
            run.until(lambda: False, listener(site))
    assert server.connections == 10
    assert CODE not in str(raised.value)


def test_a_list_of_contracts_with_a_strike_that_no_number_holds_is_kept_and_asked_for_again(
    lake: Any, new_run: Any, recorded: Recorded
) -> None:
    bad = [{**recorded.contracts[0], "strike_price": 10**400}]
    run = new_run("upstox-feed")
    with upstox(recorded, lambda play: play.stay()) as (site, _):
        good = json_reply({"status": "success", "data": recorded.contracts})
        site.on(CONTRACTS_PATH, in_turn(json_reply({"status": "success", "data": bad}), good))
        run.until(lambda: True in run.ups, listener(site))
    assert [row["reason"] for row in lake.rows("quarantine")] == ["unknown_shape"]


@pytest.mark.parametrize("path", [CONTRACTS_PATH, AUTHORIZE])
def test_a_token_that_ended_gives_up_with_words_and_without_the_token(
    new_run: Any, recorded: Recorded, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    run = new_run("upstox-feed")
    with (
        caplog.at_level(logging.DEBUG),
        upstox(recorded, lambda play: play.stay()) as (site, server),
    ):
        site.on(path, lambda *_: Reply(401, b'{"status": "error"}'))
        with pytest.raises(SettingsError, match="upstox_access_token") as raised:
            run.until(lambda: False, listener(site))
    assert server.connections == 0
    assert TOKEN not in str(raised.value) + caplog.text


def test_neither_token_nor_address_is_logged(
    new_run: Any, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run("upstox-feed")

    def script(play: Play) -> None:
        subscribed(play)
        play.cut()

    with caplog.at_level(logging.DEBUG), upstox(recorded, script) as (site, server):
        run.until(lambda: server.connections >= 2, listener(site))
    told = caplog.text + "".join(str(vars(record)) for record in caplog.records) + str(run.states)
    assert TOKEN not in told
    assert CODE not in told


def test_an_address_that_is_not_encrypted_is_refused_and_none_is_taken_from_another_scheme(
    new_run: Any, recorded: Recorded
) -> None:
    answer = json_reply({"data": {"authorized_redirect_uri": "ws://feed.example/?code=1"}})
    run = new_run("upstox-feed")
    with (
        upstox(recorded, lambda play: play.stay(), authorize=[answer]) as (site, _),
        pytest.raises(SettingsError, match="this machine only"),
    ):
        run.until(lambda: False, listener(site))


def test_more_instruments_than_one_connection_carries_are_refused(new_run: Any, recorded: Recorded) -> None:
    many = [{**recorded.contracts[0], "instrument_key": f"NSE_FO|{number}"} for number in range(2_000)]
    run = new_run("upstox-feed")
    with (
        upstox(Recorded(1.0, many), lambda play: play.stay()) as (site, _),
        pytest.raises(SettingsError, match="choose fewer"),
    ):
        run.until(lambda: False, listener(site))


def test_the_command_runs_it_and_never_shows_the_token(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKELAKE_UPSTOX_ACCESS_TOKEN", TOKEN)
    coming = [{**one, "expiry": "2099-01-29"} for one in recorded.contracts]
    key, quote = next(iter(recorded.quotes.items()))

    def script(play: Play) -> None:
        subscribed(play)
        play.send(packets.response(packets.LIVE, {key: packets.option(quote)}, AT_MS))
        play.stay()

    with upstox(Recorded(1.0, coming, recorded.quotes), script) as (site, _):
        done = call(
            ["--root", str(tmp_path / "lake"), "ingest", "run", "--source", "upstox-feed", "--symbols",
             "FINNIFTY", "--base-url", site.url, "--for", "3", "--output", "json", "--always"]
        )  # fmt: skip
    summary = json.loads(done.stdout)
    assert (summary["chains"], summary["committed"]) == (1, True)
    assert "upstox-feed NSE up" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


@given(st.binary(max_size=300))
def test_any_bytes_are_a_feed_or_an_error_of_it(content: bytes) -> None:
    with suppress(FeedError):
        assert all(isinstance(tick.key, str) for tick in read_feed(content).ticks)
    assert isinstance(has_ticks(content), bool)
    assert all(isinstance(key, str) for key in keys_in(content))
