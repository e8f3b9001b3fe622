"""Where a reject comes from: what it takes, beside the payload, to try it again once something was fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from ingest.events import ChainUpdate

LEG: Final = "leg"
"""A leg in a wire format, with the values of its chain as they came."""

UPDATE: Final = "update"
"""A part of an update that an app offered in canonical form."""

FILE: Final = "file"
"""A whole file, or what of it belongs to no chain."""


CANDLE: Final = "candle"
"""A candle in a wire format."""

ROW: Final = "row"
"""A row of a file whose rows can be read one by one, under its header."""

MESSAGE: Final = "message"
"""A whole message of a live source."""

TICKS: Final = "ticks"
"""A part of a binary message of a ticker."""


class Origin(Protocol):
    """Tells where a reject comes from."""

    def described(self) -> dict[str, Any]:
        """As the column `origin` keeps it; the key `kind` says which of the kinds it is."""
        ...


@dataclass(slots=True)
class ChainOrigin:
    """What all legs of a chain share, as it came.

    Attributes:
        format: Name of the wire format.
        exchange: Where the chain comes from, if the format or the file said so.
        symbol: Underlying.
        event_time: Time of the chain.
        underlying_price: In rupees, known when the chain was finished.
        loads_as: Hex identity that a load gives the chain once its lot size is known; None if that is the one
            it has now, so that no load can bring it in a second time.
    """

    format: str
    exchange: str | None
    symbol: Any
    event_time: Any
    underlying_price: float | None = None
    loads_as: str | None = None


@dataclass(slots=True, frozen=True)
class Place:
    """Where a line stands that is too long to be kept, and what tells that it is still the same.

    Lines are told by number and not by byte: a packed file has no bytes to go to, and a file that has grown
    has the same lines as before.

    Attributes:
        path: The file.
        line: Number of the line, counted from 1.
        characters: Its length, without its end.
        sha256: Hex digest of its text as UTF-8, without its end.
    """

    path: Path
    line: int
    characters: int
    sha256: str

    def described(self) -> dict[str, Any]:
        """As a part of an origin."""
        return {
            "path": str(self.path.absolute()), "line": self.line, "characters": self.characters,
            "sha256": self.sha256,
        }  # fmt: skip


@dataclass(slots=True, frozen=True)
class Line:
    """A line that could not be split into fields, or whose text is damaged.

    Attributes:
        text: The line as it stands; of one that is too long, its beginning.
        header: Columns it stands under.
        option_type_name: Column that says call or put; None where a line has both.
        place: Where it stands, if it is too long to be kept.
    """

    text: str
    header: tuple[str, ...]
    option_type_name: str | None = None
    place: Place | None = None

    def described(self) -> dict[str, Any]:
        """As a part of an origin."""
        known: dict[str, Any] = {"line": self.text, "header": list(self.header)}
        if self.place is not None:
            known["place"] = self.place.described()
        return known


@dataclass(slots=True, frozen=True)
class LegOrigin:
    """A leg as it came.

    Attributes:
        chain: What it shares with the others.
        option_type: CE or PE, or what the source said instead; None if nothing.
        strike: As it came.
        expiry: As it came.
        raw: The leg in its wire format, where the payload is what became of it.
        line: Where the leg is a line that could not be read.
    """

    chain: ChainOrigin
    option_type: Any
    strike: Any = None
    expiry: Any = None
    raw: Any = None
    line: Line | None = None

    def described(self) -> dict[str, Any]:
        """See `Origin`."""
        chain = self.chain
        known: dict[str, Any] = {
            "kind": LEG, "format": chain.format, "exchange": chain.exchange, "loads_as": chain.loads_as,
            "symbol": chain.symbol, "event_time": chain.event_time,
            "underlying_price": chain.underlying_price, "option_type": self.option_type,
            "strike": self.strike, "expiry": self.expiry,
        }  # fmt: skip
        if isinstance(chain.event_time, datetime):
            # JSON has no moments and days: a text of one must not be taken for a text that came.
            known["event_moment"] = chain.event_time.isoformat()
        if isinstance(self.expiry, date):
            known["expiry_day"] = self.expiry.isoformat()
        if self.raw is not None:
            known["raw"] = self.raw
        if self.line is not None:
            known |= self.line.described()
            known["option_type_name"] = self.line.option_type_name
        return known


@dataclass(slots=True)
class RawLegs:
    """The legs of a chain as they came, beside what they were converted to."""

    chain: ChainOrigin
    _came: dict[int, tuple[str, Any, Any, Any]] = field(default_factory=dict)

    def keep(self, leg: object, option_type: str, raw: Any, strike: Any, expiry: Any) -> None:
        """Remember what a leg was made of, as long as the leg itself is kept."""
        self._came[id(leg)] = (option_type, raw, strike, expiry)

    def origin(self, leg: object) -> LegOrigin | None:
        """Where a leg comes from, None if it is not one of this chain."""
        if (came := self._came.get(id(leg))) is None:
            return None
        option_type, raw, strike, expiry = came
        return LegOrigin(self.chain, option_type, strike, expiry, raw)


@dataclass(slots=True, frozen=True)
class UpdateOrigin:
    """What an app said of an update.

    Attributes:
        exchange: As it came.
        symbol: As it came.
        event_time: The moment of the event, or what was given for it if that is none.
        expiry: For legs without one of their own.
        context: Values for every leg.
        option_type: CE for one of its calls, PE for one of its puts, None for anything else.
    """

    exchange: Any
    symbol: Any
    event_time: Any
    expiry: Any
    context: Any
    option_type: str | None

    def described(self) -> dict[str, Any]:
        """See `Origin`."""
        return {
            "kind": UPDATE, "exchange": self.exchange, "symbol": self.symbol, "event_time": self.event_time,
            "expiry": self.expiry, "context": self.context, "option_type": self.option_type,
        }  # fmt: skip


@dataclass(slots=True, frozen=True)
class FileOrigin:
    """A file as it was found.

    Attributes:
        path: Where it was.
        size_bytes: Its size.
        sha256: Hex digest of its bytes.
        identity: Hex identity of the reject.
        line: Number of the one line of it that was rejected, counted from 1; None for the whole file.
        text: That line, None if it is too long to be kept.
        line_sha256: Hex digest of the bytes of a line that is too long, without its end.
    """

    path: Path
    size_bytes: int
    sha256: str | None
    identity: str
    line: int | None = None
    text: str | None = None
    line_sha256: str | None = None

    def described(self) -> dict[str, Any]:
        """See `Origin`."""
        known = {
            "kind": FILE, "path": str(self.path.absolute()), "bytes": self.size_bytes, "sha256": self.sha256,
            "identity": self.identity, "line": self.line, "text": self.text,
        }  # fmt: skip
        return known if self.line_sha256 is None else {**known, "line_sha256": self.line_sha256}


@dataclass(slots=True, frozen=True)
class RowOrigin:
    """A row of a file whose rows can be read one by one.

    Attributes:
        path: The file.
        header_text: The header as it stands.
        text: The row as it stands; of one that is too long, its beginning.
        loads_as: Hex identity that a load gives the row once it can be read; None if that is not known.
        place: Where it stands, if it is too long to be kept.
    """

    path: Path
    header_text: str
    text: str
    loads_as: str | None = None
    place: Place | None = None

    def described(self) -> dict[str, Any]:
        """See `Origin`."""
        return {
            "kind": ROW, "path": str(self.path.absolute()), "header": self.header_text, "line": self.text,
            "loads_as": self.loads_as, "place": None if self.place is None else self.place.described(),
        }  # fmt: skip


@dataclass(slots=True, frozen=True)
class MessageOrigin:
    """A message of a live source, of which nothing was taken.

    Attributes:
        format: Name of the format that it was read in.
    """

    format: str

    def described(self) -> dict[str, Any]:
        """See `Origin`."""
        return {"kind": MESSAGE, "format": self.format}


@dataclass(slots=True, frozen=True)
class TicksOrigin:
    """A part of a binary message of a ticker, of which nothing was taken.

    Attributes:
        format: Name of the ticker's format.
        contracts: Exchange, symbol, expiry, strike in rupees and option type by instrument, of those in it.
        indices: Symbol by instrument, of the underlyings in it.
        prices: What the underlyings of the contracts were at when it came, in rupees, by symbol.
    """

    format: str
    contracts: Mapping[str, tuple[str, str, str, float, str]]
    indices: Mapping[str, str]
    prices: Mapping[str, float]

    def described(self) -> dict[str, Any]:
        """See `Origin`."""
        return {
            "kind": TICKS, "format": self.format, "contracts": dict(self.contracts),
            "indices": dict(self.indices), "prices": dict(self.prices),
        }  # fmt: skip


def origin_of(
    update: ChainUpdate, moment: datetime | None, leg: object = None, option_type: str | None = None
) -> Origin:
    """Where a piece of an update comes from.

    Args:
        update: The update.
        moment: Its event time, None if it has none.
        leg: The very object among its legs, None for another piece.
        option_type: Among which legs it is.
    """
    if leg is not None and update.raw_legs is not None and (came := update.raw_legs.origin(leg)) is not None:
        return came
    return UpdateOrigin(
        update.exchange,
        update.symbol,
        update.event_time if moment is None else moment,
        update.expiry,
        _context(update.context),
        option_type,
    )


def _context(given: Any) -> Any:
    return dict(given) if isinstance(given, Mapping) else given


def first_present(fields: Mapping[str, Any], names: Sequence[str], default: Any = None) -> Any:
    """The first of these values that is there."""
    return next((fields[name] for name in names if name in fields), default)
