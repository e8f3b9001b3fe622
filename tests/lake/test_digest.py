"""The content digest: blind to how rows are stored, awake to every value."""

from __future__ import annotations

import hashlib
import math
import struct
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lake.digest import ContentDigest, content_digest

SCHEMA = pa.schema(
    [
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("name", pa.string()),
        ("value", pa.float64()),
        ("count", pa.int64()),
        ("size", pa.int32()),
        ("good", pa.bool_()),
    ]
)
_MASK = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "day": st.dates(),
    "at": st.datetimes(timezones=st.just(UTC)),
    "name": st.text(max_size=8),
    "value": st.floats(),
    "count": st.integers(-(2**63), 2**63 - 1),
    "size": st.integers(-(2**31), 2**31 - 1),
    "good": st.booleans(),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}),
    min_size=1,
    max_size=6,
)
quick = settings(max_examples=60, deadline=None)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def canonical(value: Any) -> Any:
    """Equal for values that count as one: -0.0 and 0.0, every NaN."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


# The definition once more, slowly: Python's unbounded integers, one value at a time.


def mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def bits(value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value & _MASK
    if isinstance(value, float):
        if math.isnan(value):
            return 0x7FF8000000000000
        return int.from_bytes(struct.pack("<d", value), "little") if value else 0
    if isinstance(value, str):
        return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little")
    if isinstance(value, datetime):
        return ((value - _EPOCH) // timedelta(microseconds=1)) & _MASK
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days & _MASK
    raise AssertionError(type(value))


def slow_digest(rows: list[dict[str, Any]]) -> str:
    digest = ""
    for lane in (b"strikelake-digest-1/a", b"strikelake-digest-1/b"):
        total = 0
        for row in rows:
            hashed = 0x9E3779B97F4A7C15
            for name, value in row.items():
                if value is not None:
                    seed = hashlib.blake2b(name.encode(), digest_size=8, key=lane).digest()
                    hashed += mix((bits(value) + int.from_bytes(seed, "little")) & _MASK)
            total += mix(hashed & _MASK)
        digest += f"{total & _MASK:016x}"
    return digest


@given(ROWS)
@quick
def test_it_equals_a_slow_calculation_with_unbounded_integers(rows: list[dict[str, Any]]) -> None:
    assert content_digest(table_of(rows)) == slow_digest(rows)


@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 6))
@quick
def test_order_of_rows_and_columns_chunks_blocks_and_dictionaries_do_not_matter(
    rows: list[dict[str, Any]], random: Any, cut: int
) -> None:
    expected = content_digest(table_of(rows))
    shuffled = random.sample(rows, len(rows))
    columns = random.sample(SCHEMA.names, len(SCHEMA.names))
    changed = table_of(shuffled).select(columns)

    assert content_digest(changed) == expected
    assert content_digest(pa.concat_tables([changed[:cut], changed[cut:]])) == expected
    by_block = ContentDigest()
    for start in reversed(range(0, len(rows), cut)):
        by_block.update(changed[start : start + cut])
    assert (by_block.hexdigest(), by_block.rows) == (expected, len(rows))
    encoded = changed.set_column(
        changed.column_names.index("name"), "name", changed["name"].dictionary_encode()
    )
    assert content_digest(encoded) == expected
    large = changed.set_column(columns.index("name"), "name", changed["name"].cast(pa.large_string()))
    assert content_digest(large) == expected


@given(ROWS)
@quick
def test_a_column_added_later_that_is_null_here_does_not_matter(rows: list[dict[str, Any]]) -> None:
    table = table_of(rows)
    for kind in (pa.float64(), pa.string(), pa.null()):
        assert content_digest(table.append_column("later", pa.nulls(len(rows), kind))) == content_digest(
            table
        )


@given(ROWS, st.data())
@quick
def test_any_single_value_changed_changes_it(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(SCHEMA.names))
    value = data.draw(st.none() | VALUES[column])
    assume(canonical(value) != canonical(rows[row][column]))
    changed = [dict(one) for one in rows]
    changed[row][column] = value

    assert content_digest(table_of(changed)) != content_digest(table_of(rows))


@given(ROWS, st.sampled_from(SCHEMA.names))
@quick
def test_values_swapped_between_two_rows_change_it(rows: list[dict[str, Any]], column: str) -> None:
    first, last = rows[0], rows[-1]
    assume(canonical(first[column]) != canonical(last[column]))
    others = [name for name in SCHEMA.names if name != column]
    assume([canonical(first[n]) for n in others] != [canonical(last[n]) for n in others])
    swapped = [dict(row) for row in rows]
    swapped[0][column], swapped[-1][column] = last[column], first[column]

    assert content_digest(table_of(swapped)) != content_digest(table_of(rows))


@given(ROWS)
@quick
def test_equal_rows_count_as_often_as_they_occur(rows: list[dict[str, Any]]) -> None:
    counts = {content_digest(table_of(rows * times)) for times in (1, 2, 3)}
    assert len(counts) == 3
    assert content_digest(table_of([])) not in counts


def test_a_row_of_nulls_is_a_row() -> None:
    nothing = dict.fromkeys(SCHEMA.names)
    assert content_digest(table_of([nothing])) != content_digest(table_of([]))
    assert content_digest(table_of([nothing] * 2)) != content_digest(table_of([nothing]))


def test_null_zero_and_the_empty_text_are_three_values() -> None:
    numbers = {content_digest(pa.table({"n": pa.array([v], pa.float64())})) for v in (None, 0.0, 1.0)}
    texts = {content_digest(pa.table({"t": pa.array([v], pa.string())})) for v in (None, "", "0")}
    assert (len(numbers), len(texts)) == (3, 3)


def test_negative_zero_is_zero_and_every_nan_is_one_nan() -> None:
    nans = [struct.unpack("<d", struct.pack("<Q", b))[0] for b in (0x7FF8000000000000, 0xFFF8000000000123)]
    assert len({content_digest(pa.table({"v": pa.array([nan])})) for nan in nans}) == 1
    assert content_digest(pa.table({"v": [0.0]})) == content_digest(pa.table({"v": [-0.0]}))
    assert content_digest(pa.table({"v": [math.nan]})) != content_digest(pa.table({"v": [math.inf]}))


def test_the_same_value_in_another_column_is_another_row() -> None:
    assert content_digest(pa.table({"a": [1.0], "b": [2.0]})) != content_digest(
        pa.table({"a": [2.0], "b": [1.0]})
    )


def test_ignored_columns_do_not_count_and_the_others_do() -> None:
    first = pa.table({"v": [1.0, 2.0], "batch_id": ["a", "b"]})
    second = pa.table({"v": [1.0, 2.0], "batch_id": ["c", None]})

    assert content_digest(first, ignore=["batch_id"]) == content_digest(second, ignore=["batch_id"])
    assert content_digest(first, ignore=["batch_id"]) == content_digest(pa.table({"v": [1.0, 2.0]}))
    assert content_digest(first) != content_digest(second)


def test_many_rows_in_several_internal_blocks_equal_the_slow_calculation() -> None:
    count = 70_000
    rows = pa.table({"n": pa.array(range(count), pa.int64())})

    assert content_digest(rows) == slow_digest([{"n": n} for n in range(count)])


def test_a_type_without_a_canonical_form_is_refused_by_column() -> None:
    with pytest.raises(TypeError, match="'parts'"):
        content_digest(pa.table({"parts": [[1, 2]]}))
