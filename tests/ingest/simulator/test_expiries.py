"""Expiry dates against those of the exchanges' calendars."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.reference import ReferenceData
from ingest.simulator import MARKETS, SYMBOLS, next_expiries

any_symbol = st.sampled_from(SYMBOLS)


@pytest.mark.parametrize(
    ("symbol", "day", "expected"),
    [
        ("NIFTY", "2026-07-10", ["2026-07-14", "2026-07-21", "2026-07-28"]),
        ("NIFTY", "2026-07-14", ["2026-07-14", "2026-07-21", "2026-07-28"]),
        ("NIFTY", "2026-07-15", ["2026-07-21", "2026-07-28", "2026-08-04"]),
        ("SENSEX", "2026-07-10", ["2026-07-16", "2026-07-23", "2026-07-30"]),
        ("BANKNIFTY", "2026-07-10", ["2026-07-28", "2026-08-25", "2026-09-29"]),
        ("BANKNIFTY", "2026-07-28", ["2026-07-28", "2026-08-25", "2026-09-29"]),
        ("BANKNIFTY", "2026-07-29", ["2026-08-25", "2026-09-29", "2026-10-27"]),
        # Holi, Tuesday 2026-03-03: Monday's session is the expiry, and Tuesday's list starts a week later.
        ("NIFTY", "2026-02-27", ["2026-03-02", "2026-03-10", "2026-03-17"]),
        ("NIFTY", "2026-03-02", ["2026-03-02", "2026-03-10", "2026-03-17"]),
        ("NIFTY", "2026-03-03", ["2026-03-10", "2026-03-17", "2026-03-24"]),
        # Mahavir Jayanti, Tuesday 2026-03-31, moves the monthly expiry.
        ("BANKNIFTY", "2026-03-10", ["2026-03-30", "2026-04-28", "2026-05-26"]),
        # Ram Navami, Thursday 2026-03-26.
        ("SENSEX", "2026-03-20", ["2026-03-25", "2026-04-02", "2026-04-09"]),
        # December rolls over into the next year.
        ("BANKNIFTY", "2026-01-28", ["2026-02-24", "2026-03-30", "2026-04-28"]),
        ("NIFTY", "2025-12-31", ["2026-01-06", "2026-01-13", "2026-01-20"]),
        # The Sunday session is no expiry and shifts none.
        ("NIFTY", "2026-02-01", ["2026-02-03", "2026-02-10", "2026-02-17"]),
    ],
)
def test_expiries_follow_the_weekday_rule_and_move_before_holidays(
    reference: ReferenceData, symbol: str, day: str, expected: list[str]
) -> None:
    found = next_expiries(symbol, date.fromisoformat(day), reference.calendar, 3)
    assert [expiry.isoformat() for expiry in found] == expected


@given(any_symbol, st.dates(date(2025, 9, 1), date(2026, 12, 31)))
@settings(max_examples=50)
def test_expiries_are_sessions_from_the_day_on(reference: ReferenceData, symbol: str, day: date) -> None:
    expiries = next_expiries(symbol, day, reference.calendar, 3)
    assert expiries == sorted(set(expiries))
    assert expiries[0] >= day
    assert all(reference.calendar.session(MARKETS[symbol].exchange, expiry) for expiry in expiries)
