"""What every adapter of candles does, whatever its format."""

from __future__ import annotations

import gzip
import io
import json
import logging
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from candle_specimens import CANDLE_SPECIMENS, CandleSpecimen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.lots import LotSizes
from catalog.reference import ReferenceData
from ingest.events import CandleUpdate, Reject
from ingest.sources import ADAPTERS, AnyFormat
from ingest.sources.base import FileReject

each_format = pytest.mark.parametrize("one", CANDLE_SPECIMENS.values(), ids=CANDLE_SPECIMENS.keys())
each_number = pytest.mark.parametrize(
    ("one", "name"),
    [(one, name) for one in CANDLE_SPECIMENS.values() for name in one.number_fields],
    ids=[f"{key}-{name}" for key, one in CANDLE_SPECIMENS.items() for name in one.number_fields],
)


@dataclass
class Reading:
    """Everything a file gave."""

    updates: list[CandleUpdate] = field(default_factory=list)
    files: list[FileReject] = field(default_factory=list)

    @property
    def candles(self) -> list[Any]:
        return [candle for update in self.updates for candle in update.candles]

    @property
    def figures(self) -> list[dict[str, Any]]:
        return [{key: value for key, value in candle.items() if key != "raw"} for candle in self.candles]

    @property
    def rejects(self) -> list[Reject]:
        return [reject for update in self.updates for reject in update.rejects]

    @property
    def identities(self) -> list[bytes | None]:
        return [update.identity for update in self.updates]

    @property
    def file_reasons(self) -> list[str]:
        return [each.reject.reason for each in self.files]


def read_file(path: Path, source: str, reference: ReferenceData) -> Reading:
    reading = Reading()
    for each in ADAPTERS[source].read(path, reference):
        (reading.files if isinstance(each, FileReject) else reading.updates).append(each)  # type: ignore[arg-type]
    return reading


Read = Callable[..., Reading]


@pytest.fixture
def take(reference: ReferenceData, tmp_path: Path) -> Read:
    """Reads content with the adapter of a specimen, under its name."""

    def run(one: CandleSpecimen, content: bytes, *, ending: str = "", using: Any = None) -> Reading:
        path = tmp_path / (one.file_name + ending)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return read_file(path, one.source, using or reference)

    return run


def zipped(*members: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        archive.mkdir("folder")
        for number, content in enumerate(members):
            archive.writestr(f"folder/{number}.csv", content)
    return packed.getvalue()


@each_format
def test_every_row_of_a_good_file_becomes_one_candle(one: CandleSpecimen, take: Read) -> None:
    reading = take(one, one.good())
    assert len(reading.candles) == one.leg_count() > 0
    assert (reading.rejects, reading.files) == ([], [])
    assert {candle["interval_s"] for candle in reading.candles} == {one.interval_s}
    for update in reading.updates:
        assert update.source == one.source
        assert update.exchange in {"NSE", "BSE"}
        assert all(candle["start_time"].date() == update.day for candle in update.candles)
        assert all(c["start_time"].utcoffset().total_seconds() == 5.5 * 3600 for c in update.candles)
    if one.grows:
        assert len(reading.updates) == len(reading.candles)


@each_format
def test_counts_are_whole_numbers_and_prices_floats_that_are_not_0(one: CandleSpecimen, take: Read) -> None:
    for candle in take(one, one.good()).candles:
        for column in ("volume", "oi", "oi_change", "trades", "lot_size"):
            assert type(candle.get(column)) in (int, type(None)), column
        for column in ("open", "high", "low", "close", "settle", "underlying_price", "strike"):
            assert type(candle.get(column)) in (float, type(None)), column
            assert candle.get(column) != 0


@each_format
def test_the_same_file_has_the_same_identities_however_it_is_packed(one: CandleSpecimen, take: Read) -> None:
    good = take(one, one.good())
    assert len(set(good.identities)) == len(good.identities)
    for content, ending in (
        (one.good(), ""),
        (gzip.compress(one.good()), ".gz"),
        (zipped(one.good()), ".zip"),
        (zipped(one.good(), compression=zipfile.ZIP_STORED), ".zip"),
        (b"\xef\xbb\xbf" + one.good(), ""),
        *((other, "") for other in one.relaid()),
    ):
        again = take(one, content, ending=ending)
        assert again.figures == good.figures
        assert again.identities == good.identities
        assert again.files == []


@each_format
def test_it_is_recognised_by_its_content_and_by_no_other_adapter(
    one: CandleSpecimen, tmp_path: Path, reference: ReferenceData
) -> None:
    contents = (one.good(), gzip.compress(one.good()), zipped(one.good()), *one.relaid())
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}" / one.file_name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        reader = AnyFormat(ADAPTERS.values())
        items = list(reader.read(path, reference))
        assert dict(reader.chosen) == {one.source: 1}
        assert all(isinstance(each, CandleUpdate) for each in items)


