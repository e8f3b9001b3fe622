"""Datasets: choose rows once, get the same rows for ever, and prove it.

A dataset names micro-batches, not files: tables are append-only and every row carries its batch id, so
appends, compaction, log clean-up, vacuum and new columns change nothing in it, and it costs no storage.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

import pyarrow as pa
from sqlalchemy import Connection, Engine, delete, insert, select

from catalog import dataset_manifest
from catalog.batches import sync
from catalog.database import transaction, write_alone
from catalog.dataset_files import replay_to_file, replay_to_folder
from catalog.dataset_manifest import BATCH_SCHEMA, Dataset, DatasetTable, names, read
from catalog.dataset_replay import (
    SOFTWARE,
    Progress,
    combined_digest,
    compare,
    open_proven_session,
    open_session,
    replay,
    replay_to_arrow,
    replay_to_duckdb,
    run_query_twice,
    sum_of,
    verify,
)
from catalog.models import DatasetBatch, DatasetRow, FeatureBatch, MirrorCursor
from lake.digest import ContentDigest
from lake.errors import (
    CatalogUnavailableError,
    ContractError,
    DamagedTableError,
    DatasetExistsError,
    DatasetInUseError,
    QueryError,
    TableNotFoundError,
)
from lake.queries import load_folder
from lake.repeatable_query import check_repeatable
from lake.session import VIEWS
from lake.snapshot import read_snapshot
from lake.table import Lake

__all__ = [
    "Dataset", "check_not_needed", "create", "datasets_with", "names", "open_proven_session", "open_session",
    "read", "remove", "replay", "replay_to_arrow", "replay_to_duckdb", "replay_to_file", "replay_to_folder",
    "sync_datasets", "verify",
]  # fmt: skip

_ROWS_AN_INSERT = 10_000


def create(
    lake: Lake,
    engine: Engine,
    name: str,
    *,
    tables: Sequence[str],
    first: date,
    last: date,
    exchanges: Iterable[str] = (),
    query: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Make a dataset of what the tables hold now of some sessions.

    Every row is read, and compared with the digests that its commit recorded, so that a dataset is never
    made of damaged rows.

    Args:
        lake: The lake.
        engine: The catalog; it is brought up to date first.
        name: 1 to 64 letters, digits, `-` and `_`.
        tables: Tables whose rows it is made of.
        first: Earliest session date.
        last: Latest.
        exchanges: Only these; all by default.
        query: A SELECT over these tables and the views over them, whose result the dataset is; by default
            it is the tables as they are.
        progress: See `Progress`.

    Raises:
        DatasetExistsError: There is one of that name.
        SettingsError: The name will not do as a folder.
        TableNotFoundError: There is no such table, or it has no rows of these sessions.
        QueryError: The query is not valid, or gives something else each time.
        ContractError: Rows of these sessions belong to no batch.
        DamagedTableError: Rows are not as they were committed.
        CatalogUnavailableError: The catalog does not answer.
    """
    dataset_manifest.check_name(name)
    if dataset_manifest.exists(lake, name):
        raise DatasetExistsError(f"there is a dataset {name!r} already; datasets never change")
    if first > last:
        raise QueryError(f"no session is from {first} to {last}: the first date is after the last")
    chosen = list(dict.fromkeys(tables))
    if not chosen:
        raise TableNotFoundError("a dataset needs a table")
    for table in chosen:
        lake.path(table)
    sync(lake, engine)
    wanted = tuple(sorted(set(exchanges)))
    parts, recorded, schemas = [], [], {}
    for table in chosen:
        version, batches = _batches_of(engine, table, first, last, wanted)
        if not batches.num_rows:
            raise TableNotFoundError(_no_rows(engine, table, first, last, wanted))
        schemas[table] = read_snapshot(lake.path(table), version).schema
        total = sum_of(batches)
        parts.append(DatasetTable(table, version, tuple(schemas[table].names), total.rows, total.hexdigest()))
        recorded.append(batches)
    draft = Dataset(
        name=name,
        created_at=datetime.now(UTC),
        first=first,
        last=last,
        exchanges=wanted,
        tables=tuple(parts),
        query=query,
        views={view.name: view.sql for view in load_folder(VIEWS)} if query is not None else {},
        timezone=lake.timezone,
        row_count=sum(part.row_count for part in parts),
        content_digest=combined_digest(parts),
        software={package: importlib.metadata.version(package) for package in SOFTWARE},
    )
    if query is not None:
        # Before the first row is read: a typing error must not come up after minutes.
        check_repeatable(query, schemas, draft.views, timezone=draft.timezone)
    batches_table = pa.concat_tables(recorded)
    made = dataset_manifest.write(lake, _proven(lake, draft, batches_table, progress), batches_table)
    try:
        with transaction(engine) as connection:
            write_alone(connection)
            _mirror_one(connection, made)
    except CatalogUnavailableError as error:
        raise CatalogUnavailableError(
            f"dataset {name} is made, but not mirrored yet: {error}; run 'strikelake catalog sync' later"
        ) from error
    return made


