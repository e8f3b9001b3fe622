"""The page in a real browser: every section, light and dark, desktop and phone; by mouse and by keyboard.

`STRIKELAKE_SCREENSHOTS=FOLDER` keeps pictures.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import Watched, chromium, watched
from explained_lake import explain
from health_lake import NOW, PLENTY, HealthLake, at, build, chain_rows
from page_server import Served, noon, running, serving

from catalog.calendar import SessionCalendar
from catalog.contracts import OPTION_CHAIN, SIGNALS
from catalog.database import opened_database
from catalog.datasets import create
from lake.process_lock import ProcessLock
from lake.spool import Queue
from monitors.dashboard.sections import SECTIONS
from monitors.dashboard.security import Access
from monitors.drift import DriftScore
from monitors.drift_record import record
from monitors.rules import load_rules
from monitors.service import Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, LocatorAssertions

PAINT_MS = 300
PAGE_BYTES = 300_000

each_section = pytest.mark.parametrize(
    "path", [one.path for one in SECTIONS], ids=[one.name for one in SECTIONS]
)
TABS = ("/model/shap", "/model/signals")
each_page = pytest.mark.parametrize(
    "path",
    [*(one.path for one in SECTIONS), *TABS],
    ids=[*(one.name for one in SECTIONS), *(tab.strip("/").replace("/", "-") for tab in TABS)],
)
each_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])
each_size = pytest.mark.parametrize("size", ["desktop", "phone"])


def late(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """BSE's feed stopped half an hour before noon."""
    return [row for row in rows if row["exchange"] != "BSE" or row["event_time"] < at(11, 30)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    """A lake that has something to show on every section: alerts, a spool, a dataset, a course of metrics."""
    folder = tmp_path_factory.mktemp("page")
    made = build(folder, change=late)
    made.further = {"alerts_log": folder / "alerts.log"}
    explain(made)
    made.spool_rows("live", 240, spooled=NOW)
    with opened_database(made.settings.catalog) as engine:
        create(
            made.settings.lake, engine, "autumn", tables=["option_chain"], first=NOW.date(), last=NOW.date()
        )
    checked(made, minutes=(40, 45, 50, 55, 60))
    return made


def checked(made: HealthLake, *, minutes: Sequence[int]) -> None:
    """Let the monitors look at some minutes after eleven."""
    rules = load_rules(made.settings.rules_file or made.settings.root / "rules.yaml")
    for minute in minutes:
        moment = at(11 + minute // 60, minute % 60, 20).astimezone(UTC)
        Service(
            made.settings, SessionCalendar.load(), rules, disk_usage=lambda _: PLENTY,
            clock=lambda now=moment: now,
        ).check()  # fmt: skip


@pytest.fixture(scope="module")
def served(lake: HealthLake) -> Iterator[Served]:
    spool = lake.spool("live")
    spool.tell(Queue(12, 48, 10_000, int(NOW.timestamp() * 1e6)))
    spool.close()
    app = ProcessLock(lake.settings.lake.spools / "live.tap.lock", role="app")
    with serving(lake.settings, clock=noon) as page:
        yield page
    app.release()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def opened(seen: Watched, served: Served, path: str) -> None:
    """Open a section and wait until its stream has brought something and its charts are drawn."""
    seen.page.goto(served.url + path)
    seen.page.wait_for_selector('#link[data-state="live"]', timeout=20_000)
    expect(seen.page.locator(".loading")).to_have_count(0, timeout=30_000)


def expect(locator: Locator) -> LocatorAssertions:
    """Playwright's assertions, which wait; imported late, since playwright may not be there."""
    from playwright.sync_api import expect as expected

    return expected(locator)


@each_page
@each_scheme
@each_size
def test_a_section_is_whole_quiet_and_accessible(
    browser: Browser, served: Served, path: str, scheme: str, size: str
) -> None:
    with watched(browser, size=size, scheme=scheme) as seen:
        opened(seen, served, path)
        seen.picture(f"{path.strip('/').replace('/', '-') or 'now'}-{size}-{scheme}")
        violations = [
            f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
            for one in seen.axe()
        ]
        assert violations == []
        # Nothing sticks out sideways.
        assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert seen.complaints == []
    assert seen.outside == []


@each_section
def test_a_page_is_light_and_soon_there(browser: Browser, served: Served, path: str) -> None:
    with watched(browser) as seen:
        sizes: list[int] = []
        seen.page.on("requestfinished", lambda request: sizes.append(_size(request)))
        opened(seen, served, path)
        # The second visit: the first starts processes of the browser.
        seen.page.goto("about:blank")
        seen.page.goto(served.url + path)
        seen.page.wait_for_selector('#link[data-state="live"]', timeout=20_000)
        (paint,) = seen.page.evaluate(
            "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
        )
    assert sum(sizes) < 2 * PAGE_BYTES  # both visits, without what the browser remembers
    # A machine that runs other tests beside this one is slower; benchmarks/dashboard.py measures alone.
    assert paint < 10 * PAINT_MS


def _size(request: Any) -> int:
    if "/live/" in request.url:
        return 0
    sizes = request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])


