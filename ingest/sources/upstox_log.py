"""Adapter `upstox-log`: a tracker's log with the answers of Upstox's option-chain API (v2) in it.

An answer stands in one line of the log, as a Python mapping or as JSON, and has no time of its own: the
line's is taken. A row is one strike of one expiry with both legs; `chains_of` reads an answer that came
without a log, too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from catalog.exchanges import exchange_and_symbol
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import json_document, python_literal
from ingest.sources.base import FileReject, identity_of
from ingest.sources.chain import Chain, Occurrences
from ingest.sources.json_document import RepeatedNames
from ingest.sources.log_lines import LogLine, LogLines, line_reject, open_log
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError, rejecting, report_unknown_names
from ingest.sources.values import INDIA, Unit, given_time, iso_date, iso_time, shown
from ingest.sources.wire_format import OPTION_TYPES, BoundField, Field, OptionType, WireFormat, bind

_logger = logging.getLogger(__name__)

# Upstox counts in units of the underlying: every count is a multiple of the lot. The change of open interest
# stays null, for `prev_oi` is not proven to be the value of the day before: on some recorded legs it differs
# from `oi` by one lot although they did not trade at all.
_FIELDS: Final = (
    Field("ltp", Unit.RUPEES, ("ltp",)),
    Field("bid", Unit.RUPEES, ("bid_price",)),
    Field("ask", Unit.RUPEES, ("ask_price",)),
    Field("bid_qty", Unit.UNITS, ("bid_qty",)),
    Field("ask_qty", Unit.UNITS, ("ask_qty",)),
    Field("oi", Unit.UNITS, ("oi",)),
    Field("volume", Unit.UNITS, ("volume",)),
    Field("iv", Unit.PERCENT, ("iv",)),
    Field("underlying_price", Unit.RUPEES, ("underlying_spot_price",)),
)
_LEG_NAMES: Final[Mapping[OptionType, str]] = {"CE": "call_options", "PE": "put_options"}
_LEG_PARTS: Final = ("market_data", "option_greeks")


def _event_time(raw: object, zone: ZoneInfo) -> datetime | None:
    """Return the time in `2025-01-23 13:53:30,041`, or that of a datetime, which live sources give."""
    return iso_time(raw.replace(",", "."), zone) if isinstance(raw, str) else given_time(raw, zone)


# `pcr` is a strike's own ratio of put over call open interest, on every recorded row; the column is a
# chain's.
WIRE: Final = WireFormat(
    source="upstox-log",
    exchange=None,
    suffixes=(".log",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=_event_time,
    expiry=iso_date,
    symbol_names=("underlying_key",),
    strike_names=("strike_price",),
    expiry_names=("expiry",),
    calls=_FIELDS,
    puts=_FIELDS,
    ignored=frozenset(
        {
            *_LEG_NAMES.values(),
            *_LEG_PARTS,
            "close_price",
            "delta",
            "gamma",
            "instrument_key",
            "pcr",
            "pop",
            "prev_oi",
            "theta",
            "vega",
        }
    ),
)

LINE_BYTES: Final = 1 << 20
"""How long a line may be: twelve times the longest answer recorded, of 119 strikes."""

_MARK: Final = "Data fetched successfully: "
_SYMBOL_NAME: Final = WIRE.symbol_names[0]
_TIME = re.compile(r"\W{0,3}([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?)")
_NAME_IN_ROW = re.compile(rf"""['"]{_SYMBOL_NAME}['"]:""")
_QUOTED_CHARACTERS: Final = 40