def _proven(lake: Lake, draft: Dataset, batches: pa.Table, progress: Progress | None) -> Dataset:
    """The dataset with the digest of its rows, once every batch was found to be as recorded."""
    selections = draft.selections(batches)
    if draft.query is not None:
        count, digest = run_query_twice(lake, draft, selections, progress)
        return dataclasses.replace(draft, row_count=count, content_digest=digest)
    differences, problems = compare(lake, selections, progress)
    if differences or problems:
        told = [f"batch {d.batch_id} of {d.table}: {d.detail}" for d in differences[:5]] + problems[:5]
        raise DamagedTableError(
            f"no dataset was made: {'; '.join(told)}; run 'strikelake catalog verify' for the whole list"
        )
    return draft


def sync_datasets(lake: Lake, engine: Engine) -> None:
    """Make the catalog's rows of datasets those of the manifests in the lake.

    Raises:
        CatalogUnavailableError: The catalog does not answer.
        DamagedTableError: A dataset cannot be read; the catalog keeps what it knows of it, and the others
            are brought up to date all the same.
    """
    problems = []
    with transaction(engine) as connection:
        write_alone(connection)
        known = mirrored_datasets(connection)
        present = dataset_manifest.names(lake)
        for name in known.keys() - set(present):
            _forget(connection, name)
        for name in present:
            try:
                dataset = read(lake, name)
                if known.get(name) != dataset.manifest_sha256:
                    dataset.batches()
                    _forget(connection, name)
                    _mirror_one(connection, dataset)
            except DamagedTableError as error:
                problems.append(str(error))
    if problems:
        raise DamagedTableError("; ".join(problems))


def mirrored_datasets(connection: Connection) -> dict[str, str]:
    """Digest of the manifest of every dataset that the catalog knows, by name."""
    rows = connection.execute(select(DatasetRow.name, DatasetRow.manifest_sha256))
    return {row.name: row.manifest_sha256 for row in rows}


def remove(lake: Lake, engine: Engine, name: str) -> None:
    """Delete a dataset; the rows it named stay in the tables.

    Raises:
        DatasetNotFoundError: There is none of that name.
        CatalogUnavailableError: The catalog does not answer; the dataset is deleted all the same.
    """
    name = dataset_manifest.remove(lake, name)
    with transaction(engine) as connection:
        write_alone(connection)
        _forget(connection, name)


def datasets_with(engine: Engine, batch_id: str) -> list[str]:
    """Names of the datasets that contain a batch.

    Raises:
        CatalogUnavailableError: The catalog does not answer.
    """
    query = select(DatasetBatch.dataset).where(DatasetBatch.batch_id == batch_id).distinct()
    with transaction(engine) as connection:
        return sorted(connection.execute(query).scalars())


def check_not_needed(lake: Lake, before: date, *, tables: Iterable[str] | None = None) -> None:
    """Raise if a dataset needs sessions before a date.

    Args:
        lake: The lake.
        before: First date that is not asked about.
        tables: Only these tables; all by default.

    Raises:
        DatasetInUseError: One does; the message names it.
        DamagedTableError: A manifest cannot be read, so that nobody knows what it needs.
    """
    needed = []
    wanted = set(tables) if tables else None
    for dataset in dataset_manifest.read_all(lake):
        places = dataset.batches().group_by(["table_name", "date"]).aggregate([]).to_pylist()
        dates = {
            place["date"]
            for place in places
            if place["date"] < before and (wanted is None or place["table_name"] in wanted)
        }
        if dates:
            needed.append(f"{dataset.name} ({min(dates)} to {max(dates)})")
    if needed:
        raise DatasetInUseError(
            f"datasets need sessions before {before}: {', '.join(needed)}; "
            "delete them first ('strikelake dataset delete NAME')"
        )


