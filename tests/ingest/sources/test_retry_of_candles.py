"""A candle that an adapter rejected comes in exactly once when it is fixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from candle_specimens import (
    CandleJsonSpecimen,
    CandleSpecimen,
    IndexCandleSpecimen,
    LegacyBhavcopySpecimen,
    OptionCandleSpecimen,
    UdiffBhavcopySpecimen,
)
from deltalake import DeltaTable
from small_files import write_lots

from ingest.load import LoadSummary, load
from ingest.retry import retry
from ingest.sources import ADAPTERS, CANDLE_FORMATS
from lake.settings import Settings

SPECIMENS = (
    LegacyBhavcopySpecimen(), UdiffBhavcopySpecimen(), OptionCandleSpecimen(), IndexCandleSpecimen(),
    CandleJsonSpecimen(),
)  # fmt: skip
each_format = pytest.mark.parametrize("one", SPECIMENS, ids=lambda one: type(one).__name__)


def load_into(root: Path, one: CandleSpecimen, content: bytes) -> LoadSummary:
    path = root.parent / "files" / one.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return load(Settings(root=root), ADAPTERS[one.source], [path])


def candles(root: Path) -> list[dict[str, Any]]:
    rows = DeltaTable(str(root / "raw_stream" / "candles")).to_pyarrow_table().to_pylist()
    differing = {"batch_id", "received_time"}
    return sorted(({k: v for k, v in row.items() if k not in differing} for row in rows), key=repr)


@each_format
def test_a_null_form_that_was_not_known(one: CandleSpecimen, tmp_path: Path) -> None:
    name = one.number_fields[-1]
    ours, other = tmp_path / "ours", tmp_path / "other"
    assert load_into(ours, one, one.with_value(name, "n.a.")).quarantined == {"bad_number": 1}
    wire = CANDLE_FORMATS[one.source]
    fixed = {**CANDLE_FORMATS, one.source: replace(wire, nulls=wire.nulls | {"n.a."})}
    settings = Settings(root=ours)
    assert retry(settings).failed == {"bad_number": 1}
    assert retry(settings, candle_formats=fixed, dry_run=True).accepted == 1
    assert retry(settings, candle_formats=fixed).accepted == 1
    load_into(other, one, one.with_value(name, ""))
    assert candles(ours) == candles(other)
    assert retry(settings, candle_formats=fixed).tried == 0
    assert load_into(ours, one, one.with_value(name, "n.a.")).rows == 0
    assert candles(ours) == candles(other)


@each_format
def test_a_candle_that_breaks_the_contract_keeps_what_it_was(one: CandleSpecimen, tmp_path: Path) -> None:
    wire = CANDLE_FORMATS[one.source]
    field = next(each for each in wire.fields if each.column == "close")
    name = next(each for each in field.names if each in one.number_fields)
    ours = tmp_path / "ours"
    (reason,) = load_into(ours, one, one.with_value(name, "-7.25")).quarantined
    settings = Settings(root=ours)
    assert retry(settings).failed == {reason: 1}
    before = len(candles(ours))
    fixed = {
        **CANDLE_FORMATS,
        one.source: replace(wire, fields=tuple(f for f in wire.fields if f is not field)),
    }
    done = retry(settings, candle_formats=fixed)
    # A close may be required: then the reason is another one, and is told.
    assert len(candles(ours)) == before + done.accepted
    assert done.accepted + sum(done.failed.values()) == 1


@pytest.mark.parametrize("how", ["retry", "load", "retry, then load", "load, then retry"])
def test_a_lot_size_that_was_not_known(how: str, tmp_path: Path) -> None:
    one = LegacyBhavcopySpecimen()
    content = one.with_symbol("NEWINDEX")
    ours, other = tmp_path / "ours", tmp_path / "other"
    rejected = load_into(ours, one, content).quarantined
    assert rejected == {"unknown_lot_size": one.leg_count()}
    assert retry(Settings(root=ours)).failed == rejected
    write_lots(ours, "NEWINDEX", 60)
    write_lots(other, "NEWINDEX", 60)
    load_into(other, one, content)
    for step in how.split(", then "):
        if step == "retry":
            retry(Settings(root=ours))
        else:
            load_into(ours, one, content)
    assert candles(ours) == candles(other) != []
