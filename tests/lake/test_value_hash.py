"""One value, one hash: whatever Arrow type stores it, and no other value has it."""

from __future__ import annotations

import decimal
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.digest import content_digest
from lake.value_hash import U64, hash_values, mix, seeds

MOMENT = datetime(2026, 6, 15, 9, 15, tzinfo=UTC)
DAY = date(2026, 6, 15)


def hashes(array: pa.Array, name: str = "column") -> U64:
    return hash_values(array, name, np.empty(len(array), np.uint64), np.empty(len(array), np.uint64))


def integers(value: int, *kinds: pa.DataType) -> list[pa.Array]:
    return [pa.array([value], kind) for kind in kinds]


SMALL = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
BYTES = (
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.binary(3),
    pa.dictionary(pa.int8(), pa.binary()),
)
LISTS = (
    pa.list_(pa.int64()),
    pa.list_(pa.int8()),
    pa.large_list(pa.int64()),
    pa.list_(pa.int64(), 2),
    pa.list_view(pa.int64()),
    pa.large_list_view(pa.int32()),
)

SAME: dict[str, list[pa.Array]] = {
    "integers": [
        *integers(1, *SMALL),
        pa.array([True]),
        pa.array([Decimal(1)], pa.decimal128(38, 0)),
        pa.array([Decimal("1.00")], pa.decimal128(9, 2)),
        pa.array([Decimal("1.000")], pa.decimal32(9, 3)),
        pa.array([Decimal("1.0")], pa.decimal64(18, 1)),
        pa.array([Decimal(1)], pa.decimal256(40, 0)),
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())),
    ],
    "negative integers": [
        *integers(-7, pa.int8(), pa.int64()),
        pa.array([Decimal("-7.0")], pa.decimal128(9, 1)),
    ],
    "large integers": [
        *integers(2**64 - 1, pa.uint64()),
        pa.array([Decimal(2**64 - 1)], pa.decimal128(38, 0)),
        pa.array([Decimal(2**64 - 1)], pa.decimal128(38, 3)),
        pa.array([Decimal(2**64 - 1)], pa.decimal256(70, 1)),
    ],
    "decimals": [
        pa.array([Decimal("1.5")], pa.decimal128(precision, scale))
        for precision, scale in ((2, 1), (9, 2), (38, 1), (38, 36))
    ]
    + [pa.array([Decimal("1.5")], pa.decimal256(76, 50)), pa.array([Decimal("1.5")], pa.decimal32(3, 2))],
    "floats": [pa.array([0.5], kind) for kind in (pa.float16(), pa.float32(), pa.float64())],
    "NaN": [
        pa.array(np.array([np.nan], np.float16)),
        pa.array(np.array([np.nan], np.float32)),
        pa.array([struct.unpack("<d", struct.pack("<Q", 0xFFF0000000000001))[0]]),
        pa.Array.from_buffers(pa.float32(), 1, [None, pa.py_buffer(struct.pack("<I", 0x7F800001))]),
    ],
    "zero": [pa.array([value], kind) for value in (0.0, -0.0) for kind in (pa.float32(), pa.float64())],
    "text": [pa.array(["NIFTY"], kind) for kind in TEXTS],
    "a word of text": [pa.array(["SENSEX26"], kind) for kind in TEXTS],
    "long text": [pa.array(["ltp " * 40], kind) for kind in TEXTS],
    "bytes": [pa.array([b"abc"], kind) for kind in BYTES],
    "dates": [pa.array([DAY], pa.date32()), pa.array([DAY], pa.date64())],
    "moments": [
        pa.array([MOMENT], pa.timestamp(unit, zone))
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Asia/Kolkata")
    ],
    "moments long ago": [
        pa.array([datetime(1931, 1, 1, tzinfo=UTC)], pa.timestamp(unit)) for unit in ("s", "us", "ns")
    ],
    "times": [pa.array([time(9, 15)], kind) for kind in (pa.time32("s"), pa.time64("us"), pa.time64("ns"))],
    "durations": [pa.array([timedelta(seconds=-3)], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")],
    "lists": [pa.array([[3, 5]], kind) for kind in LISTS],
    "lists in lists": [
        pa.array([[["a"], [], None]], pa.list_(pa.list_(pa.string()))),
        pa.array([[["a"], [], None]], pa.large_list(pa.list_view(pa.string_view()))),
    ],
    "structs": [
        pa.array([{"a": 1, "b": "x"}], pa.struct([("a", pa.int8()), ("b", pa.string())])),
        pa.array([{"a": 1, "b": "x"}], pa.struct([("b", pa.large_string()), ("a", pa.int64())])),
        pa.array([{"a": 1, "b": "x", "c": None}]),
    ],
    "maps": [
        pa.array([[("a", 1), ("b", None)]], pa.map_(pa.string(), pa.int8())),
        pa.array([[("a", 1), ("b", None)]], pa.map_(pa.large_string(), pa.int64())),
    ],
    "runs": [
        pa.array([4, 4, 4]),
        pc.run_end_encode(pa.array([4, 4, 4])),
        pa.array([4, 4, 4]).dictionary_encode(),
    ],
    "unions": [
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["x"])]),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1], pa.int8()), pa.array(["y"])]),
        pa.UnionArray.from_dense(
            pa.array([0], pa.int8()), pa.array([1], pa.int32()), [pa.array([7, 1]), pa.array([], pa.string())]
        ),
    ],
    "nothing": [
        pa.nulls(2, kind)
        for kind in (pa.null(), pa.int64(), pa.string(), pa.list_(pa.int64()), pa.struct([("a", pa.int8())]))
    ],
}


