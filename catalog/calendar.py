"""Sessions of the exchanges' derivatives segments: when they trade, and which date a moment belongs to.

The rule is Monday to Friday at the exchange's regular hours. `data/calendar.csv` lists the days that depart
from it and the changes of those hours; users lay their own file over that. Everything that asks "is this
late?" or "how long until expiry?" asks here.
"""

from __future__ import annotations

import time as clocks
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from operator import itemgetter
from pathlib import Path
from zoneinfo import ZoneInfo

from catalog.calendar_table import Day, SessionKind, Table, read_tables
from catalog.editable_table import EditableTable
from catalog.exchanges import EXCHANGES

_CHECKED_FIRST, _CHECKED_LAST = date(2019, 1, 1), date(2026, 12, 31)
_SATURDAY = 5
_PRE_OPEN = timedelta(minutes=15)

_ZONES = {code: ZoneInfo(exchange.timezone) for code, exchange in EXCHANGES.items()}


@dataclass(frozen=True, slots=True)
class Session:
    """One trading session of an exchange's derivatives segment.

    Attributes:
        exchange: `NSE` or `BSE`.
        date: Session date, exchange-local.
        open: Start of continuous trading, aware, in the exchange's zone.
        close: End of continuous trading, aware, in the exchange's zone.
        kind: `regular` (also a weekend day that stands in for a weekday), `special` (any other weekend
            session, or other hours) or `muhurat` (the Diwali hour, on a day that is a holiday otherwise).
        note: What a reader should know about this day, "" for a regular one.
    """

    exchange: str
    date: date
    open: datetime
    close: datetime
    kind: SessionKind
    note: str

    @property
    def has_expiries(self) -> bool:
        """Whether contracts expire in it, those of a later day without a session included.

        Not in the Diwali hour, whose day the exchanges list as a holiday (NIFTY's contract of 2025-10-21
        expired on 2025-10-20), nor in a special session on a weekend (MIDCPNIFTY's of 2024-05-20 expired on
        2024-05-17, NSE/FAOP/61517, not in the test of 2024-05-18).
        """
        weekend = self.date.weekday() >= _SATURDAY
        return self.kind != "muhurat" and not (weekend and self.kind == "special")

    @property
    def pre_open(self) -> datetime:
        """Start of the call auction before the open, aware: from here on an index moves, options do not.

        In the cash market since 2010 (SEBI circular CIR/MRD/DP/21/2010), for futures since 2025-12-08
        (NSE/FAOP/71092, BSE notice 20251110-40), never for options: 15 minutes, before special sessions and
        the Diwali hour as well.
        """
        return self.open - _PRE_OPEN


class _Sessions:
    """What one reading of the tables says.

    Sessions are worked out once a day and exchange and then remembered: the writer asks per chain.
    """

    def __init__(self, table: Table) -> None:
        self.days = table.days
        self.users = frozenset(table.users)
        self._hours = {
            code: [(date.min, (exchange.regular_open, exchange.regular_close))]
            for code, exchange in EXCHANGES.items()
        }
        for (code, day), hours in sorted(table.hours.items()):
            self._hours[code].append((day, hours))
        self._sessions: dict[tuple[str, date], Session | None] = {}
        self._closes: dict[tuple[str, date], datetime] = {}

    def session(self, exchange: str, day: date) -> Session | None:
        key = (exchange, day)
        try:
            return self._sessions[key]
        except KeyError:
            session = self._sessions[key] = self._work_out(exchange, day)
            return session

    def close_of(self, exchange: str, day: date) -> datetime:
        key = (exchange, day)
        try:
            return self._closes[key]
        except KeyError:
            session = self.session(exchange, day)
            if session is None:
                _, regular_close = self._regular_hours(exchange, day)
                close = _at(exchange, day, regular_close)
            else:
                close = session.close
            self._closes[key] = close
            return close

    def _work_out(self, exchange: str, day: date) -> Session | None:
        if isinstance(day, datetime):
            # A datetime passes for a date, but equals none: every holiday would look like a session.
            raise TypeError("day must be a date, not a datetime; session_date() gives the date of a moment")
        line = self.days.get((exchange, day))
        if line is None:
            if day.weekday() >= _SATURDAY:
                return None
            line = Day("regular", None, None, "")
        if line.kind is None:
            return None
        regular_open, regular_close = self._regular_hours(exchange, day)
        return Session(
            exchange=exchange,
            date=day,
            open=_at(exchange, day, line.open or regular_open),
            close=_at(exchange, day, line.close or regular_close),
            kind=line.kind,
            note=line.note,
        )

    def _regular_hours(self, exchange: str, day: date) -> tuple[time, time]:
        changes = self._hours[exchange]
        return changes[bisect_right(changes, day, key=itemgetter(0)) - 1][1]


