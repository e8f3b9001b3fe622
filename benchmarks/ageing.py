"""What a year does to a lake: the same measures on a week-old lake and on an old one, side by side.

    python -m benchmarks.ageing                       # 250 sessions x 375 minutes x 2 exchanges
    python -m benchmarks.ageing --sessions 20 --minutes 50     # 2,000 commits

Both lakes are built minute by minute (one commit a minute and exchange) and maintained after each
session, as a writer does. Building does not sync and writes the commit files by hand, in the form
deltalake has them; everything that is measured goes through the real code.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.option_days import SESSION_MINUTES, SYMBOLS, chain_rows, sessions
from catalog.contracts import OPTION_CHAIN
from lake.append import append
from lake.commit_log import METADATA_KEY, commit_file
from lake.data_file import file_record, write_data_file
from lake.maintenance import maintain
from lake.session import Session
from lake.snapshot import read_snapshot
from lake.table import Lake, open_table

WEEK = 5
FULL_DAY = timedelta(days=1)
"""How long after the last session the one of real size is."""
SPEC = OPTION_CHAIN.spec
Measure = Callable[[Lake, Path, date], object]


def opening(day: date) -> datetime:
    """09:15 in India."""
    return datetime(day.year, day.month, day.day, 3, 45, tzinfo=UTC)


def build(root: Path, days: list[date], minutes: int) -> float:
    """A lake of these sessions, maintained after each; seconds that maintenance took in all."""
    lake = Lake.at(root)
    path = lake.create(SPEC)
    maintaining = 0.0
    version = 0
    began = time.perf_counter()
    for number, day in enumerate(days):
        whole = {exchange: rows_of(day, exchange, minutes) for exchange in SYMBOLS}
        for minute in range(minutes):
            at = opening(day) + timedelta(minutes=minute + 1)
            for exchange, batches in whole.items():
                version += 1
                commit_by_hand(
                    path, version, batches[minute], day, exchange, f"{exchange}-{day}-{minute}", at
                )
        started = time.perf_counter()
        for done in maintain(lake, {SPEC.name: SPEC}, lambda _: True, now=opening(day) + timedelta(hours=8)):
            assert not done.problems, done.problems
        version = set_back(path, version, opening(day) + timedelta(hours=8))
        maintaining += time.perf_counter() - started
        if sys.stderr.isatty() or number % 25 == 24:
            told = f"session {number + 1} of {len(days)}, {time.perf_counter() - began:.0f} s"
            print(told, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr)
    return maintaining


def add_full_day(root: Path, day: date) -> None:
    """One session as large as real ones are, about a million rows."""
    lake = Lake.at(root)
    path = lake.path(SPEC.name)
    if any(str(day) in file.parts[-3] for file in read_snapshot(path).files):
        return
    for sequence, minute in enumerate(range(0, SESSION_MINUTES, 25)):
        batch_id = f"full-{minute}"
        rows = chain_rows(
            day,
            "NSE",
            range(minute, minute + 25),
            chains_a_minute=4,
            expiries=2,
            strikes=60,
            batch_id=batch_id,
        )
        append(path, SPEC, rows, stream="bench/3", sequence=sequence + 1, metadata={"batch_id": batch_id},
               synced_through=open_table(path).version())  # fmt: skip


def set_back(path: Path, after: int, to: datetime) -> int:
    """Date the commits that deltalake has just made at the simulated moment; the newest version."""
    newest = open_table(path).version()
    for version in range(after + 1, newest + 1):
        file = commit_file(path, version)
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        for action in lines:
            if "commitInfo" in action:
                action["commitInfo"]["timestamp"] = int(to.timestamp() * 1000)
                action["commitInfo"].get(METADATA_KEY, {}).pop("not_before_ms", None)
        file.write_text("\n".join(json.dumps(action) for action in lines), encoding="utf-8")
    return newest


def rows_of(day: date, exchange: str, minutes: int) -> list[pa.Table]:
    """One small table a minute."""
    rows = chain_rows(day, exchange, range(minutes), chains_a_minute=1, expiries=2, strikes=10)
    each = rows.num_rows // minutes
    return [rows.slice(i * each, each) for i in range(minutes)]


def commit_by_hand(
    path: Path, version: int, rows: pa.Table, day: date, exchange: str, batch_id: str, at: datetime
) -> None:
    """What `append` leaves in the log, without syncing and without deltalake."""
    rows = rows.set_column(
        rows.schema.get_field_index("batch_id"), "batch_id", pa.array([batch_id] * len(rows))
    )
    partition = {"date": str(day), "exchange": exchange}
    file = write_data_file(path, SPEC, partition, rows.drop_columns(["date", "exchange"]))
    now_ms = int(at.timestamp() * 1000)
    record = {"batch_id": batch_id, "app_id": "bench", "seq_first": version, "seq_last": version,
              "files": {file.path: file_record(rows, file.sha256)}}  # fmt: skip
    actions: list[dict[str, Any]] = [
        {"commitInfo": {"timestamp": now_ms, "operation": "WRITE", METADATA_KEY: record}},
        {"add": {"path": file.path, "partitionValues": partition, "size": file.size_bytes,
                 "modificationTime": now_ms, "dataChange": True, "stats": json.dumps(file.statistics)}},
        {"txn": {"appId": "bench/1", "version": version}},
    ]  # fmt: skip
    commit_file(path, version).write_text("\n".join(json.dumps(a) for a in actions), encoding="utf-8")


def appender(minutes: int) -> Measure:
    """Append one micro-batch of the next session."""
    number = iter(range(10**6))
    batches: dict[Path, Iterator[pa.Table]] = {}

    def run(lake: Lake, path: Path, last: date) -> None:
        del lake
        day = last + timedelta(days=3)
        if path not in batches:
            batches[path] = iter(rows_of(day, "NSE", max(minutes, 400)))
        sequence = next(number)
        handle = open_table(path)
        append(path, SPEC, next(batches[path]), stream="bench/2", sequence=sequence + 1,
               metadata={"batch_id": f"measured-{sequence}"}, handle=handle,
               synced_through=handle.version() - 1)  # fmt: skip

    return run


def asked(sql: str, *, keep_open: bool = False) -> Measure:
    """Run a query: in a session opened for it, as the command line does, or in one that stays open."""
    sessions_of: dict[Path, Session] = {}

    def run(lake: Lake, path: Path, last: date) -> object:
        session = sessions_of.get(path) or Session(lake)
        values = {"$day": f"DATE '{last}'", "$full": f"DATE '{last + FULL_DAY}'"}
        text = sql
        for name, value in values.items():
            text = text.replace(name, value)
        rows = session.table(text)
        if keep_open:
            sessions_of[path] = session
        else:
            session.close()
        return rows

    return run


def measures(minutes: int) -> dict[str, Measure]:
    """What is measured, by name."""
    one_day = "SELECT symbol, sum(oi), avg(ltp), avg(iv) FROM option_chain WHERE date = {} GROUP BY 1"
    queries = {
        "latest chain": "SELECT * FROM latest_chain",
        "one day": one_day.format("$day"),
        "one day, whole rows": "SELECT * FROM option_chain WHERE date = $day",
        "one day of real size": one_day.format("$full"),
        "one day of a view": "SELECT * FROM max_pain WHERE date = $day",
    }
    return {
        "append": appender(minutes),
        "table open": lambda _lake, path, _last: open_table(path),
        "session open": asked("SELECT 1"),
        **{name: asked(sql) for name, sql in queries.items()},
        **{f"{name}, in an open session": asked(sql, keep_open=True) for name, sql in queries.items()},
    }


def compare(lakes: dict[str, Path], last: date, minutes: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of each measure, the lakes taking turns."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, measure in measures(minutes).items():
        times: dict[str, list[float]] = {age: [] for age in lakes}
        for turn in range(rounds + 2):
            for age, root in lakes.items():
                lake = Lake.at(root)
                began = time.perf_counter()
                measure(lake, lake.path(SPEC.name), last)
                if turn >= 2:
                    times[age].append(time.perf_counter() - began)
        found[name] = times
    return {name: {age: statistics.median(t) for age, t in times.items()} for name, times in found.items()}


def day_of_appends(root: Path, last: date, commits: int) -> tuple[float, float, float]:
    """A writer's day: median seconds of its last 50 appends, MB it grew after its first 50, MB at its end."""
    lake = Lake.at(root)
    run = appender(commits)
    after_50 = 0.0
    times = []
    for number in range(commits):
        began = time.perf_counter()
        run(lake, lake.path(SPEC.name), last)
        times.append(time.perf_counter() - began)
        if number == 50:
            after_50 = resident_mb()
    return statistics.median(times[-50:]), resident_mb() - after_50, resident_mb()