@pytest.mark.parametrize("arrays", SAME.values(), ids=SAME)
def test_a_value_hashes_the_same_in_every_type_that_stores_it(arrays: list[pa.Array]) -> None:
    found = {tuple(hashes(array).tolist()) for array in arrays}
    assert len(found) == 1


@pytest.mark.parametrize("arrays", SAME.values(), ids=SAME)
def test_slices_of_any_start_hash_as_their_rows_do(arrays: list[pa.Array]) -> None:
    for array in arrays:
        if pa.types.is_run_end_encoded(array.type) or isinstance(array, pa.UnionArray):
            continue
        several = pa.concat_arrays([array, pa.nulls(9, array.type), array, array, pa.nulls(1, array.type)])
        one = hashes(array).tolist()
        nothing = [0] * len(array.slice(0, 1))
        expected = one + nothing * 9 + one + one + nothing
        for start in (0, 1, 8, 9, 10):
            for length in (0, 1, 2, len(several) - start):
                found = hashes(several.slice(start, length)).tolist()
                assert found == expected[start : start + length], (array.type, start, length)


DIFFERENT: dict[str, list[pa.Array]] = {
    "numbers": [
        pa.array([value], kind)
        for value, kind in (
            *((n, pa.int64()) for n in (None, 0, 1, -1, 2**62, -(2**63), 2**63 - 1)),
            *((n, pa.uint64()) for n in (2**63, 2**64 - 1)),
            *((Decimal(n), pa.decimal128(38, 0)) for n in (2**64, -(2**63) - 1, 10**37, -(10**37))),
            *((Decimal(n), pa.decimal128(38, 2)) for n in ("0.1", "0.01", "-0.1", "10.1", "1.01")),
            *((Decimal(10**n), pa.decimal256(76, 0)) for n in (38, 39, 75)),
            *((x, pa.float64()) for x in (0.0, 1.0, 5e-324, -1.0, float("inf"), float("-inf"), float("nan"))),
        )
    ],
    "words": [
        pa.array([text], pa.string())
        for text in ("", "\0", "\0\0", "a", "a\0", "ab", "ba", "a" * 8, "a" * 9, "a" * 64, "a" * 65, "a" * 66)
    ]
    + [pa.array([b"ab"]), pa.array([b""])],
    "moments": [
        pa.array([0], pa.timestamp("us")), pa.array([1], pa.timestamp("us")),
        pa.array([1], pa.timestamp("ns")),
        pa.array([999], pa.timestamp("ns")), pa.array([-1], pa.timestamp("ns")), pa.array([0], pa.date32()),
        pa.array([1], pa.date64()), pa.array([0], pa.time64("us")), pa.array([1], pa.time64("ns")),
        pa.array([0], pa.duration("us")), pa.array([-1], pa.duration("s")),
    ],
    "intervals": [
        pa.array([pa.MonthDayNano(parts)])
        for parts in ((0, 0, 0), (1, 0, 0), (0, 30, 0), (0, 1, 0), (-1, 0, 0), (0, 0, 1), (0, 0, 864 * 10**11))
    ],
    "lists": [
        pa.array([value], pa.list_(pa.int64()))
        for value in (None, [], [None], [None, None], [0], [0, 0], [1, 2], [2, 1], [3], [1, None], [None, 1])
    ],
    "nested lists": [
        pa.array([value], pa.list_(pa.list_(pa.int64())))
        for value in ([], [[]], [[], []], [[1], [2]], [[1, 2]], [[1, 2], []], [[], [1, 2]], [None])
    ],
    "structs": [
        pa.array([value], pa.struct([("a", pa.int64()), ("b", pa.int64())]))
        for value in (None, {}, {"a": 1}, {"b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 0, "b": 0})
    ],
    "maps": [
        pa.array([value], pa.map_(pa.string(), pa.int64()))
        for value in (None, [], [("a", 1)], [("a", None)], [("b", 1)], [("a", 1), ("b", 2)], [("b", 2)])
    ],
    "unions": [
        pa.UnionArray.from_sparse(pa.array([code], pa.int8()), [pa.array([left]), pa.array([right])])
        for code, left, right in ((0, 1, 2), (1, 1, 2), (0, 2, 1), (1, 2, 1))
    ],
}  # fmt: skip


@pytest.mark.parametrize("arrays", DIFFERENT.values(), ids=DIFFERENT)
def test_different_values_hash_differently(arrays: list[pa.Array]) -> None:
    assert len({int(hashes(array)[0]) for array in arrays}) == len(arrays)


def test_null_is_zero_also_in_a_dictionary_and_in_a_union() -> None:
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", None]))
    assert (hashes(dictionary) == 0).tolist() == [False, True, True]
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 1, None]), pa.array([None, None, "a"])]
    )
    assert (hashes(union) == 0).tolist() == [False, True, True]
    assert (hashes(union.slice(1)) == 0).tolist() == [True, True]


