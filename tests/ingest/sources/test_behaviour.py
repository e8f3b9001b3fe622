"""What every adapter does, whatever its format."""

from __future__ import annotations

import gzip
import json
import logging
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.lots import LotSizes
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import adapters
from ingest.sources.base import FileReject
from ingest.sources.values import INDIA


def test_every_leg_of_a_good_file_becomes_one_mapping(specimen: Any, read: Any) -> None:
    reading = read(specimen.source, specimen.good())
    assert len(reading.legs) == specimen.leg_count() > 0
    assert reading.rejects == []
    assert reading.files == []


def test_chains_say_where_they_come_from(specimen: Any, read: Any) -> None:
    for chain in read(specimen.source, specimen.good()).chains:
        assert chain.source == specimen.source
        assert chain.exchange in {"NSE", "BSE"}
        assert chain.event_time.utcoffset().total_seconds() == 5.5 * 3600
        assert chain.received_ns > 0


def test_counts_are_whole_numbers_and_prices_are_floats(specimen: Any, read: Any) -> None:
    for leg in read(specimen.source, specimen.good()).legs:
        for column in ("oi", "oi_change", "volume", "bid_qty", "ask_qty"):
            assert type(leg[column]) in (int, type(None))
        for column in ("ltp", "bid", "ask", "iv", "underlying_price"):
            assert type(leg[column]) in (float, type(None))
            assert leg[column] != 0
        assert type(leg["strike"]) is float


def test_loading_a_file_again_repeats_its_identities(specimen: Any, read: Any) -> None:
    first = read(specimen.source, specimen.good()).identities
    assert read(specimen.source, specimen.good()).identities == first
    assert len(set(first)) == len(first)


def test_compression_changes_nothing_whatever_the_name(specimen: Any, read: Any) -> None:
    plain = read(specimen.source, specimen.good())
    packed = read(specimen.source, gzip.compress(specimen.good()), name=specimen.other_name)
    assert packed.legs == plain.legs
    assert packed.identities == plain.identities


def test_layout_changes_nothing(specimen: Any, read: Any) -> None:
    good = read(specimen.source, specimen.good())
    for other in specimen.relaid():
        reading = read(specimen.source, other)
        assert reading.legs == good.legs
        assert reading.identities == good.identities
        assert reading.files == []


def test_a_byte_order_mark_is_not_content(text_specimen: Any, read: Any) -> None:
    good = read(text_specimen.source, text_specimen.good())
    marked = read(text_specimen.source, b"\xef\xbb\xbf" + text_specimen.good())
    assert marked.legs == good.legs
    assert marked.identities == good.identities


def test_a_changed_number_changes_the_identity_of_its_chain_only(specimen: Any, read: Any) -> None:
    good = read(specimen.source, specimen.with_value(specimen.number_fields[0], "124")).identities
    changed = read(specimen.source, specimen.with_value(specimen.number_fields[0], "123")).identities
    assert len(set(good) - set(changed)) == len(set(changed) - set(good)) == 1


@pytest.mark.parametrize("spoiled", ["abc", "1_000", "1,2", "inf", "1e999", "12.5.1", "१२", "9" * 5000])
def test_a_bad_number_rejects_its_leg_and_no_other(
    specimen: Any, number_field: str, spoiled: str, read: Any
) -> None:
    legs = 2 if number_field in specimen.shared_fields else 1
    reading = read(specimen.source, specimen.with_value(number_field, spoiled))
    assert [reject.reason for reject in reading.rejects] == ["bad_number"] * legs
    assert reading.accounted == specimen.leg_count()
    for reject in reading.rejects:
        assert number_field in reject.detail
        assert len(reject.detail) < 300
        assert reject.payload[number_field] == spoiled
        json.dumps(reject.payload, allow_nan=False)


@pytest.mark.parametrize("missing", ["", "-", "NaN", " - "])
def test_a_missing_number_is_null(specimen: Any, number_field: str, missing: str, read: Any) -> None:
    reading = read(specimen.source, specimen.with_value(number_field, missing))
    assert reading.rejects == []
    assert len(reading.legs) == specimen.leg_count()


def test_numbers_grouped_the_indian_way_are_read(specimen: Any, read: Any) -> None:
    field = specimen.number_fields[0]
    grouped = read(specimen.source, specimen.with_value(field, "1,03,805"))
    plain = read(specimen.source, specimen.with_value(field, "103805"))
    assert grouped.rejects == []
    assert grouped.legs == plain.legs


def test_a_time_that_is_none_rejects_every_leg(timed_specimen: Any, read: Any) -> None:
    specimen = timed_specimen
    for spoiled in ("", "soon", "99-Jul-2025 15:30:00", "2026-13-40 09:15:00", "16-Jul-2025 24:61:00"):
        reading = read(specimen.source, specimen.with_time(spoiled))
        assert reading.legs == []
        assert {reject.reason for reject in reading.rejects} == {"bad_event_time"}
        assert len(reading.rejects) == specimen.leg_count()
        assert {chain.event_time for chain in reading.chains} == {None}


def test_without_a_lot_size_only_formats_in_units_are_read(
    specimen: Any, read: Any, reference: ReferenceData
) -> None:
    unknowing = ReferenceData(calendar=reference.calendar, lots=LotSizes({}))
    reading = read(specimen.source, specimen.good(), using=unknowing)
    if not specimen.counts_contracts:
        assert len(reading.legs) == specimen.leg_count()
        assert {chain.context["lot_size"] for chain in reading.chains} == {None}
    else:
        assert reading.legs == []
        assert [reject.reason for reject in reading.rejects] == ["unknown_lot_size"] * specimen.leg_count()


