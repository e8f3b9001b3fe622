"""Where the tables of a lake are, and how each is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.exceptions import TableNotFoundError as DeltaTableNotFoundError

from lake.commit_log import read_actions
from lake.durability import fsync_file, sync_names
from lake.errors import (
    DamagedTableError,
    SettingsError,
    TableNotFoundError,
    VersionNotFoundError,
    one_line,
)

CHECKPOINT_INTERVAL = 100
"""Commits between two log checkpoints; opening a table reads at most that many commit files."""

_LOG = "_delta_log"


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Name, schema and storage layout of one Delta table.

    Attributes:
        name: Table name; also its folder.
        schema: Arrow schema, partition columns included.
        partition_by: Partition columns, outermost first.
        statistics: Columns whose minimum and maximum go into the Delta log.
        dictionary: Columns of few distinct values, written with a Parquet dictionary.
        area: `raw_stream` or `derived`, the folder the table lives in.
        sort_by: Columns that compaction sorts rows by; none keeps the order of arrival.
    """

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    statistics: tuple[str, ...]
    dictionary: tuple[str, ...]
    area: str = "raw_stream"
    sort_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lake:
    """The folders of one lake; holds no open file.

    Attributes:
        root: Holds `derived/`, `spool/` and the catalog.
        raw_stream: Holds the tables of captured data, by default `root/raw_stream`.
        timezone: Zone in which times without an offset are read and times are shown.
    """

    root: Path
    raw_stream: Path
    timezone: str = "Asia/Kolkata"

    @classmethod
    def at(cls, root: Path | str) -> Lake:
        """The lake with the usual folders under `root`."""
        return cls(root=Path(root), raw_stream=Path(root) / "raw_stream")

    @property
    def spools(self) -> Path:
        """Folder of the spool files."""
        return self.root / "spool"

    def _areas(self) -> tuple[Path, ...]:
        return (self.raw_stream, self.root / "derived")

    def exists(self) -> bool:
        """True if there is at least one table."""
        return bool(self.tables())

    def tables(self) -> dict[str, Path]:
        """Folder of every table by name, sorted by name."""
        found = {
            folder.name: folder
            for area in self._areas()
            if area.is_dir()
            for folder in area.iterdir()
            if (folder / _LOG).is_dir()
        }
        return dict(sorted(found.items()))

    def path(self, table: str) -> Path:
        """Folder of a table.

        Raises:
            TableNotFoundError: This lake has no such table.
        """
        tables = self.tables()
        if table not in tables:
            known = ", ".join(tables) or "none yet"
            raise TableNotFoundError(f"no table {table!r} in the lake at {self.root} (tables: {known})")
        return tables[table]

    def create(self, spec: TableSpec) -> Path:
        """Create a table unless it is there; returns its folder.

        Raises:
            SettingsError: deltalake would read the folder's name as an escape, and write elsewhere.
            DamagedTableError: The table cannot be created where it belongs.
        """
        area = self.raw_stream if spec.area == "raw_stream" else self.root / spec.area
        path = area / spec.name
        commits = list((path / _LOG).glob("*.json"))
        # A log that was cleaned up may have a single commit as well, but never this one.
        if [commit.name for commit in commits] == [f"{0:020d}.json"] and _says_nothing(commits[0]):
            # A power cut while the table was being made: there is nothing in it yet.
            commits.pop().unlink(missing_ok=True)
        if commits or any((path / _LOG).glob("*.checkpoint*.parquet")):
            return path
        if unquote(str(path)) != str(path):
            raise SettingsError(f"root: deltalake takes the '%' of {path} for an escape; use another folder")
        path.mkdir(parents=True, exist_ok=True)
        try:
            DeltaTable.create(
                str(path),
                spec.schema,
                mode="ignore",
                partition_by=list(spec.partition_by),
                name=spec.name,
                configuration={
                    "delta.appendOnly": "true",
                    "delta.dataSkippingStatsColumns": ",".join(spec.statistics),
                    "delta.checkpointInterval": str(CHECKPOINT_INTERVAL),
                },
                # Or it would make the table of another process once more, as its version 1.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except (DeltaError, OSError) as error:
            # Else another process was faster.
            if not (path / _LOG / f"{0:020d}.json").exists():
                raise DamagedTableError(
                    f"cannot create table {spec.name} in {path}: {one_line(error)}"
                ) from error
        fsync_file(path / _LOG / f"{0:020d}.json")
        self.sync_names(path)
        return path

    def sync_names(self, table_path: Path) -> None:
        """Return when the names of a table's folders are on the disk, up to that of the lake.

        Raises:
            OSError: The disk failed.
        """
        above = self.root if table_path.resolve().is_relative_to(self.root.resolve()) else self.raw_stream
        sync_names(table_path / _LOG, up_to=above)


def _says_nothing(commit: Path) -> bool:
    try:
        read_actions(commit)
    except ValueError:
        return True
    except FileNotFoundError:
        pass  # another process makes the table
    return False


def open_table(path: Path, version: int | None = None) -> DeltaTable:
    """A fresh handle on a table; handles grow slow with use and are never kept.

    Raises:
        TableNotFoundError: There is no table in that folder.
        VersionNotFoundError: The table has no such version, or its log was cleaned up.
        DamagedTableError: The log cannot be read.
    """
    try:
        return DeltaTable(str(path), version=version)
    except DeltaTableNotFoundError as error:
        if version is None:
            raise TableNotFoundError(f"no Delta table in {path}") from error
        # So deltalake says of a version that is older than the log, too.
        newest = open_table(path).version()
        raise VersionNotFoundError(
            f"{path.name} cannot be read at version {version} any more: its commit has left the log "
            f"(the newest version is {newest})"
        ) from error
    # OverflowError: a version below 0 or beyond 64 bits.
    except (DeltaError, OSError, OverflowError) as error:
        why = one_line(error)
        if version is not None:
            newest = open_table(path).version()
            if version > newest or version < 0:
                raise VersionNotFoundError(
                    f"{path.name} has no version {version}; the newest is {newest}"
                ) from error
            raise VersionNotFoundError(
                f"{path.name} cannot be read at version {version} any more: {why}"
            ) from error
        raise DamagedTableError(
            f"the log of {path.name} in {path} cannot be read: {why}; run 'strikelake lake doctor --repair'"
        ) from error


def local_file(table_path: Path, add_path: str) -> Path:
    """The data file that an add action names; Delta percent-encodes paths."""
    return table_path / unquote(add_path)
