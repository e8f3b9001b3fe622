"""What every adapter does, whatever its format: legs of chains and candles alike."""

from __future__ import annotations

import gzip
import io
import json
import logging
import random
import tracemalloc
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.lots import LotSizes
from catalog.reference import ReferenceData
from ingest.events import CandleUpdate, ChainUpdate
from ingest.sources import CANDLE_FORMATS, WIRES, AnyFormat, adapters
from ingest.sources.base import FileReject
from ingest.sources.values import Unit

COUNTS = {
    "option_chain": ("oi", "oi_change", "volume", "bid_qty", "ask_qty"),
    "candles": ("volume", "oi", "oi_change", "trades", "lot_size"),
}
PRICES = {
    "option_chain": ("ltp", "bid", "ask", "iv", "underlying_price"),
    "candles": ("open", "high", "low", "close", "settle", "underlying_price", "strike"),
}
INDIAN = timedelta(hours=5, minutes=30)


def zipped(*members: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.mkdir("folder")
        for number, content in enumerate(members):
            archive.writestr(f"folder/{number}.csv", content)
    return packed.getvalue()


def times_of(update: ChainUpdate | CandleUpdate) -> list[datetime]:
    if isinstance(update, ChainUpdate):
        return [update.event_time]
    return [candle["start_time"] for candle in update.candles]


def test_every_adapter_is_in_this_suite_and_declares_its_format(specimens: Any) -> None:
    declared = {**WIRES, **CANDLE_FORMATS}
    assert {each.source for each in specimens} == set(adapters()) == set(declared)
    for name, wire in declared.items():
        fields = wire.fields if name in CANDLE_FORMATS else (*wire.calls, *wire.puts)
        assert fields
        assert all(isinstance(field.unit, Unit) and field.names for field in fields), name
        assert "" in wire.nulls, name
        assert wire.suffixes, name


def test_every_row_of_a_good_file_becomes_one_mapping(specimen: Any, read: Any) -> None:
    reading = read(specimen, specimen.good())
    assert len(reading.rows) == specimen.leg_count() > 0
    assert reading.rejects == []
    assert reading.files == []


def test_updates_say_where_they_come_from_in_indian_time(specimen: Any, read: Any) -> None:
    for update in read(specimen, specimen.good()).updates:
        assert update.source == specimen.source
        assert update.exchange in {"NSE", "BSE"}
        assert {at.utcoffset() for at in times_of(update)} == {INDIAN}
        assert update.received_ns > 0


def test_candles_have_their_session_and_their_length(candle_specimen: Any, read: Any) -> None:
    reading = read(candle_specimen, candle_specimen.good())
    assert {candle["interval_s"] for candle in reading.candles} == {candle_specimen.interval_s}
    for update in reading.updates:
        assert {at.date() for at in times_of(update)} == {update.day}
    if candle_specimen.grows:
        assert len(reading.updates) == len(reading.candles)


def test_counts_are_whole_numbers_and_prices_are_floats(specimen: Any, read: Any) -> None:
    for row in read(specimen, specimen.good()).rows:
        for column in COUNTS[specimen.meant_for]:
            assert type(row.get(column)) in (int, type(None)), column
        for column in PRICES[specimen.meant_for]:
            assert type(row.get(column)) in (float, type(None)), column
            assert row.get(column) != 0
    for leg in read(specimen, specimen.good()).legs:
        assert set(leg) >= {*COUNTS["option_chain"], *PRICES["option_chain"]}
        assert type(leg["strike"]) is float


def test_loading_a_file_again_repeats_its_identities(specimen: Any, read: Any) -> None:
    first = read(specimen, specimen.good()).identities
    assert read(specimen, specimen.good()).identities == first
    assert len(set(first)) == len(first)


def test_compression_changes_nothing_whatever_the_name(specimen: Any, read: Any) -> None:
    plain = read(specimen, specimen.good())
    packings = [(gzip.compress(specimen.good()), ".gz")]
    if specimen.can_be_zipped:
        packings += [
            (zipped(specimen.good(), compression=how), ".zip")
            for how in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)
        ]
    for content, ending in packings:
        for name in (specimen.other_name, specimen.file_name + ending):
            packed = read(specimen, content, name=name)
            assert packed.rows == plain.rows
            assert packed.identities == plain.identities
            assert packed.files == []


def test_layout_changes_nothing(specimen: Any, read: Any) -> None:
    good = read(specimen, specimen.good())
    for other in specimen.relaid():
        reading = read(specimen, other)
        assert reading.rows == good.rows
        assert reading.identities == good.identities
        assert reading.files == []


def test_a_byte_order_mark_is_not_content(text_specimen: Any, read: Any) -> None:
    good = read(text_specimen, text_specimen.good())
    marked = read(text_specimen, b"\xef\xbb\xbf" + text_specimen.good())
    assert marked.rows == good.rows
    assert marked.identities == good.identities


