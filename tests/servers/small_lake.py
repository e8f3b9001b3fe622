"""A small lake of option chains and features, filled batch by batch as the committer does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from sqlalchemy import Engine

from catalog import datasets
from catalog.contracts import ML_FEATURES, OPTION_CHAIN, Contract
from catalog.upkeep import SPECS
from lake.append import append
from lake.maintenance import maintain
from lake.table import Lake

MONDAY = date(2026, 1, 5)
TUESDAY = date(2026, 1, 6)
EVERY_DAY = (date(2026, 1, 1), date(2026, 12, 31))


def legs(count: int, *, batch: str, day: date = MONDAY, exchange: str = "NSE", seed: int = 0) -> pa.Table:
    """Legs in no particular order, with prices that make sums depend on the order of addition."""
    rng = np.random.default_rng([seed, count, day.toordinal(), exchange == "BSE"])
    opening = datetime(day.year, day.month, day.day, 3, 45, tzinfo=UTC)
    times = [opening + timedelta(seconds=int(s)) for s in rng.integers(0, 20_000, count)]
    given: dict[str, Any] = {
        "date": [day] * count,
        "exchange": [exchange] * count,
        "event_time": times,
        "received_time": [t + timedelta(milliseconds=300) for t in times],
        "symbol": ["NIFTY" if exchange == "NSE" else "SENSEX"] * count,
        "expiry": [date(2026, 1, 27)] * count,
        "strike": (24_000.0 + 50 * rng.integers(0, 40, count)).tolist(),
        "option_type": ["CE" if n % 2 else "PE" for n in range(count)],
        "ltp": [None if n % 7 == 3 else float(v) for n, v in enumerate(rng.lognormal(2, 4, count))],
        "oi": rng.integers(0, 9_000, count).tolist(),
        "iv": rng.random(count).tolist(),
        "source": ["live"] * count,
        "dq_flags": [0] * count,
        "batch_id": [batch] * count,
    }
    schema = OPTION_CHAIN.schema
    return pa.table([pa.array(given.get(f.name, [None] * count), f.type) for f in schema], schema=schema)


def feature_rows(count: int, *, batch: str, day: date = MONDAY, **features: list[float | None]) -> pa.Table:
    rows = legs(count, batch=batch, day=day).select(ML_FEATURES.schema.names)
    for name, values in features.items():
        rows = rows.append_column(name, pa.array(values, pa.float64()))
    return rows


@dataclass
class SmallLake:
    """A lake and its catalog; each `add` is one commit."""

    lake: Lake
    engine: Engine
    commits: dict[str, int] = field(default_factory=dict)

    def add(self, *parts: pa.Table, contract: Contract = OPTION_CHAIN) -> None:
        """Commit rows of one batch, of any number of sessions and exchanges."""
        rows = pa.concat_tables(parts)
        (batch,) = rows.column("batch_id").unique().to_pylist()
        sequence = self.commits[contract.table] = self.commits.get(contract.table, 0) + 1
        append(self.lake.path(contract.table), contract.spec, rows, stream="app/1", sequence=sequence,
               metadata={"batch_id": batch, "app_id": "app", "seq_first": sequence,
                         "seq_last": sequence})  # fmt: skip

    def create(self, name: str = "ds", **options: Any) -> datasets.Dataset:
        """A dataset of all of option_chain unless something else is wanted."""
        first, last = EVERY_DAY
        given = {"tables": ["option_chain"], "first": first, "last": last, **options}
        return datasets.create(self.lake, self.engine, name, **given)

    def maintain(self, days: int = 8) -> None:
        """Maintenance as it is some days from now: once to compact, once more to clean up after that."""
        for later in (days, 2 * days):
            now = datetime.now(UTC) + timedelta(days=later)
            for done in maintain(self.lake, SPECS, lambda _: True, now=now):
                assert not done.problems

    def foreign_compaction(self, table: str = "option_chain") -> None:
        """What any other Delta tool may do."""
        DeltaTable(str(self.lake.path(table))).optimize.compact()

    def foreign_vacuum(self, table: str = "option_chain") -> None:
        DeltaTable(str(self.lake.path(table))).vacuum(
            retention_hours=0, dry_run=False, enforce_retention_duration=False
        )

    def files(self, table: str = "option_chain") -> list[Path]:
        """Active data files."""
        path = self.lake.path(table)
        actions = pa.table(DeltaTable(str(path)).get_add_actions(flatten=True))
        return sorted(path / name for name in actions.column("path").to_pylist())

    def file_of(
        self, batch: str, exchange: str = "NSE", table: str = "option_chain", day: date | None = None
    ) -> Path:
        """The active file that has rows of a batch; its first session's unless another is named."""
        found = [
            file
            for file in self.files(table)
            if f"exchange={exchange}" in file.parts
            and (day is None or f"date={day}" in file.parts)
            and batch in pq.read_table(file, partitioning=None)["batch_id"].to_pylist()
        ]
        return found[0]


def rewrite(file: Path, **changes: Any) -> None:
    """Put other values into the first row of a data file, and leave everything else as it is."""
    rewrite_row(file, 0, **changes)


def rewrite_row(file: Path, row: int, **changes: Any) -> None:
    rows = pq.read_table(file, partitioning=None)
    for name, value in changes.items():
        values = rows.column(name).to_pylist()
        assert values[row] != value
        values[row] = value
        column = pa.array(values, rows.schema.field(name).type)
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    pq.write_table(rows, file)


def fill(made: SmallLake) -> None:
    """Three batches of the chain over two exchanges and two days, two of the features."""
    made.add(legs(40, batch="b1"), legs(30, batch="b1", exchange="BSE"))
    made.add(legs(50, batch="b2"))
    made.add(legs(20, batch="b3", seed=1), legs(60, batch="b3", day=TUESDAY))
    made.add(feature_rows(4, batch="f1", rsi=[0.1, 0.2, None, 0.3]), contract=ML_FEATURES)
    made.add(feature_rows(3, batch="f2", day=TUESDAY, rsi=[0.5, 0.25, 1e300]), contract=ML_FEATURES)
