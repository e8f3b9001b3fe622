"""Reading the small reference tables that ship as CSV and that users edit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import TypeGuard

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


def is_there(path: Path | None) -> TypeGuard[Path]:
    """Return whether a user's file is to be read: one that is there and cannot be looked at is, and fails."""
    try:
        if path is not None:
            path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return path is not None


def read_lines(path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[Line]:
    """Yield the data lines of a CSV file; blank lines and lines that begin with `#` are comments.

    The first other line must be the header: `columns`, followed by all of `optional` or by none of it.

    Args:
        path: The file.
        columns: Its columns.
        optional: Columns that a file may leave out; they are then empty.

    Raises:
        SettingsError: The file cannot be read, or a line has not these columns; file and line are named.
    """
    try:
        # utf-8-sig: Excel puts a byte order mark before the header when it saves CSV as UTF-8.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error})") from error
    forms = [columns, *([(*columns, *optional)] if optional else [])]
    expected = f"expected the header {' or '.join(','.join(form) for form in forms)}"
    header: tuple[str, ...] | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        try:
            values = [value.strip() for value in next(csv.reader([raw], strict=True))]
        except csv.Error as error:
            raise SettingsError(f"{path}, line {number}: {error}") from error
        if header is None:
            if tuple(values) not in forms:
                raise SettingsError(f"{path}, line {number}: {expected}")
            header = tuple(values)
            continue
        if len(values) != len(header):
            wanted = f"{len(header)} fields ({','.join(header)})"
            raise SettingsError(f"{path}, line {number}: expected {wanted}, found {len(values)}")
        yield Line(path, number, dict.fromkeys(optional, "") | dict(zip(header, values, strict=True)))
    if header is None:
        raise SettingsError(f"{path}: {expected}, found no line at all")
