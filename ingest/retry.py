"""Try rows of quarantine again, once what kept them out was fixed: each comes in exactly once.

A row that comes in, the note of it in `quarantine_retries` and the identity that keeps it from coming in
again move into the spool in one transaction; from there they go the way of every row. A retry is an offer
of its own, so in the ledger a row that came in by it was offered twice: quarantined, then committed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from catalog.contracts import FEED_QUALITY
from catalog.dq_flags import DqFlag
from catalog.quarantine_store import QuarantineStore
from catalog.reference import ReferenceData
from ingest import origins
from ingest.backfill_stream import BackfillStream
from ingest.candle_parts import without_known
from ingest.convert import Converted, convert
from ingest.convert_candles import convert_candles
from ingest.events import CHAIN_TABLE, CandleUpdate, ChainUpdate
from ingest.feed_quality import FeedQuality
from ingest.rejects import Kept, Rejects, Selection
from ingest.retry_batch import ACCEPTED, FAILED, LOADED, Batch, DryStream, Note, Stream
from ingest.retry_candles import candle_again
from ingest.retry_files import file_again, row_again
from ingest.retry_legs import Attempt, Opened, legs_again, merged, update_again
from ingest.retry_lines import NOT_AT_HAND, LinesAgain
from ingest.retry_messages import message_again, ticks_again
from ingest.sources import ADAPTERS, ANY_FORMAT, CANDLE_FORMATS, WIRES, AnyFormat
from ingest.sources.base import FileReject, SourceAdapter, identity_of
from ingest.sources.candle_format import CandleFormat
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.wire_format import WireFormat
from lake.errors import MalformedInputError
from lake.settings import Settings
from lake.spool import Entry

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RetrySummary:
    """What a retry did, or would do.

    Attributes:
        tried: Rows of quarantine that were tried again.
        accepted: Those that came in.
        rows: Rows that came in by them, by table; a file brings many.
        loaded: Those that were in already, by a load of the same file.
        failed: Those that still fail, by reason.
        examples: Id and detail of one of them, by reason.
        quarantined: New rows of quarantine, of files that can be read now, by reason.
        not_retriable: Rows kept without what it takes to try them again, see `ingest.rejects.Selected`.
        mirrored: False if the catalog could not be reached.
    """

    tried: int = 0
    accepted: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    loaded: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    not_retriable: int = 0
    mirrored: bool = True


def retry(
    settings: Settings,
    selection: Selection | None = None,
    *,
    wires: Mapping[str, WireFormat] = WIRES,
    candle_formats: Mapping[str, CandleFormat] = CANDLE_FORMATS,
    adapters: Mapping[str, SourceAdapter] = ADAPTERS,
    dry_run: bool = False,
    started: Callable[[int], Callable[[int], None]] | None = None,
) -> RetrySummary:
    """Try rows of quarantine again.

    Interrupting it loses and doubles nothing; what is spooled by then is committed by the next retry or
    load at the latest.

    Args:
        settings: Root of the lake.
        selection: Which rows; by default all that have not come in yet.
        wires: Wire formats of legs, by name.
        candle_formats: Wire formats of candles, by name.
        adapters: Readers of files, by name.
        dry_run: Change nothing, and tell what would come in.
        started: Called with the number of rows to be tried; gives back what is called with those just tried.

    Raises:
        StreamInUseError: A load or another retry of this lake is running.
        TableNotFoundError: There is no lake.
        StrikelakeError: A commit failed; what was spooled is kept.
    """
    summary = RetrySummary()
    formats = (wires, candle_formats)
    reference = ReferenceData.load(settings.root)
    with DryStream(settings) if dry_run else BackfillStream(settings) as stream:
        if not dry_run:
            # What a retry before this one spooled and could not commit any more is in no table yet.
            summary.mirrored = stream.commit().mirrored
        try:
            with Rejects(settings.lake) as rejects:
                chosen = rejects.select(selection or Selection())
                summary.not_retriable = chosen.not_retriable
                advance = started(chosen.rows) if started else None
                with LinesAgain() as lines:
                    store = QuarantineStore(settings.lake)
                    again = _Retry(stream, reference, store, formats, adapters, summary, lines)
                    for piece in chosen.pieces:
                        groups = groupby(rejects.rows(piece), key=lambda kept: kept.input)
                        # By where they stand: ids have no order, and lines are found by passing over a file.
                        for given in sorted((list(group) for _, group in groups), key=_place):
                            again.take(given)
                            if advance:
                                advance(len(given))
                    again.finish()
        except KeyboardInterrupt:
            stream.commit()
            raise
        summary.mirrored = stream.commit().mirrored and summary.mirrored
    logger.info(
        "quarantine tried again",
        extra={"action": "retry", "tried": summary.tried, "accepted": summary.accepted,
               "failed": sum(summary.failed.values()), "dry_run": dry_run},
    )  # fmt: skip
    return summary


class _Retry:
    """One run: takes the rows of one input after the other."""

    def __init__(
        self,
        stream: Stream,
        reference: ReferenceData,
        store: QuarantineStore,
        formats: tuple[Mapping[str, WireFormat], Mapping[str, CandleFormat]],
        adapters: Mapping[str, SourceAdapter],
        summary: RetrySummary,
        lines: LinesAgain,
    ) -> None:
        self._batch = Batch(stream)
        self._reference, self._store = reference, store
        self._wires, self._candle_formats = formats
        self._adapters = adapters
        self._summary = summary
        self._lines = lines
        self._quality = FeedQuality(reference.calendar, live=False)

    def take(self, rows: list[Kept]) -> None:
        """Try the rows of one input again."""
        opened: dict[str, list[Opened]] = {}
        for kept in rows:
            self._summary.tried += 1
            if self._batch.is_known(_identity(kept)):
                # It came in, and the note of that is lost: the table of notes was dropped.
                self._note(kept, LOADED)
                continue
            try:
                each = _opened(kept, self._store)
            except MalformedInputError as error:
                self._note(kept, FAILED, ("unreadable_quarantine", str(error)))
                continue
            opened.setdefault(each.origin["kind"], []).append(each)
        attempts = [update_again(each) for each in opened.get(origins.UPDATE, ())]
        if attempts:
            self._settle(attempts)
        if legs := opened.get(origins.LEG, []):
            self._take_legs(legs)
        if candles := opened.get(origins.CANDLE, []):
            self._take_candles(candles)
        for each in opened.get(origins.MESSAGE, ()):
            self._take_message(each)
        for each in opened.get(origins.TICKS, ()):
            self._take_ticks(each)
        for each in opened.get(origins.ROW, ()):
            self._take_row(each)
        for each in opened.get(origins.FILE, ()):
            self._take_file(each)
        self._batch.spool_if_full()

    def finish(self) -> None:
        """Spool what is left."""
        self._batch.spool()

    def _take_legs(self, legs: list[Opened]) -> None:
        if not self._was_loaded(legs):
            accepted = self._settle(legs_again(legs, self._wires, self._reference, self._lines))
            self._keep_from_load(legs, accepted)

    def _take_candles(self, candles: list[Opened]) -> None:
        for each in candles:
            if self._was_loaded([each]):
                continue
            made = candle_again(each, self._candle_formats, self._reference, self._lines)
            if isinstance(made, tuple):
                self._note(each.kept, FAILED, made)
                continue
            self._keep_from_load([each], self._take_rows(each.kept, [made]))

    def _take_row(self, each: Opened) -> None:
        """Read a row of a file again; it comes in, or it stays what it was."""
        if self._was_loaded([each]):
            return
        failure: tuple[str, str] | None = None
        made: list[CandleUpdate] = []
        try:
            with row_again(each.origin, self._lines) as path:
                for item in self._reader(each.kept.source).read(path, self._reference):
                    if isinstance(item, FileReject):
                        failure = failure or (item.reject.reason, item.reject.detail)
                    elif not isinstance(item, CandleUpdate):
                        failure = failure or ("unknown_shape", "it is a chain and no candle")
                    elif item.rejects:
                        failure = failure or (item.rejects[0].reason, item.rejects[0].detail)
                    else:
                        made.append(replace(item, received_ns=each.kept.received_us * 1000))
        except NotARecordingError as error:
            failure = (error.reason, error.detail)
        except MalformedInputError as error:
            failure = ("unknown_source", str(error))
        except OSError as error:
            failure = (NOT_AT_HAND, f"it cannot be read: {error.strerror or error}")
        if failure is None and not made:
            failure = (each.kept.reason, "it holds no candle")
        if failure is not None:
            self._note(each.kept, FAILED, failure)
            return
        self._keep_from_load([each], self._take_rows(each.kept, made))

    def _take_rows(self, kept: Kept, made: list[CandleUpdate]) -> int:
        """Take in the candles of one row of quarantine, with the identities a load gives them; how many."""
        new = []
        for update in made:
            # Of a bhavcopy, a row alone is no run: its parts are what a load knows it by.
            names = update.parts or (() if update.identity is None else (update.identity,))
            if not names or self._batch.known_among(names) != set(names):
                new.append((update, names))
        if not new:
            self._note(kept, LOADED)
            return 0
        converted = convert_candles([update for update, _ in new], self._reference)
        if converted.rejects:
            self._note(kept, FAILED, _failure(converted))
            return 0
        rows = self._add(converted)
        self._note(kept, ACCEPTED, rows=rows)
        for _, names in new:
            self._batch.remember(*names)
        return rows

    def _was_loaded(self, rows: list[Opened]) -> bool:
        """Whether a load brought them in: without a lot size, an input has an identity of its own."""
        loads_as = bytes.fromhex(rows[0].origin["loads_as"] or "")
        if not loads_as or not self._batch.is_known(loads_as):
            return False
        if self._batch.is_known(identity_of("retried", loads_as)):
            return False
        for each in rows:
            self._note(each.kept, LOADED)
        return True

    def _keep_from_load(self, rows: list[Opened], accepted: int) -> None:
        """See that no load brings in what a retry did."""
        loads_as = bytes.fromhex(rows[0].origin["loads_as"] or "")
        if loads_as and accepted:
            self._batch.remember(loads_as, identity_of("retried", loads_as))

    def _settle(self, attempts: list[Attempt]) -> int:
        """Take in those of one input that are rows now, and note what became of each; how many came in."""
        for attempt in attempts:
            if attempt.failure is not None:
                self._note(attempt.kept, FAILED, attempt.failure)
        rest = [attempt for attempt in attempts if attempt.update is not None]
        if not rest:
            return 0
        together = convert(merged(rest), self._reference)
        if not together.rejects:
            self._accept(rest, together)
            return len(rest)
        accepted = 0
        for attempt in rest:
            alone = convert(merged([attempt]), self._reference)
            if alone.rejects:
                self._note(attempt.kept, FAILED, _failure(alone))
            else:
                self._accept([attempt], alone)
                accepted += 1
        return accepted

    def _accept(self, attempts: list[Attempt], converted: Converted) -> None:
        for attempt in attempts:
            self._note(attempt.kept, ACCEPTED, rows=1)
        converted.entries = [_unjudged(entry) for entry in converted.entries]
        self._add(converted)

    def _add(self, converted: Converted) -> int:
        """Take rows in; how many there are, counts of their quality left out."""
        self._batch.add(converted)
        added = 0
        for entry in converted.entries:
            if entry.table == entry.origin != FEED_QUALITY.table:
                self._summary.rows[entry.table] = self._summary.rows.get(entry.table, 0) + entry.rows
                added += entry.rows
        for reason, count in converted.rejects.items():
            self._summary.quarantined[reason] = self._summary.quarantined.get(reason, 0) + count
        return added

    def _take_message(self, each: Opened) -> None:
        """Read a message of a live source again; it and the note of it move in one piece."""
        kept = each.kept
        made = message_again(each, self._reference)
        if isinstance(made, tuple):
            self._note(kept, FAILED, made)
            return
        converted = convert(made, self._reference, quality=self._quality)
        self._note(kept, ACCEPTED, rows=self._add(converted))

    def _take_ticks(self, each: Opened) -> None:
        """Read a part of a ticker's message again; it and the note of it move in one piece."""
        made = ticks_again(each)
        if isinstance(made, tuple):
            self._note(each.kept, FAILED, made)
            return
        converted = convert(made, self._reference)
        converted.entries = [_unjudged(entry) for entry in converted.entries]
        self._note(each.kept, ACCEPTED, rows=self._add(converted))

    def _take_file(self, each: Opened) -> None:
        """Read a file again; chains that an earlier reading took in are left alone."""
        kept = each.kept
        failure: tuple[str, str] | None = None
        rows = 0
        is_new, is_known = False, False
        try:
            with file_again(kept, each.origin, self._store) as path:
                for item in self._reader(kept.source).read(path, self._reference):
                    if isinstance(item, FileReject):
                        failure = failure or (item.reject.reason, item.reject.detail)
                    elif (taken := self._take_update(item, kept)) is None:
                        is_known = True
                    else:
                        is_new, rows = True, rows + taken
        except NotARecordingError as error:
            failure = (error.reason, error.detail)
        except MalformedInputError as error:
            failure = (NOT_AT_HAND, str(error))
        except OSError as error:
            failure = (NOT_AT_HAND, f"it cannot be read: {error.strerror or error}")
        outcome = LOADED if is_known and not is_new else ACCEPTED
        self._note(kept, FAILED if failure else outcome, failure, rows=rows)

    def _take_update(self, update: ChainUpdate | CandleUpdate, kept: Kept) -> int | None:
        """Take in what is new of an update; how many rows, None if it came in before."""
        if update.identity is None or self._batch.is_known(update.identity):
            return None
        if isinstance(update, CandleUpdate):
            rest = without_known(update, self._batch.known_among)
            if rest is None:
                return None
            update = rest
            self._batch.remember(*rest.parts)
        update.received_ns = kept.received_us * 1000
        if update.identity is not None:
            self._batch.remember(update.identity)
        if isinstance(update, CandleUpdate):
            converted = convert_candles([update], self._reference)
        else:
            converted = convert([update], self._reference, quality=self._quality)
        added = self._add(converted)
        self._batch.spool_if_full()
        return added

    def _reader(self, source: str) -> SourceAdapter:
        if source == ANY_FORMAT:
            return AnyFormat(self._adapters.values())
        if source not in self._adapters:
            raise MalformedInputError(f"there is no source {source!r} any more")
        return self._adapters[source]

    def _note(
        self, kept: Kept, outcome: str, failure: tuple[str, str] | None = None, *, rows: int = 0
    ) -> None:
        reason, detail = failure or (None, None)
        summary = self._summary
        if reason is not None:
            summary.failed[reason] = summary.failed.get(reason, 0) + 1
            summary.examples.setdefault(reason, (kept.reject_id, detail or ""))
        elif outcome == LOADED:
            summary.loaded += 1
        else:
            summary.accepted += 1
        if outcome != FAILED:
            self._batch.remember(_identity(kept))
        self._batch.note(Note(kept, outcome, reason, detail, rows))


