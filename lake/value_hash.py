"""64 bits for every value of an Arrow array, equal for equal values whatever type stores them.

What counts as the same value:

- integers of every width, whole decimals and true or false (1 or 0) as the integer they are;
- decimals by their number: 1.50 equals 1.5; a decimal never equals a float;
- floats of every width as float64: -0.0 equals 0.0, every NaN equals every other;
- dates, times, durations and timestamps by what they denote, whatever their unit, each kind apart;
  the name of a timestamp's zone does not matter, having a zone does not either;
- text, and bytes, by their bytes; dictionaries, views, run-end encoding and extension types by the
  values they stand for;
- lists of every kind by their elements in order, maps as lists of entries, structs by the fields that
  are not null, unions by the name of the member and its value.

Null is 0 and nothing else is, but for one value in 2**64.
"""

from __future__ import annotations

import decimal
import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

U64 = npt.NDArray[np.uint64]

_KEY = b"strikelake-digest-2"
_NAN = np.uint64(0x7FF8000000000000)
_NEGATIVE_ZERO = np.uint64(1 << 63)
# The odd constant of SplitMix64, 2**64 divided by the golden ratio.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_WORD_BYTES = 8
_TEXT_BYTES = 64
"""Longer text is hashed by BLAKE2b, one by one, which then costs no more than word by word."""
_DIRECT_BYTES = 16
"""Longer text of unequal lengths is worth finding the distinct ones first."""
_LOW_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(_WORD_BYTES + 1)], np.uint64)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DAY_MS = 86_400_000


@lru_cache(maxsize=4096)
def seeds(name: str, family: str) -> tuple[np.uint64, np.uint64]:
    """A number to add to the values of a column and an odd one to multiply their hashes by."""
    # A column is known by its name, so that its place does not matter; the family keeps, say, the
    # integer 1 apart from the text or the day of the same 64 bits.
    digest = hashlib.blake2b(name.encode(), digest_size=16, key=_KEY, person=family.encode()).digest()
    first, second = np.frombuffer(digest, "<u8")
    return np.uint64(first), np.uint64(second | 1)


