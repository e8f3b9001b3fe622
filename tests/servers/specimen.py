"""A small good file of a recorded format, and ways to spoil it: what the adapters' shared suite is run on."""

from __future__ import annotations

import csv
import gzip
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[1] / "data"


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")


class Specimen(ABC):
    """A small good file of one format, and ways to spoil it.

    Attributes:
        source: Name of its adapter.
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

    @abstractmethod
    def with_unknown_column(self) -> bytes: ...

    @abstractmethod
    def without_rows(self) -> bytes: ...

    @abstractmethod
    def relaid(self) -> Iterator[bytes]:
        """The same content in other layouts."""


class JsonSpecimen(Specimen):
    path: str
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

    def with_unknown_column(self) -> bytes:
        return self.dump([{"brand new": "?", **row} for row in self.rows()])

    def without_rows(self) -> bytes:
        return self.good().splitlines(keepends=True)[0]

    def relaid(self) -> Iterator[bytes]:
        yield self.good().replace(b"\n", b"\r\n")
        yield self.good().rstrip(b"\n")
        yield self.good().replace(b"\n", b"\n\n")
