"""Rejected candles, made again from what quarantine keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.retry_legs import Opened
from ingest.sources.candle_format import CandleFormat, Instrument, candle
from ingest.sources.values import BadValueError
from ingest.sources.wire_format import bind


def candle_again(
    each: Opened, formats: Mapping[str, CandleFormat], reference: ReferenceData
) -> CandleUpdate | tuple[str, str]:
    """A candle by what its format is now; or reason and detail of why it still is none.

    Args:
        each: A row whose origin is a candle.
        formats: Formats of candles by name.
        reference: Calendar and lot sizes as they are now.
    """
    origin, raw = each.origin, each.payload
    wire = formats.get(origin["format"])
    if wire is None:
        return "unknown_source", f"there is no wire format {origin['format']!r} any more"
    if not isinstance(raw, Mapping):
        return each.kept.reason, "it is no candle, whatever the format"
    start = datetime.fromisoformat(origin["start"])
    instrument = Instrument(
        origin["exchange"],
        origin["symbol"],
        origin["instrument"],
        None if origin["expiry"] is None else date.fromisoformat(origin["expiry"]),
        origin["strike"],
        origin["option_type"],
    )
    lot_size = origin["lot_size"]
    if lot_size is None and instrument.kind != "index":
        lot_size = reference.lots.lot_size(
            instrument.exchange, instrument.symbol, start.date(), instrument.expiry
        )
        if lot_size is None and each.kept.reason == "unknown_lot_size":
            return each.kept.reason, f"no lot size of {instrument.symbol} on {start:%Y-%m-%d}"
    try:
        made: dict[str, Any] = candle(
            wire, raw, bind(wire.fields, raw), instrument,
            start=start, interval_s=origin["interval_s"], lot_size=lot_size,
        )  # fmt: skip
    except BadValueError as error:
        return error.reason, error.detail
    if instrument.kind == "index" and not made.get("volume"):
        made["volume"] = None
    return CandleUpdate(
        exchange=instrument.exchange,
        symbol=instrument.symbol,
        received_ns=each.kept.received_us * 1000,
        candles=(made,),
        day=start.date(),
        source=each.kept.source,
    )
