"""The header Retry-After, RFC 9110 section 10.2.3: seconds, or an HTTP date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,9}")


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """How long to wait; None if there is no such header, or it makes no sense.

    Args:
        value: The header.
        now: When the answer came; a date before it is no wait at all.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date of HTTP is always GMT; one with "-0000" comes without a zone.
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(at - now, timedelta(0))
