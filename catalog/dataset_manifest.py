"""What a dataset is, and how it is kept: a folder of two files in the lake, made once and never changed.

    <root>/datasets/<name>/manifest.json     what was asked for, columns, versions, digests, query and views
    <root>/datasets/<name>/batches.parquet   one row a batch and partition: rows and content digest

The catalog mirrors them for look-ups, as it mirrors the Delta logs: losing it loses no dataset, and a
copied lake brings its datasets along. Each file proves itself: the manifest carries a digest of everything
else in it, `batches.parquet` included.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.durability import fsync_directory, write_durably
from lake.errors import DamagedTableError, DatasetExistsError, DatasetNotFoundError, SettingsError
from lake.partition_reader import Partition
from lake.selection import Selection
from lake.table import Lake

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_MANIFEST, _BATCHES = "manifest.json", "batches.parquet"
_FORM = 1

BATCH_SCHEMA = pa.schema(
    [
        ("table_name", pa.string()),
        ("date", pa.date32()),
        ("exchange", pa.string()),
        ("batch_id", pa.string()),
        ("rows", pa.int64()),
        ("content_digest", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class DatasetTable:
    """What a dataset has of one table.

    Attributes:
        name: Table name.
        version: Newest version whose batches are in it.
        columns: Columns in order, of that version.
        row_count: Rows.
        content_digest: Digest of the rows, without the batch ids: the sum of those of the batches.
    """

    name: str
    version: int
    columns: tuple[str, ...]
    row_count: int
    content_digest: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: rows that stay the same for ever.

    Attributes:
        name: Its name.
        created_at: When it was made.
        first: Earliest session date asked for.
        last: Latest.
        exchanges: Exchanges asked for, empty for all.
        tables: What it has of each table.
        query: SQL over tables and views whose result it is, None for the tables as they are.
        views: SQL of the views that the query may read, as they were.
        timezone: DuckDB's time zone for the query.
        row_count: Rows of what replay gives.
        content_digest: Digest of what replay gives.
        software: Versions it was made with.
        folder: Where it is.
    """

    name: str
    created_at: datetime
    first: date
    last: date
    exchanges: tuple[str, ...]
    tables: tuple[DatasetTable, ...]
    query: str | None
    views: Mapping[str, str]
    timezone: str
    row_count: int
    content_digest: str
    software: Mapping[str, str]
    folder: Path = field(compare=False, default=Path())

    @property
    def versions(self) -> dict[str, int]:
        """Version by table."""
        return {table.name: table.version for table in self.tables}

    def batches(self) -> pa.Table:
        """Every batch and partition: table_name, date, exchange, batch_id, rows, content_digest.

        Raises:
            DamagedTableError: The file is gone or is not as it was written.
        """
        return _read_batches(self.folder)

    def selections(self, batches: pa.Table | None = None) -> dict[str, Selection]:
        """The batches wanted of each table, for `lake.session` and `lake.selection`.

        Args:
            batches: What `batches` gives, if the caller has it already.
        """
        groups = by_partition(self.batches() if batches is None else batches)
        return {
            table.name: Selection(table.name, groups.get(table.name, {}), table.columns)
            for table in self.tables
        }

    @property
    def manifest_sha256(self) -> str:
        """Digest of the manifest file."""
        return hashlib.sha256((self.folder / _MANIFEST).read_bytes()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """What a person or a script wants to know, JSON-serialisable."""
        return {
            "name": self.name,
            "created_at": self.created_at,
            "from": self.first,
            "to": self.last,
            "exchanges": list(self.exchanges),
            "row_count": self.row_count,
            "content_digest": self.content_digest,
            "versions": self.versions,
            "tables": [asdict(table) for table in self.tables],
            "query": self.query,
            "software": dict(self.software),
        }


def by_partition(batches: pa.Table) -> dict[str, dict[Partition, pa.Table]]:
    """Batches of each table and partition: a table of batch_id, rows and content_digest each."""
    keys = ["table_name", "date", "exchange"]
    ordered = batches.sort_by([(key, "ascending") for key in keys]).combine_chunks()
    found: dict[str, dict[Partition, pa.Table]] = {}
    if not ordered.num_rows:
        return found
    codes = [ordered.column(key).combine_chunks().dictionary_encode().indices.to_numpy() for key in keys]
    changes = np.flatnonzero(np.any([np.diff(code) != 0 for code in codes], axis=0)) + 1
    starts = [0, *changes.tolist()]
    for start, stop in zip(starts, [*starts[1:], ordered.num_rows], strict=True):
        table, day, exchange = (ordered.column(key)[start].as_py() for key in keys)
        part = ordered.slice(start, stop - start).select(["batch_id", "rows", "content_digest"])
        found.setdefault(table, {})[str(day), exchange] = part
    return found


def check_name(name: str) -> str:
    """A name that is a folder on every system.

    Raises:
        SettingsError: It is not.
    """
    if not _NAME.fullmatch(name) or name.casefold() in _RESERVED:
        raise SettingsError(f"dataset name {name!r}: use 1 to 64 letters, digits, '-' or '_'")
    return name


def datasets_folder(lake: Lake) -> Path:
    """Where the datasets of a lake are."""
    return lake.root / "datasets"


def names(lake: Lake) -> list[str]:
    """Names of all datasets, sorted, damaged ones included; half-made ones have names of another form."""
    folder = datasets_folder(lake)
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if _NAME.fullmatch(path.name) and path.is_dir())


