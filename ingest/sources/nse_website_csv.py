"""Adapter `nse-website-csv`: what the button "download CSV" of NSE's option-chain page saves.

The header has every name twice, calls to the left of `STRIKE` and puts to the right; in older files some are
longer (`BID PRICE`). A spreadsheet that saved the file again fills the line above it with commas. Underlying
and expiry stand in the file's name only, `option-chain-ED-NIFTY-30-Jun-2026.csv`; the time, and the
underlying's price, nowhere: the person who loads it says when it was saved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources.base import FileReject
from ingest.sources.csv_table import CsvTable
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError, open_lines, rejecting
from ingest.sources.strike_table import needed_columns, one_chain
from ingest.sources.values import INDIA, Unit, given_time, named_month_date
from ingest.sources.wire_format import Field, WireFormat

_PREAMBLE: Final = ("CALLS", "PUTS")


def _fields(side: str) -> tuple[Field, ...]:
    # As in the API behind the page: contracts for open interest and volume, units in the order book.
    return (
        Field("ltp", Unit.RUPEES, (f"{side} LTP",)),
        Field("bid", Unit.RUPEES, (f"{side} BID", f"{side} BID PRICE")),
        Field("ask", Unit.RUPEES, (f"{side} ASK", f"{side} ASK PRICE")),
        Field("bid_qty", Unit.UNITS, (f"{side} BID QTY",)),
        Field("ask_qty", Unit.UNITS, (f"{side} ASK QTY",)),
        Field("oi", Unit.CONTRACTS, (f"{side} OI",)),
        Field("oi_change", Unit.CONTRACTS, (f"{side} CHNG IN OI", f"{side} CHG IN OI")),
        Field("volume", Unit.CONTRACTS, (f"{side} VOLUME",)),
        Field("iv", Unit.PERCENT, (f"{side} IV",)),
    )


WIRE: Final = WireFormat(
    source="nse-website-csv",
    exchange="NSE",
    suffixes=(".csv",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=given_time,
    expiry=named_month_date,
    strike_names=("STRIKE", "STRIKE PRICE"),
    calls=_fields("CALLS"),
    puts=_fields("PUTS"),
    ignored=frozenset({"CALLS ", "PUTS ", "CALLS CHNG", "PUTS CHNG"}),
)

_NEEDED: Final = needed_columns(WIRE)
_NAME = re.compile(
    r"option-chain-[A-Z]+-(?P<symbol>.+?)-(?P<expiry>[0-9]{1,2}-[A-Z]{3}-[0-9]{4})\b.*",
    re.IGNORECASE,
)


@dataclass
class NseWebsiteCsv:
    """Reads one `ChainUpdate` a file.

    Attributes:
        captured_at: When the files were saved, aware; None if nobody said, and then they are not read.
    """

    name = WIRE.source
    about = "CSV downloaded from NSE's page; needs --captured-at"
    suffixes = WIRE.suffixes
    wire = WIRE

    captured_at: datetime | None = None

    def recognises(self, sample: Sample) -> bool:
        """By the line above the header."""
        return tuple(name.upper() for name in sample.columns if name) == _PREAMBLE

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chain of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, self._chains(path, reference))

    def _chains(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate]:
        named = _NAME.fullmatch(path.name)
        with open_lines(path) as lines:
            table = CsvTable(lines, _NEEDED, preamble=_PREAMBLE, rename=_two_sides)
            if self.captured_at is None:
                raise NotARecordingError(
                    "no_event_time", "the file does not say when it was saved: load it with --captured-at"
                )
            yield from one_chain(
                lines,
                table,
                WIRE,
                path,
                reference,
                symbol=named["symbol"] if named else None,
                event_time=self.captured_at,
                expiry=named["expiry"] if named else None,
            )


def _two_sides(header: tuple[str, ...]) -> tuple[str, ...]:
    """Tell the columns of calls from those of puts, which have the same names."""
    strike = next((name for name in WIRE.strike_names if name in header), None)
    middle = header.index(strike) if strike is not None else len(header)
    sides = ((name, "CALLS" if place < middle else "PUTS") for place, name in enumerate(header))
    return tuple(name if name == strike else f"{side} {name}" for name, side in sides)
