"""Backfill: recorded files through the same conversion, spool and commits as live data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from catalog.quarantine_store import Kept
from catalog.reference import ReferenceData
from ingest.backfill_stream import APP_ID, BackfillStream
from ingest.candle_parts import without_known
from ingest.convert import convert
from ingest.convert_candles import convert_candles
from ingest.events import (
    CANDLE_TABLE,
    CHAIN_TABLE,
    CandleUpdate,
    ChainUpdate,
    candles_offered,
    exchange_key,
    rows_offered,
)
from ingest.feed_quality import FeedQuality
from ingest.quarantine import quarantined
from ingest.sources.base import FileReject, SourceAdapter
from ingest.sources.growth import rest_of
from ingest.sources.recognise import AnyFormat
from lake.settings import Settings
from lake.spool import Entry, Key

logger = logging.getLogger(__name__)

__all__ = ["APP_ID", "LoadSummary", "load"]

_SPOOL_ROWS = 20_000
_COMMIT_ROWS = 400_000
# Of files kept whole.
_HELD_BYTES = 1 << 25


@dataclass(slots=True)
class LoadSummary:
    """What a load did.

    Attributes:
        sources: Files read in each format; `any` counts those of no known one.
        files: Files read.
        unreadable: Files that could not be opened, with the system's message.
        chains: Chain updates taken in.
        rows: Rows of chains and candles taken in and committed.
        candles: Those of candles among them.
        known: Chains, candles (of bhavcopies, runs of them) and rejects that an earlier load took in, left
            alone.
        quarantined: Rows in quarantine, by reason.
        mirrored: False if the catalog could not be reached.
    """

    sources: dict[str, int] = field(default_factory=dict)
    files: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    chains: int = 0
    rows: int = 0
    candles: int = 0
    known: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    mirrored: bool = True


class _Loader:
    """Collects what files bring, and moves it to the spool and the tables in bounded pieces."""

    def __init__(self, settings: Settings, summary: LoadSummary) -> None:
        self._summary = summary
        self._reference = ReferenceData.load(settings.root)
        self._quality = FeedQuality(self._reference.calendar, live=False)
        self._stream = BackfillStream(settings)
        self._chains: list[ChainUpdate] = []
        self._candles: list[CandleUpdate] = []
        self._entries: list[Entry] = []
        self._files: list[Kept] = []
        self._offered: dict[Key, int] = {}
        self._identities: dict[bytes, None] = {}
        self._rows = 0
        self._uncommitted = 0
        self._held_bytes = 0

    @property
    def reference(self) -> ReferenceData:
        return self._reference

    def take(self, item: ChainUpdate | CandleUpdate | FileReject) -> None:
        if item.identity is not None:
            if item.identity in self._identities or self._stream.known(item.identity):
                self._summary.known += 1
                return
            rest, further = self._rest(item)
            self._identities.update(dict.fromkeys((*further, item.identity)))
            if rest is None:
                self._summary.known += 1
                return
            item = rest
        if isinstance(item, FileReject):
            self._take_file_reject(item)
            return
        item.received_ns = time.time_ns()
        if isinstance(item, CandleUpdate):
            self._candles.append(item)
            self._rows += sum(candles_offered(item).values())
        else:
            self._chains.append(item)
            self._rows += sum(rows_offered(item).values())
            self._summary.chains += 1
        if self._rows >= _SPOOL_ROWS:
            self.spool()

    def _rest(
        self, item: ChainUpdate | CandleUpdate | FileReject
    ) -> tuple[ChainUpdate | CandleUpdate | FileReject | None, Iterable[bytes]]:
        """What of an update is new, None if nothing is, and what to remember of it beside its identity."""
        if isinstance(item, CandleUpdate):
            rest = without_known(item, self._known_among)
            return rest, () if rest is None else rest.parts
        return rest_of(item, self._known_among) if isinstance(item, ChainUpdate) else (item, ())

    def _known_among(self, identities: Sequence[bytes]) -> set[bytes]:
        return self._stream.known_among(identities) | self._identities.keys() & set(identities)

    def spool(self) -> None:
        converted = convert(self._chains, self._reference, quality=self._quality)
        converted.add(convert_candles(self._candles, self._reference))
        offered = dict(self._offered)
        for key, rows in converted.offered.items():
            offered[key] = offered.get(key, 0) + rows
        self._stream.put(
            [*converted.entries, *self._entries],
            offered=offered,
            identities=self._identities,
            files=[*converted.files, *self._files],
        )
        for reason, count in converted.rejects.items():
            self._count_rejects(reason, count)
        candles = sum(e.rows for e in converted.entries if e.table == CANDLE_TABLE)
        self._summary.candles += candles
        self._summary.rows += candles + sum(e.rows for e in converted.entries if e.table == CHAIN_TABLE)
        self._uncommitted += self._rows
        self._chains, self._candles, self._entries, self._files = [], [], [], []
        self._offered, self._identities, self._rows, self._held_bytes = {}, {}, 0, 0
        if self._uncommitted >= _COMMIT_ROWS:
            self.commit()

    def commit(self) -> None:
        result = self._stream.commit()
        self._summary.mirrored = self._summary.mirrored and result.mirrored
        self._uncommitted = 0

    def close(self) -> None:
        self._stream.close()

    def _take_file_reject(self, item: FileReject) -> None:
        now_ns = time.time_ns()
        exchange = exchange_key(item.exchange)
        day = self._reference.calendar.session_date(exchange, _utc(now_ns))
        filed = quarantined(
            [item.reject],
            exchange=exchange,
            day=day,
            received_ns=now_ns,
            source=item.source,
            identity=item.identity,
            content=item.content,
        )
        self._entries += filed.entries
        self._files += filed.files
        self._held_bytes += sum(len(file.data) for file in filed.files)
        key = (item.reject.table, exchange)
        self._offered[key] = self._offered.get(key, 0) + 1
        self._count_rejects(item.reject.reason, 1)
        self._rows += 1
        if self._held_bytes >= _HELD_BYTES:
            self.spool()

    def _count_rejects(self, reason: str, count: int) -> None:
        self._summary.quarantined[reason] = self._summary.quarantined.get(reason, 0) + count


def load(
    settings: Settings,
    adapter: SourceAdapter,
    files: Iterable[Path],
    *,
    progress: Callable[[Path], None] | None = None,
) -> LoadSummary:
    """Load recorded files; what an earlier load took in is recognised by content and left alone.

    Interrupting it loses and doubles nothing: every chain is taken in whole together with its identity,
    and what was spooled is committed by the next load at the latest.

    Args:
        settings: Root of the lake.
        adapter: How to read the files; an `AnyFormat` to find that out file by file.
        files: What to load, in this order.
        progress: Called after each file.

    Raises:
        StreamInUseError: Another load of this lake is running.
        SpoolUnavailableError: The spool cannot be written.
        StrikelakeError: A commit failed; what was spooled stays there, load again.
    """
    summary = LoadSummary()
    loader = _Loader(settings, summary)
    try:
        try:
            for file in files:
                for item in _read(adapter, file, loader.reference, summary):
                    loader.take(item)
                if progress:
                    progress(file)
        except KeyboardInterrupt:
            # What is not spooled yet is read again by the next load; it may be half collected.
            loader.commit()
            raise
        loader.spool()
        loader.commit()
    finally:
        loader.close()
        summary.sources = (
            dict(adapter.chosen) if isinstance(adapter, AnyFormat) else {adapter.name: summary.files}
        )
    logger.info("files loaded", extra={"action": "load", "sources": summary.sources, "files": summary.files,
                                       "chains": summary.chains, "candles": summary.candles,
                                       "rows": summary.rows})  # fmt: skip
    return summary


def _read(
    adapter: SourceAdapter, file: Path, reference: ReferenceData, summary: LoadSummary
) -> Iterator[ChainUpdate | CandleUpdate | FileReject]:
    """What one file brings; a file that cannot be read is noted (not so a failing spool or lake)."""
    if file.exists() and not file.is_file():
        # Opening a pipe or a device may wait for ever.
        summary.unreadable[str(file)] = "it is no regular file"
        return
    chains = adapter.read(file, reference)
    while True:
        try:
            item = next(chains, None)
        except OSError as error:
            summary.unreadable[str(file)] = error.strerror or str(error)
            return
        if item is None:
            summary.files += 1
            return
        yield item


def _utc(epoch_ns: int) -> datetime:
    return datetime.fromtimestamp(epoch_ns / 1e9, UTC)
