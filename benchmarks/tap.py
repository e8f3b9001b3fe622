"""What capturing costs the live app, and what a committed row costs, beside the obvious alternatives.

    python benchmarks/tap.py [--seconds 20] [--hz 50] [--flush 5]

A thread plays the app: at a fixed rate it makes a chain of 200 legs and 40 features and hands it over;
in between it sleeps a millisecond at a time and notes how much later than asked it wakes. Each way of
capturing runs in a process of its own, over the same updates:

    deque       deque.append and nothing else: the floor
    strikelake  StreamTap.offer, with its spool, commits, fsync and mirror
    pylist      deque.append; a thread flushes pa.Table.from_pylist + write_deltalake
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

LEGS = 200
FEATURES = 40
WAYS = ("deque", "strikelake", "pylist")

Offer = Callable[..., object]


Legs = list[dict[str, Any]]


def make_update(rng: np.random.Generator) -> tuple[Legs, Legs, dict[str, float]]:
    """Two sides of 100 legs and 40 features, as a tracker holds them."""
    price = np.round(rng.uniform(1, 900, (LEGS, 3)) / 0.05) * 0.05
    units = rng.integers(1, 40_000, (LEGS, 5)) * 75
    iv = np.round(rng.uniform(0.08, 0.4, LEGS), 4)
    expiry = date(2026, 6, 16)
    legs = [
        {
            "strike": 22_000.0 + 50 * (i % 100), "expiry": expiry,
            "ltp": float(price[i, 0]), "bid": float(price[i, 1]), "ask": float(price[i, 2]),
            "bid_qty": int(units[i, 0]), "ask_qty": int(units[i, 1]), "oi": int(units[i, 2]),
            "oi_change": int(units[i, 3]), "volume": int(units[i, 4]), "iv": float(iv[i]),
        }
        for i in range(LEGS)
    ]  # fmt: skip
    features = {f"feature_{i}": float(v) for i, v in enumerate(rng.normal(size=FEATURES))}
    return legs[: LEGS // 2], legs[LEGS // 2 :], features


def play(offer: Offer, seconds: float, hz: float, *, bare: bool = False) -> dict[str, Any]:
    """Play the app and measure; returns microseconds of `offer` and milliseconds of lag."""
    rng = np.random.default_rng(1)
    pool = [make_update(rng) for _ in range(64)]
    offers: list[int] = []
    lags: list[int] = []
    busy = 0.0
    began = time.perf_counter()
    due = began
    number = 0
    while due < began + seconds:
        while (now := time.perf_counter()) < due:
            asked = min(0.001, due - now)
            before = time.perf_counter_ns()
            time.sleep(asked)
            lags.append(time.perf_counter_ns() - before - int(asked * 1e9))
        cpu = time.thread_time()
        calls, puts, features = pool[number % len(pool)]
        # New outer objects each time, as an app makes them.
        calls, puts, features = list(calls), list(puts), dict(features)
        context = {"underlying_price": 24_500.0, "vix": 13.2}
        if bare:
            update = (calls, puts, context, features)
            before = time.perf_counter_ns()
            offer(update)
            offers.append(time.perf_counter_ns() - before)
        else:
            before = time.perf_counter_ns()
            offer("NSE", calls, puts, symbol="NIFTY", context=context, features=features)
            offers.append(time.perf_counter_ns() - before)
        busy += time.thread_time() - cpu
        number += 1
        due = began + number / hz
    return {
        "updates": number,
        "offer_p50_us": float(np.percentile(offers, 50)) / 1e3,
        "offer_p99_us": float(np.percentile(offers, 99)) / 1e3,
        "lag_p50_ms": float(np.percentile(lags, 50)) / 1e6,
        "lag_p99_ms": float(np.percentile(lags, 99)) / 1e6,
        "lag_max_ms": float(np.max(lags)) / 1e6,
    }


def run_deque(seconds: float, hz: float, _flush: float, _root: Path) -> dict[str, Any]:
    """The floor: a bare deque."""
    queue: deque[object] = deque(maxlen=100_000)
    result = play(queue.append, seconds, hz, bare=True)
    return {**result, "cpu_us_a_row": None}


def run_strikelake(seconds: float, hz: float, flush: float, root: Path) -> dict[str, Any]:
    """The tap, with everything behind it."""
    from ingest.tap import StreamTap
    from lake.settings import Settings

    settings = Settings(root=root, raw_stream_flush_seconds=flush)
    tap = StreamTap(settings)

    # Imports, table creation and the first commit are paid at start-up, before the market opens.
    tap.offer("NSE", *make_update(np.random.default_rng(0))[:2], symbol="NIFTY", features={"feature_0": 0.0})
    tap.flush()
    cpu, own = time.process_time(), time.thread_time()
    result = play(tap.offer, seconds, hz)
    assert tap.close(), "not everything was committed"
    writer = time.process_time() - cpu - (time.thread_time() - own)
    rows = result["updates"] * (LEGS + 1)
    return {**result, "cpu_us_a_row": writer / rows * 1e6, "committed": committed(root, rows + LEGS + 1)}


def committed(root: Path, rows: int) -> int:
    """Rows in the lake, which must be all that were offered."""
    from lake.session import Session
    from lake.table import Lake

    with Session(Lake.at(root)) as session:
        found = session.table(
            "SELECT (SELECT count(*) FROM option_chain) + (SELECT count(*) FROM ml_features) AS n"
        )
    count = int(found.column("n")[0].as_py())
    assert count == rows, f"{count} rows committed, {rows} offered"
    return count


def run_pylist(seconds: float, hz: float, flush: float, root: Path) -> dict[str, Any]:
    """The obvious writer: one conversion and one write_deltalake a flush; no spool, fsync or catalog."""
    import pyarrow as pa
    from deltalake import write_deltalake

    queue: deque[Any] = deque()
    done = threading.Event()

    def write() -> None:
        chains, features = [], []
        while queue:
            exchange, symbol, calls, puts, context, values, now = queue.popleft()
            head = {"date": now.date(), "exchange": exchange, "event_time": now, "symbol": symbol}
            chains += [{**head, **context, "option_type": "CE", **leg} for leg in calls]
            chains += [{**head, **context, "option_type": "PE", **leg} for leg in puts]
            features.append({**head, **values})
        for name, rows in (("option_chain", chains), ("ml_features", features)):
            if rows:
                table = pa.Table.from_pylist(rows)
                write_deltalake(str(root / name), table, mode="append", partition_by=["date", "exchange"])

    def loop() -> None:
        while not done.wait(flush):
            write()
        write()

    def offer(exchange: str, calls: Any, puts: Any, *, symbol: str, context: Any, features: Any) -> None:
        queue.append((exchange, symbol, calls, puts, context, features, datetime.now(UTC)))

    root.mkdir(parents=True, exist_ok=True)
    calls, puts, features = make_update(np.random.default_rng(0))
    context = {"underlying_price": 1.0, "vix": 1.0}
    offer("NSE", calls, puts, symbol="NIFTY", context=context, features=features)
    write()
    thread = threading.Thread(target=loop)
    thread.start()
    cpu, own = time.process_time(), time.thread_time()
    result = play(offer, seconds, hz)
    done.set()
    thread.join()
    writer = time.process_time() - cpu - (time.thread_time() - own)
    return {**result, "cpu_us_a_row": writer / (result["updates"] * (LEGS + 1)) * 1e6}


def main() -> None:
    """Run every way in a process of its own, and print figures and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hz", type=float, default=50.0)
    parser.add_argument("--flush", type=float, default=5.0, help="seconds between micro-batches")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        run = {"deque": run_deque, "strikelake": run_strikelake, "pylist": run_pylist}[given.way]
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(given.seconds, given.hz, given.flush, Path(folder) / "lake")))
        return
    results = {}
    for way in WAYS:
        print(f"running {way} for {given.seconds:g} s ...", file=sys.stderr, flush=True)
        arguments = ["--way", way, "--seconds", str(given.seconds), "--hz", str(given.hz),
                     "--flush", str(given.flush)]  # fmt: skip
        done = subprocess.run(
            [sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
        results[way] = json.loads(done.stdout)
    report(results, given)


def report(results: dict[str, dict[str, Any]], given: argparse.Namespace) -> None:
    """Print the comparison."""
    print(f"{LEGS} legs + {FEATURES} features at {given.hz:g} Hz, micro-batch every {given.flush:g} s")
    keys = ("offer_p50_us", "offer_p99_us", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "cpu_us_a_row")
    print(f"{'':14}" + "".join(f"{way:>12}" for way in WAYS) + f"{'to deque':>12}{'to pylist':>12}")
    for key in keys:
        values = [results[way][key] for way in WAYS]
        shown = "".join(f"{'-' if v is None else format(v, '.2f'):>12}" for v in values)
        floor, ours, plain = values
        ratios = "".join(
            f"{'-' if other is None else format(ours / other, '.2f') + 'x':>12}" for other in (floor, plain)
        )
        print(f"{key:14}{shown}{ratios}")
    extra = results["strikelake"]["lag_p99_ms"] - results["deque"]["lag_p99_ms"]
    print(f"extra lag of the app's thread, p99: {extra:.2f} ms")


if __name__ == "__main__":
    main()
