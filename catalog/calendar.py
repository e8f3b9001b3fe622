"""Sessions of the exchanges' derivatives segments: when they trade, and which date a moment belongs to.

The rule is Monday to Friday at the exchange's regular hours. `data/calendar.csv` lists the days that depart
from it and the changes of those hours; users lay their own file over that. Everything that asks "is this
late?" or "how long until expiry?" asks here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Literal, cast, get_args
from zoneinfo import ZoneInfo

from catalog.editable_csv import Line, read_lines
from catalog.exchanges import EXCHANGES

SessionKind = Literal["regular", "special", "muhurat"]

_COLUMNS = ("exchange", "date", "kind", "open", "close", "note")
_SHIPPED = Path(__file__).parent / "data" / "calendar.csv"
_CHECKED_FIRST, _CHECKED_LAST = date(2019, 1, 1), date(2026, 12, 31)
_EVERY_EXCHANGE = "*"
_HOLIDAY, _ANNOUNCED, _HOURS = "holiday", "announced", "hours"
_KINDS = (*get_args(SessionKind), _HOLIDAY, _ANNOUNCED, _HOURS)
_NO_SESSION = frozenset({_HOLIDAY, _ANNOUNCED})
_SATURDAY = 5
_PRE_OPEN = timedelta(minutes=15)


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


@dataclass(frozen=True, slots=True)
class _Day:
    """What the table says of one day; kind None means no session, open and close None the regular hours."""

    kind: SessionKind | None
    open: time | None
    close: time | None
    note: str
    announced: bool = False


@dataclass(frozen=True, slots=True)
class _Table:
    """The lines of calendar files: single days, from when on which hours are regular, whose line it is."""

    days: dict[tuple[str, date], _Day] = field(default_factory=dict)
    hours: dict[tuple[str, date], tuple[time, time]] = field(default_factory=dict)
    users: set[tuple[str, date]] = field(default_factory=set)


class SessionCalendar:
    """The sessions of every exchange; build it with `load`.

    Sessions are worked out once a day and exchange and then remembered: the writer asks per chain.
    Methods that take an exchange raise KeyError for one that is not in `EXCHANGES`.
    """

    def __init__(self, table: _Table) -> None:
        self._days = table.days
        self._users = frozenset(table.users)
        self._zones = {code: ZoneInfo(exchange.timezone) for code, exchange in EXCHANGES.items()}
        self._hours = {
            code: [(date.min, (exchange.regular_open, exchange.regular_close))]
            for code, exchange in EXCHANGES.items()
        }
        for (code, day), hours in sorted(table.hours.items()):
            self._hours[code].append((day, hours))
        self._sessions: dict[tuple[str, date], Session | None] = {}
        self._closes: dict[tuple[str, date], datetime] = {}

    @classmethod
    def load(cls, extra: Path | None = None) -> SessionCalendar:
        """Read the shipped table and, laid over it, the user's.

        A user's line replaces the shipped line of the same exchange and date; with kind `regular` it
        re-opens a day that the shipped table closes. Exchange `*` means every exchange. Lines of kind
        `hours` set the regular hours from their date on and leave that date's own line, if any, alone.

        Args:
            extra: The user's file, of the same form as the shipped one; it need not exist.

        Raises:
            SettingsError: A line is not valid; the message names file and line.
        """
        table = _read(read_lines(_SHIPPED, _COLUMNS))
        if extra is not None and extra.exists():
            users = _read(read_lines(extra, _COLUMNS))
            table.days.update(users.days)
            table.users.update(users.days, users.hours)
            table.hours.update(users.hours)
        return cls(table)

    def timezone(self, exchange: str) -> ZoneInfo:
        """Return the zone the exchange's clock shows."""
        return self._zones[exchange]

    def session_date(self, exchange: str, moment: datetime) -> date:
        """Return the exchange-local date of a moment; a naive one is taken as exchange-local."""
        zone = self._zones[exchange]
        return moment.date() if moment.tzinfo is None else moment.astimezone(zone).date()

    def session(self, exchange: str, day: date) -> Session | None:
        """Return the session of that exchange-local date, None if there is none."""
        key = (exchange, day)
        try:
            return self._sessions[key]
        except KeyError:
            session = self._sessions[key] = self._work_out(exchange, day)
            return session

    def sessions(self, exchange: str, first: date, last: date) -> list[Session]:
        """Return the sessions from `first` to `last`, both included, in order."""
        days = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
        return [session for day in days if (session := self.session(exchange, day)) is not None]

    def is_open(self, exchange: str, moment: datetime) -> bool:
        """Return whether a session runs at that moment: from its open up to, not including, its close."""
        zone = self._zones[exchange]
        local = moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)
        session = self.session(exchange, local.date())
        return session is not None and session.open <= local < session.close

    def close_of(self, exchange: str, day: date) -> datetime:
        """Return when that day's session closes, or the regular close on a day without one.

        This is the moment to which a contract's time to expiry is counted. An expiry that falls on a
        holiday is moved by the exchange; a contract that still names such a day ends at a plausible
        time instead of at none.
        """
        key = (exchange, day)
        try:
            return self._closes[key]
        except KeyError:
            session = self.session(exchange, day)
            if session is None:
                _, regular_close = self._regular_hours(exchange, day)
                close = self._at(exchange, day, regular_close)
            else:
                close = session.close
            self._closes[key] = close
            return close

    def holiday(self, exchange: str, day: date) -> str | None:
        """Return why there is no session on a day that the tables close, None for any other day."""
        line = self._days.get((exchange, day))
        closed = line is not None and line.kind is None and not line.announced
        return line.note if line is not None and closed else None

    def announced(self, exchange: str, day: date) -> str | None:
        """Return what is known of a session that is announced without hours, None for any other day.

        Without hours there is no session to reckon with: `session` gives None until a line has them.
        """
        line = self._days.get((exchange, day))
        return line.note if line is not None and line.announced else None

    def is_users(self, exchange: str, day: date) -> bool:
        """Return whether a line of the user's says what that day is, or which hours hold from it on."""
        return (exchange, day) in self._users

    def covers(self, day: date) -> bool:
        """Return whether the shipped table was checked for that day; outside, only the weekday rule holds."""
        return _CHECKED_FIRST <= day <= _CHECKED_LAST

    def _work_out(self, exchange: str, day: date) -> Session | None:
        if isinstance(day, datetime):
            # A datetime passes for a date, but equals none: every holiday would look like a session.
            raise TypeError("day must be a date, not a datetime; session_date() gives the date of a moment")
        line = self._days.get((exchange, day))
        if line is None:
            if day.weekday() >= _SATURDAY:
                return None
            line = _Day("regular", None, None, "")
        if line.kind is None:
            return None
        regular_open, regular_close = self._regular_hours(exchange, day)
        return Session(
            exchange=exchange,
            date=day,
            open=self._at(exchange, day, line.open or regular_open),
            close=self._at(exchange, day, line.close or regular_close),
            kind=line.kind,
            note=line.note,
        )

    def _regular_hours(self, exchange: str, day: date) -> tuple[time, time]:
        changes = self._hours[exchange]
        return changes[bisect_right(changes, day, key=itemgetter(0)) - 1][1]

    def _at(self, exchange: str, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self._zones[exchange])


