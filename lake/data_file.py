"""Write one Parquet file of a table: tuned, checksummed, on the disk before it is named in the log."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.digest import content_digest
from lake.durability import write_durably
from lake.errors import DamagedTableError
from lake.table import TableSpec

ROW_GROUP_ROWS = 122_880
"""DuckDB's own row-group size: one row group is one unit of its parallel scan."""

_NOTE = "strikelake"  # key in the footer of a Parquet file

NOT_CONTENT = ("batch_id",)
"""Columns left out of a content digest: they say how rows were stored, not what they are."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file that is on the disk.

    Attributes:
        path: Relative to the table, with `/`.
        size_bytes: Size of the file.
        rows: Rows in it.
        sha256: Hexadecimal digest of its bytes.
        partition: Partition values as text.
        statistics: Delta statistics: `numRecords`, `minValues`, `maxValues`, `nullCount`.
    """

    path: str
    size_bytes: int
    rows: int
    sha256: str
    partition: dict[str, str]
    statistics: dict[str, Any]


def write_data_file(
    table_path: Path,
    spec: TableSpec,
    partition: dict[str, str],
    rows: pa.Table,
    *,
    note: Mapping[str, Any] | None = None,
) -> DataFile:
    """Write the rows of one partition.

    Args:
        table_path: Folder of the table.
        spec: Layout of the table.
        partition: Value of every partition column, as text.
        rows: Without the partition columns; they are written in the order they have.
        note: Kept in the file's footer, so that a lost commit can be made again from its files.

    Raises:
        OSError: The disk is full or failed; no file is left.
    """
    dictionary = [name for name in spec.dictionary if name in rows.column_names]
    # Prices and features are noise to a dictionary; splitting their bytes lets zstd see the exponents.
    split = {
        f.name: "BYTE_STREAM_SPLIT"
        for f in rows.schema
        if pa.types.is_floating(f.type) and f.name not in dictionary
    }
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionary,
        column_encoding=split or None,
        write_statistics=[name for name in spec.statistics if name in rows.column_names],
        store_schema=False,
    ) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        if note is not None:
            writer.add_key_value_metadata({_NOTE: json.dumps(dict(note))})
    buffer = memoryview(sink.getvalue())
    folder = "/".join(f"{name}={partition[name]}" for name in spec.partition_by)
    relative = f"{folder}/part-{columns_fingerprint(rows.schema)}-{uuid.uuid4().hex}.parquet"
    target = table_path / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    write_durably(target, buffer)
    return DataFile(
        path=relative,
        size_bytes=len(buffer),
        rows=rows.num_rows,
        sha256=hashlib.sha256(buffer).hexdigest(),
        partition=partition,
        statistics=_statistics(rows, spec.statistics),
    )


@dataclass(frozen=True, slots=True)
class RestoredFile:
    """What a commit says of a data file, worked out from the file.

    Attributes:
        path: Relative to the table, with `/`.
        size_bytes: Size of the file.
        partition: Partition values as text.
        statistics: Delta statistics of every column that has an order.
        record: What our own commits record of a file: checksum, content digest, bounds of its times.
        note: What was written into its footer.
    """

    path: str
    size_bytes: int
    partition: dict[str, str]
    statistics: dict[str, Any]
    record: dict[str, Any]
    note: dict[str, Any]

    def add_action(self, modified_ms: int, *, new_rows: bool) -> dict[str, Any]:
        """The add action of a commit that names the file."""
        return {
            "path": self.path, "partitionValues": self.partition, "size": self.size_bytes,
            "modificationTime": modified_ms, "dataChange": new_rows, "stats": json.dumps(self.statistics),
        }  # fmt: skip


def restored_file(table_path: Path, relative: str) -> RestoredFile:
    """Work out again what the commit that named a data file said of it.

    Raises:
        DamagedTableError: The file cannot be read.
    """
    content, rows = read_data_file(table_path, relative)
    footer = pq.read_metadata(pa.BufferReader(content))
    group = footer.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    return RestoredFile(
        path=relative,
        size_bytes=len(content),
        partition=partition_of(relative),
        statistics=_statistics(rows, tuple(c.path_in_schema for c in columns if c.is_stats_set)),
        record=file_record(rows, hashlib.sha256(content).hexdigest()),
        note=_note(footer),
    )


def note_of(path: Path) -> dict[str, Any]:
    """What was written into a data file's footer about the commit that was to name it; empty if nothing.

    Raises:
        OSError: The file cannot be read.
        pa.ArrowInvalid: It is no Parquet file.
    """
    return _note(pq.read_metadata(path))


def _note(footer: pq.FileMetaData) -> dict[str, Any]:
    try:
        found = json.loads((footer.metadata or {}).get(_NOTE.encode(), b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read_data_file(table_path: Path, relative: str) -> tuple[bytes, pa.Table]:
    """Bytes and rows of a data file, partition columns included.

    Raises:
        DamagedTableError: The file is gone or cannot be read.
    """
    try:
        content = (table_path / relative).read_bytes()
        rows = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedTableError(f"data file {table_path / relative} cannot be read: {error}") from error
    for name, value in partition_of(relative).items():
        typed = pa.scalar(date.fromisoformat(value) if name == "date" else value)
        rows = rows.append_column(name, pa.repeat(typed, rows.num_rows))
    return content, rows


def partition_of(relative: str) -> dict[str, str]:
    """Partition values that the folders of a data file name."""
    return dict(part.split("=", 1) for part in relative.split("/")[:-1])


def file_record(rows: pa.Table, sha256: str) -> dict[str, Any]:
    """What a commit of ours records of each data file, beside what Delta does.

    Returns:
        `sha256` of its bytes; `content_digest` of its rows without `NOT_CONTENT`; `rows`;
        `first_event_time` and `last_event_time`, of receipt where rows have no event time; None where
        they have neither.
    """
    name = next((one for one in ("event_time", "received_time") if one in rows.column_names), None)
    bounds = pc.min_max(rows.column(name)).as_py() if name else {"min": None, "max": None}
    return {
        "sha256": sha256,
        # One thread: this may run inside the live app, which needs the other processors.
        "content_digest": content_digest(rows, ignore=NOT_CONTENT, threads=1),
        "rows": rows.num_rows,
        "first_event_time": bounds["min"].isoformat() if bounds["min"] else None,
        "last_event_time": bounds["max"].isoformat() if bounds["max"] else None,
    }


def columns_fingerprint(schema: pa.Schema) -> str:
    """Eight digits that are equal for files of equal columns, so that readers group files by name."""
    text = ";".join(f"{f.name}:{f.type}" for f in schema)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _statistics(rows: pa.Table, columns: tuple[str, ...]) -> dict[str, Any]:
    present = [name for name in columns if name in rows.column_names]
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for name in present:
        bounds = pc.min_max(rows.column(name)).as_py()
        if bounds["min"] is not None:
            low[name], high[name] = _delta_text(bounds["min"]), _delta_text(bounds["max"])
    return {
        "numRecords": rows.num_rows,
        "minValues": low,
        "maxValues": high,
        "nullCount": {name: rows.column(name).null_count for name in present},
    }


def _delta_text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
