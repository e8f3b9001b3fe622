"""What trackers say of paper trading becomes a history, each summary once."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from health_lake import DAY, INDIA, NOW, HealthLake, at

from catalog.calendar import SessionCalendar
from lake.commit_log import commits_after
from lake.session import Session
from monitors.check import Check
from monitors.paper_trading import AHEAD, keep_summaries
from monitors.phase2 import read_summary

NSE = ["NSE"]
Look = Callable[..., Check]


def write(made: HealthLake, moment: datetime, exchange: str = "NSE", **figures: Any) -> None:
    path = made.settings.phase2_metrics_dir / f"{exchange}_summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"last_updated": moment.isoformat(), "paper_trading": figures}
    path.write_text(json.dumps(document), encoding="utf-8")


def rows(made: HealthLake) -> list[Mapping[str, Any]]:
    with Session(made.settings.lake) as session:
        return session.table(
            "SELECT * REPLACE (epoch_us(event_time) AS event_time, epoch_us(received_time) AS received_time)"
            " FROM paper_trading_metrics ORDER BY exchange, event_time"
        ).to_pylist()


def us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def test_a_check_keeps_each_summary_once_and_judges_by_it(sick: HealthLake, look: Look) -> None:
    write(sick, at(11, 50), total_pnl=100.0, open_positions=2, trades=5, portfolio_constraint_violations=0)
    for minute in (51, 52, 53):
        look(sick, at(11, minute))
    write(sick, at(11, 55), total_pnl=-40.5, open_positions=0, trades=7, portfolio_constraint_violations=1)
    check = look(sick, at(11, 56))
    assert check.problems == []

    found = [row for row in rows(sick) if row["exchange"] == "NSE"]
    assert [(r["event_time"], r["received_time"]) for r in found] == [
        (us(at(11, 50)), us(at(11, 51))), (us(at(11, 55)), us(at(11, 56))),
    ]  # fmt: skip
    assert [(r["total_pnl"], r["open_positions"], r["trades"]) for r in found] == [(100, 2, 5), (-40.5, 0, 7)]
    assert {(r["date"], r["source"]) for r in found} == {(DAY, "phase2")}
    # What is judged is the newest one, seen again at the version that the check itself made.
    [sample] = check.measured.of("total_pnl", "NSE")
    assert sample.value == -40.5
    assert sample.shown is not None
    with Session(sick.settings.lake, at=sample.shown.at) as session:
        [again] = session.table(sample.shown.sql, sample.shown.parameters).to_pylist()
    assert again["total_pnl"] == -40.5


def test_a_look_keeps_nothing(sick: HealthLake, look: Look) -> None:
    look(sick, keep=False)
    assert "paper_trading_metrics" not in sick.settings.lake.tables()


def test_a_recorded_day_of_paper_trades_is_kept_as_it_went(
    sick: HealthLake, calendar: SessionCalendar, recordings: Path
) -> None:
    file = recordings / "paper_trading" / "sensex_noise" / "2026-04-01" / "trade_summary.csv"
    with file.open(encoding="utf-8", newline="") as lines:
        trades = sorted(csv.DictReader(lines), key=lambda trade: trade["exit_time"])
    assert len(trades) >= 15
    for number, trade in enumerate(trades, 1):
        done = trades[:number]
        exit_time = datetime.fromisoformat(trade["exit_time"]).replace(tzinfo=INDIA)
        write(
            sick, exit_time, "BSE", total_pnl=sum(float(one["net_pnl"]) for one in done), open_positions=[],
            trades=number, winning_trades=sum(one["outcome"] == "WIN" for one in done),
        )  # fmt: skip
        for seconds in (1, 2):
            kept = keep_summaries(sick.settings, calendar, ["BSE"], exit_time + timedelta(seconds=seconds))
            assert kept.problems == []
            assert len(kept.commits) == (seconds == 1)
    with Session(sick.settings.lake) as session:
        # The gains between rows are the trades' own, so nothing is lost and nothing doubled.
        found = session.table(
            "SELECT trades, winning_trades,"
            " total_pnl - lag(total_pnl, 1, 0) OVER (ORDER BY event_time) AS gain"
            " FROM paper_trading_metrics WHERE exchange = 'BSE' ORDER BY event_time"
        ).to_pylist()
    assert [row["gain"] for row in found] == pytest.approx([float(trade["net_pnl"]) for trade in trades])
    assert [row["trades"] for row in found] == list(range(1, len(trades) + 1))
    assert found[-1]["winning_trades"] == sum(float(trade["net_pnl"]) > 0 for trade in trades)


def test_lists_of_positions_and_trades_are_counted_and_sections_are_not(tmp_path: Path) -> None:
    path = tmp_path / "NSE_summary.json"
    document = {"open_positions": [{"symbol": "NIFTY"}, {"symbol": "SENSEX"}], "trades": {"trades": 4}}
    path.write_text(json.dumps(document | {"winning_trades": 1.5}), encoding="utf-8")
    found = read_summary(path, timezone="Asia/Kolkata")
    assert dict(found.figures) == {"open_positions": 2, "trades": 4}
    assert set(found.bad_fields) == {"winning_trades"}


def test_what_a_summary_does_not_say_is_null_and_one_without_paper_trading_is_no_row(
    sick: HealthLake, calendar: SessionCalendar
) -> None:
    write(sick, at(10, 0), total_pnl=1.0)
    (sick.settings.phase2_metrics_dir / "BSE_summary.json").write_text(
        json.dumps({"last_updated": at(10, 0).isoformat(), "total_signals": 4}), encoding="utf-8"
    )
    kept = keep_summaries(sick.settings, calendar, ["NSE", "BSE"], at(10, 1))
    assert kept.problems == []
    [row] = rows(sick)
    assert row["total_pnl"] == 1.0
    assert {row[n] for n in ("open_positions", "trades", "realized_pnl", "losing_trades")} == {None}


def test_a_summary_from_the_future_or_older_than_the_last_is_told_and_not_kept(
    sick: HealthLake, calendar: SessionCalendar
) -> None:
    write(sick, at(10, 0), total_pnl=1.0)
    keep_summaries(sick.settings, calendar, NSE, at(10, 1))
    write(sick, at(10, 1) + AHEAD + timedelta(seconds=1), total_pnl=2.0)
    [told] = keep_summaries(sick.settings, calendar, NSE, at(10, 1)).problems
    assert "yet to come" in told
    write(sick, at(9, 59), total_pnl=3.0)
    [told] = keep_summaries(sick.settings, calendar, NSE, at(10, 2)).problems
    assert "older than that of" in told
    assert [row["total_pnl"] for row in rows(sick)] == [1.0]


def test_checks_at_the_same_time_keep_a_summary_once(sick: HealthLake, calendar: SessionCalendar) -> None:
    write(sick, at(11, 0), total_pnl=5.0)
    with ThreadPoolExecutor(4) as executor:
        jobs = [executor.submit(keep_summaries, sick.settings, calendar, NSE, NOW) for _ in range(8)]
    assert [job.result().problems for job in jobs] == [[]] * 8
    assert sum(len(job.result().commits) for job in jobs) == 1
    assert len(rows(sick)) == 1
    path = sick.settings.lake.path("paper_trading_metrics")
    assert sum(commit.rows for commit in commits_after(path, -1)) == 1


def test_a_summary_without_a_time_is_of_when_it_was_written(
    sick: HealthLake, calendar: SessionCalendar
) -> None:
    path = sick.settings.phase2_metrics_dir / "NSE_summary.json"
    path.write_text(json.dumps({"total_pnl": 8.0}), encoding="utf-8")
    written = datetime.fromtimestamp(path.stat().st_mtime_ns // 1000 / 1e6, UTC)
    keep_summaries(sick.settings, calendar, NSE, written + timedelta(minutes=1))
    [row] = rows(sick)
    assert abs(row["event_time"] - us(written)) <= 1
