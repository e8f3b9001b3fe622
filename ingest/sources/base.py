"""What every source adapter of recorded files is, and the parsing they share.

An adapter turns one wire format into `ChainUpdate`s or `CandleUpdate`s. It declares the format's units, time
zone and null forms at its top, converts to canonical units, and never raises for bad content: a bad leg or
candle goes into the update's `rejects`, a file that is no recording at all becomes a `FileReject`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from catalog.quarantine_store import Kept
from catalog.reference import ReferenceData
from ingest.events import CandleUpdate, ChainUpdate, Reject
from ingest.sources.found_bytes import replaced

if TYPE_CHECKING:
    from ingest.sources.recognise import Sample
    from ingest.sources.wire_format import Declaration


@dataclass(slots=True, frozen=True)
class FileReject:
    """A whole file, or a part of it that belongs to no chain, that could not be read.

    Attributes:
        exchange: The exchange to file it under.
        reject: Reason, detail and payload.
        identity: What makes it the same reject when the file is loaded again.
        source: Name of the adapter that read it.
        content: The file as it was found, if it is small enough to be kept whole.
    """

    exchange: str
    reject: Reject
    identity: bytes
    source: str
    content: Kept | None = None


class SourceAdapter(Protocol):
    """One wire format of recorded chains or candles."""

    name: str
    """As given to `--source`, and stored in the column `source`."""

    about: str
    """What the format is, for a person who has such files."""

    suffixes: tuple[str, ...]
    """File name endings a folder is searched for, lower case; `.gz` or `.zip` after them is accepted too."""

    def recognises(self, sample: Sample) -> bool:
        """Whether the content is in this format; of one file, at most one adapter may say so."""
        ...

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | CandleUpdate | FileReject]:
        """Yield the chains or candles of one file in the order of the file.

        Raises:
            OSError: The file cannot be opened or read; nothing is said about its content.
        """
        ...


class FormatAdapter(SourceAdapter, Protocol):
    """A source adapter of one declared wire format."""

    @property
    def wire(self) -> Declaration:
        """The table at its top; what was rejected of a row is tried again by this alone."""
        ...


def identity_of(*parts: str | bytes) -> bytes:
    """Digest of raw input (not of what it was converted to): the same input gives the same bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        _add(digest, part)
    return digest.digest()


def identities_of(fixed: Iterable[str | bytes], parts: Iterable[str | bytes]) -> Iterator[bytes]:
    """Yield `identity_of(*fixed, ...)` of the first part, of the first two, and so on."""
    digest = hashlib.blake2b(digest_size=16)
    for part in fixed:
        _add(digest, part)
    for part in parts:
        _add(digest, part)
        yield digest.digest()


def _add(digest: hashlib.blake2b, part: str | bytes) -> None:
    data = _bytes(part) if isinstance(part, str) else part
    digest.update(len(data).to_bytes(8, "little"))
    digest.update(data)


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return replaced(text).encode("utf-8", "surrogatepass")
