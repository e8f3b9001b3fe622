"""Reading the table of sessions, shipped or the user's: days that depart from the rule, changed hours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Literal, cast, get_args

from catalog.editable_csv import Line, is_there, read_lines
from catalog.exchanges import EXCHANGES

SessionKind = Literal["regular", "special", "muhurat"]

SHIPPED = Path(__file__).parent / "data" / "calendar.csv"

_COLUMNS = ("exchange", "date", "kind", "open", "close", "note")
_EVERY_EXCHANGE = "*"
_HOLIDAY, _ANNOUNCED, _HOURS = "holiday", "announced", "hours"
_KINDS = (*get_args(SessionKind), _HOLIDAY, _ANNOUNCED, _HOURS)
_NO_SESSION = frozenset({_HOLIDAY, _ANNOUNCED})


@dataclass(frozen=True, slots=True)
class Day:
    """What the table says of one day; kind None means no session, open and close None the regular hours."""

    kind: SessionKind | None
    open: time | None
    close: time | None
    note: str
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The lines of calendar files: single days, from when on which hours are regular, whose line it is."""

    days: dict[tuple[str, date], Day] = field(default_factory=dict)
    hours: dict[tuple[str, date], tuple[time, time]] = field(default_factory=dict)
    users: set[tuple[str, date]] = field(default_factory=set)


def read_tables(extra: Path | None = None) -> Table:
    """Read the shipped table and, laid over it, the user's.

    Args:
        extra: The user's file; it need not exist.

    Raises:
        SettingsError: A line is not valid; the message names file and line.
    """
    table = _read(read_lines(SHIPPED, _COLUMNS))
    if is_there(extra):
        users = _read(read_lines(extra, _COLUMNS))
        table.days.update(users.days)
        table.users.update(users.days, users.hours)
        table.hours.update(users.hours)
    return table


def _read(lines: Iterable[Line]) -> Table:
    table = Table()
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
            table.days[exchange, day] = Day(session_kind, opens, closes, note, kind == _ANNOUNCED)
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
