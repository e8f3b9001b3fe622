"""Rows by their batches, in an order that never changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from lake.digest import content_digest
from lake.errors import DamagedTableError
from lake.partition_reader import files_by_partition, plain_reader
from lake.selection import Selection, is_in_order, rows_in_order, select_batches, sort_rows
from lake.snapshot import read_snapshot

Rows = list[dict[str, Any]]

DAY = date(2026, 1, 5)

TYPES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.text(alphabet="abBé\U0001f600\uffff", max_size=3),
    pa.large_string(): st.sampled_from(["", "a", "aa", "b"]),
    pa.float64(): st.sampled_from([-math.inf, -1.5, -0.0, 0.0, 1e-300, 2.0, math.inf, math.nan]),
    pa.int64(): st.sampled_from([-(2**63), -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1]),
    pa.int32(): st.integers(-2, 2),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(date(2025, 12, 30), date(2026, 1, 2)),
    pa.timestamp("us", tz="UTC"): st.sampled_from(
        [datetime(1960, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC),
         datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)]
    ),
}  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Up to 40 rows of up to 4 columns of few distinct values, in chunks of any size."""
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=4))
    count = draw(st.integers(0, 40))
    columns = {}
    for number, kind in enumerate(kinds):
        values = draw(st.lists(st.none() | TYPES[kind], min_size=count, max_size=count))
        columns[f"c{number}"] = pa.array(values, kind)
    rows = pa.table(columns)
    cut = draw(st.integers(0, count))
    return pa.concat_tables([rows.slice(0, cut), rows.slice(cut)])


def compare(one: Any, other: Any) -> int:
    """Nulls last, NaN after every other number, text by its UTF-8 bytes."""

    def key(value: Any) -> tuple[int, Any]:
        if value is None:
            return 2, 0
        if isinstance(value, float) and math.isnan(value):
            return 1, 0
        return 0, value.encode() if isinstance(value, str) else value

    left, right = key(one), key(other)
    return (left > right) - (left < right)


def compare_rows(one: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    return next((c for c in map(compare, one, other) if c), 0)


def as_tuples(rows: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in rows.columns), strict=True))


@given(tables())
def test_rows_are_sorted_as_python_sorts_them(rows: pa.Table) -> None:
    ordered = sort_rows(rows)
    expected = sorted(as_tuples(rows), key=functools.cmp_to_key(compare_rows))
    assert ordered.schema == rows.schema
    found = as_tuples(ordered)
    assert len(found) == len(expected)
    assert all(compare_rows(one, other) == 0 for one, other in zip(found, expected, strict=True))


@given(tables())
def test_order_is_recognised_exactly(rows: pa.Table) -> None:
    pairs = zip(as_tuples(rows), as_tuples(rows)[1:], strict=False)
    assert is_in_order(rows) == all(compare_rows(one, other) <= 0 for one, other in pairs)
    assert is_in_order(sort_rows(rows))


def test_a_late_column_decides_among_many() -> None:
    rows = pa.table({**{f"c{n}": [1.0, 1.0, 1.0] for n in range(12)}, "last": [3, 1, 2]})
    assert not is_in_order(rows)
    assert sort_rows(rows)["last"].to_pylist() == [1, 2, 3]


def recorded(batches: dict[str, pa.Table]) -> pa.Table:
    digests = [content_digest(rows, ignore=["batch_id"]) for rows in batches.values()]
    return pa.table(
        {"batch_id": list(batches), "rows": [rows.num_rows for rows in batches.values()],
         "content_digest": digests}
    )  # fmt: skip


@pytest.fixture
def chosen(
    make_rows: Callable[..., pa.Table], commit: Callable[..., Any]
) -> tuple[Selection, Callable[[int], None]]:
    """Two batches of station A and one of B, whose values run against the order of their commits."""
    parts = {
        ("A", "x"): make_rows(5, 20, batch_id="x"),
        ("B", "x"): make_rows(4, 40, station="B", batch_id="x"),
        ("A", "y"): make_rows(5, 0, batch_id="y"),
    }
    commit(pa.concat_tables([parts["A", "x"], parts["B", "x"]]), 1)
    commit(parts["A", "y"], 2)
    selection = Selection(
        "readings",
        {
            (str(DAY), "A"): recorded({"x": parts["A", "x"], "y": parts["A", "y"]}),
            (str(DAY), "B"): recorded({"x": parts["B", "x"]}),
        },
        tuple(parts["A", "x"].column_names),
    )
    return selection, lambda sequence: commit(make_rows(3, 100, batch_id="late"), sequence)


