"""What every adapter of the registry does, whatever its format: the one suite that all of them go through.

A few behaviours hold only for some formats: of chains or of candles, of text, of those that say their own
time or symbol. Which these are, the specimens say of themselves (`conftest.KINDS`).
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import random
import tracemalloc
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import lots as lots_module
from catalog.lots import LotSizes
from catalog.reference import ReferenceData
from ingest.events import CandleUpdate, ChainUpdate
from ingest.load import load
from ingest.sources import ADAPTERS, AnyFormat
from ingest.sources.base import FileReject
from ingest.sources.values import Unit
from lake.settings import Settings

IN_CHAIN = (
    {"oi", "oi_change", "volume", "bid_qty", "ask_qty"},
    {"ltp", "bid", "ask", "iv", "underlying_price"},
)
IN_CANDLE = (
    {"volume", "oi", "oi_change", "trades", "lot_size"},
    {"open", "high", "low", "close", "settle", "underlying_price", "strike"},
)


def zipped(*members: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.mkdir("folder")
        for number, content in enumerate(members):
            archive.writestr(f"folder/{number}.csv", content)
    return packed.getvalue()


def packings(content: bytes) -> tuple[bytes, ...]:
    return gzip.compress(content), zipped(content), zipped(content, compression=zipfile.ZIP_STORED)


# The registry and its tables


def test_every_adapter_of_the_registry_has_a_specimen(specimens: Any) -> None:
    assert {each.source for each in specimens.values()} == set(ADAPTERS)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_declares_its_table(name: str, specimens: Any) -> None:
    adapter = ADAPTERS[name]
    wire = adapter.wire
    assert (wire.source, wire.suffixes) == (adapter.name, adapter.suffixes) == (name, adapter.suffixes)
    assert wire.timezone == ZoneInfo("Asia/Kolkata")
    assert {"", "-"} <= wire.nulls
    assert all(null == null.strip() for null in wire.nulls)
    assert wire.numbers
    for number in wire.numbers:
        assert isinstance(number.unit, Unit)
        assert number.names
        assert len(set(number.names)) == len(number.names)
    # Whatever has a unit is tried in every way below, by a specimen that has it.
    tried = {field for each in specimens.values() if each.source == name for field in each.number_fields}
    assert {number.column for number in wire.numbers if tried.isdisjoint(number.names)} == set()
    assert tried <= wire.known_names | {"VAL_INLAKH"}
    says_symbol = any(each.says_symbol for each in specimens.values() if each.source == name)
    assert bool(wire.symbol_names) == says_symbol


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_time_without_an_offset_is_of_the_declared_zone(name: str, specimens: Any) -> None:
    wire = ADAPTERS[name].wire
    text, expected = next(each.time_example for each in specimens.values() if each.source == name)
    assert wire.moment(text) == expected
    moved = replace(wire, timezone=ZoneInfo("Asia/Tokyo")).moment(text)
    assert moved == expected - timedelta(hours=3, minutes=30)


# What a good file gives


def test_every_leg_of_a_good_file_becomes_one_row(specimen: Any, read: Any) -> None:
    reading = read(specimen, specimen.good())
    assert len(reading.legs) == specimen.leg_count() > 0
    assert reading.rejects == []
    assert reading.files == []
    if specimen.grows:
        assert len(reading.updates) == len(reading.legs)


def test_updates_say_where_they_come_from(specimen: Any, read: Any) -> None:
    for update in read(specimen, specimen.good()).updates:
        assert update.source == specimen.source
        assert update.exchange in {"NSE", "BSE"}
        assert update.received_ns > 0
        assert isinstance(update, ChainUpdate if specimen.table == "option_chain" else CandleUpdate)


def test_times_are_indian(specimen: Any, read: Any) -> None:
    reading = read(specimen, specimen.good())
    times = [chain.event_time for chain in reading.chains]
    for update in reading.updates:
        if isinstance(update, CandleUpdate):
            times += [candle["start_time"] for candle in update.candles]
            assert all(candle["start_time"].date() == update.day for candle in update.candles)
            assert {candle["interval_s"] for candle in update.candles} == {specimen.interval_s}
    assert times
    assert {time.utcoffset() for time in times} == {timedelta(hours=5, minutes=30)}


def test_counts_are_whole_numbers_and_prices_are_floats_that_are_not_0(specimen: Any, read: Any) -> None:
    counts, prices = IN_CHAIN if specimen.table == "option_chain" else IN_CANDLE
    for leg in read(specimen, specimen.good()).legs:
        for column in counts:
            assert type(leg.get(column)) in (int, type(None)), column
        for column in prices:
            assert type(leg.get(column)) in (float, type(None)), column
            assert leg.get(column) != 0
        if specimen.table == "option_chain":
            assert type(leg["strike"]) is float


def in_our_units(unit: Unit, number: int, lot_size: int | None) -> float | int:
    """What a number comes out as, by the words of the table and no code of the adapters'."""
    if unit is Unit.CONTRACTS:
        assert lot_size is not None
        return number * lot_size
    return {
        Unit.RUPEES: float(number), Unit.VALUE: float(number), Unit.LAKHS: number * 100_000.0,
        Unit.PERCENT: number / 100, Unit.SOLVED_PERCENT: number / 100, Unit.UNITS: number,
        Unit.COUNT: number,
    }[unit]  # fmt: skip