class UpstoxLog:
    """Reads one `ChainUpdate` per answer and underlying, holding one line in memory."""

    name = WIRE.source
    about = "log of a tracker with Upstox v2 option-chain answers"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the beginning of an answer, after something else in its line."""
        lines = (line.lstrip() for line in sample.text.splitlines())
        return any(
            _NAME_IN_ROW.search(line.partition("{")[2]) and not line.startswith(("{", "[")) for line in lines
        )

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chains of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _items(path, reference))


def chains_of(
    payload: Any,
    event_time: object,
    reference: ReferenceData,
    *,
    source: str = WIRE.source,
    names: set[str] | None = None,
    occurrences: Occurrences | None = None,
) -> Iterator[ChainUpdate]:
    """Yield the chains of one answer, one an underlying.

    Args:
        payload: The answer, parsed: `status` and the rows in `data`.
        event_time: When it was given: an aware datetime, or the text of a log's time.
        reference: Calendar and lot sizes.
        source: What the rows are to name as their source.
        names: Takes the names of fields that were seen.
        occurrences: Tells the answer from equal ones before it.

    Raises:
        NotARecordingError: `unknown_shape` or `no_legs`.
    """
    answer = _Answer(event_time, reference, source, set() if names is None else names)
    for row in _rows(payload):
        answer.add_row(row)
    yield from answer.chains(occurrences or Occurrences())


def _items(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
    with open_log(path, LINE_BYTES) as lines:
        names: set[str] = set()
        yield from _answers(path, lines, reference, names)
        report_unknown_names(WIRE, path, names)
        lines.check()


def _answers(
    path: Path, lines: LogLines, reference: ReferenceData, names: set[str]
) -> Iterator[ChainUpdate | FileReject]:
    first: LogLine | None = None
    answers = others = 0
    occurrences = Occurrences()
    for line in lines:
        first = first or line
        if not _may_hold_answer(line.text):
            others += 1
            continue
        answers += 1
        try:
            yield from _chains_in(line, reference, names, occurrences)
        except NotARecordingError as error:
            yield line_reject(WIRE, path, line, error.reason, f"line {line.number}: {error.detail}")
    if first is None:
        raise NotARecordingError("empty_file", "the file has no content")
    if not answers:
        lines.check()
        if first.text.lstrip().startswith("<"):
            raise NotARecordingError("html_instead_of_log", f"begins with {shown(first.text)}")
        raise NotARecordingError("unknown_shape", f"none of {others} lines has an option chain of Upstox")
    if others:
        _logger.info(
            "log lines without an answer are passed over",
            extra={"action": "pass_over_lines", "source": WIRE.source, "lines": others, "answers": answers},
        )


def _may_hold_answer(text: str) -> bool:
    return _MARK in text or _SYMBOL_NAME in text


def _chains_in(
    line: LogLine, reference: ReferenceData, names: set[str], occurrences: Occurrences
) -> Iterator[ChainUpdate]:
    if line.fault is not None:
        raise NotARecordingError(*line.fault)
    before, brace, rest = line.text.partition("{")
    if not brace:
        raise NotARecordingError("unknown_shape", "no answer stands in it")
    found = _TIME.match(before)
    event_time = found[1] if found else before.partition(" - ")[0][:_QUOTED_CHARACTERS]
    payload = python_literal.parse(brace + rest)
    return chains_of(payload, event_time, reference, names=names, occurrences=occurrences)


@dataclass(slots=True)
class _Group:
    """The rows of one underlying, and their raw form for the identity."""

    chain: Chain
    raw: list[Any] = field(default_factory=list)


class _Answer:
    """The legs of one answer, by underlying."""

    def __init__(self, event_time: object, reference: ReferenceData, source: str, names: set[str]) -> None:
        self._event_time = event_time
        self._reference = reference
        self._source = source
        self._names = names
        self._groups: dict[str, _Group] = {}
        self._layouts: dict[tuple[str, ...], tuple[BoundField, ...]] = {}

    def add_row(self, row: Any) -> None:
        """Add both legs of a row; what is no row of a chain counts as one bad leg."""
        group = self._group(row.get(_SYMBOL_NAME) if isinstance(row, dict) else None)
        group.raw.append(row)
        if isinstance(row, RepeatedNames):
            pairs = {"repeated_names": row.pairs}
            for option_type in OPTION_TYPES:
                group.chain.reject(option_type, "repeated_names", "a name occurs twice in the row", pairs)
            return
        legs = []
        if isinstance(row, dict):
            self._names.update(row)
            legs = [(each, row[name]) for each, name in _LEG_NAMES.items() if row.get(name) is not None]
        if not legs:
            group.chain.reject(None, "bad_leg", f"{shown(row)} is no row of a chain", row)
        for option_type, leg in legs:
            self._add(group.chain, option_type, leg, row)

    def _add(self, chain: Chain, option_type: OptionType, leg: Any, row: dict[str, Any]) -> None:
        parts = [leg.get(name) or {} for name in _LEG_PARTS] if isinstance(leg, dict) else []
        objects = (leg, *parts)
        if not parts or not parts[0] or not all(isinstance(each, dict) for each in objects):
            chain.reject(option_type, "bad_leg", f"{shown(leg)} is no leg of a chain", leg)
        elif any(isinstance(each, RepeatedNames) for each in objects):
            pairs = {"repeated_names": [each.pairs for each in objects if isinstance(each, RepeatedNames)]}
            chain.reject(option_type, "repeated_names", "a name occurs twice in the leg", pairs)
        else:
            flat = {name: value for name, value in row.items() if name not in _LEG_NAMES.values()}
            for each in objects:
                flat.update(each)
            for name in _LEG_PARTS:
                flat.pop(name, None)
            strike, expiry = (flat.get(name) for (name,) in (WIRE.strike_names, WIRE.expiry_names))
            chain.add(option_type, flat, self._fields(option_type, tuple(flat)), strike=strike, expiry=expiry)

    def _fields(self, option_type: OptionType, layout: tuple[str, ...]) -> tuple[BoundField, ...]:
        if layout not in self._layouts:
            self._layouts[layout] = bind(WIRE.fields(option_type), layout)
            self._names.update(layout)
        return self._layouts[layout]

    def _group(self, key: object) -> _Group:
        text = key if isinstance(key, str) else json_document.canonical(key)
        if text not in self._groups:
            named = exchange_and_symbol(key) if isinstance(key, str) else None
            exchange, symbol = named or (None, key)
            wire = replace(WIRE, source=self._source, exchange=exchange)
            chain = Chain(wire, self._reference, symbol=symbol, event_time=self._event_time)
            self._groups[text] = _Group(chain)
        return self._groups[text]

    def chains(self, occurrences: Occurrences) -> Iterator[ChainUpdate]:
        """Yield one chain per underlying, in the order in which they first occur."""
        for key, group in self._groups.items():
            content = json_document.canonical(group.raw)
            identity = identity_of(self._source, str(self._event_time), key, content)
            yield group.chain.finish(occurrences.identity(identity))


def _rows(payload: Any) -> list[Any]:
    rows = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(rows, list):
        what = f"an object of {shown(sorted(payload))}" if isinstance(payload, dict) else shown(payload)
        raise NotARecordingError("unknown_shape", f"{what}, not an answer with rows in data")
    if not rows:
        raise NotARecordingError("no_legs", "the chain has no rows")
    return rows
