"""Rejected candles, made again from what quarantine keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.retry_legs import Opened
from ingest.sources import LINES_AGAIN
from ingest.sources.candle_format import CandleFormat, Instrument, candle
from ingest.sources.csv_table import LINE_TOO_LONG, read_row
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
    if origin.get("line") is not None:
        return _line_again(each, reference)
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


def _line_again(each: Opened, reference: ReferenceData) -> CandleUpdate | tuple[str, str]:
    """A line, split again under its header."""
    origin, kept = each.origin, each.kept
    if kept.reason == LINE_TOO_LONG:
        return LINE_TOO_LONG, "only its beginning is kept: the file has it"
    row = read_row(origin["line"], origin["header"])
    if row.fault is not None:
        return row.fault
    update = LINES_AGAIN[origin["format"]](row.fields, origin, reference)
    if update.rejects:
        return update.rejects[0].reason, update.rejects[0].detail
    return replace(update, received_ns=kept.received_us * 1000, source=kept.source)
