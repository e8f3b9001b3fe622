"""How a table is laid out on disk."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Name, schema and storage layout of one Delta table.

    Attributes:
        name: Table name; also its folder.
        schema: Arrow schema, partition columns included.
        partition_by: Partition columns, outermost first.
        statistics: Columns whose minimum and maximum go into the Delta log.
        dictionary: Columns of few distinct values, written with a Parquet dictionary.
        sort_by: Order of rows within a file.
    """

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    statistics: tuple[str, ...]
    dictionary: tuple[str, ...]
    sort_by: tuple[str, ...]
