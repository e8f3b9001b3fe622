"""How numbers, durations, bytes and small lines are written; charts as data."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from monitors.dashboard.chart import Chart, Mark, Series
from monitors.dashboard.figures import NONE, duration, measured, number, plain, size, sparkline

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NONE),
        (float("nan"), NONE),
        (float("inf"), NONE),
        (0, "0"),
        (-0.0, "0"),
        (1_234_567, "1,234,567"),
        (-1234.5, f"{MINUS}1,234"),
        (0.123456, "0.1235"),
        (12.3456, "12.35"),
        (0.000461, "0.000461"),
        (99.999, "100.00"),
        (24_950.35, "24,950"),
    ],
)
def test_a_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_number_with_digits() -> None:
    assert number(24_950.35, 2) == "24,950.35"
    assert number(-0.5, 1) == f"{MINUS}0.5"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, NONE), (0, "0 s"), (0.25, "0.2 s"), (9.96, "10 s"), (59.6, "1 m 00 s"), (61, "1 m 01 s"),
        (3599.7, "1 h 00 m"), (7_530, "2 h 05 m"), (90_000, "1 d 1 h"), (-5, f"{MINUS}5 s"),
    ],
)  # fmt: skip
def test_a_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, NONE), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_800_000, "3.8 MB"), (8e15, "8000.0 TB")],
)
def test_bytes(count: float | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (90.0, "percent", "90%"),
        (480.0, "seconds", "8 m 00 s"),
        (1200.4, "rupees", "₹1,200"),
        (1.0, "0 or 1", "1"),
        (3.0, "rows", "3 rows"),
        (None, "rows", NONE),
    ],
)
def test_a_measured_value(value: float | None, unit: str, text: str) -> None:
    assert measured(value, unit) == text


def test_plain_values() -> None:
    assert [plain(one) for one in (None, True, 1.5, "x")] == [NONE, "yes", "1.500", "x"]


def test_a_small_line_stays_in_its_box_and_bridges_gaps() -> None:
    points = [tuple(map(float, one.split(","))) for one in sparkline([1.0, None, 3.0, 2.0]).split()]
    assert len(points) == 3
    assert points[0][1] > points[2][1] > points[1][1]  # up is less
    assert all(0 <= x <= 96 and 0 <= y <= 20 for x, y in points)
    assert sparkline([]) == sparkline([1.0]) == sparkline([None, 1.0, None]) == ""
    assert len({one.split(",")[1] for one in sparkline([5.0, 5.0, 5.0]).split()}) == 1


def test_a_chart_is_json_that_every_browser_reads() -> None:
    moment = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
    chart = Chart(
        "OI <b>",
        [moment],
        [Series("calls", [float("nan")], unit="units"), Series("puts", [float("inf")])],
        kind="time",
        marks=[Mark(1.0, "ATM")],
    )
    document = json.loads(chart.as_json())
    assert document["x"] == [moment.timestamp()]
    assert [one["values"] for one in document["series"]] == [[None], [None]]
    assert document["title"] == "OI <b>"
