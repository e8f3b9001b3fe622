"""Rows of recorded tables that have types, Parquet and SQLite, in bounded memory.

Files are somebody else's: nothing in them is trusted, and no value or block of theirs may fill the memory.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.sources.csv_table import Row
from ingest.sources.found_bytes import ERRORS, replaced_json
from ingest.sources.recorded_file import (
    BROKEN_GZIP,
    NotARecordingError,
    broken_packing,
    head_of,
    open_content,
)
from ingest.sources.values import shown
from ingest.sources.zip_file import ZIP_MAGIC

PARQUET_MAGIC: Final = b"PAR1"
SQLITE_MAGIC: Final = b"SQLite format 3\x00"

_BATCH_ROWS = 8_192
# What one row group may unpack to, what a gzip file may, and one value: far above what a day of chains takes.
_BLOCK_BYTES = 1 << 29
_CONTENT_BYTES = 1 << 28
_VALUE_BYTES = 1 << 20
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class TypedRows:
    """A table of a file, and its rows in the order in which they stand.

    Attributes:
        header: Names of its columns.
        rows: The rows. NaN became None, infinities and values of other types than text and numbers became
            texts; iterating raises NotARecordingError (`undecodable`, `too_large`) where the file is damaged.
    """

    header: tuple[str, ...]
    rows: Iterator[Row]


@contextmanager
def open_typed_rows(path: Path, needed: Sequence[Sequence[str]]) -> Iterator[TypedRows]:
    """Open the table of a Parquet or SQLite file that has the columns needed.

    Args:
        path: The file, plain or gzip.
        needed: The columns without which no row can be read, each with its alternative names.

    Raises:
        NotARecordingError: `empty_file`, `unknown_shape` (neither format), `missing_columns`, `too_large` or
            `undecodable`.
        OSError: The file cannot be opened or read.
    """
    with ExitStack() as stack:
        try:
            yield stack.enter_context(_opener(path)(path, needed))
        except (pa.ArrowException, sqlite3.Error, UnicodeDecodeError) as error:
            raise NotARecordingError("undecodable", _first_line(error)) from error
        except BROKEN_GZIP as error:
            raise NotARecordingError("undecodable", broken_packing(error)) from error


def _opener(path: Path) -> Callable[[Path, Sequence[Sequence[str]]], AbstractContextManager[TypedRows]]:
    head = head_of(path, len(SQLITE_MAGIC))
    if not head.strip(b"\xef\xbb\xbf \r\n\t"):
        if _is_packed(path):
            _unpacked(path)  # broken before the first byte of content, or empty indeed
        raise NotARecordingError("empty_file", "the file has no content")
    if head.startswith(PARQUET_MAGIC):
        return _parquet
    if head == SQLITE_MAGIC:
        return _sqlite
    if head.lstrip().startswith(b"<"):
        raise NotARecordingError("html_instead_of_table", f"begins with {shown(head)}")
    raise NotARecordingError("unknown_shape", f"neither Parquet nor SQLite, begins with {shown(head)}")


@contextmanager
def _parquet(path: Path, needed: Sequence[Sequence[str]]) -> Iterator[TypedRows]:
    with ExitStack() as stack:
        source: Any = path
        if _is_packed(path):
            source = pa.BufferReader(_unpacked(path))
        try:
            file = stack.enter_context(pq.ParquetFile(source))
        except OSError as error:
            # Arrow tells a damaged footer as an OSError, too; the file itself was opened just now.
            raise NotARecordingError("undecodable", _first_line(error)) from error
        header = tuple(file.schema_arrow.names)
        _check_columns(header, needed)
        groups = file.metadata.num_row_groups
        for group in range(groups):
            if (size := file.metadata.row_group(group).total_byte_size) > _BLOCK_BYTES:
                raise NotARecordingError("too_large", f"row group {group} unpacks to {size:,} bytes")

        def rows() -> Iterator[Row]:
            try:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    columns = [column.to_pylist() for column in batch.columns]
                    for values in zip(*columns, strict=True):
                        yield _row(header, values)
            except OSError as error:
                raise NotARecordingError("undecodable", _first_line(error)) from error

        yield TypedRows(header, rows())


@contextmanager
def _sqlite(path: Path, needed: Sequence[Sequence[str]]) -> Iterator[TypedRows]:
    packed = _is_packed(path)
    # as_uri() escapes what a URI gives a meaning to, so a '?' in a file name stays part of the name.
    uri = ":memory:" if packed else f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=not packed)) as connection:
        if packed:
            connection.deserialize(_unpacked(path))
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        # The schema is the file's author's: it must not call functions.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        connection.text_factory = _decoded
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        tables = {name: _columns(connection, name) for (name,) in found.fetchall()}
        fitting = [name for name, columns in tables.items() if not _missing(columns, needed)]
        if len(fitting) != 1:
            what = f"tables {', '.join(fitting)} have them all" if fitting else f"tables: {', '.join(tables)}"
            raise NotARecordingError("missing_columns", f"not one table has the columns of a chain ({what})")
        (table,) = fitting
        header = tables[table]
        names = ", ".join(_quoted(name) for name in header)
        cursor = connection.execute(f"SELECT {names} FROM {_quoted(table)}")
        yield TypedRows(header, (_row(header, values) for values in cursor))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith((b"\x1f\x8b", ZIP_MAGIC))


def _unpacked(path: Path) -> bytes:
    """The content of a packed file: these formats are read from their end."""
    with open_content(path) as file:
        content = file.read(_CONTENT_BYTES + 1)
    if len(content) > _CONTENT_BYTES:
        raise NotARecordingError("too_large", f"it unpacks to more than {_CONTENT_BYTES:,} bytes; unpack it")
    return content


def _columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table)})"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", ERRORS)


def _missing(header: Sequence[str], needed: Sequence[Sequence[str]]) -> list[str]:
    return [" or ".join(names) for names in needed if not any(name in header for name in names)]


def _check_columns(header: Sequence[str], needed: Sequence[Sequence[str]]) -> None:
    if missing := _missing(header, needed):
        raise NotARecordingError("missing_columns", f"no column {', '.join(missing)}")
    twice = sorted({name for names in needed for name in names if list(header).count(name) > 1})
    if twice:
        raise NotARecordingError("duplicate_columns", f"more than one column {', '.join(twice)}")


def _row(header: Sequence[str], values: Sequence[Any]) -> Row:
    plain = [_plain(value) for value in values]
    return Row(replaced_json(json.dumps(plain)), dict(zip(header, plain, strict=True)), None)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, bytes):
        return f"bytes {value[:100].hex()}"
    return value if isinstance(value, _PLAIN) else str(value)
