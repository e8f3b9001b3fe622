"""Rejected files, found again: the one that was, if it is unchanged, or what quarantine keeps of it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

from catalog.quarantine_store import QuarantineStore
from ingest.rejects import Kept
from ingest.retry_lines import LinesAgain, log_line
from ingest.sources.found_bytes import found_bytes
from lake.errors import MalformedInputError

_CHUNK_BYTES = 1 << 20
# Some formats have their time and expiry in the names of the folders above.
_PARTS = 4


@contextmanager
def file_again(kept: Kept, origin: Mapping[str, Any], store: QuarantineStore) -> Iterator[Path]:
    """A file with the very bytes that were rejected, under the name that it had.

    Raises:
        MalformedInputError: There is none any more; the message says what to do.
        NotARecordingError: A line that was too long is not to be had, or still is, see `log_line`.
    """
    if (line := origin.get("line")) is not None:
        if (text := origin["text"]) is None and origin.get("line_sha256") is None:
            raise MalformedInputError(f"line {line} of {origin['path']} was too long to be kept")
        content = log_line(origin) if text is None else iter((found_bytes(text),))
        with tempfile.TemporaryDirectory(prefix="strikelake-") as folder:
            # The adapter reads it as a file of this one line, whose identity does not depend on the others.
            yield _restored(Path(folder), origin["path"], chain(content, (b"\n",)))
        return
    if kept.stored is None:
        yield _unchanged(Path(origin["path"]), origin["sha256"])
        return
    with tempfile.TemporaryDirectory(prefix="strikelake-") as folder:
        yield _restored(Path(folder), origin["path"], store.chunks(kept.stored))


@contextmanager
def row_again(origin: Mapping[str, Any], lines: LinesAgain) -> Iterator[Path]:
    """A file of one row under its header, under the name that its file had.

    Raises:
        NotARecordingError: A row that was too long is not to be had, or still is, see `LinesAgain.text`.
    """
    place = origin["place"]
    text = origin["line"] if place is None else lines.text(place)
    with tempfile.TemporaryDirectory(prefix="strikelake-") as folder:
        content = found_bytes(f"{origin['header']}\n"), found_bytes(f"{text}\n")
        # Its content is text, whatever its file was packed in.
        yield _restored(Path(folder), origin["path"], iter(content))


def _unchanged(path: Path, sha256: str) -> Path:
    digest = hashlib.sha256()
    try:
        if path.is_file():
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
            if digest.hexdigest() == sha256:
                return path
            raise MalformedInputError(f"{path} is another file now: load it with 'strikelake ingest load'")
    except (OSError, ValueError) as error:
        raise MalformedInputError(f"{path} cannot be read: {error}") from error
    raise MalformedInputError(f"{path} is gone, and was too large to be kept: put it back, then try again")


def _restored(folder: Path, was: str, chunks: Iterable[bytes]) -> Path:
    parts = [part for part in PurePath(was).parts[-_PARTS:] if part not in {PurePath(was).anchor, ".."}]
    path = folder.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except (OSError, ValueError):
        # A name of another system, or one that is too long here.
        path = folder / "recorded"
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    return path
