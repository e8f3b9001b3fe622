"""Rows of a statement from outside, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from monitors.dashboard.chart import Chart, Kind, Series

_SERIES = 6
_CATEGORIES = 60


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: its name, Arrow type, and whether it is `time`, `number` or `text`."""

    name: str
    type: str
    kind: str


@dataclass(frozen=True, slots=True)
class Result:
    """Rows of a statement.

    Attributes:
        columns: In order.
        rows: Values as JSON has them, in the order of the columns; times as text in the lake's zone.
        more: Whether there were more rows.
        seconds: How long it took.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool
    seconds: float


def drawn(result: Result, zone: ZoneInfo) -> Chart | None:
    """The numbers of a result over its first column of times, else over its first column.

    Where a place comes more than once, each combination of the other columns' values is a line of its own.

    Returns:
        The chart; None if there is nothing to draw, or there would be more lines than can be told apart.
    """
    columns = result.columns
    if len(result.rows) < 2 or not columns:
        return None
    at = next((n for n, one in enumerate(columns) if one.kind == "time"), 0)
    numbers = [n for n, one in enumerate(columns) if one.kind == "number" and n != at]
    rows = [row for row in result.rows if row[at] is not None]
    kind: Kind = {"time": "time", "number": "number"}.get(columns[at].kind, "category")  # type: ignore[assignment]
    if kind == "number" and any(isinstance(row[at], str) for row in rows):
        return None
    places = [_place(row[at], kind, zone) for row in rows]
    unique = list(dict.fromkeys(places)) if kind == "category" else sorted(set(places))
    if not numbers or len(unique) < 2 or (kind == "category" and len(unique) > _CATEGORIES):
        return None
    names = [n for n, one in enumerate(columns) if one.kind != "number" and n != at]
    is_split = len(unique) < len(rows)
    lines: dict[str, dict[Any, float | None]] = {}
    for place, row in zip(places, rows, strict=True):
        group = " ".join(str(row[n]) for n in names) if is_split else ""
        for n in numbers:
            lines.setdefault(f"{columns[n].name} {group}".strip(), {})[place] = _number(row[n])
    if is_split and len(lines) > _SERIES:
        return None
    style = "bars" if kind == "category" and len(lines) <= 2 else "points" if kind == "category" else "line"
    series = [
        Series(name, [values.get(place) for place in unique], style=style)  # type: ignore[arg-type]
        for name, values in list(lines.items())[:_SERIES]
    ]
    return Chart("The result", unique, series, kind=kind, x_label=columns[at].name)


def _place(value: Any, kind: Kind, zone: ZoneInfo) -> Any:
    if kind == "category":
        return str(value)
    if kind == "number":
        return float(value)
    moment = datetime.fromisoformat(str(value))
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
