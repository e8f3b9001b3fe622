"""Replay a dataset, and prove that what comes is what it was made of."""

from __future__ import annotations

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from catalog.dataset_manifest import Dataset, DatasetTable
from lake.batch_audit import audit_partition
from lake.digest import ContentDigest
from lake.errors import DamagedTableError, QueryError, TableNotFoundError
from lake.partition_reader import files_by_partition, plain_reader
from lake.repeatable_query import (
    copy_tables,
    repeatable_connection,
    run_repeatably,
    work_repeatably,
)
from lake.selection import Selection, rows_in_order
from lake.session import Session
from lake.snapshot import literal, quote, read_snapshot
from lake.table import Lake

Progress = Callable[[int], None]
"""Called with the number of rows just done; all in all those of the dataset's tables."""

SOFTWARE = ("strikelake", "duckdb", "deltalake", "pyarrow")
"""Packages whose versions a dataset records."""

_PROVEN = "strikelake__proven"


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
        row_count: Rows found, 0 if they are not those of the dataset.
        content_digest: Digest found, None if the rows are not those of the dataset.
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
    """A DuckDB session in which the tables are the dataset's rows, for ad hoc queries.

    Today's views are there as well; the rows of a dataset with a query are what `replay` gives. Nothing is
    compared with what was recorded: see `open_proven_session`, `replay` and `verify`.

    Raises:
        DamagedTableError: Rows are gone or cannot be read.
    """
    with Session(lake, only=dataset.selections()) as session:
        yield session


