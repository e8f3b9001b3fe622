"""Columns that data files have and their table lacks, because the commit that added them was lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Field
from deltalake.exceptions import DeltaError
from deltalake.schema import PrimitiveType

from lake.append import sync_log
from lake.errors import DamagedTableError, one_line
from lake.orphans import active_paths
from lake.snapshot import plain_schema
from lake.table import open_table


def widen_again(table_path: Path) -> list[str]:
    """Add the columns that data files have and the table lacks: the commit that added them was lost.

    Raises:
        DamagedTableError: The table cannot be opened or changed.
    """
    lacking = lacking_columns(table_path)
    if lacking:
        try:
            open_table(table_path).alter.add_columns([Field(n, PrimitiveType("double")) for n in lacking])
        except DeltaError as error:
            raise DamagedTableError(
                f"{table_path.name}: columns not added again: {one_line(error)}"
            ) from error
        sync_log(table_path, after=None, through=open_table(table_path).version())
    return lacking


def lacking_columns(table_path: Path) -> list[str]:
    """Columns of numbers that active data files have and the table's schema lacks, by name.

    Raises:
        DamagedTableError: The table cannot be opened.
    """
    known = {f.name.casefold() for f in plain_schema(open_table(table_path))}
    # One file of each set of columns is enough: our files carry its fingerprint in their names.
    samples = {Path(path).name.split("-")[1:2][0]: path for path in active_paths(table_path) if "-" in path}
    found: set[str] = set()
    for path in samples.values():
        try:
            schema = pq.read_schema(table_path / path)
        except (OSError, pa.ArrowInvalid):
            continue  # the audit names it
        found |= {f.name for f in schema if pa.types.is_float64(f.type) and f.name.casefold() not in known}
    return sorted(found)