class SessionCalendar:
    """The sessions of every exchange; build it with `load`.

    The user's file is read again when it has changed, see `EditableTable`.
    Methods that take an exchange raise KeyError for one that is not in `EXCHANGES`.
    """

    def __init__(self, extra: Path | None = None, clock: Callable[[], float] = clocks.monotonic) -> None:
        """Read the tables; see `load`, which has the arguments but the clock, in seconds."""
        self._table = EditableTable(lambda path: _Sessions(read_tables(path)), extra, clock)

    @classmethod
    def load(cls, extra: Path | None = None) -> SessionCalendar:
        """Read the shipped table and, laid over it, the user's.

        A user's line replaces the shipped line of the same exchange and date; with kind `regular` it
        re-opens a day that the shipped table closes. Exchange `*` means every exchange. Lines of kind
        `hours` set the regular hours from their date on and leave that date's own line, if any, alone.

        Args:
            extra: The user's file, of the same form as the shipped one; it need not exist, now or ever.

        Raises:
            SettingsError: A line is not valid; the message names file and line.
        """
        return cls(extra)

    @property
    def version(self) -> int:
        """How often the user's file was read again: who keeps what a calendar said looks whether it moved."""
        return self._table.version

    def timezone(self, exchange: str) -> ZoneInfo:
        """Return the zone the exchange's clock shows."""
        return _ZONES[exchange]

    def session_date(self, exchange: str, moment: datetime) -> date:
        """Return the exchange-local date of a moment; a naive one is taken as exchange-local."""
        zone = _ZONES[exchange]
        return moment.date() if moment.tzinfo is None else moment.astimezone(zone).date()

    def session(self, exchange: str, day: date) -> Session | None:
        """Return the session of that exchange-local date, None if there is none."""
        return self._table.newest().session(exchange, day)

    def sessions(self, exchange: str, first: date, last: date) -> list[Session]:
        """Return the sessions from `first` to `last`, both included, in order."""
        days = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
        return [session for day in days if (session := self.session(exchange, day)) is not None]

    def is_open(self, exchange: str, moment: datetime) -> bool:
        """Return whether a session runs at that moment: from its open up to, not including, its close."""
        zone = _ZONES[exchange]
        local = moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)
        session = self.session(exchange, local.date())
        return session is not None and session.open <= local < session.close

    def close_of(self, exchange: str, day: date) -> datetime:
        """Return when that day's session closes, or the regular close on a day without one.

        This is the moment to which a contract's time to expiry is counted. An expiry that falls on a
        holiday is moved by the exchange; a contract that still names such a day ends at a plausible
        time instead of at none.
        """
        return self._table.newest().close_of(exchange, day)

    def holiday(self, exchange: str, day: date) -> str | None:
        """Return why there is no session on a day that the tables close, None for any other day."""
        line = self._table.newest().days.get((exchange, day))
        closed = line is not None and line.kind is None and not line.announced
        return line.note if line is not None and closed else None

    def announced(self, exchange: str, day: date) -> str | None:
        """Return what is known of a session that is announced without hours, None for any other day.

        Without hours there is no session to reckon with: `session` gives None until a line has them.
        """
        line = self._table.newest().days.get((exchange, day))
        return line.note if line is not None and line.announced else None

    def is_users(self, exchange: str, day: date) -> bool:
        """Return whether a line of the user's says what that day is, or which hours hold from it on."""
        return (exchange, day) in self._table.newest().users

    def covers(self, day: date) -> bool:
        """Return whether the shipped table was checked for that day; outside, only the weekday rule holds."""
        return _CHECKED_FIRST <= day <= _CHECKED_LAST


def _at(exchange: str, day: date, at: time) -> datetime:
    return datetime.combine(day, at, _ZONES[exchange])
