"""Rejected candles, made again from what quarantine keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.origins import Line
from ingest.retry_legs import Opened, line_again
from ingest.retry_lines import LinesAgain
from ingest.sources.candle_format import CandleFormat, Instrument, candle
from ingest.sources.candle_series import CandleSeries
from ingest.sources.csv_table import read_row
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.values import BadValueError
from ingest.sources.wire_format import bind


def candle_again(
    each: Opened, formats: Mapping[str, CandleFormat], reference: ReferenceData, lines: LinesAgain
) -> CandleUpdate | tuple[str, str]:
    """A candle by what its format is now; or reason and detail of why it still is none.

    Args:
        each: A row whose origin is a candle.
        formats: Formats of candles by name.
        reference: Calendar and lot sizes as they are now.
        lines: Reads lines that are too long to be kept.
    """
    origin, raw = each.origin, each.payload
    wire = formats.get(origin["format"])
    if wire is None:
        return "unknown_source", f"there is no wire format {origin['format']!r} any more"
    instrument = Instrument(
        origin["exchange"],
        origin["symbol"],
        origin["instrument"],
        None if origin["expiry"] is None else date.fromisoformat(origin["expiry"]),
        origin["strike"],
        origin["option_type"],
    )
    if origin.get("line") is not None:
        return _from_line(each, wire, instrument, reference, lines)
    if "entry" in origin:
        series = CandleSeries(wire, instrument, reference, interval_s=origin["interval_s"], names=wire.places)
        return _made(each, series.entry(origin["entry"]))
    if not isinstance(raw, Mapping):
        return each.kept.reason, "it is no candle, whatever the format"
    start = datetime.fromisoformat(origin["start"])
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


def _from_line(
    each: Opened, wire: CandleFormat, instrument: Instrument, reference: ReferenceData, lines: LinesAgain
) -> CandleUpdate | tuple[str, str]:
    """The candle of a line, with the identity that a load gives it; or reason and detail of why not."""
    header = each.origin["header"]
    time_name = next((name for name in wire.time_names if name in header), None)
    if time_name is None:
        return "missing_columns", f"no column {' or '.join(wire.time_names)}"
    try:
        row = read_row(line_again(each, lines), header)
    except NotARecordingError as error:
        return error.reason, error.detail
    if row.fault is not None:
        return row.fault
    interval_s = each.origin["interval_s"]
    series = CandleSeries(wire, instrument, reference, interval_s=interval_s, names=header)
    label = row.fields[time_name]
    line = Line(row.text, header, place=row.place)
    return _made(each, series.candle(wire.moment(label), row.fields, label, line))


def _made(each: Opened, made: CandleUpdate) -> CandleUpdate | tuple[str, str]:
    if made.rejects:
        return made.rejects[0].reason, made.rejects[0].detail
    return replace(made, received_ns=each.kept.received_us * 1000, source=each.kept.source)
