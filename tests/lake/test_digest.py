"""The content digest: blind to how rows are stored, awake to every value."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lake.digest import ContentDigest, content_digest, digests_by

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
    "name": st.text(max_size=20) | st.text("ab", min_size=60, max_size=70),
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


def text_bits(text: bytes) -> int:
    if len(text) > 64:
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    state = mix((len(text) + 0x9E3779B97F4A7C15) & _MASK)
    for start in range(0, len(text), 8):
        state = mix(state ^ int.from_bytes(text[start : start + 8], "little"))
    return state


def bits(value: Any) -> tuple[str, int]:
    if isinstance(value, int):
        return "integer", value & _MASK
    if isinstance(value, float):
        if math.isnan(value):
            return "float", 0x7FF8000000000000
        return "float", int.from_bytes(struct.pack("<d", value), "little") if value else 0
    if isinstance(value, str):
        return "text", text_bits(value.encode())
    if isinstance(value, datetime):
        return "timestamp", ((value - _EPOCH) // timedelta(microseconds=1)) & _MASK
    if isinstance(value, date):
        return "date", (value - date(1970, 1, 1)).days & _MASK
    raise AssertionError(type(value))


def slow_digest(rows: list[dict[str, Any]]) -> str:
    totals = [0, 0]
    for row in rows:
        lanes = [0x9E3779B97F4A7C15, 0xC4CEB9FE1A85EC53]
        for name, value in row.items():
            if value is not None:
                family, number = bits(value)
                seed = hashlib.blake2b(
                    name.encode(), digest_size=16, key=b"strikelake-digest-2", person=family.encode()
                ).digest()
                hashed = mix((number + int.from_bytes(seed[:8], "little")) & _MASK)
                lanes[0] += hashed
                lanes[1] += hashed * (int.from_bytes(seed[8:], "little") | 1)
        totals = [total + mix(lane & _MASK) for total, lane in zip(totals, lanes, strict=True)]
    return "".join(f"{total & _MASK:016x}" for total in totals)


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


def test_two_columns_of_one_name_are_refused() -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["n", "n"])
    with pytest.raises(ValueError, match="'n'"):
        content_digest(twice)


@given(ROWS, st.lists(st.integers(0, 2), min_size=6, max_size=6))
@quick
def test_digests_of_any_parts_add_up_to_the_digest_of_the_whole(
    rows: list[dict[str, Any]], part_of: list[int]
) -> None:
    whole = ContentDigest()
    for part in range(3):
        digest = ContentDigest()
        digest.update(table_of([row for row, where in zip(rows, part_of, strict=False) if where == part]))
        whole += ContentDigest.from_hex(digest.hexdigest(), digest.rows)

    assert (whole.hexdigest(), whole.rows) == (content_digest(table_of(rows)), len(rows))


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "0" * 31 + "g", "+" + "0" * 31, "A" * 32])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no content digest"):
        ContentDigest.from_hex(text, 1)


@given(ROWS, st.sampled_from(["name", "day", "count", "good"]), st.booleans(), st.booleans())
@quick
def test_digests_by_a_column_equal_those_of_the_rows_of_each_value(
    rows: list[dict[str, Any]], key: str, ignored: bool, encoded: bool
) -> None:
    # Few values, so that rows share them.
    rows = [dict(row, name=None if row["name"] is None else row["name"][:1], day=None) for row in rows]
    table = table_of(rows)
    ignore = [key] if ignored else []
    expected = {
        value: content_digest(table_of([row for row in rows if row[key] == value]), ignore=ignore)
        for value in {row[key] for row in rows}
    }
    if encoded:
        column = table[key].dictionary_encode()
        table = table.set_column(table.column_names.index(key), key, column)

    found = digests_by(pa.concat_tables([table[:2], table[2:]]), key, ignore=ignore)

    assert {value: digest.hexdigest() for value, digest in found.items()} == expected
    assert {value: digest.rows for value, digest in found.items()} == {
        value: sum(row[key] == value for row in rows) for value in expected
    }


def many_rows(count: int = 300_000) -> pa.Table:
    rng = np.random.default_rng(5)
    keys = [f"app-{i:012d}" for i in range(400)]
    return pa.table(
        {
            "batch_id": pa.array([*keys, None]).take(pa.array(rng.integers(0, 401, count))),
            "price": pa.array(
                np.round(rng.uniform(0, 900, count) / 0.05) * 0.05, mask=rng.random(count) < 0.1
            ),
            "volume": rng.integers(0, 10**6, count),
            "source": pa.repeat("simulator", count),
        }
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_many_rows_by_key_add_up_and_equal_filtered_ones(threads: int) -> None:
    rows = many_rows()
    by_batch = digests_by(rows, "batch_id", threads=threads)
    whole = ContentDigest()
    for digest in by_batch.values():
        whole += digest

    assert len(by_batch) == 401
    assert (whole.hexdigest(), whole.rows) == (content_digest(rows), rows.num_rows)
    one = rows.filter(pc.field("batch_id") == "app-000000000123")
    assert by_batch["app-000000000123"].hexdigest() == content_digest(one)
    assert by_batch[None].hexdigest() == content_digest(rows.filter(pc.field("batch_id").is_null()))


def test_a_key_that_is_no_column_is_refused() -> None:
    with pytest.raises(KeyError, match="nobody"):
        digests_by(pa.table({"n": [1]}), "nobody")


def batches_of(rows: pa.Table, size: int) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(rows.schema, iter(rows.to_batches(max_chunksize=size)))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1_000, 100_000, 10**6])
def test_streams_and_tables_of_any_chunks_and_any_number_of_threads_give_one_digest(
    threads: int, size: int
) -> None:
    rows = many_rows(150_000)
    expected = content_digest(rows, threads=1)

    assert content_digest(batches_of(rows, size), threads=threads) == expected
    pieces = [rows[start : start + size] for start in range(0, rows.num_rows, size)]
    assert content_digest(pa.concat_tables(pieces), threads=threads) == expected
    assert content_digest(rows.combine_chunks().to_batches()[0], threads=threads) == expected


def test_an_error_in_a_stream_adds_nothing() -> None:
    rows = many_rows(200_000)

    def broken() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches()
        raise OSError("the disk failed")

    digest = ContentDigest()
    with pytest.raises(OSError, match="the disk failed"):
        digest.update(pa.RecordBatchReader.from_batches(rows.schema, broken()))
    assert (digest.hexdigest(), digest.rows) == ("0" * 32, 0)


@given(ROWS, st.integers(1, 2**40), st.sampled_from(["count", "value"]))
@quick
def test_equal_and_opposite_changes_change_it(rows: list[dict[str, Any]], amount: int, column: str) -> None:
    rows = [*rows, dict(rows[0])]
    start = 2**41 if column == "count" else float(2**41)
    rows[0][column] = rows[-1][column] = start
    moved = [dict(row) for row in rows]
    moved[0][column] += amount
    moved[-1][column] -= amount

    assert content_digest(table_of(moved)) != content_digest(table_of(rows))


@given(st.integers(0, 2**40), st.integers(1, 2**30))
@quick
def test_equal_and_opposite_changes_of_two_columns_change_it(start: int, amount: int) -> None:
    first = pa.table({"bid": [start], "ask": [start]})
    second = pa.table({"bid": [start + amount], "ask": [start - amount]})
    third = pa.table({"bid": [start - amount], "ask": [start + amount]})
    assert len({content_digest(rows) for rows in (first, second, third)}) == 3
