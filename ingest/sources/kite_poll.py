"""Adapter `kite-poll`: wide CSV files, one poll of Kite's quotes each, calls and puts side by side.

Three headers are in use (`Symbol` and `Spot`; `Stock` and `Stock_LTP`; the latter also for files of all
stocks, with floats for whole numbers), so columns are found by name. A row is one strike with both
legs; several symbols stand below each other, and every row repeats its poll's time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain as chain_of
from pathlib import Path
from typing import Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.origins import Line
from ingest.sources.base import FileReject, identity_of
from ingest.sources.chain import Chain, Occurrences
from ingest.sources.csv_table import TABLE_CHARACTERS, CsvTable, Row
from ingest.sources.growth import Growth
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import (
    NotARecordingError,
    TextLines,
    open_lines,
    rejecting,
    report_unknown_names,
)
from ingest.sources.values import INDIA, Unit, iso_date, iso_time
from ingest.sources.wire_format import OPTION_TYPES, Field, WireFormat, bind

_UNDERLYING: Final = Field("underlying_price", Unit.RUPEES, ("Spot", "Stock_LTP"))


def _fields(prefix: str) -> tuple[Field, ...]:
    # Kite counts in units of the underlying: every open interest is a multiple of the lot.
    return (
        Field("ltp", Unit.RUPEES, (f"{prefix}_LTP",)),
        Field("oi", Unit.UNITS, (f"{prefix}_OI",)),
        Field("volume", Unit.UNITS, (f"{prefix}_Volume",)),
        _UNDERLYING,
    )


WIRE: Final = WireFormat(
    source="kite-poll",
    exchange=None,
    suffixes=(".csv",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=iso_time,
    expiry=iso_date,
    symbol_names=("Symbol", "Stock"),
    time_names=("timestamp",),
    strike_names=("Strike",),
    expiry_names=("Expiry",),
    calls=_fields("CE"),
    puts=_fields("PE"),
    ignored=frozenset({"%Change", "Stock_High", "Stock_Low", "Stock_%_Change", "Max_Pain"}),
)

_NEEDED: Final = (
    WIRE.symbol_names,
    WIRE.time_names,
    WIRE.strike_names,
    WIRE.expiry_names,
    *(spec.names for spec in chain_of(WIRE.calls, WIRE.puts) if spec is not _UNDERLYING),
)


_Key = tuple[str, str, str]
"""Time, symbol and expiry as they stand in a row."""


@dataclass(slots=True)
class _Group:
    """The rows of one poll of one symbol and expiry, their raw form, and how the chain grew by each."""

    key: _Key
    chain: Chain
    raw: list[str] = field(default_factory=list)
    counts: list[tuple[int, int, int]] = field(default_factory=list)
    strikes: set[str] = field(default_factory=set)


class KitePoll:
    """Reads one `ChainUpdate` per poll, symbol and expiry of a file.

    A strike that comes again begins the same chain once more: a file to which its own rows were
    appended holds the chain twice, and the first of the two is still the one that was there before.
    """

    name = WIRE.source
    about = "CSV, one poll of whole chains a file, index or stock header"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read."""
        return sample.has_columns(_NEEDED)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chains of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _chains(path, reference))


def _chains(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate]:
    with open_lines(path) as lines:
        yield from _Poll(lines, path, reference).chains()


class _Poll:
    """One file in the reading."""

    def __init__(self, lines: TextLines, path: Path, reference: ReferenceData) -> None:
        self._lines = lines
        self._table = CsvTable(lines, _NEEDED)
        header = self._table.header
        report_unknown_names(WIRE, path, header)
        self._reference = reference
        self._time, self._symbol, self._expiry, self._strike = (
            next(name for name in names if name in header)
            for names in (WIRE.time_names, WIRE.symbol_names, WIRE.expiry_names, WIRE.strike_names)
        )
        self._sides = [(option_type, bind(WIRE.fields(option_type), header)) for option_type in OPTION_TYPES]
        self._groups: list[_Group] = []
        self._current: dict[_Key, _Group] = {}

    def chains(self) -> Iterator[ChainUpdate]:
        key: _Key = ("", "", "")
        early: list[Row] = []
        try:
            for row in self._table.rows(limit_characters=TABLE_CHARACTERS):
                if row.fault is None:
                    fields = row.fields
                    key = (fields[self._time], fields[self._symbol], fields[self._expiry])
                elif not self._groups:
                    # A damaged row belongs to the chain it stands in: the one before, else the one after.
                    early.append(row)
                    continue
                self._add(key, row, early)
                early = []
        except NotARecordingError:
            incomplete = self._current.get(key)
            self._groups = [group for group in self._groups if group is not incomplete]
            yield from self._finished()
            raise
        for row in early:
            self._add(key, row, [])
        yield from self._finished()
        self._lines.check()

    def _add(self, key: _Key, row: Row, early: list[Row]) -> None:
        group = self._current.get(key)
        strike = row.fields[self._strike] if row.fault is None else None
        if group is None or strike in group.strikes:
            time_text, symbol, _ = key
            group = _Group(key, Chain(WIRE, self._reference, symbol=symbol, event_time=time_text))
            self._current[key] = group
            self._groups.append(group)
        if strike is not None:
            group.strikes.add(strike)
        for each in (*early, row):
            group.raw.append(each.identified)
            fields = each.fields
            for option_type, bound in self._sides:
                if each.fault is not None:
                    line = Line(each.text, self._table.header, place=each.place)
                    group.chain.reject(option_type, *each.fault, each.payload, line=line)
                else:
                    group.chain.add(
                        option_type, fields, bound, strike=fields[self._strike], expiry=fields[self._expiry]
                    )
            group.counts.append(group.chain.counts)

    def _finished(self) -> Iterator[ChainUpdate]:
        occurrences = Occurrences()
        for group in self._groups:
            time_text, symbol, expiry = group.key
            growth = Growth(
                (WIRE.source, symbol, time_text, expiry, self._table.header_text), group.raw, group.counts
            )
            content = identity_of(*growth.fixed, *growth.rows)
            identity = occurrences.identity(content)
            yield group.chain.finish(identity, growth if identity == content else None)
