"""`strikelake demo` in an empty folder: the first thing a user does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.simulated_feed import check_day, play, sessions_until
from ingest.simulator import simulate_session
from ingest.tap import StreamTap
from lake.digest import content_digest
from lake.errors import SettingsError
from lake.session import Session
from lake.settings import Settings

ROOT = "my first lake"
COUNTS = ("offered", "spooled", "committed", "quarantined", "dropped")


@pytest.fixture(scope="module")
def demo(in_folder: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """The demo run once, under a name with spaces; what is left to do and what it printed."""
    run = in_folder(tmp_path_factory.mktemp("a demo"))
    return run, run("--root", ROOT, "demo", "--interval", "300").stdout


def counts(run: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.json("--root", ROOT, "ingest", "status")
    return rows


def test_it_shows_what_it_did_and_how_to_go_on(demo: tuple[Any, str]) -> None:
    _, printed = demo
    for text in ("Ledger", "micro-batches", "NIFTY", "SENSEX", "Max pain", "Go on with:", f"--root '{ROOT}'"):
        assert text in printed or text.replace("'", '"') in printed


def test_both_exchanges_are_there_and_every_row_is_accounted_for(demo: tuple[Any, str]) -> None:
    run, _ = demo
    ledger = counts(run)
    assert {(row["table"], row["exchange"]) for row in ledger} >= {
        ("option_chain", "NSE"),
        ("option_chain", "BSE"),
    }
    for row in ledger:
        assert list(row) == ["table", "exchange", *COUNTS]
        assert row["offered"] == sum(row[name] for name in COUNTS[1:])
        assert row["spooled"] == row["dropped"] == 0
    stored = run.json(
        "--root", ROOT, "sql", "SELECT exchange, count(*) AS rows FROM option_chain GROUP BY 1 ORDER BY 1"
    )
    assert stored == [
        {"exchange": row["exchange"], "rows": row["committed"]}
        for row in sorted(ledger, key=lambda each: str(each["exchange"]))
        if row["table"] == "option_chain"
    ]


def test_a_second_demo_adds_nothing(demo: tuple[Any, str]) -> None:
    run, _ = demo
    before = counts(run)
    assert "nothing is added" in run("--root", ROOT, "demo", "--interval", "300").stdout
    assert counts(run) == before


def test_every_view_answers(demo: tuple[Any, str]) -> None:
    run, _ = demo
    listed = run.json("--root", ROOT, "sql", "--list")
    about = {row["name"]: row["about"] for row in listed if row["kind"] == "view"}
    # Of models: a lake without any has no such table.
    assert "has no table attribution" in about.pop("attribution_drift")
    views = list(about)
    assert {"latest_chain", "pcr_5m", "max_pain"} <= set(views)
    answers = " UNION ALL ".join(f"SELECT '{view}' AS view, count(*) AS rows FROM {view}" for view in views)
    for row in run.json("--root", ROOT, "sql", answers):
        # What they tell of, a simulated feed does not do, or is in recordings only.
        assert (row["rows"] == 0) == (
            row["view"] in {"feed_gaps", "flagged_legs", "eod_chain", "india_vix"}
        ), row


def test_the_mirror_has_every_row_and_can_be_made_again(demo: tuple[Any, str]) -> None:
    run, _ = demo
    arguments = ("--root", ROOT, "catalog", "batches", "--table", "option_chain", "--limit", "100000")
    batches = run.json(*arguments)
    committed = sum(row["committed"] for row in counts(run) if row["table"] == "option_chain")
    assert sum(row["record_count"] for row in batches) == committed
    (run.folder / ROOT / "catalog.db").unlink()
    run("--root", ROOT, "catalog", "rebuild")
    again = run.json(*arguments)

    def told(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return sorted((row["table_version"], row["exchange"], row["record_count"]) for row in rows)

    assert told(again) == told(batches)


def test_an_interrupted_demo_goes_on_where_it_stopped(tmp_path: Path) -> None:
    reference = ReferenceData.load()
    day = date(2026, 6, 15)
    cut, whole = Settings(root=tmp_path / "cut"), Settings(root=tmp_path / "whole")
    tap = StreamTap(cut)
    for update in islice(simulate_session(day, reference, seed=7, interval_s=900), 31):
        assert tap.put(update)
    assert tap.close()
    for settings, before in ((cut, 31), (whole, 0)):
        result = play(settings, reference, days=[day], seed=7, interval_s=900, progress=lambda _: None)
        assert result.known == before
        assert (
            play(settings, reference, days=[day], seed=7, interval_s=900, progress=lambda _: None).updates
            == 0
        )
    digests = []
    for settings in (cut, whole):
        with Session(settings.lake) as session:
            rows = session.table("SELECT * FROM option_chain").drop_columns(["batch_id"])
            digests.append((rows.num_rows, content_digest(rows)))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("day", [date(1999, 1, 1), date(2026, 11, 20)])
def test_a_day_that_cannot_be_simulated_is_refused(day: date) -> None:
    with pytest.raises(SettingsError, match=str(day)):
        check_day(ReferenceData.load(), day, today=date(2026, 11, 19))


def test_several_sessions_follow_one_another_and_end_with_the_day_asked_for(tmp_path: Path) -> None:
    reference = ReferenceData.load()
    settings = Settings(root=tmp_path / "several")
    # Monday 15 June 2026 back over the weekend.
    days = sessions_until(reference, date(2026, 6, 15), 3)
    assert days == [date(2026, 6, 11), date(2026, 6, 12), date(2026, 6, 15)]

    def go_on(until: int) -> int:
        return play(
            settings, reference, days=days[:until], seed=7, interval_s=3600, progress=lambda _: None
        ).updates

    assert go_on(2) > 0
    assert go_on(3) > 0
    assert go_on(3) == 0
    with Session(settings.lake) as session:
        found = session.table(
            "SELECT date, first(underlying_price ORDER BY event_time) AS opens,"
            " last(underlying_price ORDER BY event_time) AS closes FROM option_chain"
            " WHERE symbol = 'NIFTY' GROUP BY date ORDER BY date"
        ).to_pylist()
    assert [row["date"] for row in found] == days
    for before, after in pairwise(found):
        assert after["opens"] == pytest.approx(before["closes"], rel=0.02)
