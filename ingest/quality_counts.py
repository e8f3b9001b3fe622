"""Rows of `feed_quality`: what was seen and flagged, by minute, symbol, source and detector."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.contracts import FEED_QUALITY
from catalog.dq_flags import DqFlag
from ingest.quality_columns import Chain
from lake.spool import Entry

SEEN = "seen"
"""Detector that stands for all rows and chains of a minute, flagged or not."""

SILENT = "silent"
DISCONNECTED = "disconnected"

MINUTE_US = 60_000_000

_SCHEMA = pa.schema([f for f in FEED_QUALITY.schema if f.name != "batch_id"])
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FLAGS = tuple((flag, int(flag), str(flag.name).lower()) for flag in DqFlag)
_Key = tuple[date, int, str, str, str]


@dataclass(slots=True)
class _Count:
    rows_seen: int = 0
    rows_flagged: int = 0
    chains: int = 0
    value: float | None = None
    expiries: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Counts:
    """Counts of one exchange and conversion, to be spooled with the rows that they tell of."""

    exchange: str
    _counts: dict[_Key, _Count] = field(default_factory=dict)
    _details: dict[_Key, str] = field(default_factory=dict)

    def add(self, chain: Chain, day: date, figures: dict[DqFlag, float]) -> None:
        """Count a chain whose flags are set.

        Args:
            chain: The chain.
            day: Its session date.
            figures: How much, for the flags that have a measure.
        """
        minute = chain.event_us // MINUTE_US * MINUTE_US
        seen = self._at(day, minute, chain, SEEN)
        seen.rows_seen += chain.legs
        seen.chains += 1
        bits = int(np.bitwise_or.reduce(chain.flags))
        if not bits:
            return
        seen.rows_flagged += int(np.count_nonzero(chain.flags))
        for flag, bit, name in _FLAGS:
            if not bits & bit:
                continue
            count = self._at(day, minute, chain, name)
            count.rows_seen += chain.legs
            count.rows_flagged += int(np.count_nonzero(chain.flags & bit))
            count.chains += 1
            count.expiries.add(chain.expiry)
            figure = figures.get(flag)
            if figure is not None:
                count.value = figure if count.value is None else max(count.value, figure)

    def note(
        self, day: date, minute_us: int, symbol: str, source: str, detector: str, value: float, detail: str
    ) -> None:
        """Note a minute in which something did not come."""
        self._counts[day, minute_us, symbol, source, detector] = _Count(value=value)
        self._details[day, minute_us, symbol, source, detector] = detail

    def entry(self, received_us: int) -> Entry | None:
        """The rows, None if there are none.

        Args:
            received_us: When this was judged, epoch microseconds.
        """
        if not self._counts:
            return None
        keys, counts = list(self._counts), list(self._counts.values())
        n = len(keys)
        values: dict[str, Any] = {
            "date": [key[0] for key in keys],
            "exchange": [self.exchange] * n,
            "event_time": [key[1] for key in keys],
            "received_time": [received_us] * n,
            "symbol": [key[2] for key in keys],
            "source": [key[3] for key in keys],
            "detector": [key[4] for key in keys],
            "rows_seen": [c.rows_seen for c in counts],
            "rows_flagged": [c.rows_flagged for c in counts],
            "chains": [c.chains for c in counts],
            "value": [c.value for c in counts],
            "detail": [self._details.get(key) or _expiries(c) for key, c in zip(keys, counts, strict=True)],
        }
        table = pa.Table.from_arrays([pa.array(values[f.name], f.type) for f in _SCHEMA], schema=_SCHEMA)
        return Entry(FEED_QUALITY.table, self.exchange, FEED_QUALITY.table, table)

    def _at(self, day: date, minute_us: int, chain: Chain, detector: str) -> _Count:
        key = (day, minute_us, chain.symbol, chain.source, detector)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = _Count()
        return found


def _expiries(count: _Count) -> str | None:
    days = [date.fromordinal(_EPOCH_DAY + day).isoformat() for day in sorted(count.expiries)]
    return "expiry " + ", ".join(days) if days else None
