"""The app never waits and never sees an error of ours, and every row it offered is accounted for."""

from __future__ import annotations

import logging
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest.status import app_lines
from ingest.tap import StreamTap
from lake.errors import StreamInUseError
from lake.spool import Queue, Spool

NOTHING = Queue(0, 0, 0, 0)

OFFERS_S = 10.0
"""Far more than the offers of a test take, far less than any wait for a lock in strikelake."""


def offer_all(tap: StreamTap, lake: Any, first: int, updates: int) -> None:
    for index in range(updates):
        assert tap.offer(**lake.update(first + index))


def test_what_was_offered_is_committed_once_with_its_features(lake: Any) -> None:
    tap = StreamTap(lake.settings)
    for index in range(20):
        tap.offer(**lake.update(1000 + index * 10, 10, features={"rsi": float(index)}))
    assert tap.flush()
    assert lake.strikes() == [float(1000 + i) for i in range(200)]
    assert sorted(row["rsi"] for row in lake.rows("ml_features")) == [float(i) for i in range(20)]
    assert lake.totals()["committed"] == 200
    assert tap.close()
    assert lake.totals() == {"offered": 200, "spooled": 0, "committed": 200, "quarantined": 0,
                             "dropped": 0, "difference": 0}  # fmt: skip


def test_offer_does_not_wait_for_a_locked_spool(lake: Any) -> None:
    tap = StreamTap(lake.settings)
    assert tap.flush()  # the commit thread has opened the spool, and makes no table again
    other = sqlite3.connect(lake.spool(), timeout=30, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    offer_all(tap, lake, 1, 500)
    took = time.monotonic() - began
    assert lake.totals()["offered"] == 0
    other.execute("ROLLBACK")
    other.close()
    assert took < OFFERS_S
    assert tap.close()
    assert lake.strikes() == [float(i) for i in range(1, 501)]


def test_a_failing_spool_costs_no_row_once_it_works_again(
    lake: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tap = StreamTap(lake.settings)
    assert tap.flush()  # the commit thread has opened the spool, and makes no table again
    other = sqlite3.connect(lake.spool(), timeout=30, isolation_level=None)
    other.execute("ALTER TABLE ledger RENAME TO hidden")
    offer_all(tap, lake, 1, 50)
    lake.wait(lambda: "spool failed" in caplog.text, until="the drain met the failure")
    offer_all(tap, lake, 51, 50)
    other.execute("ALTER TABLE hidden RENAME TO ledger")
    other.close()
    lake.wait(lambda: lake.totals()["offered"] == 100, until="the drain tried again")
    assert tap.close()
    assert lake.strikes() == [float(i) for i in range(1, 101)]
    assert lake.totals()["difference"] == 0
    assert tap.stats().spooled == 100


def test_a_full_queue_drops_the_oldest_and_counts_each_row(lake: Any) -> None:
    tap = StreamTap(lake.but(raw_stream_queue_size=5), start=False)
    for index in range(8):
        assert tap.offer(
            **lake.update(10 * index + 1, 2, puts=lake.legs(10 * index + 5, 1), features={"f": 1.0})
        )
    assert tap.stats().dropped == {"queue_full": 3}
    assert (tap.stats().offered, tap.stats().queued) == (8, 5)
    tap.start()
    assert tap.close()
    assert lake.totals() == {"offered": 24, "spooled": 0, "committed": 15, "quarantined": 0,
                             "dropped": 9, "difference": 0}  # fmt: skip
    assert lake.totals("ml_features")["dropped"] == 3
    assert lake.drops() == {"queue_full": 12}
    assert min(lake.strikes()) == 31.0


def queue_in(lake: Any) -> Queue | None:
    if not lake.spool().exists():
        return None
    spool = Spool(lake.spool(), read_only=True)
    try:
        return spool.queue()
    finally:
        spool.close()


def test_the_spool_is_told_how_full_the_queue_is_and_that_the_app_lives(lake: Any) -> None:
    tap = StreamTap(lake.but(raw_stream_queue_size=50), start=False)
    offer_all(tap, lake, 1, 7)
    tap.start()
    lake.wait(lambda: queue_in(lake) is not None, until="the first drain told it")
    told = queue_in(lake)
    assert told is not None
    assert (told.waiting, told.highest, told.capacity) == (0, 7, 50)
    assert abs(told.told_us / 1e6 - time.time()) < OFFERS_S
    # Nothing comes any more; it is told all the same.
    lake.wait(lambda: (queue_in(lake) or told).told_us > told.told_us, until="a sign of life without updates")
    assert tap.close()


def test_what_piles_up_behind_a_locked_spool_is_told_once_it_opens(lake: Any) -> None:
    tap = StreamTap(lake.settings)
    assert tap.flush()
    other = sqlite3.connect(lake.spool(), timeout=30, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    offer_all(tap, lake, 1, 3)
    lake.wait(lambda: tap.stats().queued == 0, until="the drain took what there was, and waits")
    offer_all(tap, lake, 4, 400)
    other.execute("ROLLBACK")
    other.close()
    lake.wait(lambda: (queue_in(lake) or NOTHING).highest >= 400, until="the drain told how much waited")
    assert tap.close()


def test_an_overflowing_queue_is_still_drained(lake: Any) -> None:
    """The drain must not do nothing but count drops while the app is faster than it."""
    tap = StreamTap(lake.but(raw_stream_queue_size=20, committer="process"), start=False)
    stop = threading.Event()

    def offer() -> None:
        index = 0
        while not stop.is_set():
            index += 1
            tap.offer(**lake.update(index))

    app = threading.Thread(target=offer)
    app.start()
    lake.wait(lambda: bool(tap.stats().dropped), until="the queue overflows")
    tap.start()
    try:
        lake.wait(lambda: tap.stats().spooled > 200, until="ten queues full are spooled")
    finally:
        stop.set()
        app.join()
        tap.close()
    assert lake.totals()["difference"] == 0
    assert lake.totals()["offered"] == tap.stats().offered
    assert lake.totals()["dropped"] == tap.stats().dropped["queue_full"]


def test_a_copying_tap_keeps_what_the_app_changes_later(lake: Any) -> None:
    tap = StreamTap(lake.settings, copy=True, start=False)
    given = lake.update(100, 3, features={"rsi": 1.0})
    assert tap.offer(**given)
    given["calls"][0]["strike"] = 999.0
    given["calls"].clear()
    given["features"]["rsi"] = 2.0
    assert not tap.offer(**lake.update(1, calls=(each for each in [1])))
    assert tap.stats().dropped == {"copy_failed": 1}
    tap.start()
    assert tap.close()
    assert lake.strikes() == [100.0, 101.0, 102.0]
    assert lake.rows("ml_features")[0]["rsi"] == 1.0
    assert lake.drops() == {"copy_failed": 1}


def test_many_threads_lose_nothing_and_the_ledger_balances_at_every_instant(lake: Any) -> None:
    tap = StreamTap(lake.but(raw_stream_flush_seconds=0.05))
    threads, updates = 6, 150
    each = [
        threading.Thread(target=offer_all, args=(tap, lake, 1 + number * updates, updates))
        for number in range(threads)
    ]
    for thread in each:
        thread.start()
    looks = []

    def all_committed() -> bool:
        looks.append(lake.totals())
        return bool(looks[-1]["committed"] == threads * updates)

    lake.wait(all_committed, until="all is committed")
    for thread in each:
        thread.join()
    assert {look["difference"] for look in looks} == {0}
    assert [look["offered"] for look in looks] == sorted(look["offered"] for look in looks)
    assert tap.close()
    assert lake.strikes() == [float(i) for i in range(1, threads * updates + 1)]


def test_hostile_updates_go_to_quarantine_and_cost_no_other_row(lake: Any) -> None:
    class Raises:
        def __float__(self) -> float:
            raise RuntimeError("no")

        __len__ = __hash__ = __str__ = __repr__ = __float__  # type: ignore[assignment]

    tap = StreamTap(lake.settings, start=False)
    tap.offer(**lake.update(1, 2))
    tap.offer(**lake.update(3, calls=lake.legs(3, 1, ltp=Raises())))
    tap.offer(**lake.update(4, calls=Raises(), features=Raises()))
    tap.offer(None, 5, "ab", symbol=None, event_time=Raises())  # type: ignore[arg-type]
    tap.offer(**lake.update(7, symbol="\ud800"))
    tap.offer(**lake.update(8, 2))
    tap.start()
    assert tap.close()
    assert lake.strikes() == [1.0, 2.0, 8.0, 9.0]
    assert lake.totals() == {"offered": 10, "spooled": 0, "committed": 4, "quarantined": 6,
                             "dropped": 0, "difference": 0}  # fmt: skip
    assert lake.totals("ml_features")["quarantined"] == 1
    assert len(lake.rows("quarantine")) == 7


def test_every_printable_feature_name_that_is_taken_can_be_committed(lake: Any) -> None:
    names = [f"f{chr(code)}x" for code in range(32, 127)] + [
        "a.b.c",
        "ümlaut",
        "名",
        "select",
        "_",
        "1",
        "$x",
        "x" * 200,
    ]
    tap = StreamTap(lake.settings)
    for number, name in enumerate(names):
        tap.offer(**lake.update(1, 0, features={name: float(number)}, event_time=1_700_000_000 + number))
    assert tap.flush()
    assert tap.close()
    totals = lake.totals("ml_features")
    assert totals["committed"] + totals["quarantined"] == len(names)
    assert totals["quarantined"] < 30
    rows = lake.rows("ml_features")
    kept = {name: value for row in rows for name, value in row.items() if name in names and value is not None}
    twins = {f"f{chr(code)}x".casefold() for code in range(65, 91)}
    assert len(rows) == totals["committed"]
    for name, value in kept.items():
        expected = {float(i) for i, n in enumerate(names) if n.casefold() == name.casefold()}
        assert value in expected
        assert len(expected) == 1 or name.casefold() in twins


def test_a_tap_that_is_closed_takes_nothing_and_counts_it(lake: Any) -> None:
    tap = StreamTap(lake.settings)
    tap.offer(**lake.update(1))
    assert tap.close()
    assert not tap.offer(**lake.update(2))
    assert tap.stats().dropped == {"closed": 1}
    began = time.monotonic()
    assert not tap.flush(timeout_s=30)
    assert tap.close()
    assert time.monotonic() - began < OFFERS_S
    assert lake.strikes() == [1.0]


def test_a_tap_that_was_never_started_says_that_nothing_was_kept(lake: Any) -> None:
    tap = StreamTap(lake.settings, start=False)
    assert tap.offer(**lake.update(1))
    assert not tap.flush()
    assert not tap.close()
    assert not lake.spool().exists()


def test_starting_twice_and_closing_soon_are_harmless(lake: Any) -> None:
    for number in range(5):
        tap = StreamTap(lake.settings)
        tap.start()
        tap.offer(**lake.update(number + 1))
        began = time.monotonic()
        assert tap.close(timeout_s=60)
        assert time.monotonic() - began < 30
    assert lake.strikes() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_one_app_id_is_one_running_tap(lake: Any) -> None:
    tap = StreamTap(lake.settings)
    with pytest.raises(StreamInUseError, match="tap of app id 'live'"):
        StreamTap(lake.settings)
    other = StreamTap(lake.but(app_id="second"))
    other.offer(**lake.update(2))
    assert other.close()
    assert tap.close()
    again = StreamTap(lake.settings)
    assert again.close()
    assert lake.totals(app_id="second")["committed"] == 1


def test_a_spool_that_is_full_drops_counts_and_takes_again_once_committed(lake: Any) -> None:
    full = lake.but(raw_stream_spool_max_bytes=1_000_000, committer="process")
    tap = StreamTap(full)
    sent = 0

    def overflow() -> bool:
        nonlocal sent
        for _ in range(10):
            tap.offer(**lake.update(1 + sent * 500, 500, calls=lake.legs(1 + sent * 500, 500, iv=sent / 7)))
            sent += 1
        tap.flush()
        return bool(tap.stats().dropped)

    lake.wait(overflow, until="the spool is full")
    totals = lake.totals()
    assert totals["offered"] == sent * 500
    assert totals["dropped"] == lake.drops()["spool_full"] == tap.stats().dropped["spool_full"] * 500
    assert totals["spooled"] == tap.stats().spooled * 500 == totals["offered"] - totals["dropped"]
    subprocess.run(command(full.root, "ingest", "commit", "--once"), check=True, capture_output=True)
    before = tap.stats().spooled
    tap.offer(**lake.update(1_000_000))
    assert tap.flush()
    assert tap.stats().spooled == before + 1
    assert tap.close()
    assert lake.totals()["difference"] == 0


def test_a_table_that_cannot_be_written_stops_neither_the_spool_nor_the_other_tables(lake: Any) -> None:
    tap = StreamTap(lake.settings)
    tap.offer(**lake.update(1, features={"f": 1.0}))
    assert tap.flush()
    log = lake.settings.lake.raw_stream / "ml_features" / "_delta_log"
    log.rename(log.with_name("hidden"))
    log.write_text("not a folder", encoding="utf-8")
    tap.offer(**lake.update(2, features={"f": 2.0}))
    assert not tap.flush()
    assert lake.totals("ml_features")["spooled"] == 1
    assert lake.totals()["committed"] == 2
    tap.offer(**lake.update(3, features={"f": 3.0}))
    lake.wait(lambda: lake.totals("ml_features")["spooled"] == 2, until="spooling goes on")
    log.unlink()
    log.with_name("hidden").rename(log)
    assert tap.flush()
    assert tap.close()
    assert lake.strikes() == [1.0, 2.0, 3.0]
    assert sorted(row["f"] for row in lake.rows("ml_features")) == [1.0, 2.0, 3.0]


def test_what_could_not_be_committed_at_close_is_committed_by_the_next_tap(lake: Any) -> None:
    tap = StreamTap(lake.settings)
    assert tap.flush()
    log = lake.settings.lake.raw_stream / "option_chain" / "_delta_log"
    log.rename(log.with_name("hidden"))
    log.write_text("not a folder", encoding="utf-8")
    tap.offer(**lake.update(1, 3))
    assert not tap.close()
    assert lake.totals()["spooled"] == 3
    log.unlink()
    log.with_name("hidden").rename(log)
    again = StreamTap(lake.settings)
    assert again.close()
    assert lake.strikes() == [1.0, 2.0, 3.0]


def test_drops_are_warned_of_once_and_not_per_update(lake: Any, caplog: pytest.LogCaptureFixture) -> None:
    tap = StreamTap(lake.but(raw_stream_queue_size=1), start=False)
    for index in range(100):
        tap.offer(**lake.update(index + 1))
    with caplog.at_level(logging.WARNING):
        tap.start()
        assert tap.close()
    warnings = [record for record in caplog.records if "dropped" in record.message]
    assert len(warnings) == 1
    assert "99" in warnings[0].message


def command(root: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", "from lake.cli import main; main()", "--root", str(root), *arguments]


def test_a_script_that_ends_without_closing_keeps_everything(lake: Any) -> None:
    script = """
        import sys
        from ingest.tap import StreamTap
        from lake.settings import Settings
        tap = StreamTap(Settings(root=sys.argv[1], raw_stream_flush_seconds=3600))
        for i in range(1, 301):
            tap.offer("NSE", [{"strike": i}], [], symbol="NIFTY", expiry="2026-12-29")
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(lake.settings.root)], check=True, timeout=60
    )
    assert lake.strikes() == [float(i) for i in range(1, 301)]
    assert lake.totals()["committed"] == 300


def test_a_process_of_its_own_commits_what_the_app_spools(lake: Any) -> None:
    tap = StreamTap(lake.but(committer="process"))
    offer_all(tap, lake, 1, 40)
    assert tap.flush()
    assert lake.totals()["spooled"] == 40
    done = subprocess.run(
        command(lake.settings.root, "ingest", "commit", "--once"),
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "option_chain: 40 rows" in done.stdout
    assert lake.totals()["committed"] == 40
    offer_all(tap, lake, 41, 1)
    assert tap.close()
    assert lake.totals()["spooled"] == 1
    assert lake.strikes() == [float(i) for i in range(1, 41)]


def test_a_lake_that_cannot_be_opened_does_not_keep_updates_from_being_spooled(lake: Any) -> None:
    in_the_way = lake.settings.root / "raw_stream" / "ml_features"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("not a folder", encoding="utf-8")
    tap = StreamTap(lake.settings)
    offer_all(tap, lake, 100, 5)
    assert not tap.flush()
    assert lake.totals()["spooled"] == 5
    in_the_way.unlink()
    assert tap.flush()
    assert tap.close()
    assert lake.strikes() == [100.0, 101.0, 102.0, 103.0, 104.0]
    assert lake.totals()["committed"] == 5


def test_closing_again_tells_the_same_as_the_first_time(lake: Any) -> None:
    in_the_way = lake.settings.root / "raw_stream" / "ml_features"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("not a folder", encoding="utf-8")
    tap = StreamTap(lake.settings)
    offer_all(tap, lake, 100, 1)
    assert not tap.close()
    assert not tap.close()


def test_the_status_says_whether_an_app_is_heard(lake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tap = StreamTap(lake.settings)
    offer_all(tap, lake, 1, 3)
    assert tap.flush()
    lake.wait(lambda: queue_in(lake) is not None, until="the drain told of its queue")
    (line,) = app_lines(lake.settings.lake, datetime.now(UTC))
    assert "app live holds 0 updates in memory" in line
    assert "heard" in line
    assert tap.close()
    (line,) = app_lines(lake.settings.lake, datetime.now(UTC) + timedelta(seconds=90))
    assert re.fullmatch(r"  app live does not run: last heard 9\d s ago", line)
