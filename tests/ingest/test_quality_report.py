"""What the lake, the catalog and the command say of a feed's quality is what its rows say."""

from __future__ import annotations

import copy
import csv
import json
import subprocess
import sys
from collections import Counter
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from deltalake import DeltaTable

from catalog import batches as mirror
from catalog.database import open_database
from catalog.dq_flags import DqFlag, flag_names
from catalog.reference import ReferenceData
from ingest.load import load
from ingest.quality_report import day_report
from ingest.simulator import simulate_session
from ingest.sources import adapter, recording_files
from ingest.tap import StreamTap
from lake.session import Session

DAY = date(2026, 6, 11)
IST = ZoneInfo("Asia/Kolkata")


def quality(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from lake.cli import main; main()", "--root", str(root), "ingest", "quality",
         *arguments],
        check=True, capture_output=True, text=True, timeout=60, encoding="utf-8",
    )  # fmt: skip
    return done.stdout


@pytest.fixture
def played(lake: Any, reference: ReferenceData) -> Any:
    """30 minutes of two symbols, with a repeat, a gap of six minutes, and a leg of crossed quotes."""
    stream = simulate_session(DAY, reference, seed=2, symbols=["NIFTY", "SENSEX"], strikes=6, expiries=2)
    updates = [next(stream) for _ in range(60)]
    updates[20].calls, updates[20].puts = copy.deepcopy(updates[18].calls), copy.deepcopy(updates[18].puts)
    leg = updates[31].calls[0]
    leg["bid"], leg["ask"] = leg["ask"], leg["bid"] - 0.05
    tap = StreamTap(lake.settings)
    for number, update in enumerate(updates):
        if not 40 <= number < 50:
            tap.put(update)
        if number == 33:
            assert tap.flush()
    assert tap.close()
    return lake


def test_the_table_the_rows_and_the_ledger_agree(played: Any) -> None:
    rows = played.rows()
    root = played.settings.root
    counts = DeltaTable(str(root / "derived" / "feed_quality")).to_pyarrow_table().to_pylist()
    expected: Counter[str] = Counter(seen=len(rows))
    for row in rows:
        expected.update(flag_names(row["dq_flags"]))
    found: Counter[str] = Counter()
    for row in counts:
        found[row["detector"]] += row["rows_seen" if row["detector"] == "seen" else "rows_flagged"]
    assert found == expected
    assert set(expected) == {"seen", "repeated", "crossed"}
    totals = played.totals("feed_quality")
    assert (totals["committed"], totals["difference"], totals["spooled"]) == (len(counts), 0, 0)


def test_the_catalog_counts_the_flags_of_each_batch_and_a_rebuild_counts_the_same(played: Any) -> None:
    expected: dict[tuple[str, str], Counter[str]] = {}
    for row in played.rows():
        counter = expected.setdefault((row["batch_id"], row["exchange"]), Counter())
        counter.update(flag_names(row["dq_flags"]))
    engine = open_database(played.settings.catalog)
    try:
        before = mirror.batches(engine)
        found = {
            (row["batch_id"], row["exchange"]): Counter(json.loads(row["flagged_rows"]))
            for row in before
            if row["table_name"] == "option_chain"
        }
        assert found == expected
        assert any(found.values())
        assert {row["flagged_rows"] for row in before if row["table_name"] != "option_chain"} == {None}
        mirror.rebuild(played.settings.lake, engine)
        again = mirror.batches(engine)
    finally:
        engine.dispose()
    key = ["table_name", "parquet_path", "flagged_rows"]
    assert sorted(str([row[k] for k in key]) for row in again) == sorted(
        str([row[k] for k in key]) for row in before
    )


def test_the_view_by_minute_counts_what_the_rows_say(played: Any) -> None:
    expected: Counter[Any] = Counter()
    for row in played.rows():
        key = (row["exchange"], row["symbol"], row["event_time"].replace(second=0, microsecond=0))
        expected[*key, "row_count"] += 1
        for name in flag_names(row["dq_flags"]):
            expected[*key, name] += 1
    with Session(played.settings.lake) as session:
        minutes = session.table("SELECT * FROM feed_quality_1m").to_pylist()
    names = ["row_count", *(str(flag.name).lower() for flag in DqFlag)]
    found = Counter(
        {
            (row["exchange"], row["symbol"], row["minute"], name): row[name]
            for row in minutes
            for name in names
        }
    )
    assert +found == +expected


def test_the_view_of_the_detectors_adds_up_what_was_judged_live(played: Any) -> None:
    with Session(played.settings.lake) as session:
        judged = session.table(
            "SELECT detector, sum(rows_seen) AS seen, sum(rows_flagged) AS flagged FROM feed_detectors_1m"
            " GROUP BY detector"
        ).to_pylist()
        minutes = session.table(
            "SELECT sum(repeated) AS repeated, sum(crossed) AS crossed, sum(row_count) AS seen"
            " FROM feed_quality_1m"
        ).to_pylist()[0]
    flagged = {row["detector"]: row["flagged"] for row in judged}
    assert (flagged["repeated"], flagged["crossed"]) == (minutes["repeated"], minutes["crossed"])
    assert {row["seen"] for row in judged if row["detector"] == "seen"} == {minutes["seen"]}


