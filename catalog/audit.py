"""Audit: are the rows in the tables those that were committed, batch by batch?

Two checks of each data file and each micro-batch: the file's bytes against the checksum that its commit
recorded, and the digest of the batch's rows against the one recorded when it was appended. The second
still tells which batch is damaged after compaction has put hundreds of batches into one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Engine, select

from catalog.database import transaction
from catalog.models import FeatureBatch
from lake.batch_audit import audit_partition
from lake.compaction import ActiveFile, active_files, file_records
from lake.digest import ContentDigest
from lake.partition_reader import files_by_partition, plain_reader
from lake.snapshot import Snapshot, read_snapshot
from lake.table import Lake, open_table

Place = tuple[str, str]
"""Session date and exchange."""

Expected = dict[Place, dict[str | None, tuple[int, str]]]
"""Rows and digest recorded of each batch, by place and batch id (None for commits of other tools)."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was committed.

    Attributes:
        table: Table name.
        date: Session date.
        exchange: Exchange.
        batch_id: The batch, None where a whole file is meant.
        path: The file, relative to the table, None where a batch is meant.
        kind: `missing_file`, `file_size`, `file_checksum`, `unreadable_file`; of a batch `missing`, `rows`,
            `values`, `unknown_batch`.
        detail: For a person.
    """

    table: str
    date: str
    exchange: str
    batch_id: str | None
    path: str | None
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit looked at, and found."""

    files: int
    batches: int
    rows: int
    damage: tuple[Damage, ...]


def files_to_audit(lake: Lake, *, tables: Iterable[str] | None = None, since: date | None = None) -> int:
    """How many files `audit` will read, for a progress bar."""
    wanted = set(tables) if tables is not None else None
    return sum(
        len(_files_since(active_files(open_table(path)), since))
        for name, path in lake.tables().items()
        if wanted is None or name in wanted
    )


def audit(
    lake: Lake,
    engine: Engine,
    *,
    tables: Iterable[str] | None = None,
    since: date | None = None,
    checksums_only: bool = False,
    progress: Callable[[int], None] | None = None,
) -> AuditResult:
    """Compare every file with its checksum and every batch with its digest.

    Args:
        lake: The lake.
        engine: The catalog, brought up to date by the caller.
        tables: Only these; all by default.
        since: Only sessions of this date and later.
        checksums_only: Leave the batches alone.
        progress: Called with the number of files just audited.

    Raises:
        CatalogUnavailableError: The catalog does not answer.
        DamagedTableError: A table cannot be opened at all; see the doctor.
    """
    damage: list[Damage] = []
    files = batches = rows = 0
    wanted = set(tables) if tables is not None else None
    for name, path in lake.tables().items():
        if wanted is not None and name not in wanted:
            continue
        snapshot = read_snapshot(path)
        chosen = _files_since(active_files(snapshot.handle), since)
        files += len(chosen)
        if checksums_only:
            damage += file_damage(name, snapshot, chosen, progress=progress)
            continue
        expected = _expected(engine, name, since)
        batches += sum(len(group) for group in expected.values())
        for part, count in _check_partitions(name, snapshot, chosen, expected, progress):
            damage += part
            rows += count
    return AuditResult(files, batches, rows, tuple(damage))


def _files_since(files: Iterable[ActiveFile], since: date | None) -> list[ActiveFile]:
    return [f for f in files if since is None or str(f.partition.get("date", "")) >= since.isoformat()]


def file_damage(
    table: str,
    snapshot: Snapshot,
    files: Sequence[ActiveFile],
    *,
    checksums: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Damage]:
    """Files that are gone, or whose size or bytes are not those committed.

    Args:
        table: Table name.
        snapshot: The table.
        files: Which files to look at.
        checksums: Read them; else only their sizes count.
        progress: Called with the number of files just looked at.
    """
    records = file_records(snapshot.folder, {f.path for f in files}) if checksums else {}
    for file in files:
        kind, detail = _file_problem(snapshot, file, records.get(file.path))
        if kind:
            yield Damage(table, *_where(file), None, file.path, kind, detail)
        if progress:
            progress(1)


def _file_problem(snapshot: Snapshot, file: ActiveFile, record: Mapping[str, Any] | None) -> tuple[str, str]:
    path = snapshot.folder / file.path
    try:
        size = path.stat().st_size
        if size != file.size_bytes:
            return "file_size", f"{size:,} bytes instead of {file.size_bytes:,}"
        if record is not None:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != record["sha256"]:
                return "file_checksum", f"its bytes are not those committed (SHA-256 {found})"
    except FileNotFoundError:
        return "missing_file", "the log names it, and it is not there"
    except OSError as error:
        return "unreadable_file", str(error)
    return "", ""


def _check_partitions(
    table: str,
    snapshot: Snapshot,
    files: Sequence[ActiveFile],
    expected: Expected,
    progress: Callable[[int], None] | None,
) -> Iterator[tuple[list[Damage], int]]:
    """Damage and rows of each partition: of its files first, then of its batches."""
    records = file_records(snapshot.folder, {f.path for f in files})
    active: dict[Place, list[ActiveFile]] = {}
    for file in files:
        active.setdefault(_where(file), []).append(file)
    paths = files_by_partition(snapshot)
    with plain_reader() as connection:
        for place in sorted({*active, *expected}):
            present = active.get(place, [])
            damage = []
            for file in present:
                kind, detail = _file_problem(snapshot, file, records.get(file.path))
                if kind:
                    damage.append(Damage(table, *place, None, file.path, kind, detail))
            wanted = expected.get(place, {})
            found, faults, problems = audit_partition(connection, snapshot, paths.get(place, []), wanted)
            if not any(d.kind != "file_checksum" for d in damage):
                damage += [Damage(table, *place, None, None, "unreadable_file", p) for p in problems]
            damage += [Damage(table, *place, f.batch_id, None, f.kind, f.detail) for f in faults]
            for batch_id in found.keys() - wanted.keys():
                told = f"{found[batch_id].rows:,} rows of a batch that the log does not know"
                damage.append(Damage(table, *place, batch_id, None, "unknown_batch", told))
            if progress:
                progress(len(present))
            yield damage, sum(one.rows for one in found.values())


def _expected(engine: Engine, table: str, since: date | None) -> Expected:
    query = select(
        FeatureBatch.date, FeatureBatch.exchange, FeatureBatch.batch_id,
        FeatureBatch.record_count, FeatureBatch.content_digest,
    ).where(FeatureBatch.table_name == table, FeatureBatch.state != "dropped")  # fmt: skip
    if since is not None:
        query = query.where(FeatureBatch.date >= since)
    expected: Expected = {}
    with transaction(engine) as connection:
        for day, exchange, batch_id, rows, digest in connection.execute(query):
            group = expected.setdefault((str(day), exchange), {})
            before = group.get(batch_id)
            if before is not None:  # commits of another tool, which belong to no batch
                total = ContentDigest.from_hex(before[1], before[0])
                total += ContentDigest.from_hex(digest, rows)
                rows, digest = total.rows, total.hexdigest()  # noqa: PLW2901 - the sum of both
            group[batch_id] = (rows, digest)
    return expected


def _where(file: ActiveFile) -> tuple[str, str]:
    return str(file.partition.get("date", "")), str(file.partition.get("exchange", ""))