def test_it_is_recognised_by_its_content_and_by_no_other_adapter(
    specimen: Any, tmp_path: Path, reference: ReferenceData, known: Any
) -> None:
    contents = [specimen.good(), gzip.compress(specimen.good()), *specimen.relaid()]
    if specimen.can_be_zipped:
        contents.append(zipped(specimen.good()))
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}" / specimen.file_name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        reader = AnyFormat(known.values())
        items = list(reader.read(path, reference))
        assert dict(reader.chosen) == {specimen.source: 1}
        own = list(known[specimen.source].read(path, reference))
        assert [each.identity for each in items] == [each.identity for each in own]
        assert items
        assert not any(isinstance(each, FileReject) for each in items)


def test_a_changed_number_changes_the_identity_of_its_update_only(specimen: Any, read: Any) -> None:
    good = read(specimen, specimen.with_value(specimen.number_fields[0], "124")).identities
    changed = read(specimen, specimen.with_value(specimen.number_fields[0], "123")).identities
    assert len(set(good) - set(changed)) == len(set(changed) - set(good)) == 1


@pytest.mark.parametrize("spoiled", ["abc", "1_000", "1,2", "inf", "1e999", "12.5.1", "१२", "9" * 5000])
def test_a_bad_number_rejects_its_row_and_no_other(
    specimen: Any, number_field: str, spoiled: str, read: Any
) -> None:
    rows = 2 if number_field in specimen.shared_fields else 1
    reading = read(specimen, specimen.with_value(number_field, spoiled))
    assert [(each.reason, each.table) for each in reading.rejects] == [
        ("bad_number", specimen.meant_for)
    ] * rows
    assert reading.accounted == specimen.leg_count()
    for reject in reading.rejects:
        assert number_field in reject.detail
        assert len(reject.detail) < 300
        assert reject.payload[number_field] == spoiled
        json.dumps(reject.payload, allow_nan=False)


@pytest.mark.parametrize("missing", ["", "-", "NaN", " - "])
def test_a_missing_number_is_null(specimen: Any, number_field: str, missing: str, read: Any) -> None:
    declared = {**WIRES, **CANDLE_FORMATS}[specimen.source].nulls
    reading = read(specimen, specimen.with_value(number_field, missing))
    rows = 2 if number_field in specimen.shared_fields else 1
    if missing.strip() not in declared:
        assert [each.reason for each in reading.rejects] == ["bad_number"] * rows
        return
    assert reading.rejects == []
    assert len(reading.rows) == specimen.leg_count()
    whole = read(specimen, specimen.with_value(number_field, "124"))
    changed = [
        (column, after[column])
        for before, after in zip(whole.rows, reading.rows, strict=True)
        for column in before
        if before[column] != after[column]
    ]
    assert len({column for column, _ in changed}) == 1
    if changed[0][0] != "underlying_price" or specimen.is_series:
        # A leg without a price of the underlying has that of its chain.
        assert {value for _, value in changed} == {None}


def test_numbers_grouped_the_indian_way_are_read(specimen: Any, read: Any) -> None:
    field = specimen.number_fields[0]
    grouped = read(specimen, specimen.with_value(field, "1,03,805"))
    plain = read(specimen, specimen.with_value(field, "103805"))
    assert grouped.rejects == []
    assert grouped.rows == plain.rows


@pytest.mark.parametrize(
    "spoiled",
    ["", "soon", "99-Jul-2025", "99-Jul-2025 15:30:00", "2026-13-40 09:15:00", "31-FEB-2019",
     "16-Jul-2025 24:61:00"],
)  # fmt: skip
def test_a_time_that_is_none_rejects_every_row(timed_specimen: Any, spoiled: str, read: Any) -> None:
    reading = read(timed_specimen, timed_specimen.with_time(spoiled))
    assert reading.rows == []
    if timed_specimen.grows and reading.file_reasons:
        # Without a time nothing tells how long the candles are; where the name does, each is rejected.
        assert (reading.file_reasons, reading.updates) == (["unknown_interval"], [])
        return
    assert {(each.reason, each.table) for each in reading.rejects} == {
        ("bad_event_time", timed_specimen.meant_for)
    }
    assert len(reading.rejects) == timed_specimen.leg_count()
    assert {chain.event_time for chain in reading.chains} <= {None}


def test_without_a_lot_size_only_formats_in_units_are_read(
    specimen: Any, read: Any, reference: ReferenceData
) -> None:
    known = read(specimen, specimen.good())
    unknowing = ReferenceData(calendar=reference.calendar, lots=LotSizes({}))
    reading = read(specimen, specimen.good(), using=unknowing)
    if specimen.counts_contracts:
        assert reading.rows == []
        assert [reject.reason for reject in reading.rejects] == ["unknown_lot_size"] * specimen.leg_count()
        assert not set(reading.identities) & set(known.identities), "once it is known the rows come in"
    else:
        assert len(reading.rows) == specimen.leg_count()
        assert reading.identities == known.identities
        assert {chain.context["lot_size"] for chain in reading.chains} <= {None}


