"""Adapter `nse-v3-table`: a day of NSE's v3 API as one long table, in a Parquet or an SQLite file.

A row is one leg; all rows of a minute stand together, those of all expiries. The tool that wrote these files
added greeks, and where NSE gave no implied volatility it solved for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources.base import FileReject
from ingest.sources.long_table import LongTable
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError, rejecting, report_unknown_names
from ingest.sources.typed_rows import PARQUET_MAGIC, SQLITE_MAGIC, open_typed_rows
from ingest.sources.values import INDIA, Unit, compact_time, named_month_date
from ingest.sources.wire_format import Field, WireFormat

# NSE's own units: contracts, and per cent. The underlying carries the noise of a 32-bit float (24052.400391)
# and is kept as it came.
_FIELDS: Final = (
    Field("ltp", Unit.RUPEES, ("ltp",)),
    Field("oi", Unit.CONTRACTS, ("oi",)),
    Field("oi_change", Unit.CONTRACTS, ("oi_chg",)),
    Field("volume", Unit.CONTRACTS, ("volume",)),
    Field("iv", Unit.SOLVED_PERCENT, ("iv",)),
    Field("underlying_price", Unit.RUPEES, ("spot",)),
)

WIRE: Final = WireFormat(
    source="nse-v3-table",
    exchange="NSE",
    suffixes=(".parquet", ".db", ".sqlite", ".sqlite3"),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=compact_time,
    expiry=named_month_date,
    symbol_names=("symbol",),
    time_names=("timestamp",),
    strike_names=("strike",),
    expiry_names=("expiry",),
    option_type_names=("option_type",),
    calls=_FIELDS,
    puts=_FIELDS,
    ignored=frozenset(
        {
            "open",
            "high",
            "low",
            "close",
            "delta",
            "gamma",
            "theta",
            "vega",
            "rho",
        }
    ),
)


def _symbol(leg: Mapping[str, Any]) -> object:
    return leg[WIRE.symbol_names[0]]


_TABLE: Final = LongTable(wire=WIRE, symbol_of=_symbol)


class NseV3Table:
    """Reads one `ChainUpdate` per minute and symbol, with the expiry in each leg; see `LongTable`."""

    name = WIRE.source
    about = "Parquet or SQLite, a long table of NSE v3 minutes"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read."""
        if not sample.head.startswith((PARQUET_MAGIC, SQLITE_MAGIC)):
            return False
        try:
            with open_typed_rows(sample.path, _TABLE.needed):
                return True
        except NotARecordingError:
            return False

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chains of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _chains(path, reference))


def _chains(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate]:
    with open_typed_rows(path, _TABLE.needed) as table:
        report_unknown_names(WIRE, path, table.header)
        any_row = False
        header_text = ",".join(table.header)
        for chain in _TABLE.chains(table.rows, table.header, header_text, reference):
            any_row = True
            yield chain
        if not any_row:
            raise NotARecordingError("no_rows", "the table has no rows")
