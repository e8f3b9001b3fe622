"""What an adapter rejected comes in exactly once when it is fixed, as if it had been right from the start."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from command_line import call

from catalog.reference import ReferenceData
from ingest import retry_candles, retry_legs
from ingest.events import CandleUpdate, ChainUpdate
from ingest.load import load
from ingest.rejects import Selection
from ingest.retry import retry
from ingest.sources import ADAPTERS, CANDLE_FORMATS, WIRES, csv_table, recorded_file
from ingest.sources.base import FileReject, FormatAdapter
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
    known: Mapping[str, FormatAdapter]

    def path(self, specimen: Any) -> Path:
        path = self.folder / "files" / specimen.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def load(self, specimen: Any, settings: Settings, content: bytes) -> Any:
        path = self.path(specimen)
        path.write_bytes(content)
        return load(settings, self.known[specimen.source], [path])


@pytest.fixture
def loads(tmp_path: Path, known: Mapping[str, FormatAdapter]) -> Loads:
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

    before = rows_of(ours, specimen.table)
    still = retry(ours)
    assert (still.tried, still.accepted, set(still.failed)) == (rejected, 0, {reason})
    assert rows_of(ours, specimen.table) == before

    would = retry(ours, dry_run=True, **fixed)
    assert rows_of(ours, specimen.table) == before
    done = retry(ours, Selection(reason=reason, source=specimen.source), **fixed)
    assert (would.accepted, would.failed, would.rows) == (done.accepted, done.failed, done.rows)
    assert (done.tried, done.accepted, done.failed) == (rejected, rejected, {})

    loads.load(specimen, other, right)
    came_in = rows_of(ours, specimen.table)
    assert without_receipt(came_in) == without_receipt(rows_of(other, specimen.table))
    assert len(came_in) == specimen.leg_count()
    assert {row["received_time"] for row in came_in} >= received

    assert retry(ours, **fixed).tried == 0
    assert loads.load(specimen, ours, bad).rows == 0
    assert rows_of(ours, specimen.table) == came_in
    assert len(rows_of(ours, "quarantine")) == rejected


def chain_as_it_came(specimen: Any, reference: ReferenceData, loads: Loads) -> Any:
    path = loads.path(specimen)
    path.write_bytes(specimen.good())
    first = next(iter(loads.known[specimen.source].read(path, reference)))
    assert isinstance(first, ChainUpdate)
    assert first.raw_legs is not None
    return first.raw_legs.chain


def fix(specimen: Any, **changes: Any) -> dict[str, Any]:
    """What to give `retry` so that the table of the specimen's adapter says something else."""
    name = specimen.source
    if specimen.table == "option_chain":
        return {"wires": {**WIRES, name: replace(WIRES[name], **changes)}}
    return {"candle_formats": {**CANDLE_FORMATS, name: replace(CANDLE_FORMATS[name], **changes)}}


def lot_of(specimen: Any, symbol: str, lot_size: int) -> str:
    exchange = ADAPTERS[specimen.source].wire.exchange or "NSE"
    return f"{LOTS}{exchange},{symbol},2000-01-01,{lot_size}\n"


@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_a_null_form_that_was_not_known(specimen: Any, loads: Loads, place: int) -> None:
    number_field = specimen.number_fields[place]
    check_comes_in_once(
        specimen,
        loads,
        specimen.with_value(number_field, "n.a."),
        specimen.with_value(number_field, ""),
        "bad_number",
        **fix(specimen, nulls=ADAPTERS[specimen.source].wire.nulls | {"n.a."}),
    )


def test_a_time_format_that_was_not_known(
    timed_chain_specimen: Any, loads: Loads, reference: ReferenceData
) -> None:
    specimen = timed_chain_specimen
    text = chain_as_it_came(specimen, reference, loads).event_time
    wire = WIRES[specimen.source]

    def event_time(raw: object, zone: ZoneInfo) -> Any:
        # A log has more in its line than the time.
        after = str(raw).removeprefix("at ")
        return wire.event_time(after, zone) or wire.event_time(after[: len(str(text))], zone)

    check_comes_in_once(
        specimen, loads, specimen.with_time(f"at {text}"), specimen.with_time(text), "bad_event_time",
        **fix(specimen, event_time=event_time),
    )  # fmt: skip