def test_what_stands_at_nulls_does_not_matter() -> None:
    bitmap = pa.py_buffer(b"\x01")
    for kind, values in (
        (pa.float64(), struct.pack("<dQ", 1.5, 0x7FF0000000000001)),
        (pa.int64(), struct.pack("<qq", 1, 99)),
        (pa.decimal128(20, 1), struct.pack("<qqqq", 1, 0, 1, 7)),
    ):
        dirty = pa.Array.from_buffers(kind, 2, [bitmap, pa.py_buffer(values)])
        assert content_digest(pa.table({"v": dirty})) == content_digest(
            pa.table({"v": pa.array(dirty.to_pylist(), kind)})
        )
    indices = pa.Array.from_buffers(pa.int32(), 2, [bitmap, pa.py_buffer(struct.pack("<ii", 0, 10**6))])
    wild = pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)
    assert hashes(wild).tolist() == hashes(pa.array(["a", None])).tolist()


WORDS = st.lists(st.none() | st.text("ab", max_size=2), max_size=3)
NESTED = st.lists(st.none() | st.lists(st.none() | WORDS, max_size=3), min_size=1, max_size=8)
DECIMALS = st.decimals(-(10**18), 10**18, allow_nan=False, allow_infinity=False, places=4)


@given(NESTED, st.integers(0, 7), st.sampled_from([pa.list_, pa.large_list, pa.list_view]))
@settings(max_examples=100, deadline=None)
def test_nested_lists_hash_equally_exactly_if_they_are_equal(
    values: list[Any], start: int, kind: Callable[[pa.DataType], pa.DataType]
) -> None:
    found = hashes(pa.array(values, kind(pa.list_(pa.string()))).slice(start)).tolist()
    alone = [int(hashes(pa.array([value], pa.list_(pa.list_(pa.string()))))[0]) for value in values]
    assert found == alone[start:]
    assert len(set(alone)) == len({repr(value) for value in values})


