"""Adapter `nse-live-csv`: NSE's list of live derivatives, polled and appended to one long CSV file.

A row is one leg. All rows of a poll carry the same `datetime` and stand together; a file holds many polls.
Only contracts that traded are listed, so legs come and go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources.base import FileReject
from ingest.sources.csv_table import CsvTable
from ingest.sources.long_table import LongTable
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import open_lines, rejecting, report_unknown_names
from ingest.sources.values import INDIA, Unit, iso_time, named_month_date, underlying_symbol
from ingest.sources.wire_format import Field, WireFormat

# Volume is in units although open interest, in the same row, is in contracts: `noOfTrades` is the volume
# divided by the lot on every row.
_FIELDS: Final = (
    Field("ltp", Unit.RUPEES, ("lastPrice",)),
    Field("oi", Unit.CONTRACTS, ("openInterest",)),
    Field("volume", Unit.UNITS, ("volume",)),
    Field("underlying_price", Unit.RUPEES, ("underlyingValue",)),
)


def _underlying(contract: object) -> str | None:
    return underlying_symbol(_name_in(contract) if isinstance(contract, str) else contract)


def _name_in(contract: str) -> str:
    """Return the underlying in a contract's name, which is written `NIFTY 16-Jun-2026`."""
    symbol, _, last = contract.strip().rpartition(" ")
    return contract if named_month_date(last) is None else symbol


WIRE: Final = WireFormat(
    source="nse-live-csv",
    exchange=None,
    suffixes=(".csv",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=iso_time,
    expiry=named_month_date,
    symbol_names=("contract",),
    time_names=("datetime",),
    strike_names=("strikePrice",),
    expiry_names=("expiryDate",),
    option_type_names=("optionType",),
    symbol=_underlying,
    calls=_FIELDS,
    puts=_FIELDS,
    ignored=frozenset(
        {
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


def _symbol(leg: Mapping[str, Any]) -> str:
    return _name_in(leg[WIRE.symbol_names[0]])


_TABLE: Final = LongTable(wire=WIRE, symbol_of=_symbol)


class NseLiveCsv:
    """Reads one `ChainUpdate` per poll and symbol, see `LongTable`."""

    name = WIRE.source
    about = "CSV of the NSE live-derivatives list, many polls a file"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read."""
        return sample.has_columns(_TABLE.needed)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chains of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _chains(path, reference))


def _chains(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate]:
    with open_lines(path) as lines:
        table = CsvTable(lines, _TABLE.needed)
        report_unknown_names(WIRE, path, table.header)
        yield from _TABLE.chains(table.rows(), table.header, table.header_text, reference)
        lines.check()