@pytest.mark.parametrize("symbol", ["", "  ", "N\u0000", "\N{SNOWMAN}", "x" * 200])
def test_a_symbol_that_is_none_rejects_every_leg(named_specimen: Any, symbol: str, read: Any) -> None:
    specimen = named_specimen
    reading = read(specimen.source, specimen.with_symbol(symbol))
    assert reading.legs == []
    assert [reject.reason for reject in reading.rejects] == ["bad_symbol"] * specimen.leg_count()


def test_unknown_columns_are_ignored_and_reported_once(
    specimen: Any, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        reading = read(specimen.source, specimen.with_unknown_column())
    assert reading.legs == read(specimen.source, specimen.good()).legs
    reports = [each for each in caplog.records if getattr(each, "action", "") == "ignore_unknown_columns"]
    assert [report.columns for report in reports] == [[specimen.unknown_column]]  # type: ignore[attr-defined]


def test_a_good_file_reports_no_unknown_columns(
    specimen: Any, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        read(specimen.source, specimen.good())
    assert caplog.records == []


def test_a_file_without_rows_says_so(specimen: Any, read: Any) -> None:
    reading = read(specimen.source, specimen.without_rows())
    assert reading.chains == []
    assert reading.file_reasons == [specimen.without_rows_reason]


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_file_says_so(specimen: Any, content: bytes, read: Any) -> None:
    assert read(specimen.source, content).file_reasons == ["empty_file"]


def test_html_is_recognised(specimen: Any, read: Any, samples: Path) -> None:
    page = samples / "nse_api_json" / "not_json" / "nifty_option_chain.json"
    reading = read(specimen.source, page)
    assert reading.file_reasons == [specimen.html_reason]
    payload = reading.files[0].reject.payload
    assert payload["file"] == page.name
    assert payload["bytes"] == page.stat().st_size
    assert page.read_text(encoding="utf-8").startswith(payload["head"])
    assert len(payload["sha256"]) == 64


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"data": 3}', b"17", b'"x"', b'{"data": [{"a": 1}]}'])
def test_json_of_another_shape_is_one_reject(specimen: Any, content: bytes, read: Any) -> None:
    reading = read(specimen.source, content)
    assert reading.chains == []
    assert len(reading.files) == 1
    assert reading.file_reasons[0] in {"unknown_shape", "missing_columns"}


def test_the_same_reject_of_a_file_has_the_same_identity(specimen: Any, read: Any) -> None:
    (first,) = read(specimen.source, b"{}").files
    (again,) = read(specimen.source, b"{}").files
    packed_name = f"{specimen.file_name}.gz"
    (packed,) = read(specimen.source, gzip.compress(b"{}"), name=packed_name).files
    (other,) = read(specimen.source, b"[]").files
    assert first.identity == again.identity == packed.identity
    assert first.identity != other.identity


def test_a_broken_gzip_file_gives_the_chains_before_the_break_and_a_reject(specimen: Any, read: Any) -> None:
    whole = read(specimen.source, specimen.good())
    packed = gzip.compress(specimen.good())
    for keep in (12, len(packed) // 2, len(packed) - 9):
        reading = read(specimen.source, packed[:keep])
        assert reading.file_reasons == ["undecodable"]
        assert reading.rejects == []
        assert set(reading.identities) <= set(whole.identities)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    assert "undecodable" in read(specimen.source, bytes(damaged)).file_reasons


def test_bytes_that_are_no_text_are_noted_and_lose_no_leg(text_specimen: Any, read: Any) -> None:
    specimen = text_specimen
    marked = specimen.with_value(specimen.number_fields[0], "MARK")
    reading = read(specimen.source, marked.replace(b"MARK", b"\xff\xfe"))
    assert reading.file_reasons == ["undecodable"]
    assert reading.accounted == specimen.leg_count()
    assert 1 <= len(reading.rejects) <= 2


def test_a_truncated_file_never_raises_and_invents_no_leg(specimen: Any, read: Any) -> None:
    good = specimen.good()
    for keep in range(1, len(good), max(1, len(good) // 60)):
        reading = read(specimen.source, good[:keep])
        assert reading.accounted <= specimen.leg_count() + specimen.legs_per_row
        assert reading.chains or reading.files


def _spoil(content: bytes, seed: int, flips: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311
    spoiled = bytearray(content)
    for _ in range(flips):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    return bytes(spoiled)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.tuples(st.integers(0, 2**32), st.integers(1, 6), st.booleans()))
def test_random_damage_never_raises(
    specimen: Any, damage: tuple[int, int, bool], tmp_path: Path, reference: ReferenceData
) -> None:
    seed, flips, packed = damage
    content = _spoil(specimen.good(), seed, flips)
    if packed:
        content = _spoil(gzip.compress(specimen.good()), seed, flips)
    path = tmp_path / specimen.file_name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    known = adapters(captured_at=datetime(2026, 6, 25, 15, 30, tzinfo=INDIA))
    results = list(known[specimen.source].read(path, reference))
    assert results
    chains = [each for each in results if isinstance(each, ChainUpdate)]
    accounted = sum(len(each.calls) + len(each.puts) + len(each.rejects) for each in chains)
    if not packed:
        # A byte that becomes a line end, or was one, makes one row of a table two, or two one.
        assert accounted <= specimen.leg_count() + flips * specimen.legs_per_row
        if not any(isinstance(each, FileReject) for each in results):
            assert accounted >= specimen.leg_count() - flips * specimen.legs_per_row
    for chain in chains:
        for reject in chain.rejects:
            json.dumps([reject.reason, reject.detail, reject.payload], allow_nan=False).encode()


def test_the_file_is_missing_raises(specimen: Any, read: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(specimen.source, tmp_path / "absent")
