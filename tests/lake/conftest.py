"""A small table of weather readings: nothing in the room lake/ knows about options."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.append import append
from lake.commit_log import Commit
from lake.session import Session
from lake.table import Lake, TableSpec

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
