"""Write one Parquet file of a table: tuned, checksummed, on the disk before it is named in the log."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.durability import write_durably
from lake.table import TableSpec

ROW_GROUP_ROWS = 122_880
"""DuckDB's own row-group size: one row group is one unit of its parallel scan."""


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


def write_data_file(table_path: Path, spec: TableSpec, partition: dict[str, str], rows: pa.Table) -> DataFile:
    """Write the rows of one partition.

    Args:
        table_path: Folder of the table.
        spec: Layout of the table.
        partition: Value of every partition column, as text.
        rows: Without the partition columns; they are written in the order they have.

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
    pq.write_table(
        rows,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionary,
        column_encoding=split or None,
        write_statistics=[name for name in spec.statistics if name in rows.column_names],
        store_schema=False,
    )
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
