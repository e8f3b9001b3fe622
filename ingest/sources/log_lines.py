"""Lines of a log that may be damaged one by one, read with bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ingest.events import Reject
from ingest.origins import FileOrigin
from ingest.sources.base import FileReject, identity_of
from ingest.sources.found_bytes import ERRORS, first_damage
from ingest.sources.recorded_file import (
    BROKEN_GZIP,
    NotARecordingError,
    broken_packing,
    open_content,
)
from ingest.sources.wire_format import WireFormat

_BOM: Final = b"\xef\xbb\xbf"
_DEFAULT_EXCHANGE: Final = "NSE"
_HEAD_CHARACTERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that is not blank.

    Attributes:
        number: Counted from 1.
        text: The line without its end; of a line longer than the limit, its beginning. Bytes that are no
            UTF-8 are as `found_bytes` has them.
        size_bytes: Length of the whole line.
        rest_digest: Of what a line has beyond the limit; empty for a whole line.
        fault: Reason and detail of why it cannot be read, None if it can.
        sha256: Hex digest of all bytes of a line beyond the limit, without its end; None for a whole line.
    """

    number: int
    text: str
    size_bytes: int
    rest_digest: bytes
    fault: tuple[str, str] | None
    sha256: str | None = None


class LogLines:
    """The lines of an open file, of each no more than a limit.

    Attributes:
        damage: What was wrong with the bytes so far, None if nothing.
    """

    def __init__(self, file: BinaryIO, limit_bytes: int) -> None:
        self._file = file
        self._limit = limit_bytes
        self.damage: str | None = None

    def __iter__(self) -> Iterator[LogLine]:
        """Yield line by line, blank ones left out.

        Raises:
            NotARecordingError: `undecodable`, where a broken gzip stream ends.
        """
        number = 0
        try:
            while chunk := self._file.readline(self._limit):
                number += 1
                size_bytes, rest_digest, sha256 = self._pass_over_rest(chunk)
                if number == 1:
                    chunk = chunk.removeprefix(_BOM)
                if chunk.strip():
                    yield self._line(number, chunk, size_bytes, rest_digest, sha256)
        except BROKEN_GZIP as error:
            self.damage = broken_packing(error)
            raise NotARecordingError("undecodable", f"{self.damage}, after line {number}") from error

    def _pass_over_rest(self, chunk: bytes) -> tuple[int, bytes, str | None]:
        """Read what a line has beyond the limit; return its whole size, digests of that rest and of all."""
        size_bytes = len(chunk)
        if size_bytes < self._limit or chunk.endswith(b"\n"):
            return size_bytes, b"", None
        digest = hashlib.blake2b(digest_size=16)
        whole = hashlib.sha256(chunk)
        while chunk and not chunk.endswith(b"\n"):
            chunk = self._file.readline(self._limit)
            size_bytes += len(chunk)
            digest.update(chunk)
            whole.update(chunk.removesuffix(b"\n"))
        if size_bytes == self._limit:
            return size_bytes, b"", None
        return size_bytes, digest.digest(), whole.hexdigest()

    def _line(
        self, number: int, chunk: bytes, size_bytes: int, rest_digest: bytes, sha256: str | None
    ) -> LogLine:
        text = chunk.decode("utf-8", ERRORS).rstrip("\r\n")
        fault = None
        if rest_digest:
            fault = ("line_too_long", f"line {number} has {size_bytes:,} bytes, more than {self._limit:,}")
        elif self.damage is None and first_damage(text) is not None:
            self.damage = f"not UTF-8, first in line {number}"
        return LogLine(number, text, size_bytes, rest_digest, fault, sha256)

    def check(self) -> None:
        """Tell, after the last line, of bytes that are no UTF-8.

        Raises:
            NotARecordingError: `undecodable`.
        """
        if self.damage is not None:
            raise NotARecordingError("undecodable", self.damage)


@contextmanager
def open_log(path: Path, limit_bytes: int) -> Iterator[LogLines]:
    """Open a log, plain or gzip.

    Args:
        path: The file.
        limit_bytes: How long a line may be; of a longer one the beginning is given, with a fault.

    Raises:
        OSError: The file cannot be opened or read.
    """
    with open_content(path) as file:
        yield LogLines(file, limit_bytes)


def line_reject(wire: WireFormat, path: Path, line: LogLine, reason: str, detail: str) -> FileReject:
    """Describe a line that belongs to no chain.

    The identity is that of the line, not of the file: when the file has grown, the same line is the same
    reject.
    """
    payload: dict[str, object] = {"line": line.text}
    if line.fault is not None:
        payload = {"head": line.text[:_HEAD_CHARACTERS], "bytes": line.size_bytes}
    identity = identity_of(wire.source, reason, str(line.number), line.text, line.rest_digest)
    text = line.text if line.fault is None else None
    origin = FileOrigin(path, line.size_bytes, None, identity.hex(), line.number, text, line.sha256)
    return FileReject(
        exchange=wire.exchange or _DEFAULT_EXCHANGE,
        reject=Reject(reason, detail, payload, origin=origin),
        identity=identity,
        source=wire.source,
    )
