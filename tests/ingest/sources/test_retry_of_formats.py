"""What an adapter rejected comes in exactly once when it is fixed, as if it had been right from the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from specimen import CsvSpecimen

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.load import load
from ingest.rejects import Selection
from ingest.retry import retry
from ingest.sources import WIRES
from ingest.sources.base import FileReject, SourceAdapter
from lake.settings import Settings

LOTS = "exchange,symbol,valid_from,lot_size\n"


def lake_with(folder: Path, lots: str | None = None) -> Settings:
    settings = Settings(root=folder, raw_stream_flush_seconds=3600)
    if lots is not None:
        folder.mkdir(parents=True)
        (folder / "lot_sizes.csv").write_text(lots, encoding="utf-8")
    return settings


def rows_of(settings: Settings, table: str = "option_chain") -> list[dict[str, Any]]:
    """Rows read by deltalake, without what differs from run to run, in an order that is theirs alone."""
    from deltalake import DeltaTable

    rows = DeltaTable(str(settings.root / "raw_stream" / table)).to_pyarrow_table().to_pylist()
    for row in rows:
        del row["batch_id"]
    return sorted(rows, key=repr)


def without_receipt(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without when they were received, and without what is said of their chain as a whole."""
    left_out = {"received_time", "dq_flags"}
    return sorted(({k: v for k, v in row.items() if k not in left_out} for row in rows), key=repr)


@dataclass
class Loads:
    """Loads bytes of a specimen into lakes under a folder."""

    folder: Path
    known: Mapping[str, SourceAdapter]

    def path(self, specimen: Any) -> Path:
        path = self.folder / "files" / specimen.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def load(self, specimen: Any, settings: Settings, content: bytes) -> Any:
        path = self.path(specimen)
        path.write_bytes(content)
        return load(settings, self.known[specimen.source], [path])


@pytest.fixture
def loads(tmp_path: Path, known: Mapping[str, SourceAdapter]) -> Loads:
    return Loads(tmp_path, known)


def check_comes_in_once(
    specimen: Any, loads: Loads, bad: bytes, right: bytes, reason: str, **fixed: Any
) -> None:
    """Load what is bad, retry with the fix, and compare with a lake in which it was right at once."""
    ours, other = lake_with(loads.folder / "ours"), lake_with(loads.folder / "other")
    summary = loads.load(specimen, ours, bad)
    assert set(summary.quarantined) == {reason}
    rejected = sum(summary.quarantined.values())
    received = {row["received_time"] for row in rows_of(ours, "quarantine")}

    before = rows_of(ours)
    still = retry(ours)
    assert (still.tried, still.accepted, set(still.failed)) == (rejected, 0, {reason})
    assert rows_of(ours) == before

    would = retry(ours, dry_run=True, **fixed)
    assert rows_of(ours) == before
    done = retry(ours, Selection(reason=reason, source=specimen.source), **fixed)
    assert (would.accepted, would.failed, would.rows) == (done.accepted, done.failed, done.rows)
    assert (done.tried, done.accepted, done.failed) == (rejected, rejected, {})

    loads.load(specimen, other, right)
    came_in = rows_of(ours)
    assert without_receipt(came_in) == without_receipt(rows_of(other))
    assert len(came_in) == specimen.leg_count()
    assert {row["received_time"] for row in came_in} >= received

    assert retry(ours, **fixed).tried == 0
    assert loads.load(specimen, ours, bad).rows == 0
    assert rows_of(ours) == came_in
    assert len(rows_of(ours, "quarantine")) == rejected


def chain_as_it_came(specimen: Any, reference: ReferenceData, loads: Loads) -> Any:
    path = loads.path(specimen)
    path.write_bytes(specimen.good())
    first = next(iter(loads.known[specimen.source].read(path, reference)))
    assert isinstance(first, ChainUpdate)
    assert first.raw_legs is not None
    return first.raw_legs.chain


def test_a_null_form_that_was_not_known(specimen: Any, loads: Loads) -> None:
    number_field = specimen.number_fields[0]
    wire = WIRES[specimen.source]
    fixed = {**WIRES, wire.source: replace(wire, nulls=wire.nulls | {"n.a."})}
    check_comes_in_once(
        specimen,
        loads,
        specimen.with_value(number_field, "n.a."),
        specimen.with_value(number_field, ""),
        "bad_number",
        wires=fixed,
    )


