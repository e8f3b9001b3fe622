"""The table at the top of each adapter of candles, and candles in the making."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

from ingest.events import CANDLE_TABLE, CandleUpdate, Reject
from ingest.origins import CANDLE, Line, Origin
from ingest.sources.base import FileReject
from ingest.sources.recorded_file import NotARecordingError, unread_file_reject
from ingest.sources.values import BadValueError, shown
from ingest.sources.wire_format import UNKNOWN_SYMBOL, BoundField, Declaration, Field

DEFAULT_EXCHANGE: Final = "NSE"

ContractKind = Literal["future", "option"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleFormat(Declaration):
    """Declaration of one wire format of candles.

    Attributes:
        fields: The figures of a candle.
        needed: Names without which no candle can be read, each with its alternatives.
        expiry: Parses the text of an expiry, None if it is none; None where only a file's name says it.
        kinds: Words for kinds of contracts, of formats that have a column for it.
        places: Names for the fields of a candle that is a list, in order; the last one may be missing.
    """

    fields: tuple[Field, ...]
    needed: tuple[tuple[str, ...], ...]
    expiry: Callable[[object], date | None] | None = None
    kinds: Mapping[str, ContractKind] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[Field, ...]:
        """The figures of a candle."""
        return self.fields

    @property
    def key_names(self) -> tuple[tuple[str, ...], ...]:
        """The names of what is no figure, and those without which there is none."""
        return (*super(CandleFormat, self).key_names, *self.needed)


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a candle is of.

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Canonical index or underlying.
        kind: index, future or option.
        expiry: None for an index.
        strike: In rupees; None unless an option.
        option_type: CE or PE; None unless an option.
    """

    exchange: str
    symbol: str
    kind: Literal["index", "future", "option"]
    expiry: date | None = None
    strike: float | None = None
    option_type: str | None = None


def underlying(wire: CandleFormat, raw: str) -> str:
    """Return the canonical symbol in a name.

    Raises:
        BadValueError: `bad_symbol`.
    """
    symbol = wire.symbol(raw)
    if symbol is None:
        raise BadValueError("bad_symbol", f"{shown(raw)} is no name of an underlying")
    return symbol


def candle(
    wire: CandleFormat,
    raw: Mapping[str, Any],
    fields: Sequence[BoundField],
    instrument: Instrument,
    *,
    start: datetime,
    interval_s: int,
    lot_size: int | None = None,
) -> dict[str, Any]:
    """Return one candle as `CandleUpdate` holds it.

    Args:
        wire: Its format.
        raw: The candle as it came.
        fields: Where its figures stand in `raw`.
        instrument: What it is of.
        start: The time it is labelled with, aware.
        interval_s: Its length.
        lot_size: Units of the underlying a contract, where it is known.

    Raises:
        BadValueError: A figure is none.
    """
    made: dict[str, Any] = {
        "start_time": start, "interval_s": interval_s, "instrument": instrument.kind,
        "expiry": instrument.expiry, "strike": instrument.strike, "option_type": instrument.option_type,
        "lot_size": lot_size, "raw": raw,
        "origin": CandleOrigin(wire, instrument, start, interval_s, lot_size),
    }  # fmt: skip
    for column, name, convert in fields:
        try:
            made[column] = convert(raw[name], wire.nulls, lot_size)
        except BadValueError as error:
            raise BadValueError(error.reason, f"{name}: {error.detail}") from None
    return made


@dataclass(frozen=True, slots=True)
class CandleOrigin:
    """What else it takes to try a rejected candle again.

    Attributes:
        wire: Its format.
        instrument: What it is of.
        start: The time it is labelled with, aware.
        interval_s: Its length.
        lot_size: As the candle says, None where the table of lot sizes does.
        loads_as: Hex identity that a load gives the candle once it can be read; None if that is the one it
            has.
    """

    wire: CandleFormat
    instrument: Instrument
    start: datetime
    interval_s: int
    lot_size: int | None
    loads_as: str | None = None

    def described(self) -> dict[str, Any]:
        """See `ingest.origins.Origin`."""
        of = self.instrument
        return {
            "kind": CANDLE, "format": self.wire.source, "exchange": of.exchange, "symbol": of.symbol,
            "instrument": of.kind, "expiry": None if of.expiry is None else of.expiry.isoformat(),
            "strike": of.strike, "option_type": of.option_type, "start": self.start.isoformat(),
            "interval_s": self.interval_s, "lot_size": self.lot_size, "loads_as": self.loads_as,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a list of candles, as it came."""

    value: Any

    def described(self) -> dict[str, Any]:
        """As a part of an origin."""
        return {"entry": self.value}


@dataclass(frozen=True, slots=True)
class CandlePieceOrigin:
    """A piece of which it is not known which candle it is, in a file of candles of one instrument.

    Attributes:
        wire: The format.
        instrument: What the file is of.
        interval_s: Length of its candles, which one piece cannot tell.
        piece: The line, or the entry of a list.
    """

    wire: CandleFormat
    instrument: Instrument
    interval_s: int
    piece: Line | Entry

    def described(self) -> dict[str, Any]:
        """See `ingest.origins.Origin`."""
        of = self.instrument
        return {
            "kind": CANDLE, "format": self.wire.source, "exchange": of.exchange, "symbol": of.symbol,
            "instrument": of.kind, "expiry": None if of.expiry is None else of.expiry.isoformat(),
            "strike": of.strike, "option_type": of.option_type, "interval_s": self.interval_s,
            "loads_as": None, **self.piece.described(),
        }  # fmt: skip


def rejected(reason: str, detail: str, payload: object, origin: Origin | None = None) -> Reject:
    """Return the reject of a candle."""
    return Reject(reason, detail, payload, CANDLE_TABLE, origin)


def update(
    wire: CandleFormat,
    instrument: Instrument | None,
    *,
    day: date | None,
    candles: Sequence[Mapping[str, Any]],
    rejects: Sequence[Reject],
    identity: bytes,
    parts: Sequence[bytes] = (),
) -> CandleUpdate:
    """Return candles of one underlying, None where it is not known, with what could not be converted."""
    return CandleUpdate(
        exchange=instrument.exchange if instrument else wire.exchange or DEFAULT_EXCHANGE,
        symbol=instrument.symbol if instrument else UNKNOWN_SYMBOL,
        received_ns=time.time_ns(),
        candles=candles,
        day=day,
        source=wire.source,
        rejects=tuple(rejects),
        identity=identity,
        parts=tuple(parts),
    )


def rejecting_candles(
    wire: CandleFormat, path: Path, updates: Iterator[CandleUpdate | FileReject]
) -> Iterator[CandleUpdate | FileReject]:
    """Yield the updates and, where they end in a `NotARecordingError`, the reject of the file after them."""
    try:
        yield from updates
    except NotARecordingError as error:
        yield unread_file_reject(
            path, source=wire.source, reason=error.reason, detail=error.detail, table=CANDLE_TABLE
        )
