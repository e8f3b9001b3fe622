"""How long the candles of a file are, which no format says in the file itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Final

from catalog.contracts import SESSION_INTERVAL_S
from ingest.sources.recorded_file import NotARecordingError

KNOWN_S: Final = (1, 5, 10, 15, 30, 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400)
"""Lengths within a session that brokers and charting tools offer."""

_STATED = re.compile(
    r"(?<![A-Za-z0-9])(?P<count>[0-9]{0,3})"
    r"(?P<unit>s|sec|second|seconds|m|min|mins|minute|minutes|h|hour|hours|d|day|days)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": SESSION_INTERVAL_S}
_WORDS: Final = frozenset({"minute", "hour", "day"})


def stated_interval(name: str) -> int | None:
    """Return the interval in seconds that a name states: `3m.2026-01`, `NIFTY_5minute`, `day`; else None."""
    words = name.replace("_", " ")
    for match in _STATED.finditer(words):
        count, unit = match["count"], match["unit"].lower()
        if count or unit in _WORDS:
            seconds = int(count or 1) * _UNIT_S[unit[0]]
            if seconds in {*KNOWN_S, SESSION_INTERVAL_S}:
                return seconds
    return None


def spaced_interval(starts: Iterable[datetime]) -> int | None:
    """Return the interval in seconds by which most labels of one day follow one another; None if none do.

    Candles without a trade may be missing. Where so many are that most labels lie further apart than the
    candles are long, the answer is too long, so that a candle counts as known too late and never too early.

    Args:
        starts: Labels in the order of the file, Indian time.
    """
    steps: Counter[int] = Counter()
    days: Counter[timedelta] = Counter()
    at_midnight = True
    before: datetime | None = None
    for start in starts:
        at_midnight = at_midnight and start.time() == time()
        if before is not None:
            if start.date() == before.date():
                seconds = abs(start - before).total_seconds()
                if seconds in KNOWN_S:
                    steps[int(seconds)] += 1
            else:
                days[min(abs(start.date() - before.date()), timedelta(days=2))] += 1
        before = start
    if steps:
        return min(steps, key=lambda seconds: (-steps[seconds], seconds))
    return SESSION_INTERVAL_S if at_midnight and days[timedelta(days=1)] else None


def interval_of(name: str, starts: Iterable[datetime]) -> int:
    """Return the interval of a file's candles in seconds.

    Args:
        name: The file's name, which may state it.
        starts: Labels in the order of the file, Indian time.

    Raises:
        NotARecordingError: `unknown_interval`: neither tells, or the labels are closer than the name says.
    """
    stated, spaced = stated_interval(name), spaced_interval(starts)
    if stated is not None and spaced is not None and spaced < stated:
        raise NotARecordingError(
            "unknown_interval", f"candles of {spaced} s in a file whose name says {stated} s"
        )
    interval_s = stated or spaced
    if interval_s is None:
        raise NotARecordingError(
            "unknown_interval", "no two candles of a day tell how long they are; name the file e.g. 3m.csv"
        )
    return interval_s
