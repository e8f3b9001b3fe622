"""One month of an exchange's calendar, a row a day, as a person reads it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from catalog.reference import ReferenceData

_SATURDAY = 5


def month_rows(reference: ReferenceData, exchange: str, month: date) -> list[dict[str, Any]]:
    """Return the days of a month: those with a session, and weekdays without one.

    Args:
        reference: Calendar and days of expiry.
        exchange: `NSE` or `BSE`.
        month: Any day of the month.

    Returns:
        Columns `date`, `day`, `kind`, `pre_open`, `open`, `close` (exchange-local, None without a session),
        `expiries` (underlyings whose contracts expire) and `note`.
    """
    first = month.replace(day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    expiring: dict[date, list[str]] = {}
    for symbol in reference.expiry_days.symbols(exchange):
        for day in reference.expiry_days.expiries(reference.calendar, exchange, symbol, first, last):
            expiring.setdefault(day, []).append(symbol)
    days = (first + timedelta(days=offset) for offset in range(last.day))
    rows = [_row(reference, exchange, day, expiring.get(day, [])) for day in days]
    return [row for row in rows if row["kind"] != "weekend"]


def _row(reference: ReferenceData, exchange: str, day: date, expiring: list[str]) -> dict[str, Any]:
    calendar = reference.calendar
    session = calendar.session(exchange, day)
    weekend = "weekend" if day.weekday() >= _SATURDAY else "holiday"
    note = (calendar.holiday(exchange, day) or "") if session is None else session.note
    notes = [note] if note else []
    if calendar.is_users(exchange, day):
        notes.append("(your line)")
    if not calendar.covers(day):
        notes.append("(not checked)")
    return {
        "date": day.isoformat(),
        "day": f"{day:%a}",
        "kind": session.kind if session else weekend,
        "pre_open": f"{session.pre_open:%H:%M}" if session else None,
        "open": f"{session.open:%H:%M}" if session else None,
        "close": f"{session.close:%H:%M}" if session else None,
        "expiries": " ".join(expiring),
        "note": " ".join(notes),
    }