def test_gaps_are_the_pauses_that_are_longer_than_usual(played: Any) -> None:
    times = sorted({row["event_time"] for row in played.rows() if row["symbol"] == "NIFTY"})
    steps = [(b - a).total_seconds() for a, b in pairwise(times)]
    expected = [(a, b) for a, b in pairwise(times) if (b - a).total_seconds() > 1.5 * median(steps)]
    with Session(played.settings.lake) as session:
        gaps = session.table("SELECT * FROM feed_gaps WHERE symbol = 'NIFTY'").to_pylist()
    assert [(gap["gap_start"], gap["gap_end"]) for gap in gaps] == expected
    assert [(gap["seconds"], gap["missed_chains"]) for gap in gaps] == [(360.0, 5)]


def test_the_report_tells_coverage_gaps_and_detectors(played: Any, reference: ReferenceData) -> None:
    now = datetime(2026, 6, 11, 9, 45, tzinfo=IST)
    with Session(played.settings.lake) as session:
        report = day_report(session, reference.calendar, "NSE", DAY, now=now)
    (feed,) = report.feeds
    assert (feed.symbol, feed.polls, feed.cadence_s) == ("NIFTY", 25, 60.0)
    assert [(gap.start.astimezone(IST).strftime("%H:%M"), gap.seconds) for gap in feed.gaps] == [
        ("09:34", 360.0)
    ]
    assert feed.covered == pytest.approx(1 - 6 / 30)
    (found,) = [each for each in feed.found if each.detector == "repeated"]
    assert (found.rows, found.chains, found.minutes, found.minutes_in_session) == (52, 2, 1, 1)


def test_the_command_tells_it_in_80_columns(played: Any) -> None:
    told = quality(played.settings.root, "--date", "2026-06-11")
    assert max(len(line) for line in told.splitlines() if "--root" not in line) <= 80
    assert "NIFTY from simulator" in told
    assert "gap 09:34 to 09:40, 6.0 min" in told
    assert "repeated" in told
    (nse, bse) = json.loads(quality(played.settings.root, "--date", "2026-06-11", "--output", "json"))
    assert [feed["symbol"] for report in (nse, bse) for feed in report["feeds"]] == ["NIFTY", "SENSEX"]
    assert {each["detector"] for each in bse["feeds"][0]["found"]} == {"crossed"}


def test_a_day_without_data_says_so(played: Any) -> None:
    told = quality(played.settings.root, "--date", "2026-06-13", "--exchange", "NSE")
    assert told == "NSE 2026-06-13: no session\n  no data: not one chain of any symbol was captured\n"
    told = quality(played.settings.root, "--date", "2026-06-11", "--exchange", "NSE", "--symbol", "BANKNIFTY")
    assert told.endswith("no data: not one chain of BANKNIFTY was captured\n")


def test_a_recorded_day_reads_as_its_files_do(lake: Any, recordings: Path, reference: ReferenceData) -> None:
    folder = recordings / "kite_poll_csv" / "2026-01-30"
    source = adapter("kite-poll")
    load(lake.settings, source, recording_files(source, folder))
    with Session(lake.settings.lake) as session:
        report = day_report(session, reference.calendar, "NSE", date(2026, 1, 30), symbol="NIFTY")
    (feed,) = report.feeds
    times, zeroed = [], 0
    for path in sorted(folder.glob("*.csv")):
        rows = [
            row for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
            if row["Symbol"] == "NIFTY"
        ]  # fmt: skip
        moment = datetime.fromisoformat(rows[0]["timestamp"]).replace(tzinfo=IST)
        times.append(moment)
        zeroed += not any(float(row["CE_OI"]) + float(row["PE_OI"]) for row in rows)
    inside = [t for t in times if report.session and report.session.open <= t < report.session.close]
    assert (feed.polls, feed.polls_in_session) == (len(times), len(inside))
    assert {each.detector: each.chains for each in feed.found}["zeroed"] == zeroed >= 1
    if len(inside) > 50:
        steps = [(b - a) for a, b in pairwise(inside)]
        missed = [step for step in steps if step > 1.5 * median(steps)]
        assert [timedelta(seconds=gap.seconds) for gap in feed.gaps] == missed


def test_flagged_rows_can_be_asked_for_by_name(played: Any) -> None:
    with Session(played.settings.lake) as session:
        found = session.table("SELECT flags, count(*) AS n FROM flagged_legs GROUP BY flags ORDER BY flags")
    assert found.to_pylist() == [{"flags": "crossed", "n": 1}, {"flags": "repeated", "n": 52}]
