"""Recorded CSV: a header whose columns are found by name, and rows that may be damaged one by one.

A record is one line. A stray quote therefore spoils its own row and not the rest of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ingest.origins import Place
from ingest.sources.found_bytes import first_damage
from ingest.sources.recorded_file import (
    LINE_CHARACTERS,
    LongLine,
    NotARecordingError,
    TextLines,
    WideLine,
)
from ingest.sources.values import shown

LINE_TOO_LONG: Final = "line_too_long"

TABLE_CHARACTERS: Final = 1 << 24
"""Text of rows that may be held together, in memory thirty times that; a poll of all stocks has a tenth."""

_COLUMNS: Final = 1_000


class Row(NamedTuple):
    """One line after the header, or one row of a typed table.

    Attributes:
        text: The line as it stands; bytes that are no UTF-8 are as `found_bytes` has them.
        fields: Value by column, in CSV a text; empty if the line cannot be split under the header.
        fault: Reason and detail of why the row cannot be read, None if it can.
        place: Where it stands, if it is too long to be kept.
    """

    text: str
    fields: dict[str, Any]
    fault: tuple[str, str] | None
    place: Place | None = None

    @property
    def identified(self) -> str:
        """The line as identities have it."""
        return self.text.shortened if isinstance(self.text, WideLine) else self.text

    @property
    def payload(self) -> dict[str, Any]:
        """The row as it came, for a reject."""
        return self.fields or {"line": self.text}


class CsvTable:
    """A header and the rows below it.

    Attributes:
        header: Column names, without surrounding blanks.
        header_text: The header line as it stands.
    """

    def __init__(
        self,
        lines: TextLines,
        needed: Sequence[Sequence[str]],
        *,
        preamble: tuple[str, ...] = (),
        rename: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None,
    ) -> None:
        """Read the header.

        Args:
            lines: The lines of the file.
            needed: The columns without which no row can be read, each with its alternative names.
            preamble: Fields, the empty ones left out, of a line that may stand above the header.
            rename: Gives the columns the names they go by, where the header repeats itself.

        Raises:
            NotARecordingError: `empty_file`, `html_instead_of_csv`, `missing_columns`,
                `duplicate_columns`, `too_large` or `undecodable`.
        """
        self._source = lines
        self._lines = iter(lines)
        self.header_text = next((line for line in self._lines if line.strip()), "")
        if not self.header_text:
            raise NotARecordingError("empty_file", "the file has no content")
        if self.header_text.lstrip().startswith("<"):
            raise NotARecordingError("html_instead_of_csv", f"begins with {shown(self.header_text)}")
        self.header = _names(self.header_text)
        if preamble and tuple(name.upper() for name in self.header if name) == preamble:
            self.header_text = next((line for line in self._lines if line.strip()), "")
            self.header = _names(self.header_text)
        if rename is not None:
            self.header = rename(self.header)
        if isinstance(self.header_text, LongLine) or len(self.header) > _COLUMNS:
            raise NotARecordingError("too_large", f"a header of more than {_COLUMNS:,} columns")
        columns = [next((name for name in names if name in self.header), None) for names in needed]
        missing = [
            " or ".join(names) for names, column in zip(needed, columns, strict=True) if column is None
        ]
        if missing:
            lines.check()
            raise NotARecordingError("missing_columns", f"no column {', '.join(missing)}")
        twice = sorted({name for name in columns if name is not None and self.header.count(name) > 1})
        if twice:
            raise NotARecordingError("duplicate_columns", f"more than one column {', '.join(twice)}")

    def rows(self, *, limit_characters: int | None = None) -> Iterator[Row]:
        """Yield the rows in order; blank lines and repetitions of the header are none.

        Args:
            limit_characters: How much text there may be, for a reader that holds all rows in memory.

        Raises:
            NotARecordingError: `header_only` at the end, `undecodable` where a gzip stream breaks off,
                `too_large` at the limit.
        """
        header = self.header
        any_row = False
        characters = 0
        for line in self._lines:
            # Tools that append to a file write the header again at each start.
            if line == self.header_text or not line.strip():
                continue
            characters += len(line)
            if limit_characters is not None and characters > limit_characters:
                raise NotARecordingError("too_large", f"more than {limit_characters:,} characters of rows")
            yield read_row(line, header)
            any_row = True
        if not any_row:
            self._source.check()
            raise NotARecordingError("header_only", "there is no row below the header")


def _names(header_text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in _split(header_text) or ())


def read_row(line: str, header: Sequence[str]) -> Row:
    """Split one line under its header."""
    if isinstance(line, LongLine):
        told = f"it has {line.characters:,} characters, more than {LINE_CHARACTERS:,}"
        return Row(str(line), {}, (LINE_TOO_LONG, told), line.place)
    fields = line.split(",") if '"' not in line else _split(line)
    if fields is None:
        return Row(line, {}, ("ragged_row", "its quotes do not pair"))
    if len(fields) != len(header):
        return Row(line, {}, ("ragged_row", f"{len(fields)} fields under {len(header)} columns"))
    fault = None if first_damage(line) is None else ("undecodable", "the row has bytes that are no UTF-8")
    return Row(line, dict(zip(header, fields, strict=True)), fault)


def _split(line: str) -> list[str] | None:
    """Split a line that may have quotes; None if they do not pair."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None