def exists(lake: Lake, name: str) -> bool:
    """Whether there is a dataset of that name, however it is spelled: folders on Windows have no case."""
    return name.casefold() in {known.casefold() for known in names(lake)}


def write(lake: Lake, dataset: Dataset, batches: pa.Table) -> Dataset:
    """Keep a new dataset; it is there whole or not at all.

    Raises:
        DatasetExistsError: There is one of that name.
        OSError: The disk is full or failed.
    """
    home = datasets_folder(lake)
    home.mkdir(parents=True, exist_ok=True)
    fsync_directory(lake.root)
    draft = home / f".{uuid.uuid4().hex}"
    draft.mkdir()
    try:
        sink = io.BytesIO()
        pq.write_table(batches.cast(BATCH_SCHEMA), sink, compression="zstd")
        write_durably(draft / _BATCHES, sink.getvalue())
        content = {
            "form": _FORM,
            **dataset.summary(),
            "created_at": dataset.created_at.isoformat(),
            "from": dataset.first.isoformat(),
            "to": dataset.last.isoformat(),
            "views": dict(dataset.views),
            "timezone": dataset.timezone,
            "batches_sha256": hashlib.sha256(sink.getvalue()).hexdigest(),
        }
        content["manifest_digest"] = _seal(content)
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_durably(draft / _MANIFEST, text.encode())
        fsync_directory(draft)
        try:
            draft.rename(home / dataset.name)
        except OSError as error:
            if not (home / dataset.name).exists():
                raise
            raise DatasetExistsError(f"there is a dataset {dataset.name!r} already") from error
        fsync_directory(home)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return read(lake, dataset.name)


def read(lake: Lake, name: str) -> Dataset:
    """One dataset.

    Raises:
        DatasetNotFoundError: There is none of that name.
        DamagedTableError: Its manifest cannot be read.
    """
    folder = _existing(lake, name)
    try:
        content = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        _check_content(folder.name, content)
        return Dataset(
            name=content["name"],
            created_at=datetime.fromisoformat(content["created_at"]),
            first=date.fromisoformat(content["from"]),
            last=date.fromisoformat(content["to"]),
            exchanges=tuple(content["exchanges"]),
            tables=tuple(DatasetTable(**{**t, "columns": tuple(t["columns"])}) for t in content["tables"]),
            query=content["query"],
            views=content["views"],
            timezone=content["timezone"],
            row_count=content["row_count"],
            content_digest=content["content_digest"],
            software=content["software"],
            folder=folder,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedTableError(f"the manifest of dataset {name} cannot be read: {error}") from error


def read_all(lake: Lake) -> Iterator[Dataset]:
    """All datasets, by name.

    Raises:
        DamagedTableError: The manifest of one cannot be read.
    """
    for name in names(lake):
        yield read(lake, name)


def remove(lake: Lake, name: str) -> str:
    """Forget a dataset, be it damaged; the rows it named stay in the tables.

    Returns:
        Its name as it was created.

    Raises:
        DatasetNotFoundError: There is none of that name.
        OSError: The folder cannot be removed.
    """
    folder = _existing(lake, name)
    # Gone at once for all readers; what a crash leaves of it has no name of a dataset.
    doomed = folder.with_name(f".{uuid.uuid4().hex}")
    folder.rename(doomed)
    fsync_directory(folder.parent)
    shutil.rmtree(doomed)
    return folder.name


def _existing(lake: Lake, name: str) -> Path:
    """The folder of a dataset, spelled as it is on the disk."""
    folder = datasets_folder(lake) / check_name(name)
    known = names(lake)
    if not folder.is_dir():
        told = ", ".join(known) or "none yet"
        raise DatasetNotFoundError(f"no dataset {name!r} in the lake at {lake.root} (datasets: {told})")
    spelled = next((one for one in known if one.casefold() == name.casefold()), name)
    return folder if name in known else folder.with_name(spelled)


def _seal(content: Mapping[str, Any]) -> str:
    """Digest of a manifest's content."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_content(name: str, content: dict[str, Any]) -> None:
    if content["form"] != _FORM:
        raise DamagedTableError(
            f"dataset {name} was made by another release of strikelake (form {content['form']})"
        )
    if content.pop("manifest_digest") != _seal(content):
        raise DamagedTableError(f"the manifest of dataset {name} is not as it was written")
    if content["name"] != name:
        raise DamagedTableError(f"the dataset in the folder {name} is {content['name']}: rename the folder")


def _read_batches(folder: Path) -> pa.Table:
    try:
        content = (folder / _BATCHES).read_bytes()
        expected = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["batches_sha256"]
        if hashlib.sha256(content).hexdigest() != expected:
            raise DamagedTableError(f"{folder / _BATCHES} is not as it was written")
        # With threads, a command that ends at once may be aborted by Arrow's as they are just starting.
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            return file.read(use_threads=False)
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise DamagedTableError(f"the batches of dataset {folder.name} cannot be read: {error}") from error
