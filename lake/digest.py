"""A digest of rows that depends on their values alone.

It stays the same under another row order, file layout, compression or compaction, and under columns
added later that are null in these rows; it changes when any one value changes. Rows are hashed to 128
bits and added up, so equal rows count as often as they occur (a multiset hash), and the digests of
batches add up to the digest of all of them. It finds damage and mistakes; it is no defence against
somebody who constructs collisions on purpose.

**How, and why that is enough.** A value v of column c becomes h = mix(bits(v) + seed(c)), null becomes 0;
`bits` is in `lake.value_hash`, `mix` a permutation of the 64-bit numbers that scrambles them. A row has
two lanes, A = sum of h(c) and B = sum of m(c) * h(c), with m(c) odd; the digest is the sum over the rows of
mix(A + a) and of mix(B + b). All sums wrap round at 2**64.

- *One value changes*: h changes, since adding and mixing are permutations; A changes by as much, and B, as
  an odd number times what is not 0 is not 0 mod 2**64; so both lanes of the row, and both sums, change.
  This is certain for values of 64 bits; text, bytes and nested values are hashed to 64 bits first, where
  two given values meet once in 2**64.
- *Two values of a row are swapped, or change by equal and opposite amounts*: seeds differ between
  columns, so amounts become unrelated 64-bit numbers; that they cancel in A and, times different m, in
  B as well takes a coincidence of at least 2**-120 (two odd numbers differ by an even one, which costs
  a few bits).
- *Values are swapped between rows, or change by opposite amounts in two rows*: without the last mix of
  the row this would cancel; with it, four unrelated numbers would have to, in both lanes: 2**-128.
- *Many rows*: the digests of two sets of rows that differ are two numbers of 128 bits; that they are equal is
  2**-128, however many rows there are. Rows are never compared with each other, so there is no birthday.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.value_hash import U64, family_of, hash_values, is_constant, mix, seeds

Rows: TypeAlias = pa.Table | pa.RecordBatch | pa.RecordBatchReader

_BLOCK_ROWS = 32_768
"""Four columns of 64 bits of that many rows stay in the second-level cache of a core."""
_TASK_ROWS = 131_072
"""Rows that one thread takes at a time."""
_SMALL_ROWS = 8_192
"""Chunks of fewer rows on the average are joined first: a block has fixed costs of about 0.3 ms."""
# The odd constants of SplitMix64 and of the murmur3 finaliser; any two numbers but 0 would do: without
# them, a row of nulls would count for nothing.
_INCREMENTS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC4CEB9FE1A85EC53))
_LANES = 2
_HEX_DIGITS = 16
_MASK = 2**64 - 1

Result = TypeVar("Result")


class ContentDigest:
    """Sum of row hashes; feed it rows in any order, then ask for the text form.

    Attributes:
        rows: How many rows went in.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        """A digest of no rows.

        Args:
            threads: How many may work at once on the rows of one `update`; by default one for each
                processor, up to 4. Inside the live app it should be 1.
        """
        self._sums = [0] * _LANES
        self._threads = threads
        self.rows = 0

    @classmethod
    def from_hex(cls, text: str, rows: int) -> Self:
        """The digest that `hexdigest` gave, to be added to others.

        Args:
            text: 32 hexadecimal digits.
            rows: How many rows went in.

        Raises:
            ValueError: The text is not such a digest.
        """
        if len(text) != _LANES * _HEX_DIGITS or not set(text) <= set("0123456789abcdef"):
            raise ValueError(f"{text!r} is no content digest: 32 hexadecimal digits were expected")
        digest = cls()
        digest._sums = [int(text[:_HEX_DIGITS], 16), int(text[_HEX_DIGITS:], 16)]
        digest.rows = rows
        return digest

    def update(self, rows: Rows, *, ignore: Iterable[str] = ()) -> None:
        """Add rows.

        A `RecordBatchReader` is read to its end, while other threads work on what it gave before.

        Args:
            rows: Columns of any type DuckDB gives out.
            ignore: Columns left out, e.g. those that say how the rows were stored.

        Raises:
            TypeError: A column has a type whose values have no canonical form.
            ValueError: Two columns have the same name.
        """
        names = _names(rows.schema, ignore)

        def hash_rows(batch: pa.RecordBatch) -> tuple[int, list[int]]:
            sums = [0] * _LANES
            for _, _, lanes in _row_hashes(batch, names):
                for lane, hashes in enumerate(lanes):
                    sums[lane] += int(np.sum(hashes))
            return batch.num_rows, sums

        added = ContentDigest()
        for count, sums in _parallel(hash_rows, _batches(rows), self._threads):
            added._add(count, sums)
        self._add(added.rows, added._sums)

    def __iadd__(self, other: ContentDigest) -> Self:
        """Add the rows that went into another digest."""
        self._add(other.rows, other._sums)
        return self

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return "".join(f"{total:0{_HEX_DIGITS}x}" for total in self._sums)

    def _add(self, rows: int, sums: Iterable[int]) -> None:
        self.rows += rows
        self._sums = [(old + new) & _MASK for old, new in zip(self._sums, sums, strict=True)]


