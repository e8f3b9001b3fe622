"""Rows of the table `quarantine`: input kept with the reason it became no row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.contracts import QUARANTINE
from ingest.events import Reject
from lake.spool import Entry

PAYLOAD_MAX_CHARS = 65_536
"""A longer payload is cut; the cut is marked and its full length told."""

_COLUMNS = pa.schema([f for f in QUARANTINE.schema if f.name != "batch_id"])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def quarantine_entries(
    rejects: Sequence[Reject], *, exchange: str, day: date, received_ns: int, source: str
) -> list[Entry]:
    """The rejects of one input as spool entries, one a table they were meant for.

    Args:
        rejects: What was rejected.
        exchange: Exchange to file them under.
        day: Session date to file them under.
        received_ns: When strikelake got the input, epoch nanoseconds.
        source: Name of the source adapter, or `live`.
    """
    entries = []
    for table in dict.fromkeys(reject.table for reject in rejects):
        chosen = [reject for reject in rejects if reject.table == table]
        size = len(chosen)
        batch = pa.table(
            {
                "date": [day] * size,
                "exchange": [exchange] * size,
                "received_time": [_EPOCH + timedelta(microseconds=received_ns // 1000)] * size,
                "table": [table] * size,
                "reason": [reject.reason for reject in chosen],
                "detail": [_text(reject.detail) for reject in chosen],
                "payload": [payload_text(reject.payload) for reject in chosen],
                "source": [_text(source)] * size,
            },
            schema=_COLUMNS,
        )
        entries.append(Entry(QUARANTINE.table, exchange, table, batch))
    return entries


def payload_text(payload: Any) -> str:
    """Any input as JSON; what JSON does not know is written as its text."""
    try:
        try:
            text = json.dumps(payload, default=_describe, ensure_ascii=False, allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(payload), default=_describe, ensure_ascii=False, allow_nan=False)
    except Exception:  # noqa: BLE001 - the input is somebody else's; the reject must be kept all the same
        text = json.dumps({"repr": _describe(payload)})
    if len(text) > PAYLOAD_MAX_CHARS:
        text = json.dumps({"cut": text[:PAYLOAD_MAX_CHARS], "chars": len(text)}, ensure_ascii=False)
    return _text(text)


def _finite(value: Any) -> Any:
    """The payload without NaN and infinities, which JSON does not know: null, and text."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _describe(value: Any) -> Any:
    # repr() of foreign objects may raise anything; the reject must be kept all the same.
    try:
        if isinstance(value, np.generic):
            return value.item()
        return value.isoformat() if isinstance(value, date | datetime) else repr(value)[:PAYLOAD_MAX_CHARS]
    except Exception as error:  # noqa: BLE001
        return f"<{type(value).__name__}: its text cannot be had: {type(error).__name__}>"


def _text(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate would stop the whole batch."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