def test_a_symbol_that_was_not_known(
    named_chain_specimen: Any, loads: Loads, reference: ReferenceData
) -> None:
    specimen = named_chain_specimen
    right = chain_as_it_came(specimen, reference, loads).symbol
    wire = WIRES[specimen.source]

    def symbol(raw: object) -> str | None:
        return wire.symbol(right if raw == "\N{SNOWMAN}" else raw)

    check_comes_in_once(
        specimen, loads, specimen.with_symbol("\N{SNOWMAN}"), specimen.with_symbol(right), "bad_symbol",
        **fix(specimen, symbol=symbol),
    )  # fmt: skip


def test_a_number_out_of_bounds_is_read_again_from_what_came(chain_specimen: Any, loads: Loads) -> None:
    # -7.25 is a number to the adapter, but no price that the contract allows; fixed, it reads no price there.
    specimen = chain_specimen
    wire = WIRES[specimen.source]
    names = next(one.names for one in wire.calls if one.column == "ltp")
    field = next(name for name in names if name in specimen.number_fields)
    calls, puts = (tuple(one for one in side if one.column != "ltp") for side in (wire.calls, wire.puts))
    check_comes_in_once(
        specimen, loads, specimen.with_value(field, "-7.25"), specimen.with_value(field, ""), "contract",
        **fix(specimen, calls=calls, puts=puts),
    )  # fmt: skip


def test_a_candle_that_breaks_the_contract_keeps_what_it_was(candle_specimen: Any, loads: Loads) -> None:
    specimen = candle_specimen
    wire = CANDLE_FORMATS[specimen.source]
    field = next(each for each in wire.fields if each.column == "close")
    name = next(each for each in field.names if each in specimen.number_fields)
    ours = lake_with(loads.folder / "ours")
    (reason,) = loads.load(specimen, ours, specimen.with_value(name, "-7.25")).quarantined
    assert retry(ours).failed == {reason: 1}
    before = len(rows_of(ours, "candles"))
    done = retry(ours, **fix(specimen, fields=tuple(each for each in wire.fields if each is not field)))
    # A close may be required: then the reason is another one, and is told.
    assert len(rows_of(ours, "candles")) == before + done.accepted
    assert done.accepted + sum(done.failed.values()) == 1


@pytest.mark.parametrize("how", ["retry", "load", "retry, then load", "load, then retry"])
def test_a_lot_size_that_was_not_known(named_specimen: Any, loads: Loads, how: str) -> None:
    content = named_specimen.with_symbol("NEWINDEX")
    lots = lot_of(named_specimen, "NEWINDEX", 600)
    ours, other = lake_with(loads.folder / "ours"), lake_with(loads.folder / "other", lots)
    loads.load(named_specimen, other, content)
    summary = loads.load(named_specimen, ours, content)
    if not named_specimen.counts_contracts:
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
    table = named_specimen.table
    assert without_receipt(rows_of(ours, table)) == without_receipt(rows_of(other, table)) != []
    if "retry" in how:
        assert retry(ours).tried == 0


def test_one_leg_without_a_lot_size_keeps_a_load_from_doubling_it(lot_specimen: Any, loads: Loads) -> None:
    content = lot_specimen.with_symbol("NEWINDEX")
    ours = lake_with(loads.folder / "ours")
    loads.load(lot_specimen, ours, content)
    (ours.root / "lot_sizes.csv").write_text(lot_of(lot_specimen, "NEWINDEX", 600), encoding="utf-8")
    first = rows_of(ours, "quarantine")[0]["reject_id"]
    assert retry(ours, Selection(id=first)).accepted == 1
    loads.load(lot_specimen, ours, content)
    retry(ours)
    assert len(rows_of(ours, lot_specimen.table)) == lot_specimen.leg_count()


