"""Kite's binary ticks, by the layout in the documentation of Kite Connect 3 ("WebSocket streaming").

A binary message holds the number of its packets, then each packet with its length before it. All numbers
are big-endian; prices of equity derivatives are in paise. A message of one byte is a heartbeat.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lake.errors import MalformedInputError

_INT16: Final = struct.Struct(">H")
_LTP: Final = struct.Struct(">Ii")
# token, last price, last quantity, average price, volume, buy and sell quantity, open, high, low, close
_QUOTE: Final = struct.Struct(">IiIiIIIiiii")
# last trade time, open interest, its high and low of the day, exchange time
_FULL: Final = struct.Struct(">iIIIi")
_DEPTH_LEVEL: Final = struct.Struct(">IiH2x")
# token, last price, high, low, open, close, change
_INDEX: Final = struct.Struct(">Iiiiiii")
_INDEX_FULL: Final = struct.Struct(">Iiiiiiii")

_DEPTH_OFFSET: Final = _QUOTE.size + _FULL.size
_LEVELS: Final = 5
FULL_BYTES: Final = _DEPTH_OFFSET + 2 * _LEVELS * _DEPTH_LEVEL.size

_INDEX_SEGMENT: Final = 9
_PAISE: Final = 100.0
# The low byte of a token is its segment; currencies have more decimals.
_DIVISORS: Final = {3: 10_000_000.0, 6: 10_000.0}


class PacketError(MalformedInputError):
    """Bytes that are no packets of Kite."""

    def __init__(self, reason: str, detail: str, rest: bytes) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.rest = rest


@dataclass(frozen=True, slots=True)
class Tick:
    """One packet; what its mode does not have is None.

    Attributes:
        token: Instrument.
        ltp: Last traded price in rupees, None for none; of an index its value.
        volume: Units traded since the open.
        oi: Open interest in units.
        bid: Best bid in rupees, None for none.
        bid_qty: Units wanted there.
        ask: Best ask in rupees, None for none.
        ask_qty: Units offered there.
        exchange_time: As the exchange's clock shows it, whole seconds.
    """

    token: int
    ltp: float | None
    volume: int | None = None
    oi: int | None = None
    bid: float | None = None
    bid_qty: int | None = None
    ask: float | None = None
    ask_qty: int | None = None
    exchange_time: datetime | None = None


def is_heartbeat(content: str | bytes) -> bool:
    """Whether a message only shows that the connection lives."""
    return isinstance(content, bytes) and len(content) < _INT16.size


def read_ticks(message: bytes) -> Iterator[Tick]:
    """Yield the ticks of a binary message, in its order.

    Raises:
        PacketError: `truncated_packet` where the bytes end too soon, `unknown_packet` for a length that no
            mode has, `surplus_bytes` for more bytes than were announced; the ticks before it are good.
    """
    if len(message) < _INT16.size:
        return
    (packets,) = _INT16.unpack_from(message)
    at = _INT16.size
    for number in range(1, packets + 1):
        rest = message[at:]
        if len(rest) < _INT16.size:
            raise PacketError("truncated_packet", f"packet {number} of {packets} is not there", rest)
        (length,) = _INT16.unpack_from(rest)
        packet = rest[_INT16.size : _INT16.size + length]
        if len(packet) < length:
            detail = f"packet {number} of {packets} has {len(packet)} of {length} bytes"
            raise PacketError("truncated_packet", detail, rest)
        yield _tick(packet, number, rest)
        at += _INT16.size + length
    if at != len(message):
        detail = f"{len(message) - at} bytes after the last of {packets} packets"
        raise PacketError("surplus_bytes", detail, message[at:])


def _tick(packet: bytes, number: int, rest: bytes) -> Tick:
    size = len(packet)
    if size not in {_LTP.size, _INDEX.size, _INDEX_FULL.size, _QUOTE.size, FULL_BYTES}:
        raise PacketError("unknown_packet", f"packet {number} of {size} bytes is of no mode", rest)
    token, last = _LTP.unpack_from(packet)
    segment = token & 0xFF
    if (size in {_INDEX.size, _INDEX_FULL.size}) != (segment == _INDEX_SEGMENT) and size != _LTP.size:
        raise PacketError("unknown_packet", f"packet {number} of {size} bytes for token {token}", rest)
    divisor = _DIVISORS.get(segment, _PAISE)
    ltp = _price(last, divisor)
    if size == _INDEX_FULL.size:
        return Tick(token, ltp, exchange_time=_moment(_INDEX_FULL.unpack(packet)[7]))
    if size in {_LTP.size, _INDEX.size}:
        return Tick(token, ltp)
    volume = _QUOTE.unpack_from(packet)[4]
    if size == _QUOTE.size:
        return Tick(token, ltp, volume)
    _, oi, _, _, seconds = _FULL.unpack_from(packet, _QUOTE.size)
    bid_qty, bid, _ = _DEPTH_LEVEL.unpack_from(packet, _DEPTH_OFFSET)
    ask_qty, ask, _ = _DEPTH_LEVEL.unpack_from(packet, _DEPTH_OFFSET + _LEVELS * _DEPTH_LEVEL.size)
    return Tick(
        token, ltp, volume, oi, _price(bid, divisor), bid_qty, _price(ask, divisor), ask_qty, _moment(seconds)
    )


def _price(raw: int, divisor: float) -> float | None:
    # Kite writes 0 where there is no price.
    return raw / divisor if raw else None


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
