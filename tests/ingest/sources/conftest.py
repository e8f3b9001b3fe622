"""What the tests of the source adapters share: one specimen a format, and a reader that adds up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from log_specimens import KiteTicksSpecimen, UpstoxSpecimen
from page_specimens import NseTableSpecimen, NseWebsiteSpecimen
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
from ingest.sources import adapters
from ingest.sources.base import FileReject, SourceAdapter


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
def known() -> Mapping[str, SourceAdapter]:
    """Every adapter, told when files were saved that do not say it."""
    return adapters(captured_at=datetime(2026, 6, 25, 15, 30, tzinfo=ZoneInfo("Asia/Kolkata")))


@pytest.fixture
def read(reference: ReferenceData, tmp_path: Path, known: Mapping[str, SourceAdapter]) -> Read:
    """Reads bytes, or files, with the adapter of a name."""
    names = {each.source: each.file_name for each in SPECIMENS.values()}

    def read_all(source: str, *inputs: bytes | Path, name: str = "", using: Any = None) -> Reading:
        reading = Reading()
        for content in inputs:
            path = content if isinstance(content, Path) else tmp_path / (name or names[source])
            if isinstance(content, bytes):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            for each in known[source].read(path, using or reference):
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
    "kite-ticks": KiteTicksSpecimen(),
    "nse-table-csv": NseTableSpecimen(),
    "nse-website-csv": NseWebsiteSpecimen(),
}


KINDS = {
    "specimen": lambda _: True,
    "text_specimen": lambda each: each.is_text,
    "timed_specimen": lambda each: each.says_time,
    "named_specimen": lambda each: each.says_symbol,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `specimen` on every format, for `text_specimen` on those of text, and so on.

    One that asks for `number_field` as well is run on every number field.
    """
    if "number_field" in metafunc.fixturenames:
        cases = [(each, name) for each in SPECIMENS.values() for name in each.number_fields]
        ids = [f"{key}-{name}" for key, each in SPECIMENS.items() for name in each.number_fields]
        metafunc.parametrize(("specimen", "number_field"), cases, ids=ids)
        return
    for kind, belongs in KINDS.items():
        if kind in metafunc.fixturenames:
            chosen = {key: each for key, each in SPECIMENS.items() if belongs(each)}
            metafunc.parametrize(kind, chosen.values(), ids=chosen.keys())