def mix(values: U64, scratch: U64) -> U64:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014), in place.

    A permutation of the 64-bit numbers in which every input bit moves every output bit; 0 stays 0.
    """
    np.right_shift(values, np.uint64(30), out=scratch)
    np.bitwise_xor(values, scratch, out=values)
    np.multiply(values, np.uint64(0xBF58476D1CE4E5B9), out=values)
    np.right_shift(values, np.uint64(27), out=scratch)
    np.bitwise_xor(values, scratch, out=values)
    np.multiply(values, np.uint64(0x94D049BB133111EB), out=values)
    np.right_shift(values, np.uint64(31), out=scratch)
    np.bitwise_xor(values, scratch, out=values)
    return values


def family_of(kind: pa.DataType) -> str:
    """The kind of value a type stores; values of two families are never equal.

    Raises:
        TypeError: Values of that type have no canonical form here.
    """
    kind = _plain_type(kind)
    if pa.types.is_null(kind):
        return "null"
    for family, (belongs, _) in _FAMILIES.items():
        if belongs(kind):
            return family
    raise TypeError(f"values of type {kind} have no canonical digest form")


def is_constant(array: pa.Array) -> bool:
    """True if it was quickly found that all values are the same; False says nothing."""
    array = _plain(array)
    if pa.types.is_dictionary(array.type):
        array = array.indices
    if array.null_count or len(array) < 2:
        return False
    if _is_text(array.type) and not pa.types.is_string_view(array.type):
        offsets = _offsets(array)
        size = int(offsets[1] - offsets[0])
        if size * len(array) != offsets[-1] - offsets[0] or (np.diff(offsets) != size).any():
            return False
        if size == 0:
            return True
        data = np.frombuffer(array.buffers()[2], np.uint8, size * len(array), int(offsets[0]))
        return bool((data[:size] == data[-size:]).all() and (data[:-size] == data[size:]).all())
    if not pa.types.is_primitive(array.type) or array.type.bit_width not in {8, 16, 32, 64}:
        return False
    values = _numbers(array)
    values = values.view(f"<u{values.itemsize}")
    return bool(values[0] == values[-1] and (values[1:] == values[:-1]).all())


def hash_values(array: pa.Array, name: str, out: U64, scratch: U64) -> U64:
    """Hash the values of one column; 0 at nulls.

    Args:
        array: The values.
        name: Name of the column.
        out: Where the hashes go, as long as the array.
        scratch: As long, overwritten.

    Raises:
        TypeError: The type has no canonical form.
    """
    array = _plain(array)
    if array.null_count == len(array):
        out.fill(0)
        return out
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _hash_dictionary(array, name, out, scratch)
    family = family_of(kind)
    bits = _FAMILIES[family][1](array, out)
    np.add(bits, seeds(name, family)[0], out=out)
    mix(out, scratch)
    return _zero_at_nulls(array, out)


def _zero_at_nulls(array: pa.Array, hashes: U64) -> U64:
    valid = _validity(array)
    return hashes if valid is None else np.multiply(hashes, valid, out=hashes)


def _hashed(array: pa.Array, name: str) -> U64:
    return hash_values(array, name, np.empty(len(array), np.uint64), np.empty(len(array), np.uint64))


def _hash_dictionary(array: pa.DictionaryArray, name: str, out: U64, scratch: U64) -> U64:
    if len(array.dictionary) > len(array):
        return hash_values(array.dictionary_decode(), name, out, scratch)
    hashes = _hashed(array.dictionary, name)
    # Clipped, because at nulls anything may stand.
    np.take(hashes, _numbers(array.indices), out=out, mode="clip")
    return _zero_at_nulls(array, out)


def _validity(array: pa.Array) -> npt.NDArray[np.bool_] | None:
    if pa.types.is_union(array.type):
        # A union has no nulls of its own: it is null where the member it names is.
        valid = np.ones(len(array), np.bool_)
        for place, code in enumerate(array.type.type_codes):
            mask = _validity(_plain(_member(array, place)))
            if mask is not None:
                np.copyto(valid, mask, where=_members(array) == code)
        return valid
    if array.null_count == 0:
        return None
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.bool_)
    return _flags(array, 0)


def _flags(array: pa.Array, buffer: int) -> npt.NDArray[np.bool_]:
    """One of its buffers that has one bit a value."""
    first, skipped = divmod(array.offset, 8)
    packed = np.frombuffer(array.buffers()[buffer], np.uint8, (skipped + len(array) + 7) // 8, first)
    return np.unpackbits(packed, count=skipped + len(array), bitorder="little")[skipped:].view(np.bool_)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    return kind


def _plain(array: pa.Array) -> pa.Array:
    """Without the wrappings that do not change values; dictionaries stay."""
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        elif pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        else:
            return array


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    """The values buffer of a fixed-width array, without a copy."""
    width = array.type.bit_width // 8
    kind = array.type
    if pa.types.is_floating(kind):
        code = f"<f{width}"
    elif pa.types.is_unsigned_integer(kind):
        code = f"<u{width}"
    else:
        code = f"<i{width}"
    return np.frombuffer(array.buffers()[1], code, len(array), array.offset * width)


# What follows gives the bits of each family. `out` may be used for the result; what stands at nulls
# does not matter.


def _float_bits(array: pa.Array, out: U64) -> U64:
    values = _numbers(array)
    if values.dtype != np.float64:
        # A signalling NaN, which may stand at nulls, is no error.
        with np.errstate(invalid="ignore"):
            np.copyto(out.view(np.float64), values)
        bits = out
    else:
        bits = values.view(np.uint64)
    nan = np.isnan(bits.view(np.float64))
    if nan.any():
        bits = _copied(bits, out)
        np.copyto(bits, _NAN, where=nan)
    negative = np.equal(bits, _NEGATIVE_ZERO, out=nan)
    if negative.any():
        bits = _copied(bits, out)
        np.copyto(bits, np.uint64(0), where=negative)
    return bits


def _copied(bits: U64, out: U64) -> U64:
    if bits is not out:
        np.copyto(out, bits)
    return out


def _integer_bits(array: pa.Array, out: U64) -> U64:
    kind = array.type
    if pa.types.is_decimal(kind):
        return _decimal_bits(array)
    if pa.types.is_boolean(kind):
        np.copyto(out, _flags(array, 1))
        return out
    values = _numbers(array)
    if values.dtype == np.int64:
        return values.view(np.uint64)
    if values.dtype == np.uint64:
        return _wide_bits(values, np.zeros(1, np.int64))
    np.copyto(out.view(np.int64), values)
    return out


def _wide_bits(low: U64, high: npt.NDArray[np.int64]) -> U64:
    """Bits of 128-bit integers: those of int64 where they fit it."""
    wide = (low.view(np.int64) >> 63) != high
    if not wide.any():
        return low
    mixed = mix(low * _GOLDEN + np.uint64(1), np.empty_like(low)) + high.view(np.uint64)
    return np.where(wide, mix(mixed, np.empty_like(low)), low)


def _decimal_bits(array: pa.Array) -> U64:
    """Unscaled value without trailing zeros, and how many digits are behind the point."""
    kind = array.type
    if kind.bit_width < 128:
        array = array.cast(pa.decimal128(38, kind.scale))
    if kind.bit_width <= 128:
        words = np.frombuffer(array.buffers()[1], "<u8", 2 * len(array), 16 * array.offset)
        low, high = words[::2].copy(), words[1::2].copy().view(np.int64)
        if kind.scale == 0:
            return _wide_bits(low, high)
        if kind.scale > 0 and bool(((low.view(np.int64) >> 63) == high).all()):
            digits = np.full(len(array), kind.scale, np.uint64)
            unscaled = low.view(np.int64)
            for _ in range(kind.scale):
                quotient = unscaled // 10
                shorter = (quotient * 10 == unscaled) & (digits > 0)
                if not shorter.any():
                    break
                np.copyto(unscaled, quotient, where=shorter)
                digits -= shorter
            return low + mix(digits, np.empty_like(digits))
    each = [0 if value is None else _one_decimal(value) for value in array.to_pylist()]
    return np.array(each, np.uint64)


def _one_decimal(value: decimal.Decimal) -> int:
    sign, digits, power = value.as_tuple()
    exponent = int(power)  # letters stand for infinity and NaN, which Arrow decimals do not have
    unscaled = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    behind = max(-exponent, 0)
    while behind and unscaled % 10 == 0:
        unscaled, behind = unscaled // 10, behind - 1
    unscaled = -unscaled if sign else unscaled
    if -(2**127) <= unscaled < 2**127:
        low, high = (np.array([unscaled >> shift & (2**64 - 1)], np.uint64) for shift in (0, 64))
        bits = int(_wide_bits(low, high.view(np.int64))[0])
    else:
        bits = int(_blake2b(str(unscaled).encode()))
    mixed = mix(np.array([behind], np.uint64), np.empty(1, np.uint64))
    return (bits + int(mixed[0])) & (2**64 - 1)


def _temporal_bits(array: pa.Array, out: U64) -> U64:
    """Microseconds, or days; and what is left below one, hashed."""
    kind = array.type
    values = _numbers(array)
    if pa.types.is_date32(kind):
        np.copyto(out.view(np.int64), values)
        return out
    if pa.types.is_date64(kind) or kind.unit == "ns":
        whole, left = np.divmod(values, np.int64(_DAY_MS if pa.types.is_date64(kind) else 1_000))
        # mix(0) is 0: a value without a rest has the same bits in every unit.
        return whole.view(np.uint64) + mix(left.view(np.uint64), np.empty(len(values), np.uint64))
    if kind.unit == "us":
        return values.view(np.uint64)
    np.multiply(values, np.int64(_MICROSECONDS[kind.unit]), out=out.view(np.int64))
    return out


def _interval_bits(array: pa.Array, out: U64) -> U64:
    """Months and days in one word, nanoseconds in another; a month has no fixed number of days."""
    words = np.frombuffer(array.buffers()[1], "<u8", 2 * len(array), 16 * array.offset)
    np.add(words[::2], _GOLDEN, out=out)
    mix(out, np.empty_like(out))
    np.bitwise_xor(out, words[1::2], out=out)
    return out


def _byte_bits(array: pa.Array, out: U64) -> U64:
    array = _contiguous_bytes(array)
    offsets = _offsets(array)
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    if longest == int(lengths.min()) and longest <= _TEXT_BYTES:
        return _bits_of_equal_lengths(array, offsets, longest, out)
    if longest <= _DIRECT_BYTES:
        return _bits_of_any_lengths(array, offsets, lengths)
    encoded = array.dictionary_encode()
    distinct = encoded.dictionary
    offsets = _offsets(distinct)
    bits = _bits_of_any_lengths(distinct, offsets, np.diff(offsets))
    np.take(bits, _numbers(encoded.indices), out=out, mode="clip")
    return out


def _contiguous_bytes(array: pa.Array) -> pa.Array:
    """As one of the four types that have offsets into one buffer."""
    kind = array.type
    if pa.types.is_string_view(kind):
        return array.cast(pa.string())
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    return array


def _offsets(array: pa.Array) -> npt.NDArray[Any]:
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    width = 8 if large else 4
    return np.frombuffer(array.buffers()[1], f"<i{width}", len(array) + 1, width * array.offset)


def _padded(array: pa.Array, offsets: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of the array, and as many after them as reading a whole word at the last one needs."""
    first, size = int(offsets[0]), int(offsets[-1] - offsets[0])
    padded = np.zeros(size + _WORD_BYTES, np.uint8)
    if size:
        padded[:size] = np.frombuffer(array.buffers()[2], np.uint8, size, first)
    return padded


