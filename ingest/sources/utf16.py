"""Text in UTF-16, as Windows PowerShell's `>` and Excel's "Unicode text" write it, read as UTF-8.

It is told by its byte order mark alone, which begins no other format.
"""

from __future__ import annotations

import codecs
import io
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CHUNK_BYTES: Final = 1 << 16
# What no UTF-8 has: a cut character is damage, and is to be told as such.
_CUT: Final = b"\xff"


def begins_as_utf16(head: bytes) -> bool:
    """Return whether a file begins with the byte order mark of UTF-16."""
    return head[:2] in _MARKS


class AsUtf8(io.RawIOBase):
    """Reads a stream: as UTF-8 if it begins as UTF-16, else as it is; reading raises what the stream does.

    Half of a surrogate pair becomes bytes that are no UTF-8, and so does a character that is cut off.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = self._ended = False
        self._ready = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read up to the size of a buffer; 0 at the end."""
        view = memoryview(buffer).cast("B")
        while not self._ready and not self._ended:
            self._fill()
        piece, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(piece)] = piece
        return len(piece)

    def _fill(self) -> None:
        content = self._stream.read(_CHUNK_BYTES)
        self._ended = not content
        if not self._begun:
            self._begun = True
            if (name := _MARKS.get(content[:2])) is not None:
                self._decoder = codecs.getincrementaldecoder(name)("surrogatepass")
                content = content[2:]
        if self._decoder is None:
            self._ready = content
            return
        text = self._decoder.decode(content)
        self._ready = text.encode("utf-8", "surrogatepass")
        if self._ended and self._decoder.getstate()[0]:
            self._ready += _CUT