@given(st.lists(DECIMALS, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_decimals_hash_by_their_number_whatever_their_scale(values: list[Decimal]) -> None:
    with decimal.localcontext(prec=60):
        found = [
            hashes(pa.array(values, kind)).tolist()
            for kind in (pa.decimal128(38, 4), pa.decimal128(38, 12), pa.decimal256(60, 20))
        ]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == len(set(values))


# Every type DuckDB has, with two values each.
DUCKDB_VALUES = {
    "bool": ("true", "false"),
    "tinyint": ("1::TINYINT", "2::TINYINT"),
    "ubigint": ("18446744073709551615::UBIGINT", "9223372036854775808::UBIGINT"),
    "hugeint": ("1::HUGEINT", "-1::HUGEINT"),
    "sum of bigint": ("sum(1::BIGINT)", "sum(2::BIGINT)"),
    "uhugeint": ("1::UHUGEINT", "2::UHUGEINT"),
    "bignum": ("123::BIGNUM", "124::BIGNUM"),
    "float": ("1.5::FLOAT", "2.5::FLOAT"),
    "double": ("1.5::DOUBLE", "2.5::DOUBLE"),
    "decimal": ("1.5::DECIMAL(9, 2)", "1.05::DECIMAL(9, 2)"),
    "blob": ("'a'::BLOB", "'b'::BLOB"),
    "bit": ("'101'::BIT", "'1010'::BIT"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'::UUID", "'00000000-0000-0000-0000-000000000002'::UUID"),
    "date": ("DATE '2026-06-15'", "'infinity'::DATE"),
    "time": ("TIME '09:15'", "TIME '09:15:00.000001'"),
    "time_ns": ("'09:15:00'::TIME_NS", "'09:15:00.000000001'::TIME_NS"),
    "timestamp": ("TIMESTAMP '2026-06-15'", "'infinity'::TIMESTAMP"),
    "timestamp_s": ("'2026-06-15'::TIMESTAMP_S", "'2026-06-16'::TIMESTAMP_S"),
    "timestamp_ms": ("'2026-06-15'::TIMESTAMP_MS", "'2026-06-16'::TIMESTAMP_MS"),
    "timestamp_ns": ("'2026-06-15'::TIMESTAMP_NS", "'2026-06-15 00:00:00.000000001'::TIMESTAMP_NS"),
    "timestamptz": ("'2026-06-15'::TIMESTAMPTZ", "'2026-06-16'::TIMESTAMPTZ"),
    "interval": ("INTERVAL 1 MONTH", "INTERVAL 30 DAY"),
    "enum": ("'a'::ENUM('a', 'b')", "'b'::ENUM('a', 'b')"),
    "varchar": ("'a'", "'b'"),
    "json": ("'{}'::JSON", "'[]'::JSON"),
    "list": ("[1, 2]", "[2, 1]"),
    "array": ("[1, 2]::INT[2]", "[2, 1]::INT[2]"),
    "struct": ("{a: 1, b: 'x'}", "{a: 1, b: 'y'}"),
    "map": ("MAP {'a': 1}", "MAP {'a': 2}"),
    "union": ("union_value(a := 1)", "union_value(a := 2)"),
    "variant": ("1::VARIANT", "'a'::VARIANT"),
    "list of structs": ("[{a: 1, t: TIME '09:15'}]", "[{a: 1, t: TIME '09:16'}]"),
}


@pytest.mark.parametrize(("first", "second"), DUCKDB_VALUES.values(), ids=DUCKDB_VALUES)
def test_every_type_of_duckdb_has_a_digest_under_every_setting_of_its_export(first: str, second: str) -> None:
    digests = []
    with duckdb.connect() as connection:
        for setting in (
            "arrow_large_buffer_size = false",
            "arrow_large_buffer_size = true",
            "arrow_output_list_view = true",
            "produce_arrow_string_view = true",
            "arrow_output_version = '1.4'",
        ):
            connection.execute(f"SET {setting}")
            digests.append([
                content_digest(connection.sql(f"SELECT {value} AS x").to_arrow_table())
                for value in (first, second, first, "NULL")
            ])  # fmt: skip
            connection.sql(f"SELECT unnest([{first.replace('sum(', '(')}, NULL]) AS x").to_arrow_table()
        connection.execute("SET arrow_lossless_conversion = true")
        content_digest(connection.sql(f"SELECT {first} AS x").to_arrow_table())
    assert len(set(digests[0])) == 3
    assert all(digest == digests[0] for digest in digests)


# Statistics of the scrambling: bounds are five standard deviations of fair coins.


def test_every_bit_of_a_value_moves_half_of_the_bits_of_its_hash() -> None:
    rng = np.random.default_rng(11)
    values = rng.integers(-(2**63), 2**63 - 1, 20_000)
    base = hashes(pa.array(values))
    for bit in range(64):
        flipped = hashes(pa.array((values.view(np.uint64) ^ np.uint64(1 << bit)).view(np.int64)))
        moved = np.unpackbits((base ^ flipped).view(np.uint8)).reshape(-1, 64).mean(axis=0)
        assert abs(moved - 0.5).max() < 5 * 0.5 / np.sqrt(len(values))


MILLION = 1_000_000
NEAR: dict[str, Callable[[], pa.Array]] = {
    "consecutive integers": lambda: pa.array(np.arange(MILLION)),
    "multiples of the lot size": lambda: pa.array(np.arange(MILLION) * 75),
    "prices on a grid of 0.05": lambda: pa.array(np.arange(MILLION) * 0.05),
    "rounded prices": lambda: pa.array(np.round(np.arange(MILLION) * 0.05, 2)),
    "powers and small floats": lambda: pa.array(np.arange(MILLION) * 2.0**-1060),
    "microseconds": lambda: pa.array(np.arange(MILLION), pa.timestamp("us")),
    "numbered texts": lambda: pa.array([f"app-{i:012d}" for i in range(MILLION)]),
    "texts of unequal lengths": lambda: pa.array([f"{i:x}" for i in range(MILLION)]),
}


@pytest.mark.parametrize("values", NEAR.values(), ids=NEAR)
def test_a_million_near_values_have_no_hash_in_common_and_even_halves(values: Callable[[], pa.Array]) -> None:
    found = hashes(values())
    assert len(np.unique(found)) == MILLION
    ones = np.array([int(((found >> np.uint64(bit)) & np.uint64(1)).sum()) for bit in range(64)])
    assert abs(ones / MILLION - 0.5).max() < 5 * 0.5 / np.sqrt(MILLION)
    # 65,536 bins of either half: a fair throw has a variance of the mean, 15.26.
    for half in (found >> np.uint64(48), found & np.uint64(0xFFFF)):
        bins = np.bincount(half.astype(np.int64), minlength=65_536)
        assert 0.97 < bins.var() / bins.mean() < 1.03


def test_columns_are_scrambled_apart_by_name_and_multipliers_are_odd() -> None:
    numbers = [seeds(f"feature_{i}", family) for i in range(2_000) for family in ("float", "integer")]
    assert len({int(seed) for seed, _ in numbers}) == len({int(m) for _, m in numbers}) == len(numbers)
    assert all(int(multiplier) % 2 for _, multiplier in numbers)


def test_mixing_is_a_permutation_that_keeps_zero() -> None:
    values = np.concatenate([np.arange(2**16), np.arange(2**16) << 48, -np.arange(1, 2**16)]).view(np.uint64)
    values = np.unique(values)
    mixed = mix(values.copy(), np.empty_like(values))
    assert len(np.unique(mixed)) == len(values)
    assert mixed[values == 0] == 0
