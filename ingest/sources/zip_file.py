"""The one file in a zip archive, as exchanges ship their daily files."""

from __future__ import annotations

import errno
import io
import struct
import zipfile
import zlib
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ZIP_MAGIC: Final = b"PK\x03\x04"

MAX_BYTES: Final = 1 << 30
"""What the file may unpack to: a day of all contracts of an exchange takes some ten million bytes."""

# Encrypted files and unknown ways of packing are RuntimeErrors; damaged lengths and
# offsets come out as whatever they make the library stumble over.
_BROKEN = (EOFError, zlib.error, RuntimeError, ValueError, ArithmeticError, LookupError, struct.error)


class OnlyMember(io.RawIOBase):
    """Reads the one file of an archive.

    The archive is opened by the first read, which raises `zipfile.BadZipFile` where there is more than one
    file in it, or none, where it is encrypted or packed in an unknown way, where it unpacks to more than
    `MAX_BYTES`, and, as every other read, where it is damaged.
    """

    def __init__(self, archive: BinaryIO) -> None:
        self._archive = archive
        self._stack = ExitStack()
        self._member: IO[bytes] | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read up to the size of a buffer; 0 at the end.

        Raises:
            zipfile.BadZipFile: See the class.
        """
        view = memoryview(buffer).cast("B")
        try:
            if self._member is None:
                self._member = self._open()
            data = self._member.read(len(view))
        except _BROKEN as error:
            raise zipfile.BadZipFile(str(error) or type(error).__name__) from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise zipfile.BadZipFile("an offset in it lies outside") from error
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the archive's member; the archive stays open."""
        self._stack.close()
        super().close()

    def _open(self) -> IO[bytes]:
        archive = self._stack.enter_context(zipfile.ZipFile(self._archive))
        files = [each for each in archive.infolist() if not each.is_dir()]
        if len(files) != 1:
            raise zipfile.BadZipFile(f"{len(files)} files in it, not one")
        if files[0].file_size > MAX_BYTES:
            raise zipfile.BadZipFile(f"it unpacks to {files[0].file_size:,} bytes, more than {MAX_BYTES:,}")
        return self._stack.enter_context(archive.open(files[0]))
