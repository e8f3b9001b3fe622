"""Python values as `repr` writes them into logs: `{'a': None, 'b': [1.5, True], "it's": 'x'}`.

The text is rewritten as JSON, token by token, and parsed as JSON is. Python's own reader of literals is no
way for text of unknown origin: it builds a syntax tree of some hundred bytes a character, and deep nesting
can end the process.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Final

from ingest.sources import json_document
from ingest.sources.recorded_file import NotARecordingError

_NAMES: Final = {"True": "true", "False": "false", "None": "null", "nan": "NaN", "inf": "Infinity"}
_ESCAPED: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "0": "\0",
    "\n": "",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "/": "/",
}

DATETIME: Final = re.compile(r"datetime\.datetime\([0-9]{1,4}(?:, ?[0-9]{1,6}){2,6}\)")
"""A time without a zone, as its `repr` is."""

# A text, or a name that does not continue a number (the `e` of 1e-05). A text without its end goes to the end
# of all: to look for one anew from each of its escaped quotes would take quadratic time.
_TOKEN = re.compile(
    r"""'(?:[^'\\]|\\.)*+(')?|"(?:[^"\\]|\\.)*+(")?"""
    rf"""|(?P<moment>{DATETIME.pattern})|(?<![0-9.])[A-Za-z_][A-Za-z0-9_]*+""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


def parse(text: str) -> Any:
    """Return the value of a Python literal, or of a JSON text, which is taken as well.

    Known are mappings with texts as keys, lists, texts, numbers, truth values and None; a mapping in which a
    key comes twice is a `RepeatedNames`, and numbers that Python cannot hold are texts. So are times, in ISO
    form.

    Raises:
        NotARecordingError: `malformed_payload`.
    """
    try:
        return json_document.parse(_TOKEN.sub(_as_json, text))
    except NotARecordingError as error:
        raise NotARecordingError("malformed_payload", error.detail) from error
    except MemoryError:
        raise NotARecordingError("malformed_payload", "too large to be held in memory") from None


def _as_json(token: re.Match[str]) -> str:
    text = token[0]
    if token["moment"]:
        return f'"{datetime_text(text)}"'
    if text[0] not in "'\"":
        return _NAMES.get(text, text)
    if not any(token.groups()):
        raise NotARecordingError("malformed_payload", "a text has no end")
    inner = text[1:-1]
    if "\\" in inner:
        return json.dumps(_ESCAPE.sub(_unescaped, inner))
    return f'"{inner}"' if '"' not in inner and inner.isprintable() else json.dumps(inner)


def _unescaped(escape: re.Match[str]) -> str:
    *codes, character = escape.groups()
    code = next((code for code in codes if code is not None), None)
    try:
        return _ESCAPED[character] if code is None else chr(int(code, 16))
    except (KeyError, ValueError, OverflowError):
        raise NotARecordingError("malformed_payload", f"unknown escape {escape[0]!r} in a text") from None


def datetime_text(literal: str) -> str:
    """Return the ISO text of `datetime.datetime(2021, 8, 20, 9, 15)`; as it came, if it is no time."""
    year, month, day, *clock = (int(part) for part in re.findall(r"[0-9]+", literal))
    hour, minute, second, microsecond = (*clock, 0, 0, 0, 0)[:4]
    try:
        return datetime(year, month, day, hour, minute, second, microsecond).isoformat()  # noqa: DTZ001
    except ValueError:
        return literal
