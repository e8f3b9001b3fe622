"""Now: the session by the calendar, the age of the feed, the ledger; what is missing is not called fine."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from health_lake import INDIA, NOW, HealthLake, at, build
from page_server import Served, noon, serving

from catalog.calendar import SessionCalendar
from lake.process_lock import ProcessLock
from lake.settings import Settings
from lake.spool import Entry, Queue
from monitors.dashboard.sections.now_model import feed_of
from monitors.dashboard.sections.states import State
from monitors.dashboard.session_state import session_state
from monitors.dashboard.stream_facts import StreamWatch
from monitors.rules import load_rules

CALENDAR = SessionCalendar.load()


def local(day: int, hour: int, minute: int, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=INDIA)


@pytest.mark.parametrize(
    ("moment", "text", "is_open"),
    [
        (local(26, 9, 14), "Opens today", False),
        (local(26, 9, 15), "Open", True),
        (local(26, 12, 0), "Open", True),
        (local(26, 20, 0), "Closed", False),
        (local(25, 12, 0), "No session today", False),
    ],
)
def test_where_the_day_stands(moment: datetime, text: str, is_open: bool) -> None:
    state = session_state(CALENDAR, "NSE", moment.astimezone(UTC))
    assert (state.text, state.is_open) == (text, is_open)
    assert state.until is not None
    assert state.until > moment
    assert state.is_open == CALENDAR.is_open("NSE", moment)


def test_the_next_session_is_that_of_the_calendar_over_a_weekend() -> None:
    friday = session_state(CALENDAR, "NSE", local(30, 17, 0).astimezone(UTC))
    assert friday.following is not None
    assert friday.following == CALENDAR.sessions("NSE", local(31, 0, 0).date(), local(5, 0, 0, 11).date())[0]


@pytest.mark.parametrize(
    ("newest", "moment", "state", "counts"),
    [
        (at(11, 59), at(12, 0), State.OK, True),
        (at(11, 50), at(12, 0), State.BAD, True),
        (at(11, 59), local(26, 20, 0), State.OFF, False),
        (None, local(26, 20, 0), State.NONE, False),
        (None, at(9, 16), State.NONE, False),
        (None, at(12, 0), State.BAD, False),
        (local(23, 15, 0), at(9, 16), State.NONE, False),
        (local(23, 15, 0), at(12, 0), State.BAD, False),
    ],
    ids=["fresh", "stale", "closed", "never", "first minute", "no chain", "before the open", "only old ones"],
)  # fmt: skip
def test_the_age_of_the_feed_counts_while_a_session_runs(
    newest: datetime | None, moment: datetime, state: State, counts: bool
) -> None:
    found = feed_of(load_rules(), session_state(CALENDAR, "NSE", moment), newest, moment)
    assert (found.state, found.counts) == (state, counts)


def card(text: str, exchange: str) -> str:
    return text.partition(f'id="now-{exchange}"')[2].partition("</article>")[0]


def plain(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def seen(served: Served) -> str:
    """The page once its quality is measured."""
    end = time.monotonic() + 60
    with served.client() as client:
        while time.monotonic() < end:
            text = client.get("/").text
            if "being measured" not in text and "Looking at" not in text:
                return text
            time.sleep(0.05)
    raise AssertionError("nothing was ever measured")


def test_a_lake_that_is_well_is_shown_so(page: Served) -> None:
    nse = plain(card(seen(page), "NSE"))
    assert "Open" in nse
    assert "Legs that came 100%" in nse
    assert "Without a last price 0%" in nse
    assert re.search(r"NIFTY 2[45],\d{3}\.\d\d", nse)
    assert "option_chain 1 6,640" in nse  # 166 minutes, two underlyings, two expiries, ten legs
    assert "critical" not in nse


def test_quality_is_what_the_rows_say(tmp_path: Path) -> None:
    """A quarter of the last prices is taken away."""

    def without(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "ltp": None} if n % 4 == 0 else row for n, row in enumerate(rows)]

    made = build(tmp_path, change=without)
    with serving(made.settings, clock=noon) as served:
        assert "Without a last price 25%" in plain(card(seen(served), "NSE"))


def test_every_row_of_the_ledger_is_counted_and_one_that_is_lost_is_told(tmp_path: Path) -> None:
    made = build(tmp_path)
    made.spool_rows("live", 30, spooled=NOW - timedelta(minutes=20))
    look = StreamWatch(made.settings.lake).look(("NSE", "BSE"), noon())
    nse = look.exchanges["NSE"]
    assert (nse.ledger.offered, nse.ledger.spooled, nse.ledger.difference) == (30, 30, 0)
    assert nse.waiting_since == noon() - timedelta(minutes=20)
    assert look.exchanges["BSE"].apps == ()
    made.tamper("live", "UPDATE ledger SET offered = offered + 7")
    with serving(made.settings, clock=noon) as served:
        text = plain(card(seen(served), "NSE"))
    assert "7 rows missing ✖ critical" in text
    assert "20 m" in text or "11:40" in text
    assert "Waiting in the spool 30 rows ✖ critical" in text or "30 rows ▲ warning" in text


def test_rows_that_were_given_up_stand_with_their_reason(tmp_path: Path) -> None:
    made = build(tmp_path)
    spool = made.spool("live")
    rows = chain_rows(NOW, "NIFTY", 24_950.0)
    spool.put(
        [Entry("option_chain", "NSE", "option_chain", rows)],
        offered={("option_chain", "NSE"): 8},
        dropped={("option_chain", "NSE", "queue_full"): 5},
    )
    spool.close()
    with serving(made.settings, clock=noon) as served:
        text = plain(card(seen(served), "NSE"))
    assert "given up ( queue_full 5 ) 5" in text or "given up (queue_full 5) 5" in text
    assert "0 rows missing ✓ balanced" in text


def chain_rows(at: datetime, symbol: str, price: float | None) -> pa.Table:
    """Three legs, as a spool has them."""
    return pa.table(
        {
            "event_time": pa.array([at] * 3, pa.timestamp("us", tz="UTC")),
            "symbol": [symbol] * 3,
            "underlying_price": pa.array([price] * 3, pa.float64()),
        }
    )


def offer(made: HealthLake, *batches: pa.Table) -> None:
    """Spool chains, an entry each."""
    spool = made.spool("live")
    for rows in batches:
        spool.put(
            [Entry("option_chain", "NSE", "option_chain", rows)],
            offered={("option_chain", "NSE"): rows.num_rows},
        )
    spool.close()


def test_prices_are_those_of_the_spool_before_they_are_committed(tmp_path: Path) -> None:
    made = build(tmp_path)
    watch = StreamWatch(made.settings.lake)
    offer(
        made,
        chain_rows(NOW - timedelta(seconds=1), "NIFTY", 25_111.5),
        chain_rows(NOW - timedelta(seconds=2), "NIFTY", 25_000.0),
        chain_rows(NOW, "FINNIFTY", None),
    )
    chains = watch.look(("NSE", "BSE"), noon()).exchanges["NSE"].chains
    assert {name: (one.price, one.event_time) for name, one in chains.items()} == {
        "NIFTY": (25_111.5, noon() - timedelta(seconds=1)),
        "FINNIFTY": (None, noon()),
    }
    with serving(made.settings, clock=noon) as served:
        nse = plain(card(seen(served), "NSE"))
    assert "NIFTY 25,111.50" in nse
    assert "FINNIFTY \N{EN DASH}" in nse
    assert "BANKNIFTY" in nse


def test_a_chain_ahead_of_the_clock_counts_once_its_time_has_come(tmp_path: Path) -> None:
    made = build(tmp_path)
    watch = StreamWatch(made.settings.lake)
    offer(made, chain_rows(NOW, "NIFTY", 1.0), chain_rows(NOW + timedelta(seconds=3), "NIFTY", 2.0))
    prices = [
        watch.look(("NSE",), noon() + timedelta(seconds=later)).exchanges["NSE"].chains["NIFTY"].price
        for later in (0, 2, 3)
    ]
    assert prices == [1.0, 1.0, 2.0]


def test_a_chain_is_remembered_when_its_entry_is_committed_and_a_new_spool_is_read_anew(
    tmp_path: Path,
) -> None:
    made = build(tmp_path)
    watch = StreamWatch(made.settings.lake)
    offer(made, chain_rows(NOW - timedelta(seconds=9), "NIFTY", 1.0))
    assert watch.look(("NSE",), noon()).exchanges["NSE"].chains["NIFTY"].price == 1.0
    spool = made.spool("live")
    spool.clear("option_chain", spool.newest())
    spool.close()
    assert watch.look(("NSE",), noon()).exchanges["NSE"].chains["NIFTY"].price == 1.0
    for file in made.settings.lake.spools.glob("live.db*"):
        file.unlink()
    offer(made, chain_rows(NOW, "NIFTY", 2.0))
    assert watch.look(("NSE",), noon()).exchanges["NSE"].chains["NIFTY"].price == 2.0


@pytest.mark.parametrize(
    ("runs", "told_ago_s", "highest", "shown"),
    [
        (True, 1, 40, "Waiting in the app 3 updates ✓ fine at most 40 of 1,000"),
        (True, 1, 900, "Waiting in the app 3 updates ▲ nearly full at most 900 of 1,000"),
        (True, 60, 40, "Waiting in the app \N{EN DASH} updates ▲ live is silent last heard 11:59:20 ago"),
        (False, 1, 40, "Waiting in the app \N{EN DASH} updates ‖ live does not run last heard"),
        (True, None, 0, "Waiting in the app \N{EN DASH} updates ? live does not tell"),
        (False, None, 0, "Waiting in the app \N{EN DASH} updates no app runs here"),
    ],
    ids=["fine", "full", "silent", "stopped", "earlier version", "load"],
)
def test_what_waits_in_an_app_is_shown_while_the_app_is_heard(
    tmp_path: Path, runs: bool, told_ago_s: float | None, highest: int, shown: str
) -> None:
    made = build(tmp_path)
    offer(made, chain_rows(NOW, "NIFTY", 1.0))
    if told_ago_s is not None:
        spool = made.spool("live")
        spool.tell(Queue(3, highest, 1_000, int((NOW.timestamp() - told_ago_s) * 1e6)))
        spool.close()
    lock = ProcessLock(made.settings.lake.spools / "live.tap.lock", role="tap") if runs else None
    with serving(made.settings, clock=noon) as served:
        text = plain(card(seen(served), "NSE"))
    if lock:
        lock.release()
    assert shown in text


def test_the_rate_is_that_of_what_was_offered(tmp_path: Path) -> None:
    made = build(tmp_path)
    watch = StreamWatch(made.settings.lake)
    made.spool_rows("live", 10, spooled=NOW)
    assert watch.look(("NSE",), noon()).exchanges["NSE"].rows_per_s is None
    watch._offered[0] = (watch._offered[0][0] - 5.0, watch._offered[0][1])
    made.spool_rows("live", 50, spooled=NOW)
    rate = watch.look(("NSE",), noon()).exchanges["NSE"].rows_per_s
    assert rate is not None
    assert 8.0 < rate <= 10.0


def test_a_spool_that_cannot_be_read_is_told_and_not_counted_as_empty(tmp_path: Path) -> None:
    made = build(tmp_path)
    made.spool("live").close()
    for file in made.settings.lake.spools.glob("live.db*"):
        file.write_bytes(b"no database " * 400)
    with serving(made.settings, clock=noon) as served:
        text = plain(card(seen(served), "NSE"))
    assert "This could not be read" in text
    assert "live.db" in text


def test_a_folder_without_a_lake_is_told_on_every_section(tmp_path: Path) -> None:
    made = HealthLake(tmp_path)
    made.settings.root.mkdir()
    with serving(made.settings, clock=noon) as served, served.client() as client:
        for path in ("/", "/health", "/lake"):
            answer = client.get(path)
            assert answer.status_code == 200
        assert "no lake at" in client.get("/lake").text
    assert not list(made.settings.root.rglob("_delta_log"))


def test_the_lake_s_zone_is_that_of_the_times(tmp_path: Path) -> None:
    made = build(tmp_path)
    settings = Settings(**{**made.settings.model_dump(), "timezone": "UTC"})
    with serving(settings, clock=noon) as served:
        text = seen(served)
    assert "times in UTC" in text
    assert "03:45\N{EN DASH}10:10" in plain(card(text, "NSE"))