def replayed(table: Path, selection: Selection) -> list[pa.Table]:
    with plain_reader() as connection:
        return list(rows_in_order(connection, read_snapshot(table), selection))


def test_only_the_batches_come_partition_by_partition(table: Path, chosen: Any) -> None:
    selection, add_late = chosen
    add_late(3)
    parts = replayed(table, selection)
    assert [part["celsius"].to_pylist() for part in parts] == [
        [0, 1, 2, 3, 4, 20, 21, 22, 23, 24], [40, 41, 42, 43],
    ]  # fmt: skip
    assert all(is_in_order(part) for part in parts)


def test_the_layout_of_the_files_does_not_show(table: Path, chosen: Any) -> None:
    selection, add_late = chosen
    before = replayed(table, selection)
    add_late(3)
    DeltaTable(str(table)).optimize.compact()
    assert [part.equals(other) for part, other in zip(replayed(table, selection), before, strict=True)] == [
        True
    ] * 2


def test_a_later_column_stays_outside(
    table: Path, chosen: Any, commit: Callable[..., Any], make_rows: Callable[..., pa.Table]
) -> None:
    selection, _ = chosen
    before = replayed(table, selection)
    commit(make_rows(2, 60, batch_id="wide", humidity=[0.5, 0.6]), 3)
    assert replayed(table, selection)[0].equals(before[0])


def test_a_batch_that_is_not_as_recorded_never_comes(table: Path, chosen: Any) -> None:
    selection, _ = chosen
    place = (str(DAY), "A")
    wrong = selection.batches[place].set_column(1, "rows", pa.array([5, 6]))
    with pytest.raises(DamagedTableError, match="batch y: 5 rows instead of 6"):
        replayed(table, Selection("readings", {place: wrong}, selection.columns))
    gone = selection.batches[place].set_column(0, "batch_id", pa.array(["x", "z"]))
    with pytest.raises(DamagedTableError, match="batch z: none of its 5 rows"):
        replayed(table, Selection("readings", {place: gone}, selection.columns))


def test_a_partition_or_a_column_that_is_not_there_is_told(table: Path, chosen: Any) -> None:
    selection, _ = chosen
    for broken in (
        Selection("readings", {(str(DAY), "C"): next(iter(selection.batches.values()))}, selection.columns),
        Selection("readings", selection.batches, (*selection.columns, "humidity")),
    ):
        with pytest.raises(DamagedTableError, match=r"station=C|humidity"):
            replayed(table, broken)
        with plain_reader() as connection, pytest.raises(DamagedTableError, match=r"station=C|humidity"):
            select_batches(connection, read_snapshot(table), broken)


def test_a_view_of_some_batches_has_their_rows(table: Path, chosen: Any) -> None:
    selection, add_late = chosen
    add_late(3)
    part = {(str(DAY), "B"): selection.batches[str(DAY), "B"]}
    with plain_reader() as connection:
        for batches, expected in [(selection.batches, 14), (part, 4), ({}, 0)]:
            one = Selection("readings", batches, selection.columns)
            sql = select_batches(connection, read_snapshot(table), one)
            rows = connection.sql(sql).to_arrow_table()
            assert (rows.num_rows, rows.column_names) == (expected, list(selection.columns))


def test_files_are_known_by_their_partition(table: Path, chosen: Any) -> None:
    snapshot = read_snapshot(table)
    found = files_by_partition(snapshot)
    assert {key: len(files) for key, files in found.items()} == {(str(DAY), "A"): 2, (str(DAY), "B"): 1}
    assert sorted(file for files in found.values() for file in files) == sorted(snapshot.files)


def test_moments_are_the_same_in_every_zone(table: Path, chosen: Any) -> None:
    selection, _ = chosen
    (part, _) = replayed(table, selection)
    assert part.schema.field("event_time").type == pa.timestamp("us", tz="UTC")
    midnight = datetime(2026, 1, 5, tzinfo=UTC)
    assert part["event_time"][1].as_py() == midnight + timedelta(seconds=1, microseconds=1)