def _bits_of_equal_lengths(array: pa.Array, offsets: npt.NDArray[Any], length: int, out: U64) -> U64:
    data = _padded(array, offsets)
    state = _empty_text(np.array([length], np.uint64))
    scratch = np.empty_like(out)
    for start in range(0, length, _WORD_BYTES):
        # Words that begin at any byte: numpy copies them into place.
        word = np.ndarray((len(array),), "<u8", data.data, start, (length,))
        if length - start < _WORD_BYTES:
            word = np.bitwise_and(word, _LOW_BYTES[length - start], out=scratch)
        state = mix(np.bitwise_xor(word, state, out=out), scratch)
    return state


def _bits_of_any_lengths(array: pa.Array, offsets: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> U64:
    data = _padded(array, offsets)
    words = np.ndarray((len(data) - _WORD_BYTES + 1,), "<u8", data.data, 0, (1,))
    starts = (offsets[:-1] - offsets[0]).astype(np.int64)
    state = _empty_text(lengths.astype(np.uint64))
    short = np.where(lengths <= _TEXT_BYTES, lengths, 0)
    for start in range(0, int(short.max(initial=0)), _WORD_BYTES):
        rows = np.flatnonzero(short > start)
        word = words[starts[rows] + start]
        word &= _LOW_BYTES.take(short[rows] - start, mode="clip")
        word ^= state[rows]
        state[rows] = mix(word, np.empty_like(word))
    for row in np.flatnonzero(lengths > _TEXT_BYTES):
        state[row] = _blake2b(data[starts[row] : starts[row] + lengths[row]])
    return state


def _empty_text(lengths: U64) -> U64:
    # The length comes first: padding with zeros then makes no two texts the same.
    return mix(lengths + _GOLDEN, np.empty_like(lengths))


def _blake2b(data: Any) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little"))


def _list_bits(array: pa.Array, out: U64) -> U64:
    if pa.types.is_map(array.type):
        array = array.cast(
            pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)]))
        )
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    places = np.arange(1, ends[-1] + 1) - np.repeat(starts, lengths)
    hashes = _hashed(array.flatten(), "")
    hashes += places.view(np.uint64) * _GOLDEN
    # Sums of runs as differences of running sums: both wrap round at 2**64.
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix(hashes, np.empty_like(hashes)))])
    np.subtract(running[ends], running[starts], out=out)
    np.add(out, lengths.view(np.uint64), out=out)
    return out