def test_a_time_format_that_was_not_known(
    timed_specimen: Any, loads: Loads, reference: ReferenceData
) -> None:
    specimen = timed_specimen
    text = chain_as_it_came(specimen, reference, loads).event_time
    wire = WIRES[specimen.source]

    def event_time(raw: object) -> Any:
        # A log has more in its line than the time.
        after = str(raw).removeprefix("at ")
        return wire.event_time(after) or wire.event_time(after[: len(str(text))])

    fixed = {**WIRES, wire.source: replace(wire, event_time=event_time)}
    check_comes_in_once(
        specimen, loads, specimen.with_time(f"at {text}"), specimen.with_time(text), "bad_event_time",
        wires=fixed,
    )  # fmt: skip


def test_a_symbol_that_was_not_known(named_specimen: Any, loads: Loads, reference: ReferenceData) -> None:
    specimen = named_specimen
    right = chain_as_it_came(specimen, reference, loads).symbol
    wire = WIRES[specimen.source]

    def symbol(raw: object) -> str | None:
        return wire.symbol(right if raw == "\N{SNOWMAN}" else raw)

    fixed = {**WIRES, wire.source: replace(wire, symbol=symbol)}
    check_comes_in_once(
        specimen, loads, specimen.with_symbol("\N{SNOWMAN}"), specimen.with_symbol(right), "bad_symbol",
        wires=fixed,
    )  # fmt: skip


def test_a_number_out_of_bounds_is_read_again_from_what_came(specimen: Any, loads: Loads) -> None:
    # -7.25 is a number to the adapter, but no price that the contract allows; fixed, it reads no price there.
    wire = WIRES[specimen.source]
    field = next(one.names[0] for one in wire.calls if one.column == "ltp")
    if specimen.source == "nse-json":
        field = "lastPrice"
    calls, puts = (tuple(one for one in side if one.column != "ltp") for side in (wire.calls, wire.puts))
    fixed = {**WIRES, wire.source: replace(wire, calls=calls, puts=puts)}
    check_comes_in_once(
        specimen, loads, specimen.with_value(field, "-7.25"), specimen.with_value(field, ""), "contract",
        wires=fixed,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["retry", "load", "retry, then load", "load, then retry"])
def test_a_lot_size_that_was_not_known(named_specimen: Any, loads: Loads, how: str) -> None:
    content = named_specimen.with_symbol("NEWINDEX")
    exchange = WIRES[named_specimen.source].exchange or "NSE"
    lots = f"{LOTS}{exchange},NEWINDEX,2000-01-01,600\n"
    ours, other = lake_with(loads.folder / "ours"), lake_with(loads.folder / "other", lots)
    loads.load(named_specimen, other, content)
    summary = loads.load(named_specimen, ours, content)
    if not WIRES[named_specimen.source].counts_contracts:
        assert summary.quarantined == {}
        return
    rejected = named_specimen.leg_count()
    assert summary.quarantined == {"unknown_lot_size": rejected}
    assert retry(ours).failed == {"unknown_lot_size": rejected}
    (ours.root / "lot_sizes.csv").write_text(lots, encoding="utf-8")
    for step in how.split(", then "):
        if step == "retry":
            done = retry(ours)
            assert done.accepted + done.loaded == rejected
            assert done.loaded == (rejected if how == "load, then retry" else 0)
        else:
            loads.load(named_specimen, ours, content)
    assert without_receipt(rows_of(ours)) == without_receipt(rows_of(other))
    if "retry" in how:
        assert retry(ours).tried == 0


