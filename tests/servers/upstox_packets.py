"""Encodes messages as Upstox's feed v3 sends them, by the field numbers of its published .proto.

It knows no parser. Protobuf's wire format (https://protobuf.dev/programming-guides/encoding/): a field is its
number and wire type as a varint, then a varint (0), eight bytes (1), or a length and so many bytes (2); zero
is not sent. What this makes, Upstox's own SDK (2.30.0) reads, and writes again byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

INITIAL, LIVE, INFO = 0, 1, 2


def response(kind: int, feeds: Mapping[str, bytes], at_ms: int) -> bytes:
    """FeedResponse: type 1, feeds 2 (a map: entries of key 1 and value 2), currentTs 3."""
    entries = b"".join(part(2, text(1, key) + part(2, feed)) for key, feed in feeds.items())
    return whole(1, kind) + entries + whole(3, at_ms)


def market_info(at_ms: int) -> bytes:
    """FeedResponse with marketInfo 4: segmentStatus 1, a map of a segment to NORMAL_OPEN (2)."""
    status = part(1, text(1, "NSE_FO") + whole(2, 2))
    return whole(1, INFO) + whole(3, at_ms) + part(4, status)


def option(quote: Mapping[str, float]) -> bytes:
    """Feed in the mode option_greeks: firstLevelWithGreeks 3, requestMode 4."""
    first = (
        part(1, ltpc(quote["ltp"]))
        + part(2, depth(quote))
        + part(3, greeks())
        + whole(4, int(quote["volume"]))
        + real(5, quote["oi"])
        + real(6, quote["iv"])
    )
    return part(3, first) + whole(4, 2)


def full_option(quote: Mapping[str, float]) -> bytes:
    """Feed in the mode full: fullFeed 2 of marketFF 1, with five levels of depth and candles beside them."""
    levels = part(1, depth(quote)) + b"".join(
        part(1, whole(1, 1) + real(2, 0.05) + whole(3, 1) + real(4, 9_999.0)) for _ in range(4)
    )
    candle = text(1, "1d") + real(2, 1.0) + real(3, 2.0) + real(4, 0.5) + real(5, 1.5) + whole(6, 9)
    market = (
        part(1, ltpc(quote["ltp"])) + part(2, levels) + part(3, greeks()) + part(4, part(1, candle))
        + real(5, 1.0) + whole(6, int(quote["volume"])) + real(7, quote["oi"]) + real(8, quote["iv"])
        + real(9, 5.0) + real(10, 6.0)
    )  # fmt: skip
    return part(2, part(1, market)) + whole(4, 1)


def index(value: float) -> bytes:
    """Feed in the mode ltpc: ltpc 1."""
    return part(1, ltpc(value))


def full_index(value: float) -> bytes:
    """Feed in the mode full: fullFeed 2 of indexFF 2."""
    return part(2, part(2, part(1, ltpc(value))))


def ltpc(value: float) -> bytes:
    """LTPC: last price 1, its time 2, its quantity 3, the close before 4."""
    return real(1, value) + whole(2, 1_737_619_200_000) + whole(3, 75) + real(4, 100.5)


def depth(quote: Mapping[str, float]) -> bytes:
    """Quote: bid quantity 1 and price 2, ask quantity 3 and price 4."""
    return (
        whole(1, int(quote["bid_qty"])) + real(2, quote["bid"])
        + whole(3, int(quote["ask_qty"])) + real(4, quote["ask"])
    )  # fmt: skip


def greeks() -> bytes:
    """OptionGreeks: delta 1, theta 2, gamma 3, vega 4, rho 5."""
    return b"".join(real(number, value) for number, value in enumerate((0.5, -9.0, 0.001, 12.0, 3.0), 1))


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number has ten."""
    number &= 2**64 - 1
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value) if value else b""


def real(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


def part(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def text(number: int, value: str) -> bytes:
    return part(number, value.encode())
