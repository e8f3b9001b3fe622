"""Where the day of an exchange stands, by the calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog.calendar import Session as TradingSession
from catalog.calendar import SessionCalendar

_AHEAD = timedelta(days=15)  # the longest closure so far was far shorter


@dataclass(frozen=True, slots=True)
class SessionState:
    """Where the exchange's day stands.

    Attributes:
        is_open: Whether the session runs.
        text: In words.
        session: Today's session, None if there is none.
        following: The next session to open.
        elapsed_pct: How much of today's session is over.
        until: The moment that is waited for: the close while open, else the next open.
    """

    is_open: bool
    text: str
    session: TradingSession | None
    following: TradingSession | None
    elapsed_pct: float
    until: datetime | None


def session_state(calendar: SessionCalendar, exchange: str, now: datetime) -> SessionState:
    """Where the day of an exchange stands."""
    today = calendar.session_date(exchange, now)
    session = calendar.session(exchange, today)
    ahead = calendar.sessions(exchange, today, today + _AHEAD)
    following = next((one for one in ahead if one.open > now), None)
    opens = following.open if following else None
    if session is None:
        return SessionState(False, "No session today", None, following, 0.0, opens)
    length = (session.close - session.open).total_seconds()
    elapsed = min(1.0, max(0.0, (now - session.open).total_seconds() / length))
    if now < session.open:
        return SessionState(False, "Opens today", session, session, 0.0, session.open)
    if now < session.close:
        return SessionState(True, "Open", session, following, 100 * elapsed, session.close)
    return SessionState(False, "Closed", session, following, 100.0, opens)
