"""The section Paper trading: figures of the table and of the tracker's summary, whichever is newer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dashboard_client import browsing, chart_in, text_of
from health_lake import DAY, INDIA, NOW, HealthLake, Rows, at
from litestar.testing import TestClient

from catalog.contracts import PAPER_TRADING_METRICS
from lake.session import Session

FRIDAY = date(2026, 10, 23)
Page = TestClient[Any]
COURSE = (0.0, 1_500.5, -2_250.25, None, 800.0, -300.0)


def records(day: date = DAY, *, course: tuple[float | None, ...] = COURSE, exchange: str = "NSE") -> Rows:
    """A record every five minutes from ten o'clock on."""
    start = datetime(day.year, day.month, day.day, 10, 0, tzinfo=INDIA)
    return [
        {
            "date": day, "exchange": exchange, "event_time": start + timedelta(minutes=5 * number),
            "received_time": start + timedelta(minutes=5 * number, seconds=20), "total_pnl": value,
            "realized_pnl": None, "unrealized_pnl": None, "open_positions": number % 3, "trades": 10 + number,
            "winning_trades": 4, "losing_trades": 6, "portfolio_constraint_violations": number // 4,
            "source": "phase2",
        }
        for number, value in enumerate(course)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    lake = HealthLake(tmp_path_factory.mktemp("paper"))
    lake.commit(PAPER_TRADING_METRICS, [*records(), *records(FRIDAY, course=(50.0, 75.0))])
    return lake


@pytest.fixture(scope="module")
def page(made: HealthLake) -> Iterator[Page]:
    with browsing(made.settings, NOW) as client:
        yield client


def test_the_course_is_that_of_the_table(made: HealthLake, page: Page) -> None:
    with Session(made.settings.lake) as session:
        rows = session.table(
            "SELECT epoch(event_time) AS at, total_pnl, open_positions, trades,"
            " portfolio_constraint_violations AS violations FROM paper_trading_metrics"
            f" WHERE date = DATE '{DAY}' ORDER BY event_time"
        ).to_pydict()
    html = page.get("/paper").text
    pnl, counts = chart_in(html, "paper-NSE-pnl"), chart_in(html, "paper-NSE-counts")
    assert pnl["x"] == counts["x"] == rows["at"]
    # What no record says has no line.
    assert [(one["label"], one["values"]) for one in pnl["series"]] == [("Total", rows["total_pnl"])]
    assert [one["values"] for one in counts["series"]] == [
        rows["open_positions"], rows["trades"], rows["violations"]
    ]  # fmt: skip


def test_sessions_are_summed_up_with_their_largest_fall(page: Page) -> None:
    known = [value for value in COURSE if value is not None]
    falls = [early - late for n, early in enumerate(known) for late in known[n:]]
    text = text_of(page.get("/paper").text)
    assert f"Mon 26 Oct 2026 -300 -2,250 +1,500 {max(falls):,.0f} 15 1 6" in text
    assert "Fri 23 Oct 2026 +75 +50 +75 0 11 0 2" in text
    assert text.index("Mon 26 Oct 2026 -300") < text.index("Fri 23 Oct 2026 +75")


def test_the_tiles_are_those_of_the_newest_record_in_words_and_signs(page: Page) -> None:
    text = text_of(page.get("/paper/NSE").text)
    assert "Profit and loss ₹ -300 in all" in text
    assert "Open positions 2 now Trades 15 4 won, 6 lost Violations 1 ▲ limits broken" in text
    assert "As of 2026-10-26 10:25:00, from paper_trading_metrics" in text


def test_another_session_can_be_chosen_and_then_stays(page: Page) -> None:
    newest = page.get("/paper/NSE").text
    other = page.get("/paper/NSE", params={"date": str(FRIDAY)}).text
    assert chart_in(other, "paper-NSE-pnl")["series"][0]["values"] == [50.0, 75.0]
    assert ("every 5s" in newest, "every 5s" in other) == (True, False)
    assert "2026-01-01 is not among" in page.get("/paper/NSE", params={"date": "2026-01-01"}).text
    assert page.get("/paper/NYSE").status_code == 404


def test_a_summary_newer_than_the_table_is_shown_and_an_older_one_is_not(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(PAPER_TRADING_METRICS, records())
    path = lake.summary("NSE", now=at(10, 24), total_pnl=98_765.0)
    with browsing(lake.settings, NOW) as client:
        assert "98,765" not in client.get("/paper/NSE").text
        lake.summary("NSE", now=at(11, 0), total_pnl=98_765.0)
        text = text_of(client.get("/paper/NSE").text)
    told = json.loads(path.read_text(encoding="utf-8"))["paper_trading"]
    assert f"₹ +{told['total_pnl']:,.0f} in all" in text
    assert f"Violations {told['portfolio_constraint_violations']}" in text
    # What it does not say is not nought.
    assert "Open positions - now" in text


def test_figures_grow_stale_by_the_rule_while_the_session_runs_only(made: HealthLake) -> None:
    with browsing(made.settings, NOW) as client:
        assert 'data-stale-after="900' in client.get("/paper/NSE").text
    with browsing(made.settings, NOW + timedelta(hours=6)) as client:
        assert "data-stale-after" not in client.get("/paper/NSE").text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b'{"paper_trading": {"total_pnl": 12', "half-written"),
        (b'{"paper_trading": {"total_pnl": "<script>alert(1)</script>"}}', "is no possible value"),
    ],
)
def test_a_damaged_summary_is_named_and_escaped(tmp_path: Path, content: bytes, told: str) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(PAPER_TRADING_METRICS, records())
    lake.summary("NSE").write_bytes(content)
    with browsing(lake.settings, NOW) as client:
        html = client.get("/paper/NSE").text
    assert told in text_of(html)
    assert "<script>alert" not in html
    assert "Profit and loss ₹ -300" in text_of(html)  # the table still says how it stood


def test_where_nothing_is_known_the_card_says_so(page: Page) -> None:
    text = text_of(page.get("/paper/BSE").text)
    assert "Nothing is known of paper trading on BSE: no record in the last sessions, and there is no" in text


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(PAPER_TRADING_METRICS, records())
    for file in lake.settings.lake.path("paper_trading_metrics").rglob("*.parquet"):
        file.write_bytes(b"PAR1 no more PAR1")
    with browsing(lake.settings, datetime.now(UTC)) as client:
        text = text_of(client.get("/paper/NSE").text)
    assert "This could not be read." in text
    assert "Nothing is known" not in text
