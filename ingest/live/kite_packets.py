"""Kite's binary ticks, by the layout in the documentation of Kite Connect 3 ("WebSocket streaming").

A binary message holds the number of its packets, then each packet with its length before it. All numbers
are big-endian; prices of equity derivatives are in paise. A message of one byte is a heartbeat.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ingest.live.tick_parts import TickerError

_INT16: Final = struct.Struct(">H")
_TOKEN: Final = struct.Struct(">I")
_MOST_PACKETS: Final = 65_535  # what a count of two bytes can announce
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


class PacketError(TickerError):
    """Bytes that are no packets of Kite.

    Attributes:
        rest: The first packet that is none, its length before it, and all that came after.
    """

    def __init__(self, reason: str, detail: str, rest: bytes) -> None:
        super().__init__(reason, detail)
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
        packet: The bytes it was read from, their length before them.
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
    packet: bytes = field(default=b"", repr=False)


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
        if len(message) - at < _INT16.size:
            raise PacketError("truncated_packet", f"packet {number} of {packets} is not there", message[at:])
        tick = _packet_at(message, at, number)
        yield tick
        at += len(tick.packet)
    if at != len(message):
        detail = f"{len(message) - at} bytes after the last of {packets} packets"
        raise PacketError("surplus_bytes", detail, message[at:])


def read_packets(rest: bytes) -> Iterator[Tick]:
    """Yield the ticks of packets without a count before them, as `PacketError.rest` has them.

    Raises:
        PacketError: As of `read_ticks`.
    """
    at = 0
    number = 0
    while at < len(rest):
        number += 1
        if len(rest) - at < _INT16.size:
            raise PacketError("truncated_packet", f"packet {number} is not there", rest[at:])
        tick = _packet_at(rest, at, number)
        yield tick
        at += len(tick.packet)


def tokens_in(rest: bytes) -> Iterator[int]:
    """What may be the tokens of packets, whether they can be read or not."""
    at = 0
    for _ in range(_MOST_PACKETS):
        if at + _INT16.size + _TOKEN.size > len(rest):
            return
        (length,) = _INT16.unpack_from(rest, at)
        yield _TOKEN.unpack_from(rest, at + _INT16.size)[0]
        at += _INT16.size + length


def _packet_at(message: bytes, at: int, number: int) -> Tick:
    (length,) = _INT16.unpack_from(message, at)
    end = at + _INT16.size + length
    if len(message) < end:
        detail = f"packet {number} has {len(message) - at - _INT16.size} of {length} bytes"
        raise PacketError("truncated_packet", detail, message[at:])
    try:
        return _tick(message[at:end], number)
    except _NoPacketError as error:
        raise PacketError("unknown_packet", str(error), message[at:]) from None


class _NoPacketError(Exception):
    """A packet that no mode has."""


def _tick(framed: bytes, number: int) -> Tick:
    packet = framed[_INT16.size :]
    size = len(packet)
    if size not in {_LTP.size, _INDEX.size, _INDEX_FULL.size, _QUOTE.size, FULL_BYTES}:
        raise _NoPacketError(f"packet {number} of {size} bytes is of no mode")
    token, last = _LTP.unpack_from(packet)
    segment = token & 0xFF
    if (size in {_INDEX.size, _INDEX_FULL.size}) != (segment == _INDEX_SEGMENT) and size != _LTP.size:
        raise _NoPacketError(f"packet {number} of {size} bytes for token {token}")
    divisor = _DIVISORS.get(segment, _PAISE)
    ltp = _price(last, divisor)
    if size == _INDEX_FULL.size:
        return Tick(token, ltp, exchange_time=_moment(_INDEX_FULL.unpack(packet)[7]), packet=framed)
    if size in {_LTP.size, _INDEX.size}:
        return Tick(token, ltp, packet=framed)
    volume = _QUOTE.unpack_from(packet)[4]
    if size == _QUOTE.size:
        return Tick(token, ltp, volume, packet=framed)
    _, oi, _, _, seconds = _FULL.unpack_from(packet, _QUOTE.size)
    bid_qty, bid, _ = _DEPTH_LEVEL.unpack_from(packet, _DEPTH_OFFSET)
    ask_qty, ask, _ = _DEPTH_LEVEL.unpack_from(packet, _DEPTH_OFFSET + _LEVELS * _DEPTH_LEVEL.size)
    return Tick(
        token, ltp, volume, oi, _price(bid, divisor), bid_qty, _price(ask, divisor), ask_qty,
        _moment(seconds), framed,
    )  # fmt: skip


def leg_values(tick: Tick) -> dict[str, Any]:
    """Columns of a leg, see `ingest.live.tick_chains.TickChains.take`."""
    return {
        "ltp": tick.ltp,
        "bid": tick.bid,
        "ask": tick.ask,
        "bid_qty": tick.bid_qty,
        "ask_qty": tick.ask_qty,
        "oi": tick.oi,
        "volume": tick.volume,
    }


def _price(raw: int, divisor: float) -> float | None:
    # Kite writes 0 where there is no price.
    return raw / divisor if raw else None


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
