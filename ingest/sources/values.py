"""Values of recorded chains: numbers, dates and times as the wire formats write them.

Numbers come as JSON numbers or as text, plain (`103805`, `57.4`) or grouped in the Indian (`1,03,805`)
or the international (`103,805`) way. Nothing here depends on the locale of the process.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from catalog.exchanges import canonical_symbol
from lake.errors import MalformedInputError

INDIA: Final = ZoneInfo("Asia/Kolkata")

_LONGEST_REMEMBERED: Final = 64

# A lot size divides contracts into whole units; what is further off than float noise was not in that lot.
_UNIT_TOLERANCE: Final = 1e-3
_INT64_LIMIT: Final = 2**63

SOLVER_FLOOR_PCT: Final = 0.1
"""Where the recorder of `nse-v3-table` gives up: no index option trades at a volatility of 0.1 % a year."""

_PLAIN = re.compile(r"[+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?")
_GROUPED = re.compile(r"[+-]?(?:[0-9]{1,2}(?:,[0-9]{2})*|[0-9]{1,3}(?:,[0-9]{3})*),[0-9]{3}(\.[0-9]*)?")

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_NAMED_MONTH_DATE = re.compile(r"([0-9]{1,2})[- ]([A-Za-z]{3})[- ]([0-9]{4})")
_DAY_FIRST_DATE = re.compile(r"([0-9]{1,2})-([0-9]{1,2})-([0-9]{4})")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_NAMED_MONTH_TIME = re.compile(
    _NAMED_MONTH_DATE.pattern + r"(?: | *\| *)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?"
)
_ISO_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_RUN_TOGETHER_DATE = re.compile(r"([0-9]{1,2})([A-Za-z]{3})([0-9]{4})")
_DAY_FIRST_TIME = re.compile(_DAY_FIRST_DATE.pattern + r" ([0-9]{2}):([0-9]{2})")
_COMPACT_TIME = re.compile(r"[0-9]{12}(?:[0-9]{2})?")

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9&._ -]{0,39}")

_shortened = reprlib.Repr()
_shortened.maxlevel = 2
_shortened.maxdict = _shortened.maxlist = 3
_shortened.maxstring = _shortened.maxother = 80


class Unit(Enum):
    """What a number of a wire format counts."""

    RUPEES = "rupees; 0 stands for none"
    UNITS = "units of the underlying"
    COUNT = "a whole number of something else, e.g. of trades"
    VALUE = "rupees; 0 is a figure"
    LAKHS = "lakhs of rupees (100,000); 0 is a figure"
    CONTRACTS = "contracts (lots), to be multiplied by the lot size of the session"
    PERCENT = "per cent a year; 0 stands for none"
    SOLVED_PERCENT = "per cent a year, solved for by a tool; 0 and its floor, 0.1, stand for none"


class BadValueError(MalformedInputError):
    """A value that is not what its field holds."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def shown(value: object) -> str:
    """Return a value as a message quotes it: escaped, and cut to a bounded length."""
    return _shortened.repr(value)


def number(raw: object, nulls: frozenset[str]) -> int | float | None:
    """Return a finite number, None for a missing one.

    Args:
        raw: An int, a float, a text or None; NaN counts as missing.
        nulls: Texts that stand for a missing number.

    Raises:
        BadValueError: `bad_number`.
    """
    if isinstance(raw, str):
        # Only short texts are worth remembering: the cache would keep long ones in memory.
        if len(raw) > _LONGEST_REMEMBERED:
            return _number_in_text.__wrapped__(raw, nulls)
        return _number_in_text(raw, nulls)
    if raw is None:
        return None
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, float):
        if math.isnan(raw):
            return None
        if math.isfinite(raw):
            return raw
    raise BadValueError("bad_number", f"{shown(raw)} is no finite number")


# Zeros, strikes and the underlying's price repeat from row to row, quiet legs from poll to poll.
@lru_cache(maxsize=1 << 14)
def _number_in_text(text: str, nulls: frozenset[str]) -> int | float | None:
    match = _PLAIN.fullmatch(text)
    if match is None:
        text = text.strip()
        if text in nulls:
            return None
        match = _PLAIN.fullmatch(text)
        if match is None and (match := _GROUPED.fullmatch(text)) is not None:
            text = text.replace(",", "")
        if match is None:
            raise BadValueError("bad_number", f"{shown(text)} is no number")
    # Python limits how many digits int() takes; no quantity comes near 40.
    if match.lastindex is None and len(text) < 40:
        return int(text)
    value = float(text)
    if math.isinf(value):
        raise BadValueError("bad_number", f"{shown(text)} is no finite number")
    return value


def price(raw: object, nulls: frozenset[str]) -> float | None:
    """Return a price in rupees; None for a missing one and for 0, which sources write for none.

    Raises:
        BadValueError: `bad_number`.
    """
    value = number(raw, nulls)
    if not value:
        return None
    try:
        return float(value)
    except OverflowError:
        raise BadValueError("bad_number", f"{shown(raw)} is too large") from None


