"""Write what a dataset replays to files: whole and proven, or not at all."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.dataset_manifest import Dataset, datasets_folder
from catalog.dataset_replay import Progress, replay
from lake.durability import fsync_directory, fsync_file
from lake.errors import QueryError
from lake.table import Lake

_SUFFIXES = (".parquet", ".arrow", ".feather")


def replay_to_file(
    lake: Lake, dataset: Dataset, target: Path, *, table: str | None = None, progress: Progress | None = None
) -> int:
    """Write what `replay` gives to a Parquet (`.parquet`) or Arrow IPC (`.arrow`, `.feather`) file.

    The file is there whole, with the right digest, or not at all; one that was there before is replaced, in
    one step and only then.

    Returns:
        Rows written.

    Raises:
        QueryError: The name will not do, or the format cannot hold a column of the query's result.
        OSError: The file cannot be written.
        As `replay` otherwise.
    """
    if target.suffix.lower() not in _SUFFIXES:
        raise QueryError(f"{target}: use a name that ends in {', '.join(_SUFFIXES)}")
    _check_place(lake, target)
    if target.is_dir():
        raise QueryError(f"{target} is a folder: give the name of a file")
    draft = target.with_name(f".{uuid.uuid4().hex}{target.suffix.lower()}")
    try:
        count = _write(lake, dataset, draft, table, progress)
        draft.replace(target)
        fsync_directory(target.parent)
    finally:
        draft.unlink(missing_ok=True)
    return count


def replay_to_folder(
    lake: Lake, dataset: Dataset, target: Path, *, progress: Progress | None = None
) -> dict[str, int]:
    """Write every table of a dataset to a Parquet file of its own in a new folder: all of them, or none.

    Returns:
        Rows written, by table.

    Raises:
        QueryError: The folder is there already or will not do, or the dataset is the result of a query.
        OSError: A file cannot be written.
        As `replay` otherwise.
    """
    if dataset.query is not None:
        raise QueryError(f"dataset {dataset.name} is the result of a query: give the name of a file")
    _check_place(lake, target)
    if target.exists():
        raise QueryError(f"{target} is there already: give a new folder, or '--table' and a file")
    draft = target.with_name(f".{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        counts = {
            part.name: _write(lake, dataset, draft / f"{part.name}.parquet", part.name, progress)
            for part in dataset.tables
        }
        fsync_directory(draft)
        draft.rename(target)
        fsync_directory(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return counts


def _check_place(lake: Lake, target: Path) -> None:
    place = target.resolve()
    if not place.parent.is_dir():
        raise QueryError(f"{target}: there is no folder {place.parent}")
    for folder in (lake.raw_stream, lake.root / "derived", lake.spools, datasets_folder(lake)):
        if place.is_relative_to(folder.resolve()):
            raise QueryError(f"{target} lies among the lake's own files: write it somewhere else")


def _write(lake: Lake, dataset: Dataset, draft: Path, table: str | None, progress: Progress | None) -> int:
    writer: Any = None
    count = 0
    try:
        for piece in replay(lake, dataset, table=table, progress=progress):
            with _told_by_format(draft.suffix):
                # In one chunk: chunks end where files do, and that would show in the bytes.
                rows = piece.combine_chunks()
                writer = writer or _writer(draft, rows.schema)
                writer.write_table(rows)
                count += rows.num_rows
        with _told_by_format(draft.suffix):
            writer.close()
        writer = None
        fsync_file(draft)
    finally:
        if writer is not None:
            with contextlib.suppress(OSError, pa.ArrowException):
                writer.close()
    return count


def _writer(draft: Path, schema: pa.Schema) -> Any:
    if draft.suffix == ".parquet":
        return pq.ParquetWriter(draft, schema, compression="zstd", compression_level=1)
    return pa.ipc.new_file(str(draft), schema)


@contextlib.contextmanager
def _told_by_format(suffix: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        why = str(error).partition("\n")[0]
        raise QueryError(
            f"cannot be written as {suffix}: {why}; use .arrow, or cast it in the query"
        ) from error
