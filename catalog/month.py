"""One month of an exchange's calendar, a row a day, as a person reads it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from catalog.reference import ReferenceData

_SATURDAY = 5
_NARROWEST = 20
_TEXT = "expiries, notes"


def month_rows(reference: ReferenceData, exchange: str, month: date) -> list[dict[str, Any]]:
    """Return the days of a month: those with a session or an announced one, and weekdays without.

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


def fitted_rows(rows: Sequence[dict[str, Any]], width: int = 80) -> list[dict[str, Any]]:
    """Return rows of `month_rows` for a table of that width: expiries and note in one column, wrapped.

    Args:
        rows: Rows of `month_rows`.
        width: Characters that a line of the table may have.

    Returns:
        Columns `date`, `day`, `kind`, `pre_open`, `open`, `close` and `expiries, notes`; a line that goes on
        with the text of the one before it has None in all others.
    """
    own = ["date", "day", "kind", "pre_open", "open", "close"]
    taken = sum(max([len(name), *(len(row[name] or "") for row in rows)]) + 2 for name in own)
    fitted: list[dict[str, Any]] = []
    for row in rows:
        texts = [f"expiry: {row['expiries']}" if row["expiries"] else "", row["note"]]
        lines = [line for text in texts for line in textwrap.wrap(text, max(width - taken, _NARROWEST))]
        fitted.append({**{name: row[name] for name in own}, _TEXT: lines[0] if lines else ""})
        fitted += [{**dict.fromkeys(own), _TEXT: line} for line in lines[1:]]
    return fitted


def _row(reference: ReferenceData, exchange: str, day: date, expiring: list[str]) -> dict[str, Any]:
    calendar = reference.calendar
    session = calendar.session(exchange, day)
    announced = calendar.announced(exchange, day)
    closed = "weekend" if day.weekday() >= _SATURDAY else "holiday"
    reason = calendar.holiday(exchange, day) or "" if announced is None else announced
    note = reason if session is None else session.note
    notes = [note] if note else []
    if calendar.is_users(exchange, day):
        notes.append("(your line)")
    if not calendar.covers(day):
        notes.append("(not checked)")
    return {
        "date": day.isoformat(),
        "day": f"{day:%a}",
        "kind": session.kind if session else closed if announced is None else "announced",
        "pre_open": f"{session.pre_open:%H:%M}" if session else None,
        "open": f"{session.open:%H:%M}" if session else None,
        "close": f"{session.close:%H:%M}" if session else None,
        "expiries": " ".join(expiring),
        "note": " ".join(notes),
    }
