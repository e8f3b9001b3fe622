"""Adapter `kite-ticks`: ticks of one contract from Kite's websocket in mode full, one Python mapping a line.

Which contract they are of, only the file's name says, by its trading symbol:
`BANKNIFTY21SEP35300PE_2021_08_20.txt`. Files with the newest tick first are known; whatever their order,
chains come out in the order of time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import json_document, python_literal
from ingest.sources.base import FileReject, identity_of
from ingest.sources.chain import Chain, Occurrences
from ingest.sources.json_document import RepeatedNames
from ingest.sources.log_lines import LogLine, LogLines, line_reject, open_log
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError, rejecting, report_unknown_names
from ingest.sources.time_sorted import TimeSorted, time_sorted
from ingest.sources.trading_symbol import expiry_of, parse_trading_symbol, trading_symbol_in
from ingest.sources.values import INDIA, BadValueError, Unit, iso_date, iso_time, shown
from ingest.sources.wire_format import BoundField, Field, OptionType, WireFormat, bind

# Kite counts in units of the underlying: every count is a multiple of the lot. The first level of the book is
# the best one. Newer versions of its client call some fields otherwise.
_BEST: Final = {"bid": ("buy", "depth.buy[0]"), "ask": ("sell", "depth.sell[0]")}
_FIELDS: Final = (
    Field("ltp", Unit.RUPEES, ("last_price",)),
    *(Field(side, Unit.RUPEES, (f"{name}.price",)) for side, (_, name) in _BEST.items()),
    *(Field(f"{side}_qty", Unit.UNITS, (f"{name}.quantity",)) for side, (_, name) in _BEST.items()),
    Field("oi", Unit.UNITS, ("oi",)),
    Field("volume", Unit.UNITS, ("volume", "volume_traded")),
)


def _expiry(raw: object) -> date | None:
    """Return the expiry of the contract; quarantine, which keeps JSON, gives it back as its text."""
    return raw if isinstance(raw, date) and not isinstance(raw, datetime) else iso_date(raw)


WIRE: Final = WireFormat(
    source="kite-ticks",
    exchange=None,
    suffixes=(".txt",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=iso_time,
    expiry=_expiry,
    time_names=("timestamp", "exchange_timestamp"),
    calls=_FIELDS,
    puts=_FIELDS,
    ignored=frozenset(
        {
            "average_price",
            "average_traded_price",
            "buy_quantity",
            "change",
            "depth",
            "instrument_token",
            "last_quantity",
            "last_trade_time",
            "last_traded_quantity",
            "mode",
            "ohlc",
            "oi_day_high",
            "oi_day_low",
            "sell_quantity",
            "total_buy_quantity",
            "total_sell_quantity",
            "tradable",
        }
    ),
)

LINE_BYTES: Final = 1 << 16
"""How long a line may be: seventy times the longest tick recorded."""

_LOOK_AHEAD_LINES: Final = 1_000
_MARKS: Final = ("instrument_token", "last_price")
_TIME = re.compile(
    rf"""['"](?:{"|".join(WIRE.time_names)})['"]: ?"""
    rf"""(?:['"]([^'"]{{1,40}})['"]|({python_literal.DATETIME.pattern}))"""
)