def changes(before: Any, after: Any) -> list[tuple[str, Any, Any, Any]]:
    """Column, both values and lot of everything in which two readings differ."""
    return [
        (column, old[column], new[column], old["lot_size"])
        for old, new in zip(before.legs, after.legs, strict=True)
        for column in old
        if old[column] != new[column]
    ]


def test_a_number_comes_out_as_its_declared_unit_says(specimen: Any, number_field: str, read: Any) -> None:
    one, other = (read(specimen, specimen.with_value(number_field, text)) for text in ("124", "248"))
    assert one.rejects == other.rejects == []
    declared = {
        each.column: each.unit
        for each in ADAPTERS[specimen.source].wire.numbers
        if number_field in each.names
    }
    changed = changes(one, other)
    assert len(changed) == (specimen.legs_per_row if number_field in specimen.shared_fields else 1)
    for column, before, after, lot_size in changed:
        unit = declared[column]
        expected = [in_our_units(unit, number, lot_size) for number in (124, 248)]
        assert [before, after] == pytest.approx(expected, rel=1e-12)
        assert {type(before), type(after)} == {type(expected[0])}


def test_a_missing_number_is_null(specimen: Any, number_field: str, read: Any) -> None:
    whole = read(specimen, specimen.with_value(number_field, "124"))
    nulls = ADAPTERS[specimen.source].wire.nulls
    for missing in (*sorted(nulls), " - ", *([" NaN"] if "NaN" in nulls else [])):
        reading = read(specimen, specimen.with_value(number_field, missing))
        assert reading.rejects == []
        changed = changes(whole, reading)
        assert len(changed) == (specimen.legs_per_row if number_field in specimen.shared_fields else 1)
        for column, _, after, _ in changed:
            # A leg that does not say its underlying's price has that of its chain.
            assert after is None or (column == "underlying_price" and specimen.table == "option_chain")


@pytest.mark.parametrize("text", ["null", "None", "n/a", "N.A.", "--", "nil", "#N/A"])
def test_what_is_not_declared_as_null_is_a_bad_number(specimen: Any, text: str, read: Any) -> None:
    reading = read(specimen, specimen.with_value(specimen.number_fields[0], text))
    assert [reject.reason for reject in reading.rejects] == ["bad_number"]


