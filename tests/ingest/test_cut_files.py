"""A bhavcopy that was cut short and comes again whole adds the rows that were missing, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backfilled import check_books, stored
from candle_specimens import CandleSpecimen, LegacyBhavcopySpecimen, UdiffBhavcopySpecimen
from small_files import write_lots

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.load import LoadSummary, load
from ingest.retry import retry
from ingest.sources import ADAPTERS
from lake.settings import Settings

each_format = pytest.mark.parametrize(
    "one", [LegacyBhavcopySpecimen(), UdiffBhavcopySpecimen()], ids=lambda one: one.source
)


def load_into(root: Path, one: CandleSpecimen, content: bytes) -> LoadSummary:
    path = root.parent / "files" / "download.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return load(Settings(root=root), ADAPTERS[one.source], [path])


def cuts_of(content: bytes, count: int) -> list[int]:
    """Places to cut at: spread over the rows, in the middle of a row and right after one."""
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    chosen = [ends[1 + number * (len(ends) - 2) // count] for number in range(count)]
    return [end - 17 if number % 2 else end for number, end in enumerate(chosen)]


@each_format
def test_the_rest_of_a_file_comes_in_whatever_was_there_before(one: CandleSpecimen, tmp_path: Path) -> None:
    content = one.good()
    load_into(tmp_path / "other", one, content)
    right = stored(tmp_path / "other", "candles")
    assert right.total() == one.leg_count()
    for number, cut in enumerate(cuts_of(content, 4)):
        ours = tmp_path / f"ours{number}"
        first = load_into(ours, one, content[:cut])
        assert stored(ours, "candles") <= right
        whole = load_into(ours, one, content)
        assert first.rows + whole.rows == one.leg_count()
        assert stored(ours, "candles") == right
        assert load_into(ours, one, content).rows == 0
        check_books(ours)


@each_format
def test_the_order_of_loads_does_not_matter(one: CandleSpecimen, tmp_path: Path) -> None:
    content, ours = one.good(), tmp_path / "ours"
    early, late = cuts_of(content, 4)[1:3]
    for part in (content[:late], content[:early], content, content[:early], content[: late - 3]):
        load_into(ours, one, part)
    load_into(tmp_path / "other", one, content)
    assert stored(ours, "candles") == stored(tmp_path / "other", "candles")
    check_books(ours)


@each_format
def test_a_row_that_is_cut_is_no_other_row(
    one: CandleSpecimen, tmp_path: Path, reference: ReferenceData
) -> None:
    content = one.good()
    start = content.rstrip(b"\n").rindex(b"\n") + 1

    def candles(part: bytes) -> list[Any]:
        path = tmp_path / "part.csv"
        path.write_bytes(part)
        updates = list(ADAPTERS[one.source].read(path, reference))
        assert all(isinstance(each, CandleUpdate) for each in updates)
        return [
            {k: v for k, v in candle.items() if k not in {"raw", "origin"}}
            for each in updates if isinstance(each, CandleUpdate) for candle in each.candles
        ]  # fmt: skip

    whole = candles(content)
    for cut in range(start, len(content)):
        assert candles(content[:cut]) in (whole, whole[:-1])


@each_format
@pytest.mark.parametrize("after", ["retry", "whole, retry", "retry, whole", "whole, lots, retry"])
def test_rejects_of_a_file_that_was_cut_come_in_once(
    one: CandleSpecimen, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if one.source != "bhavcopy-fo":
        pytest.skip("its rows bring their lots")
    content = one.with_symbol("NEWINDEX")
    ours, other = tmp_path / "ours", tmp_path / "other"
    cut = cuts_of(content, 4)[2]
    first = load_into(ours, one, content[:cut])
    assert first.quarantined["unknown_lot_size"] > 10
    if after == "whole, lots, retry":
        # The same rejects again are no new rows of quarantine.
        second = load_into(ours, one, content)
        assert sum(each.quarantined["unknown_lot_size"] for each in (first, second)) == one.leg_count()
    write_lots(ours, "NEWINDEX", 60)
    write_lots(other, "NEWINDEX", 60)
    load_into(other, one, content)
    for step in after.split(", "):
        if step == "retry":
            retry(Settings(root=ours))
        elif step == "whole":
            load_into(ours, one, content)
    load_into(ours, one, content)
    assert stored(ours, "candles") == stored(other, "candles")
    retry(Settings(root=ours))
    assert stored(ours, "candles") == stored(other, "candles")
    check_books(ours)


def test_a_corrected_row_stands_beside_the_first_and_the_others_come_once(tmp_path: Path) -> None:
    one = UdiffBhavcopySpecimen()
    ours = tmp_path / "ours"
    load_into(ours, one, one.good())
    assert load_into(ours, one, one.with_value("ClsPric", "1.05")).rows == 1
    assert stored(ours, "candles").total() == one.leg_count() + 1


def test_a_run_that_an_earlier_version_took_in_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = UdiffBhavcopySpecimen()
    ours = tmp_path / "ours"
    from ingest.sources import bhavcopy

    made = bhavcopy.update
    with monkeypatch.context() as patch:
        patch.setattr(bhavcopy, "update", lambda *given, **more: made(*given, **{**more, "parts": ()}))
        assert load_into(ours, one, one.good()).rows == one.leg_count()
    assert load_into(ours, one, one.good()).rows == 0
