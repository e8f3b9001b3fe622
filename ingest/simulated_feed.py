"""The simulator as a source: sessions played through the real tap, spool, writer and mirror.

The simulator is seeded, so what was interrupted goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.simulator import EXPIRIES, MARKETS, next_expiries, stream_days
from ingest.tap import StreamTap
from lake.errors import SettingsError, StrikelakeError
from lake.settings import Settings

SOURCE = "simulator"

_BATCH = timedelta(minutes=15)
_QUEUE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class PlayResult:
    """What was put into the lake.

    Attributes:
        updates: Chain updates handed over.
        legs: Option rows handed over.
        known: Updates left out because the lake had them.
    """

    updates: int
    legs: int
    known: int


def choose_day(reference: ReferenceData, wanted: date | None) -> date:
    """The day asked for, if it can be simulated, else the last one that makes a good first sight.

    Raises:
        SettingsError: The day is not in the calendar, or still to come.
    """
    today = datetime.now(UTC).date()
    day = wanted or latest_known_session(reference, today)
    check_day(reference, day, today)
    return day


def latest_known_session(reference: ReferenceData, today: date) -> date:
    """The last day before today with a session and known lots on every simulated market, and no expiry.

    On an expiry day half the chain is worth nothing by the close, which makes a poor first sight.

    Raises:
        SettingsError: There is none within two years.
    """
    day = today
    for _ in range(730):
        day -= timedelta(days=1)
        known = all(
            reference.calendar.session(market.exchange, day)
            and _lots_are_known(reference, symbol, day)
            and next_expiries(symbol, day, reference.calendar, 1) != [day]
            for symbol, market in MARKETS.items()
        )
        if known:
            return day
    raise SettingsError("no session with known lot sizes in the last two years: see calendar and lot sizes")


def _lots_are_known(reference: ReferenceData, symbol: str, day: date) -> bool:
    """Whether those of the expiries that are simulated are."""
    return all(
        reference.lots.lot_size(MARKETS[symbol].exchange, symbol, day, expiry)
        for expiry in next_expiries(symbol, day, reference.calendar, EXPIRIES)
    )


def sessions_until(reference: ReferenceData, day: date, count: int) -> list[date]:
    """So many session dates of every simulated market, the last of them `day`.

    Raises:
        SettingsError: The calendar does not reach back that far.
    """
    days = [day]
    earlier = day
    while len(days) < count:
        earlier -= timedelta(days=1)
        if not reference.calendar.covers(earlier):
            raise SettingsError(
                f"the calendar has no {count} sessions up to {day}: it begins after {earlier}"
            )
        if all(reference.calendar.session(market.exchange, earlier) for market in MARKETS.values()):
            days.append(earlier)
    return days[::-1]


def check_day(reference: ReferenceData, day: date, today: date) -> None:
    """Refuse a day whose rows would be rejected, or whose session nobody knows.

    Raises:
        SettingsError: The day is not in the calendar, or still to come.
    """
    if not reference.calendar.covers(day):
        raise SettingsError(f"the calendar does not reach {day}; give a --date that it covers")
    if day > today:
        raise SettingsError(f"{day} is still to come; give an earlier --date")


def played_until(settings: Settings, days: Sequence[date]) -> dict[tuple[str, date], datetime]:
    """The newest simulated event in the lake, by symbol and session date; spooled rows included."""
    from lake.session import Session

    if "option_chain" not in settings.lake.tables():
        return {}
    with Session(settings.lake, live=True) as session:
        found = session.table(
            "SELECT symbol, date, max(event_time) AS newest FROM option_chain"
            " WHERE date BETWEEN $first AND $last AND source = $source GROUP BY symbol, date",
            {"first": days[0], "last": days[-1], "source": SOURCE},
        ).to_pylist()
    return {(row["symbol"], row["date"]): row["newest"] for row in found}


def play(
    settings: Settings,
    reference: ReferenceData,
    *,
    days: Sequence[date],
    seed: int,
    interval_s: float,
    speed: float | None = None,
    progress: Callable[[datetime], None],
) -> PlayResult:
    """Play sessions through a tap of its own; what the lake has of them already is left out.

    Args:
        settings: Root of the lake, app id and intervals of the tap.
        reference: Calendar and lot sizes.
        days: Session dates, ascending; each opens where the one before closed.
        seed: Same seed, same sessions.
        interval_s: Simulated seconds between two chains of a symbol.
        speed: Simulated seconds a second; None for as fast as it goes, with a micro-batch every 15
            simulated minutes.
        progress: Called with the simulated time, now and then.

    Raises:
        SettingsError: There is no session on one of the days.
        StreamInUseError: Another process taps under this app id.
        StrikelakeError: Not everything could be committed; it stays in the spool.
    """
    updates = legs = known = 0
    tap = StreamTap(settings)
    try:
        # Once the tap has its lock, nobody else plays under this app id.
        newest = played_until(settings, days)
        pace = _Pace(tap, speed, progress)
        for update in stream_days(days, reference, seed=seed, interval_s=interval_s):
            moment: datetime = update.event_time
            until = newest.get((update.symbol, reference.calendar.session_date(update.exchange, moment)))
            if until is not None and moment <= until:
                known += 1
                continue
            pace.wait_for(update)
            tap.put(update)
            updates += 1
            legs += len(update.calls) + len(update.puts)
    finally:
        closed = tap.close(timeout_s=300)
    if not closed:
        raise StrikelakeError(
            "not everything was committed, see the log above; "
            f"run 'strikelake ingest commit --app-id {settings.app_id} --once'"
        )
    return PlayResult(updates, legs, known)


class _Pace:
    """Holds updates back until they are due, or lets the writer keep up where there is no speed."""

    def __init__(self, tap: StreamTap, speed: float | None, progress: Callable[[datetime], None]) -> None:
        self._tap, self._speed, self._progress = tap, speed, progress
        self._first: datetime | None = None
        self._began = time.monotonic()
        self._due: datetime | None = None

    def wait_for(self, update: ChainUpdate) -> None:
        moment: datetime = update.event_time
        self._first = self._first or moment
        if self._speed is not None:
            ahead = (moment - self._first).total_seconds() / self._speed - (time.monotonic() - self._began)
            if ahead > 0:
                self._progress(moment)
                time.sleep(ahead)
            return
        self._due = self._due or moment + _BATCH
        crowded = self._tap.stats().queued > self._tap.settings.raw_stream_queue_size * _QUEUE_SHARE
        if moment >= self._due or crowded:
            if not self._tap.flush(timeout_s=300):
                raise StrikelakeError("a micro-batch could not be committed: see the log above")
            self._due = moment + _BATCH
            self._progress(moment)


@contextmanager
def session_progress(reference: ReferenceData, days: Sequence[date]) -> Iterator[Callable[[datetime], None]]:
    """A bar over the minutes of sessions, moved by simulated times."""
    from lake.progress import progress_bar

    minute = timedelta(minutes=1)
    sessions = [session for day in days if (session := reference.calendar.session("NSE", day)) is not None]
    total = sum((session.close - session.open) // minute for session in sessions)
    shown = 0
    with progress_bar("simulated minutes", total=total) as advance:

        def progress(moment: datetime) -> None:
            nonlocal shown
            now = sum(max(min(moment, s.close) - s.open, timedelta()) // minute for s in sessions)
            advance(now - shown)
            shown = now

        yield progress
        advance(total - shown)
