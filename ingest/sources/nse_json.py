"""Adapter `nse-json`: answers of NSE's option-chain API, saved as they came.

Two shapes, told apart by content. v1 has `records` with the rows of all expiries, and `filtered`, which
repeats some of them. v3 has the rows, of one expiry, at the top, other names for bid and ask, and
dates as DD-MM-YYYY. A row is a strike of an expiry and has a leg `CE`, a leg `PE`, or both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject
from ingest.sources import json_document
from ingest.sources.base import FileReject, identity_of
from ingest.sources.chain import Chain
from ingest.sources.json_document import Document, RepeatedNames
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError, file_reject, rejecting, report_unknown_names
from ingest.sources.values import INDIA, BadValueError, Unit, named_month_time, nse_date, price, shown
from ingest.sources.wire_format import OPTION_TYPES, BoundField, Field, OptionType, WireFormat, bind

_UNDERLYING: Final = Field("underlying_price", Unit.RUPEES, ("underlyingValue",))
# Contracts may be fractions: NSE divides open interest by the lot of the day, also for contracts
# that were written when the lot was another. Quantities of the book are units (multiples of the lot).
_FIELDS: Final = (
    Field("ltp", Unit.RUPEES, ("lastPrice",)),
    Field("bid", Unit.RUPEES, ("bidprice", "buyPrice1")),
    Field("ask", Unit.RUPEES, ("askPrice", "sellPrice1")),
    Field("bid_qty", Unit.UNITS, ("bidQty", "buyQuantity1")),
    Field("ask_qty", Unit.UNITS, ("askQty", "sellQuantity1")),
    Field("oi", Unit.CONTRACTS, ("openInterest",)),
    Field("oi_change", Unit.CONTRACTS, ("changeinOpenInterest",)),
    Field("volume", Unit.CONTRACTS, ("totalTradedVolume",)),
    Field("iv", Unit.PERCENT, ("impliedVolatility",)),
    _UNDERLYING,
)

WIRE: Final = WireFormat(
    source="nse-json",
    exchange="NSE",
    suffixes=(".json",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=named_month_time,
    expiry=nse_date,
    symbol_names=("underlying",),
    time_names=("timestamp",),
    strike_names=("strikePrice",),
    expiry_names=("expiryDate", "expiryDates"),
    calls=_FIELDS,
    puts=_FIELDS,
    ignored=frozenset(
        {
            *OPTION_TYPES,
            "change",
            "identifier",
            "optionType",
            "pChange",
            "pchangeinOpenInterest",
            "totalBuyQuantity",
            "totalSellQuantity",
        }
    ),
)


@dataclass(slots=True)
class _Group:
    """The legs of one underlying, and their raw form for the identity."""

    chain: Chain
    raw: list[Any] = field(default_factory=list)


class NseJson:
    """Reads both shapes; one `ChainUpdate` a file, with the expiry in each leg."""

    name = WIRE.source
    about = "JSON of the NSE option-chain API, older and newer shape"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By a strike with a leg; the list of expiries and strikes has no leg."""
        names = sample.json_names
        return "strikePrice" in names and "openInterest" in names and not names.isdisjoint(OPTION_TYPES)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        """Yield the chain of one file; see `SourceAdapter.read`."""
        return rejecting(WIRE, path, _chains(path, reference))


def chains_of(
    payload: Any,
    reference: ReferenceData,
    *,
    names: set[str] | None = None,
) -> Iterator[ChainUpdate | Reject]:
    """Yield the chains of one answer, one an underlying, then what of it belongs to no chain.

    Args:
        payload: The answer, parsed by `json_document`.
        reference: Calendar and lot sizes.
        names: Takes the names of fields that were seen.

    Raises:
        NotARecordingError: `unknown_shape` or `no_legs`.
    """
    answer = _answer(payload)
    bad_underlying = None
    try:
        underlying_price = price(answer.get(_UNDERLYING.names[0]), WIRE.nulls)
    except BadValueError as error:
        underlying_price, bad_underlying = None, error

    legs = _Legs(reference, answer, underlying_price)
    for row in answer["data"]:
        legs.add_row(row)
    if names is not None:
        names.update(legs.names)
    yield from legs.chains()
    if bad_underlying is not None:
        detail = f"underlyingValue of the chain: {bad_underlying.detail}"
        yield Reject(bad_underlying.reason, detail, {_UNDERLYING.names[0]: answer[_UNDERLYING.names[0]]})


