"""A lake of several simulated sessions, made in a second or two: what models can be trained on.

made = training_lake(tmp_path / "lake", sessions(5))   # NIFTY, a chain a minute, 40 legs, two expiries
dataset = made.create("train", first=..., last=...)    # see small_lake.SmallLake
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from small_lake import SmallLake

from catalog.contracts import CONTRACTS, ML_FEATURES, OPTION_CHAIN
from catalog.database import open_database
from catalog.reference import ReferenceData
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.simulator import stream_days
from lake.table import Lake

FIRST = date(2026, 1, 5)
"""A Monday; no holiday of NSE for three weeks."""


def sessions(count: int, *, first: date = FIRST, exchange: str = "NSE") -> list[date]:
    """The first `count` session dates from `first` on."""
    found = ReferenceData.load().calendar.sessions(exchange, first, first + timedelta(days=2 * count + 14))
    return [session.date for session in found[:count]]


def training_lake(
    root: Path,
    days: Sequence[date],
    *,
    symbols: Sequence[str] = ("NIFTY",),
    interval_s: float = 60.0,
    strikes: int = 5,
    expiries: int = 2,
    seed: int = 7,
    source: str = "live",
    change: Callable[[ChainUpdate], ChainUpdate | None] = lambda update: update,
) -> SmallLake:
    """Simulated sessions as if captured live: one commit a day and table, features of the app included.

    Args:
        root: Folder of the lake.
        days: Session dates, ascending.
        symbols: Underlyings of the simulator.
        interval_s: Seconds between two chains of a symbol.
        strikes: Strikes on each side of the money.
        expiries: Expiries in each chain.
        seed: Same seed, same lake.
        source: What the column `source` says.
        change: Applied to each update; None leaves it out.
    """
    made = empty_lake(root)
    reference = ReferenceData.load()
    stream = stream_days(
        days,
        reference,
        seed=seed,
        symbols=symbols,
        interval_s=interval_s,
        strikes=strikes,
        expiries=expiries,
    )
    for day, updates in groupby(stream, key=lambda update: update.event_time.date()):
        of_day = [change(replace(update, source=source)) for update in updates]
        add_updates(made, [update for update in of_day if update is not None], batch=str(day))
    return made


def empty_lake(root: Path) -> SmallLake:
    """A lake with every table and no rows."""
    lake = Lake.at(root)
    for contract in CONTRACTS.values():
        lake.create(contract.spec)
    return SmallLake(lake, open_database(f"sqlite:///{(root / 'catalog.db').as_posix()}"))


def add_updates(made: SmallLake, updates: Iterable[ChainUpdate], *, batch: str) -> None:
    """Commit updates as one micro-batch."""
    entries = convert(updates, ReferenceData.load()).entries
    for contract in (OPTION_CHAIN, ML_FEATURES):
        parts = [with_batch(entry.batch, batch) for entry in entries if entry.table == contract.table]
        if parts:
            made.add(pa.concat_tables(parts, promote_options="default"), contract=contract)


def lake_of(root: Path, tables: Mapping[str, pa.Table]) -> SmallLake:
    """A lake with these rows, each table one commit; their batch ids do not matter."""
    made = empty_lake(root)
    for name, rows in tables.items():
        if rows.num_rows:
            bare = rows.drop_columns("batch_id") if "batch_id" in rows.column_names else rows
            made.add(with_batch(bare, "batch-1"), contract=CONTRACTS[name])
    return made


def with_batch(rows: pa.Table, batch: str) -> pa.Table:
    """Rows as a commit has them."""
    return rows.append_column("batch_id", pa.array([batch] * rows.num_rows, pa.string()))
