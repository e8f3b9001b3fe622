"""UTF-16 comes out as UTF-8, whatever the size of the pieces it is asked for; all else as it is."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from ingest.sources.utf16 import AsUtf8

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)


class InPieces(io.BytesIO):
    """A stream that gives a few bytes at a time, as one that unpacks does."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        super().__init__(content)
        self._sizes = sizes

    def read(self, _size: int | None = -1, /) -> bytes:
        first = self.tell() == 0
        self._sizes.append(self._sizes.pop(0))
        return super().read(max(2, self._sizes[0]) if first else self._sizes[0])


def as_read(content: bytes, sizes: list[int]) -> bytes:
    return io.BufferedReader(AsUtf8(InPieces(content, sizes)), sizes[0]).read()


@given(text=st.text(), big=st.booleans(), sizes=SIZES)
def test_every_text_comes_out_as_utf_8(text: str, big: bool, sizes: list[int]) -> None:
    content = f"\N{BYTE ORDER MARK}{text}".encode("utf-16-be" if big else "utf-16-le")
    assert as_read(content, sizes) == text.encode()


@given(content=st.binary().filter(lambda content: content[:2] not in {b"\xff\xfe", b"\xfe\xff"}), sizes=SIZES)
def test_what_does_not_begin_so_comes_out_as_it_is(content: bytes, sizes: list[int]) -> None:
    assert as_read(content, sizes) == content


@given(content=st.binary(), sizes=SIZES)
def test_no_content_raises_and_none_is_passed_over_in_silence(content: bytes, sizes: list[int]) -> None:
    found = as_read(b"\xff\xfe" + content, sizes)
    sound = content.decode("utf-16-le", "replace").encode("utf-16-le", "replace") == content
    assert (found.decode("utf-8", "replace").encode() == found) is sound