def test_one_leg_of_a_chain_without_a_lot_size_keeps_a_load_from_doubling_it(
    named_specimen: Any, loads: Loads
) -> None:
    if not WIRES[named_specimen.source].counts_contracts:
        pytest.skip("its legs need no lot size")
    content = named_specimen.with_symbol("NEWINDEX")
    ours = lake_with(loads.folder / "ours")
    loads.load(named_specimen, ours, content)
    exchange = WIRES[named_specimen.source].exchange or "NSE"
    (ours.root / "lot_sizes.csv").write_text(f"{LOTS}{exchange},NEWINDEX,2000-01-01,600\n", encoding="utf-8")
    first = rows_of(ours, "quarantine")[0]["reject_id"]
    assert retry(ours, Selection(id=first)).accepted == 1
    loads.load(named_specimen, ours, content)
    retry(ours)
    rows = rows_of(ours)
    assert len(rows) == named_specimen.leg_count()


class Repaired:
    """An adapter that learned to skip what stands before the content."""

    def __init__(self, name: str, junk: bytes, scratch: Path, known: Mapping[str, SourceAdapter]) -> None:
        self._adapter = known[name]
        self._junk, self._scratch = junk, scratch
        self.name, self.about, self.suffixes = name, self._adapter.about, self._adapter.suffixes
        self.wire = WIRES[name]

    def recognises(self, sample: Any) -> bool:
        return bool(sample.head.startswith(self._junk))

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | FileReject]:
        inner = self._scratch.joinpath(*path.parts[-3:])
        inner.parent.mkdir(parents=True, exist_ok=True)
        inner.write_bytes(path.read_bytes().removeprefix(self._junk))
        return self._adapter.read(inner, reference)


@pytest.mark.parametrize("gone", ["kept", "moved away"])
def test_a_file_that_no_adapter_could_read(specimen: Any, loads: Loads, gone: str) -> None:
    junk = b"\x1f\x8bjunk"  # a gzip file, it seems, and a broken one
    ours, other = lake_with(loads.folder / "ours"), lake_with(loads.folder / "other")
    summary = loads.load(specimen, ours, junk + specimen.good())
    ((reason, count),) = summary.quarantined.items()
    assert (count, rows_of(ours)) == (1, [])
    if gone == "moved away":
        loads.path(specimen).unlink()
    scratch = loads.folder / "scratch"
    scratch.mkdir()
    assert retry(ours).failed == {reason: 1}
    fixed = {**loads.known, specimen.source: Repaired(specimen.source, junk, scratch, loads.known)}
    done = retry(ours, adapters=fixed)
    assert (done.tried, done.accepted, done.failed) == (1, 1, {})
    assert done.rows == {"option_chain": specimen.leg_count()}
    loads.load(specimen, other, specimen.good())
    came_in = rows_of(ours)
    assert without_receipt(came_in) == without_receipt(rows_of(other))
    assert {row["received_time"] for row in came_in} == {
        row["received_time"] for row in rows_of(ours, "quarantine")
    }
    # Twice is once, by a retry and by a load of what is right.
    assert retry(ours, adapters=fixed).tried == 0
    loads.load(specimen, ours, specimen.good())
    assert rows_of(ours) == came_in


def test_a_word_for_call_that_was_not_known(specimen: Any, loads: Loads) -> None:
    wire = WIRES[specimen.source]
    if specimen.source != "nse-live-csv":
        pytest.skip("it has no such column")
    bad = specimen.good().replace(b"Call", b"Ruf")
    fixed = {**WIRES, wire.source: replace(wire, option_types={**wire.option_types, "ruf": "CE"})}
    assert bad != specimen.good()
    check_comes_in_once(specimen, loads, bad, specimen.good(), "bad_option_type", wires=fixed)


def _ragged(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines[len(lines) // 2] = lines[len(lines) // 2].rstrip(b"\r\n") + b",one more\n"
    return b"".join(lines)


def test_a_damaged_line_is_split_again_and_still_fails(text_specimen: Any, loads: Loads) -> None:
    if not isinstance(text_specimen, CsvSpecimen):
        pytest.skip("it is no table")
    ours = lake_with(loads.folder / "ours")
    summary = loads.load(text_specimen, ours, _ragged(text_specimen.good()))
    assert set(summary.quarantined) == {"ragged_row"}
    before = rows_of(ours, "quarantine")
    assert retry(ours).failed == summary.quarantined
    assert rows_of(ours, "quarantine") == before
    assert all("one more" in row["origin"] for row in before)