def test_a_zero_is_none_only_where_the_unit_says_so(specimen: Any, number_field: str, read: Any) -> None:
    one, zero = (read(specimen, specimen.with_value(number_field, text)) for text in ("124", "0"))
    units = {each.column: each.unit for each in ADAPTERS[specimen.source].wire.numbers}
    for column, _, after, _ in changes(one, zero):
        if column == "underlying_price" and specimen.table == "option_chain":
            continue
        none = units[column] in {Unit.RUPEES, Unit.PERCENT, Unit.SOLVED_PERCENT} or (
            specimen.is_of_index and column == "volume"
        )
        assert after is None if none else (after == 0 and after is not None)


def test_numbers_grouped_the_indian_way_are_read(specimen: Any, number_field: str, read: Any) -> None:
    plain = read(specimen, specimen.with_value(number_field, "103805"))
    for text in ("1,03,805", "103,805", " 1,03,805 ", "103805.0", "1.03805e5", "+103805"):
        grouped = read(specimen, specimen.with_value(number_field, text))
        assert grouped.rejects == []
        assert changes(plain, grouped) == []


def alternatives(wire: Any) -> list[tuple[str, ...]]:
    return [names for names in (*(each.names for each in wire.numbers), *wire.key_names) if len(names) > 1]


def test_every_declared_alias_is_read(wordy_specimen: Any, read: Any) -> None:
    specimen = wordy_specimen
    good = read(specimen, specimen.good())
    for names in alternatives(ADAPTERS[specimen.source].wire):
        used = next((name for name in names if name in specimen.names()), None)
        if used is None:
            continue
        for alias in (name for name in names if name != used):
            renamed = read(specimen, specimen.renamed(used, alias))
            assert renamed.rejects == [], alias
            assert renamed.legs == good.legs, alias


def test_no_declared_alias_is_left_untried(specimens: Any) -> None:
    for name, adapter in ADAPTERS.items():
        names = {used for each in specimens.values() if each.source == name for used in each.names()}
        assert [each for each in alternatives(adapter.wire) if names.isdisjoint(each)] == []


@pytest.mark.parametrize(
    ("written", "symbol", "exchange"),
    [("NIFTY 50", "NIFTY", "NSE"), (" nifty50 ", "NIFTY", "NSE"), ("Nifty Bank", "BANKNIFTY", "NSE"),
     ("NIFTY MID SELECT", "MIDCPNIFTY", "NSE"), ("BSX", "SENSEX", "BSE"), ("bkx", "BANKEX", "BSE"),
     ("M&M", "M&M", "NSE"), ("BAJAJ-AUTO", "BAJAJ-AUTO", "NSE")],
)  # fmt: skip
def test_symbols_and_exchanges_are_canonical(
    named_specimen: Any, written: str, symbol: str, exchange: str, read: Any
) -> None:
    specimen = named_specimen
    updates = read(specimen, specimen.with_symbol(specimen.symbol_key(written))).updates
    assert {update.symbol for update in updates} == {symbol}
    if specimen.table == "option_chain":
        said = specimen.symbol_key("").partition("_")[0] or ADAPTERS[specimen.source].wire.exchange
        assert {update.exchange for update in updates} == {said or exchange}


# Layout, packing, encoding


def test_loading_a_file_again_repeats_its_identities(specimen: Any, read: Any) -> None:
    first = read(specimen, specimen.good()).identities
    assert read(specimen, specimen.good()).identities == first
    assert len(set(first)) == len(first)


def test_compression_changes_nothing_whatever_the_name(specimen: Any, read: Any) -> None:
    plain = read(specimen, specimen.good())
    for name in (specimen.other_name, f"{specimen.file_name}.gz", f"{specimen.file_name}.zip"):
        for content in packings(specimen.good()):
            if name == specimen.other_name and specimen.interval_in_name:
                continue
            packed = read(specimen, content, name=name)
            assert packed.legs == plain.legs
            assert packed.identities == plain.identities
            assert packed.files == []


def test_layout_changes_nothing(specimen: Any, read: Any) -> None:
    good = read(specimen, specimen.good())
    others = list(specimen.relaid())
    assert others
    for other in others:
        reading = read(specimen, other)
        assert reading.legs == good.legs
        assert reading.identities == good.identities
        assert reading.files == []


