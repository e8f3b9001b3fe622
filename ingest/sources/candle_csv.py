"""Adapter `candle-csv`: candles of one index or contract in a CSV file, as tools write them.

What the candles are of stands in the name of the file or of its folder, see `candle_names`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.origins import Line
from ingest.sources.base import FileReject
from ingest.sources.candle_format import CandleFormat, rejecting_candles
from ingest.sources.candle_intervals import interval_of
from ingest.sources.candle_names import instrument_of, name_of
from ingest.sources.candle_series import CandleSeries
from ingest.sources.csv_table import CsvTable
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError, open_lines, report_unknown_names
from ingest.sources.values import INDIA, Unit, iso_time
from ingest.sources.wire_format import Field

_TIME_NAMES: Final = ("timestamp", "datetime", "date")

# Kite counts in units of the underlying: every volume is a multiple of the lot. Times without an offset are
# Indian. An index has no volume, which is written as 0.
WIRE: Final = CandleFormat(
    source="candle-csv",
    exchange=None,
    suffixes=(".csv",),
    nulls=frozenset({"", "-", "NaN", "nan"}),
    timezone=INDIA,
    event_time=iso_time,
    time_names=_TIME_NAMES,
    fields=(
        Field("open", Unit.RUPEES, ("open",)),
        Field("high", Unit.RUPEES, ("high",)),
        Field("low", Unit.RUPEES, ("low",)),
        Field("close", Unit.RUPEES, ("close",)),
        Field("volume", Unit.UNITS, ("volume",)),
        Field("oi", Unit.UNITS, ("oi", "open_interest")),
    ),
    needed=(_TIME_NAMES, ("open",), ("high",), ("low",), ("close",), ("volume",)),
    ignored=frozenset({"ema10", "ema20"}),
)


class CandleCsv:
    """Reads one `CandleUpdate` per candle: of a file that grew, only the new ones are taken in."""

    name = WIRE.source
    about = "CSV, candles of the index or contract it is named after"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no candle can be read."""
        return sample.has_columns(WIRE.needed)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[CandleUpdate | FileReject]:
        """Yield the candles of one file; see `SourceAdapter.read`."""
        return rejecting_candles(WIRE, path, _candles(path, reference))


def _candles(path: Path, reference: ReferenceData) -> Iterator[CandleUpdate]:
    # Twice through the file, so that memory does not grow with it: the labels tell the interval.
    starts = _Starts(path)
    try:
        interval_s = interval_of(name_of(path), starts)
    except NotARecordingError as error:
        raise starts.fault or error from None
    with open_lines(path) as lines:
        table = CsvTable(lines, WIRE.needed)
        report_unknown_names(WIRE, path, table.header)
        instrument = instrument_of(path, reference)
        series = CandleSeries(WIRE, instrument, reference, interval_s=interval_s, names=table.header)
        time_name = _time_name(table)
        for row in table.rows():
            line = Line(row.text, table.header, place=row.place)
            if row.fault is not None:
                yield series.rejected(*row.fault, row.payload, row.text, piece=line)
            else:
                label = row.fields[time_name]
                yield series.candle(WIRE.moment(label), row.fields, label, line)
        lines.check()


class _Starts:
    """The labels of a file, as far as it can be read.

    Attributes:
        fault: What is wrong with the file; None if nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault: NotARecordingError | None = None

    def __iter__(self) -> Iterator[datetime]:
        try:
            with open_lines(self._path) as lines:
                table = CsvTable(lines, WIRE.needed)
                time_name = _time_name(table)
                for row in table.rows():
                    start = WIRE.moment(row.fields[time_name]) if row.fault is None else None
                    if start is not None:
                        yield start
                lines.check()
        except NotARecordingError as error:
            self.fault = error


def _time_name(table: CsvTable) -> Any:
    return next(name for name in WIRE.time_names if name in table.header)
