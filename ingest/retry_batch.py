"""What a retry takes in, on its way to the spool in bounded pieces, each all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, Self

import pyarrow as pa

from catalog.contracts import QUARANTINE_RETRIES
from catalog.quarantine_store import Kept as StoredFile
from ingest.backfill_stream import APP_ID
from ingest.committer import FlushResult
from ingest.convert import Converted
from ingest.rejects import Kept
from lake.settings import Settings
from lake.spool import Entry, Key, Spool

ACCEPTED: Final = "accepted"
LOADED: Final = "loaded"
FAILED: Final = "failed"

_PIECE_ROWS: Final = 20_000
_COMMIT_ROWS: Final = 400_000
_DETAIL_CHARS: Final = 1_000
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)
_SCHEMA: Final = pa.schema([f for f in QUARANTINE_RETRIES.schema if f.name != "batch_id"])


class Stream(Protocol):
    """Where rows go: the backfill stream, or nowhere."""

    def known(self, identity: bytes) -> bool:
        """Whether this was taken in before."""
        ...

    def known_among(self, identities: Sequence[bytes]) -> set[bytes]:
        """Those that were taken in before."""
        ...

    def put(
        self,
        entries: list[Entry],
        *,
        offered: Mapping[Key, int],
        identities: Iterable[bytes],
        files: Iterable[StoredFile] = (),
    ) -> None:
        """Take rows in together with the identities of their input, all or nothing."""
        ...

    def commit(self) -> FlushResult:
        """Commit what is spooled."""
        ...


class DryStream:
    """Looks up what is known, and takes nothing in."""

    def __init__(self, settings: Settings) -> None:
        path = settings.lake.spools / f"{APP_ID}.db"
        self._spool = Spool(path, read_only=True) if path.exists() else None
        self._seen: set[bytes] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    def known(self, identity: bytes) -> bool:
        """Whether this was taken in before, or would have been by now."""
        return bool(self.known_among([identity]))

    def known_among(self, identities: Sequence[bytes]) -> set[bytes]:
        """Those that were taken in before, or would have been by now."""
        spooled = set() if self._spool is None else self._spool.known(identities)
        return spooled | self._seen.intersection(identities)

    def put(
        self,
        entries: list[Entry],
        *,
        offered: Mapping[Key, int],
        identities: Iterable[bytes],
        files: Iterable[StoredFile] = (),
    ) -> None:
        """Remember the identities, and nothing else."""
        del entries, offered, files
        self._seen.update(identities)

    def commit(self) -> FlushResult:
        """Nothing to commit."""
        return FlushResult()


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one row of quarantine.

    Attributes:
        kept: The row.
        outcome: `ACCEPTED`, `LOADED` or `FAILED`.
        reason: Why it failed.
        detail: For a person.
        rows: Rows that came in by it.
    """

    kept: Kept
    outcome: str
    reason: str | None
    detail: str | None
    rows: int


@dataclass(slots=True)
class Batch:
    """Rows, notes and identities that move together."""

    stream: Stream
    _entries: list[Entry] = field(default_factory=list)
    _files: list[StoredFile] = field(default_factory=list)
    _offered: dict[Key, int] = field(default_factory=dict)
    _identities: dict[bytes, None] = field(default_factory=dict)
    _notes: list[Note] = field(default_factory=list)
    _rows: int = 0
    _uncommitted: int = 0
    _last: datetime = _BEFORE_ALL

    def is_known(self, identity: bytes) -> bool:
        """Whether this was taken in before, or will be with this batch."""
        return identity in self._identities or self.stream.known(identity)

    def known_among(self, identities: Sequence[bytes]) -> set[bytes]:
        """Those that were taken in before, or will be with this batch."""
        return self.stream.known_among(identities) | self._identities.keys() & set(identities)

    def remember(self, *identities: bytes) -> None:
        """Take in these identities with what is in the batch."""
        for identity in identities:
            if not self.is_known(identity):
                self._identities[identity] = None

    def add(self, converted: Converted) -> None:
        """Take in rows."""
        self._entries += converted.entries
        self._files += converted.files
        for key, rows in converted.offered.items():
            self._offered[key] = self._offered.get(key, 0) + rows
            self._rows += rows

    def note(self, note: Note) -> None:
        """Take in what became of a row of quarantine."""
        self._notes.append(note)
        self._rows += 1

    def spool_if_full(self) -> None:
        """Move the batch to the spool if it is large: only where all of an input is in it."""
        if self._rows >= _PIECE_ROWS:
            self.spool()

    def spool(self) -> None:
        """Move the batch to the spool; commits, too, now and then."""
        if self._rows == 0:
            return
        notes = self._notes_as_entries()
        for entry in notes:
            key = (entry.table, entry.group)
            self._offered[key] = self._offered.get(key, 0) + entry.rows
        entries = [*_together(self._entries), *notes]
        self.stream.put(entries, offered=self._offered, identities=self._identities, files=self._files)
        self._uncommitted += self._rows
        self._entries, self._files, self._offered = [], [], {}
        self._identities, self._notes, self._rows = {}, [], 0
        if self._uncommitted >= _COMMIT_ROWS:
            self.stream.commit()
            self._uncommitted = 0

    def _notes_as_entries(self) -> list[Entry]:
        # Later than the batch before, whatever the clock does: an id and a moment are one attempt.
        self._last = moment = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        by_exchange: dict[str, list[Note]] = {}
        for note in self._notes:
            by_exchange.setdefault(note.kept.exchange, []).append(note)
        return [
            Entry(QUARANTINE_RETRIES.table, exchange, QUARANTINE_RETRIES.table, _table(notes, moment))
            for exchange, notes in by_exchange.items()
        ]


def _together(entries: list[Entry]) -> list[Entry]:
    """The same rows in one entry for each way they go: an input may bring a single row."""
    ways: dict[tuple[str, str, str], list[pa.Table]] = {}
    for entry in entries:
        ways.setdefault((entry.table, entry.group, entry.origin), []).append(entry.batch)
    return [Entry(*way, pa.concat_tables(rows, promote_options="default")) for way, rows in ways.items()]


def _table(notes: list[Note], moment: datetime) -> pa.Table:
    return pa.table(
        {
            "date": [note.kept.date for note in notes],
            "exchange": [note.kept.exchange for note in notes],
            "retried_time": [moment] * len(notes),
            "reject_id": [note.kept.reject_id for note in notes],
            "outcome": [note.outcome for note in notes],
            "reason": [note.reason for note in notes],
            "detail": [None if note.detail is None else _text(note.detail) for note in notes],
            "row_count": [note.rows for note in notes],
        },
        schema=_SCHEMA,
    )


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:_DETAIL_CHARS]