def test_the_keyboard_goes_everywhere(browser: Browser, served: Served) -> None:
    with watched(browser) as seen:
        page = seen.page
        opened(seen, served, "/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for number, section in enumerate(SECTIONS, start=1):
            page.keyboard.press(str(number))
            page.wait_for_url(served.url + section.path)
        page.goto(served.url + "/lake")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "sql"
        page.keyboard.press("1")  # typed, no shortcut
        assert page.url.endswith("/lake")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#sql-result .failed", timeout=30_000)
        page.locator("h1").click()
        page.keyboard.press("?")
        assert page.locator("#keys-dialog").is_visible()
        page.locator("#keys-on").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("1")
        assert page.url.endswith("/lake")
        # Whatever has the focus shows it.
        page.locator("nav a").first.focus()
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert seen.complaints == []


def test_light_and_dark_are_the_reader_s_choice_and_remembered(browser: Browser, served: Served) -> None:
    with watched(browser, scheme="light") as seen:
        opened(seen, served, "/")
        light = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        seen.page.keyboard.press("t")
        dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert light != dark
        seen.page.goto(served.url + "/health")
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_a_statement_is_run_drawn_and_saved(browser: Browser, served: Served, tmp_path: Path) -> None:
    with watched(browser) as seen:
        page = seen.page
        opened(seen, served, "/lake")
        page.fill("#sql", "SELECT bucket_start, expiry, pcr_oi FROM pcr_5m WHERE symbol = 'NIFTY'")
        page.click("#sql-run")
        page.wait_for_selector("#sql-result canvas", timeout=30_000)
        assert page.locator("#sql-result .u-series").count() == 3
        seen.picture("lake-sql-desktop-light")
        assert [one["id"] for one in seen.axe()] == []
        with page.expect_download(timeout=30_000) as download:
            page.click("#sql-csv")
        download.value.save_as(tmp_path / "saved.csv")
        saved = (tmp_path / "saved.csv").read_text(encoding="utf-8").splitlines()
        assert saved[0] == "bucket_start,expiry,pcr_oi"
        assert len(saved) == 1 + 2 * 34  # five-minute buckets from 09:15 to noon, two expiries
        page.fill("#sql", "SELECT * FROM read_text('/etc/hostname')")
        page.click("#sql-run")
        page.wait_for_selector("#sql-result .failed", timeout=30_000)
        assert "read_text() tells of more than the lake" in page.inner_text("#sql-result")
    assert seen.complaints == []


def test_an_alert_is_acknowledged_and_silenced_and_stays_open_meanwhile(
    browser: Browser, served: Served
) -> None:
    with watched(browser, size="phone", scheme="dark") as seen:
        page = seen.page
        opened(seen, served, "/health")
        alert = page.locator(".alert", has_text="BSE feed_stale").first
        alert.locator("summary").first.click()
        alert.get_by_label("What you do about it").fill("called the broker")
        alert.get_by_role("button", name="I have seen it").click()
        page.wait_for_selector(".pill:has-text('called the broker')")
        assert alert.get_attribute("open") is not None
        alert.get_by_label("Why").fill("exchange halt")
        alert.get_by_role("button", name="Tell nobody of it").click()
        page.wait_for_selector("text=exchange halt")
        seen.picture("health-alert-phone-dark")
        assert [one["id"] for one in seen.axe()] == []
        page.get_by_role("button", name=re.compile("End silence")).click()
        expect(page.get_by_text("exchange halt")).to_have_count(0, timeout=20_000)
    assert seen.complaints == []


def test_the_doctor_is_asked_and_answers_without_a_reload(browser: Browser, served: Served) -> None:
    with watched(browser) as seen:
        opened(seen, served, "/lake")
        seen.page.get_by_role("button", name="Look now").click()
        seen.page.wait_for_selector("#lake-doctor .state", timeout=30_000)
        assert "ago" in seen.page.inner_text("#lake-doctor")
        seen.page.locator("#lake-tables button", has_text="option_chain").click()
        seen.page.wait_for_selector("#lake-table table")
        assert "underlying_price" in seen.page.inner_text("#lake-table")
        seen.page.wait_for_timeout(2500)  # two polls: the table that was opened stays
        assert "underlying_price" in seen.page.inner_text("#lake-table")
    assert seen.complaints == []


def test_rows_that_are_spooled_appear_and_a_server_that_goes_is_told(
    browser: Browser, tmp_path: Path
) -> None:
    made = build(tmp_path)
    made.spool("live").close()
    with watched(browser) as seen:
        with serving(made.settings, clock=noon) as served:
            opened(seen, served, "/")
            made.spool_rows("live", 4_321, spooled=NOW)
            expect(seen.page.locator("#now-NSE")).to_contain_text("4,321", timeout=20_000)
            assert not seen.page.locator("#cut").is_visible()
        expect(seen.page.locator("#cut")).to_contain_text("No connection", timeout=20_000)
        assert seen.page.get_attribute("#link", "data-state") == "lost"
        # By the cut, were its figures ever so fresh; the page looks every second.
        seen.page.evaluate("document.getElementById('now-NSE').dataset.staleAfter = 1e6")
        seen.page.wait_for_timeout(1_500)
        expect(seen.page.locator("#now-NSE")).to_have_class(re.compile("is-stale"))
        assert "stale" in seen.page.inner_text("#now-NSE")
        seen.picture("now-stale-desktop-light")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot halt a process and let it go on")
def test_a_server_that_falls_silent_is_told_wherever_the_reader_is(
    browser: Browser, lake: HealthLake
) -> None:
    # No connection is closed: a network that is gone, a machine that sleeps.
    with running(lake) as (process, url), watched(browser, size="phone") as seen:
        for path in ("", "chain", "lake"):
            seen.page.goto(url + path)
            seen.page.wait_for_selector('#link[data-state="live"]', timeout=20_000)
            seen.page.evaluate("scrollTo(0, document.body.scrollHeight)")
            process.send_signal(signal.SIGSTOP)
            try:
                expect(seen.page.locator("#cut")).to_be_in_viewport(timeout=60_000)
            finally:
                process.send_signal(signal.SIGCONT)
            expect(seen.page.locator("#cut")).to_be_hidden(timeout=20_000)


def test_a_rule_is_whole_on_a_phone(browser: Browser, served: Served) -> None:
    with watched(browser, size="phone") as seen:
        opened(seen, served, "/health")
        row = seen.page.locator("#health-BSE").get_by_role("row", name=re.compile("feed_stale"))
        expect(row.get_by_role("cell")).to_have_count(3, timeout=20_000)
        assert "31 m 20 s" in row.inner_text()
        sticks_out = seen.page.evaluate(
            """() => [...document.querySelectorAll(".rule-table tbody :is(th, td)")]
                .filter((one) => one.getBoundingClientRect().right > innerWidth)
                .map((one) => one.textContent)"""
        )
        assert sticks_out == []


def test_lines_differ_in_the_legend_by_more_than_their_colour(browser: Browser, served: Served) -> None:
    with watched(browser) as seen:
        opened(seen, served, "/chain")
        lines = seen.page.locator("#chain-pcr .line-sign line")
        expect(lines).to_have_count(3, timeout=20_000)
        assert len({lines.nth(place).get_attribute("stroke-dasharray") for place in range(3)}) == 3


def test_a_slider_that_is_dragged_is_followed(browser: Browser, served: Served) -> None:
    with watched(browser) as seen:
        page = seen.page
        opened(seen, served, "/chain")
        moment = page.locator("#chain-moment")
        last = int(page.get_attribute("#chain-place", "max") or 0)
        # A hand that never rests: something must come before it does.
        page.evaluate(
            """() => {
                const field = document.getElementById("chain-place");
                window.moving = setInterval(() => {
                    field.value = Number(field.value) - 1;
                    field.dispatchEvent(new Event("input", { bubbles: true }));
                }, 40);
            }"""
        )
        expect(moment).not_to_have_attribute("data-place", str(last), timeout=10_000)
        page.evaluate("clearInterval(window.moving)")
        at = page.input_value("#chain-place")
        expect(moment).to_have_attribute("data-place", at, timeout=20_000)
        expect(page.locator("#chain-time")).to_contain_text(f"chain {int(at) + 1} of")
        expect(page.locator("#chain-place-told")).to_have_text("")
    assert seen.complaints == []


def test_the_course_of_a_session_goes_on_as_its_chains_come(browser: Browser, tmp_path: Path) -> None:
    made = build(tmp_path)
    with serving(made.settings, clock=noon) as served, watched(browser) as seen:
        page = seen.page
        opened(seen, served, "/chain")
        page.locator("#chain-pcr summary").click()
        values = page.locator("#chain-pcr .chart-table tbody tr")
        expect(values).to_have_count(166, timeout=20_000)
        made.commit(OPTION_CHAIN, chain_rows(opening=at(12, 1), until=at(12, 2)), sequence=9)
        expect(page.locator("#chain-time")).to_contain_text("12:02:00", timeout=20_000)
        # The chart as well, which stood open at its table.
        expect(values).to_have_count(168, timeout=20_000)
    assert seen.complaints == []


@pytest.mark.parametrize("status", [409, 500, 503])
def test_a_card_outlives_an_answer_that_failed(browser: Browser, served: Served, status: int) -> None:
    with watched(browser) as seen:
        page = seen.page
        opened(seen, served, "/paper")
        html = "<div class='failed'>The disk <b>is full</b>.</div><script>document.title='run'</script>"
        page.route(
            "**/paper/NSE", lambda route: route.fulfill(status=status, content_type="text/html", body=html)
        )
        expect(page.locator("#told")).to_contain_text("The disk is full.", timeout=20_000)
        expect(page.locator("#paper-NSE")).to_contain_text("Profit and loss")
        page.unroute("**/paper/NSE")
        with page.expect_response("**/paper/NSE", timeout=20_000) as again:
            pass
        assert again.value.ok
        nothing_ran(seen)


def test_a_folder_without_a_lake_is_no_failure(browser: Browser, tmp_path: Path) -> None:
    empty = HealthLake(tmp_path)
    empty.settings.root.mkdir()
    with serving(empty.settings, clock=noon) as served, watched(browser) as seen:
        for path in ("/", "/health"):
            opened(seen, served, path)
            expect(seen.page.get_by_text("There is no lake in this folder yet").first).to_be_visible(
                timeout=20_000
            )
            assert seen.page.locator(".failed").count() == 0
            seen.picture(f"empty-{path.strip('/') or 'now'}-desktop-light")
    assert seen.complaints == []


SPITE = (
    """'"><img src=x onerror="document.title='run'"><script>document.title='run'</script>{{7*7}}\u2028&lt;"""
)


def spiteful(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A feed that stopped, and a symbol and a source that a browser would run, if it were let."""
    named = [{**row, "source": SPITE} if row["symbol"] == "BANKNIFTY" else row for row in late(rows)]
    return [{**row, "symbol": SPITE} if row["symbol"] == "SENSEX" else row for row in named]


@pytest.fixture(scope="module")
def spiteful_lake(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    """Spite in whatever comes from data: symbols, features, narratives, models, rules, evidence, comments."""
    made = build(tmp_path_factory.mktemp("spite"), change=spiteful)
    rules = made.folder / "rules.yaml"
    summary = f"{SPITE.replace('{', '{{').replace('}', '}}')} for {{value:.0f}} s"
    rules.write_text(f"rules:\n  feed_stale:\n    summary: {json.dumps(summary)}\n", encoding="utf-8")
    made.further = {"alerts_log": made.folder / "alerts.log", "rules_file": rules}
    feature = {"name": SPITE, "value": 1.0, "z": 1.0, "magnitude": 0.5, "contribution": 0.1}
    given = {
        "date": NOW.date(), "exchange": "NSE", "event_time": NOW, "received_time": NOW, "symbol": SPITE,
        "signal": SPITE, "confidence": 0.6, "probabilities": {"BUY": 0.6, "HOLD": 0.3, "SELL": 0.1},
        "regime": {"vix": SPITE, "trend": None, "expiry": None}, "model_version": SPITE, "dataset": SPITE,
        "dataset_digest": SPITE, "depth": "exact", "top_features": [feature], "narrative": SPITE,
        "source": SPITE, "expected": -0.5, "raw_score": 0.5,
    }  # fmt: skip
    made.commit(SIGNALS, [given])
    start = at(11, 0).astimezone(UTC)
    score = DriftScore(
        window_start=start, window_end=start + timedelta(minutes=30), date=NOW.date(), exchange="NSE",
        symbol=SPITE, feature=SPITE, method="level", score=2.0, threshold=1.0, p_value=0.5, effective_n=9.0,
        drifted=True, verdict=SPITE, row_count=30, dataset=SPITE,
    )  # fmt: skip
    record(made.settings.lake, [score])
    made.mirror()
    checked(made, minutes=(40, 60))
    return made


def test_spite_in_whatever_comes_from_data_is_shown_and_not_run(
    browser: Browser, spiteful_lake: HealthLake
) -> None:
    with serving(spiteful_lake.settings, clock=noon) as served, watched(browser) as seen:
        page = seen.page
        shown = set()
        for path in [*(one.path for one in SECTIONS), *TABS]:
            opened(seen, served, path)
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            nothing_ran(seen)
            if "onerror" in page.inner_text("main"):
                shown.add(path)
        assert shown >= {"/", "/chain", "/drift", "/health", "/model/signals"}
        opened(seen, served, "/health")
        alert = page.locator(".alert", has_text="BSE feed_stale").first
        alert.locator("summary").first.click()
        assert "onerror" in alert.inner_text()
        alert.get_by_label("What you do about it").fill(SPITE)
        alert.get_by_role("button", name="I have seen it").click()
        expect(alert.locator(".pill", has_text="seen by")).to_be_visible(timeout=20_000)
        alert.get_by_label("Why").fill(SPITE)
        alert.get_by_role("button", name="Tell nobody of it").click()
        expect(page.get_by_role("button", name=re.compile("End silence"))).to_be_visible(timeout=20_000)
        nothing_ran(seen)
        opened(seen, served, "/lake")
        quoted = SPITE.replace("'", "''")
        name = SPITE.replace('"', '""')
        for sql in (
            f'SELECT range AS a, range + 1 AS "{name}" FROM range(5)',
            f"SELECT DISTINCT symbol, '{quoted}' AS t FROM option_chain",
            f'SELECT nothing FROM "{name}"',
            f"SELECT '{quoted}'::INTEGER",
        ):
            page.fill("#sql", sql)
            with page.expect_response("**/lake/sql", timeout=30_000):
                page.click("#sql-run")
            expect(page.locator("#sql-result")).to_contain_text("onerror", timeout=20_000)
            nothing_ran(seen)
    assert seen.complaints == []
    assert seen.outside == []


def nothing_ran(seen: Watched) -> None:
    """What came from data made no element, and the title is ours."""
    assert seen.page.locator("img[src='x'], main script:not([src]), [onerror]").count() == 0
    assert seen.page.title().endswith("strikelake")


def test_it_says_what_it_can_without_a_script(browser: Browser, served: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.url + "/")
    assert "stands still" in page.inner_text("main")
    for _ in range(60):  # a first look may take longer than a page waits for it: who comes again finds it
        if "Looking at" not in page.inner_text("#now-NSE"):
            break
        page.wait_for_timeout(500)
        page.reload()
    assert "NIFTY" in page.inner_text("#now-NSE")
    context.close()


def test_a_clock_that_is_wrong_does_not_make_what_is_fresh_stale(browser: Browser, served: Served) -> None:
    with watched(browser) as seen:
        seen.page.add_init_script("const real = Date.now; Date.now = () => real() + 3600_000;")
        opened(seen, served, "/health")
        seen.page.wait_for_timeout(2500)
        assert seen.page.locator(".is-stale").count() == 0
    assert datetime.now(UTC) > NOW


def test_a_token_is_asked_for_and_opens_the_page(browser: Browser, lake: HealthLake) -> None:
    access = Access(token="t" * 43, port=7)
    with serving(lake.settings, clock=noon, access=access) as served, watched(browser, size="phone") as seen:
        page = seen.page
        page.goto(served.url + "/health")
        seen.picture("login-phone-light")
        assert [one["id"] for one in seen.axe()] == []
        page.get_by_label("Token").fill("t" * 43)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(served.url + "/health")
        page.wait_for_selector('#link[data-state="live"]', timeout=20_000)
        assert "t" * 43 not in page.url
    assert seen.complaints == []