def test_columns_may_stand_in_any_order(wordy_specimen: Any, read: Any) -> None:
    good = read(wordy_specimen, wordy_specimen.good())
    shuffled = read(wordy_specimen, wordy_specimen.shuffled())
    assert wordy_specimen.shuffled() != wordy_specimen.good()
    assert shuffled.legs == good.legs
    assert (shuffled.rejects, shuffled.files) == ([], [])


def test_a_byte_order_mark_is_not_content(text_specimen: Any, read: Any) -> None:
    good = read(text_specimen, text_specimen.good())
    marked = read(text_specimen, b"\xef\xbb\xbf" + text_specimen.good())
    assert marked.legs == good.legs
    assert marked.identities == good.identities


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"], ids=["little", "big"])
def test_text_in_utf_16_is_read_by_its_byte_order_mark(text_specimen: Any, mark: bytes, read: Any) -> None:
    good = read(text_specimen, text_specimen.good())
    encoding = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    content = mark + text_specimen.good().decode("utf-8").encode(encoding)
    for packed in (content, *packings(content)):
        reading = read(text_specimen, packed)
        assert reading.legs == good.legs
        assert reading.identities == good.identities
        assert reading.files == []
    # A character that is cut off, and half of a pair.
    for damaged in (content + b"\x0a", content + "\ud83d\n".encode(encoding, "surrogatepass")):
        assert "undecodable" in read(text_specimen, damaged).file_reasons


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32", "utf-7"])
def test_text_in_another_encoding_is_told_and_nothing_is_guessed(
    text_specimen: Any, encoding: str, read: Any
) -> None:
    content = text_specimen.good().decode("utf-8").encode(encoding)
    reading = read(text_specimen, content)
    if encoding == "utf-7" and not reading.files:  # digits and letters look as in UTF-8
        assert reading.accounted == text_specimen.leg_count()
    else:
        assert reading.legs == []
        assert reading.files


def test_it_is_recognised_by_its_content_and_by_no_other_adapter(
    specimen: Any, tmp_path: Path, reference: ReferenceData, known: Any
) -> None:
    contents = [specimen.good(), *packings(specimen.good()), *specimen.relaid()]
    contents += [specimen.shuffled()] if specimen.names_matter else []
    for number, content in enumerate(contents):
        for name in (specimen.file_name, "recorded"):
            path = tmp_path / f"{number}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            reader = AnyFormat(known.values())
            items = list(reader.read(path, reference))
            assert dict(reader.chosen) == {specimen.source: 1}
            own = list(known[specimen.source].read(path, reference))
            assert [each.identity for each in items] == [each.identity for each in own]
            assert items
            # Without its name, what says nothing of its underlying is recognised, and then a reject.
            if name == specimen.file_name or specimen.says_symbol:
                assert not any(isinstance(each, FileReject) for each in items)


# Damage


def test_a_changed_number_changes_the_identity_of_its_update_only(specimen: Any, read: Any) -> None:
    good = read(specimen, specimen.with_value(specimen.number_fields[0], "124")).identities
    changed = read(specimen, specimen.with_value(specimen.number_fields[0], "123")).identities
    assert len(set(good) - set(changed)) == len(set(changed) - set(good)) == 1


@pytest.mark.parametrize(
    "spoiled",
    ["abc", "1_000", "1,2", "inf", "-Infinity", "1e999", "1e400", "12.5.1", "१२", "0x1F", "1e", "9" * 5000],
    ids=lambda text: text[:9].encode("ascii", "backslashreplace").decode(),
)
def test_a_bad_number_rejects_its_leg_and_no_other(
    specimen: Any, number_field: str, spoiled: str, read: Any
) -> None:
    legs = specimen.legs_per_row if number_field in specimen.shared_fields else 1
    reading = read(specimen, specimen.with_value(number_field, spoiled))
    assert [(reject.reason, reject.table) for reject in reading.rejects] == [
        ("bad_number", specimen.table)
    ] * legs
    assert reading.accounted == specimen.leg_count()
    for reject in reading.rejects:
        assert number_field in reject.detail
        assert len(reject.detail) < 300
        assert reject.payload[number_field] == spoiled
        json.dumps(reject.payload, allow_nan=False)


