"""Summaries of trackers, as they come: whole, half-written, nonsense."""

from __future__ import annotations

import json
import math
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from health_lake import NOW, SUMMARY, summary_document
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.phase2 import MAX_BYTES, Summary, read_summary

ZONE = "Asia/Kolkata"
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["total_signals", "avg_confidence", "last_updated", "data_quality", "x", "error_rate"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def read(folder: Path, content: bytes | str | dict[str, Any]) -> Summary:
    path = folder / "NSE_summary.json"
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_summary(path, timezone=ZONE)


def test_a_whole_summary_gives_its_figures_and_its_time(tmp_path: Path) -> None:
    found = read(tmp_path, summary_document("NSE", NOW))
    assert found.state == "read"
    assert found.problem == ""
    assert found.updated == NOW.astimezone(UTC)
    assert found.figures["macro_availability_pct"] == SUMMARY["data_quality"]["macro_availability_pct"]
    assert found.figures["portfolio_constraint_violations"] == 1


def test_figures_may_stand_at_the_top(tmp_path: Path) -> None:
    found = read(tmp_path, {"total_signals": 5, "timestamp": NOW.timestamp()})
    assert found.figures == {"total_signals": 5}
    assert found.updated == NOW.astimezone(UTC)


def test_a_time_without_an_offset_is_exchange_local(tmp_path: Path) -> None:
    found = read(tmp_path, {"error_rate": 0, "last_updated": "2026-10-26T12:00:20"})
    assert found.updated == NOW.astimezone(UTC)


def test_without_a_time_the_file_s_own_counts(tmp_path: Path) -> None:
    read(tmp_path, {"error_rate": 0})
    long_ago = (NOW - timedelta(hours=3)).timestamp()
    os.utime(tmp_path / "NSE_summary.json", (long_ago, long_ago))
    found = read_summary(tmp_path / "NSE_summary.json", timezone=ZONE)
    assert found.updated == (NOW - timedelta(hours=3)).astimezone(UTC)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"), (b"  \n", "is empty"), (b'{"data_quality": {"macro_av', "half-written"),
        (b"\xff\xfe\x00\x01", "no JSON"), (b"[]", "a list and no JSON object"), (b"12", "a int and no JSON"),
        (b'"text"', "a str and no JSON"), (b"[" * 100_000, "no JSON"), (b"{} {}", "no JSON"),
        (b" " * (MAX_BYTES + 1), "more than"),
    ],
    ids=["empty", "blank", "torn", "binary", "list", "number", "text", "deep", "two", "huge"],
)  # fmt: skip
def test_what_is_no_object_is_unreadable_and_says_why(tmp_path: Path, content: bytes, told: str) -> None:
    found = read(tmp_path, content)
    assert found.state == "unreadable"
    assert told in found.problem
    assert not found.figures


def test_a_missing_summary_is_missing(tmp_path: Path) -> None:
    assert read_summary(tmp_path / "BSE_summary.json", timezone=ZONE).state == "missing"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("macro_availability_pct", 101), ("macro_availability_pct", -1), ("avg_confidence", 55),
        ("avg_confidence", "0.5"), ("total_signals", True), ("total_signals", None),
        ("error_rate", float("nan")), ("error_rate", float("inf")), ("memory_usage_mb", [1]),
        ("total_pnl", {}), ("total_pnl", 10**400),
    ],
)  # fmt: skip
def test_an_impossible_value_is_named_and_not_taken(tmp_path: Path, name: str, value: Any) -> None:
    found = read(tmp_path, summary_document("NSE", NOW, **{name: value}))
    assert set(found.bad_fields) == {name}
    assert name in found.problem
    assert name not in found.figures
    assert len(found.figures) > 5


def test_two_values_of_one_figure_are_no_value(tmp_path: Path) -> None:
    found = read(tmp_path, {"total_signals": 5, "model_performance": {"total_signals": 6}})
    assert "several values: 5, 6" in found.problem
    assert not found.figures


def test_an_object_without_any_figure_is_a_finding(tmp_path: Path) -> None:
    assert read(tmp_path, {"hello": 1}).bad_fields


@pytest.mark.parametrize("stands", ["yesterday", [1], True, 1e300, "2026-13-01"])
def test_a_time_that_is_none_is_named(tmp_path: Path, stands: Any) -> None:
    found = read(tmp_path, {"error_rate": 0, "last_updated": stands})
    assert set(found.bad_fields) == {"last_updated"}


@settings(max_examples=150, deadline=None)
@given(document=ANY_JSON)
def test_no_document_is_an_exception(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any_summary.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    found = read_summary(path, timezone=ZONE)
    assert found.state in {"read", "unreadable"}
    assert all(math.isfinite(value) for value in found.figures.values())
    assert found.figures.keys().isdisjoint(found.bad_fields)


def test_a_summary_that_is_just_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "NSE_summary.json"
    whole = json.dumps(summary_document("NSE", datetime.now(UTC)))
    path.write_text(whole[:100], encoding="utf-8")
    read_once = threading.Event()

    class Watched(type(path)):  # type: ignore[misc]
        """The file, which its tracker finishes once it was read for the first time."""

        def stat(self, **more: Any) -> os.stat_result:
            if not read_once.is_set():
                read_once.set()
                path.write_text(whole, encoding="utf-8")
            return os.stat(self, **more)  # noqa: PTH116

    assert read_summary(Watched(path), timezone=ZONE).state == "read"
    assert read_once.is_set()
