"""Recorded JSON: parsed so that no value is lost or changed on the way to a reject's payload."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ingest.sources.found_bytes import replaced_json
from ingest.sources.recorded_file import NotARecordingError, read_text
from ingest.sources.values import shown


class RepeatedNames(dict[str, Any]):
    """An object in which a name occurs more than once; as a dict, the last value wins.

    Attributes:
        pairs: Every name and value, in order.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


class Document:
    """A parsed file.

    Attributes:
        root: Its value. NaN, infinities and numbers that Python cannot hold are the texts they came as.
    """

    def __init__(self, path: Path) -> None:
        """Read and parse a file.

        Raises:
            NotARecordingError: `empty_file`, `html_instead_of_json`, `malformed_json` or `undecodable`.
            OSError: The file cannot be opened or read.
        """
        text, self._damage = read_text(path)
        try:
            self.root: Any = parse(text)
        except NotARecordingError:
            self.check()
            raise

    def check(self) -> None:
        """Tell, after the last chain, of bytes that could not be read as text.

        Raises:
            NotARecordingError: `undecodable`.
        """
        if self._damage is not None:
            raise NotARecordingError("undecodable", self._damage)


def parse(text: str) -> Any:
    """Return the value of a JSON text; NaN, infinities and numbers that Python cannot hold are texts in it.

    Raises:
        NotARecordingError: `empty_file`, `html_instead_of_json` or `malformed_json`.
    """
    stripped = text.lstrip()
    if not stripped:
        raise NotARecordingError("empty_file", "the file has no content")
    if stripped.startswith("<"):
        raise NotARecordingError("html_instead_of_json", f"begins with {shown(stripped)}")
    try:
        return json.loads(
            text,
            parse_float=_finite_or_text,
            parse_int=_int_or_text,
            parse_constant=str,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}, character {error.pos} of {len(text)}"
        raise NotARecordingError("malformed_json", f"{error.msg} at {where}") from error
    except RecursionError:
        raise NotARecordingError("malformed_json", "nested too deeply") from None


def _finite_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _int_or_text(text: str) -> int | str:
    # Python limits how many digits int() takes; no quantity comes near 40.
    return int(text) if len(text) < 40 else text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedNames(pairs)


def canonical(value: Any) -> str:
    """Return JSON text that does not depend on layout or on the order of names, for an identity.

    Raises:
        NotARecordingError: `malformed_json`, if it is nested too deeply.
    """
    try:
        return replaced_json(json.dumps(value, sort_keys=True, separators=(",", ":")))
    except RecursionError:
        raise NotARecordingError("malformed_json", "nested too deeply") from None
