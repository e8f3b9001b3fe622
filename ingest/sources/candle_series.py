"""Candles of one instrument in the reading: each is an update of its own, with an identity of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.origins import Line
from ingest.sources.base import identity_of
from ingest.sources.candle_format import (
    CandleFormat,
    CandleOrigin,
    CandlePieceOrigin,
    Entry,
    Instrument,
    candle,
    rejected,
    update,
)
from ingest.sources.json_document import canonical
from ingest.sources.values import BadValueError, shown
from ingest.sources.wire_format import bind


class CandleSeries:
    """Turns candles of one instrument and interval into updates.

    A candle that stands there twice is one: its identity is made of what it says.
    """

    def __init__(
        self,
        wire: CandleFormat,
        instrument: Instrument,
        reference: ReferenceData,
        *,
        interval_s: int,
        names: Iterable[str],
    ) -> None:
        self._wire, self._instrument, self._interval_s = wire, instrument, interval_s
        self._fields = bind(wire.fields, names)
        self._lots = reference.lots
        self._lot_sizes: dict[date, int | None] = {}
        of = (instrument.exchange, instrument.symbol, instrument.kind, instrument.expiry, instrument.strike,
              instrument.option_type, interval_s)  # fmt: skip
        self._identity = identity_of(wire.source, *map(str, of))

    def entry(self, value: Any) -> CandleUpdate:
        """Return the candle that an entry of a list is, or its reject."""
        names = self._wire.places
        if isinstance(value, list) and len(value) in {len(names) - 1, len(names)}:
            raw = dict(zip(names, [*value, None], strict=False))
            return self.candle(self._wire.moment(value[0]), raw, value[0], Entry(value))
        detail = f"{shown(value)} is no list of {', '.join(names)}"
        return self.rejected("not_a_candle", detail, value, canonical(value), piece=Entry(value))

    def candle(
        self, start: datetime | None, raw: Mapping[str, Any], label: object, piece: Line | Entry
    ) -> CandleUpdate:
        """Return one candle, or its reject.

        Args:
            start: What its label says, None if that is no time.
            raw: The candle as it came, by the names of its fields.
            label: As it came.
            piece: The line or the entry of a list that it is.
        """
        text = [str(raw[name]) for _, name, _ in self._fields]
        if start is None:
            detail = f"{shown(label)} is no time of this format"
            return self.rejected("bad_event_time", detail, raw, str(label), *text, piece=piece)
        identity = identity_of(self._identity, start.astimezone(UTC).isoformat(), *text)
        day = start.date()
        try:
            made = candle(
                self._wire, raw, self._fields, self._instrument,
                start=start, interval_s=self._interval_s, lot_size=self._lot_size(day),
            )  # fmt: skip
        except BadValueError as error:
            origin = CandleOrigin(self._wire, self._instrument, start, self._interval_s, None)
            reject = rejected(error.reason, error.detail, raw, origin)
            return update(
                self._wire, self._instrument, day=day, candles=(), rejects=(reject,), identity=identity
            )
        if self._instrument.kind == "index" and not made.get("volume"):
            made["volume"] = None
        return update(self._wire, self._instrument, day=day, candles=(made,), rejects=(), identity=identity)

    def rejected(
        self, reason: str, detail: str, payload: object, *raw: str, piece: Line | Entry
    ) -> CandleUpdate:
        """Return the reject of what is no candle; `raw` is it as it came, for its identity."""
        origin = CandlePieceOrigin(self._wire, self._instrument, self._interval_s, piece)
        return update(
            self._wire,
            self._instrument,
            day=None,
            candles=(),
            rejects=(rejected(reason, detail, payload, origin),),
            identity=identity_of(self._identity, *raw),
        )

    def _lot_size(self, day: date) -> int | None:
        if self._instrument.kind == "index":
            return None
        if day not in self._lot_sizes:
            instrument = self._instrument
            self._lot_sizes[day] = self._lots.lot_size(
                instrument.exchange, instrument.symbol, day, instrument.expiry
            )
        return self._lot_sizes[day]
