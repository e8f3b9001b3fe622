"""Digest every micro-batch of a partition again, wherever compaction has put its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.data_file import NOT_CONTENT
from lake.digest import ContentDigest, digests_by
from lake.errors import DamagedTableError
from lake.partition_reader import files_apart, stream_files
from lake.snapshot import Snapshot

Recorded = Mapping[str | None, tuple[int, str]]
"""Rows and content digest that were recorded of each batch; None stands for rows of no batch."""

Found = dict[str | None, ContentDigest]
"""Digest of the rows found of each batch."""


@dataclass(frozen=True, slots=True)
class BatchFault:
    """A batch that is not as recorded.

    Attributes:
        batch_id: The batch, None for rows of no batch.
        kind: `missing` (none of its rows), `rows` (another number of rows), `values` (a value differs).
        detail: For a person.
    """

    batch_id: str | None
    kind: str
    detail: str


def audit_partition(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    files: Sequence[Path],
    recorded: Recorded,
    columns: Sequence[str] | None = None,
) -> tuple[Found, list[BatchFault], list[str]]:
    """Compare every batch of one partition with what was recorded of it.

    Args:
        connection: To read with, see `lake.partition_reader.plain_reader`.
        snapshot: The table.
        files: Those of the partition.
        recorded: What should be there.
        columns: Only these columns count; all by default.

    Returns:
        What was found of each batch, which of the recorded batches differ, and which files cannot be read.
    """
    names = set(snapshot.schema.names if columns is None else [*columns, *NOT_CONTENT])
    schema = pa.schema([field for field in snapshot.schema if field.name in names])
    found: Found = {}
    problems: list[str] = []
    faults: list[BatchFault] = []
    if files:
        try:
            reader = stream_files(connection, snapshot, files, schema)
            found = digests_by(reader, "batch_id", ignore=NOT_CONTENT)
            faults = batch_faults(found, recorded)
        except (duckdb.Error, DamagedTableError, pa.ArrowException, OSError):
            faults = batch_faults({}, recorded)
    if files and faults:
        # One bad file may spoil what DuckDB makes of the others, its types for instance: each by itself.
        found, problems = _found_apart(snapshot, files, schema)
    return found, batch_faults(found, recorded), problems


def batch_faults(found: Mapping[str | None, ContentDigest], recorded: Recorded) -> list[BatchFault]:
    """How batches differ from what was recorded of them; none if they do not."""
    faults = []
    for batch_id, (rows, digest) in recorded.items():
        one = found.get(batch_id)
        if one is None:
            faults.append(BatchFault(batch_id, "missing", f"none of its {rows:,} rows is there"))
        elif one.rows != rows:
            faults.append(BatchFault(batch_id, "rows", f"{one.rows:,} rows instead of {rows:,}"))
        elif one.hexdigest() != digest:
            told = f"a value of its {rows:,} rows differs (digest {one.hexdigest()}, was {digest})"
            faults.append(BatchFault(batch_id, "values", told))
    return faults


def _found_apart(snapshot: Snapshot, files: Sequence[Path], schema: pa.Schema) -> tuple[Found, list[str]]:
    found: Found = {}
    problems = []
    for rows, problem in files_apart(snapshot, files):
        if rows is None or "batch_id" not in rows.column_names:
            problems.append(problem or "a file has no column batch_id")
            continue
        present = rows.select([name for name in schema.names if name in rows.column_names])
        for batch_id, digest in digests_by(present, "batch_id", ignore=NOT_CONTENT).items():
            if batch_id in found:
                found[batch_id] += digest
            else:
                found[batch_id] = digest
    return found, problems
