"""Input that is too long for a row of quarantine, whole, in files named by the digest of their content.

A file is written before the row that names it, so a crash leaves at most a file that no row names; and the
same input rejected twice is kept once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.contracts import QUARANTINE
from catalog.findings import Finding
from lake.durability import fsync_directory, replace_durably
from lake.errors import DamagedTableError, MalformedInputError, StrikelakeError
from lake.snapshot import read_snapshot
from lake.spool import Spool
from lake.table import Lake

FOLDER = "quarantine"
"""Folder of the files, under the root of the lake."""

_NAME = re.compile(r"(?P<digest>[0-9a-f]{64})(?P<kind>\.json|\.file)\.gz")
_RECORD = ".json.gz"
_FILE = ".file.gz"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """One file to be.

    Attributes:
        name: Its name, which tells the digest of its content.
        data: Its bytes, gzip.
    """

    name: str
    data: bytes


def record(text: str) -> Kept:
    """A payload and its origin, as JSON, ready to be kept."""
    content = text.encode("utf-8")
    return Kept(f"{hashlib.sha256(content).hexdigest()}{_RECORD}", gzip.compress(content, 6, mtime=0))


def recorded_file(sha256: str, packed: bytes) -> Kept:
    """A file as it was found, ready to be kept.

    Args:
        sha256: Hex digest of its bytes.
        packed: Its bytes, gzip.
    """
    return Kept(f"{sha256}{_FILE}", packed)


class QuarantineStore:
    """The folder `quarantine` of a lake; safe for many writers, as a name stands for one content."""

    def __init__(self, lake: Lake) -> None:
        """Nothing is made before the first file."""
        self.folder = lake.root / FOLDER

    def keep(self, kept: Kept) -> None:
        """Return when a file is on the disk; one that is there already is left alone.

        Raises:
            OSError: The disk is full or failed.
        """
        path = self.folder / kept.name
        if path.is_file() and path.stat().st_size == len(kept.data):
            path.touch()  # young again: `delete_needless` must not take it from the row to come
            return
        made = not self.folder.is_dir()
        replace_durably(path, kept.data)
        if made:
            fsync_directory(self.folder.parent)

    def read_record(self, name: str) -> tuple[str, str]:
        """Payload and origin, JSON each, of a record.

        Raises:
            MalformedInputError: The file is gone, damaged, or no record.
        """
        content = b"".join(self.chunks(name))
        try:
            whole = json.loads(content)
            return str(whole["payload"]), str(whole["origin"])
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedInputError(f"{self.folder / name} is no record of quarantine: {error}") from error

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, piece by piece; its digest is checked at the end.

        Raises:
            MalformedInputError: The file is gone or damaged.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise MalformedInputError(f"{name!r} is no name of a file in {self.folder}")
        digest = hashlib.sha256()
        try:
            with gzip.open(self.folder / name) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    yield chunk
        except (OSError, EOFError, zlib.error) as error:
            raise MalformedInputError(f"{self.folder / name} cannot be read: {error}") from error
        if digest.hexdigest() != found["digest"]:
            raise MalformedInputError(f"{self.folder / name} is damaged: its digest is not its name")

    def names(self) -> set[str]:
        """Names of all files there are."""
        if not self.folder.is_dir():
            return set()
        return {path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name)}


def named_files(lake: Lake) -> set[str]:
    """Names of the files that rows of quarantine have, committed or still in a spool.

    Raises:
        StrikelakeError: The table or a spool cannot be read: nothing can be said of any file.
    """
    named: set[str] = set()
    # Spools first: what is committed in between is then seen twice, not never.
    for path in sorted(lake.spools.glob("*.db")):
        spool = Spool(path, read_only=True)
        try:
            for _, rows in spool.entries(QUARANTINE.table):
                if "stored" in rows.column_names:
                    named.update(pc.drop_null(rows.column("stored").combine_chunks()).to_pylist())
        finally:
            spool.close()
    table_path = lake.tables().get(QUARANTINE.table)
    if table_path is not None:
        for path_text in read_snapshot(table_path).names:
            try:
                file = pq.ParquetFile(path_text)
                with file:
                    if "stored" in file.schema_arrow.names:
                        for batch in file.iter_batches(columns=["stored"]):
                            named.update(pc.drop_null(batch.column(0)).to_pylist())
            except OSError as error:
                raise DamagedTableError(f"{path_text} cannot be read: {error}") from error
    return named


def examine_store(lake: Lake) -> Iterator[Finding]:
    """Rows whose file is gone, and files that no row names; changes nothing."""
    store = QuarantineStore(lake)
    try:
        present = store.names()
        named = named_files(lake)
    except StrikelakeError:
        return  # the table or the spool is a finding of its own
    for name in sorted(named - present):
        told = "a row of quarantine names it, and it is gone: what it held cannot be tried again"
        yield Finding("quarantine_file_missing", QUARANTINE.table, f"{FOLDER}/{name}", told)


def delete_needless(lake: Lake, *, older_than_s: float) -> tuple[int, int]:
    """Delete files that no row of quarantine names, of dropped sessions and of crashes.

    Args:
        lake: The lake.
        older_than_s: Only files from before this moment, epoch seconds: a younger one may belong to a row
            that is about to be spooled.

    Returns:
        How many files, and their bytes.

    Raises:
        StrikelakeError: It cannot be told which are needed.
        OSError: The disk failed.
    """
    store = QuarantineStore(lake)
    if not (present := store.names()):
        return 0, 0
    files = size = 0
    for name in sorted(present - named_files(lake)):
        path = store.folder / name
        status = path.stat()
        if status.st_mtime < min(older_than_s, time.time()):
            path.unlink()
            files, size = files + 1, size + status.st_size
    return files, size
