"""How numbers, ages, times and bytes are written: one way on every card, as Jinja filters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

NONE = "\N{EN DASH}"
"""What stands where there is no value: not nought, and not an empty cell."""

_MINUS = "\N{MINUS SIGN}"
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_UNITS = ("B", "kB", "MB", "GB", "TB")
_SHORT_UNITS = {"seconds": "s", "percent": "%", "fraction": "", "0 or 1": "", "rupees": "₹"}


def number(value: float | None, digits: int | None = None) -> str:
    """A number with separators of thousands; four significant digits, or `digits` after the point."""
    if value is None or not math.isfinite(value):
        return NONE
    if digits is not None:
        text = f"{value:,.{digits}f}"
    elif float(value).is_integer() and abs(value) < 1e15:
        text = f"{int(value):,}"
    else:
        size = math.floor(math.log10(abs(value))) if value else 0
        text = f"{value:,.{min(6, max(0, 3 - size))}f}"
    # A true minus is as wide as a digit.
    return text.replace("-", _MINUS)


def unit(name: str) -> str:
    """The short form of a metric's unit."""
    return _SHORT_UNITS.get(name, name)


def measured(value: float | None, of: str = "") -> str:
    """A value with its unit; seconds as a duration."""
    if value is None:
        return NONE
    if of == "seconds":
        return duration(value)
    short = unit(of)
    if short == "₹":
        return f"₹{number(value, 0)}"
    text = number(value)
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text}{'' if short in {'', '%'} else ' '}{short}"


def duration(seconds: float | None) -> str:
    """`0.3 s`, `12 s`, `4 m 05 s`, `2 h 10 m`, `3 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    sign, left = (_MINUS if seconds < 0 else ""), abs(seconds)
    if left < 9.95 and round(left, 1) != int(left):
        return f"{sign}{left:.1f} s"
    left = float(round(left))
    if left < _MINUTE:
        return f"{sign}{left:.0f} s"
    if left < _HOUR:
        return f"{sign}{left // _MINUTE:.0f} m {left % _MINUTE:02.0f} s"
    if left < _DAY:
        return f"{sign}{left // _HOUR:.0f} h {left % _HOUR // _MINUTE:02.0f} m"
    return f"{sign}{left // _DAY:.0f} d {left % _DAY // _HOUR:.0f} h"


def size(count: float | None) -> str:
    """Bytes, in the largest unit that leaves a digit before the point."""
    if count is None:
        return NONE
    value, step = float(count), 0
    while abs(value) >= 1000 and step < len(_UNITS) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.0f} {_UNITS[step]}" if step == 0 else f"{value:.1f} {_UNITS[step]}"


def epoch_ms(moment: datetime | None) -> str:
    """A moment for the page's script, empty if there is none."""
    return "" if moment is None else str(round(moment.timestamp() * 1000))


def filters(zone: ZoneInfo) -> Mapping[str, Callable[..., str]]:
    """The filters of the templates, with times in a zone."""

    def clock(moment: datetime | None) -> str:
        return NONE if moment is None else moment.astimezone(zone).strftime("%H:%M:%S")

    def moment(value: datetime | None) -> str:
        return NONE if value is None else value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")

    def short(value: datetime | None) -> str:
        return NONE if value is None else value.astimezone(zone).strftime("%d %b %H:%M:%S")

    def minute(value: datetime | None) -> str:
        return NONE if value is None else value.astimezone(zone).strftime("%H:%M")

    def zone_of(value: datetime | None) -> str:
        return "" if value is None else value.astimezone(zone).tzname() or ""

    def day(value: date | None) -> str:
        return NONE if value is None else value.strftime("%a %d %b %Y")

    return {
        "number": number, "unit": unit, "measured": measured, "duration": duration, "bytes": size,
        "epoch_ms": epoch_ms, "clock": clock, "moment": moment, "short": short, "minute": minute, "day": day,
        "zone": zone_of,
    }  # fmt: skip


def sparkline(values: Sequence[float | None], *, width: int = 96, height: int = 20) -> str:
    """Points of an SVG polyline through values at equal steps, the newest at the right; gaps are bridged."""
    known = [
        (place, value) for place, value in enumerate(values) if value is not None and math.isfinite(value)
    ]
    if len(known) < 2:
        return ""
    least, most = min(value for _, value in known), max(value for _, value in known)
    across = (width - 4) / (len(values) - 1)
    up = (height - 4) / (most - least) if most > least else 0.0

    def point(place: int, value: float) -> str:
        y = height / 2 if up == 0.0 else height - 2 - (value - least) * up
        return f"{2 + place * across:.1f},{y:.1f}"

    return " ".join(point(place, value) for place, value in known)


def plain(value: Any) -> str:
    """Any value of evidence as text."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    return str(value)
