"""A small table of weather readings: nothing in the room lake/ knows about options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lake.append import append
from lake.commit_log import Commit
from lake.session import Session
from lake.spool import Entry, Spool
from lake.table import Lake, TableSpec, open_table

SCHEMA = pa.schema(
    [
        ("date", pa.date32()),
        ("station", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("sensor", pa.string()),
        ("celsius", pa.float64()),
        ("samples", pa.int64()),
        ("batch_id", pa.string()),
    ]
)


@pytest.fixture
def spec() -> TableSpec:
    return TableSpec(
        name="readings",
        schema=SCHEMA,
        partition_by=("date", "station"),
        statistics=("event_time", "sensor", "celsius", "samples"),
        dictionary=("sensor", "batch_id"),
    )


@pytest.fixture
def lake(tmp_path: Path, spec: TableSpec) -> Lake:
    """A lake with the empty table `readings`."""
    lake = Lake.at(tmp_path / "lake")
    lake.create(spec)
    return lake


@pytest.fixture
def table(lake: Lake) -> Path:
    return lake.path("readings")


@pytest.fixture
def make_rows() -> Callable[..., pa.Table]:
    """Rows start, start + 1, ...: `celsius` is the row's number, so sums tell which rows are there."""

    def make(
        count: int,
        start: int = 0,
        *,
        station: str = "A",
        day: date = date(2026, 1, 5),
        batch_id: str = "b",
        **more: list[Any] | pa.Array,
    ) -> pa.Table:
        numbers = range(start, start + count)
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        rows = pa.table(
            {
                "date": [day] * count,
                "station": [station] * count,
                "event_time": [midnight + timedelta(seconds=n, microseconds=n % 7) for n in numbers],
                "sensor": [None if n % 5 == 4 else f"s{n % 3}" for n in numbers],
                "celsius": [float(n) for n in numbers],
                "samples": [n * 10 for n in numbers],
                "batch_id": [batch_id] * count,
            },
            schema=SCHEMA,
        )
        for name, values in more.items():
            rows = rows.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
        return rows

    return make


@pytest.fixture
def commit(table: Path, spec: TableSpec) -> Callable[..., Commit | None]:
    """Append to `readings`: rows and sequence, then what differs from the usual."""

    def append_rows(
        rows: pa.Table, sequence: int, *, stream: str = "app/1", path: Path = table, **metadata: Any
    ) -> Commit | None:
        return append(path, spec, rows, stream=stream, sequence=sequence, metadata=metadata)

    return append_rows


@pytest.fixture
def views(tmp_path: Path) -> Path:
    """A folder of views with none in it."""
    folder = tmp_path / "views"
    folder.mkdir()
    return folder


@pytest.fixture
def query(views: Path) -> Callable[..., list[dict[str, Any]]]:
    """Rows of one statement in a session of its own."""

    def run(lake: Lake, sql: str, **options: Any) -> list[dict[str, Any]]:
        with Session(lake, **{"views": views, **options}) as session:
            rows: list[dict[str, Any]] = session.table(sql).to_pylist()
            return rows

    return run


@dataclass
class Writer:
    """One stream of readings, from its spool into the table, as a committer moves them."""

    lake: Lake
    spec: TableSpec
    make_rows: Callable[..., pa.Table]
    spool: Spool
    put_rows: int = 0

    @property
    def table(self) -> Path:
        return self.lake.path(self.spec.name)

    def put(self, count: int, **more: Any) -> None:
        """Spool the next rows, without a batch id; `celsius` numbers all rows of this writer."""
        rows = self.make_rows(count, self.put_rows, **more).drop_columns(["batch_id"])
        self.put_rows += count
        entry = Entry(self.spec.name, "A", self.spec.name, rows)
        self.spool.put([entry], offered={(self.spec.name, "A"): count})

    def commit(self, *, clear: bool = True) -> Commit | None:
        """Commit what waits as one micro-batch; without `clear` as one that dies just before that."""
        handle = open_table(self.table)
        committed = handle.transaction_version(self.spool.stream)
        if committed is not None:
            self.spool.clear(self.spec.name, committed)
        waiting = self.spool.waiting(self.spec.name)
        if waiting is None:
            return None
        batch_id = self.spool.batch_id(waiting.last)
        rows = waiting.rows.append_column("batch_id", pa.repeat(batch_id, waiting.rows.num_rows))
        names = self.spec.schema.names
        rows = rows.select([*names, *(n for n in rows.column_names if n not in names)])
        numbers = {"seq_first": waiting.first, "seq_last": waiting.last}
        done = append(
            self.table, self.spec, rows, stream=self.spool.stream, sequence=waiting.last,
            metadata={"batch_id": batch_id, "app_id": self.spool.path.stem, **numbers},
        )  # fmt: skip
        if clear:
            self.spool.clear(self.spec.name, waiting.last)
        return done

    def write(self, count: int, **more: Any) -> Commit | None:
        """Spool rows and commit them."""
        self.put(count, **more)
        return self.commit()

    def all_rows_once(self) -> bool:
        """Whether deltalake reads every row that was ever put, once."""
        return readings(self.table) == [float(n) for n in range(self.put_rows)]


def readings(table: Path, version: int | None = None) -> list[float]:
    """The numbers of all rows, as deltalake reads them."""
    rows = DeltaTable(str(table), version=version).to_pyarrow_table()
    return sorted(rows.column("celsius").to_pylist())


@pytest.fixture
def new_writer(
    lake: Lake, spec: TableSpec, make_rows: Callable[..., pa.Table]
) -> Iterator[Callable[[str], Writer]]:
    """A writer under an app id."""
    spools = []

    def new(app_id: str) -> Writer:
        spools.append(Spool(lake.spools / f"{app_id}.db"))
        return Writer(lake, spec, make_rows, spools[-1])

    yield new
    for spool in spools:
        spool.close()


@pytest.fixture
def writer(new_writer: Callable[[str], Writer]) -> Writer:
    return new_writer("gauge")
