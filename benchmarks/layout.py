"""How compacted rows are best sorted: every view, and the usual questions, over each order.

    python benchmarks/layout.py [--days 3] [--chains-a-minute 4]

Prints seconds for the order `arrival` (as micro-batches came in, one file each minute), and for each
compacted order the ratio to `time`; then what the file needs on disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.option_days import SESSION_MINUTES, chain_rows, sessions
from catalog.contracts import OPTION_CHAIN
from lake.append import append
from lake.maintenance import maintain
from lake.session import Session
from lake.table import Lake

ORDERS = {
    "arrival": None,
    "time": OPTION_CHAIN.sort_by,
    "symbol-time": ("symbol", "event_time", "expiry", "strike", "option_type"),
    "contract": ("symbol", "expiry", "strike", "option_type", "event_time"),
}


def queries(day: str) -> dict[str, str]:
    """What is asked, each over one session."""
    where = f"date = DATE '{day}'"
    contract = (
        f"{where} AND symbol = 'NIFTY' AND expiry = (SELECT min(expiry) FROM option_chain WHERE {where})"
    )
    views = (
        "latest_chain",
        "pcr_5m",
        "oi_change",
        "max_pain",
        "atm_iv_skew",
        "underlying_ohlc_5m",
        "batch_quality",
    )
    asked = {view: f"SELECT count(*), count(COLUMNS(*)) FROM {view} WHERE {where}" for view in views}
    return asked | {
        "symbol-day": f"SELECT sum(oi), sum(ltp), sum(iv) FROM option_chain WHERE {where} "
        "AND symbol = 'NIFTY'",
        "contract-day": f"SELECT event_time, oi, ltp FROM option_chain WHERE {contract} AND strike = 20500 "
        "AND option_type = 'CE'",
        "five minutes": f"SELECT sum(oi), sum(ltp) FROM option_chain WHERE {where} AND event_time BETWEEN "
        f"TIMESTAMPTZ '{day} 12:00:00+05:30' AND TIMESTAMPTZ '{day} 12:05:00+05:30'",
        "whole day": f"SELECT * FROM option_chain WHERE {where}",
        "replay order": f"SELECT * FROM option_chain WHERE {where} ORDER BY ALL",
    }


def measure(
    root: Path, order: tuple[str, ...] | None, days: int, chains: int
) -> tuple[dict[str, float], int]:
    """Seconds by question, and bytes of the table."""
    lake = Lake.at(root)
    spec = dataclasses.replace(OPTION_CHAIN.spec, sort_by=order or ())
    path = lake.create(spec)
    all_days = sessions(days)
    for sequence, (day, minute) in enumerate((d, m) for d in all_days for m in range(SESSION_MINUTES)):
        rows = chain_rows(
            day, "NSE", range(minute, minute + 1), chains_a_minute=chains, expiries=2, strikes=60
        )
        append(path, spec, rows, stream="bench/1", sequence=sequence + 1,
               metadata={"batch_id": rows.column("batch_id")[0].as_py()}, synced_through=10**9)  # fmt: skip
    if order is not None:
        for done in maintain(lake, {spec.name: spec}, lambda _: True):
            assert not done.problems, done.problems
    with Session(lake) as session:
        size = sum(file.stat().st_size for file in session.snapshots["option_chain"].files)
        seconds = {}
        for name, sql in queries(str(all_days[-1])).items():
            runs = []
            for _ in range(5):
                began = time.perf_counter()
                session.table(sql)
                runs.append(time.perf_counter() - began)
            seconds[name] = statistics.median(runs)
    return seconds, size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--chains-a-minute", type=int, default=4)
    given = parser.parse_args()
    found = {}
    for name, order in ORDERS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(Path(folder) / "lake", order, given.days, given.chains_a_minute)
    base = found["time"]
    print(f"{'':20}" + f"{'time, s':>10}" + "".join(f"{name:>13}" for name in ORDERS if name != "time"))
    for question in base[0]:
        ratios = [found[name][0][question] / base[0][question] for name in ORDERS if name != "time"]
        print(f"{question:20}{base[0][question]:10.4f}" + "".join(f"{r:12.2f}x" for r in ratios))
    ratios = [found[name][1] / base[1] for name in ORDERS if name != "time"]
    print(f"{'MB on disk':20}{base[1] / 1e6:10.1f}" + "".join(f"{r:12.2f}x" for r in ratios))


if __name__ == "__main__":
    main()
