"""Every line of the calendar stands on its own source, and the whole against calendars that others made."""

from __future__ import annotations

import csv
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from catalog.calendar import SessionCalendar
from catalog.calendar_table import SHIPPED as TABLE

CALENDAR = SessionCalendar.load()
FIRST, LAST = date(2019, 1, 1), date(2026, 12, 31)
PUBLIC = Path(__file__).parents[1] / "data" / "public_calendars.csv"

NUMBER = re.compile(r"NSE/(FAOP|CMTR|MSD)/\d{5}\b|BSE notice \d{8}-\d+\b|SEBI PR \d+/\d{4}")
PRESS = re.compile(r"circulars? .*\b[a-z0-9-]+\.(com|in)\b.*\b20\d\d-\d\d-\d\d\b")
WITHOUT_NUMBER = {"2019-04-29", "2019-10-21"}
"""Days that the exchanges declared in the year; of their circulars only the press of those days was found."""

MUHURAT_ON_WEEKDAYS = {"2021-11-04", "2022-10-24", "2024-11-01", "2025-10-21"}
DECLARED_IN_THE_YEAR = {
    "2019-04-29", "2019-10-21", "2023-06-29", "2024-01-22", "2024-05-20", "2024-11-20", "2026-01-15",
}  # fmt: skip


def days_and_sources(text: str) -> list[tuple[str, str]]:
    """Date of each data line with the comment that stands right above it, "" where there is none."""
    found, comment = [], ""
    for line in text.splitlines():
        if line.startswith("#"):
            comment += line[1:]
            continue
        if line and not line.startswith("exchange,"):
            found.append((line.split(",")[1], comment))
        comment = ""
    return found


def unsourced(text: str) -> list[str]:
    """Dates of the lines whose own comment names neither a circular nor, where allowed, the press."""
    return [
        day
        for day, source in days_and_sources(text)
        if not NUMBER.search(source) and not (day in WITHOUT_NUMBER and PRESS.search(source))
    ]


def weekdays() -> list[date]:
    days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    return [day for day in days if day.weekday() < 5]


def closed_here(exchange: str) -> set[str]:
    return {day.isoformat() for day in weekdays() if CALENDAR.session(exchange, day) is None}


def closed_there(name: str) -> set[str]:
    with PUBLIC.open(encoding="utf-8", newline="") as file:
        return {row["date"] for row in csv.DictReader(file) if row[name] == "closed"}


def test_every_line_has_a_source_of_its_own() -> None:
    text = TABLE.read_text(encoding="utf-8")
    assert len(days_and_sources(text)) > 120
    assert unsourced(text) == []
    assert {day for day, source in days_and_sources(text) if not NUMBER.search(source)} == WITHOUT_NUMBER


@pytest.mark.parametrize(
    "spoilt",
    [
        "# NSE/FAOP/71777\n*,2026-03-03,holiday,,,Holi\n*,2026-03-26,holiday,,,Ram Navami\n",
        "# NSE/FAOP/71777\n\n*,2026-03-26,holiday,,,Ram Navami\n",
        "# everybody knows\n*,2026-03-26,holiday,,,Ram Navami\n",
        "# NSE circular (ndtv.com, 2026-03-20)\n*,2026-03-26,holiday,,,Ram Navami\n",
    ],
)
def test_a_line_without_one_is_found(spoilt: str) -> None:
    assert unsourced(spoilt) == ["2026-03-26"]


@pytest.mark.parametrize("exchange", ["NSE", "BSE"])
@pytest.mark.parametrize(
    ("name", "closed_only_there", "closed_only_here"),
    [
        # Names the Muhurat days as sessions.
        ("pandas_market_calendars 5.5.0 NSE", set(), set()),
        # Closed on Muhurat days; all others have Id-ul-Fitr on 2020-05-25, none a holiday on 2020-07-31.
        ("pandas_market_calendars 5.5.0 BSE", MUHURAT_ON_WEEKDAYS | {"2020-07-31"}, {"2020-05-25"}),
        ("exchange_calendars 4.13.2 XBOM", MUHURAT_ON_WEEKDAYS, set()),
        # Has the lists of each December only: nothing that was declared in the year, and Bakri Id of 2023
        # where it was before NSE/FAOP/57286 moved it by a day.
        ("holidays 0.109 XNSE", MUHURAT_ON_WEEKDAYS | {"2023-06-28"}, DECLARED_IN_THE_YEAR),
    ],
)
def test_weekdays_without_a_session_are_those_of_public_calendars_but_for_days_that_are_explained(
    exchange: str, name: str, closed_only_there: set[str], closed_only_here: set[str]
) -> None:
    here, there = closed_here(exchange), closed_there(name)
    assert there - here == closed_only_there
    assert here - there == closed_only_here


@pytest.mark.parametrize("exchange", ["NSE", "BSE"])
@pytest.mark.parametrize(
    ("year", "sessions"), [(2021, 248), (2022, 248), (2023, 246), (2024, 249), (2025, 249)]
)
def test_sessions_of_a_year_are_as_many_as_there_were_daily_files(
    exchange: str, year: int, sessions: int
) -> None:
    # Days for which NSE published a file of the day's prices, counted by others one by one (two public
    # records agree but for the Sunday of 2023-11-12, which one of them leaves out).
    assert len(CALENDAR.sessions(exchange, date(year, 1, 1), date(year, 12, 31))) == sessions


def test_until_june_2026_too() -> None:
    found = CALENDAR.sessions("NSE", date(2026, 1, 1), date(2026, 6, 10))
    # 106 files of weekdays by the same count, which leaves the Sunday of 2026-02-01 out.
    assert len([session for session in found if session.date.weekday() < 5]) == 106
    assert len(found) == 107
