"""The bytes of a recorded file, plain or packed, as text; and what to keep of a file that is no recording."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import zipfile
import zlib
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, cast

from catalog.quarantine_store import recorded_file
from ingest.events import CHAIN_TABLE, ChainUpdate, Reject
from ingest.origins import FileOrigin, Place
from ingest.sources.base import FileReject, identity_of
from ingest.sources.found_bytes import ERRORS, first_damage, replaced_pieces
from ingest.sources.utf16 import AsUtf8, begins_as_utf16
from ingest.sources.values import shown
from ingest.sources.wire_format import WireFormat
from ingest.sources.zip_file import ZIP_MAGIC, OnlyMember
from lake.errors import MalformedInputError

if TYPE_CHECKING:
    from ingest.sources.candle_format import CandleFormat

_logger = logging.getLogger(__name__)

LINE_CHARACTERS = 1 << 18
"""A longer line of a table is skipped: four hundred times the longest recorded.

If it is raised, then to a multiple of `IDENTIFIED_CHARACTERS`.
"""

IDENTIFIED_CHARACTERS = 1 << 18
"""Of a longer line, identities have beginning, length and digest, whatever the limit; never change it."""

DOCUMENT_BYTES = 1 << 25
"""A larger document is not parsed: ten times the largest recorded; parsed it may be thirty fold."""

KEPT_WHOLE_BYTES = 1 << 20
"""A file that could not be read is kept whole in quarantine if it packs to this; else by path and digest."""

_MAY_GROW = 8
"""Chains at the end of a file that may lack rows: those of the last poll, and of half a row after it."""

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
_HEAD_CHARACTERS = 500
# At most four bytes of UTF-8 a character.
_HEAD_BYTES = _HEAD_CHARACTERS * 4
_LOGGED_NAMES = 50
_LOGGED_CHARACTERS = 80
_DEFAULT_EXCHANGE = "NSE"
_KEPT_UNPACKED_BYTES = 1 << 26
# As far as a file that cannot be read is unpacked to tell it from others: a bomb may have no end.
_DIGEST_BYTES = 1 << 28
# zlib writes a gzip header, without a time, from here on.
_GZIP_BITS = 31
BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)
"""What reading the content of a packed file raises where it is damaged."""


class NotARecordingError(MalformedInputError):
    """A file, or the rest of it, that is no recording of its format."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@contextmanager
