"""Encodes ticks as Kite's ticker sends them, after the published layout; knows nothing of the parser.

Full mode, 184 bytes: 0 instrument token, 4 last price, 8 last quantity, 12 average price, 16 volume,
20 buy quantity, 24 sell quantity, 28 open, 32 high, 36 low, 40 close, 44 last trade time, 48 open interest,
52 its high, 56 its low, 60 exchange time, 64 ten levels of depth, five to buy and five to sell,
12 bytes each: quantity, price, orders (two bytes), two bytes of padding. Prices in paise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

HEARTBEAT = b"\x00"
_INDIA = ZoneInfo("Asia/Kolkata")


def full_packet(tick: Mapping[str, Any]) -> bytes:
    """One packet of a tick in the form of the library `kiteconnect`."""
    ohlc, depth = tick["ohlc"], tick["depth"]
    packet = b"".join(
        (
            _four(tick["instrument_token"]), _paise(tick["last_price"]), _four(tick["last_quantity"]),
            _paise(tick["average_price"]), _four(tick["volume"]), _four(tick["buy_quantity"]),
            _four(tick["sell_quantity"]), _paise(ohlc["open"]), _paise(ohlc["high"]), _paise(ohlc["low"]),
            _paise(ohlc["close"]), _seconds(tick["last_trade_time"]), _four(tick["oi"]),
            _four(tick["oi_day_high"]), _four(tick["oi_day_low"]), _seconds(tick["timestamp"]),
        )
    )  # fmt: skip
    for level in (*depth["buy"], *depth["sell"]):
        packet += (
            _four(level["quantity"]) + _paise(level["price"]) + level["orders"].to_bytes(2, "big") + b"\0\0"
        )
    assert len(packet) == 184
    return packet


def index_packet(token: int, value: float, moment: str) -> bytes:
    """An index in full mode, 32 bytes: token, last, high, low, open, close, change, exchange time."""
    return _four(token) + _paise(value) * 5 + _paise(0) + _seconds(moment)


def ltp_packet(token: int, value: float) -> bytes:
    """One packet of 8 bytes."""
    return _four(token) + _paise(value)


def message(packets: Sequence[bytes]) -> bytes:
    """A binary message: how many packets, then each with its length before it."""
    return len(packets).to_bytes(2, "big") + b"".join(
        len(packet).to_bytes(2, "big") + packet for packet in packets
    )


def _four(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _paise(rupees: float) -> bytes:
    return round(rupees * 100).to_bytes(4, "big", signed=True)


def _seconds(moment: str) -> bytes:
    """Recorded times are Indian without saying so."""
    return int(datetime.fromisoformat(moment).replace(tzinfo=_INDIA).timestamp()).to_bytes(4, "big")
