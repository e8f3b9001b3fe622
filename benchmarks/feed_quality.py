"""What judging a feed costs: flags per chain beside its conversion, stretches without a pause, is_fresh.

    python benchmarks/feed_quality.py [--chains 1200]

Chains of 200 legs of the simulator (one symbol, one expiry, all columns but features), converted one at a
time, as drained at 50 Hz (12 together), and as loaded (64 together); each way with and without flags. Times
are of the CPU, the median of five rounds. "stretch" is the time between two pauses, in which the app waits.
"""

from __future__ import annotations

import argparse
import sys
import time
import timeit
from collections.abc import Callable
from datetime import date
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from catalog.reference import ReferenceData
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.feed_quality import FeedQuality
from ingest.freshness import Freshness
from ingest.simulator import simulate_session

TOGETHER = (1, 12, 64)
ROUNDS = 5


def updates_of(reference: ReferenceData, chains: int) -> list[ChainUpdate]:
    """Chains of about 200 legs."""
    stream = simulate_session(
        date(2026, 6, 11), reference, seed=3, symbols=["NIFTY"], interval_s=15, strikes=50, expiries=1
    )
    updates = list(islice(stream, chains))
    for update in updates:
        update.features = None
    return updates


def microseconds(
    updates: list[ChainUpdate],
    reference: ReferenceData,
    together: int,
    make: Callable[[], FeedQuality | None],
) -> float:
    """CPU time of one chain."""
    rounds = []
    for _ in range(ROUNDS):
        quality = make()
        began = time.process_time()
        for start in range(0, len(updates), together):
            convert(updates[start : start + together], reference, quality=quality)
        rounds.append((time.process_time() - began) / len(updates) * 1e6)
    return median(rounds)


def stretches(
    updates: list[ChainUpdate], reference: ReferenceData, together: int, quality: FeedQuality | None
) -> list[float]:
    """Milliseconds between two pauses."""
    marks: list[float] = []
    lengths: list[float] = []

    def pause() -> None:
        marks.append(time.perf_counter())

    for start in range(0, len(updates), together):
        marks.clear()
        pause()
        convert(updates[start : start + together], reference, pause=pause, quality=quality)
        pause()
        lengths += [(b - a) * 1e3 for a, b in pairwise(marks)]
    return lengths


def fresh_ns(rounds: int = 200_000) -> float:
    """Nanoseconds of one question, asked of a feed that lives."""
    freshness = Freshness()
    freshness.connection("NSE", "live", up=True)
    freshness.chain_lives("NSE", "NIFTY", "live", time.monotonic())
    assert freshness.is_fresh("NSE", 60.0)
    times = timeit.repeat(lambda: freshness.is_fresh("NSE", 60.0), number=rounds, repeat=5)
    return min(times) / rounds * 1e9


def tap_fresh_ns(rounds: int = 200_000) -> float:
    """The same through a running tap."""
    import tempfile

    from ingest.tap import StreamTap
    from lake.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        tap = StreamTap(Settings(root=Path(folder)))
        tap.freshness.chain_lives("NSE", "NIFTY", "live", time.monotonic())
        assert tap.is_fresh("NSE")
        times = timeit.repeat(lambda: tap.is_fresh("NSE"), number=rounds, repeat=5)
        tap.close()
    return min(times) / rounds * 1e9


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="What judging a feed costs.")
    parser.add_argument("--chains", type=int, default=1200)
    chains: int = parser.parse_args().chains
    reference = ReferenceData.load()
    updates = updates_of(reference, chains)

    def make() -> FeedQuality:
        return FeedQuality(reference.calendar, live=True)

    legs = len(updates[0].calls) + len(updates[0].puts)
    print(f"{len(updates):,} chains of {legs} legs, CPU microseconds a chain")
    print(f"{'together':>8} {'convert':>8} {'flags':>7} {'ratio':>6} {'stretch p99':>12} {'without':>8}  ms")
    for together in TOGETHER:
        plain = microseconds(updates, reference, together, lambda: None)
        judged = microseconds(updates, reference, together, make)
        own = np.percentile(stretches(updates, reference, together, make()), 99)
        bare = np.percentile(stretches(updates, reference, together, None), 99)
        print(
            f"{together:>8} {plain:>8.0f} {judged - plain:>7.0f} {(judged - plain) / plain:>6.2f}"
            f" {own:>12.2f} {bare:>8.2f}"
        )
    print(f"is_fresh: {fresh_ns():.0f} ns; through a running tap: {tap_fresh_ns():.0f} ns")


if __name__ == "__main__":
    main()
