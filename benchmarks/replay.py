"""What replaying and verifying a dataset costs, against a plain scan of the same files in the same run.

    python benchmarks/replay.py [--days 2] [--rounds 5]

The scan is DuckDB's `SELECT *` over the table's files into an Arrow table: nothing checked, in no order.
Each way is measured on the lake as it came in (one file a minute and exchange) and after compaction.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from benchmarks.option_days import SESSION_MINUTES, SYMBOLS, chain_rows, sessions
from catalog import datasets
from catalog.contracts import OPTION_CHAIN
from catalog.database import opened_database
from lake.append import append
from lake.maintenance import maintain
from lake.snapshot import read_snapshot
from lake.table import Lake

CHAINS_A_MINUTE, EXPIRIES, STRIKES = 2, 2, 66


def fill(lake: Lake, days: int) -> None:
    """One commit a minute, both exchanges in it: just under a million rows a session."""
    spec = OPTION_CHAIN.spec
    path = lake.create(spec)
    sequence = 0
    for day in sessions(days):
        for minute in range(SESSION_MINUTES):
            for exchange in SYMBOLS:
                sequence += 1
                batch = f"{exchange}-{day}-{minute:03d}"
                rows = chain_rows(
                    day, exchange, range(minute, minute + 1),
                    chains_a_minute=CHAINS_A_MINUTE, expiries=EXPIRIES, strikes=STRIKES, batch_id=batch,
                )  # fmt: skip
                append(path, spec, rows, stream="bench/1", sequence=sequence, metadata={"batch_id": batch},
                       synced_through=10**9)  # fmt: skip


def scan(lake: Lake) -> int:
    """Every row into Arrow, as DuckDB gives it."""
    with duckdb.connect() as connection:
        return int(
            connection.sql(read_snapshot(lake.path("option_chain")).select()).to_arrow_table().num_rows
        )


def scan_to_parquet(lake: Lake, target: Path) -> None:
    """Every row into one Parquet file, as DuckDB writes it."""
    with duckdb.connect() as connection:
        connection.sql(read_snapshot(lake.path("option_chain")).select()).write_parquet(
            str(target), compression="zstd", overwrite=True
        )


def measure(lake: Lake, dataset: datasets.Dataset, rounds: int, folder: Path) -> None:
    """Every way in turn, in each round; the least of each counts: what other processes did only adds."""
    ways: dict[str, Callable[[], object]] = {
        "scan": lambda: scan(lake),
        "replay, piece by piece": lambda: sum(rows.num_rows for rows in datasets.replay(lake, dataset)),
        "replay to Arrow": lambda: datasets.replay_to_arrow(lake, dataset),
        "verify": lambda: datasets.verify(lake, dataset),
        "scan to Parquet": lambda: scan_to_parquet(lake, folder / "scan.parquet"),
        "replay to Parquet": lambda: datasets.replay_to_file(lake, dataset, folder / "replay.parquet"),
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            took[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    least = {
        name: (min(wall for wall, _ in runs), min(cpu for _, cpu in runs)) for name, runs in took.items()
    }
    print(f"{'':26}{'wall s':>8}{'x':>7}{'cpu s':>8}{'x':>7}")
    for name, (wall, cpu) in least.items():
        base = least["scan to Parquet" if name.endswith("Parquet") else "scan"]
        print(f"{name:26}{wall:8.2f}{wall / base[0]:7.2f}{cpu:8.2f}{cpu / base[1]:7.2f}")


def main() -> None:
    """Fill, create, measure, compact, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lake = Lake.at(folder / "lake")
        fill(lake, given.days)
        days = sessions(given.days)
        with opened_database(f"sqlite:///{(folder / 'catalog.db').as_posix()}") as engine:
            began = time.perf_counter()
            dataset = datasets.create(
                lake, engine, "bench", tables=["option_chain"], first=days[0], last=days[-1]
            )
            print(f"created in {time.perf_counter() - began:.2f} s, mirroring the log included")
        for title in ("as it came in", "compacted"):
            if title == "compacted":
                for done in maintain(lake, {"option_chain": OPTION_CHAIN.spec}, lambda _: True):
                    assert not done.problems, done.problems
            files = len(read_snapshot(lake.path("option_chain")).files)
            load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
            shape = f"{dataset.row_count:,} rows in {files:,} files"
            print(f"\n{title}: {shape}; {os.cpu_count()} processors{load}")
            measure(lake, dataset, given.rounds, folder)


if __name__ == "__main__":
    main()
