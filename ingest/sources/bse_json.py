"""Adapter `bse-json`: answers of BSE's `DerivOptionChain_IV` API, saved as they came.

Every value is a text, an empty one is a null. A row of `Table` is one strike with both legs: fields of
the call have the prefix `C_`, those of the put have none. The misspellings are the exchange's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import json_document
from ingest.sources.base import FileReject, identity_of
from ingest.sources.chain import Chain
from ingest.sources.json_document import Document, RepeatedNames
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError, rejecting, report_unknown_names
from ingest.sources.values import INDIA, Unit, named_month_date, named_month_time, shown
from ingest.sources.wire_format import OPTION_TYPES, BoundField, Field, OptionType, WireFormat, bind

_UNDERLYING: Final = Field("underlying_price", Unit.RUPEES, ("UlaValue",))


def _fields(prefix: str) -> tuple[Field, ...]:
    # Open interest and volume are contracts: the column sums equal the `tot_` figures of the page, and
    # most of them are no multiple of the lot. Quantities of the book were empty in every recording
    # found, so their unit is not verified; they are read as units, as order books on Indian exchanges,
    # NSE's own API among them, count quantities in units of the underlying.
    return (
        Field("ltp", Unit.RUPEES, (f"{prefix}Last_Trd_Price",)),
        Field("bid", Unit.RUPEES, (f"{prefix}BidPrice",)),
        Field("ask", Unit.RUPEES, (f"{prefix}OfferPrice",)),
        Field("bid_qty", Unit.UNITS, (f"{prefix}BIdQty",)),
        Field("ask_qty", Unit.UNITS, (f"{prefix}OfferQty",)),
        Field("oi", Unit.CONTRACTS, (f"{prefix}Open_Interest",)),
        Field("oi_change", Unit.CONTRACTS, (f"{prefix}Absolute_Change_OI",)),
        Field("volume", Unit.CONTRACTS, (f"{prefix}Vol_Traded",)),
        Field("iv", Unit.PERCENT, (f"{prefix}IV",)),
        _UNDERLYING,
    )


WIRE: Final = WireFormat(
    source="bse-json",
    exchange="BSE",
    suffixes=(".json",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=named_month_time,
    expiry=named_month_date,
    symbol_names=("Ula_Code", "comapny_name", "C_comapny_name"),
    time_names=("DT_TM",),
    strike_names=("Strike_Price", "Strike_Price1"),
    expiry_names=("End_TimeStamp",),
    calls=_fields("C_"),
    puts=_fields(""),
    ignored=frozenset(
        {
            "C_NetChange",
            "C_SCRIP_ID",
            "C_Series_Code",
            "C_Series_Id",
            "NetChange",
            "Product_Type",
            "SCRIP_ID",
            "ScriP_cd",
            "Series_Id",
            "p_Series_Code",
        }
    ),
)


@dataclass(slots=True)
class _Group:
    """The rows of one underlying, and their raw form for the identity."""

    chain: Chain
    raw: list[Any] = field(default_factory=list)


class BseJson:
    """Reads one `ChainUpdate` a file, two legs a row."""

    name = WIRE.source
    about = "JSON of the BSE option-chain API"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the names of a call's fields, which no other API has."""
        return {"Table", "C_Open_Interest", "Strike_Price"} <= sample.json_names

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chain of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _chains(path, reference))


def _chains(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
    document = Document(path)
    names: set[str] = set()
    yield from chains_of(document.root, reference, names=names)
    report_unknown_names(WIRE, path, names)
    document.check()


def chains_of(
    payload: Any,
    reference: ReferenceData,
    *,
    names: set[str] | None = None,
) -> Iterator[ChainUpdate]:
    """Yield the chains of one answer, one an underlying.

    Args:
        payload: The answer, parsed by `json_document`.
        reference: Calendar and lot sizes.
        names: Takes the names of fields that were seen.

    Raises:
        NotARecordingError: `unknown_shape` or `no_legs`.
    """
    rows = _rows(payload)
    as_on = payload.get("ASON")
    event_time = as_on.get(WIRE.time_names[0]) if isinstance(as_on, dict) else None
    default_symbol = _first_symbol(rows)

    groups: dict[str, _Group] = {}
    layouts: dict[tuple[str, ...], list[tuple[OptionType, tuple[BoundField, ...]]]] = {}
    for row in rows:
        symbol = _text(row, WIRE.symbol_names[:1]) or default_symbol
        key = json_document.canonical(symbol)
        if key not in groups:
            groups[key] = _Group(Chain(WIRE, reference, symbol=symbol, event_time=event_time))
        group = groups[key]
        group.raw.append(row)
        if isinstance(row, dict) and not isinstance(row, RepeatedNames):
            layout = tuple(row)
            if layout not in layouts:
                layouts[layout] = [(each, bind(WIRE.fields(each), layout)) for each in OPTION_TYPES]
            strike, expiry = _text(row, WIRE.strike_names), _text(row, WIRE.expiry_names)
            for option_type, fields in layouts[layout]:
                group.chain.add(option_type, row, fields, strike=strike, expiry=expiry)
        elif isinstance(row, RepeatedNames):
            pairs = {"repeated_names": row.pairs}
            for option_type in OPTION_TYPES:
                group.chain.reject(option_type, "repeated_names", "a name occurs twice in the row", pairs)
        else:
            group.chain.reject(None, "bad_leg", f"{shown(row)} is no row of a chain", row)
    if names is not None:
        names.update(name for layout in layouts for name in layout)

    for key, group in groups.items():
        identity = identity_of(WIRE.source, key, json_document.canonical([event_time, group.raw]))
        yield group.chain.finish(identity)


def _rows(root: Any) -> list[Any]:
    rows = root.get("Table") if isinstance(root, dict) else None
    if not isinstance(rows, list):
        what = "an object" if isinstance(root, dict) else f"a {type(root).__name__}"
        raise NotARecordingError("unknown_shape", f"{what} without a list Table")
    if not rows:
        raise NotARecordingError("no_legs", "the chain has no rows")
    if not any(isinstance(row, dict) and not row.keys().isdisjoint(WIRE.strike_names) for row in rows):
        raise NotARecordingError("unknown_shape", f"no row has a {WIRE.strike_names[0]}")
    return rows


def _first_symbol(rows: list[Any]) -> object:
    """Return the underlying of the file: rows of contracts that never traded have no `Ula_Code`."""
    for name in WIRE.symbol_names:
        for row in rows:
            if (symbol := _text(row, (name,))) is not None:
                return symbol
    return None


def _text(row: Any, names: tuple[str, ...]) -> Any:
    """Return the first value that is there, a text without its padding; None if there is none."""
    for name in names:
        value = row.get(name) if isinstance(row, dict) else None
        value = value.strip() if isinstance(value, str) else value
        if value is not None and value != "":
            return value
    return None
