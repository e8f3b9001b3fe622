"""Signals of models -> Arrow rows of `signals`; each is checked before it becomes a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from catalog.contracts import SIGNAL_CLASSES, SIGNALS
from catalog.exchanges import canonical_symbol
from ingest.events import SIGNAL_TABLE, ChainUpdate, Reject
from ingest.live_values import moment_of, number, shown

DEPTHS = ("exact", "context", "none")
"""What `top_features` may be: contributions to this signal, the model's general ranking, or nothing."""

MAX_TOP_FEATURES = 100
_MAX_TEXT = 10_000
_SUM_TOLERANCE = 1e-6
_SCHEMA = pa.schema([f for f in SIGNALS.schema if f.name != "batch_id"])
_GIVEN_BY_THE_UPDATE = frozenset(
    {"date", "exchange", "event_time", "received_time", "symbol", "source", "batch_id"}
)
_FIELDS = tuple(name for name in SIGNALS.schema.names if name not in _GIVEN_BY_THE_UPDATE)
_REGIME = tuple(field.name for field in SIGNALS.schema.field("regime").type)
_NUMBERS = tuple(f.name for f in SIGNALS.schema.field("top_features").type.value_type if f.name != "name")


class SignalRows:
    """Collects the signals of one exchange."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._rows: list[dict[str, Any]] = []

    def add(self, update: ChainUpdate, moment: datetime, day: date, values: dict[str, Any]) -> None:
        """Collect one signal, whose values were checked."""
        self._rows.append(
            {
                "date": day,
                "exchange": self._exchange,
                "event_time": moment,
                "received_time": moment_of(update.received_ns),
                "symbol": canonical_symbol(update.symbol),
                **values,
                "source": str(update.source),
            }
        )

    def finish(self) -> pa.Table:
        """Rows of everything collected."""
        return pa.Table.from_pylist(self._rows, schema=_SCHEMA)


def signal_values(record: Any) -> dict[str, Any] | Reject:
    """The columns that a signal gives, as plain values that keep the contract; the reject if it does not.

    Args:
        record: As `StreamTap.offer_signal` was given it; nothing in it is trusted.
    """
    if not isinstance(record, Mapping):
        return Reject(
            "bad_signal", f"a signal is a {type(record).__name__}, not a mapping", record, SIGNAL_TABLE
        )
    try:
        return _checked(dict(record))
    except _BreachError as breach:
        return Reject(breach.reason, breach.detail, record, SIGNAL_TABLE)


class _BreachError(Exception):
    """A value that cannot be stored."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    unknown = [key for key in record if key not in _FIELDS]
    if unknown:
        raise _BreachError(
            "unknown_field", f"{shown(unknown[0])} is no column; there are: {', '.join(_FIELDS)}"
        )
    values: dict[str, Any] = {
        "signal": _one_of(record, "signal", SIGNAL_CLASSES),
        "confidence": _share(record.get("confidence"), "confidence"),
        "probabilities": _probabilities(record.get("probabilities")),
        "regime": _regime(record.get("regime")),
        "model_version": _text(record.get("model_version"), "model_version", required=True),
        "dataset": _text(record.get("dataset"), "dataset"),
        "dataset_digest": _text(record.get("dataset_digest"), "dataset_digest"),
        "depth": _one_of(record, "depth", DEPTHS, default="none"),
        "top_features": _top_features(record.get("top_features")),
        "expected": _figure(record.get("expected"), "expected"),
        "raw_score": _figure(record.get("raw_score"), "raw_score"),
        "narrative": _text(record.get("narrative"), "narrative"),
    }
    named = values["probabilities"][values["signal"]]
    if abs(named - values["confidence"]) > _SUM_TOLERANCE:
        raise _BreachError(
            "contract",
            f"confidence: {values['confidence']} is not the probability of {values['signal']}, {named}",
        )
    if (values["expected"] is None) != (values["raw_score"] is None):
        raise _BreachError("contract", "expected and raw_score belong together: one is missing")
    return values


def _one_of(record: dict[str, Any], name: str, known: Sequence[str], default: str | None = None) -> str:
    value = record.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or value not in known:
        raise _BreachError("contract", f"{name}: {shown(value)} is none of {', '.join(known)}")
    return str(value)


def _text(value: Any, name: str, *, required: bool = False) -> str | None:
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise _BreachError("bad_text", f"{name}: {shown(value)} is no text of 1 to {_MAX_TEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _BreachError("bad_text", f"{name}: {shown(value)} cannot be written in UTF-8") from None
    return str(value)


def _figure(value: Any, name: str) -> float | None:
    """A finite number; None where it is missing."""
    try:
        found = number(value)
    except ValueError as error:
        raise _BreachError("bad_number", f"{name}: {error}") from error
    if math.isinf(found):
        raise _BreachError("contract", f"{name}: {found} breaks: must be finite")
    return None if math.isnan(found) else found


def _share(value: Any, name: str) -> float:
    found = _figure(value, name)
    if found is None or not 0 <= found <= 1:
        raise _BreachError("contract", f"{name}: {shown(value)} breaks: must be from 0 to 1")
    return found


def _probabilities(given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping) or set(given) != set(SIGNAL_CLASSES):
        raise _BreachError(
            "contract", f"probabilities: {shown(given)} is no mapping of {', '.join(SIGNAL_CLASSES)}"
        )
    found = {name: _share(given[name], f"probabilities.{name}") for name in SIGNAL_CLASSES}
    if abs(math.fsum(found.values()) - 1) > _SUM_TOLERANCE:
        raise _BreachError("contract", f"probabilities: {shown(found)} do not sum to 1")
    return found


def _regime(given: Any) -> dict[str, str | None] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not set(given) <= set(_REGIME):
        raise _BreachError("contract", f"regime: {shown(given)} is no mapping of {', '.join(_REGIME)}")
    return {name: _text(given.get(name), f"regime.{name}") for name in _REGIME}


def _top_features(given: Any) -> list[dict[str, Any]] | None:
    if given is None:
        return None
    if not isinstance(given, list | tuple) or len(given) > MAX_TOP_FEATURES:
        raise _BreachError(
            "contract", f"top_features: {shown(given)} is no list of at most {MAX_TOP_FEATURES}"
        )
    found = []
    for place, each in enumerate(given):
        name = f"top_features[{place}]"
        if not isinstance(each, Mapping) or not set(each) <= {"name", *_NUMBERS}:
            raise _BreachError(
                "contract", f"{name}: {shown(each)} is no mapping of name, {', '.join(_NUMBERS)}"
            )
        row: dict[str, Any] = {"name": _text(each.get("name"), f"{name}.name", required=True)}
        found.append(row | {field: _figure(each.get(field), f"{name}.{field}") for field in _NUMBERS})
    return found
