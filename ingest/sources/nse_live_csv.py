"""Adapter `nse-live-csv`: NSE's list of live derivatives, polled and appended to one long CSV file.

A row is one leg. All rows of a poll carry the same `datetime` and stand together; a file holds many polls.
Only contracts that traded are listed, so legs come and go.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources.base import FileReject, identity_of
from ingest.sources.chain import Chain, Occurrences
from ingest.sources.csv_table import CsvTable, Row
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import open_lines, rejecting, report_unknown_names
from ingest.sources.values import Unit, iso_time, named_month_date, shown
from ingest.sources.wire_format import BoundField, Field, OptionType, WireFormat, bind

# Volume is in units although open interest, in the same row, is in contracts: `noOfTrades` is the volume
# divided by the lot on every row.
_FIELDS: Final = (
    Field("ltp", Unit.RUPEES, ("lastPrice",)),
    Field("oi", Unit.CONTRACTS, ("openInterest",)),
    Field("volume", Unit.UNITS, ("volume",)),
    Field("underlying_price", Unit.RUPEES, ("underlyingValue",)),
)
_OPTION_TYPE_NAME: Final = "optionType"
_OPTION_TYPES: Final[dict[str, OptionType]] = {"call": "CE", "put": "PE", "ce": "CE", "pe": "PE"}

WIRE: Final = WireFormat(
    source="nse-live-csv",
    exchange=None,
    suffixes=(".csv",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    event_time=iso_time,
    expiry=named_month_date,
    symbol_names=("contract",),
    time_names=("datetime",),
    strike_names=("strikePrice",),
    expiry_names=("expiryDate",),
    calls=_FIELDS,
    puts=_FIELDS,
    ignored=frozenset(
        {
            _OPTION_TYPE_NAME,
            "change",
            "pChange",
            "openPrice",
            "highPrice",
            "lowPrice",
            "closePrice",
            "totalTurnover",
            "value",
            "premiumTurnOver",
            "noOfTrades",
        }
    ),
)

_NEEDED: Final = (
    WIRE.symbol_names,
    WIRE.time_names,
    WIRE.strike_names,
    WIRE.expiry_names,
    (_OPTION_TYPE_NAME,),
    *(spec.names for spec in _FIELDS),
)
_LEG_KEY: Final = (*WIRE.symbol_names, *WIRE.expiry_names, _OPTION_TYPE_NAME, *WIRE.strike_names)


class NseLiveCsv:
    """Reads one `ChainUpdate` per poll and symbol, holding one poll in memory.

    A leg that comes again begins the same poll once more: a file to which its own rows were appended
    holds the poll twice, and the first of the two is still the one that was there before.
    """

    name = WIRE.source
    about = "CSV of the NSE live-derivatives list, many polls a file"
    suffixes = WIRE.suffixes

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read."""
        return sample.has_columns(_NEEDED)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chains of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _chains(path, reference))


def _chains(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate]:
    (time_name,) = WIRE.time_names
    with open_lines(path) as lines:
        table = CsvTable(lines, _NEEDED)
        report_unknown_names(WIRE, path, table.header)
        occurrences = Occurrences()
        poll: list[Row] = []
        poll_time: str | None = None
        legs: set[tuple[str, ...]] = set()
        for row in table.rows():
            # A damaged row belongs to the poll it stands in.
            if row.fault is None:
                leg = tuple(row.fields[name] for name in _LEG_KEY)
                if row.fields[time_name] != poll_time or leg in legs:
                    if poll_time is not None:
                        yield from _finished(poll, poll_time, table, reference, occurrences)
                        poll, legs = [], set()
                    poll_time = row.fields[time_name]
                legs.add(leg)
            poll.append(row)
        yield from _finished(poll, poll_time or "", table, reference, occurrences)
        lines.check()


def _finished(
    poll: list[Row], poll_time: str, table: CsvTable, reference: ReferenceData, occurrences: Occurrences
) -> Iterator[ChainUpdate]:
    """Yield one chain per symbol of a poll."""
    fields = bind(_FIELDS, table.header)
    for symbol, rows in _by_symbol(poll).items():
        chain = Chain(WIRE, reference, symbol=symbol, event_time=poll_time)
        for row in rows:
            if row.fault is not None:
                chain.reject(None, *row.fault, row.payload)
            else:
                _add(chain, row.fields, fields)
        raw = (row.text for row in rows)
        identity = identity_of(WIRE.source, symbol, poll_time, table.header_text, *raw)
        yield chain.finish(occurrences.identity(identity))


def _add(chain: Chain, leg: dict[str, str], fields: tuple[BoundField, ...]) -> None:
    option_type = _OPTION_TYPES.get(leg[_OPTION_TYPE_NAME].strip().lower())
    if option_type is None:
        detail = f"{_OPTION_TYPE_NAME}: {shown(leg[_OPTION_TYPE_NAME])} is neither Call nor Put"
        chain.reject(None, "bad_option_type", detail, leg)
        return
    (strike_name,), (expiry_name,) = WIRE.strike_names, WIRE.expiry_names
    chain.add(option_type, leg, fields, strike=leg[strike_name], expiry=leg[expiry_name])


def _by_symbol(poll: list[Row]) -> dict[str, list[Row]]:
    """Group rows in order; a damaged row goes with the one before, the first ones with the one after."""
    groups: dict[str, list[Row]] = {}
    symbol: str | None = None
    early: list[Row] = []
    for row in poll:
        if row.fault is None:
            symbol = _symbol(row.fields)
        elif symbol is None:
            early.append(row)
            continue
        groups.setdefault(symbol or "", []).extend((*early, row))
        early = []
    if early:
        groups[""] = early
    return groups


def _symbol(leg: dict[str, str]) -> str:
    """Return the underlying in `contract`, which is written `NIFTY 16-Jun-2026`."""
    (symbol_name,) = WIRE.symbol_names
    symbol, _, last = leg[symbol_name].strip().rpartition(" ")
    return leg[symbol_name] if WIRE.expiry(last) is None else symbol
