"""When a session is finished, and looking after the lake once it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from catalog.calendar import SessionCalendar
from catalog.contracts import CONTRACTS, QUARANTINE
from catalog.exchanges import EXCHANGES
from catalog.quarantine_store import delete_needless
from lake.compaction import Finished
from lake.errors import StrikelakeError
from lake.maintenance import RETENTION, Maintained, maintain
from lake.table import Lake, TableSpec

AFTER_CLOSE = timedelta(minutes=15)
"""How long after its close a session counts as finished: the last chains and late answers have come in."""

_SPOOLED_WITHIN = timedelta(days=1)  # a file of quarantine this young may wait for the row that names it

SPECS: dict[str, TableSpec] = {name: contract.spec for name, contract in CONTRACTS.items()}
"""Layout of every table there is a contract for."""


def finished_sessions(calendar: SessionCalendar, now: datetime | None = None) -> Finished:
    """Which partitions are of sessions that are over.

    A date without a session (rows of a night, a replayed recording) is over the day after.

    Args:
        calendar: The sessions.
        now: The moment it is.
    """
    moment = now or datetime.now(UTC)

    def finished(partition: Mapping[str, str]) -> bool:
        exchange = partition.get("exchange", "")
        if exchange not in EXCHANGES:
            return date.fromisoformat(partition["date"]) < moment.date()
        day = date.fromisoformat(partition["date"])
        session = calendar.session(exchange, day)
        if session is None:
            return day < calendar.session_date(exchange, moment)
        return session.close + AFTER_CLOSE <= moment

    return finished


def newest_finished(calendar: SessionCalendar, now: datetime) -> datetime | None:
    """When the newest finished session of any exchange closed; None while any session is open or about to be.

    The quiet time in which a writer that runs all day looks after the lake.
    """
    closes = []
    for exchange in EXCHANGES:
        today = calendar.session_date(exchange, now)
        for session in calendar.sessions(exchange, today - timedelta(days=10), today):
            if session.open - AFTER_CLOSE <= now < session.close + AFTER_CLOSE:
                return None
            if session.close + AFTER_CLOSE <= now:
                closes.append(session.close)
    return max(closes, default=None)


def maintain_lake(
    lake: Lake,
    calendar: SessionCalendar,
    *,
    retention: timedelta = RETENTION,
    now: datetime | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Maintained]:
    """`lake.maintenance.maintain` for every table there is a contract for and every finished session.

    Files of quarantine that no row names any more, as their session was dropped, go as well.

    Raises:
        StreamInUseError: Another process is maintaining this lake.
        SpoolUnavailableError: The lock cannot be taken.
    """
    finished = finished_sessions(calendar, now)
    done = maintain(lake, SPECS, finished, retention=retention, now=now, progress=progress)
    before = (now or datetime.now(UTC)) - _SPOOLED_WITHIN
    return [
        _with_quarantine_files(lake, one, before) if one.table == QUARANTINE.table else one for one in done
    ]


def _with_quarantine_files(lake: Lake, done: Maintained, before: datetime) -> Maintained:
    """Delete needless files of quarantine, and count them with what was done to its table."""
    try:
        files, size = delete_needless(lake, older_than_s=before.timestamp())
    except (StrikelakeError, OSError) as error:
        return replace(done, problems=(*done.problems, f"files of quarantine: {error}"))
    return replace(done, deleted_files=done.deleted_files + files, freed_bytes=done.freed_bytes + size)