@each_format
def test_a_changed_number_changes_the_identity_of_its_update_only(one: CandleSpecimen, take: Read) -> None:
    name = one.number_fields[0]
    before = take(one, one.with_value(name, "124")).identities
    after = take(one, one.with_value(name, "123")).identities
    assert len(set(before) - set(after)) == len(set(after) - set(before)) == 1


@each_number
@pytest.mark.parametrize("spoiled", ["abc", "1_000", "1,2", "inf", "1e999", "12.5.1", "१२", "9" * 5000])
def test_a_bad_number_rejects_its_candle_and_no_other(
    one: CandleSpecimen, name: str, spoiled: str, take: Read
) -> None:
    reading = take(one, one.with_value(name, spoiled))
    (reject,) = reading.rejects
    assert (reject.reason, reject.table) == ("bad_number", "candles")
    assert name in reject.detail
    assert len(reject.detail) < 300
    assert reject.payload[name] == spoiled
    assert len(reading.candles) == one.leg_count() - 1


@each_number
@pytest.mark.parametrize("missing", ["", "-", " - "])
def test_a_missing_number_is_null(one: CandleSpecimen, name: str, missing: str, take: Read) -> None:
    whole, reading = take(one, one.with_value(name, "124")), take(one, one.with_value(name, missing))
    assert reading.rejects == []
    changed = [
        (before[column], after[column])
        for before, after in zip(whole.figures, reading.figures, strict=True)
        for column in before
        if before[column] != after[column]
    ]
    if (one.file_name, name) == ("INDIA_VIX/3m.2026-01.csv", "volume"):
        assert changed == [(124, None)]
    else:
        assert [after for _, after in changed] == [None]


@each_format
@pytest.mark.parametrize("spoiled", ["", "soon", "99-Jul-2025", "2026-13-40 09:15:00", "31-FEB-2019"])
def test_a_time_that_is_none_rejects_every_candle(one: CandleSpecimen, spoiled: str, take: Read) -> None:
    reading = take(one, one.with_time(spoiled))
    assert reading.candles == []
    if one.grows:
        # Without a time nothing tells how long the candles are; where the name does, each is rejected.
        assert reading.file_reasons == ["unknown_interval"] or {r.reason for r in reading.rejects} == {
            "bad_event_time"
        }
    else:
        assert [reject.reason for reject in reading.rejects] == ["bad_event_time"] * one.leg_count()


@pytest.mark.parametrize("key", ["bhavcopy-fo", "bhavcopy-udiff"])
@pytest.mark.parametrize("symbol", ["", "  ", "N\u0000", "\N{SNOWMAN}", "x" * 200])
def test_a_symbol_that_is_none_rejects_every_row_of_a_bhavcopy(key: str, symbol: str, take: Read) -> None:
    one = CANDLE_SPECIMENS[key]
    reading = take(one, one.with_symbol(symbol))
    assert [reject.reason for reject in reading.rejects] == ["bad_symbol"] * one.leg_count()
    assert {update.symbol for update in reading.updates} == {"UNKNOWN"}


@each_format
def test_without_a_lot_size_only_contracts_cannot_be_counted(
    one: CandleSpecimen, take: Read, reference: ReferenceData
) -> None:
    known = take(one, one.good())
    unknowing = ReferenceData(calendar=reference.calendar, lots=LotSizes({}))
    reading = take(one, one.good(), using=unknowing)
    if one.source == "bhavcopy-fo":
        assert [reject.reason for reject in reading.rejects] == ["unknown_lot_size"] * one.leg_count()
        assert not set(reading.identities) & set(known.identities), "once it is known the rows come in"
    else:
        assert len(reading.candles) == one.leg_count()
        assert reading.identities == known.identities


@each_format
def test_unknown_columns_are_ignored_and_reported_once(
    one: CandleSpecimen, take: Read, caplog: pytest.LogCaptureFixture
) -> None:
    if one.source == "candle-json":
        return  # its fields have places, no names
    with caplog.at_level(logging.INFO):
        good = take(one, one.good())
        assert caplog.records == []
        reading = take(one, one.with_unknown_column())
    assert reading.figures == good.figures
    assert reading.identities == good.identities
    (report,) = caplog.records
    assert report.columns == ["brand new"]  # type: ignore[attr-defined]