@pytest.mark.parametrize("digits", [19, 30, 300, 400])
def test_a_huge_whole_number_is_never_a_count(
    specimen: Any, number_field: str, digits: int, read: Any
) -> None:
    reading = read(specimen, specimen.with_value(number_field, "9" * digits))
    units = {each.unit for each in ADAPTERS[specimen.source].wire.numbers if number_field in each.names}
    if digits == 400 or units <= {Unit.UNITS, Unit.CONTRACTS, Unit.COUNT}:
        assert {reject.reason for reject in reading.rejects} == {"bad_number"}
    assert reading.accounted == specimen.leg_count()
    for leg in reading.legs:
        assert all(abs(value) < 2**63 for value in leg.values() if type(value) is int)
        assert all(abs(value) < float("inf") for value in leg.values() if type(value) is float)


@pytest.mark.parametrize(
    "value",
    [True, [], [1], 10**400, float("inf"), float("-inf")],
    ids=["true", "list", "list of 1", "huge", "inf", "-inf"],
)
def test_a_value_that_is_no_number_at_all_rejects_its_leg(
    untyped_specimen: Any, value: Any, read: Any
) -> None:
    specimen = untyped_specimen
    reading = read(specimen, specimen.with_value(specimen.number_fields[0], value))
    assert len(reading.legs) == specimen.leg_count() - 1
    assert reading.rejects or reading.files


def test_a_time_that_is_none_rejects_every_leg(timed_specimen: Any, read: Any) -> None:
    specimen = timed_specimen
    for spoiled in (
        "", "soon", "99-Jul-2025 15:30:00", "99-Jul-2025", "2026-13-40 09:15:00", "16-Jul-2025 24:61:00",
        "31-FEB-2019",
    ):  # fmt: skip
        reading = read(specimen, specimen.with_time(spoiled))
        assert reading.legs == []
        if specimen.grows and not specimen.interval_in_name:
            # Without a time nothing tells how long the candles are; where the name does, each is rejected.
            assert reading.file_reasons == ["unknown_interval"]
            continue
        assert [reject.reason for reject in reading.rejects] == ["bad_event_time"] * specimen.leg_count()
        assert {chain.event_time for chain in reading.chains} <= {None}


def no_lots(folder: Path) -> LotSizes:
    """Lot sizes by a user's file that calls every shipped one unknown."""
    shipped = Path(lots_module.__file__).parent / "data" / "lot_sizes.csv"
    lines = shipped.read_text(encoding="utf-8").splitlines()
    keys = dict.fromkeys(",".join(line.split(",")[:3]) for line in lines if line.startswith(("NSE,", "BSE,")))
    path = folder / "lot_sizes.csv"
    header = "exchange,symbol,valid_from,lot_size"
    path.write_text("\n".join([header, *(f"{key}," for key in keys)]), encoding="utf-8")
    return LotSizes.load(path)


def test_without_a_lot_size_only_contracts_cannot_be_counted(
    specimen: Any, read: Any, reference: ReferenceData, tmp_path: Path
) -> None:
    known = read(specimen, specimen.good())
    unknowing = ReferenceData(calendar=reference.calendar, lots=no_lots(tmp_path))
    reading = read(specimen, specimen.good(), using=unknowing)
    if not specimen.counts_contracts:
        assert len(reading.legs) == specimen.leg_count()
        assert {chain.context["lot_size"] for chain in reading.chains} <= {None}
        assert reading.identities == known.identities
    else:
        assert reading.legs == []
        assert [reject.reason for reject in reading.rejects] == ["unknown_lot_size"] * specimen.leg_count()
        assert not set(reading.identities) & set(known.identities), "once it is known the rows come in"


