"""Minutes in which a feed said nothing although the market was open.

Rows tell of what came; only a clock tells of what did not. The drain of a tap asks here on every turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from statistics import median

from catalog.calendar import SessionCalendar
from ingest.quality_counts import DISCONNECTED, MINUTE_US, SILENT, Counts

SILENT_AFTER_S = 60.0
"""A minute without a chain, for feeds that send at least once a minute."""

CADENCES = 3.0
"""Slower feeds are silent after so many of their usual intervals: one poll may fail."""

_INTERVALS_KEPT = 16
_SLEPT_US = 2 * MINUTE_US
EVERY_SYMBOL = "*"

Connections = Mapping[tuple[str, str], tuple[bool, float]]


@dataclass(slots=True)
class _Feed:
    day: date
    newest_us: int
    intervals_us: deque[int] = field(default_factory=lambda: deque(maxlen=_INTERVALS_KEPT))

    def silent_after_us(self) -> float:
        usual = median(self.intervals_us) if self.intervals_us else 0.0
        return max(SILENT_AFTER_S * 1e6, CADENCES * usual)


class SilenceWatch:
    """Remembers when each feed spoke last, by time of receipt; use it from one thread."""

    def __init__(self, calendar: SessionCalendar) -> None:
        self._calendar = calendar
        self._feeds: dict[tuple[str, str, str], _Feed] = {}
        self._minute = 0
        self._looked_us = 0

    def heard(self, exchange: str, source: str, symbol: str, received_us: int, day: date) -> None:
        """Note a chain.

        Args:
            exchange: Canonical.
            source: Where it came from.
            symbol: Canonical.
            received_us: Time of receipt, epoch microseconds.
            day: Session date of the receipt.
        """
        feed = self._feeds.get((exchange, source, symbol))
        if feed is None or feed.day != day:
            self._feeds[exchange, source, symbol] = _Feed(day, received_us)
        elif received_us > feed.newest_us:
            feed.intervals_us.append(received_us - feed.newest_us)
            feed.newest_us = received_us

    def look(self, now_us: int, connections: Connections, now_s: float) -> list[Counts]:
        """Judge the minute that ended since the last look, once.

        A process that was stopped or asleep for two minutes cannot say what came meanwhile: those minutes
        have no rows at all, which the report shows as not captured.

        Args:
            now_us: Now, epoch microseconds.
            connections: As `Freshness.connections` gives them.
            now_s: Now on the monotonic clock, which connections are dated by.
        """
        minute = now_us // MINUTE_US
        slept = now_us - self._looked_us > _SLEPT_US
        done = minute <= self._minute
        self._minute, self._looked_us = max(minute, self._minute), now_us
        if done or slept:
            return []
        start_us = (minute - 1) * MINUTE_US
        end_us = start_us + MINUTE_US
        exchanges = {key[0] for key in self._feeds} | {key[0] for key in connections}
        found = [self._of_minute(exchange, start_us, end_us, connections, now_s) for exchange in exchanges]
        return [counts for counts in found if counts is not None]

    def _of_minute(
        self, exchange: str, start_us: int, end_us: int, connections: Connections, now_s: float
    ) -> Counts | None:
        start = datetime.fromtimestamp(start_us / 1e6, UTC)
        try:
            day = self._calendar.session_date(exchange, start)
        except KeyError:  # told of an exchange that there is not
            return None
        session = self._calendar.session(exchange, day)
        if session is None or not session.open <= start < session.close:
            return None
        counts = Counts(exchange)
        open_us = int(session.open.timestamp() * 1e6)
        spoke = set()
        for (of, source, symbol), feed in list(self._feeds.items()):
            if of != exchange:
                continue
            if feed.day != day:
                del self._feeds[of, source, symbol]
                continue
            spoke.add(source)
            since_us = max(feed.newest_us, open_us)
            up = connections.get((exchange, source), (True, 0.0))[0]
            if feed.newest_us < start_us and (not up or end_us - since_us >= feed.silent_after_us()):
                self._note(counts, day, start_us, symbol, source, up=up, seconds=(end_us - since_us) / 1e6)
        for (of, source), (up, since_s) in connections.items():
            if of != exchange or source in spoke:
                continue
            seconds = min(now_s - since_s, (end_us - open_us) / 1e6)
            if not up or seconds >= SILENT_AFTER_S:
                self._note(counts, day, start_us, EVERY_SYMBOL, source, up=up, seconds=seconds)
        return counts

    def _note(
        self, counts: Counts, day: date, start_us: int, symbol: str, source: str, *, up: bool, seconds: float
    ) -> None:
        detector, why = (SILENT, "connection up") if up else (DISCONNECTED, "connection down")
        counts.note(day, start_us, symbol, source, detector, seconds, why)