def resident_mb() -> float:
    """Memory of this process now; where the system does not tell it, not a number."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return math.nan
    return int(statm.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=250, help="sessions of the old lake")
    parser.add_argument("--minutes", type=int, default=375, help="commits a session and exchange")
    parser.add_argument("--rounds", type=int, default=15, help="times each measure is taken")
    parser.add_argument("--keep", type=Path, help="folder to keep the lakes in, or to find them in")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="strikelake-ageing-"))
    days = sessions(given.sessions)
    lakes = {"week": (folder / "week", days[-WEEK:]), "old": (folder / "old", days)}
    fsync, os.fsync = os.fsync, lambda _: None
    try:
        for age, (root, of) in lakes.items():
            if not root.exists():
                began = time.perf_counter()
                maintaining = build(root, of, given.minutes)
                took = time.perf_counter() - began
                commits = len(of) * given.minutes * len(SYMBOLS)
                print(
                    f"{age}: {commits:,} commits built in {took:.0f} s, {maintaining:.0f} s of it maintenance"
                )
    finally:
        os.fsync = fsync
    roots = {age: root for age, (root, _) in lakes.items()}
    for age, root in roots.items():
        add_full_day(root, days[-1] + FULL_DAY)
        # Also for what an earlier run left in kept lakes.
        maintain(Lake.at(root), {SPEC.name: SPEC}, lambda _: True, now=opening(days[-1]) + timedelta(hours=9))
        path = Lake.at(root).path(SPEC.name)
        log = len(list((path / "_delta_log").iterdir()))
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1e6
        print(f"{age}: version {open_table(path).version():,}, {len(open_table(path).file_uris()):,} files, "
              f"{log:,} files in the log, {size:.0f} MB")  # fmt: skip
    print(f"\n{'ms':40}{'week':>10}{'old':>10}{'old / week':>12}")
    for name, ages in compare(roots, days[-1], given.minutes, given.rounds).items():
        ratio = ages["old"] / ages["week"]
        print(f"{name:40}{ages['week'] * 1e3:10.1f}{ages['old'] * 1e3:10.1f}{ratio:11.2f}x")
    commits = max(given.minutes, 200)
    ends = {age: day_of_appends(root, days[-1] + timedelta(days=7), commits) for age, root in roots.items()}
    week, old = (ends[age][0] for age in roots)
    print(f"{'append, end of the day':40}{week * 1e3:10.1f}{old * 1e3:10.1f}{old / week:11.2f}x")
    _, grown, size = ends["old"]
    print(
        f"\na writer's memory from its 50th to its {commits}th commit: {grown:+.1f} MB, {size:.0f} MB in all"
    )
    if given.keep is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
