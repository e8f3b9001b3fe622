"""What the section Lake shows: tables, datasets, commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalog import dataset_manifest
from catalog.contracts import CONTRACTS
from lake.commit_log import read_commit, versions
from lake.errors import StrikelakeError
from lake.session import Session
from lake.snapshot import Snapshot
from lake.table import Lake

COMMITS = 12


@dataclass(frozen=True, slots=True)
class TableRow:
    """One table.

    Attributes:
        name: Its name.
        about: What it holds, empty for one without a contract.
        version: Newest version.
        files: Active data files.
        rows: Rows.
        size_bytes: Bytes of the files.
        columns: Columns.
        sessions: Partitions.
        newest: Value of the newest first partition column.
    """

    name: str
    about: str
    version: int
    files: int
    rows: int
    size_bytes: int
    columns: int
    sessions: int
    newest: str


@dataclass(frozen=True, slots=True)
class CommitRow:
    """One commit of a table."""

    version: int
    time: datetime
    operation: str
    files: int
    rows: int
    batch_id: str


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """One column of a table: its type, unit and meaning as its contract has them."""

    name: str
    type: str
    unit: str
    about: str


@dataclass(frozen=True, slots=True)
class TableDetail:
    """A table, its columns and its newest commits."""

    name: str
    columns: tuple[ColumnRow, ...]
    commits: tuple[CommitRow, ...]


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One dataset; `problem` says why it cannot be read."""

    name: str
    created_at: datetime | None = None
    first: str = ""
    last: str = ""
    exchanges: str = ""
    row_count: int | None = None
    digest: str = ""
    versions: str = ""
    problem: str = ""


def table_rows(session: Session) -> tuple[TableRow, ...]:
    """Every table of a session, from the log alone."""
    return tuple(_row(one) for one in session.snapshots.values())


def _row(snapshot: Snapshot) -> TableRow:
    actions = pa.table(snapshot.handle.get_add_actions(flatten=True))
    partitions = snapshot.partitions()
    first = partitions.column(0)
    contract = CONTRACTS.get(snapshot.table)
    return TableRow(
        snapshot.table,
        contract.about if contract else "",
        snapshot.version,
        len(snapshot.names),
        sum(snapshot.row_counts),
        pc.sum(actions.column("size_bytes")).as_py() or 0,
        len(snapshot.schema),
        partitions.num_rows,
        str(pc.max(first).as_py()) if partitions.num_rows else "",
    )


def table_detail(session: Session, name: str) -> TableDetail:
    """Columns and newest commits of a table.

    Raises:
        TableNotFoundError: There is no such table.
    """
    path = session.lake.path(name)
    snapshot = session.snapshots[name]
    known = {one.name: one for one in CONTRACTS[name].columns} if name in CONTRACTS else {}
    columns = tuple(
        ColumnRow(
            field.name, str(field.type), known[field.name].unit if field.name in known else "",
            known[field.name].about if field.name in known else "",
        )
        for field in snapshot.schema
    )  # fmt: skip
    commits = []
    for version in reversed(versions(path)[-COMMITS:]):
        commit = read_commit(path, version)
        commits.append(
            CommitRow(
                version, commit.time, commit.operation, len(commit.adds), commit.rows,
                str(commit.batch.get("batch_id") or ""),
            )
        )  # fmt: skip
    return TableDetail(name, columns, tuple(commits))


def dataset_rows(lake: Lake) -> tuple[DatasetRow, ...]:
    """Every dataset, the newest first; one that is damaged says so."""
    found = []
    for name in dataset_manifest.names(lake):
        try:
            one = dataset_manifest.read(lake, name)
        except (StrikelakeError, OSError) as error:
            found.append(DatasetRow(name, problem=str(error)))
            continue
        found.append(
            DatasetRow(
                name, one.created_at, one.first.isoformat(), one.last.isoformat(),
                ", ".join(one.exchanges) or "all", one.row_count, one.content_digest,
                ", ".join(f"{table} {version}" for table, version in one.versions.items()),
            )
        )  # fmt: skip
    return tuple(sorted(found, key=_age, reverse=True))


def _age(row: DatasetRow) -> float:
    return row.created_at.timestamp() if row.created_at else 0.0


def examples(tables: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    """Statements to begin with, of the tables that are there."""
    names = {one.name for one in tables}
    found = []
    if "option_chain" in names:
        found += [
            ("PCR", "SELECT bucket_start, symbol, expiry, pcr_oi, pcr_volume\nFROM pcr_5m\n"
                    "WHERE symbol = 'NIFTY'\nORDER BY bucket_start DESC\nLIMIT 75"),
            ("Max pain", "SELECT * FROM max_pain"),
            ("Newest chain", "SELECT symbol, expiry, strike, option_type, ltp, oi, iv\nFROM latest_chain\n"
                             "WHERE symbol = 'NIFTY'\nORDER BY expiry, strike, option_type"),
            ("Rows by session", "SELECT * FROM option_chain_partitions ORDER BY date DESC, exchange"),
        ]  # fmt: skip
    if "health_metrics" in names:
        found.append(
            ("A metric", "SELECT event_time, value\nFROM health_metrics\n"
                         "WHERE metric = 'disk_free_pct'\nORDER BY event_time DESC\nLIMIT 200")
        )  # fmt: skip
    return tuple(found)