def _struct_bits(array: pa.Array, out: U64) -> U64:
    out.fill(0)
    for place, field in enumerate(array.type):
        np.add(out, _hashed(array.field(place), field.name), out=out)
    return out


def _union_bits(array: pa.Array, out: U64) -> U64:
    out.fill(0)
    for place, code in enumerate(array.type.type_codes):
        hashes = _hashed(_member(array, place), array.type.field(place).name)
        np.copyto(out, hashes, where=_members(array) == code)
    return out


def _members(array: pa.UnionArray) -> npt.NDArray[np.int8]:
    return np.frombuffer(array.buffers()[1], np.int8, len(array), array.offset)


def _member(array: pa.UnionArray, place: int) -> pa.Array:
    """One member's values, one for every row; those of the rows of other members are of no meaning."""
    member = array.field(place)
    if array.type.mode == "sparse":
        return member
    offsets = np.where(_members(array) == array.type.type_codes[place], array.offsets.to_numpy(), 0)
    return member.take(pa.array(offsets)) if len(member) else pa.nulls(len(array), member.type)


def _is_integer(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


_FAMILIES: dict[str, tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, U64], U64]]] = {
    "float": (pa.types.is_floating, _float_bits),
    "integer": (_is_integer, _integer_bits),
    "text": (_is_text, _byte_bits),
    "timestamp": (pa.types.is_timestamp, _temporal_bits),
    "date": (pa.types.is_date, _temporal_bits),
    "time": (pa.types.is_time, _temporal_bits),
    "duration": (pa.types.is_duration, _temporal_bits),
    "interval": (pa.types.is_interval, _interval_bits),
    "bytes": (_is_bytes, _byte_bits),
    "list": (_is_list, _list_bits),
    "map": (pa.types.is_map, _list_bits),
    "struct": (pa.types.is_struct, _struct_bits),
    "union": (pa.types.is_union, _union_bits),
}