def test_an_underlying_nobody_knows_is_quarantined_where_its_lot_is_needed(
    named_specimen: Any, read: Any
) -> None:
    specimen = named_specimen
    reading = read(specimen, specimen.with_symbol(specimen.symbol_key("NOSUCHINDEX")))
    assert {update.symbol for update in reading.updates} == {"NOSUCHINDEX"}
    if not specimen.counts_contracts:
        assert (len(reading.legs), reading.rejects) == (specimen.leg_count(), [])
    else:
        assert [reject.reason for reject in reading.rejects] == ["unknown_lot_size"] * specimen.leg_count()
        assert all("NOSUCHINDEX" in reject.detail for reject in reading.rejects)


@pytest.mark.parametrize("symbol", ["", "  ", "N\u0000", "\N{SNOWMAN}", "x" * 200])
def test_a_symbol_that_is_none_rejects_every_leg(named_specimen: Any, symbol: str, read: Any) -> None:
    specimen = named_specimen
    reading = read(specimen, specimen.with_symbol(symbol))
    assert reading.legs == []
    assert [reject.reason for reject in reading.rejects] == ["bad_symbol"] * specimen.leg_count()
    assert {update.symbol for update in reading.updates} == {"UNKNOWN"}


@pytest.mark.parametrize("name", ["recorded", "here/x.csv", "\N{SNOWMAN}_\N{SNOWMAN}.json"])
def test_a_name_that_does_not_say_the_contract_lets_nothing_in(
    nameless_specimen: Any, name: str, read: Any
) -> None:
    reading = read(nameless_specimen, nameless_specimen.good(), name=name)
    assert reading.legs == []
    reasons = {reject.reason for reject in reading.rejects} | set(reading.file_reasons)
    assert len(reasons) == 1
    assert reasons <= {"bad_symbol", "bad_event_time", "unknown_contract", "bad_trading_symbol"}


def test_a_damaged_row_is_rejected_and_the_rest_is_taken(untyped_specimen: Any, read: Any) -> None:
    specimen = untyped_specimen
    content, lost = specimen.with_damaged_row()
    reading = read(specimen, content)
    assert len(reading.legs) == specimen.leg_count() - lost
    rejects = [*reading.rejects, *(each.reject for each in reading.files)]
    assert {(reject.reason, reject.table) for reject in rejects} == {
        (specimen.damaged_reason, specimen.table)
    }
    assert len(rejects) in {1, lost}


def test_a_row_that_stands_twice_loses_nothing(wordy_specimen: Any, read: Any) -> None:
    specimen = wordy_specimen
    content, legs = specimen.with_row_twice()
    reading = read(specimen, content)
    assert (reading.rejects, reading.files) == ([], [])
    assert len(reading.legs) == specimen.leg_count() + legs
    # One candle is taken in by itself: twice the same is once. Any other update is told from its equals.
    assert len(reading.identities) - len(set(reading.identities)) == (legs if specimen.grows else 0)


