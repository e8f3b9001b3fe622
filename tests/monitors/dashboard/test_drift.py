"""The section Drift: scores as they were recorded, and reports that cannot reach the page around them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dashboard_client import browsing, text_of
from health_lake import DAY, NOW, OPEN, HealthLake
from litestar.testing import TestClient

from catalog.contracts import DRIFT_SCORES
from lake.session import Session
from monitors.drift import DriftScore
from monitors.drift_record import record

SPITEFUL = "<script>alert(1)</script>"
REPORT = "<html><script>parent.document.title = 'taken'</script>"
Page = TestClient[Any]


def score(feature: str, number: int, value: float | None, **more: Any) -> DriftScore:
    start = (OPEN + number * timedelta(minutes=25)).astimezone(UTC)
    given: dict[str, Any] = {
        "window_start": start, "window_end": start + timedelta(minutes=25), "date": DAY, "exchange": "NSE",
        "symbol": "NIFTY", "feature": feature, "method": "level", "score": value, "threshold": 4.0,
        "p_value": 0.01, "effective_n": 12.0, "drifted": value is not None and abs(value) > 4.0,
        "verdict": "too_few_rows" if value is None else "drift" if abs(value) > 4.0 else "ok",
        "row_count": 30, "dataset": "autumn",
    }  # fmt: skip
    return DriftScore(**given | more)


def scores() -> list[DriftScore]:
    found = []
    for number in range(6):
        found += [
            score("vix", number, -6.0 if number >= 4 else 1.0),
            score("atm_iv", number, 2.0 + 0.1 * number),
            score("rsi", number, None if number == 5 else 0.5),
            score(SPITEFUL, number, 0.25),
            score("vix", number, 0.05, method="psi", threshold=0.25),
        ]
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    folder = tmp_path_factory.mktemp("drift")
    lake = HealthLake(folder, {"reports_dir": folder / "reports"})
    record(lake.settings.lake, scores())
    reports = folder / "reports" / "drift" / "NSE"
    reports.mkdir(parents=True)
    for name in ("daily-2026-10-23", "daily-2026-10-26", "drift-2026-10-26T083000Z-NIFTY", "notes"):
        (reports / f"{name}.html").write_text(REPORT, encoding="utf-8")
    (folder / "reports" / "daily-2026-10-20.html").write_text("outside", encoding="utf-8")
    return lake


@pytest.fixture(scope="module")
def page(made: HealthLake) -> Iterator[Page]:
    with browsing(made.settings, NOW) as client:
        yield client


def table(page: str) -> list[list[str]]:
    """Cells of the table of scores, without the strip."""
    body = page.split("<tbody>")[1].split("</tbody>", maxsplit=1)[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("<tr>")[1:]]
    return [[text_of(cell).strip() for cell in row[:5]] for row in rows]


def test_scores_of_the_newest_window_are_those_of_the_table(made: HealthLake, page: Page) -> None:
    with Session(made.settings.lake) as session:
        rows = session.table(
            "SELECT feature, arg_max(coalesce(round(score, 3), -9), window_end) AS score,"
            " count(*) FILTER (WHERE drifted) AS flagged, count(score) AS scored FROM drift_scores"
            " WHERE method = 'level' GROUP BY feature"
        ).to_pylist()
    shown = {row[0]: row[1:] for row in table(page.get("/drift").text)}
    assert len(shown) == len(rows) == 4
    for row in rows:
        value, threshold, _, flagged = shown[html.unescape(row["feature"])]
        assert value == ("-" if row["score"] == -9 else f"{row['score']:.3f}")
        assert threshold == "4.000"
        assert flagged == f"{row['flagged']} of {row['scored']}"


def test_what_is_flagged_comes_first_and_verdicts_are_words(page: Page) -> None:
    rows = table(page.get("/drift").text)
    assert [(row[0], row[3]) for row in rows] == [
        ("vix", "▲ drift"), ("atm_iv", "✓ no drift"), (SPITEFUL, "✓ no drift"), ("rsi", "? too few rows")
    ]  # fmt: skip
    assert "▲ 1 of 4 features flagged" in text_of(page.get("/drift").text)


def test_a_strip_has_a_bar_a_window_whose_threshold_is_at_half_its_height(page: Page) -> None:
    strips = re.findall(r'<svg class="strip-bars".*?</svg>', page.get("/drift").text)
    bars = re.findall(r'<rect( class="hot")? x="(\d+)" y="[\d.]+" width="3" height="([\d.]+)"', strips[0])
    assert [(bool(hot), int(x), float(height)) for hot, x, height in bars] == [
        *((False, 4 * number, 2.5) for number in range(4)), (True, 16, 15.0), (True, 20, 15.0)
    ]  # fmt: skip
    assert 'class="gap" x="21"' in strips[3]  # rsi had no score in the last of six windows


def test_another_method_can_be_chosen(page: Page) -> None:
    found = page.get("/drift/scores/NSE", params={"scores": "psi|NIFTY|autumn"}).text
    assert table(found) == [["vix", "0.050", "0.250", "✓ no drift", "0 of 6"]]
    gone = page.get("/drift/scores/NSE", params={"scores": "psi|NIFTY|spring"}).text
    assert "the scores asked for are not there" in gone
    assert page.get("/drift/scores/NYSE").status_code == 404


def test_a_card_renews_itself_with_what_was_chosen_and_leaves_an_open_report_alone(page: Page) -> None:
    chosen = page.get("/drift/scores/NSE", params={"scores": "psi|NIFTY|autumn"}).text
    again = re.search(r'hx-get="([^"]+)" hx-trigger="every 60s"', chosen)
    assert again is not None
    renewed = page.get(html.unescape(again[1])).text
    assert table(renewed) == table(chosen)
    assert 'id="drift-NSE-frame"' in page.get("/drift").text
    assert 'id="drift-NSE-frame"' not in renewed


def test_a_feature_that_is_a_script_is_shown_and_not_run(page: Page) -> None:
    assert SPITEFUL not in page.get("/drift").text.replace("<wbr>", "")


def test_reports_are_listed_newest_first_in_the_time_of_the_page(page: Page) -> None:
    text = text_of(page.get("/drift").text)
    expected = (
        "2026-10-26 14:00:00 when drift fired NIFTY", "Mon 26 Oct 2026 of the session",
        "Fri 23 Oct 2026 of the session",
    )  # fmt: skip
    order = [text.index(what) for what in expected]
    assert order == sorted(order)
    assert "notes" not in text


def test_a_report_is_framed_in_a_sandbox_without_our_origin(page: Page) -> None:
    name = "drift-2026-10-26T083000Z-NIFTY.html"
    frame = page.get(f"/drift/frame/NSE/{name}").text
    assert 'sandbox="allow-scripts"' in frame
    answer = page.get(f"/drift/report/NSE/{name}")
    policy = dict(
        part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";")
    )
    assert answer.text == REPORT
    assert policy["sandbox"] == "allow-scripts"  # also where it is opened alone
    assert (policy["default-src"], policy["form-action"], policy["frame-ancestors"]) == (
        "'none'", "'none'", "'self'"
    )  # fmt: skip
    assert "connect-src" not in policy
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_around_it_keeps_its_strict_policy(page: Page) -> None:
    policy = page.get("/drift").headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "script-src 'self'" in policy


@pytest.mark.parametrize("kind", ["report", "frame"])
@pytest.mark.parametrize(
    "address",
    [
        "NSE/notes.html", "NSE/..%2F..%2Fdaily-2026-10-20.html", "NSE/..%2Fdaily-2026-10-20.html",
        "..%2Fdrift%2FNSE/daily-2026-10-23.html", "BSE/daily-2026-10-23.html", "NSE/daily-2026-10-24.html",
    ],
)  # fmt: skip
def test_what_is_no_report_is_not_served(page: Page, kind: str, address: str) -> None:
    assert page.get(f"/drift/{kind}/{address}").status_code == 404


def test_a_lake_without_scores_says_what_it_takes(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path, {"reports_dir": tmp_path / "none"})
    lake.settings.lake.create(DRIFT_SCORES.spec)
    with browsing(lake.settings, NOW) as client:
        text = text_of(client.get("/drift").text)
    assert text.count("No drift was looked for") == 2
    assert text.count("No report yet") == 2


def test_a_damaged_table_is_an_error_and_no_absence_of_drift(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path, {"reports_dir": tmp_path / "none"})
    record(lake.settings.lake, scores())
    for file in lake.settings.lake.path("drift_scores").rglob("*.parquet"):
        file.write_bytes(b"PAR1 no more PAR1")
    with browsing(lake.settings, datetime.now(UTC)) as client:
        text = text_of(client.get("/drift").text)
    assert "This could not be read." in text
    assert "none of" not in text