@pytest.mark.parametrize("symbol", ["", "  ", "N\u0000", "\N{SNOWMAN}", "x" * 200])
def test_a_symbol_that_is_none_rejects_every_row(named_specimen: Any, symbol: str, read: Any) -> None:
    reading = read(named_specimen, named_specimen.with_symbol(symbol))
    assert reading.rows == []
    assert [reject.reason for reject in reading.rejects] == ["bad_symbol"] * named_specimen.leg_count()
    if named_specimen.is_series:
        assert {update.symbol for update in reading.updates} == {"UNKNOWN"}


def test_unknown_columns_are_ignored_and_reported_once(
    labelled_specimen: Any, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    specimen = labelled_specimen
    with caplog.at_level(logging.INFO):
        reading = read(specimen, specimen.with_unknown_column())
    good = read(specimen, specimen.good())
    assert reading.rows == good.rows
    if specimen.is_series:
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
    assert (reading.updates, reading.file_reasons) == ([], [specimen.without_rows_reason])
    assert {each.reject.table for each in reading.files} == {specimen.meant_for}


@pytest.mark.parametrize(
    "content",
    [b"", b" \n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)],
    ids=["empty", "blank", "mark", "gz"],
)
def test_an_empty_file_says_so(specimen: Any, content: bytes, read: Any) -> None:
    assert read(specimen, content).file_reasons == ["empty_file"]


def test_an_empty_file_in_a_zip_says_so(zipped_specimen: Any, read: Any) -> None:
    assert read(zipped_specimen, zipped(b"")).file_reasons == ["empty_file"]


def test_html_is_recognised(specimen: Any, read: Any, samples: Path) -> None:
    page = samples / "nse_api_json" / "not_json" / "nifty_option_chain.json"
    if specimen.is_series:  # what is read from the name comes first
        reading = read(specimen, page.read_bytes())
        assert reading.files[0].reject.payload["bytes"] == page.stat().st_size
    else:
        reading = read(specimen, page)
        payload = reading.files[0].reject.payload
        assert payload["file"] == page.name
        assert payload["bytes"] == page.stat().st_size
        assert page.read_text(encoding="utf-8").startswith(payload["head"])
        assert len(payload["sha256"]) == 64
    assert (reading.updates, reading.file_reasons) == ([], [specimen.html_reason])


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
        if specimen.cut_is_part:
            assert set(reading.identities) <= set(whole.identities)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    assert "undecodable" in read(specimen, bytes(damaged)).file_reasons


def test_a_zip_that_is_damaged_or_holds_more_than_one_file_is_one_reject(
    zipped_specimen: Any, read: Any
) -> None:
    packed = zipped(zipped_specimen.good())
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
    good = zipped_specimen.good()
    for content in (
        packed[: len(packed) // 2], packed[:-30], bytes(flipped), bytes(encrypted), bytes(unknown),
        zipped(good, good), zipped(), b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 999,
    ):  # fmt: skip
        name = f"{zipped_specimen.file_name}.zip"
        reading = read(zipped_specimen, content, name=name)
        # What was unpacked before the damage was seen may be lines of a log that are none.
        assert reading.file_reasons[-1] == "undecodable", content[:10]
        assert len(reading.files) == 1 or zipped_specimen.is_log
        assert "broken zip" in reading.files[-1].reject.detail
        assert reading.files[-1].reject.payload["bytes"] == len(content)
        again = read(zipped_specimen, content, name=name)
        assert [each.identity for each in again.files] == [each.identity for each in reading.files]


def test_bytes_that_are_no_text_are_noted_and_lose_no_row(text_specimen: Any, read: Any) -> None:
    specimen = text_specimen
    marked = specimen.with_value(specimen.number_fields[0], "MARK")
    reading = read(specimen, marked.replace(b"MARK", b"\xff\xfe"))
    assert reading.file_reasons == ["undecodable"]
    assert reading.accounted == specimen.leg_count()
    assert 1 <= len(reading.rejects) <= 2


def test_a_truncated_file_never_raises_and_invents_no_row(specimen: Any, read: Any) -> None:
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


def test_the_file_is_missing_raises(specimen: Any, read: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(specimen, tmp_path / "absent")


def test_one_endless_line_is_one_reject_in_little_memory(zipped_specimen: Any, read: Any) -> None:
    specimen = zipped_specimen
    packed = zipped(specimen.good() + b"0" * (70_000_000 if specimen.is_document else 20_000_000))
    tracemalloc.start()
    try:
        reading = read(specimen, packed, name=f"{specimen.file_name}.zip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    found = [*reading.rejects, *(each.reject for each in reading.files)]
    if specimen.is_document:  # read whole or not at all
        assert [(each.reason, each.table) for each in found] == [("too_large", specimen.meant_for)]
        assert reading.rows == []
    else:
        # A log may end in a line that is no data, however long.
        told = {(each.reason, each.table) for each in found}
        assert told == {("line_too_long", specimen.meant_for)} or (specimen.is_log and not told)
        assert specimen.leg_count() - specimen.legs_per_row <= len(reading.rows) <= specimen.leg_count()
    assert peak < (200_000_000 if specimen.is_document else 20_000_000)
