"""Streams: one poll for all pages, slow pages, pages that go, and what a reader sees within two seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from health_lake import NOW, build
from page_server import noon, serving

from monitors.dashboard.live import Fragment, LiveFeed


class Source:
    """Fragments that change with every poll, and how often they were made."""

    def __init__(self) -> None:
        self.polls = 0
        self.fails = False

    async def produce(self) -> list[Fragment]:
        self.polls += 1
        if self.fails:
            raise RuntimeError("broken")
        return [Fragment("a", f"<p>{self.polls}</p>"), Fragment("b", "<p>same</p>")]


def feed_of(source: Source, **more: float) -> LiveFeed:
    return LiveFeed({"now": source.produce}, **{"every_s": 0.01, "heartbeat_s": 0.05, **more})


async def until(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wait for something, not for a time."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))  # type: ignore[arg-type]


def test_fifty_pages_cost_one_poll() -> None:
    async def test() -> None:
        source = Source()
        feed = feed_of(source, every_s=0.2)
        streams = [feed.stream("now") for _ in range(50)]
        for stream in streams:
            await anext(stream)
        got = await asyncio.gather(*(anext(stream) for stream in streams))
        assert len({text for text in got if b"hx-partial" in text}) == 1
        # Each got the first poll's fragments; a second may have been made meanwhile.
        assert source.polls <= 2
        for stream in streams:
            await stream.aclose()
        assert feed.pages == 0

    run(test)


def test_only_what_changed_is_sent_again() -> None:
    async def test() -> None:
        feed = feed_of(Source())
        stream = feed.stream("now")
        await anext(stream)
        first, second = await anext(stream), await anext(stream)
        assert b"same" in first
        assert b'hx-target="#a"' in second
        assert b"same" not in second
        await stream.aclose()

    run(test)


def test_a_page_that_does_not_read_gets_the_newest_and_holds_up_nobody() -> None:
    async def test() -> None:
        source = Source()
        feed = feed_of(source)
        slow = feed.stream("now")
        await anext(slow)
        await until(lambda: source.polls > 20)
        (page,) = feed._topics["now"].pages
        assert len(page.waiting) == 2  # one for each fragment, however many polls there were
        text = (await anext(slow)).decode()
        assert text.count("hx-partial hx-target") == 2
        assert int(text.partition("<p>")[2].partition("<")[0]) > 15
        await slow.aclose()

    run(test)


def test_nothing_is_polled_while_nobody_looks() -> None:
    async def test() -> None:
        source = Source()
        feed = feed_of(source)
        first, second = feed.stream("now"), feed.stream("now")
        await anext(first)
        await anext(second)
        await until(lambda: source.polls > 2)
        await first.aclose()
        before = source.polls
        await until(lambda: source.polls > before)  # one still looks
        await second.aclose()
        await asyncio.sleep(0)
        after = source.polls
        await asyncio.sleep(0.1)
        assert source.polls == after
        third = feed.stream("now")
        await anext(third)
        await until(lambda: source.polls > after)
        await third.aclose()

    run(test)


def test_a_poll_that_fails_sends_no_sign_that_all_is_well() -> None:
    async def test() -> None:
        source = Source()
        source.fails = True
        feed = feed_of(source)
        stream = feed.stream("now")
        got = [await anext(stream) for _ in range(4)]
        # The connection is there, and nothing else is said.
        assert got[1:] == [b"event: alive\ndata: 1\n\n"] * 3
        source.fails = False
        while b"hx-partial" not in got[-1]:
            got.append(await anext(stream))
        await stream.aclose()

    run(test)


def test_who_comes_after_all_have_gone_is_told_nothing_of_then() -> None:
    async def test() -> None:
        asked, answered = asyncio.Event(), asyncio.Event()
        made = 0

        async def produce() -> list[Fragment]:
            nonlocal made
            made += 1
            if made > 1:
                asked.set()
                await answered.wait()
            return [Fragment("a", f"<p>look {made}</p>"), Fragment("b", "<p>same</p>")]

        feed = LiveFeed({"now": produce}, every_s=60.0, heartbeat_s=0.05)
        first = feed.stream("now")
        await anext(first)
        assert b"look 1" in await anext(first)
        await first.aclose()  # the last tab, at the close of yesterday
        second = feed.stream("now")
        said = [await anext(second)]
        await asked.wait()
        said.append(await anext(second))
        assert b"look" not in b"".join(said)
        answered.set()
        while b"hx-partial" not in said[-1]:
            said.append(await anext(second))
        # What is the same as then as well: this page was never sent it.
        assert b"look 2" in said[-1]
        assert b"same" in said[-1]
        await second.aclose()

    run(test)


def test_quiet_polls_are_told_by_a_beat() -> None:
    async def test() -> None:
        async def produce() -> list[Fragment]:
            return [Fragment("a", "<p>always</p>")]

        feed = LiveFeed({"now": produce}, every_s=0.01, heartbeat_s=0.05)
        stream = feed.stream("now")
        got = [await anext(stream) for _ in range(4)]
        assert b"always" in got[1]
        assert got[2].startswith(b"event: beat\ndata: ")
        assert abs(int(got[2].split()[-1]) / 1000 - time.time()) < 30
        await stream.aclose()

    run(test)


def test_the_end_of_the_feed_ends_every_stream() -> None:
    async def test() -> None:
        feed = feed_of(Source(), every_s=60.0, heartbeat_s=60.0)

        async def read() -> int:
            return len([text async for text in feed.stream("now")])

        readers = [asyncio.create_task(read()) for _ in range(3)]
        await until(lambda: feed.pages == 3)
        feed.close()
        assert min(await asyncio.gather(*readers)) >= 1
        assert feed.is_full

    run(test)


def test_one_stream_too_many_is_refused_until_one_goes() -> None:
    async def test() -> None:
        feed = LiveFeed({"now": Source().produce}, most_pages=2)
        streams = [feed.stream("now") for _ in range(2)]
        for stream in streams:
            await anext(stream)
        assert feed.is_full
        await streams[0].aclose()
        assert not feed.is_full
        await streams[1].aclose()

    run(test)


def test_data_cannot_end_a_message_early() -> None:
    async def test() -> None:
        async def produce() -> list[Fragment]:
            return [Fragment("a", "one\r\n\r\nevent: evil\rdata: x\n\ntwo")]

        feed = LiveFeed({"now": produce})
        stream = feed.stream("now")
        await anext(stream)
        text = (await anext(stream)).decode()
        assert text.endswith("\n\n")
        lines = text.rstrip("\n").split("\n")
        assert all(line.startswith(("data: ", "id: ")) for line in lines)
        assert "\r" not in text
        await stream.aclose()

    run(test)


def test_a_row_that_is_spooled_is_seen_within_two_seconds_and_a_page_that_goes_is_forgotten(
    tmp_path: Path,
) -> None:
    made = build(tmp_path)
    made.spool("live").close()
    with serving(made.settings, clock=noon) as served, served.client() as client:
        with client.stream("GET", "/live/now") as stream:
            texts = stream.iter_text()
            next(text for text in texts if "now-NSE" in text)
            made.spool_rows("live", 7_321, spooled=NOW)
            spooled = time.monotonic()
            next(text for text in texts if "7,321" in text)
            # Two seconds by the clock of the page; a busy machine adds to it.
            assert time.monotonic() - spooled < 6
            assert served.dashboard.live.pages == 1
        end = time.monotonic() + 10
        while served.dashboard.live.pages and time.monotonic() < end:
            time.sleep(0.02)
        assert served.dashboard.live.pages == 0


def test_a_section_that_is_not_there_has_no_stream(tmp_path: Path) -> None:
    made = build(tmp_path)
    with serving(made.settings, clock=noon) as served, served.client() as client:
        assert client.get("/live/nothing").status_code == httpx.codes.NOT_FOUND
