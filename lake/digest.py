"""A digest of rows that depends on their values alone.

It stays the same under another row order, file layout, compression or compaction, and under columns
added later that are null in these rows; it changes when any one value changes. Rows are hashed to 128
bits and added up, so equal rows count as often as they occur (a multiset hash). It finds damage and
mistakes; it is no defence against somebody who constructs collisions on purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_U64 = npt.NDArray[np.uint64]
_LANES = (b"strikelake-digest-1/a", b"strikelake-digest-1/b")
_ROWS_A_BLOCK = 65_536
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_NAN_BITS = np.uint64(0x7FF8000000000000)


class ContentDigest:
    """Sum of row hashes; feed it blocks of rows in any order, then ask for the text form."""

    def __init__(self) -> None:
        self._sums = [0, 0]
        self.rows = 0

    def update(self, rows: pa.Table | pa.RecordBatch, *, ignore: Iterable[str] = ()) -> None:
        """Add rows.

        Args:
            rows: Columns of numbers, booleans, text, dates, timestamps, or text dictionaries.
            ignore: Columns left out, e.g. those that say how the rows were stored.

        Raises:
            TypeError: A column has a type whose values have no canonical form here.
        """
        table = pa.table(rows) if isinstance(rows, pa.RecordBatch) else rows
        names = [name for name in table.column_names if name not in set(ignore)]
        for start in range(0, table.num_rows, _ROWS_A_BLOCK):
            block = table.slice(start, _ROWS_A_BLOCK)
            sums = [np.zeros(block.num_rows, np.uint64) for _ in _LANES]
            for name in names:
                _add_column(sums, name, block.column(name))
            for lane, row_hashes in enumerate(sums):
                # Without a last mix of the whole row, values could be swapped between two rows; without
                # the increment, a row of nulls would count for nothing.
                total = int(np.sum(_mix(row_hashes + _GAMMA), dtype=np.uint64))
                self._sums[lane] = (self._sums[lane] + total) % 2**64
        self.rows += table.num_rows

    @classmethod
    def from_hex(cls, text: str, rows: int) -> ContentDigest:
        digest = cls()
        digest._sums = [int(text[:16], 16), int(text[16:], 16)]
        digest.rows = rows
        return digest

    def add(self, other: ContentDigest) -> None:
        self._sums = [(a + b) % 2**64 for a, b in zip(self._sums, other._sums, strict=True)]
        self.rows += other.rows

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._sums[0]:016x}{self._sums[1]:016x}"


def content_digest(rows: pa.Table, *, ignore: Iterable[str] = ()) -> str:
    """Digest of one table; see `ContentDigest`."""
    digest = ContentDigest()
    digest.update(rows, ignore=ignore)
    return digest.hexdigest()


def _mix(values: _U64) -> _U64:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: _U64 = values ^ (values >> np.uint64(31))
    return mixed


def _add_column(sums: list[_U64], name: str, column: pa.ChunkedArray) -> None:
    if column.null_count == len(column):
        return
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    valid = None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)
    bits = _bits(name, array)
    for lane, tag in enumerate(_LANES):
        seed = hashlib.blake2b(name.encode(), digest_size=8, key=tag).digest()
        hashed = _mix(bits + np.frombuffer(seed, "<u8")[0])
        if valid is not None:
            hashed = np.where(valid, hashed, np.uint64(0))
        sums[lane] += hashed


def _bits(name: str, array: pa.Array) -> _U64:
    """64 bits a value; what stands at nulls does not matter."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind):
        values = pc.fill_null(array.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        bits = values.view(np.uint64)
        bits = np.where(np.isnan(values), _NAN_BITS, bits)
        return np.where(values == 0, np.uint64(0), bits)  # -0.0 equals 0.0
    if pa.types.is_date32(kind):
        array, kind = array.cast(pa.int32()), pa.int32()
    if pa.types.is_timestamp(kind):
        array, kind = array.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64()), pa.int64()
    if pa.types.is_boolean(kind):
        array, kind = array.cast(pa.int8()), pa.int8()
    if pa.types.is_integer(kind):
        filled = pc.fill_null(array.cast(pa.int64()), 0)
        return np.asarray(filled.to_numpy(zero_copy_only=False)).view(np.uint64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = array.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        hashes = np.frombuffer(
            b"".join(hashlib.blake2b(w.encode(), digest_size=8).digest() for w in words), "<u8"
        )
        indices = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
        return np.asarray(hashes[indices], np.uint64)
    raise TypeError(f"column {name!r} of type {array.type} has no canonical digest form")
