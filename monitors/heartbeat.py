"""The dead-man's switch: each check leaves a sign that it was there, and the next one looks for it.

Three signs, since who is dead cannot tell: a file that the next check, a second scheduled task
(`strikelake monitors watch`) or any other program reads; an address that is asked after each check, at a
service that raises the alarm when it is not (`heartbeat_url`); and the metric `monitor_quiet_s`.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from catalog.calendar import SessionCalendar
from lake.durability import replace_durably
from lake.errors import DeliveryError

logger = logging.getLogger(__name__)

PING_TIMEOUT_S = 5.0

_FOLDER = "monitors"
_FILE = "heartbeat.json"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The sign of one check.

    Attributes:
        at: When it looked.
        next_by: When the next one is due at the latest, in session hours.
        exit_code: What it ended with.
        firing: Rules that fired.
        pid: Process.
    """

    at: datetime
    next_by: datetime
    exit_code: int
    firing: tuple[str, ...] = ()
    pid: int = 0


def heartbeat_file(root: Path) -> Path:
    """Where the sign is: `<root>/monitors/heartbeat.json`."""
    return root / _FOLDER / _FILE


def beat(root: Path, sign: Heartbeat) -> None:
    """Leave a sign, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    path = heartbeat_file(root)
    document = {
        "at": sign.at.astimezone(UTC).isoformat(),
        "next_by": sign.next_by.astimezone(UTC).isoformat(),
        "exit_code": sign.exit_code,
        "firing": list(sign.firing),
        "pid": sign.pid or os.getpid(),
    }
    replace_durably(path, json.dumps(document, indent=2).encode())


def read_heartbeat(root: Path) -> Heartbeat | None:
    """The newest sign, None if there never was one or it says nothing.

    Raises:
        OSError: It is there and cannot be read.
    """
    try:
        document: Any = json.loads(heartbeat_file(root).read_text(encoding="utf-8"))
        return Heartbeat(
            at=datetime.fromisoformat(document["at"]).astimezone(UTC),
            next_by=datetime.fromisoformat(document["next_by"]).astimezone(UTC),
            exit_code=int(document["exit_code"]),
            firing=tuple(document["firing"]),
            pid=int(document["pid"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def quiet_s(calendar: SessionCalendar, sign: Heartbeat, now: datetime, exchanges: tuple[str, ...]) -> float:
    """Seconds of open market since a check was due and none came; 0 if none was due yet.

    Args:
        calendar: The sessions: nights and holidays do not count.
        sign: The newest sign.
        now: The moment it is.
        exchanges: Any of them being open counts.
    """
    longest = 0.0
    for exchange in exchanges:
        first = calendar.session_date(exchange, sign.at)
        last = calendar.session_date(exchange, now)
        # A machine that was off for a year must not be asked about each of its days.
        first = max(first, last - timedelta(days=31))
        total = 0.0
        for session in calendar.sessions(exchange, first, last):
            # In a session that began after the sign, the first check has as long as any other.
            allowed = sign.next_by - sign.at
            due = max(sign.next_by, session.open + allowed)
            total += max(0.0, (min(now, session.close) - due).total_seconds())
        longest = max(longest, total)
    return longest


def ping(url: str) -> None:
    """Ask the address of a watcher elsewhere.

    Raises:
        DeliveryError: It did not answer with success; the message does not name the address.
    """
    try:
        import httpx
    except ImportError as error:
        raise DeliveryError("heartbeat_url needs httpx: pip install 'strikelake[monitors]'") from error

    try:
        # No redirect: who answers for another host is not the watcher.
        answer = httpx.get(url, timeout=PING_TIMEOUT_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeliveryError(f"heartbeat_url did not answer: {type(error).__name__}") from None
    if not answer.is_success:
        raise DeliveryError(f"heartbeat_url answered {answer.status_code}")
