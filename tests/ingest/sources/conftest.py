"""What the tests of the source adapters share: one specimen a format, and a reader that adds up."""

from __future__ import annotations

import csv
import gzip
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject
from ingest.sources import ADAPTERS
from ingest.sources.base import FileReject

SAMPLES = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def reference() -> ReferenceData:
    return ReferenceData.load()


@dataclass
class Reading:
    """Everything one or more files gave."""

    chains: list[ChainUpdate] = field(default_factory=list)
    files: list[FileReject] = field(default_factory=list)

    @property
    def legs(self) -> list[dict[str, Any]]:
        return [leg for chain in self.chains for leg in (*chain.calls, *chain.puts)]

    @property
    def rejects(self) -> list[Reject]:
        return [reject for chain in self.chains for reject in chain.rejects]

    @property
    def accounted(self) -> int:
        """Legs that came out, one way or the other."""
        return len(self.legs) + len(self.rejects)

    @property
    def identities(self) -> list[bytes | None]:
        return [chain.identity for chain in self.chains]

    @property
    def file_reasons(self) -> list[str]:
        return [each.reject.reason for each in self.files]

    def total(self, column: str) -> int:
        return sum(leg[column] or 0 for leg in self.legs)

    def nulls(self, column: str) -> int:
        return sum(leg[column] is None for leg in self.legs)


Read = Callable[..., Reading]


@pytest.fixture
def read(reference: ReferenceData, tmp_path: Path) -> Read:
    """Reads bytes, or files, with the adapter of a name."""

    def read_all(source: str, *inputs: bytes | Path, name: str = "recorded", using: Any = None) -> Reading:
        reading = Reading()
        for content in inputs:
            path = content if isinstance(content, Path) else tmp_path / name
            if isinstance(content, bytes):
                path.write_bytes(content)
            for each in ADAPTERS[source].read(path, using or reference):
                (reading.chains if isinstance(each, ChainUpdate) else reading.files).append(each)  # type: ignore[arg-type]
        return reading

    return read_all