class KiteTicks:
    """Reads one `ChainUpdate` a tick, in the order of time, holding one tick in memory.

    Equal ticks are kept, each with an identity of its own: they are what came.
    """

    name = WIRE.source
    about = "Kite websocket ticks, contract in the file name"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By lines that begin as a tick does and name what every tick has."""
        return any(_may_be_tick(line) for line in sample.text.splitlines())

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the ticks of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _items(path, reference))


def _may_be_tick(text: str) -> bool:
    return text.lstrip("\ufeff \t").startswith("{") and all(mark in text for mark in _MARKS)


def _items(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
    with time_sorted() as ticks:
        with open_log(path, LINE_BYTES) as lines:
            broken: NotARecordingError | None = None
            try:
                yield from _sorted_in(path, ticks, lines)
                lines.check()
            except NotARecordingError as error:
                if error.reason != "undecodable":
                    raise
                broken = error
        if not ticks.is_empty:
            contract = _Contract(path.name, reference)
            names: set[str] = set()
            yield from contract.chains(ticks, names)
            report_unknown_names(WIRE, path, names)
        if broken is not None:
            raise broken


def _sorted_in(path: Path, ticks: TimeSorted, lines: LogLines) -> Iterator[FileReject]:
    """Hand the ticks of a file to the sorter; yield what is none."""
    strange: list[LogLine] = []
    first: LogLine | None = None
    for line in lines:
        first = first or line
        if line.fault is None and _may_be_tick(line.text):
            for each in strange:
                yield _strange(path, each)
            strange = []
            ticks.add(_moment_in(line.text), line.text)
        elif ticks.is_empty:
            strange.append(line)
            if len(strange) > _LOOK_AHEAD_LINES:
                break
        else:
            yield _strange(path, line)
    if first is None:
        raise NotARecordingError("empty_file", "the file has no content")
    if ticks.is_empty:
        lines.check()
        if first.text.lstrip().startswith("<"):
            raise NotARecordingError("html_instead_of_ticks", f"begins with {shown(first.text)}")
        raise NotARecordingError("unknown_shape", f"none of its first {len(strange):,} lines is a tick")


def _strange(path: Path, line: LogLine) -> FileReject:
    reason, detail = line.fault or ("unknown_shape", f"line {line.number} is no tick")
    return line_reject(WIRE, path, line, reason, detail)


def _moment_in(text: str) -> datetime | None:
    """Return the time by which a line is sorted, found without parsing the line."""
    found = _TIME.search(text)
    if found is None:
        return None
    return WIRE.moment(found[1] or python_literal.datetime_text(found[2]))


class _Contract:
    """The contract that a file is of."""

    def __init__(self, file_name: str, reference: ReferenceData) -> None:
        """Read the file's name.

        Raises:
            NotARecordingError: `bad_trading_symbol`, `not_an_option` or `unknown_expiry`.
        """
        text = trading_symbol_in(file_name)
        if text is None:
            detail = f"the file's name, {shown(file_name)}, does not begin with a trading symbol"
            raise NotARecordingError("bad_trading_symbol", detail)
        try:
            contract = parse_trading_symbol(text)
            expiry = expiry_of(contract, reference)
        except BadValueError as error:
            raise NotARecordingError(error.reason, error.detail) from error
        if contract.option_type is None:
            raise NotARecordingError("not_an_option", f"{text} is a future")
        self._wire = replace(WIRE, exchange=contract.exchange)
        self._text = text.upper()
        self._symbol = contract.symbol
        self._option_type: OptionType = contract.option_type
        self._strike = contract.strike
        self._expiry = expiry
        self._reference = reference
        self._layouts: dict[tuple[str, ...], tuple[BoundField, ...]] = {}

    def chains(self, ticks: TimeSorted, names: set[str]) -> Iterator[ChainUpdate]:
        """Yield one chain a tick.

        Args:
            ticks: The lines, in the order of time.
            names: Takes the names of fields that were seen.
        """
        time_of_last: object = None
        occurrences = Occurrences()
        for time_of_line, text in ticks.lines():
            # Equal ticks have equal times: counting them need not reach further.
            if time_of_line != time_of_last:
                time_of_last, occurrences = time_of_line, Occurrences()
            yield self._chain(text, names, occurrences)

    def _chain(self, text: str, names: set[str], occurrences: Occurrences) -> ChainUpdate:
        fault: tuple[str, str, object] | None = None
        try:
            tick = python_literal.parse(text)
        except NotARecordingError as error:
            tick, fault = {}, (error.reason, error.detail, text)
        if isinstance(tick, RepeatedNames):
            fault = ("repeated_names", "a name occurs twice in the tick", {"repeated_names": tick.pairs})
        names.update(tick)
        time_name = next((name for name in WIRE.time_names if name in tick), "")
        chain = Chain(self._wire, self._reference, symbol=self._symbol, event_time=tick.get(time_name))
        if fault is not None:
            chain.reject(self._option_type, *fault)
        else:
            self._add(chain, tick)
        content = json_document.canonical(tick) if fault is None else text
        return chain.finish(occurrences.identity(identity_of(WIRE.source, self._text, content)))

    def _add(self, chain: Chain, tick: dict[str, Any]) -> None:
        leg = dict(tick)
        depth = tick.get("depth")
        for levels_name, name in _BEST.values():
            levels = depth.get(levels_name) if isinstance(depth, dict) else depth
            level = levels[0] if isinstance(levels, list) and levels else levels
            if isinstance(level, dict):
                leg |= {f"{name}.{key}": level[key] for key in ("price", "quantity") if key in level}
            elif level:
                chain.reject(
                    self._option_type, "bad_leg", f"{name}: {shown(level)} is no level of a book", tick
                )
                return
        layout = tuple(leg)
        if layout not in self._layouts:
            self._layouts[layout] = bind(self._wire.fields(self._option_type), layout)
        fields = self._layouts[layout]
        chain.add(self._option_type, leg, fields, strike=self._strike, expiry=self._expiry)
