"""Reading the small reference tables that ship as CSV and that users edit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path

from lake.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Line:
    """One data line of a reference table.

    Attributes:
        path: The file it stands in.
        number: Its line number there, the first line of the file being 1.
        fields: Its values by column, without surrounding blanks.
    """

    path: Path
    number: int
    fields: dict[str, str]

    def error(self, problem: str) -> SettingsError:
        """Return the error that names this line and what is wrong with it."""
        return SettingsError(f"{self.path}, line {self.number}: {problem}")

    def date(self, column: str) -> date:
        """Return a column's value as a date.

        Raises:
            SettingsError: It is not written YYYY-MM-DD.
        """
        text = self.fields[column]
        try:
            return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
        except ValueError as error:
            raise self.error(f"{column} {text!r} must be a date, YYYY-MM-DD") from error

    def time(self, column: str) -> time | None:
        """Return a column's value as a time of day, None if it is empty.

        Raises:
            SettingsError: It is not written HH:MM.
        """
        text = self.fields[column]
        if not text:
            return None
        try:
            return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007
        except ValueError as error:
            raise self.error(f"{column} {text!r} must be a time of day, HH:MM") from error


def read_lines(path: Path, columns: tuple[str, ...]) -> Iterator[Line]:
    """Yield the data lines of a CSV file; blank lines and lines that begin with `#` are comments.

    The first other line must be the header, with exactly `columns`.

    Raises:
        SettingsError: The file cannot be read, or a line has not these columns; file and line are named.
    """
    try:
        # utf-8-sig: Excel puts a byte order mark before the header when it saves CSV as UTF-8.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error})") from error
    header_seen = False
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        try:
            values = [value.strip() for value in next(csv.reader([raw], strict=True))]
        except csv.Error as error:
            raise SettingsError(f"{path}, line {number}: {error}") from error
        if not header_seen:
            if tuple(values) != columns:
                raise SettingsError(f"{path}, line {number}: expected the header {','.join(columns)}")
            header_seen = True
            continue
        if len(values) != len(columns):
            wanted = f"{len(columns)} fields ({','.join(columns)})"
            raise SettingsError(f"{path}, line {number}: expected {wanted}, found {len(values)}")
        yield Line(path, number, dict(zip(columns, values, strict=True)))
    if not header_seen:
        raise SettingsError(f"{path}: expected the header {','.join(columns)}, found no line at all")
