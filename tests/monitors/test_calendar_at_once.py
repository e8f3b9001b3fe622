"""A session that a user adds while the monitor runs: its rules look at it, and checks are due by it."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

from edited_table import Clock
from health_lake import INDIA, HealthLake

from catalog.calendar import SessionCalendar
from lake.settings import Settings
from monitors.probes import moment_of
from monitors.rules import RuleSet
from monitors.service import Service

HOLIDAY = datetime(2026, 11, 10, 12, 0, tzinfo=INDIA)
HEADER = "exchange,date,kind,open,close,note\n"


def test_a_health_check_sees_the_session_that_a_line_adds_and_the_one_it_takes_away(tmp_path: Path) -> None:
    path, clock = tmp_path / "calendar.csv", Clock()
    calendar = SessionCalendar(path, clock)
    closed = moment_of(calendar, "NSE", HOLIDAY)
    assert (closed.session, closed.is_open, closed.has_opened) == (None, False, False)
    path.write_text(HEADER + "NSE,2026-11-10,regular,,,opened after all\n", encoding="utf-8")
    clock.now += 1.0
    opened = moment_of(calendar, "NSE", HOLIDAY)
    assert opened.is_open
    assert opened.since_open_s == 2 * 3600 + 45 * 60
    assert not moment_of(calendar, "BSE", HOLIDAY).is_open
    path.write_text(HEADER + "*,2026-11-11,holiday,,,declared today\n", encoding="utf-8")
    clock.now += 1.0
    assert not moment_of(calendar, "NSE", HOLIDAY + timedelta(days=1)).is_open


def test_the_next_check_is_due_by_the_line(sick: HealthLake, rules: RuleSet, tmp_path: Path) -> None:
    path, clock = tmp_path / "calendar.csv", Clock()
    settings = Settings(root=sick.settings.root, alerts_log=tmp_path / "alerts.log")
    service = Service(settings, SessionCalendar(path, clock), rules, clock=lambda: HOLIDAY)
    assert service.next_check(HOLIDAY) == HOLIDAY + timedelta(hours=1)
    path.write_text(HEADER + "NSE,2026-11-10,regular,,,opened after all\n", encoding="utf-8")
    clock.now += 1.0
    assert service.next_check(HOLIDAY) == HOLIDAY + timedelta(minutes=5)
    of_bse = dataclasses.replace(service, exchanges=("BSE",))
    assert of_bse.next_check(HOLIDAY) == HOLIDAY + timedelta(hours=1)
