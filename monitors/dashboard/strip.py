"""The line on top of every page: which exchange is open, and whether an alert fires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from catalog.calendar import SessionCalendar
from monitors.alerts import LAKE, Severity
from monitors.dashboard.alert_look import Alerts
from monitors.dashboard.session_state import SessionState, session_state


@dataclass(frozen=True, slots=True)
class Place:
    """An exchange, or the lake: its session, and how many alerts fire that are told of."""

    exchange: str
    session: SessionState | None
    critical: int
    warnings: int


@dataclass(frozen=True, slots=True)
class Strip:
    """The line.

    Attributes:
        places: Exchanges, then the lake.
        firing: Alerts that fire.
        watched: Whether a monitor makes checks: without one, no alert means nothing.
        told: Why not.
        problem: Why the alerts cannot be read.
    """

    places: tuple[Place, ...]
    firing: int
    watched: bool
    told: str
    problem: str


def strip_of(calendar: SessionCalendar, exchanges: Sequence[str], alerts: Alerts, now: datetime) -> Strip:
    """The line, from how the alerts stand."""
    places = []
    for name in (*exchanges, LAKE):
        firing = alerts.firing(name)
        critical = sum(one.finding.severity is Severity.CRITICAL for one in firing)
        warnings = sum(one.finding.severity is Severity.WARN for one in firing)
        session = session_state(calendar, name, now) if name != LAKE else None
        if session is not None or critical or warnings:
            places.append(Place(name, session, critical, warnings))
    told = ""
    if alerts.heartbeat is None:
        told = "no monitor has run on this lake"
    elif alerts.quiet_s > 0:
        told = "the monitor has gone quiet"
    return Strip(tuple(places), len(alerts.firing()), not told, told, alerts.problem)
