"""Bytes that are no UTF-8, in text: each is one of U+DC80 to U+DCFF, as Python's `surrogateescape` has it.

Nothing of a damaged line is lost so: quarantine keeps its text as JSON, where these characters are escapes,
backslash udc80 to udcff, and `found_bytes` gives the very bytes back. UTF-8 cannot hold the characters
themselves, so none of them ever came from a file that is sound.

Identities and digests of such text are those of the text with U+FFFD, as it was read in the first version.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import Final

ERRORS: Final = "surrogateescape"
"""How text is decoded and encoded, everywhere that the content of files is."""

_ESCAPED = re.compile(r"[\udc80-\udcff]+")
# In JSON text that is all ASCII. A backslash that is one itself has another one before it.
_ESCAPED_JSON = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\udc[89a-f][0-9a-f])+)")


def first_damage(text: str) -> int | None:
    """Return the place of the first byte that is no UTF-8, None if there is none."""
    if text.isascii():
        return None
    found = _ESCAPED.search(text)
    return None if found is None else found.start()


def found_bytes(text: str) -> bytes:
    """Return the bytes that a text was read from."""
    try:
        return text.encode("utf-8", ERRORS)
    except UnicodeEncodeError:
        # Half of a pair that was written as an escape stands for itself.
        return text.encode("utf-8", "surrogatepass")


def replaced(text: str) -> str:
    """Return a text with U+FFFD in place of bytes that are no UTF-8."""
    return text if first_damage(text) is None else _ESCAPED.sub(lambda found: _replaced(found[0]), text)


def replaced_json(text: str) -> str:
    """Return a JSON text of ASCII with U+FFFD, escaped, in place of bytes that are no UTF-8."""
    return _ESCAPED_JSON.sub(_replaced_escapes, text) if r"\udc" in text else text


def replaced_pieces(pieces: Iterable[str], size: int) -> Iterator[str]:
    """Yield a text, as `replaced` has it, in pieces of a size; the last one is shorter."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = ""
    for piece in pieces:
        text += decoder.decode(found_bytes(piece))
        while len(text) >= size:
            yield text[:size]
            text = text[size:]
    text += decoder.decode(b"", final=True)
    if text:
        yield text


def _replaced(escaped: str) -> str:
    return escaped.encode("utf-8", ERRORS).decode("utf-8", "replace")


def _replaced_escapes(found: re.Match[str]) -> str:
    content = bytes(int(code, 16) for code in re.findall(r"\\udc(..)", found[2]))
    return found[1] + r"\ufffd" * len(content.decode("utf-8", "replace"))
