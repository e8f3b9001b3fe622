"""A simulated session of both exchanges through the real tap, spool, writer and mirror."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from catalog.reference import ReferenceData
from ingest.simulator import MARKETS, next_expiries, simulate_session
from ingest.tap import StreamTap
from lake.errors import SettingsError, StrikelakeError
from lake.settings import Settings

APP_ID = "demo"

_BATCH = timedelta(minutes=15)
_QUEUE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demo put into the lake.

    Attributes:
        day: Session date.
        updates: Chain updates handed over.
        legs: Option rows handed over.
    """

    day: date
    updates: int
    legs: int


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
            and reference.lots.lot_size(market.exchange, symbol, day)
            and next_expiries(symbol, day, reference.calendar, 1) != [day]
            for symbol, market in MARKETS.items()
        )
        if known:
            return day
    raise SettingsError("no session with known lot sizes in the last two years: see calendar and lot sizes")


def check_day(reference: ReferenceData, day: date, today: date) -> None:
    """Refuse a day whose rows would be rejected, or whose session nobody knows.

    Raises:
        SettingsError: The day is not in the calendar, or still to come.
    """
    if not reference.calendar.covers(day):
        raise SettingsError(f"the calendar does not reach {day}; give a --date that it covers")
    if day > today:
        raise SettingsError(f"{day} is still to come; give an earlier --date")


def already_there(settings: Settings, reference: ReferenceData, day: date) -> bool:
    """Whether the lake has the simulated session of that day.

    Raises:
        SettingsError: It has a part of it only, from a demo that was interrupted.
    """
    from lake.session import Session

    if "option_chain" not in settings.lake.tables():
        return False
    with Session(settings.lake, live=True) as session:
        found = session.table(
            "SELECT exchange, max(event_time) AS newest FROM option_chain"
            " WHERE date = $day AND source = 'simulator' GROUP BY exchange",
            {"day": day},
        ).to_pylist()
    if not found:
        return False
    closes = {row["exchange"]: reference.calendar.close_of(row["exchange"], day) for row in found}
    expected = {market.exchange for market in MARKETS.values()}
    if set(closes) != expected or any(row["newest"] + _BATCH < closes[row["exchange"]] for row in found):
        raise SettingsError(
            f"{settings.root} has a part of {day} from a demo that was interrupted:\n"
            "give another --date or --root, or delete that folder"
        )
    return True


def run_demo(
    settings: Settings,
    reference: ReferenceData,
    *,
    day: date,
    seed: int,
    interval_s: float,
    progress: Callable[[datetime], None],
) -> DemoResult:
    """Play one session through the tap, as fast as it goes, with a micro-batch every 15 simulated minutes.

    Args:
        settings: Root of the lake; the app id is `demo`.
        reference: Calendar and lot sizes.
        day: Session date.
        seed: Same seed, same session.
        interval_s: Simulated seconds between two chains of a symbol.
        progress: Called with the simulated time.

    Raises:
        SettingsError: There is no session that day.
        StreamInUseError: Another demo runs on this lake.
        StrikelakeError: Not everything could be committed; it stays in the spool.
    """
    settings = settings.model_copy(
        update={"app_id": APP_ID, "raw_stream_flush_seconds": 3600.0, "committer": "thread"}
    )
    updates = legs = 0
    due: datetime | None = None
    tap = StreamTap(settings)
    try:
        for update in simulate_session(day, reference, seed=seed, interval_s=interval_s):
            moment: datetime = update.event_time
            due = due or moment + _BATCH
            if moment >= due or tap.stats().queued > settings.raw_stream_queue_size * _QUEUE_SHARE:
                _flush(tap)
                due = moment + _BATCH
                progress(moment)
            tap.put(update)
            updates += 1
            legs += len(update.calls) + len(update.puts)
        _flush(tap)
    finally:
        closed = tap.close()
    if not closed:
        raise StrikelakeError(
            "not everything was committed; run 'strikelake ingest commit --app-id demo --once'"
        )
    progress(datetime.now(UTC))
    return DemoResult(day, updates, legs)


def _flush(tap: StreamTap) -> None:
    if not tap.flush(timeout_s=300):
        raise StrikelakeError("a micro-batch could not be committed: see the log above")