def open_content(path: Path) -> Iterator[BinaryIO]:
    """Open a file for its content, whatever its name says about compression.

    Of a zip archive the content is that of the one file in it. UTF-16 is read as UTF-8.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        head = file.peek(len(ZIP_MAGIC))
        if head.startswith(_GZIP_MAGIC):
            unpacked = stack.enter_context(gzip.GzipFile(fileobj=file))
            yield stack.enter_context(io.BufferedReader(AsUtf8(cast(BinaryIO, unpacked))))
        elif head.startswith(ZIP_MAGIC):
            member = stack.enter_context(io.BufferedReader(OnlyMember(file)))
            yield stack.enter_context(io.BufferedReader(AsUtf8(member)))
        elif begins_as_utf16(head):
            yield stack.enter_context(io.BufferedReader(AsUtf8(file)))
        else:
            yield file


def read_text(path: Path) -> tuple[str, str | None]:
    """Return the whole text, and what was wrong with its bytes (None if nothing).

    Bytes that are no UTF-8 are as `found_bytes` has them; of a broken gzip file the readable beginning is
    returned.

    Raises:
        NotARecordingError: `too_large`.
        OSError: The file cannot be opened or read.
    """
    content = bytearray()
    damage = None
    with open_content(path) as file:
        try:
            while chunk := file.read(_CHUNK_BYTES):
                content += chunk
                if len(content) > DOCUMENT_BYTES:
                    raise NotARecordingError(
                        "too_large", f"more than {DOCUMENT_BYTES:,} bytes, unpacked, in one document"
                    )
        except BROKEN_GZIP as error:
            damage = broken_packing(error)
    text = content.decode("utf-8-sig", ERRORS)
    if damage is None and (at := first_damage(text)) is not None:
        damage = f"not UTF-8, first at character {at}"
    return text, damage


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class LongLine(str):
    """A line longer than `LINE_CHARACTERS`: its beginning, its length and a digest of all of it.

    Attributes:
        characters: Its length.
        place: Where it stands; None where its file is not known.
    """

    characters: int
    place: Place | None

    @classmethod
    def read(cls, head: str, text: io.TextIOWrapper, path: Path | None, number: int) -> LongLine:
        """Read the rest of a line of which `head` is the beginning, keeping none of it."""
        digest = hashlib.sha256()
        shortened, characters, ended = _shortened(_digested(_pieces(head, text), digest))
        line = cls(shortened)
        line.characters = characters
        line.place = None if path is None else Place(path, number, characters - ended, digest.hexdigest())
        return line


class WideLine(str):
    """A line within the limit that was beyond it in the first version.

    Attributes:
        shortened: What identities have of it, as they had then: a poll that was taken in without this line
            must not be another one when a higher limit lets it through.
    """

    shortened: str

    @classmethod
    def of(cls, line: str) -> WideLine:
        """Take a whole line, with its end if it has one."""
        wide = cls(line.rstrip("\n"))
        wide.shortened, _, _ = _shortened(_pieces(line, None))
        return wide


def _pieces(head: str, text: io.TextIOWrapper | None) -> Iterator[str]:
    """A line from its beginning on, as identities have it; `text` has the rest of it, if there is one."""
    return replaced_pieces(_pieces_as_found(head, text), IDENTIFIED_CHARACTERS)


def _pieces_as_found(head: str, text: io.TextIOWrapper | None) -> Iterator[str]:
    yield head
    while text is not None and (piece := text.readline(IDENTIFIED_CHARACTERS)):
        yield piece
        if piece.endswith("\n"):
            return


def _digested(pieces: Iterator[str], digest: _Digest) -> Iterator[str]:
    """Pass the pieces on; the digest is of the line without its end."""
    for piece in pieces:
        digest.update(piece.removesuffix("\n").encode("utf-8", "surrogatepass"))
        yield piece


def _shortened(pieces: Iterator[str]) -> tuple[str, int, bool]:
    """A line as identities have it; its length with its end; whether it has one.

    The digest leaves the last piece of a line that has an end out. Lakes remember identities made of it.
    """
    digest = hashlib.blake2b(digest_size=16)
    head, characters, ended = "", 0, False
    for piece in pieces:
        head = head or piece[:_HEAD_CHARACTERS]
        characters += len(piece)
        ended = piece.endswith("\n")
        if not ended:
            digest.update(piece.encode("utf-8", "surrogatepass"))
    return f"{head}... ({characters:,} characters, {digest.hexdigest()})", characters, ended


class TextLines:
    """The lines of a file, without their ends, read as they are asked for; one too long is a `LongLine`.

    Attributes:
        damage: What was wrong with the bytes so far, None if nothing.
    """

    def __init__(self, file: BinaryIO, path: Path | None = None) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8-sig", errors=ERRORS, newline=None)
        self._path = path
        self.damage: str | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield line by line.

        Raises:
            NotARecordingError: `undecodable`, where a broken gzip stream ends; the line, and so the chain,
                that was being read is not complete.
        """
        number = 0
        try:
            while line := self._text.readline(LINE_CHARACTERS):
                number += 1
                if self.damage is None and first_damage(line) is not None:
                    self.damage = f"not UTF-8, first in line {number}"
                if len(line) < LINE_CHARACTERS or line.endswith("\n"):
                    # One of just that length was within the limit if its end was.
                    is_wide = len(line) + (not line.endswith("\n")) > IDENTIFIED_CHARACTERS
                    yield WideLine.of(line) if is_wide else line.rstrip("\n")
                else:
                    yield LongLine.read(line, self._text, self._path, number)
        except BROKEN_GZIP as error:
            self.damage = broken_packing(error)
            raise NotARecordingError("undecodable", f"{self.damage}, after line {number}") from error

    def check(self) -> None:
        """Tell, after the last line, of bytes that are no UTF-8.

        Raises:
            NotARecordingError: `undecodable`.
        """
        if self.damage is not None:
            raise NotARecordingError("undecodable", self.damage)


@contextmanager
def open_lines(path: Path) -> Iterator[TextLines]:
    """Open a file, plain or gzip, line by line.

    Raises:
        OSError: The file cannot be opened or read.
    """
    with open_content(path) as file:
        yield TextLines(file, path)


def broken_packing(error: Exception) -> str:
    """Return what to say of a packed file that raised one of `BROKEN_GZIP`."""
    return f"broken {'zip' if isinstance(error, zipfile.BadZipFile) else 'gzip'} ({error})"


