"""The header with which a server asks to be left alone for a while."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MOST_RETRY_AFTER_S = 3600.0


def retry_after_s(value: str | None) -> float:
    """Seconds in a `Retry-After` header (RFC 9110, 10.2.3), at most an hour; 0 without a readable one."""
    if value is None:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _MOST_RETRY_AFTER_S)