def test_unknown_columns_are_ignored_and_reported_once(
    wordy_specimen: Any, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    specimen = wordy_specimen
    good = read(specimen, specimen.good())
    with caplog.at_level(logging.INFO):
        reading = read(specimen, specimen.with_unknown_column())
    assert reading.legs == good.legs
    if specimen.table == "candles":
        assert reading.identities == good.identities
    reports = [each for each in caplog.records if getattr(each, "action", "") == "ignore_unknown_columns"]
    assert [report.columns for report in reports] == [[specimen.unknown_column]]  # type: ignore[attr-defined]


def test_a_good_file_reports_no_unknown_columns(
    specimen: Any, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        read(specimen, specimen.good())
    assert caplog.records == []


def test_a_file_without_rows_says_so(specimen: Any, read: Any) -> None:
    reading = read(specimen, specimen.without_rows())
    assert reading.updates == []
    assert reading.file_reasons == [specimen.without_rows_reason]
    assert {each.reject.table for each in reading.files} == {specimen.table}


@pytest.mark.parametrize(
    "content", [b"", b" \n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0), zipped(b"")],
    ids=["nothing", "blanks", "mark", "gzip", "zip"],
)  # fmt: skip
def test_an_empty_file_says_so(specimen: Any, content: bytes, read: Any) -> None:
    reading = read(specimen, content)
    assert (reading.updates, reading.file_reasons) == ([], ["empty_file"])
    assert reading.files[0].reject.table == specimen.table


def test_html_is_recognised(specimen: Any, read: Any, samples: Path) -> None:
    page = samples / "nse_api_json" / "not_json" / "nifty_option_chain.json"
    reading = read(specimen, page)
    assert reading.file_reasons == [specimen.html_reason]
    assert reading.files[0].reject.table == specimen.table
    payload = reading.files[0].reject.payload
    assert payload["file"] == page.name
    assert payload["bytes"] == page.stat().st_size
    assert page.read_text(encoding="utf-8").startswith(payload["head"])
    assert len(payload["sha256"]) == 64


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b'{"data": 3}', b"17", b'"x"', b'{"data": [{"a": 1}]}', b'{"data": {"candles": 3}}'],
)
def test_json_of_another_shape_is_one_reject(specimen: Any, content: bytes, read: Any) -> None:
    reading = read(specimen, content)
    assert reading.updates == []
    assert len(reading.files) == 1
    assert reading.file_reasons[0] in {"unknown_shape", "missing_columns"}
    assert read(specimen, content).files[0].identity == reading.files[0].identity


def test_the_same_reject_of_a_file_has_the_same_identity(specimen: Any, read: Any) -> None:
    (first,) = read(specimen, b"{}").files
    (again,) = read(specimen, b"{}").files
    packed_name = f"{specimen.file_name}.gz"
    (packed,) = read(specimen, gzip.compress(b"{}"), name=packed_name).files
    (other,) = read(specimen, b"[]").files
    assert first.identity == again.identity == packed.identity
    assert first.identity != other.identity


def test_a_broken_gzip_file_gives_what_is_before_the_break_and_a_reject(specimen: Any, read: Any) -> None:
    whole = read(specimen, specimen.good())
    packed = gzip.compress(specimen.good())
    for keep in (12, len(packed) // 2, len(packed) - 9):
        reading = read(specimen, packed[:keep])
        assert reading.file_reasons == ["undecodable"]
        assert reading.rejects == []
        if specimen.table == "option_chain" or specimen.grows:
            assert set(reading.identities) <= set(whole.identities)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    assert "undecodable" in read(specimen, bytes(damaged)).file_reasons


def test_a_zip_that_is_damaged_or_holds_more_than_one_file_is_one_reject(specimen: Any, read: Any) -> None:
    packed = zipped(specimen.good())
    flipped = bytearray(packed)
    flipped[len(packed) // 3] ^= 0xFF
    encrypted = bytearray(packed)
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = packed.rindex(header)
        encrypted[at + offset] |= 1
    unknown = bytearray(packed)
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = packed.rindex(header)
        unknown[at + offset] = 97
    name = f"{specimen.file_name}.zip"
    for content in (
        packed[: len(packed) // 2], packed[:-30], bytes(flipped), bytes(encrypted), bytes(unknown),
        zipped(specimen.good(), specimen.good()), zipped(), b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 999,
    ):  # fmt: skip
        reading = read(specimen, content, name=name)
        if specimen.reads == "log" and content == bytes(flipped):
            # What it unpacks to before the fault is found are lines of no log.
            assert reading.file_reasons[-1] == "undecodable"
            continue
        assert reading.file_reasons == ["undecodable"], content[:10]
        assert reading.files[0].reject.payload["bytes"] == len(content)
        assert reading.files[0].reject.table == specimen.table
        assert read(specimen, content, name=name).files[0].identity == reading.files[0].identity
        if specimen.reads != "table":
            assert "broken zip" in reading.files[0].reject.detail


def test_bytes_that_are_no_text_are_noted_and_lose_no_leg(text_specimen: Any, read: Any) -> None:
    specimen = text_specimen
    marked = specimen.with_value(specimen.number_fields[0], "MARK")
    reading = read(specimen, marked.replace(b"MARK", b"\xff\xfe"))
    assert reading.file_reasons == ["undecodable"]
    assert reading.accounted == specimen.leg_count()
    assert 1 <= len(reading.rejects) <= 2


def test_a_truncated_file_never_raises_and_invents_no_leg(specimen: Any, read: Any) -> None:
    good = specimen.good()
    for keep in range(1, len(good), max(1, len(good) // 60)):
        reading = read(specimen, good[:keep])
        assert reading.accounted <= specimen.leg_count() + specimen.legs_per_row
        assert reading.updates or reading.files


def _spoil(content: bytes, seed: int, flips: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311
    spoiled = bytearray(content)
    for _ in range(flips):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    return bytes(spoiled)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.tuples(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["", "gz", "zip"])))
def test_random_damage_never_raises_and_loses_nothing(
    specimen: Any, damage: tuple[int, int, str], read: Any
) -> None:
    seed, flips, packing = damage
    good = specimen.good()
    packed = {"": good, "gz": gzip.compress(good), "zip": zipped(good)}[packing]
    reading = read(specimen, _spoil(packed, seed, flips))
    assert reading.updates or reading.files
    if not packing:
        # A byte that becomes a line end, or was one, makes one row of a table two, or two one.
        assert reading.accounted <= specimen.leg_count() + flips * specimen.legs_per_row
        if not reading.files:
            assert reading.accounted >= specimen.leg_count() - flips * specimen.legs_per_row
    for reject in (*reading.rejects, *(each.reject for each in reading.files)):
        json.dumps([reject.reason, reject.detail, reject.payload], allow_nan=False).encode()


def test_a_missing_file_raises(specimen: Any, read: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(specimen, tmp_path / "absent")


def test_one_endless_line_is_one_reject_in_little_memory(untyped_specimen: Any, read: Any) -> None:
    specimen = untyped_specimen
    is_document = specimen.reads == "document"
    packed = zipped(specimen.good() + b"0" * (70_000_000 if is_document else 20_000_000))
    tracemalloc.start()
    try:
        reading = read(specimen, packed, name=f"{specimen.file_name}.zip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if is_document:  # read whole or not at all
        assert (reading.file_reasons, reading.legs) == (["too_large"], [])
        assert reading.files[0].reject.table == specimen.table
    else:
        rejects = [*reading.rejects, *(each.reject for each in reading.files)]
        told = set() if specimen.passes_over else {("line_too_long", specimen.table)}
        assert {(each.reason, each.table) for each in rejects} == told
        assert len(rejects) <= specimen.legs_per_row
        assert len(reading.legs) == specimen.leg_count()
    assert peak < (200_000_000 if is_document else 20_000_000)


# Into the lake


def test_a_file_that_is_loaded_twice_adds_nothing(specimen: Any, known: Any, tmp_path: Path) -> None:
    path = tmp_path / "files" / specimen.file_name
    path.parent.mkdir(parents=True)
    path.write_bytes(specimen.good())
    lake = Settings(root=tmp_path / "lake")

    def rows() -> list[Any]:
        table = DeltaTable(str(lake.root / "raw_stream" / specimen.table))
        return sorted(table.to_pyarrow_table().to_pylist(), key=repr)

    assert load(lake, known[specimen.source], [path]).quarantined == {}
    first = rows()
    assert len(first) == specimen.leg_count()
    assert {row["source"] for row in first} == {specimen.source}
    assert all(row["event_time"].tzinfo is not None for row in first)
    for content in (specimen.good(), gzip.compress(specimen.good())):
        path.write_bytes(content)
        assert load(lake, known[specimen.source], [path]).rows == 0
        assert rows() == first