def _batches_of(
    engine: Engine, table: str, first: date, last: date, exchanges: tuple[str, ...]
) -> tuple[int, pa.Table]:
    """Version and batches of a table at one instant.

    Raises:
        ContractError: Rows belong to no batch.
    """
    query = (
        select(
            FeatureBatch.date, FeatureBatch.exchange, FeatureBatch.batch_id,
            FeatureBatch.record_count, FeatureBatch.content_digest,
        )
        .where(FeatureBatch.table_name == table, FeatureBatch.date.between(first, last))
        .where(FeatureBatch.state != "dropped")
        .order_by(FeatureBatch.date, FeatureBatch.exchange, FeatureBatch.table_version)
    )  # fmt: skip
    if exchanges:
        query = query.where(FeatureBatch.exchange.in_(exchanges))
    with transaction(engine) as connection:
        version = connection.execute(
            select(MirrorCursor.table_version).where(MirrorCursor.table_name == table)
        ).scalar_one_or_none()
        rows = connection.execute(query).all()
    orphaned = sum(count for _, _, batch_id, count, _ in rows if batch_id is None)
    if orphaned:
        raise ContractError(
            f"{orphaned:,} rows of {table} were committed by another tool and belong to no batch: "
            "a dataset cannot name them"
        )
    found: dict[tuple[date, str, str | None], tuple[int, str]] = {}
    for day, exchange, batch_id, count, digest in rows:
        before = found.get((day, exchange, batch_id))
        if before is not None:  # several files of one batch
            total = ContentDigest.from_hex(before[1], before[0])
            total += ContentDigest.from_hex(digest, count)
            found[day, exchange, batch_id] = (total.rows, total.hexdigest())
        else:
            found[day, exchange, batch_id] = (count, digest)
    days, places, ids = zip(*found, strict=True) if found else ((), (), ())
    counts, digests = zip(*found.values(), strict=True) if found else ((), ())
    columns = ([table] * len(found), days, places, ids, counts, digests)
    arrays = [pa.array(values, f.type) for values, f in zip(columns, BATCH_SCHEMA, strict=True)]
    return -1 if version is None else version, pa.table(arrays, schema=BATCH_SCHEMA)


def _no_rows(engine: Engine, table: str, first: date, last: date, exchanges: tuple[str, ...]) -> str:
    with transaction(engine) as connection:
        days = connection.execute(
            select(FeatureBatch.date).where(FeatureBatch.table_name == table).distinct()
        ).scalars()
        known = sorted(days)
    told = f"its sessions are {known[0]} to {known[-1]}" if known else "it is empty"
    where = f" of {', '.join(exchanges)}" if exchanges else ""
    return f"{table} has no rows{where} from {first} to {last}: {told}"


def _mirror_one(connection: Connection, dataset: Dataset) -> None:
    connection.execute(
        insert(DatasetRow).values(
            name=dataset.name,
            created_at=dataset.created_at,
            first_date=dataset.first,
            last_date=dataset.last,
            query=dataset.query,
            row_count=dataset.row_count,
            content_digest=dataset.content_digest,
            manifest_sha256=dataset.manifest_sha256,
        )
    )
    for piece in dataset.batches().to_batches(max_chunksize=_ROWS_AN_INSERT):
        columns = piece.select(["table_name", "batch_id", "date", "exchange"])
        rows = [{"dataset": dataset.name, **row} for row in columns.to_pylist()]
        connection.execute(insert(DatasetBatch), rows)


def _forget(connection: Connection, name: str) -> None:
    # SQLite cascades only when asked to in every connection.
    connection.execute(delete(DatasetBatch).where(DatasetBatch.dataset == name))
    connection.execute(delete(DatasetRow).where(DatasetRow.name == name))
