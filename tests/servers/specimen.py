"""A small good file of a recorded format, and ways to spoil it: what the adapters' shared suite is run on.

A "leg" is what becomes one row of a table: a leg of a chain, or a candle.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

INDIA = timezone(timedelta(hours=5, minutes=30))
SAMPLES = Path(__file__).parents[1] / "data"


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")


def reversed_names(value: Any) -> Any:
    """A parsed document with the names of each object in the opposite order."""
    if isinstance(value, dict):
        return {name: reversed_names(each) for name, each in reversed(value.items())}
    return [reversed_names(each) for each in value] if isinstance(value, list) else value


def renamed_in(value: Any, old: str, new: str) -> Any:
    """A parsed document with a name written otherwise wherever it stands."""
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if name != new or old not in value}
        return {new if name == old else name: renamed_in(each, old, new) for name, each in kept.items()}
    return [renamed_in(each, old, new) for each in value] if isinstance(value, list) else value


def names_in(value: Any) -> set[str]:
    """Every name in a parsed document."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set(value if isinstance(value, dict) else ()).union(*(names_in(each) for each in inner))


class Specimen(ABC):
    """A small good file of one format, and ways to spoil it.

    Attributes:
        source: Name of its adapter.
        table: Table that its rows go to.
        reads: As lines below a header, as lines of a log, as one document, or as a table with types.
        names_matter: Whether its fields are found by name, not by place.
        interval_s: Length of its candles; None if it has none.
        grows: Whether each candle is taken in by itself.
        interval_in_name: Whether only the file's name says how long its candles are.
        is_of_index: Whether it is of an index, which has no volume.
        time_example: How the format writes a time that names no offset, and that time.
        passes_over: Whether lines that are nothing of this format may stand in it.
        damaged_reason: Why a damaged row is rejected.
        legs_per_row: How many legs stand in one row or line.
        number_fields: Names of the numbers of a leg.
        shared_fields: Those that stand once in a row of two legs, and so spoil both of them.
        counts_contracts: Whether a leg can be read only with a lot size.
        is_text: Whether the format is text.
        file_name: What the good file is called, with its folder where that says something.
        other_name: Another name that says the same.
        says_time: Whether the time stands in the content.
        says_symbol: Whether the underlying stands in the content.
        unknown_column: The name that `with_unknown_column` adds.
    """

    source: str
    legs_per_row: int
    number_fields: tuple[str, ...]
    html_reason: str
    without_rows_reason: str
    damaged_reason: str
    time_example: tuple[str, datetime]
    table = "option_chain"
    reads: Literal["lines", "log", "document", "table"] = "lines"
    names_matter = True
    interval_s: int | None = None
    grows = interval_in_name = is_of_index = passes_over = False
    shared_fields: frozenset[str] = frozenset()
    counts_contracts = True
    is_text = True
    file_name = "recorded"
    other_name = "no-ending"
    says_time = says_symbol = True
    unknown_column = "brand new"

    @abstractmethod
    def good(self) -> bytes: ...

    @abstractmethod
    def leg_count(self) -> int:
        """Legs of the good file, counted without any code of ours."""

    @abstractmethod
    def with_value(self, name: str, value: Any) -> bytes:
        """The good file with one number, in the middle, replaced."""

    def with_time(self, text: Any) -> bytes:
        raise NotImplementedError

    def with_symbol(self, symbol: str) -> bytes:
        raise NotImplementedError

    def symbol_key(self, symbol: str) -> str:
        """How the format writes a symbol where `with_symbol` puts it."""
        return symbol

    def with_damaged_row(self) -> tuple[bytes, int]:
        """The good file with one row, in the middle, damaged; and how many legs stood in it."""
        raise NotImplementedError

    def with_row_twice(self) -> tuple[bytes, int]:
        """The good file with one row, in the middle, standing twice; and how many legs are in it."""
        raise NotImplementedError

    @abstractmethod
    def shuffled(self) -> bytes:
        """The good file with its columns, or the names in its objects, in another order."""

    @abstractmethod
    def names(self) -> set[str]:
        """Every name of a column or a field in the good file."""

    @abstractmethod
    def renamed(self, old: str, new: str) -> bytes:
        """The good file with a name written otherwise, and nothing else under the new one."""

    @abstractmethod
    def with_unknown_column(self) -> bytes: ...

    @abstractmethod
    def without_rows(self) -> bytes: ...

    @abstractmethod
    def relaid(self) -> Iterator[bytes]:
        """The same content in other layouts."""