def _read(lines: Iterable[Line]) -> _Table:
    table = _Table()
    for line in lines:
        name, kind, note = line.fields["exchange"], line.fields["kind"], line.fields["note"]
        day = line.date("date")
        if name != _EVERY_EXCHANGE and name not in EXCHANGES:
            raise line.error(f"{name!r} is no exchange; known: {', '.join(EXCHANGES)}, or * for all")
        if kind not in _KINDS:
            raise line.error(f"kind {kind!r} must be one of {', '.join(_KINDS)}")
        hours = _hours(line, kind)
        for exchange in EXCHANGES if name == _EVERY_EXCHANGE else (name,):
            if (exchange, day) in (table.hours if kind == _HOURS else table.days):
                raise line.error(f"{exchange} has a second line for {day}")
            if kind == _HOURS and hours is not None:
                table.hours[exchange, day] = hours
                continue
            opens, closes = hours or (None, None)
            session_kind = None if kind in _NO_SESSION else cast(SessionKind, kind)
            table.days[exchange, day] = _Day(session_kind, opens, closes, note, kind == _ANNOUNCED)
    return table


def _hours(line: Line, kind: str) -> tuple[time, time] | None:
    opens, closes = line.time("open"), line.time("close")
    if kind in _NO_SESSION and (opens or closes):
        raise line.error(f"kind {kind} has neither open nor close")
    if opens is None and closes is None:
        if kind in {*_NO_SESSION, "regular"}:
            return None
        raise line.error(f"kind {kind} needs open and close")
    if opens is None or closes is None:
        raise line.error("give both open and close, or neither")
    if opens >= closes:
        raise line.error(f"open {opens:%H:%M} must be before close {closes:%H:%M}")
    return opens, closes
