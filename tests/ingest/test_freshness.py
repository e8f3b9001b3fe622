"""A feed is called fresh only while it is known to live, and minutes without a word are noted."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest import raw_stream
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.feed_quality import FeedQuality
from ingest.freshness import Freshness
from ingest.simulator import simulate_session
from ingest.tap import StreamTap
from ingest.worker import TapWorkers
from lake.spool import Spool

DAY = date(2026, 6, 11)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def updates(reference: ReferenceData) -> list[ChainUpdate]:
    stream = simulate_session(DAY, reference, seed=4, symbols=["NIFTY"], strikes=10, expiries=1)
    return [next(stream) for _ in range(12)]


@pytest.fixture
def quality(reference: ReferenceData) -> FeedQuality:
    return FeedQuality(reference.calendar, live=True)


def now(update: ChainUpdate, *, ago_s: float = 0.0) -> ChainUpdate:
    """The same chain, as if it had happened and come just now; the day of today may have no session."""
    moved = copy.copy(update)
    received = datetime.now(UTC) - timedelta(seconds=ago_s)
    moved.event_time, moved.received_ns = received, int(received.timestamp() * 1e6) * 1000
    return moved


def without_volume(update: ChainUpdate) -> ChainUpdate:
    """Volumes would be those of the session before, at an hour when there is none."""
    moved = copy.copy(update)
    moved.calls = [{**leg, "volume": None} for leg in update.calls]
    moved.puts = [{**leg, "volume": None} for leg in update.puts]
    return moved


class TestIsFresh:
    def test_a_feed_lives_from_its_second_chain_on(
        self, quality: FeedQuality, updates: list[ChainUpdate], reference: ReferenceData
    ) -> None:
        fresh = quality.freshness
        assert not fresh.is_fresh("NSE", 60)
        convert([now(without_volume(updates[0]))], reference, quality=quality)
        assert not fresh.is_fresh("NSE", 60), "nothing to compare the first one with"
        convert([now(without_volume(updates[1]))], reference, quality=quality)
        assert fresh.is_fresh("NSE", 60)
        assert fresh.is_fresh("nfo", 60, "nifty 50"), "other names of the same"
        assert not fresh.is_fresh("NSE", 60, "BANKNIFTY")
        assert not fresh.is_fresh("BSE", 60)

    def test_a_chain_that_is_repeated_is_no_sign_of_life(
        self, quality: FeedQuality, updates: list[ChainUpdate], reference: ReferenceData
    ) -> None:
        same = without_volume(updates[0])
        for _ in range(3):
            convert([now(same)], reference, quality=quality)
        assert not quality.freshness.is_fresh("NSE", 60)

    def test_a_chain_that_came_long_ago_is_no_sign_of_life(
        self, quality: FeedQuality, updates: list[ChainUpdate], reference: ReferenceData
    ) -> None:
        for number, ago_s in enumerate((40.0, 30.0)):
            convert([now(without_volume(updates[number]), ago_s=ago_s)], reference, quality=quality)
        assert quality.freshness.is_fresh("NSE", 60)
        assert not quality.freshness.is_fresh("NSE", 20)

    def test_a_chain_that_is_late_is_no_sign_of_life(
        self, quality: FeedQuality, updates: list[ChainUpdate], reference: ReferenceData
    ) -> None:
        for number in range(2):
            moved = now(without_volume(updates[number]))
            moved.event_time -= timedelta(seconds=200)
            convert([moved], reference, quality=quality)
        assert not quality.freshness.is_fresh("NSE", 600)

    def test_a_connection_that_is_down_makes_its_feed_stale_until_a_chain_comes_over_the_new_one(
        self,
    ) -> None:
        fresh = Freshness()
        fresh.connection("NSE", "kite", up=True)
        fresh.chain_lives("NSE", "NIFTY", "kite", time.monotonic())
        assert fresh.is_fresh("NSE", 60)
        fresh.connection("NSE", "other", up=False)
        assert fresh.is_fresh("NSE", 60), "another source's connection"
        fresh.connection("NSE", "kite", up=False)
        assert not fresh.is_fresh("NSE", 60)
        fresh.connection("NSE", "kite", up=True)
        assert not fresh.is_fresh("NSE", 60), "it came over the connection that was lost"
        fresh.chain_lives("NSE", "NIFTY", "kite", time.monotonic())
        assert fresh.is_fresh("NSE", 60)

    def test_a_chain_from_the_future_is_no_sign_of_life(self) -> None:
        fresh = Freshness()
        fresh.chain_lives("NSE", "NIFTY", "kite", time.monotonic() + 100)
        assert not fresh.is_fresh("NSE", 60)


class TestTap:
    def test_a_tap_tells_whether_its_feed_lives(self, lake: Any, updates: list[ChainUpdate]) -> None:
        tap = StreamTap(lake.settings)
        tap.connection("NSE", "simulator", up=True)
        assert not tap.is_fresh("NSE")
        for number in range(2):
            assert tap.put(now(without_volume(updates[number])))
            time.sleep(0.001)  # the clock must move between two chains
        lake.wait(lambda: tap.is_fresh("NSE"), until="the drain judged both")
        assert not tap.is_fresh("NSE", within_s=0.0)
        assert not tap.is_fresh("BSE")
        tap.connection("NSE", "simulator", up=False)
        assert not tap.is_fresh("NSE")
        assert tap.close()

    def test_a_tap_whose_drain_is_gone_is_never_fresh(self, lake: Any, updates: list[ChainUpdate]) -> None:
        tap = StreamTap(lake.settings)
        for number in range(2):
            tap.put(now(without_volume(updates[number])))
            time.sleep(0.001)
        lake.wait(lambda: tap.is_fresh("NSE"), until="the drain judged both")
        assert tap.close()
        assert not tap.is_fresh("NSE")

    def test_a_tap_that_was_not_started_is_never_fresh(self, lake: Any) -> None:
        tap = StreamTap(lake.settings, start=False)
        tap.freshness.chain_lives("NSE", "NIFTY", "live", time.monotonic())
        assert not tap.is_fresh("NSE")

    @pytest.mark.parametrize("exchange", [None, 5, "MCX", "", [], object()])
    def test_whatever_is_asked_and_told_nothing_is_raised(self, lake: Any, exchange: Any) -> None:
        tap = StreamTap(lake.settings)
        assert tap.is_fresh(exchange) is False
        assert tap.is_fresh("NSE", within_s="soon") is False  # type: ignore[arg-type]
        tap.connection(exchange, [], up=True)  # type: ignore[arg-type]
        assert tap.close()

    def test_without_a_capture_nothing_is_fresh(self) -> None:
        assert raw_stream.is_fresh("NSE") is False


@pytest.fixture
def opening(reference: ReferenceData) -> datetime:
    session = reference.calendar.session("NSE", DAY)
    assert session is not None
    return session.open.astimezone(UTC)


class Clock:
    """Looks at the feed every quarter of a minute, as a drain would more often."""

    def __init__(self, quality: FeedQuality, start: datetime) -> None:
        self.quality, self.moment = quality, start
        self.rows: list[dict[str, Any]] = []

    def run(self, until: datetime) -> None:
        while self.moment < until:
            self.moment += timedelta(seconds=15)
            for entry in self.quality.look(int(self.moment.timestamp() * 1e6)):
                self.rows += entry.batch.to_pylist()

    def noted(self) -> Iterator[tuple[str, str, str, float]]:
        for row in self.rows:
            yield row["detector"], row["symbol"], f"{row['event_time']:%H:%M}", row["value"]


class TestSilence:
    def feed(
        self, quality: FeedQuality, reference: ReferenceData, update: ChainUpdate, moment: datetime
    ) -> None:
        moved = copy.copy(update)
        moved.event_time, moved.received_ns = moment, int(moment.timestamp()) * 1_000_000_000
        convert([moved], reference, quality=quality)

    def test_minutes_without_a_chain_are_silent_and_the_others_are_not(
        self,
        quality: FeedQuality,
        updates: list[ChainUpdate],
        reference: ReferenceData,
        opening: datetime,
    ) -> None:
        clock = Clock(quality, opening)
        for minute in (1, 2, 3, 6, 7):
            clock.run(opening + minute * MINUTE)
            self.feed(quality, reference, updates[minute], opening + minute * MINUTE)
        clock.run(opening + 11 * MINUTE)
        first = opening + 4 * MINUTE
        # Chains come once a minute, so a feed is silent from three minutes on.
        assert list(clock.noted()) == [
            ("silent", "NIFTY", f"{first + MINUTE:%H:%M}", 180.0),
            ("silent", "NIFTY", f"{opening + 9 * MINUTE:%H:%M}", 180.0),
            ("silent", "NIFTY", f"{opening + 10 * MINUTE:%H:%M}", 240.0),
        ]
        assert {row["source"] for row in clock.rows} == {updates[0].source}
        assert {row["detail"] for row in clock.rows} == {"connection up"}

    def test_a_feed_whose_connection_is_down_is_disconnected_and_not_silent(
        self,
        quality: FeedQuality,
        updates: list[ChainUpdate],
        reference: ReferenceData,
        opening: datetime,
    ) -> None:
        clock = Clock(quality, opening)
        clock.run(opening + MINUTE)
        self.feed(quality, reference, updates[1], opening + MINUTE)
        quality.freshness.connection("NSE", updates[1].source, up=False)
        clock.run(opening + 4 * MINUTE)
        assert [(each[0], each[1]) for each in clock.noted()] == [("disconnected", "NIFTY")] * 2

    def test_a_source_that_connected_and_never_sent_is_disconnected_when_it_goes_down(
        self, quality: FeedQuality, opening: datetime
    ) -> None:
        quality.freshness.connection("NSE", "kite", up=False)
        clock = Clock(quality, opening)
        clock.run(opening + 2 * MINUTE)
        assert [(each[0], each[1]) for each in clock.noted()] == [("disconnected", "*")] * 2

    def test_outside_the_session_nobody_has_to_speak(
        self,
        quality: FeedQuality,
        updates: list[ChainUpdate],
        reference: ReferenceData,
        opening: datetime,
    ) -> None:
        self.feed(quality, reference, updates[0], opening - 30 * MINUTE)
        clock = Clock(quality, opening - 20 * MINUTE)
        clock.run(opening)
        assert clock.rows == []
        closing = opening + 375 * MINUTE
        self.feed(quality, reference, updates[1], closing - timedelta(seconds=10))
        clock = Clock(quality, closing)
        clock.run(closing + 20 * MINUTE)
        assert clock.rows == []

    def test_the_drain_of_a_tap_notes_silence_in_the_ledger_and_the_spool(
        self, lake: Any, updates: list[ChainUpdate], opening: datetime
    ) -> None:
        clock = [opening]
        tap = StreamTap(lake.but(committer="process"), start=False)
        workers = TapWorkers(tap, clock_ns=lambda: int(clock[0].timestamp()) * 1_000_000_000)
        workers.start()
        moved = copy.copy(updates[0])
        moved.received_ns = int(opening.timestamp()) * 1_000_000_000
        tap.put(moved)
        for half_minutes in range(1, 7):
            clock[0] = opening + half_minutes * MINUTE / 2
            assert workers.flush(60)
        spool = Spool(lake.spool())
        rows = [row for _, batch in spool.entries("feed_quality") for row in batch.to_pylist()]
        spool.close()
        assert workers.stop(60)
        silent = [(row["event_time"], row["value"]) for row in rows if row["detector"] == "silent"]
        assert silent == [(opening + MINUTE, 120.0), (opening + 2 * MINUTE, 180.0)]
        totals = lake.totals("feed_quality")
        assert totals == {**dict.fromkeys(totals, 0), "offered": len(rows), "spooled": len(rows)}

    def test_a_process_that_slept_says_nothing_of_the_time_it_slept(
        self,
        quality: FeedQuality,
        updates: list[ChainUpdate],
        reference: ReferenceData,
        opening: datetime,
    ) -> None:
        clock = Clock(quality, opening)
        clock.run(opening + MINUTE)
        self.feed(quality, reference, updates[1], opening + MINUTE)
        clock.moment = opening + 60 * MINUTE
        clock.run(opening + 60 * MINUTE + timedelta(seconds=15))
        assert clock.rows == []
