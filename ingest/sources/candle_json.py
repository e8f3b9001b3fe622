"""Adapter `candle-json`: candles of one index or contract as brokers' history services answer, in JSON.

Kite and Upstox both answer `{"status": ..., "data": {"candles": [[time, open, high, low, close, volume, open
interest], ...]}}`, Kite oldest first, Upstox newest first. What the candles are of stands in the name of the
file or of its folder, see `candle_names`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.sources.base import FileReject
from ingest.sources.candle_format import CandleFormat, rejecting_candles
from ingest.sources.candle_intervals import interval_of
from ingest.sources.candle_names import instrument_of, name_of
from ingest.sources.candle_series import CandleSeries
from ingest.sources.json_document import Document
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.values import INDIA, Unit, iso_time, shown
from ingest.sources.wire_format import Field

_LABEL: Final = "time"
_NAMES: Final = (_LABEL, "open", "high", "low", "close", "volume", "oi")
_LIST: Final = "candles"

# Both count in units of the underlying. The offset of a time has a colon (Upstox) or none (Kite). Fields have
# a place instead of a name; open interest is missing where it was not asked for.
WIRE: Final = CandleFormat(
    source="candle-json",
    exchange=None,
    suffixes=(".json",),
    nulls=frozenset({"", "-"}),
    timezone=INDIA,
    event_time=iso_time,
    time_names=(_LABEL,),
    fields=(
        Field("open", Unit.RUPEES, ("open",)),
        Field("high", Unit.RUPEES, ("high",)),
        Field("low", Unit.RUPEES, ("low",)),
        Field("close", Unit.RUPEES, ("close",)),
        Field("volume", Unit.UNITS, ("volume",)),
        Field("oi", Unit.UNITS, ("oi",)),
    ),
    needed=tuple((name,) for name in _NAMES[:-1]),
    places=_NAMES,
)


class CandleJson:
    """Reads one `CandleUpdate` per candle: of a file that grew, only the new ones are taken in."""

    name = WIRE.source
    about = "JSON, candles of the index or contract it is named after"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the name of the list."""
        return _LIST in sample.json_names

    def read(self, path: Path, reference: ReferenceData) -> Iterator[CandleUpdate | FileReject]:
        """Yield the candles of one file; see `SourceAdapter.read`."""
        return rejecting_candles(WIRE, path, _candles(path, reference))


def _candles(path: Path, reference: ReferenceData) -> Iterator[CandleUpdate]:
    document = Document(path)
    found = _list(document.root)
    starts = (WIRE.moment(each[0]) for each in found if isinstance(each, list) and each)
    interval_s = interval_of(name_of(path), (start for start in starts if start is not None))
    instrument = instrument_of(path, reference)
    series = CandleSeries(WIRE, instrument, reference, interval_s=interval_s, names=_NAMES)
    for each in found:
        yield series.entry(each)
    document.check()


def _list(root: Any) -> list[Any]:
    data = root.get("data", root) if isinstance(root, dict) else None
    found = data.get(_LIST) if isinstance(data, dict) else None
    if not isinstance(found, list):
        raise NotARecordingError("unknown_shape", f"no list {_LIST!r}, begins with {shown(root)}")
    if not found:
        raise NotARecordingError("no_candles", f"the list {_LIST!r} is empty")
    return found
