"""Single values as a live app may hand them over: numbers, dates and moments.

Recorded wire formats are stricter, each with null forms of its own: see `ingest.sources.values`.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from numbers import Integral, Real
from typing import Any
from zoneinfo import ZoneInfo

EARLIEST_EVENT = datetime(2000, 1, 1, tzinfo=UTC)
"""Index options began to trade in India in 2001: an earlier time is a broken clock."""

LATEST_EVENT_AFTER_RECEIPT = timedelta(days=1)
"""An event can be ahead of our clock by a wrong zone or clock, but not by more than a day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULL_TEXTS = frozenset({"", "-", "--", "nan", "na", "n/a", "null", "none"})
_PANDAS_NULLS = frozenset({"NAType", "NaTType"})


def number(value: Any) -> float:
    """A number; NaN for the usual forms of "missing".

    Raises:
        ValueError: It is neither.
    """
    if value is None or type(value).__name__ in _PANDAS_NULLS:
        return math.nan
    if isinstance(value, str):
        text = value.strip()
        if text.casefold() in _NULL_TEXTS:
            return math.nan
        try:
            return float(text.replace(",", ""))
        except ValueError:
            raise ValueError(f"{shown(value)} is no number") from None
    try:
        return float(value)
    except Exception:  # noqa: BLE001 - `__float__` of the app's object may raise anything
        raise ValueError(f"{shown(value)} is no number") from None


def is_missing(value: Any) -> bool:
    """Whether a value is one of the usual forms of "missing"."""
    try:
        return math.isnan(number(value))
    except ValueError:
        return False


def expiry_date(value: Any) -> date:
    """An expiry date from a date, a datetime, or text in ISO or DD-MM-YYYY form.

    Raises:
        ValueError: It is none of these.
    """
    # NaT passes for a datetime, but its date() is no date.
    if isinstance(value, datetime) and type(value).__name__ not in _PANDAS_NULLS:
        return value.date()
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str):
        text = value.strip()
        try:
            return date.fromisoformat(text[:10])
        except ValueError:
            pass
        try:
            return datetime.strptime(text, "%d-%m-%Y").replace(tzinfo=UTC).date()
        except ValueError:
            pass
    raise ValueError(f"expiry {shown(value)} is no date; give a date or YYYY-MM-DD")


def event_moment(value: Any, received_ns: int, zone: ZoneInfo) -> datetime:
    """The moment of an event in UTC, plausible.

    Args:
        value: None (then the time of receipt), a datetime, ISO text, or epoch seconds.
        received_ns: Time of receipt, epoch nanoseconds.
        zone: Zone of datetimes and texts without one.

    Raises:
        ValueError: It is no time, or one that cannot be.
    """
    received = moment_of(received_ns)
    if value is None:
        return received
    try:
        moment = _aware(value, zone).astimezone(UTC)
    except (TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"event_time {shown(value)} is no time: {error}") from error
    if moment < EARLIEST_EVENT:
        raise ValueError(f"event_time {moment.isoformat()} is before {EARLIEST_EVENT.date()}")
    if moment > received + LATEST_EVENT_AFTER_RECEIPT:
        raise ValueError(
            f"event_time {moment.isoformat()} is more than a day after its receipt, {received.isoformat()}"
        )
    return moment


def moment_of(epoch_ns: int) -> datetime:
    """Epoch nanoseconds as a moment, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=epoch_ns // 1000)


def epoch_us(moment: datetime) -> int:
    """A moment as epoch microseconds, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def shown(value: Any) -> str:
    """A value as a message quotes it, cut; whatever its `repr` raises."""
    try:
        return repr(value)[:80]
    except Exception as error:  # noqa: BLE001 - the object is somebody else's
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _aware(value: Any, zone: ZoneInfo) -> datetime:
    moment: datetime
    if isinstance(value, datetime):
        # pandas' Timestamp is a datetime with nanoseconds.
        moment = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
    elif isinstance(value, str):
        moment = datetime.fromisoformat(value.strip())
    elif isinstance(value, Real) and not isinstance(value, bool):
        seconds = int(value) if isinstance(value, Integral) else float(value)
        moment = _EPOCH + timedelta(seconds=seconds)
    else:
        raise TypeError("give a datetime, ISO text or epoch seconds")
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