def quantity(raw: object, nulls: frozenset[str], units_per_count: int = 1) -> int | None:
    """Return a whole number of units of the underlying, None for a missing one; 0 stays 0.

    Exchanges divide by the lot of the day, also where a contract was written in another lot; so a
    count of contracts may be a fraction (92.666...) that is whole again in units (6,950 at 75).

    Args:
        raw: The count as it came.
        nulls: Texts that stand for a missing number.
        units_per_count: 1 where the source counts units, the lot size where it counts contracts.

    Raises:
        BadValueError: `bad_number`, or `fractional_units` if it is further than 0.001 units from whole.
    """
    value = number(raw, nulls)
    if value is None:
        return None
    exact = value * units_per_count
    units = exact if isinstance(exact, int) else _whole(exact, raw, units_per_count)
    if not -_INT64_LIMIT <= units < _INT64_LIMIT:
        raise BadValueError("bad_number", f"{shown(raw)} is beyond 64 bits")
    return units


def _whole(exact: float, raw: object, units_per_count: int) -> int:
    if math.isinf(exact):
        raise BadValueError("bad_number", f"{shown(raw)} is too large")
    units = round(exact)
    if abs(exact - units) > _UNIT_TOLERANCE:
        raise BadValueError(
            "fractional_units", f"{shown(raw)} x {units_per_count} = {exact!r} is no whole number of units"
        )
    return units


Converter = Callable[[object, frozenset[str], int | None], int | float | None]
"""Takes a value as it came, the null texts and the lot size; raises BadValueError."""


def _from_rupees(raw: object, nulls: frozenset[str], _lot_size: int | None) -> float | None:
    return price(raw, nulls)


def _from_units(raw: object, nulls: frozenset[str], _lot_size: int | None) -> int | None:
    return quantity(raw, nulls)


def _from_contracts(raw: object, nulls: frozenset[str], lot_size: int | None) -> int | None:
    if lot_size is None:
        raise BadValueError("unknown_lot_size", f"{shown(raw)} contracts cannot become units")
    return quantity(raw, nulls, lot_size)


def _from_value(raw: object, nulls: frozenset[str], _lot_size: int | None) -> float | None:
    value = number(raw, nulls)
    try:
        return None if value is None else float(value)
    except OverflowError:
        raise BadValueError("bad_number", f"{shown(raw)} is too large") from None


def _from_lakhs(raw: object, nulls: frozenset[str], _lot_size: int | None) -> float | None:
    lakhs = _from_value(raw, nulls, None)
    # Two decimals come with the file: rounding takes off what the multiplication adds (0.29 x 100,000).
    return None if lakhs is None else round(lakhs * 100_000, 2)


def _from_percent(raw: object, nulls: frozenset[str], _lot_size: int | None) -> float | None:
    percent = price(raw, nulls)
    return None if percent is None else percent / 100


def _from_solved_percent(raw: object, nulls: frozenset[str], _lot_size: int | None) -> float | None:
    percent = price(raw, nulls)
    return None if percent is None or percent == SOLVER_FLOOR_PCT else percent / 100


CONVERTERS: Final[Mapping[Unit, Converter]] = MappingProxyType(
    {
        Unit.RUPEES: _from_rupees,
        Unit.UNITS: _from_units,
        Unit.COUNT: _from_units,
        Unit.VALUE: _from_value,
        Unit.LAKHS: _from_lakhs,
        Unit.CONTRACTS: _from_contracts,
        Unit.PERCENT: _from_percent,
        Unit.SOLVED_PERCENT: _from_solved_percent,
    }
)
"""How a number in each unit of a wire format becomes one in the unit of the tables."""


def underlying_symbol(raw: object) -> str | None:
    """Return the canonical symbol of an underlying, None if it is no name of one."""
    if not isinstance(raw, str):
        return None
    symbol = canonical_symbol(raw)
    return symbol if _SYMBOL.fullmatch(symbol) else None


def strike_price(raw: object, nulls: frozenset[str]) -> float:
    """Return a strike price in rupees, as it stands (0 and negative ones included).

    Raises:
        BadValueError: `bad_strike`.
    """
    try:
        value = number(raw, nulls)
        if value is not None:
            return float(value)
    except (BadValueError, OverflowError):
        pass
    raise BadValueError("bad_strike", f"{shown(raw)} is no strike price")


# Thousands of rows repeat a handful of dates and times.
@lru_cache(maxsize=1024)
def _date_in_text(text: str, *, day_first: bool, iso: bool) -> date | None:
    text = text.strip()
    if iso:
        match = _ISO_DATE.fullmatch(text)
        return None if match is None else _date(match[1], match[2], match[3])
    if (match := _NAMED_MONTH_DATE.fullmatch(text)) is not None:
        return _date(match[3], str(_MONTHS.get(match[2].lower(), 0)), match[1])
    if day_first and (match := _DAY_FIRST_DATE.fullmatch(text)) is not None:
        return _date(match[3], match[2], match[1])
    return None


