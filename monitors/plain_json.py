"""JSON that any reader takes: no NaN, times in ISO 8601."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any


def json_text(value: Any, *, indent: int | None = None) -> str:
    """One JSON text.

    Numbers that are not finite become texts ("nan", "inf", "-inf"), dates and times ISO 8601, whatever
    else is not of JSON its text: an alert must not be lost because of what its evidence contains.
    """
    separators = (",", ":") if indent is None else None
    return json.dumps(
        _plain(value), ensure_ascii=False, allow_nan=False, separators=separators, indent=indent
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        # Of an enum, the plain value.
        return value if type(value) in {bool, int, str, type(None)} else json.loads(json.dumps(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else str(value)