def _place(rows: list[Kept]) -> tuple[str, int]:
    """File and number of the first line that is to be read again; all others come before."""
    for kept in rows:
        if kept.origin is not None and '"place": {' in kept.origin:
            place = json.loads(kept.origin)["place"]
            return place["path"], place["line"]
    return "", 0


def _unjudged(entry: Entry) -> Entry:
    """Legs that come without their chain cannot be judged, and say so."""
    if entry.table != CHAIN_TABLE:
        return entry
    place = entry.batch.schema.get_field_index("dq_flags")
    flags = pa.repeat(pa.scalar(int(DqFlag.UNCHECKED), pa.int32()), entry.rows)
    return replace(entry, batch=entry.batch.set_column(place, entry.batch.schema.field(place), flags))


def _identity(kept: Kept) -> bytes:
    return identity_of("quarantine", kept.reject_id)


def _opened(kept: Kept, store: QuarantineStore) -> Opened:
    payload, origin = kept.whole(store)
    try:
        about: Any = json.loads(origin or "null")
        return Opened(kept, json.loads(payload), {"kind": about["kind"], **about})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedInputError(f"what quarantine keeps of it cannot be read: {error}") from error


def _failure(converted: Converted) -> tuple[str, str]:
    """Reason and detail of the one row that was rejected."""
    batch = next(entry.batch for entry in converted.entries if entry.table != entry.origin)
    return batch.column("reason")[0].as_py(), batch.column("detail")[0].as_py()