class JsonSpecimen(Specimen):
    path: str
    reads = "document"
    damaged_reason = "bad_leg"
    html_reason = "html_instead_of_json"
    without_rows_reason = "no_legs"

    def document(self) -> Any:
        return json.loads(text_of(SAMPLES / self.path))

    def good(self) -> bytes:
        return json.dumps(self.document()).encode()

    @abstractmethod
    def rows(self, document: Any) -> list[dict[str, Any]]: ...

    @abstractmethod
    def legs(self, document: Any) -> list[dict[str, Any]]:
        """The objects that hold the numbers of a leg."""

    def with_value(self, name: str, value: Any) -> bytes:
        document = self.document()
        legs = self.legs(document)
        legs[len(legs) // 2][name] = value
        return json.dumps(document).encode()

    def legs_in(self, row: dict[str, Any]) -> int:
        return self.legs_per_row if row else 0

    def with_damaged_row(self) -> tuple[bytes, int]:
        document = self.document()
        rows: list[Any] = self.rows(document)
        middle = len(rows) // 2
        legs = self.legs_in(rows[middle])
        rows[middle] = 17
        return json.dumps(document).encode(), legs

    def with_row_twice(self) -> tuple[bytes, int]:
        document = self.document()
        rows = self.rows(document)
        middle = len(rows) // 2
        rows.insert(middle, rows[middle])
        return json.dumps(document).encode(), self.legs_in(rows[middle])

    def shuffled(self) -> bytes:
        return json.dumps(reversed_names(self.document())).encode()

    def names(self) -> set[str]:
        return names_in(self.document())

    def renamed(self, old: str, new: str) -> bytes:
        return json.dumps(renamed_in(self.document(), old, new)).encode()

    def with_unknown_column(self) -> bytes:
        document = self.document()
        for leg in self.legs(document):
            leg["brand new"] = "?"
        return json.dumps(document).encode()

    def without_rows(self) -> bytes:
        document = self.document()
        self.rows(document).clear()
        return json.dumps(document).encode()

    def relaid(self) -> Iterator[bytes]:
        document = self.document()
        yield json.dumps(document, indent=4).encode()
        yield json.dumps(document, indent=1).replace("\n", "\r\n").encode()
        yield json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class CsvSpecimen(Specimen):
    path: str
    time_column: str
    symbol_column: str
    damaged_reason = "ragged_row"
    html_reason = "html_instead_of_csv"
    without_rows_reason = "header_only"

    def good(self) -> bytes:
        return text_of(SAMPLES / self.path).encode()

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.good().decode())))

    def dump(
        self, rows: list[dict[str, Any]], *, line_end: str = "\n", quoting: Any = csv.QUOTE_MINIMAL
    ) -> bytes:
        out = io.StringIO()
        header = list(rows[0])
        writer = csv.DictWriter(out, header, lineterminator=line_end, quoting=quoting)
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().encode()

    def leg_count(self) -> int:
        return self.legs_per_row * len(self.rows())

    def with_value(self, name: str, value: Any) -> bytes:
        rows = self.rows()
        rows[len(rows) // 2][name] = value
        return self.dump(rows)

    def with_time(self, text: Any) -> bytes:
        return self.dump([{**row, self.time_column: text} for row in self.rows()])

    def with_damaged_row(self) -> tuple[bytes, int]:
        lines = self.good().splitlines(keepends=True)
        middle = len(lines) // 2
        lines[middle] = lines[middle].rstrip(b"\r\n") + b",one more\n"
        return b"".join(lines), self.legs_per_row

    def with_row_twice(self) -> tuple[bytes, int]:
        lines = self.good().splitlines(keepends=True)
        middle = len(lines) // 2
        lines.insert(middle, lines[middle])
        return b"".join(lines), self.legs_per_row

    def shuffled(self) -> bytes:
        return self.dump([dict(reversed(row.items())) for row in self.rows()])

    def names(self) -> set[str]:
        return set(self.rows()[0])

    def renamed(self, old: str, new: str) -> bytes:
        rows = [{name: value for name, value in row.items() if name != new} for row in self.rows()]
        return self.dump([{new if n == old else n: value for n, value in row.items()} for row in rows])

    def with_unknown_column(self) -> bytes:
        return self.dump([{"brand new": "?", **row} for row in self.rows()])

    def without_rows(self) -> bytes:
        return self.good().splitlines(keepends=True)[0]

    def relaid(self) -> Iterator[bytes]:
        yield self.good().replace(b"\n", b"\r\n")
        yield self.good().rstrip(b"\n")
        yield self.good().replace(b"\n", b"\n\n")