class Repaired:
    """An adapter that learned to skip what stands before the content."""

    def __init__(self, name: str, junk: bytes, scratch: Path, known: Mapping[str, FormatAdapter]) -> None:
        self._adapter = known[name]
        self._junk, self._scratch = junk, scratch
        self.name, self.about, self.suffixes = name, self._adapter.about, self._adapter.suffixes
        self.wire = self._adapter.wire

    def recognises(self, sample: Any) -> bool:
        return bool(sample.head.startswith(self._junk))

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | CandleUpdate | FileReject]:
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
    assert count == 1
    assert not (ours.root / "raw_stream" / specimen.table).exists() or rows_of(ours, specimen.table) == []
    if gone == "moved away":
        loads.path(specimen).unlink()
    scratch = loads.folder / "scratch"
    scratch.mkdir()
    assert retry(ours).failed == {reason: 1}
    fixed = {**loads.known, specimen.source: Repaired(specimen.source, junk, scratch, loads.known)}
    done = retry(ours, adapters=fixed)
    assert (done.tried, done.accepted, done.failed) == (1, 1, {})
    assert done.rows == {specimen.table: specimen.leg_count()}
    loads.load(specimen, other, specimen.good())
    came_in = rows_of(ours, specimen.table)
    assert without_receipt(came_in) == without_receipt(rows_of(other, specimen.table))
    assert {row["received_time"] for row in came_in} == {
        row["received_time"] for row in rows_of(ours, "quarantine")
    }
    # Twice is once, by a retry and by a load of what is right.
    assert retry(ours, adapters=fixed).tried == 0
    loads.load(specimen, ours, specimen.good())
    assert rows_of(ours, specimen.table) == came_in


def test_a_word_for_call_that_was_not_known(chain_specimen: Any, loads: Loads) -> None:
    specimen = chain_specimen
    wire = WIRES[specimen.source]
    if not wire.option_type_names or not specimen.is_text:
        pytest.skip("it has no such column, or none that can be spoiled by its bytes")
    bad = specimen.good().replace(b"Call", b"Ruf")
    assert bad != specimen.good()
    check_comes_in_once(
        specimen,
        loads,
        bad,
        specimen.good(),
        "bad_option_type",
        **fix(specimen, option_types={**wire.option_types, "ruf": "CE"}),
    )


def test_a_damaged_line_is_split_again_and_still_fails(chain_specimen: Any, loads: Loads) -> None:
    specimen = chain_specimen
    if specimen.reads != "lines":
        pytest.skip("it is no table of text")
    content, legs = specimen.with_damaged_row()
    ours = lake_with(loads.folder / "ours")
    summary = loads.load(specimen, ours, content)
    assert summary.quarantined == {"ragged_row": legs}
    before = rows_of(ours, "quarantine")
    assert retry(ours).failed == summary.quarantined
    assert rows_of(ours, "quarantine") == before
    assert all("one more" in row["origin"] for row in before)


@pytest.fixture
def candle_list(specimens: Mapping[str, Any]) -> Any:
    return specimens["candle-json"]


