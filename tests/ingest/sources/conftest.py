"""What the tests of the source adapters share: one specimen a format, and a reader that adds up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from candle_specimens import (
    CandleJsonSpecimen,
    IndexCandleSpecimen,
    LegacyBhavcopySpecimen,
    OptionCandleSpecimen,
    UdiffBhavcopySpecimen,
)
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
from ingest.events import CandleUpdate, ChainUpdate, Reject
from ingest.sources import adapters
from ingest.sources.base import FileReject, FormatAdapter


@pytest.fixture(scope="session")
def reference() -> ReferenceData:
    return ReferenceData.load()


Update = ChainUpdate | CandleUpdate


@dataclass
class Reading:
    """Everything one or more files gave."""

    updates: list[Update] = field(default_factory=list)
    files: list[FileReject] = field(default_factory=list)

    @property
    def chains(self) -> list[ChainUpdate]:
        return [each for each in self.updates if isinstance(each, ChainUpdate)]

    @property
    def legs(self) -> list[dict[str, Any]]:
        """What becomes rows, without how it came."""
        return [
            {key: value for key, value in leg.items() if key != "raw"}
            for update in self.updates
            for leg in ((*update.calls, *update.puts) if isinstance(update, ChainUpdate) else update.candles)
        ]

    @property
    def rejects(self) -> list[Reject]:
        return [reject for update in self.updates for reject in update.rejects]

    @property
    def accounted(self) -> int:
        """Legs that came out, one way or the other."""
        return len(self.legs) + len(self.rejects)

    @property
    def identities(self) -> list[bytes | None]:
        return [update.identity for update in self.updates]

    @property
    def file_reasons(self) -> list[str]:
        return [each.reject.reason for each in self.files]

    def total(self, column: str) -> int:
        return sum(leg[column] or 0 for leg in self.legs)

    def nulls(self, column: str) -> int:
        return sum(leg[column] is None for leg in self.legs)


Read = Callable[..., Reading]


@pytest.fixture
def known() -> Mapping[str, FormatAdapter]:
    """Every adapter, told when files were saved that do not say it."""
    return adapters(captured_at=datetime(2026, 6, 25, 15, 30, tzinfo=ZoneInfo("Asia/Kolkata")))


@pytest.fixture
def read(
    reference: ReferenceData,
    tmp_path: Path,
    known: Mapping[str, FormatAdapter],
) -> Read:
    """Reads bytes, or files, with the adapter of a specimen or of a name."""
    specimens = {each.source: each for each in SPECIMENS.values()}

    def read_all(of: str | Specimen, *inputs: bytes | Path, name: str = "", using: Any = None) -> Reading:
        specimen = of if isinstance(of, Specimen) else specimens[of]
        source = specimen.source
        reading = Reading()
        for content in inputs:
            path = content if isinstance(content, Path) else tmp_path / (name or specimen.file_name)
            if isinstance(content, bytes):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            for each in known[source].read(path, using or reference):
                (reading.files if isinstance(each, FileReject) else reading.updates).append(each)  # type: ignore[arg-type]
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
    "bhavcopy-fo": LegacyBhavcopySpecimen(),
    "bhavcopy-udiff": UdiffBhavcopySpecimen(),
    "candle-csv-option": OptionCandleSpecimen(),
    "candle-csv-index": IndexCandleSpecimen(),
    "candle-json": CandleJsonSpecimen(),
}
"""One or more of every adapter's format; what is true only of some formats, a specimen says of itself."""


@pytest.fixture(scope="session")
def specimens() -> Mapping[str, Specimen]:
    """All of them by name."""
    return SPECIMENS


KINDS = {
    "specimen": lambda _: True,
    "text_specimen": lambda each: each.is_text,
    "timed_specimen": lambda each: each.says_time,
    "named_specimen": lambda each: each.says_symbol,
    "nameless_specimen": lambda each: not each.says_symbol,
    "chain_specimen": lambda each: each.table == "option_chain",
    "timed_chain_specimen": lambda each: each.table == "option_chain" and each.says_time,
    "named_chain_specimen": lambda each: each.table == "option_chain" and each.says_symbol,
    "candle_specimen": lambda each: each.table == "candles",
    "wordy_specimen": lambda each: each.names_matter,
    "untyped_specimen": lambda each: each.reads != "table",
    "lot_specimen": lambda each: each.counts_contracts and each.says_symbol,
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
