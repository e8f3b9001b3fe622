"""Bytes that are no UTF-8 pass through text and back, and change no identity that was made of U+FFFD."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources import recorded_file
from ingest.sources.base import identity_of
from ingest.sources.found_bytes import (
    ERRORS,
    first_damage,
    found_bytes,
    replaced,
    replaced_json,
    replaced_pieces,
)
from ingest.sources.json_document import canonical
from ingest.sources.recorded_file import LongLine, TextLines

# Beginnings of sequences of two to four bytes, bytes within them, what is never in UTF-8, and backslashes.
CONTENT = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from(b"ab\\\"'u\x80\xbf\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xff"), max_size=40)
    .map(bytes),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
)  # fmt: skip


@given(content=CONTENT)
def test_every_byte_comes_back(content: bytes) -> None:
    text = content.decode("utf-8", ERRORS)
    assert found_bytes(text) == content
    assert found_bytes(json.loads(json.dumps(text))) == content
    sound = content.decode("utf-8", "replace").encode() == content
    damage = first_damage(text)
    assert (damage is None) is sound
    if damage is not None:
        assert found_bytes(text[:damage]).decode("utf-8") == text[:damage]


@given(content=CONTENT, size=st.integers(1, 9), cuts=st.lists(st.integers(0, 40), max_size=6))
def test_identities_are_those_of_text_with_replacement_characters(
    content: bytes, size: int, cuts: list[int]
) -> None:
    text, before = content.decode("utf-8", ERRORS), content.decode("utf-8", "replace")
    assert replaced(text) == before
    assert identity_of(text, "more") == identity_of(before, "more")
    assert canonical({"a": [text]}) == canonical({"a": [before]}) == replaced_json(canonical({"a": [before]}))
    edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [text[start:end] for start, end in pairwise(edges)]
    assert list(replaced_pieces(pieces, size)) == [
        before[at : at + size] for at in range(0, len(before), size)
    ]


def test_half_a_pair_that_came_as_an_escape_is_no_byte() -> None:
    assert replaced("\ud800") == "\ud800"
    assert found_bytes("\ud800") == "\ud800".encode("utf-8", "surrogatepass")
    assert identity_of("\ud800") == hashlib.blake2b(
        (3).to_bytes(8, "little") + b"\xed\xa0\x80", digest_size=16
    ).digest()  # fmt: skip
    assert replaced_json(r'"a\\udc80"') == r'"a\\udc80"'
    assert replaced_json(r'"a\\\udc80"') == r'"a\\\ufffd"'


def _first_version(content: bytes, limit: int) -> Iterator[str]:
    """Long lines as identities had them when text was read with U+FFFD."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", errors="replace", newline=None)
    while line := text.readline(limit):
        digest, characters, piece = hashlib.blake2b(digest_size=16), 0, line
        while piece:
            characters += len(piece)
            if piece.endswith("\n"):
                break
            digest.update(piece.encode())
            piece = text.readline(limit)
        yield f"{line[:500]}... ({characters:,} characters, {digest.hexdigest()})"


@given(
    lines=st.lists(
        st.lists(st.sampled_from([b"ab\xff", b"\xe2\x82", "€".encode(), b"c"]), max_size=30), max_size=5
    )
)
def test_a_long_line_is_the_same_as_before(lines: list[list[bytes]]) -> None:
    # Longer than the limit however it is read: a character of each piece, at least.
    content = b"".join(b"x" * 16 + b"".join(pieces) + b"\n" for pieces in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded_file, "LINE_CHARACTERS", 16)
        patch.setattr(recorded_file, "IDENTIFIED_CHARACTERS", 16)
        found = list(TextLines(io.BytesIO(content)))
    assert all(isinstance(line, LongLine) for line in found)
    assert found == list(_first_version(content, 16))