@contextmanager
def open_proven_session(
    lake: Lake, dataset: Dataset, *, progress: Progress | None = None
) -> Iterator[Session]:
    """`open_session` over copies of the rows, which a row enters only once its batch is proven.

    What is read is what was proven: a file that changes afterwards changes nothing. Queries give the same
    rows for ever, sums of floating-point numbers included: the copies are in the order of `replay`, and one
    thread works on them.

    Args:
        lake: The lake.
        dataset: What to open.
        progress: See `Progress`.

    Raises:
        DamagedTableError: Rows are not those of the dataset; the message names the batch.
    """
    batches = dataset.batches()
    if faults := _inconsistencies(dataset, batches):
        raise DamagedTableError(f"dataset {dataset.name}: {'; '.join(faults)}")
    selections = dataset.selections(batches)
    tables = {name: (read_snapshot(lake.path(name)), one) for name, one in selections.items()}
    # On disk and not in memory: a dataset may be larger than the machine.
    with tempfile.TemporaryDirectory(prefix="strikelake-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "dataset.duckdb"
        with duckdb.connect(file) as copies:
            copy_tables(copies, tables, progress)
        with Session(lake, only=selections) as session:
            work_repeatably(session.connection)
            session.connection.execute(f"ATTACH {literal(str(file))} AS {_PROVEN} (READ_ONLY)")
            for name in tables:
                copied = f"SELECT * FROM {_PROVEN}.{quote(name)}"
                session.connection.execute(f"CREATE OR REPLACE VIEW {quote(name)} AS {copied}")
            yield session


def replay(
    lake: Lake, dataset: Dataset, *, table: str | None = None, progress: Progress | None = None
) -> Iterator[pa.Table]:
    """The same rows in the same order as ever, in pieces: one partition at a time, or a query's result.

    Rows of a table are sorted by all columns from left to right, within partitions in the order of their
    values; see `lake.selection.rows_in_order`. A piece comes only once it is proven to be as recorded.

    Args:
        lake: The lake.
        dataset: What to replay.
        table: Which table, if the dataset has several and no query.
        progress: See `Progress`.

    Raises:
        TableNotFoundError: It is not clear which table, or the dataset does not have it.
        DamagedTableError: Rows are not those of the dataset; the message names the batch.
        QueryError: The query fails, or gives something else with the DuckDB that is installed.
    """
    batches = dataset.batches()
    if faults := _inconsistencies(dataset, batches):
        raise DamagedTableError(f"dataset {dataset.name}: {'; '.join(faults)}")
    selections = dataset.selections(batches)
    if dataset.query is not None:
        if table is not None:
            raise TableNotFoundError(f"dataset {dataset.name} is the result of a query: it has no tables")
        rows, digest = _run_query(lake, dataset, selections, progress)
        if (rows.num_rows, digest) != (dataset.row_count, dataset.content_digest):
            raise QueryError(f"dataset {dataset.name}: {_other_result(dataset)}")
        yield rows
        return
    part = table_of(dataset, table)
    snapshot = read_snapshot(lake.path(part.name))
    with plain_reader() as connection:
        for rows in rows_in_order(connection, snapshot, selections[part.name]):
            if progress:
                progress(rows.num_rows)
            yield rows


def replay_to_arrow(
    lake: Lake, dataset: Dataset, *, table: str | None = None, progress: Progress | None = None
) -> pa.Table:
    """All of `replay` in memory.

    Raises:
        As `replay`.
    """
    return pa.concat_tables(replay(lake, dataset, table=table, progress=progress))


def replay_to_duckdb(
    lake: Lake, dataset: Dataset, connection: duckdb.DuckDBPyConnection, *, table: str | None = None
) -> duckdb.DuckDBPyRelation:
    """All of `replay` as a relation of a DuckDB connection, in the same order; it is held in memory.

    Raises:
        As `replay`.
    """
    return connection.from_arrow(replay_to_arrow(lake, dataset, table=table))


def verify(lake: Lake, dataset: Dataset, *, progress: Progress | None = None) -> Verification:
    """Read every row of a dataset and tell which batch is not as it was.

    A batch whose digest is that of its rows, in a manifest whose digest is the sum of its batches', proves
    every row of a table; a query is run again as well.

    Raises:
        TableNotFoundError: A table is not in this lake.
        OSError: The disk failed.
    """
    try:
        batches = dataset.batches()
    except DamagedTableError as error:
        return Verification(dataset.name, 0, None, (), (str(error),))
    selections = dataset.selections(batches)
    problems = _inconsistencies(dataset, batches)
    differences: list[BatchDifference] = []
    count, digest = dataset.row_count, dataset.content_digest
    if dataset.query is None:
        differences, unreadable = compare(lake, selections, progress)
        problems += unreadable
    else:
        try:
            rows, digest = _run_query(lake, dataset, selections, progress)
            count = rows.num_rows
            if (count, digest) != (dataset.row_count, dataset.content_digest):
                problems.append(_other_result(dataset))
        except QueryError as error:
            problems.append(f"the query fails: {error}")
        except DamagedTableError as error:
            # It stopped at the first partition that is damaged; a person wants to know of all.
            differences, unreadable = compare(lake, selections, None)
            problems += unreadable or ([] if differences else [str(error)])
    if differences or problems:
        return Verification(dataset.name, 0, None, tuple(differences), tuple(problems))
    return Verification(dataset.name, count, digest)


def compare(
    lake: Lake, selections: Mapping[str, Selection], progress: Progress | None = None
) -> tuple[list[BatchDifference], list[str]]:
    """Digest every batch of a dataset again.

    Args:
        lake: The lake.
        selections: What was recorded of the batches of each table.
        progress: See `Progress`.

    Returns:
        The batches that differ, and the files that cannot be read where one does.
    """
    differences: list[BatchDifference] = []
    problems: list[str] = []
    with plain_reader() as connection:
        for table, selection in selections.items():
            snapshot = read_snapshot(lake.path(table))
            files = files_by_partition(snapshot)
            for (day, exchange), batches in sorted(selection.batches.items()):
                names = (batches.column(n).to_pylist() for n in ("batch_id", "rows", "content_digest"))
                recorded = {batch_id: (rows, digest) for batch_id, rows, digest in zip(*names, strict=True)}
                _, faults, unreadable = audit_partition(
                    connection, snapshot, files.get((day, exchange), []), recorded, selection.columns
                )
                differences += [
                    BatchDifference(table, day, exchange, str(f.batch_id), f.kind, f.detail) for f in faults
                ]
                if faults:
                    # Else they hold nothing of this dataset.
                    problems += unreadable
                if progress:
                    progress(sum(rows for rows, _ in recorded.values()))
    return differences, problems


def run_query_twice(
    lake: Lake, dataset: Dataset, selections: Mapping[str, Selection], progress: Progress | None = None
) -> tuple[int, str]:
    """Rows and digest of a query's result.

    Raises:
        DamagedTableError: A batch is not as recorded.
        QueryError: It fails, its result has no digest, or is something else the second time.
    """
    tables = {name: (read_snapshot(lake.path(name)), one) for name, one in selections.items()}
    results = []
    with repeatable_connection(
        tables, dataset.views, timezone=dataset.timezone, progress=progress
    ) as connection:
        for _ in range(2):
            rows = run_repeatably(connection, str(dataset.query))
            results.append((rows.num_rows, _digest_of(rows)))
    if results[0] != results[1]:
        raise QueryError("the query gives something else each time it runs: does it take a random sample?")
    return results[0]


def table_of(dataset: Dataset, table: str | None) -> DatasetTable:
    """The table that is meant.

    Raises:
        TableNotFoundError: It is not clear which, or the dataset does not have it.
    """
    by_name = {part.name: part for part in dataset.tables}
    if table is None and len(by_name) == 1:
        return dataset.tables[0]
    if table is None or table not in by_name:
        raise TableNotFoundError(
            f"dataset {dataset.name} has the tables {', '.join(by_name)}: say which ('--table')"
        )
    return by_name[table]


def combined_digest(tables: Sequence[DatasetTable]) -> str:
    """Digest of several tables: of one, its own."""
    if len(tables) == 1:
        return tables[0].content_digest
    text = "\n".join(f"{t.name} {t.content_digest}" for t in sorted(tables, key=lambda t: t.name))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sum_of(batches: pa.Table) -> ContentDigest:
    """Digest of the rows of all batches together, from what was recorded of each."""
    total = ContentDigest()
    columns = (batches.column(name).to_pylist() for name in ("rows", "content_digest"))
    for rows, digest in zip(*columns, strict=True):
        total += ContentDigest.from_hex(digest, rows)
    return total


def _run_query(
    lake: Lake, dataset: Dataset, selections: Mapping[str, Selection], progress: Progress | None
) -> tuple[pa.Table, str]:
    tables = {name: (read_snapshot(lake.path(name)), one) for name, one in selections.items()}
    with repeatable_connection(
        tables, dataset.views, timezone=dataset.timezone, progress=progress
    ) as connection:
        rows = run_repeatably(connection, str(dataset.query))
    return rows, _digest_of(rows)


def _digest_of(rows: pa.Table) -> str:
    digest = ContentDigest()
    try:
        digest.update(rows)
    except (TypeError, ValueError) as error:
        raise QueryError(f"the query's result has no digest: {error}") from error
    return digest.hexdigest()


def _inconsistencies(dataset: Dataset, batches: pa.Table) -> list[str]:
    """Where the numbers of a manifest do not add up."""
    found = []
    for part in dataset.tables:
        mine = batches.filter(pa.compute.equal(batches.column("table_name"), part.name))
        total = sum_of(mine)
        if (total.rows, total.hexdigest()) != (part.row_count, part.content_digest):
            found.append(
                f"the digest of {part.name} is not the sum of its batches': the manifest was changed"
            )
    told = (dataset.row_count, dataset.content_digest)
    tables = (sum(part.row_count for part in dataset.tables), combined_digest(dataset.tables))
    if dataset.query is None and told != tables:
        found.append("row count or digest of the manifest is not that of its tables: it was changed")
    return found


def _other_result(dataset: Dataset) -> str:
    now = {package: importlib.metadata.version(package) for package in SOFTWARE}
    changed = [
        f"{p} {dataset.software.get(p)} then, {v} now" for p, v in now.items() if dataset.software.get(p) != v
    ]
    told = f" ({', '.join(changed)})" if changed else ""
    return f"every batch is as it was, but the query gives another result{told}"
