"""What a health check costs, and how often rules against the own history are wrong by chance.

    python benchmarks/health.py                   # a full check of two exchanges, over a lake of one session
    python benchmarks/health.py --interval 5      # the same with a chain every five seconds
    python benchmarks/health.py --false-alarms    # the table of false alarms

The check is `strikelake monitors check` as a scheduler calls it, a process of its own: Python starts, opens
lake and catalog, measures and keeps every metric, judges every rule, and tells. Its budget is 2 s of wall
time, not counting drift.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from monitors.history import robust_spread

BUDGET_S = 2.0
INDIA = timezone(timedelta(hours=5, minutes=30))
NOON = datetime(2026, 10, 26, 12, 0, 20, tzinfo=INDIA)


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between chains")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--lake", type=Path, help="use this lake of 2026-10-26 instead of making one")
    parser.add_argument("--false-alarms", action="store_true")
    given = parser.parse_args()
    if given.false_alarms:
        false_alarms()
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "lake"
        if given.lake:
            shutil.copytree(given.lake, root)
        else:
            program = str(Path(sys.executable).parent / "strikelake")
            day = ["--date", "2026-10-26", "--interval", str(given.interval)]
            run([program, "--root", str(root), "demo", *day], Path(folder))
        check_cost(root, given.runs)


AT_NOON = """
import sys
from datetime import datetime
from pathlib import Path
from lake.settings import load_settings
from monitors.rules import load_rules
from monitors.service import Service
service = Service.of(load_settings(root=Path(sys.argv[1])), load_rules())
service.clock = lambda: datetime.fromisoformat(sys.argv[2])
done = service.check()
print("\\n".join(done.lines()))
sys.exit(done.exit_code)
"""
"""The command knows no other time than now for a check that is kept: the same work, with another clock."""


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder."""
    return subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTHONUTF8": "1"}
    )


def check_cost(root: Path, runs: int) -> None:
    """Wall and processor time of a check, by the way it is called."""
    program = str(Path(sys.executable).parent / "strikelake")
    start = [program, "--root", str(root)]
    kinds = {
        "python and nothing else": [program, "--version"],
        "a look at noon, by the command": [*start, "monitors", "check", "--now", NOON.isoformat()],
        "a check now, by the command": [*start, "monitors", "check"],
        "a check at noon, kept and told": [sys.executable, "-c", AT_NOON, str(root), NOON.isoformat()],
    }
    print(f"{'':<32} {'wall s, best':>12} {'median':>8} {'cpu s, best':>12} {'exit':>5}")
    for name, words in kinds.items():
        walls, cpus, codes = [], [], set()
        for _ in range(runs):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            codes.add(run(words, root.parent).returncode)
            walls.append(time.perf_counter() - started)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        median = sorted(walls)[len(walls) // 2]
        print(f"{name:<32} {min(walls):>12.2f} {median:>8.2f} {min(cpus):>12.2f} {sorted(codes)!s:>5}")
    print(f"budget: {BUDGET_S} s of wall time for a check")


def false_alarms(trials: int = 20_000, threshold: float = 6.0) -> None:
    """Share of sessions that are beyond the rules' six deviations though nothing changed.

    Sessions are drawn independently around one median; a session's level is told at one time of day.
    """
    draws = np.random.default_rng(17)
    print("share of clean sessions beyond six robust deviations, one rule and side")
    print(f"{'day-to-day spread':<20}" + "".join(f"{f'{n} sessions':>14}" for n in (5, 10, 20)))
    shapes = {
        "normal, 5 %": lambda size: draws.normal(1, 0.05, size),
        "normal, 20 %": lambda size: draws.normal(1, 0.2, size),
        "t of 3 degrees, 10 %": lambda size: 1 + 0.1 * draws.standard_t(3, size),
    }
    for name, draw in shapes.items():
        shares = []
        for sessions in (5, 10, 20):
            found = 0
            for *before, today in draw((trials, sessions + 1)).tolist():
                middle, spread = robust_spread(before)
                found += (today - middle) / max(spread, 0.1 * abs(middle)) > threshold
            shares.append(found / trials)
        print(f"{name:<20}" + "".join(f"{share:>14.4%}" for share in shares))


if __name__ == "__main__":
    main()
