"""Rows of the table `quarantine`: input kept with the reason it became no row."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.contracts import QUARANTINE
from catalog.quarantine_store import Kept, record
from ingest.events import Reject
from lake.spool import Entry

PAYLOAD_MAX_CHARS = 65_536
"""A longer payload is cut in the row, which says so and how long it is, and kept whole in a file."""

ORIGIN_MAX_CHARS = 16_384
"""A longer origin is only in the file."""

_COLUMNS = pa.schema([f for f in QUARANTINE.schema if f.name != "batch_id"])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Quarantined:
    """Rejects on their way into quarantine.

    Attributes:
        entries: For the spool, one a table that the rejects were meant for.
        files: What is too long for a row; to be on the disk before the entries are in the spool.
    """

    entries: list[Entry] = field(default_factory=list)
    files: list[Kept] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class _Whole:
    """Payload and origin as the row has them, and the file that has them whole, if they are cut."""

    payload: str
    origin: str | None
    file: Kept | None


def quarantined(
    rejects: Sequence[Reject],
    *,
    exchange: str,
    day: date,
    received_ns: int,
    source: str,
    identity: bytes | None = None,
    content: Kept | None = None,
) -> Quarantined:
    """The rejects of one input as rows of quarantine.

    Args:
        rejects: What was rejected.
        exchange: Exchange to file them under.
        day: Session date to file them under.
        received_ns: When strikelake got the input, epoch nanoseconds.
        source: Name of the source adapter, or `live`.
        identity: What makes it the same input when it is loaded again; the same input has the same ids.
        content: The input as it was found, if it is a file that is kept whole.
    """
    base = identity.hex() if identity is not None else uuid.uuid4().hex
    numbered = [(f"{base}-{number:06d}", reject) for number, reject in enumerate(rejects)]
    done = Quarantined(files=[] if content is None else [content])
    for table in dict.fromkeys(reject.table for reject in rejects):
        chosen = [(name, reject) for name, reject in numbered if reject.table == table]
        texts = [_whole(reject) for _, reject in chosen]
        done.files += [text.file for text in texts if text.file is not None]
        stored = [text.file or content for text in texts]
        size = len(chosen)
        batch = pa.table(
            {
                "date": [day] * size,
                "exchange": [exchange] * size,
                "received_time": [_EPOCH + timedelta(microseconds=received_ns // 1000)] * size,
                "table": [table] * size,
                "reason": [reject.reason for _, reject in chosen],
                "detail": [_text(reject.detail) for _, reject in chosen],
                "payload": [text.payload for text in texts],
                "source": [_text(source)] * size,
                "reject_id": [name for name, _ in chosen],
                "origin": [text.origin for text in texts],
                "stored": [None if file is None else file.name for file in stored],
            },
            schema=_COLUMNS,
        )
        done.entries.append(Entry(QUARANTINE.table, exchange, table, batch))
    return done


def _whole(reject: Reject) -> _Whole:
    payload = as_json(reject.payload)
    origin = as_json(reject.origin.described()) if reject.origin is not None else None
    if len(payload) <= PAYLOAD_MAX_CHARS and len(origin or "") <= ORIGIN_MAX_CHARS:
        return _Whole(payload, origin, None)
    file = record(_text(json.dumps({"payload": payload, "origin": origin}, ensure_ascii=False)))
    if len(payload) > PAYLOAD_MAX_CHARS:
        cut = {"cut": payload[:PAYLOAD_MAX_CHARS], "chars": len(payload)}
        payload = _text(json.dumps(cut, ensure_ascii=False))
    return _Whole(payload, origin if len(origin or "") <= ORIGIN_MAX_CHARS else None, file)


def as_json(value: Any) -> str:
    """Any input as JSON; what JSON does not know is written as its text."""
    try:
        try:
            text = json.dumps(value, default=_describe, ensure_ascii=False, allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(value), default=_describe, ensure_ascii=False, allow_nan=False)
    except Exception:  # noqa: BLE001 - the input is somebody else's; the reject must be kept all the same
        text = json.dumps({"repr": _describe(value)})
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
        if isinstance(value, Decimal):
            return str(value)
        return value.isoformat() if isinstance(value, date | datetime) else repr(value)
    except Exception as error:  # noqa: BLE001
        return f"<{type(value).__name__}: its text cannot be had: {type(error).__name__}>"


def _text(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate would stop the whole batch."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