def spoiled(candle_list: Any, entry: Any) -> bytes:
    """The good file with another entry for the one in the middle."""
    document = json.loads(candle_list.good())
    candles = document["data"]["candles"]
    candles[len(candles) // 2] = entry(candles[len(candles) // 2])
    return json.dumps(document).encode()


def test_an_entry_that_is_no_candle(candle_list: Any, loads: Loads) -> None:
    check_comes_in_once(
        candle_list,
        loads,
        spoiled(candle_list, lambda entry: [*entry, "one more"]),
        candle_list.good(),
        "not_a_candle",
        **fix(candle_list, places=(*CANDLE_FORMATS["candle-json"].places, "more")),
    )


def test_an_entry_whose_time_could_not_be_read(candle_list: Any, loads: Loads) -> None:
    event_time = CANDLE_FORMATS["candle-json"].event_time
    check_comes_in_once(
        candle_list,
        loads,
        spoiled(candle_list, lambda entry: [f"at {entry[0]}", *entry[1:]]),
        candle_list.good(),
        "bad_event_time",
        **fix(candle_list, event_time=lambda raw, zone: event_time(str(raw).removeprefix("at "), zone)),
    )


@pytest.mark.parametrize("entry", [None, 17, "x" * 70_000, {"o": [1, {"h": "\N{SNOWMAN}"}]}, [], [[[]]]])
def test_an_entry_that_stays_none_is_kept_as_it_came(candle_list: Any, loads: Loads, entry: Any) -> None:
    ours = lake_with(loads.folder / "ours")
    loads.load(candle_list, ours, spoiled(candle_list, lambda _: entry))
    (row,) = rows_of(ours, "quarantine")
    still = retry(ours)
    assert (still.tried, still.accepted, still.failed) == (1, 0, {"not_a_candle": 1})
    words = ["--root", str(ours.root), "ingest", "quarantine", "show", row["reject_id"], "--output", "json"]
    told = json.loads(call(words).stdout)
    assert told["payload"] == told["origin"]["entry"] == entry
    assert told["retry"]


@pytest.mark.parametrize(
    ("lot", "reason"), [("\0025", "bad_number"), ("", "unknown_lot_size"), ("0", "unknown_lot_size")]
)
def test_a_lot_that_a_row_should_bring_is_not_taken_from_the_table(
    specimens: Mapping[str, Any], loads: Loads, lot: str, reason: str
) -> None:
    specimen = specimens["bhavcopy-udiff"]
    content = specimen.dump([{**row, "NewBrdLotQty": lot, "TckrSymb": "NIFTY"} for row in specimen.rows()])
    ours = lake_with(loads.folder / "ours")
    assert loads.load(specimen, ours, content).quarantined == {reason: specimen.leg_count()}
    done = retry(ours)
    assert (done.accepted, done.failed) == (0, {reason: specimen.leg_count()})


def first_rows(source: str) -> tuple[str, bytes, bytes]:
    """Name and content of a file of two chains, and the first row of the second."""
    if source == "nse-live-csv":
        header = "contract,expiryDate,optionType,strikePrice,lastPrice,volume,openInterest,underlyingValue"
        header += ",datetime"
        row = "{s} 16-Jun-2026,16-Jun-2026,Call,{k},10.5,600,10,24000.5,2026-06-10 09:{m}:00"
        rows = [row.format(s=s, k=k, m=m) for s, m in (("NIFTY", 15), ("NIFTY", 20)) for k in (24000, 24050)]
    else:
        header = "Symbol,Expiry,Strike,CE_LTP,CE_OI,CE_Volume,PE_LTP,PE_OI,PE_Volume,Spot,%Change"
        header += ",timestamp,Max_Pain"
        row = "{s},2026-02-24,{k},10.5,650,650,1.5,650,650,{k},0,2026-02-02 10:00:00,0"
        rows = [row.format(s=s, k=k) for s in ("NIFTY", "BANKNIFTY") for k in (24000, 24050)]
    return "polls.csv", "\n".join([header, *rows, ""]).encode(), rows[2].encode()


@pytest.mark.parametrize("source", ["nse-live-csv", "kite-poll"])
def test_a_line_that_begins_a_chain_is_not_taken_for_one_of_the_chain_before(
    source: str, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content, first = first_rows(source)
    ours, other = lake_with(loads.folder / "ours"), lake_with(loads.folder / "other")
    path = loads.folder / name
    path.write_bytes(content)
    with monkeypatch.context() as patch:
        read_row = csv_table.read_row

        def strict(line: str, header: Any) -> Any:
            row = read_row(line, header)
            return (
                row._replace(fields={}, fault=("ragged_row", "so it seems"))
                if line == first.decode()
                else row
            )

        patch.setattr(csv_table, "read_row", strict)
        assert set(load(ours, ADAPTERS[source], [path]).quarantined) == {"ragged_row"}
    done = retry(ours)
    assert (done.accepted, done.failed) == (done.tried, {})
    load(other, ADAPTERS[source], [path])
    assert without_receipt(rows_of(ours)) == without_receipt(rows_of(other))


NO_TEXT = b"4\xff\xe92"


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a parsed document."""
    if isinstance(value, dict):
        yield from chain.from_iterable(map(texts_in, value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(texts_in, value))
    elif isinstance(value, str):
        yield value


def test_bytes_that_are_no_text_come_back_as_they_came_when_their_file_is_gone(
    specimen: Any, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    number_field = specimen.number_fields[0]
    content = specimen.with_value(number_field, "MARK").replace(b"MARK", NO_TEXT)
    if content.startswith(b"PAR1"):
        pytest.skip("Parquet's texts are read together: with one that is no text none of them can be read")
    assert NO_TEXT in content
    ours, other = lake_with(loads.folder / "ours"), lake_with(loads.folder / "other")
    with monkeypatch.context() as patch:
        # As if the file were too large to be kept whole.
        patch.setattr(recorded_file, "KEPT_WHOLE_BYTES", 0)
        loads.load(specimen, ours, content)
    loads.path(specimen).unlink()
    rows = [row for row in rows_of(ours, "quarantine") if json.loads(row["origin"])["kind"] != "file"]
    assert 1 <= len(rows) <= 2

    whole = [line for line in content.splitlines() if NO_TEXT in line] if specimen.reads == "lines" else []
    for row in rows:
        words = ["--root", str(ours.root), "ingest", "quarantine", "show", row["reject_id"]]
        assert call(words).exit_code == 0
        told = json.loads(call([*words, "--output", "json"]).stdout)
        came = [
            text.encode("utf-8", "surrogateescape") for text in texts_in([told["payload"], told["origin"]])
        ]
        assert any(NO_TEXT in each for each in came)
        assert set(whole) <= set(came)

    # What an adapter that knows these bytes makes of them shows that they are still there.
    read_row = csv_table.read_row

    def knowing(line: str, header: Any) -> Any:
        return read_row(line, header)._replace(fault=None)

    for module in (csv_table, retry_candles, retry_legs):
        monkeypatch.setattr(module, "read_row", knowing)
    null = NO_TEXT.decode("utf-8", "surrogateescape")
    changed = fix(specimen, nulls=ADAPTERS[specimen.source].wire.nulls | {null})
    if json.loads(rows[0]["origin"])["kind"] == "row":
        # The row is read by the adapter of its file, which here takes the place of the one that is known.
        known = loads.known[specimen.source]
        changed = {"adapters": {**loads.known, specimen.source: Knowing(known, NO_TEXT)}}
    done = retry(ours, **changed)
    assert (done.accepted, list(done.failed)) == (len(rows), ["file_not_at_hand"] * specimen.is_text)
    loads.load(specimen, other, specimen.with_value(number_field, ""))
    came_in = rows_of(ours, specimen.table)
    assert without_receipt(came_in) == without_receipt(rows_of(other, specimen.table))


class Knowing:
    """An adapter for which some bytes are a missing number."""

    def __init__(self, known: FormatAdapter, null: bytes) -> None:
        self._known, self._null = known, null
        self.name, self.about, self.suffixes = known.name, known.about, known.suffixes
        self.recognises = known.recognises

    def read(self, path: Path, reference: ReferenceData) -> Iterator[ChainUpdate | CandleUpdate | FileReject]:
        content = path.read_bytes()
        if self._null in content:
            path.write_bytes(content.replace(self._null, b""))
        return self._known.read(path, reference)
