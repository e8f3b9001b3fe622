"""Replay a dataset, and prove that what comes is what it was made of."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.dataset_manifest import Dataset, DatasetTable
from lake.batch_audit import difference, found_in_partition, plain_reader
from lake.data_file import NOT_CONTENT
from lake.digest import ContentDigest
from lake.errors import DamagedTableError, QueryError, TableNotFoundError
from lake.repeatable_query import repeatable_connection, run_repeatably
from lake.selection import Selection, rows_in_order
from lake.session import Session
from lake.snapshot import read_snapshot
from lake.table import Lake

Progress = Callable[[int], None]
"""Called with the number of rows just done."""

SOFTWARE = ("strikelake", "duckdb", "deltalake", "pyarrow")
"""Packages whose versions a dataset records."""


@dataclass(frozen=True, slots=True)
class BatchDifference:
    """One batch that is not as the dataset says.

    Attributes:
        table: Table name.
        date: Session date.
        exchange: Exchange.
        batch_id: The batch.
        kind: `missing` (none of its rows), `rows` (another number of rows), `values` (a value differs).
        detail: For a person.
    """

    table: str
    date: str
    exchange: str
    batch_id: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a dataset still gives the rows it was made of.

    Attributes:
        name: The dataset.
        row_count: Rows found.
        content_digest: Digest found, None if the rows cannot be read.
        differences: Batches that differ; none if all is well.
        problems: What else is wrong: a file that cannot be read, a query that gives something else.
    """

    name: str
    row_count: int
    content_digest: str | None
    differences: tuple[BatchDifference, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """True if every row is as it was."""
        return not self.differences and not self.problems


@contextmanager
def open_session(lake: Lake, dataset: Dataset) -> Iterator[Session]:
    """A DuckDB session in which the tables are the dataset's rows, for relations and ad hoc queries.

    Today's views are there as well; the rows of a dataset with a query are what `replay` gives.

    Raises:
        DamagedTableError: Rows are gone or cannot be read.
    """
    with Session(lake, only=dataset.selections()) as session:
        yield session


def replay(
    lake: Lake, dataset: Dataset, *, table: str | None = None, progress: Progress | None = None
) -> Iterator[pa.Table]:
    """The same rows in the same order as ever, in pieces: one partition at a time, or a query's result.

    Rows of a table are sorted by all columns from left to right, within partitions in the order of their
    values; see `lake.selection.rows_in_order`. After the last piece, the digest of all is compared.

    Args:
        lake: The lake.
        dataset: What to replay.
        table: Which table, if the dataset has several and no query.
        progress: See `Progress`.

    Raises:
        TableNotFoundError: It is not clear which table, or the dataset does not have it.
        DamagedTableError: The rows are not those of the dataset: nothing that came so far is to be used.
        QueryError: The query fails.
    """
    if dataset.query is not None:
        if table is not None:
            raise TableNotFoundError(f"dataset {dataset.name} is the result of a query: it has no tables")
        rows = run_query(lake, dataset, dataset.selections())
        digest = ContentDigest()
        digest.update(rows)
        _check(dataset.name, digest, dataset.row_count, dataset.content_digest)
        if progress:
            progress(rows.num_rows)
        yield rows
        return
    part = _table_of(dataset, table)
    digest = ContentDigest()
    snapshot = read_snapshot(lake.path(part.name))
    with plain_reader() as connection:
        for rows in rows_in_order(connection, snapshot, dataset.selections()[part.name]):
            digest.update(rows, ignore=NOT_CONTENT)
            yield rows
            if progress:
                progress(rows.num_rows)
    _check(f"{dataset.name}, table {part.name}", digest, part.row_count, part.content_digest)


def replay_to_arrow(lake: Lake, dataset: Dataset, *, table: str | None = None) -> pa.Table:
    """All of `replay` in memory.

    Raises:
        As `replay`.
    """
    return pa.concat_tables(replay(lake, dataset, table=table))


def replay_to_file(
    lake: Lake, dataset: Dataset, target: Path, *, table: str | None = None, progress: Progress | None = None
) -> int:
    """Write what `replay` gives to a Parquet (`.parquet`) or Arrow IPC (`.arrow`, `.feather`) file.

    The file is there whole, with the right digest, or not at all.

    Returns:
        Rows written.

    Raises:
        QueryError: The suffix is of no format known here.
        OSError: The file cannot be written.
        As `replay` otherwise.
    """
    if target.suffix not in {".parquet", ".arrow", ".feather"}:
        raise QueryError(f"{target}: use a name that ends in .parquet, .arrow or .feather")
    draft = target.with_name(f".{target.name}.part")
    writer: Any = None
    count = 0
    try:
        for rows in replay(lake, dataset, table=table, progress=progress):
            if writer is None:
                writer = (
                    pq.ParquetWriter(draft, rows.schema, compression="zstd")
                    if target.suffix == ".parquet"
                    else pa.ipc.new_file(str(draft), rows.schema)
                )
            writer.write_table(rows)
            count += rows.num_rows
        if writer is not None:
            writer.close()
            writer = None
            draft.replace(target)
    finally:
        if writer is not None:
            writer.close()
        draft.unlink(missing_ok=True)
    return count


def verify(lake: Lake, dataset: Dataset, *, progress: Progress | None = None) -> Verification:
    """Read every row of a dataset and tell which batch is not as it was.

    Raises:
        DamagedTableError: The dataset's own files are damaged.
    """
    batches = dataset.batches()
    differences, problems = compare(lake, batches, dataset.selections(), progress)
    count, digest = dataset.row_count, dataset.content_digest
    sums = {t: (r, d) for t, r, d in _sums(dataset, batches)}
    for part in dataset.tables:
        if sums.get(part.name) != (part.row_count, part.content_digest):
            problems.append(
                f"the digest of {part.name} is not the sum of its batches': the manifest was changed"
            )
    if differences or problems:
        return Verification(dataset.name, 0, None, tuple(differences), tuple(problems))
    if dataset.query is not None:
        try:
            rows = run_query(lake, dataset, dataset.selections())
        except QueryError as error:
            return Verification(dataset.name, 0, None, (), (f"the query fails: {error}",))
        found = ContentDigest()
        found.update(rows)
        count, digest = rows.num_rows, found.hexdigest()
        if (count, digest) != (dataset.row_count, dataset.content_digest):
            problems.append(_other_result(dataset))
    elif (count, digest) != (sum(t.row_count for t in dataset.tables), combined_digest(dataset.tables)):
        problems.append("row count or digest of the manifest is not that of its tables: it was changed")
    return Verification(dataset.name, count, digest, (), tuple(problems))


def compare(
    lake: Lake, batches: pa.Table, selections: Mapping[str, Selection], progress: Progress | None = None
) -> tuple[list[BatchDifference], list[str]]:
    """Digest every batch of a dataset again.

    Args:
        lake: The lake.
        batches: What was recorded of each, see `Dataset.batches`.
        selections: Which columns of each table count.
        progress: See `Progress`.

    Returns:
        The batches that differ, and what cannot be read.
    """
    differences: list[BatchDifference] = []
    problems: list[str] = []
    expected: dict[tuple[str, str, str], dict[str, tuple[int, str]]] = {}
    for row in batches.to_pylist():
        key = (row["table_name"], str(row["date"]), row["exchange"])
        expected.setdefault(key, {})[row["batch_id"]] = (row["rows"], row["content_digest"])
    snapshots = {name: read_snapshot(lake.path(name)) for name in selections}
    with plain_reader() as connection:
        for (table, day, exchange), wanted in sorted(expected.items()):
            columns = selections[table].columns
            found, unreadable = found_in_partition(connection, snapshots[table], (day, exchange), columns)
            problems += unreadable
            for batch_id, (rows, digest) in wanted.items():
                kind, detail = difference(found.get(batch_id), rows, digest)
                if kind:
                    differences.append(BatchDifference(table, day, exchange, batch_id, kind, detail))
            if progress:
                progress(sum(rows for rows, _ in wanted.values()))
    return differences, problems


def run_query(lake: Lake, dataset: Dataset, selections: Mapping[str, Selection]) -> pa.Table:
    """The result of a dataset's query, in an order that never changes; its digest is not compared.

    Raises:
        DamagedTableError: Rows are gone or cannot be read.
        QueryError: The query fails.
    """
    tables = {name: (read_snapshot(lake.path(name)), one) for name, one in selections.items()}
    with repeatable_connection(tables, dataset.views, timezone=dataset.timezone) as connection:
        return run_repeatably(connection, str(dataset.query))


def _other_result(dataset: Dataset) -> str:
    now = {package: importlib.metadata.version(package) for package in SOFTWARE}
    changed = [
        f"{p} {dataset.software.get(p)} then, {v} now" for p, v in now.items() if dataset.software.get(p) != v
    ]
    told = f" ({', '.join(changed)})" if changed else ""
    return f"every batch is as it was, but the query gives another result{told}"


def _check(what: str, found: ContentDigest, rows: int, digest: str) -> None:
    if (found.rows, found.hexdigest()) != (rows, digest):
        raise DamagedTableError(
            f"dataset {what}: {found.rows:,} rows of digest {found.hexdigest()} instead of {rows:,} rows of "
            f"{digest}; 'strikelake dataset verify' tells which batch differs"
        )


def _table_of(dataset: Dataset, table: str | None) -> DatasetTable:
    by_name = {part.name: part for part in dataset.tables}
    if table is None and len(by_name) == 1:
        return dataset.tables[0]
    if table is None or table not in by_name:
        raise TableNotFoundError(
            f"dataset {dataset.name} has the tables {', '.join(by_name)}; say which ('--table')"
        )
    return by_name[table]


def _sums(dataset: Dataset, batches: pa.Table) -> Iterator[tuple[str, int, str]]:
    for table in dataset.tables:
        total = ContentDigest()
        for row in batches.to_pylist():
            if row["table_name"] == table.name:
                total += ContentDigest.from_hex(row["content_digest"], row["rows"])
        yield table.name, total.rows, total.hexdigest()


def combined_digest(tables: Sequence[DatasetTable]) -> str:
    """Digest of several tables: of one, its own."""
    if len(tables) == 1:
        return tables[0].content_digest
    text = "\n".join(f"{t.name} {t.content_digest}" for t in sorted(tables, key=lambda t: t.name))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
