"""Adapter `nse-table-csv`: NSE's option-chain page as it was until 2020, scraped into one CSV file a poll.

The time stands in the file's name only, `NIFTY_19-07-2019_10:15.csv` (or with another separator than ':',
which Windows does not take), the expiry in the folder's, `25JUL2019`. Columns of puts mirror those of calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources.base import FileReject
from ingest.sources.csv_table import CsvTable
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import open_lines, rejecting
from ingest.sources.strike_table import needed_columns, one_chain
from ingest.sources.values import INDIA, Unit, day_first_time, run_together_date
from ingest.sources.wire_format import Field, WireFormat


def _fields(side: str) -> tuple[Field, ...]:
    # Open interest and quantities are multiples of the lot, volume is not: 1, 5, 194 are common.
    return (
        Field("ltp", Unit.RUPEES, (f"{side}LTP",)),
        Field("bid", Unit.RUPEES, (f"{side}BidPrice",)),
        Field("ask", Unit.RUPEES, (f"{side}AskPrice",)),
        Field("bid_qty", Unit.UNITS, (f"{side}BidQty",)),
        Field("ask_qty", Unit.UNITS, (f"{side}AskQty",)),
        Field("oi", Unit.UNITS, (f"{side}OI",)),
        Field("oi_change", Unit.UNITS, (f"{side}ChnginOI",)),
        Field("volume", Unit.CONTRACTS, (f"{side}Volume",)),
        Field("iv", Unit.PERCENT, (f"{side}IV",)),
        Field("underlying_price", Unit.RUPEES, ("CurrentVal",)),
    )


WIRE: Final = WireFormat(
    source="nse-table-csv",
    exchange="NSE",
    suffixes=(".csv",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=day_first_time,
    expiry=run_together_date,
    strike_names=("StrikePrice",),
    calls=_fields("Call"),
    puts=_fields("Put"),
    ignored=frozenset({"", "CallNetChng", "PutNetChng"}),
)

# Files without a row lack the underlying's column, and say so by having no row.
_NEEDED: Final = needed_columns(WIRE, optional=("underlying_price",))
_NAME = re.compile(
    r"(?P<symbol>.+)_(?P<date>[0-9]{2}-[0-9]{2}-[0-9]{4})_(?P<hour>[0-9]{2})[\W_]?(?P<minute>[0-9]{2})"
    r"(?:\.csv)?(?:\.gz|\.zip)?",
    re.IGNORECASE,
)
_FOLDER = re.compile(r"[0-9]{1,2}[A-Za-z]{3}[0-9]{4}")


@dataclass(frozen=True, slots=True)
class _Said:
    """What the path of a file says; None where it says nothing."""

    symbol: str | None
    event_time: str | None
    expiry: str | None


class NseTableCsv:
    """Reads one `ChainUpdate` a file."""

    name = WIRE.source
    about = "CSV scraped from NSE's page until 2020, time in the file name"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read."""
        return sample.has_columns(_NEEDED)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chain of one file; see `SourceAdapter.read`."""
        said = _said(path)
        # Files of one name stand in several expiries' folders.
        part = f"{said.expiry}"
        return rejecting(WIRE, path, _chains(path, said, reference), part=part)


def _chains(path: Path, said: _Said, reference: ReferenceData) -> Iterator[ChainUpdate]:
    with open_lines(path) as lines:
        table = CsvTable(lines, _NEEDED)
        yield from one_chain(
            lines,
            table,
            WIRE,
            path,
            reference,
            symbol=said.symbol,
            event_time=said.event_time,
            expiry=said.expiry,
        )


def _said(path: Path) -> _Said:
    named = _NAME.fullmatch(path.name)
    folder = _FOLDER.fullmatch(path.absolute().parent.name)
    return _Said(
        symbol=named["symbol"] if named else None,
        event_time=f"{named['date']} {named['hour']}:{named['minute']}" if named else None,
        expiry=folder[0] if folder else None,
    )