def _chains(path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
    document = Document(path)
    names: set[str] = set()
    for item in chains_of(document.root, reference, names=names):
        if isinstance(item, Reject):
            yield file_reject(WIRE, path, item.reason, item.detail, part="underlyingValue")
        else:
            yield item
    report_unknown_names(WIRE, path, names)
    document.check()


class _Legs:
    """The legs of one answer, by underlying.

    Attributes:
        names: Every name seen in rows and legs.
    """

    def __init__(
        self, reference: ReferenceData, answer: dict[str, Any], underlying_price: float | None
    ) -> None:
        self._reference = reference
        self._answer = answer
        self._underlying_price = underlying_price
        self._default_symbol = _first_symbol(answer["data"])
        self._groups: dict[str, _Group] = {}
        self._layouts: dict[tuple[str, ...], tuple[BoundField, ...]] = {}
        self.names: set[str] = set()

    def add_row(self, row: Any) -> None:
        """Add the legs of a row; a row that is no object counts as one bad leg."""
        if not isinstance(row, dict):
            group = self._group(self._default_symbol)
            group.raw.append(row)
            group.chain.reject(None, "bad_leg", f"{shown(row)} is no row of a chain", row)
            return
        self.names.update(row)
        for option_type, leg in _legs(row):
            self._add(option_type, leg, row)

    def _add(self, option_type: OptionType, leg: Any, row: dict[str, Any]) -> None:
        symbol = leg.get(WIRE.symbol_names[0]) if isinstance(leg, dict) else None
        group = self._group(self._default_symbol if _absent(symbol) else symbol)
        strike = _leg_or_row(leg, row, WIRE.strike_names)
        expiry = _leg_or_row(leg, row, WIRE.expiry_names)
        group.raw.append([option_type, strike, expiry, leg])
        if isinstance(leg, RepeatedNames):
            pairs = {"repeated_names": leg.pairs}
            group.chain.reject(option_type, "repeated_names", "a name occurs twice in the leg", pairs)
        elif isinstance(leg, dict):
            layout = tuple(leg)
            if layout not in self._layouts:
                self._layouts[layout] = bind(WIRE.fields(option_type), layout)
                self.names.update(layout)
            group.chain.add(option_type, leg, self._layouts[layout], strike=strike, expiry=expiry)
        else:
            group.chain.reject(option_type, "bad_leg", f"{shown(leg)} is no leg of a chain", leg)

    def _group(self, symbol: object) -> _Group:
        key = symbol if isinstance(symbol, str) else json_document.canonical(symbol)
        if key not in self._groups:
            chain = Chain(
                WIRE,
                self._reference,
                symbol=symbol,
                event_time=self._answer.get(WIRE.time_names[0]),
                underlying_price=self._underlying_price,
            )
            self._groups[key] = _Group(chain)
        return self._groups[key]

    def chains(self) -> Iterator[ChainUpdate]:
        """Yield one chain per underlying, in the order in which they first occur."""
        of_the_chain = [self._answer.get(WIRE.time_names[0]), self._answer.get(_UNDERLYING.names[0])]
        for key, group in self._groups.items():
            content = json_document.canonical([of_the_chain, group.raw])
            yield group.chain.finish(identity_of(WIRE.source, key, content))


def _answer(root: Any) -> dict[str, Any]:
    """Find the object that holds the rows, in either shape."""
    answer = root.get("records", root) if isinstance(root, dict) else None
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(rows, list):
        what = f"an object of {shown(sorted(root))}" if isinstance(root, dict) else f"a {type(root).__name__}"
        raise NotARecordingError("unknown_shape", f"{what}, not a chain with records.data or data")
    if not rows:
        raise NotARecordingError("no_legs", "the chain has no rows")
    if not any(isinstance(row, dict) and not row.keys().isdisjoint(OPTION_TYPES) for row in rows):
        raise NotARecordingError("unknown_shape", "no row has a CE or a PE")
    return answer


def _legs(row: dict[str, Any]) -> Iterator[tuple[OptionType, Any]]:
    """Yield the legs of a row, calls first; a null is no leg."""
    for option_type in OPTION_TYPES:
        if isinstance(row, RepeatedNames):
            for name, leg in row.pairs:
                if name == option_type and leg is not None:
                    yield option_type, leg
        elif (leg := row.get(option_type)) is not None:
            yield option_type, leg


def _absent(value: object) -> bool:
    return value is None or value == 0 or (isinstance(value, str) and value.strip() in WIRE.nulls)


def _leg_or_row(leg: Any, row: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the leg's own value, else the row's: legs that never traded can come without it."""
    found = None
    for holder in (leg, row):
        for name in names:
            value = holder.get(name) if isinstance(holder, dict) else None
            if not _absent(value):
                return value
            found = value if found is None else found
    return found


def _first_symbol(rows: list[Any]) -> object:
    """Return the first underlying that a leg names, for the legs that name none."""
    for row in rows:
        if isinstance(row, dict):
            for _, leg in _legs(row):
                symbol = leg.get(WIRE.symbol_names[0]) if isinstance(leg, dict) else None
                if not _absent(symbol):
                    return symbol
    return None