@each_format
def test_a_file_that_is_none_of_this_format_is_one_reject_of_the_table(
    one: CandleSpecimen, take: Read, samples: Path
) -> None:
    page = (samples / "nse_api_json" / "not_json" / "nifty_option_chain.json").read_bytes()
    for content, reason in (
        (one.without_rows(), one.without_rows_reason),
        (b"", "empty_file"),
        (b" \n\n", "empty_file"),
        (gzip.compress(b"", mtime=0), "empty_file"),
        (zipped(b""), "empty_file"),
        (page, one.html_reason),
    ):
        reading = take(one, content)
        assert (reading.updates, reading.file_reasons) == ([], [reason])
        assert {each.reject.table for each in reading.files} == {"candles"}
    for content in (b"[]", b"{}", b'{"data": 3}', b"17", b'"x"', b'{"data": {"candles": 3}}'):
        reading = take(one, content)
        assert reading.updates == []
        assert reading.file_reasons[0] in {"unknown_shape", "missing_columns"}
        assert take(one, content).files[0].identity == reading.files[0].identity


@each_format
def test_a_broken_gzip_file_gives_what_is_before_the_break_and_a_reject(
    one: CandleSpecimen, take: Read
) -> None:
    whole = take(one, one.good())
    packed = gzip.compress(one.good())
    for keep in (12, len(packed) // 2, len(packed) - 9):
        reading = take(one, packed[:keep])
        assert reading.file_reasons == ["undecodable"]
        assert reading.rejects == []
        if one.grows:
            assert set(reading.identities) <= set(whole.identities)


@each_format
def test_a_zip_that_is_damaged_or_holds_more_than_one_file_is_one_reject(
    one: CandleSpecimen, take: Read
) -> None:
    packed = zipped(one.good())
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
    for content in (
        packed[: len(packed) // 2], packed[:-30], bytes(flipped), bytes(encrypted), bytes(unknown),
        zipped(one.good(), one.good()), zipped(), b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 999,
    ):  # fmt: skip
        reading = take(one, content, ending=".zip")
        assert reading.file_reasons == ["undecodable"], content[:10]
        assert "broken zip" in reading.files[0].reject.detail
        assert reading.files[0].reject.payload["bytes"] == len(content)
        again = take(one, content, ending=".zip")
        assert again.files[0].identity == reading.files[0].identity


@each_format
def test_a_truncated_file_never_raises_and_invents_no_candle(one: CandleSpecimen, take: Read) -> None:
    good = one.good()
    for keep in range(1, len(good), max(1, len(good) // 60)):
        reading = take(one, good[:keep])
        assert len(reading.candles) + len(reading.rejects) <= one.leg_count() + 1
        assert reading.updates or reading.files


def _spoil(content: bytes, seed: int, flips: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311
    spoiled = bytearray(content)
    for _ in range(flips):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    return bytes(spoiled)


@each_format
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.tuples(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["", "gz", "zip"])),
)
def test_random_damage_never_raises_and_loses_nothing(
    one: CandleSpecimen, damage: tuple[int, int, str], take: Read
) -> None:
    seed, flips, packing = damage
    packed = {"": one.good(), "gz": gzip.compress(one.good()), "zip": zipped(one.good())}[packing]
    reading = take(one, _spoil(packed, seed, flips))
    assert reading.updates or reading.files
    accounted = len(reading.candles) + len(reading.rejects)
    if not packing:
        assert accounted <= one.leg_count() + flips
        assert reading.files or accounted >= one.leg_count() - flips
    for reject in (*reading.rejects, *(each.reject for each in reading.files)):
        json.dumps([reject.reason, reject.detail, reject.payload], allow_nan=False).encode()


@each_format
def test_a_missing_file_raises(one: CandleSpecimen, tmp_path: Path, reference: ReferenceData) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "absent", one.source, reference)


@each_format
def test_one_endless_line_is_one_reject_in_little_memory(one: CandleSpecimen, take: Read) -> None:
    is_document = one.source == "candle-json"
    packed = zipped(one.good() + b"0" * (70_000_000 if is_document else 20_000_000))
    tracemalloc.start()
    try:
        reading = take(one, packed, ending=".zip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if is_document:  # read whole or not at all
        assert (reading.file_reasons, reading.candles) == (["too_large"], [])
        assert reading.files[0].reject.table == "candles"
    else:
        assert [(each.reason, each.table) for each in reading.rejects] == [("line_too_long", "candles")]
        assert (len(reading.candles), reading.files) == (one.leg_count(), [])
    assert peak < (200_000_000 if is_document else 20_000_000)