def content_digest(rows: Rows, *, ignore: Iterable[str] = (), threads: int | None = None) -> str:
    """Digest of one table or stream; see `ContentDigest`."""
    digest = ContentDigest(threads=threads)
    digest.update(rows, ignore=ignore)
    return digest.hexdigest()


def digests_by(
    rows: Rows, key: str, *, ignore: Iterable[str] = (), threads: int | None = None
) -> dict[Any, ContentDigest]:
    """One digest for each distinct value of a column, at little more than the price of one.

    Args:
        rows: As for `ContentDigest.update`.
        key: A column of text, whole numbers, dates, times or booleans; null is a value, too. It counts
            as content unless it is also ignored.
        ignore: Columns left out.
        threads: As for `ContentDigest`.

    Returns:
        Digests by value, in no particular order.

    Raises:
        KeyError: No such column.
        TypeError: A column has a type whose values have no canonical form.
        ValueError: Two columns have the same name.
    """
    names = _names(rows.schema, ignore)
    if key not in rows.schema.names:
        raise KeyError(key)

    def hash_groups(batch: pa.RecordBatch) -> tuple[list[Hashable], list[list[int]]]:
        values, codes = _groups(batch.column(batch.schema.get_field_index(key)))
        sums = [np.zeros(len(values), np.uint64) for _ in range(_LANES)]
        for start, stop, lanes in _row_hashes(batch, names):
            for total, hashes in zip(sums, lanes, strict=True):
                np.add.at(total, codes[start:stop], hashes)
        counts = np.bincount(codes, minlength=len(values))
        return values, [column.tolist() for column in (counts, *sums)]

    found: dict[Any, ContentDigest] = {}
    for values, columns in _parallel(hash_groups, _batches(rows), threads):
        for value, count, *sums in zip(values, *columns, strict=True):
            if value not in found:
                found[value] = ContentDigest(threads=threads)
            found[value]._add(count, sums)
    return found


def _names(schema: pa.Schema, ignore: Iterable[str]) -> list[str | None]:
    """Name of each column, None for those left out."""
    ignored = set(ignore)
    names = [name for name in schema.names if name not in ignored]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two columns are called {twice!r}: their values cannot be told apart")
    return [None if name in ignored else name for name in schema.names]


def _batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    """Pieces that are large enough to be worth a task and small enough to share the work."""
    if isinstance(rows, pa.RecordBatchReader):
        waiting: list[pa.RecordBatch] = []
        for batch in rows:
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= _TASK_ROWS // 2:
                yield from _batches(pa.Table.from_batches(waiting))
                waiting = []
        if waiting:
            yield from _batches(pa.Table.from_batches(waiting))
        return
    table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
    chunks = max((column.num_chunks for column in table.columns), default=0)
    if chunks > 1 and table.num_rows < chunks * _SMALL_ROWS:
        table = table.combine_chunks()
    yield from table.to_batches(max_chunksize=_TASK_ROWS)


def _parallel(
    work: Callable[[pa.RecordBatch], Result], batches: Iterator[pa.RecordBatch], threads: int | None
) -> Iterator[Result]:
    threads = threads or min(4, os.cpu_count() or 1)
    first = next(batches, None)
    second = next(batches, None)
    if threads == 1 or second is None:
        for batch in (first, second):
            if batch is not None:
                yield work(batch)
        yield from map(work, batches)
        return
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="digest") as executor:
        running.extend([executor.submit(work, first), executor.submit(work, second)])
        for batch in batches:
            # Not more than what keeps the threads busy: rows that wait are memory.
            if len(running) > 2 * threads:
                yield running.popleft().result()
            running.append(executor.submit(work, batch))
        for future in running:
            yield future.result()


def _row_hashes(batch: pa.RecordBatch, names: list[str | None]) -> Iterator[tuple[int, int, tuple[U64, U64]]]:
    """Both lanes of every row, block by block; the arrays are used again for the next block."""
    size = min(batch.num_rows, _BLOCK_ROWS)
    buffers = [np.empty(size, np.uint64) for _ in range(4)]
    one, other = np.empty(1, np.uint64), np.empty(1, np.uint64)
    columns = [
        (batch.column(place), name, seeds(name, family_of(batch.column(place).type))[1])
        for place, name in enumerate(names)
        if name is not None and batch.column(place).null_count < batch.num_rows
    ]
    for start in range(0, batch.num_rows, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, batch.num_rows)
        hashes, scratch, first, second = (buffer[: stop - start] for buffer in buffers)
        first.fill(_INCREMENTS[0])
        second.fill(_INCREMENTS[1])
        for column, name, multiplier in columns:
            values = column.slice(start, stop - start)
            if is_constant(values):
                # What many columns of a chain are for thousands of rows.
                hash_values(values.slice(0, 1), name, one, other)
                first += one
                second += one * multiplier
                continue
            hash_values(values, name, hashes, scratch)
            np.add(first, hashes, out=first)
            np.multiply(hashes, multiplier, out=hashes)
            np.add(second, hashes, out=second)
        mix(first, scratch)
        mix(second, scratch)
        yield start, stop, (first, second)


def _groups(column: pa.Array) -> tuple[list[Hashable], npt.NDArray[np.int64]]:
    """Distinct values, and for each row which of them it has."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
