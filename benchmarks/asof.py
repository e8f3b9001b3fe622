"""What hiding the unreceived costs: the point-in-time join beside joins on event time alone.

    python benchmarks/asof.py [--right 1000000] [--left 100000] [--keys 200] [--columns 5] [--runs 5]

Right rows are events of many keys, received up to five seconds late and stored in order of receipt. All
ways answer the same left rows in the same process, in turns; the median of the runs is printed, with CPU
time, and ratios to the quickest alternative. Only the first four answer the question that was asked:

    asof_join       lake.asof.asof_join
    ... + times     with source_times=True
    ... nulls       with ignore_nulls=True for every column
    audit           lake.lookahead.audit_lookahead over the frame that asof_join gave
    polars          join_asof on event time alone: shows what was not yet received
    duckdb          ASOF JOIN on event time alone: likewise
    duckdb pairs    the right answer the obvious way, every pair of a key: on a thousandth of the left rows
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from lake.asof import AsOfColumn, asof_join
from lake.lookahead import audit_lookahead

START_US = 1_767_600_000_000_000
DAY_US = 6 * 3600 * 1_000_000
LATEST_US = 5_000_000
BY = ["station", "level"]
TIME = pa.timestamp("us", tz="UTC")


def make(rights: int, lefts: int, keys: int, columns: int) -> tuple[pa.Table, pa.Table]:
    """Left and right table; a twentieth of the values is null."""
    rng = np.random.default_rng(1)
    names = np.array([f"station-{n % 5}" for n in range(keys)])
    levels = np.array([50.0 * (n // 5) for n in range(keys)])

    def key(rows: int) -> dict[str, Any]:
        drawn = rng.integers(0, keys, rows)
        return {"station": pa.array(names[drawn]), "level": pa.array(levels[drawn])}

    event = START_US + rng.integers(0, DAY_US, rights)
    received = event + rng.integers(0, LATEST_US, rights)
    arrival = np.argsort(received)
    right = {
        **key(rights),
        "event_time": pa.array(event[arrival]).cast(TIME),
        "received_time": pa.array(received[arrival]).cast(TIME),
    }
    for number in range(columns):
        right[f"value_{number}"] = pa.array(rng.normal(size=rights), mask=rng.random(rights) < 0.05)
    as_of = np.sort(START_US + rng.integers(0, DAY_US, lefts))
    return pa.table({**key(lefts), "event_time": pa.array(as_of).cast(TIME)}), pa.table(right)


def polars_way(left: pa.Table, right: pa.Table) -> pa.Table:
    """Sort both sides, join on event time, back into the order of the left rows."""
    one = pl.DataFrame(left).with_row_index("row").sort("event_time")
    other = pl.DataFrame(right).drop("received_time").sort("event_time")
    joined = one.join_asof(other, on="event_time", by=BY, check_sortedness=False)
    return joined.sort("row").drop("row").to_arrow()


def duckdb_way(left: pa.Table, right: pa.Table) -> pa.Table:
    """ASOF JOIN on event time, back into the order of the left rows."""
    columns = ", ".join(f"r.{name}" for name in right.column_names if name.startswith("value_"))
    with duckdb.connect() as connection:
        connection.register("r", right)
        connection.register("l", left.append_column("row", pa.array(np.arange(left.num_rows))))
        return connection.sql(
            f"SELECT l.station, l.level, l.event_time, {columns} FROM l ASOF LEFT JOIN r"
            " ON l.station = r.station AND l.level = r.level AND l.event_time >= r.event_time ORDER BY l.row"
        ).to_arrow_table()


def duckdb_pairs(left: pa.Table, right: pa.Table) -> pa.Table:
    """Every pair of a key that was known, then the newest of each left row."""
    columns = ", ".join(
        f"arg_max(r.{name}, (r.event_time, r.received_time)) AS {name}"
        for name in right.column_names
        if name.startswith("value_")
    )
    with duckdb.connect() as connection:
        connection.register("r", right)
        connection.register("l", left.append_column("row", pa.array(np.arange(left.num_rows))))
        return connection.sql(
            f"SELECT l.row, {columns} FROM l LEFT JOIN r ON l.station = r.station AND l.level = r.level"
            " AND l.event_time >= r.event_time AND l.event_time >= r.received_time"
            " GROUP BY l.row ORDER BY l.row"
        ).to_arrow_table()


def main() -> None:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--right", type=int, default=1_000_000)
    parser.add_argument("--left", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    left, right = make(options.right, options.left, options.keys, options.columns)
    values = [f"value_{number}" for number in range(options.columns)]
    full = [AsOfColumn(name, ignore_nulls=True) for name in values]
    few = left.slice(0, max(1, left.num_rows // 1000))

    truth = asof_join(left, right, by=BY, columns=values)
    assert audit_lookahead(truth, right, by=BY, columns=values).num_rows == 0
    naive = audit_lookahead(polars_way(left, right), right, by=BY, columns=values[:1])
    unhidden = asof_join(left, right, by=BY, columns=values, hide_unreceived=False)
    # The zone of a timestamp is named "Etc/UTC" by DuckDB, so only the values are compared.
    assert unhidden.select(values).equals(duckdb_way(left, right).select(values)), (
        "same question, same answer"
    )

    ways: dict[str, Callable[[], object]] = {
        "asof_join": lambda: asof_join(left, right, by=BY, columns=values),
        "asof_join + times": lambda: asof_join(left, right, by=BY, columns=values, source_times=True),
        "asof_join nulls": lambda: asof_join(left, right, by=BY, columns=full),
        "audit": lambda: audit_lookahead(truth, right, by=BY, columns=values),
        "polars": lambda: polars_way(left, right),
        "duckdb": lambda: duckdb_way(left, right),
        "duckdb pairs": lambda: duckdb_pairs(few, right),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.runs):
        for name, way in ways.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            way()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - began_cpu)

    quickest = min(("polars", "duckdb"), key=lambda name: statistics.median(wall[name]))
    print(
        f"{right.num_rows:,} right rows, {left.num_rows:,} left rows, {options.keys} keys,"
        f" {options.columns} columns, median of {options.runs} runs"
    )
    print(f"{'':18} {'wall ms':>8} {'cpu ms':>8} {'wall / ' + quickest:>14}")
    for name in ways:
        seconds, work = statistics.median(wall[name]), statistics.median(cpu[name])
        times = seconds / statistics.median(wall[quickest])
        print(f"{name:18} {seconds * 1e3:8.0f} {work * 1e3:8.0f} {times:14.2f}")
    share = naive.num_rows / left.num_rows
    print(f"a join on event time alone gives {share:.2%} of the rows a value that was not yet received")
    print(f"'duckdb pairs' answered {few.num_rows:,} left rows, the others {left.num_rows:,}")


if __name__ == "__main__":
    main()
