"""Lines that are too long to be kept, read again from the files they stand in.

Of such a line quarantine has the beginning, the length, and where it stands: file, number and digest. It
comes in once the limit is higher, as long as its file is where it was and the line unchanged; the file may
have grown, or be packed now. Nothing but one line within the limit is ever in memory.

A message of a live source that is over its limit is another thing: the limit is that of the connection, which
ends without the message having arrived. There is nothing to try again, and the reject says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from ingest.sources import recorded_file
from ingest.sources.csv_table import LINE_TOO_LONG
from ingest.sources.found_bytes import replaced
from ingest.sources.recorded_file import BROKEN_GZIP, LongLine, NotARecordingError, open_content, open_lines

NOT_AT_HAND: Final = "file_not_at_hand"

_CHUNK_BYTES: Final = 1 << 20

LOG_LINE_BYTES: Final = 1 << 26
"""A longer line of a log is not handed to its adapter again: none reads the sixteenth part."""


class LinesAgain:
    """Reads lines of tables again, going through a file once where they are asked for in its order.

    Use it as a context manager.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._lines: Generator[str, None, None] | None = None
        self._number = 0
        self._line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def text(self, place: Mapping[str, Any]) -> str:
        """Return a line.

        Args:
            place: As `Place.described` tells it.

        Raises:
            NotARecordingError: `line_too_long`: it still is; `file_not_at_hand`: the file is gone, or the
                line is another one.
        """
        path, number = Path(place["path"]), place["line"]
        try:
            line = self._go_to(path, number)
        except (OSError, ValueError, NotARecordingError) as error:
            self._close()
            raise NotARecordingError(NOT_AT_HAND, f"{path} cannot be read: {error}") from error
        if line is None or _digest(line) != place["sha256"]:
            raise NotARecordingError(NOT_AT_HAND, f"line {number} of {path} is another one now")
        if isinstance(line, LongLine):
            limit = recorded_file.LINE_CHARACTERS
            told = f"line {number} has {place['characters']:,} characters, more than {limit:,}"
            raise NotARecordingError(LINE_TOO_LONG, told)
        return line

    def _go_to(self, path: Path, number: int) -> str | None:
        if self._lines is None or path != self._path or number < self._number:
            self._close()
            if not path.is_file():
                raise NotARecordingError(NOT_AT_HAND, "it is gone; put it back, then try again")
            self._path, self._lines = path, _lines(path)
        while self._number < number:
            line = next(self._lines, None)
            if line is None:
                self._close()
                return None
            self._number, self._line = self._number + 1, line
        return self._line

    def _close(self) -> None:
        if self._lines is not None:
            self._lines.close()
        self._path, self._lines, self._number, self._line = None, None, 0, ""


def _lines(path: Path) -> Generator[str, None, None]:
    with open_lines(path) as lines:
        yield from lines


def _digest(line: str) -> str | None:
    if isinstance(line, LongLine):
        return None if line.place is None else line.place.sha256
    return hashlib.sha256(replaced(line).encode()).hexdigest()


def log_line(origin: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a line of a log piece by piece, without its end.

    Args:
        origin: Of the line, as `FileOrigin.described` tells it.

    Raises:
        NotARecordingError: As `LinesAgain.text`; `file_not_at_hand` may come after the last piece.
    """
    path, number, size_bytes = Path(origin["path"]), origin["line"], origin["bytes"]
    if size_bytes > LOG_LINE_BYTES:
        raise NotARecordingError(LINE_TOO_LONG, f"line {number} has {size_bytes:,} bytes")
    digest = hashlib.sha256()
    try:
        if not path.is_file():
            raise NotARecordingError(NOT_AT_HAND, f"{path} is gone; put it back, then try again")
        with open_content(path) as file:
            at = 1
            while (chunk := file.readline(_CHUNK_BYTES)) and at <= number:
                if at == number:
                    piece = chunk.removesuffix(b"\n")
                    digest.update(piece)
                    yield piece
                at += chunk.endswith(b"\n")
    except (OSError, ValueError, *BROKEN_GZIP) as error:
        raise NotARecordingError(NOT_AT_HAND, f"{path} cannot be read: {error}") from error
    if digest.hexdigest() != origin["line_sha256"]:
        raise NotARecordingError(NOT_AT_HAND, f"line {number} of {path} is another one now")