def rejecting(
    wire: WireFormat, path: Path, chains: Iterator[ChainUpdate | FileReject], *, part: str = ""
) -> Iterator[ChainUpdate | FileReject]:
    """Yield the chains and, where they end in a `NotARecordingError`, the reject of the file after them.

    The last chains are told that they may grow.

    Args:
        wire: The format it is read as.
        path: The file.
        chains: What the file gives.
        part: Tells apart files of one name and content that stand in several folders.
    """
    last: deque[ChainUpdate | FileReject] = deque()
    failure: Exception | None = None
    try:
        for item in chains:
            last.append(item)
            if len(last) > _MAY_GROW:
                yield last.popleft()
    except (NotARecordingError, OSError) as error:
        failure = error
    for item in last:
        if isinstance(item, ChainUpdate) and item.growth is not None:
            item.growth.may_grow = True
        yield item
    if isinstance(failure, NotARecordingError):
        yield file_reject(wire, path, failure.reason, failure.detail, part=part)
    elif failure is not None:
        raise failure


def file_reject(wire: WireFormat, path: Path, reason: str, detail: str, *, part: str = "") -> FileReject:
    """Describe a file that could not be read in its format, see `unread_file_reject`.

    Args:
        wire: The format it was read as.
        path: The file.
        reason: Stable code.
        detail: For a person.
        part: Tells several rejects of one file and one reason apart.
    """
    exchange = wire.exchange or _DEFAULT_EXCHANGE
    return unread_file_reject(
        path, source=wire.source, reason=reason, detail=detail, part=part, exchange=exchange
    )


def unread_file_reject(
    path: Path,
    *,
    source: str,
    reason: str,
    detail: str,
    part: str = "",
    exchange: str = _DEFAULT_EXCHANGE,
    table: str = CHAIN_TABLE,
) -> FileReject:
    """Describe a file that could not be read, with enough of it to recognise it, or whole if it is small."""
    found = _as_found(path)
    content, head = _content(path)
    name = path.name.encode("utf-8", "replace").decode("utf-8")
    payload = {"file": name, "bytes": found.size_bytes, "sha256": found.sha256, "head": head}
    identity = identity_of(source, reason, part, name.removesuffix(".gz").removesuffix(".zip"), content)
    origin = FileOrigin(path, found.size_bytes, found.sha256, identity.hex())
    return FileReject(
        exchange=exchange,
        reject=Reject(reason, detail, payload, table, origin=origin),
        identity=identity,
        source=source,
        content=None if found.packed is None else recorded_file(found.sha256, found.packed),
    )


class _Found(NamedTuple):
    """The bytes of a file: how many, their digest, and packed, None if that is too much to keep."""

    size_bytes: int
    sha256: str
    packed: bytes | None


def _as_found(path: Path) -> _Found:
    digest = hashlib.sha256()
    size_bytes = 0
    packed: bytearray | None = bytearray()
    packer = zlib.compressobj(6, wbits=_GZIP_BITS)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
            if packed is not None:
                packed += packer.compress(chunk)
                if len(packed) > KEPT_WHOLE_BYTES or size_bytes > _KEPT_UNPACKED_BYTES:
                    packed = None
    if packed is not None:
        packed += packer.flush()
    whole = bytes(packed) if packed is not None and len(packed) <= KEPT_WHOLE_BYTES else None
    return _Found(size_bytes, digest.hexdigest(), whole)


def head_of(path: Path, size_bytes: int) -> bytes:
    """Return the beginning of a file's content, of a broken gzip file what can be read of it.

    Raises:
        OSError: The file cannot be opened or read.
    """
    head = bytearray()
    with open_content(path) as file:
        try:
            while len(head) < size_bytes and (chunk := file.read(size_bytes - len(head))):
                head += chunk
        except BROKEN_GZIP:
            return bytes(head)
    return bytes(head)


def _content(path: Path) -> tuple[bytes, str]:
    """Digest of the content without its compression, and its first characters."""
    digest = hashlib.sha256()
    head = b""
    with open_content(path) as file:
        try:
            left = _DIGEST_BYTES
            while left > 0 and (chunk := file.read(_CHUNK_BYTES)):
                digest.update(chunk)
                head += chunk[: _HEAD_BYTES - len(head)]
                left -= len(chunk)
        except BROKEN_GZIP as error:
            digest.update(broken_packing(error).encode())
    return digest.digest(), head.decode("utf-8-sig", "replace")[:_HEAD_CHARACTERS]


def _as_logged(name: str) -> str:
    return name if name.isprintable() and len(name) <= _LOGGED_CHARACTERS else shown(name)


def report_unknown_names(wire: WireFormat | CandleFormat, path: Path, names: Collection[str]) -> None:
    """Log the columns or fields of a file that its format is not known to have, once a file."""
    if unknown := [_as_logged(name) for name in sorted(set(names) - wire.known_names)[:_LOGGED_NAMES]]:
        _logger.info(
            "columns not known to the format are ignored",
            extra={
                "action": "ignore_unknown_columns",
                "source": wire.source,
                "file": path.name,
                "columns": unknown,
            },
        )
