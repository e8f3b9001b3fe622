"""The WebSocket source against a real server that replays NSE's JSON, and breaks in all the known ways."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from feed_server import FeedServer, Play, feed_server
from pydantic import SecretStr

from ingest.live.backoff import Backoff
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.messages import MessageReader
from ingest.live.runner import Listen
from ingest.live.websocket import Endpoint, Limits, WebSocketFeed
from lake.errors import SettingsError

NIFTY = "nse_api_json/v1/nifty_option_chain.at_9713306.json.gz"
BANKNIFTY = "nse_api_json/v1/banknifty_option_chain.at_de0e2fe.json.gz"
SECRET = "s3cr3t-feed-token"  # noqa: S105 - made up
SUBSCRIBE = '{"subscribe": ["NIFTY"]}'


@pytest.fixture
def nifty(samples: Path) -> str:
    return gzip.decompress((samples / NIFTY).read_bytes()).decode()


@pytest.fixture
def banknifty(samples: Path) -> str:
    return gzip.decompress((samples / BANKNIFTY).read_bytes()).decode()


def legs_by_hand(*documents: str) -> Counter[tuple[Any, ...]]:
    """Every leg of NSE documents, read without the code under test."""
    legs: Counter[tuple[Any, ...]] = Counter()
    for document in documents:
        for row in json.loads(document)["records"]["data"]:
            for kind in ("CE", "PE"):
                if kind in row:
                    leg = row[kind]
                    expiry = datetime.strptime(row["expiryDate"], "%d-%b-%Y").date()  # noqa: DTZ007
                    legs[expiry, float(row["strikePrice"]), kind, leg["lastPrice"] or None] += 1
    return legs


def legs_in_lake(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter((row["expiry"], row["strike"], row["option_type"], row["ltp"]) for row in rows)


def listener(
    server: FeedServer, reference: Any, *, parse: Callable[[Message], object] | None = None, **limits: Any
) -> Listen:
    """The source as the command line makes it, with short waits."""

    async def listen(delivery: Delivery) -> None:
        reader = MessageReader("nse-json", reference, delivery, exchange="NSE")
        feed = WebSocketFeed(
            Endpoint(
                url=SecretStr(f"{server.url}/feed?token={SECRET}"),
                shown=server.url,
                headers={"Authorization": f"Bearer {SECRET}"},
                subscriptions=(SUBSCRIBE,),
            ),
            delivery,
            parse or reader.take,
            exchanges=("NSE",),
            limits=Limits(**{"silence_s": 30.0, "open_timeout_s": 20.0, **limits}),
            backoff=Backoff(first_s=0.01, most_s=0.05),
        )
        await feed.run()

    return listen


def test_rows_before_and_after_a_dropped_connection_are_there_exactly_once(
    lake: Any, new_run: Any, reference: Any, nifty: str, banknifty: str
) -> None:
    def first(play: Play) -> None:
        play.hear()
        play.send(nifty)
        play.send_half_a_frame()

    def second(play: Play) -> None:
        play.hear()
        play.send(banknifty)
        play.stay()

    run = new_run("websocket")
    with feed_server(first, second) as server:
        result = run.until(lambda: run.delivery.counts.chains == 2, listener(server, reference))
    assert result.committed
    assert server.heard == [SUBSCRIBE, SUBSCRIBE]
    rows = lake.rows()
    assert legs_in_lake(rows) == legs_by_hand(nifty, banknifty)
    assert {row["source"] for row in rows} == {"websocket"}
    assert run.ups == [True, False, True, False]
    totals = lake.totals()
    assert totals["difference"] == 0
    assert totals["committed"] == len(rows)


def test_open_interest_and_the_clock_are_as_the_source_has_them(
    lake: Any, new_run: Any, reference: Any, nifty: str
) -> None:
    """The recording is more than a year old: a clock that is wrong by that much is kept, not corrected."""
    run = new_run("websocket")
    with feed_server(lambda play: (play.hear(), play.send(nifty), play.stay())[-1]) as server:
        run.until(lambda: run.delivery.counts.chains == 1, listener(server, reference))
    rows = lake.rows()
    as_sent = datetime(2025, 7, 16, 10, 0, tzinfo=UTC)
    assert {row["event_time"] for row in rows} == {as_sent}
    assert all(abs((row["received_time"] - datetime.now(UTC)).total_seconds()) < 600 for row in rows)
    contracts = sum(
        row[kind]["openInterest"]
        for row in json.loads(nifty)["records"]["data"]
        for kind in ("CE", "PE")
        if kind in row
    )
    assert sum(row["oi"] for row in rows) == pytest.approx(contracts * 75, abs=1)


def test_a_silent_feed_is_left_and_its_state_is_told(
    lake: Any, new_run: Any, reference: Any, nifty: str
) -> None:
    def silent(play: Play) -> None:
        play.hear()
        play.send(nifty)
        play.stay()

    run = new_run("websocket")
    with feed_server(silent) as server:
        run.until(lambda: run.delivery.counts.chains >= 2, listener(server, reference, silence_s=0.3))
    assert server.connections >= 2
    assert run.ups[:3] == [True, False, True]
    assert run.states[1].why == "no data for 0.3 s"
    assert lake.totals()["difference"] == 0


def test_a_burst_is_bounded_in_memory_and_every_drop_is_in_the_ledger(
    lake: Any, new_run: Any, reference: Any, nifty: str
) -> None:
    """Ten times what the queue holds comes while the parser stands still."""
    sent, held = 200, 20
    go_on = threading.Event()
    run = new_run("websocket")

    def burst(play: Play) -> None:
        play.hear()
        play.send(*[nifty] * sent)
        play.stay()

    reader = MessageReader("nse-json", reference, run.delivery, exchange="NSE")

    def slow(message: Message) -> None:
        go_on.wait()
        reader.take(message)

    def seen() -> bool:
        counts = run.delivery.counts
        dropped = sum(counts.dropped.values())
        if dropped == sent - held - 1:
            go_on.set()
        return counts.chains + dropped == sent

    with feed_server(burst) as server:
        run.until(seen, listener(server, reference, parse=slow, queue_messages=held))
    assert run.delivery.counts.dropped == {"handover_full": sent - held - 1}
    assert run.delivery.counts.chains == held + 1
    assert lake.drops("live") == {"handover_full": sent - held - 1}
    totals = lake.totals()
    assert totals["difference"] == 0
    assert totals["committed"] == (held + 1) * sum(legs_by_hand(nifty).values())


def test_what_is_no_chain_is_kept_whole_and_the_feed_goes_on(
    lake: Any, new_run: Any, reference: Any, nifty: str, samples: Path
) -> None:
    page = (samples / "nse_api_json/not_json/nifty_option_chain.json").read_text(encoding="utf-8")
    bad = [page, '{"records": {"data": [', "[" * 100_000, "{}", b"\xff\xfe\x00", nifty[: len(nifty) // 2]]

    def script(play: Play) -> None:
        play.hear()
        play.send(*bad, nifty)
        play.stay()

    run = new_run("websocket")
    with feed_server(script) as server:
        run.until(lambda: run.delivery.counts.chains == 1, listener(server, reference))
    kept = [row for row in lake.rows("quarantine") if row["table"] == "option_chain"]
    assert Counter(row["reason"] for row in kept) == {
        "html_instead_of_json": 1, "malformed_json": 3, "unknown_shape": 1, "undecodable": 1,
    }  # fmt: skip
    assert {row["source"] for row in kept} == {"websocket"}
    payloads = {json.loads(row["payload"]) for row in kept if row["reason"] == "html_instead_of_json"}
    assert payloads == {page}
    assert lake.totals()["difference"] == 0
    assert legs_in_lake(lake.rows()) == legs_by_hand(nifty)


def test_a_message_beyond_the_limit_costs_the_connection_and_is_told(
    lake: Any, new_run: Any, reference: Any, nifty: str
) -> None:
    def huge(play: Play) -> None:
        play.hear()
        play.send("x" * (2 << 20))
        play.stay()

    def good(play: Play) -> None:
        play.hear()
        play.send(nifty)
        play.stay()

    run = new_run("websocket")
    with feed_server(huge, good) as server:
        run.until(lambda: run.delivery.counts.chains == 1, listener(server, reference, message_bytes=1 << 20))
    assert run.delivery.counts.rejected == {"message_too_large": 1}
    assert [row["reason"] for row in lake.rows("quarantine")] == ["message_too_large"]
    assert run.states[1].why == "a message was longer than 1,048,576 bytes"


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
def test_refused_credentials_end_the_run_at_once(new_run: Any, reference: Any, status: HTTPStatus) -> None:
    run = new_run("websocket")
    with (
        feed_server(lambda play: play.stay(), refuse=status) as server,
        pytest.raises(SettingsError, match=f"HTTP {status.value}") as raised,
    ):
        run.until(lambda: False, listener(server, reference))
    assert server.connections == 1
    assert SECRET not in str(raised.value)


def test_a_server_that_is_down_is_tried_again_and_again(new_run: Any, reference: Any) -> None:
    run = new_run("websocket")
    with feed_server(lambda play: play.stay(), refuse=HTTPStatus.BAD_GATEWAY) as server:
        run.until(lambda: server.connections >= 4, listener(server, reference))
    assert run.ups == [False]
    assert run.states[0].why == "the server answered HTTP 502"


def test_a_redirect_to_another_host_is_not_followed_and_one_on_the_same_is(
    new_run: Any, reference: Any
) -> None:
    """A subscription may hold a token, as headers do: neither is for another host."""
    run = new_run("websocket")
    with (
        feed_server(lambda play: (play.hear(), play.stay())[-1]) as server,
        feed_server(lambda play: (play.hear(), play.stay())[-1]) as elsewhere,
    ):
        server.redirects["/feed"] = f"{elsewhere.url}/feed?token={SECRET}"
        run.until(lambda: server.connections >= 3, listener(server, reference))
        assert (elsewhere.connections, elsewhere.heard) == (0, [])
        assert run.states[0].why == "the server answered HTTP 307"
        server.redirects["/feed"] = "/other"
        again = new_run("websocket")
        again.until(lambda: server.heard == [SUBSCRIBE], listener(server, reference))
    assert [request.path for request in server.requests[-2:]] == [f"/feed?token={SECRET}", "/other"]


def test_no_secret_is_in_the_log_at_debug_or_in_a_repr(
    new_run: Any, reference: Any, nifty: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run("websocket")
    with (
        caplog.at_level(logging.DEBUG),
        feed_server(lambda play: (play.hear(), play.send(nifty), play.cut())[-1]) as server,
    ):
        run.until(lambda: server.connections >= 2, listener(server, reference))
        assert SECRET in server.requests[0].path
        assert server.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert "connection changed" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in "".join(str(vars(record)) for record in caplog.records)
    endpoint = Endpoint(
        url=SecretStr(SECRET), shown="wss://x", headers={"A": SECRET}, subscriptions=(SECRET,)
    )
    assert SECRET not in repr(endpoint)