def _date(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _short(raw: object) -> str | None:
    """A text that may be a date or a time; the caches must not keep others' long ones in memory."""
    return raw if isinstance(raw, str) and len(raw) <= _LONGEST_REMEMBERED else None


def iso_date(raw: object) -> date | None:
    """Return the date in `2026-01-27`, None if it is none."""
    text = _short(raw)
    return None if text is None else _date_in_text(text, day_first=False, iso=True)


def named_month_date(raw: object) -> date | None:
    """Return the date in `17-Jul-2025` or `16 Jul 2026`, None if it is none."""
    text = _short(raw)
    return None if text is None else _date_in_text(text, day_first=False, iso=False)


def nse_date(raw: object) -> date | None:
    """Return the date in `17-Jul-2025` or, as newer answers have it, `14-07-2026`; None if it is none."""
    text = _short(raw)
    return None if text is None else _date_in_text(text, day_first=True, iso=False)


def run_together_date(raw: object) -> date | None:
    """Return the date in `18JUL2019` or `1AUG2019`, None if it is none."""
    match = _RUN_TOGETHER_DATE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    return None if match is None else _date(match[3], str(_MONTHS.get(match[2].lower(), 0)), match[1])


def named_month_time(raw: object, zone: ZoneInfo = INDIA) -> datetime | None:
    """Return the time in `16-Jul-2025 15:30:00` or `10 Jul 2026 | 19:15 `, None if it is none."""
    text = _short(raw)
    return None if text is None else _named_month_time(text, zone)


@lru_cache(maxsize=1024)
def _named_month_time(text: str, zone: ZoneInfo) -> datetime | None:
    match = _NAMED_MONTH_TIME.fullmatch(text.strip())
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups(default="0")
    try:
        return _in_range(
            datetime(
                int(year),
                _MONTHS.get(month.lower(), 0),
                int(day),
                int(hour),
                int(minute),
                int(second),
                tzinfo=zone,
            )
        )
    except ValueError:
        return None


def iso_time(raw: object, zone: ZoneInfo = INDIA) -> datetime | None:
    """Return the time in `2026-01-30 09:16:05`, with or without seconds and offset; else None.

    A text without an offset is of that zone; one with an offset is brought to it.
    """
    text = _short(raw)
    return None if text is None else _iso_time(text, zone)


@lru_cache(maxsize=1024)
def _iso_time(text: str, zone: ZoneInfo) -> datetime | None:
    text = text.strip()
    if _ISO_TIME.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return _in_range(moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone))
    except (ValueError, OverflowError):
        return None


def day_first_time(raw: object, zone: ZoneInfo = INDIA) -> datetime | None:
    """Return the time in `19-07-2019 10:15`, None if it is none."""
    match = _DAY_FIRST_TIME.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        return None
    day, month, year, hour, minute = (int(part) for part in match.groups())
    try:
        return _in_range(datetime(year, month, day, hour, minute, tzinfo=zone))
    except ValueError:
        return None


def named_month_midnight(raw: object, zone: ZoneInfo = INDIA) -> datetime | None:
    """Return the midnight at which the date in `01-AUG-2019` begins, None if it is none."""
    return _midnight(named_month_date(raw), zone)


def iso_midnight(raw: object, zone: ZoneInfo = INDIA) -> datetime | None:
    """Return the midnight at which the date in `2026-05-19` begins, None if it is none."""
    return _midnight(iso_date(raw), zone)


def _midnight(day: date | None, zone: ZoneInfo) -> datetime | None:
    return None if day is None else _in_range(datetime.combine(day, time(), zone))


def given_time(raw: object, zone: ZoneInfo = INDIA) -> datetime | None:
    """Return the time of a moment, or of its ISO text: of formats that do not say theirs."""
    if isinstance(raw, datetime):
        return _in_range(raw.astimezone(zone)) if raw.tzinfo else None
    return iso_time(raw, zone)


def compact_time(raw: object, zone: ZoneInfo = INDIA) -> datetime | None:
    """Return the time in `202608191127`, with or without seconds, also as a number; else None."""
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 10**15:
        return _compact_time(str(raw), zone)
    text = _short(raw)
    return None if text is None else _compact_time(text, zone)


@lru_cache(maxsize=1024)
def _compact_time(text: str, zone: ZoneInfo) -> datetime | None:
    text = text.strip()
    if _COMPACT_TIME.fullmatch(text) is None:
        return None
    pattern = "%Y%m%d%H%M%S" if len(text) == 14 else "%Y%m%d%H%M"
    try:
        return _in_range(datetime.strptime(text, pattern).replace(tzinfo=zone))
    except ValueError:
        return None


def _in_range(moment: datetime) -> datetime | None:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return None
    return moment