def _text_of(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")


@pytest.fixture(scope="session")
def text_of() -> Callable[[Path], str]:
    """Reads the text of a sample or recording without any code of ours."""
    return _text_of


class Specimen(ABC):
    """A small good file of one format, and ways to spoil it."""

    source: str
    legs_per_row: int
    number_fields: tuple[str, ...]
    html_reason: str
    without_rows_reason: str

    @abstractmethod
    def good(self) -> bytes: ...

    @abstractmethod
    def leg_count(self) -> int:
        """Legs of the good file, counted without any code of ours."""

    @abstractmethod
    def with_value(self, name: str, value: Any) -> bytes:
        """The good file with one number, in the middle, replaced."""

    @abstractmethod
    def with_time(self, text: Any) -> bytes: ...

    @abstractmethod
    def with_symbol(self, symbol: str) -> bytes: ...

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
        return json.loads(_text_of(SAMPLES / self.path))

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


class NseSpecimen(JsonSpecimen):
    source = "nse-json"
    legs_per_row = 1

    def legs(self, document: Any) -> list[dict[str, Any]]:
        return [row[side] for row in self.rows(document) for side in ("CE", "PE") if side in row]

    def leg_count(self) -> int:
        return len(self.legs(self.document()))

    def with_symbol(self, symbol: str) -> bytes:
        document = self.document()
        for leg in self.legs(document):
            leg["underlying"] = symbol
        return json.dumps(document).encode()

    def with_time(self, text: Any) -> bytes:
        document = self.document()
        document.get("records", document)["timestamp"] = text
        return json.dumps(document).encode()


class NseV1Specimen(NseSpecimen):
    path = "nse_api_json/v1/nifty_option_chain.at_9713306.json.gz"
    number_fields = (
        "openInterest",
        "changeinOpenInterest",
        "totalTradedVolume",
        "impliedVolatility",
        "lastPrice",
        "bidQty",
        "bidprice",
        "askQty",
        "askPrice",
        "underlyingValue",
    )

    def rows(self, document: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = document["records"]["data"]
        return rows


class NseV3Specimen(NseSpecimen):
    path = "nse_api_json/v3/nifty_option_chain_new.json"
    number_fields = (
        "openInterest",
        "changeinOpenInterest",
        "totalTradedVolume",
        "impliedVolatility",
        "lastPrice",
        "buyQuantity1",
        "buyPrice1",
        "sellQuantity1",
        "sellPrice1",
        "underlyingValue",
    )

    def rows(self, document: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = document["data"]
        return rows


class BseSpecimen(JsonSpecimen):
    source = "bse-json"
    legs_per_row = 2
    path = "bse_api_json/sensex_option_chain.json"
    number_fields = tuple(
        prefix + name
        for prefix in ("C_", "")
        for name in (
            "Open_Interest",
            "Absolute_Change_OI",
            "Vol_Traded",
            "IV",
            "Last_Trd_Price",
            "BIdQty",
            "BidPrice",
            "OfferQty",
            "OfferPrice",
        )
    )

    def rows(self, document: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = document["Table"]
        return rows

    legs = rows

    def leg_count(self) -> int:
        return 2 * len(self.document()["Table"])

    def with_symbol(self, symbol: str) -> bytes:
        document = self.document()
        for row in document["Table"]:
            row["Ula_Code"] = row["comapny_name"] = row["C_comapny_name"] = symbol
        return json.dumps(document).encode()

    def with_time(self, text: Any) -> bytes:
        document = self.document()
        document["ASON"]["DT_TM"] = text
        return json.dumps(document).encode()


class CsvSpecimen(Specimen):
    path: str
    time_column: str
    symbol_column: str
    html_reason = "html_instead_of_csv"
    without_rows_reason = "header_only"

    def good(self) -> bytes:
        return _text_of(SAMPLES / self.path).encode()

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


class KiteSpecimen(CsvSpecimen):
    source = "kite-poll"
    legs_per_row = 2
    path = "kite_poll_csv/2026-01-30/index_OC_2026-01-30_11-01.csv"
    time_column = "timestamp"
    number_fields = ("CE_LTP", "CE_OI", "CE_Volume", "PE_LTP", "PE_OI", "PE_Volume", "Spot")

    def with_symbol(self, symbol: str) -> bytes:
        return self.dump([{**row, "Symbol": symbol} for row in self.rows()])


class KiteStocksSpecimen(KiteSpecimen):
    path = "kite_poll_stocks_csv/option_chain_2026-02-02_15-26.csv.gz"
    number_fields = ("CE_LTP", "CE_OI", "CE_Volume", "PE_LTP", "PE_OI", "PE_Volume", "Stock_LTP")

    def with_symbol(self, symbol: str) -> bytes:
        return self.dump([{**row, "Stock": symbol} for row in self.rows()])


class NseLiveSpecimen(CsvSpecimen):
    source = "nse-live-csv"
    legs_per_row = 1
    path = "nse_live_derivatives_csv/nifty50-16-Jun-2026.csv.gz"
    time_column = "datetime"
    number_fields = ("lastPrice", "volume", "openInterest", "underlyingValue")

    def with_symbol(self, symbol: str) -> bytes:
        rows = self.rows()
        return self.dump([{**row, "contract": f"{symbol} {row['expiryDate']}"} for row in rows])


SPECIMENS: dict[str, Specimen] = {
    "nse-json-v1": NseV1Specimen(),
    "nse-json-v3": NseV3Specimen(),
    "bse-json": BseSpecimen(),
    "kite-poll": KiteSpecimen(),
    "kite-poll-stocks": KiteStocksSpecimen(),
    "nse-live-csv": NseLiveSpecimen(),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `specimen` on every format, and on every number field if it asks for one."""
    if "number_field" in metafunc.fixturenames:
        cases = [(each, name) for each in SPECIMENS.values() for name in each.number_fields]
        ids = [f"{key}-{name}" for key, each in SPECIMENS.items() for name in each.number_fields]
        metafunc.parametrize(("specimen", "number_field"), cases, ids=ids)
    elif "specimen" in metafunc.fixturenames:
        metafunc.parametrize("specimen", SPECIMENS.values(), ids=SPECIMENS.keys())
