"""A line that a user adds while something runs counts at once; a bad one changes nothing and is told of."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from edited_table import Clock, write

from catalog.calendar import SessionCalendar

HEADER = "exchange,date,kind,open,close,note\n"
SUNDAY = date(2026, 11, 8)
HOUR = "*,2026-11-08,muhurat,18:00,19:00,Samvat 2083\n"


def write_lines(path: Path, lines: str) -> None:
    write(path, HEADER + lines)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_file_that_appears_changes_and_goes_is_followed(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "calendar.csv"
    calendar = SessionCalendar(path, clock)
    assert calendar.session("NSE", SUNDAY) is None
    assert calendar.version == 0
    write_lines(path, HOUR)
    clock.now += 1.0
    session = calendar.session("NSE", SUNDAY)
    assert session is not None
    assert session.open == datetime(2026, 11, 8, 12, 30, tzinfo=UTC)
    assert calendar.is_open("BSE", session.open)
    assert calendar.announced("NSE", SUNDAY) is None
    assert calendar.is_users("NSE", SUNDAY)
    assert calendar.close_of("NSE", SUNDAY) == session.close
    write_lines(path, HOUR.replace("19:00", "19:30"))
    clock.now += 1.0
    assert calendar.close_of("NSE", SUNDAY) == datetime(2026, 11, 8, 14, 0, tzinfo=UTC)
    path.unlink()
    clock.now += 1.0
    assert calendar.session("NSE", SUNDAY) is None
    assert calendar.version == 3


def test_the_disk_is_not_asked_more_than_once_a_second(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "calendar.csv"
    calendar = SessionCalendar(path, clock)
    write_lines(path, HOUR)
    clock.now += 0.9
    assert calendar.session("NSE", SUNDAY) is None
    clock.now += 0.1
    assert calendar.session("NSE", SUNDAY) is not None


def test_a_bad_line_keeps_the_sessions_of_before_and_is_told_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "calendar.csv"
    write_lines(path, HOUR)
    calendar = SessionCalendar(path, clock)
    write_lines(path, HOUR + "NSE,tomorrow,holiday,,,\n")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock.now += 1.0
            assert calendar.session("NSE", SUNDAY) is not None
    [told] = caplog.records
    assert "not valid" in told.message
    assert "calendar.csv, line 3" in str(told.__dict__["error"])
    write_lines(path, HOUR + "NSE,2026-12-01,holiday,,,closed\n")
    clock.now += 1.0
    assert calendar.holiday("NSE", date(2026, 12, 1)) == "closed"


def test_a_session_announced_without_hours_is_none_until_a_line_has_them() -> None:
    calendar = SessionCalendar.load()
    for exchange in ("NSE", "BSE"):
        assert calendar.session(exchange, SUNDAY) is None
        assert calendar.holiday(exchange, SUNDAY) is None
        assert "hours unknown" in (calendar.announced(exchange, SUNDAY) or "")
    assert calendar.announced("NSE", date(2026, 11, 10)) is None
    assert calendar.holiday("NSE", date(2026, 11, 10)) == "Diwali Balipratipada"
