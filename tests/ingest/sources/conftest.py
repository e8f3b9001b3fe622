"""What the tests of the source adapters share: one specimen a format, and a reader that adds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from log_specimens import UpstoxSpecimen
from specimen import Specimen
from specimen import text_of as read_text_of
from text_specimens import (
    BseSpecimen,
    KiteSpecimen,
    KiteStocksSpecimen,
    NseLiveSpecimen,
    NseV1Specimen,
    NseV3Specimen,
)
from typed_specimens import ParquetSpecimen, SqliteSpecimen

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject
from ingest.sources import ADAPTERS
from ingest.sources.base import FileReject


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


@pytest.fixture(scope="session")
def text_of() -> Callable[[Path], str]:
    """Reads the text of a sample or recording without any code of ours."""
    return read_text_of


SPECIMENS: dict[str, Specimen] = {
    "nse-json-v1": NseV1Specimen(),
    "nse-json-v3": NseV3Specimen(),
    "bse-json": BseSpecimen(),
    "kite-poll": KiteSpecimen(),
    "kite-poll-stocks": KiteStocksSpecimen(),
    "nse-live-csv": NseLiveSpecimen(),
    "nse-v3-parquet": ParquetSpecimen(),
    "nse-v3-sqlite": SqliteSpecimen(),
    "upstox-log": UpstoxSpecimen(),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `specimen` on every format, for `text_specimen` on those of text.

    One that asks for `number_field` as well is run on every number field.
    """
    if "number_field" in metafunc.fixturenames:
        cases = [(each, name) for each in SPECIMENS.values() for name in each.number_fields]
        ids = [f"{key}-{name}" for key, each in SPECIMENS.items() for name in each.number_fields]
        metafunc.parametrize(("specimen", "number_field"), cases, ids=ids)
    elif "text_specimen" in metafunc.fixturenames:
        of_text = {key: each for key, each in SPECIMENS.items() if each.is_text}
        metafunc.parametrize("text_specimen", of_text.values(), ids=of_text.keys())
    elif "specimen" in metafunc.fixturenames:
        metafunc.parametrize("specimen", SPECIMENS.values(), ids=SPECIMENS.keys())
