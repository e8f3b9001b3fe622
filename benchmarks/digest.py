"""What the content digest costs beside reading the same rows, and beside the obvious alternatives.

    python benchmarks/digest.py [--rows 2000000] [--rounds 7] [--order contract]

Writes rows like those of `option_chain` as compacted files, one for each day and exchange, then in turn:

    scan          DuckDB reads every column into Arrow, batch by batch
    scan table    the same into one table
    digest        the digest of a table that is there, by one thread and by two
    scan+digest   the scan, its batches digested as they come
    by batch      one digest for each of 1,500 batches
    dictionaries  pyarrow.parquet reads text as dictionaries, instead of the scan
    hash()        DuckDB's own hash of each row, summed; its values are no promise of DuckDB's
    sort+sha256   the rows sorted, SHA-256 of their Arrow IPC stream

All give one digest for the same rows, whatever way they came. Processors that are shared make the wall time
noise: the least of the rounds counts, and the processor time stands beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.contracts import OPTION_CHAIN, TIME
from lake.data_file import write_data_file
from lake.digest import content_digest, digests_by
from lake.snapshot import select_files

DAYS = (date(2026, 6, 15), date(2026, 6, 16))
SYMBOLS = {"NSE": ("NIFTY", "BANKNIFTY"), "BSE": ("SENSEX", "BANKEX")}
SPOT = {"NIFTY": 24_000.0, "BANKNIFTY": 52_000.0, "SENSEX": 80_000.0, "BANKEX": 58_000.0}
LOT = {"NIFTY": 75, "BANKNIFTY": 35, "SENSEX": 20, "BANKEX": 30}
STRIKES = 100
BATCHES = 375
CONTRACT_ORDER = ("symbol", "expiry", "strike", "option_type", "event_time")
BATCH_ROWS = 131_072


def make_rows(rng: np.random.Generator, day: date, exchange: str, count: int) -> pa.Table:
    """Chain updates of one session, in the order of time."""
    names = SYMBOLS[exchange]
    updates = max(1, count // (len(names) * STRIKES * 2))
    update, name, strike_no, side = (a.ravel() for a in np.indices((updates, len(names), STRIKES, 2)))
    rows = len(update)
    chain = update * len(names) + name

    def with_nulls(values: np.ndarray, share: float) -> pa.Array:
        return pa.array(values, mask=rng.random(rows) < share)

    def per_chain(low: float, high: float) -> np.ndarray:
        return np.round(rng.uniform(low, high, updates * len(names)), 4)[chain]

    def units(most: int) -> np.ndarray:
        return rng.integers(0, most, rows) * np.array([LOT[n] for n in names])[name]

    start = np.datetime64(day, "us") + np.timedelta64(225, "m")  # 09:15 in India
    event = start + (update * (22_500_000_000 // updates) + name * 1_000).astype("timedelta64[us]")
    received = event + (per_chain(20, 400) * 1_000).astype("timedelta64[us]")
    spot = np.array([SPOT[n] for n in names])
    underlying = np.round((spot[name] + np.cumsum(rng.normal(0, 2, updates))[update]) / 0.05) * 0.05
    ltp = np.round(np.maximum(0.05, np.abs(rng.normal(150, 80, rows))) / 0.05) * 0.05
    columns = {
        "date": pa.repeat(pa.scalar(day, pa.date32()), rows),
        "exchange": pa.repeat(exchange, rows),
        "event_time": pa.array(event).cast(TIME),
        "received_time": pa.array(received).cast(TIME),
        "symbol": pa.array(names).take(pa.array(name)),
        "expiry": pa.array([day + timedelta(days=2 + i) for i in range(len(names))]).take(pa.array(name)),
        "strike": spot[name] + (strike_no - STRIKES // 2) * 50,
        "option_type": pa.array(["CE", "PE"]).take(pa.array(side)),
        "ltp": with_nulls(ltp, 0.02),
        "bid": with_nulls(ltp - 0.05, 0.05),
        "ask": with_nulls(ltp + 0.05, 0.05),
        "bid_qty": with_nulls(units(400), 0.05),
        "ask_qty": with_nulls(units(400), 0.05),
        "oi": with_nulls(units(90_000), 0.01),
        "oi_change": with_nulls(units(3_000) - 1_500 * units(2), 0.01),
        "volume": with_nulls(units(900_000), 0.01),
        "iv": with_nulls(np.round(rng.uniform(0.08, 0.4, rows), 4), 0.08),
        "underlying_price": underlying,
        "vix": np.round(13 + np.cumsum(rng.normal(0, 0.01, updates)), 2)[update],
        "atm_strike": np.round(underlying / 50) * 50,
        "time_to_expiry_s": 259_200.0 - (event - start).astype(np.int64) / 1e6,
        "pcr": per_chain(0.6, 1.4),
        "lot_size": np.array([LOT[n] for n in names])[name],
        "source": pa.repeat("nse_api_json", rows),
        "dq_flags": np.where(rng.random(rows) < 0.01, 4, 0),
        "batch_id": pa.array([f"tracker-1a2b3c4d-{i * 60:012d}" for i in range(BATCHES)]).take(
            pa.array(update * BATCHES // updates)
        ),
    }
    return pa.table({f.name: columns[f.name] for f in OPTION_CHAIN.schema}).cast(OPTION_CHAIN.schema)


@dataclass
class Files:
    """Compacted files of a table, and three ways to read them."""

    paths: list[Path] = field(default_factory=list)
    partitions: list[dict[str, str]] = field(default_factory=list)

    def write(self, folder: Path, rows: int, order: str) -> None:
        """One file for each day and exchange."""
        rng = np.random.default_rng(1)
        for day in DAYS:
            for exchange in SYMBOLS:
                part = make_rows(rng, day, exchange, rows // (len(DAYS) * len(SYMBOLS)))
                if order == "contract":
                    part = part.sort_by([(name, "ascending") for name in CONTRACT_ORDER])
                partition = {"date": day.isoformat(), "exchange": exchange}
                part = part.drop_columns(["date", "exchange"])
                file = write_data_file(folder, OPTION_CHAIN.spec, partition, part)
                self.paths.append(folder / file.path)
                self.partitions.append(partition)

    @property
    def sql(self) -> str:
        """As the lake's own sessions read them."""
        return select_files(OPTION_CHAIN.schema, OPTION_CHAIN.partition_by, self.paths)

    def stream(self, connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
        """Through DuckDB, batch by batch."""
        return connection.sql(self.sql).to_arrow_reader(BATCH_ROWS)

    def dictionaries(self) -> pa.Table:
        """Through pyarrow, text as dictionaries, the partition's values added."""
        text = [f.name for f in OPTION_CHAIN.schema if pa.types.is_string(f.type)]
        tables = []
        for path, partition in zip(self.paths, self.partitions, strict=True):
            table = pq.read_table(path, partitioning=None, read_dictionary=text)
            day = pa.scalar(date.fromisoformat(partition["date"]), pa.date32())
            table = table.append_column("date", pa.repeat(day, table.num_rows))
            tables.append(table.append_column("exchange", pa.repeat(partition["exchange"], table.num_rows)))
        return pa.concat_tables(tables)


def sorted_sha256(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The alternative that needs no hash of one's own, but every row at once."""
    table = connection.sql(f"SELECT * FROM ({sql}) ORDER BY ALL").to_arrow_table().combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--order", choices=("contract", "time"), default="contract")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        files = Files()
        files.write(Path(folder), given.rows, given.order)
        table = connection.sql(files.sql).to_arrow_table()
        encoded = files.dictionaries()
        digest = content_digest(table)
        batches = digests_by(table, "batch_id")
        assert content_digest(files.stream(connection)) == content_digest(encoded) == digest
        total = sum(one.rows for one in batches.values())
        assert total == table.num_rows
        hashed = f"SELECT sum(hash(r)) FROM ({files.sql}) AS r"
        ways: dict[str, Callable[[], object]] = {
            "scan": lambda: sum(batch.num_rows for batch in files.stream(connection)),
            "scan table": lambda: connection.sql(files.sql).to_arrow_table(),
            "digest, 1 thread": lambda: content_digest(table, threads=1),
            "digest, 2 threads": lambda: content_digest(table, threads=2),
            "scan+digest, 1 thread": lambda: content_digest(files.stream(connection), threads=1),
            "scan+digest, 2 threads": lambda: content_digest(files.stream(connection), threads=2),
            "by batch, 1 thread": lambda: digests_by(table, "batch_id", threads=1),
            "scan+by batch": lambda: digests_by(files.stream(connection), "batch_id", threads=2),
            "dictionaries": files.dictionaries,
            "digest of dictionaries": lambda: content_digest(encoded, threads=1),
            "dictionaries+digest": lambda: content_digest(files.dictionaries(), threads=2),
            "hash()": lambda: connection.sql(hashed).fetchall(),
        }
        took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for round_no in range(given.rounds):
            for name, run in ways.items():
                took[name].append(measured(run))
            if round_no == 0:
                took["sort+sha256"] = [measured(lambda: sorted_sha256(connection, files.sql))]

        rows = table.num_rows
        size = sum(path.stat().st_size for path in files.paths) / 1e6
        print(f"{rows:,} rows in the order of {given.order}, {len(files.paths)} files, {size:.0f} MB")
        print(f"{'':24}{'wall ms':>8}{'x scan':>8}{'cpu ms':>8}{'x scan':>8}{'cpu ns a row':>14}")
        scan_wall, scan_cpu = least(took["scan"])
        for name, pairs in took.items():
            wall, cpu = least(pairs)
            print(
                f"{name:24}{wall * 1e3:8.0f}{wall / scan_wall:8.2f}{cpu * 1e3:8.0f}{cpu / scan_cpu:8.2f}"
                f"{cpu / rows * 1e9:14.0f}"
            )


def measured(run: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time of one run, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def least(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The least of each: what other processes did can only add."""
    return min(wall for wall, _ in pairs), min(cpu for _, cpu in pairs)


if __name__ == "__main__":
    main()
