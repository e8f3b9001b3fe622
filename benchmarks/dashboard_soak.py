"""What a page that is left open costs: memory of the server and of the browser, and whether it keeps up.

    python -m benchmarks.dashboard_soak                  # an hour
    python -m benchmarks.dashboard_soak --minutes 10 --interval 0.2

Everything is what a user runs: a live session (simulated prices, real time, a session of today written
into the lake's own calendar), `strikelake ingest run`, `monitors run` and `dashboard` in processes of
their own, and Chromium with every section open in a page of its own. Each minute it prints, as CSV:
resident memory of the server, of the app and of the checks in MB; JavaScript heap after garbage
collection, DOM nodes and listeners of all pages; pages that say they are live; how long the slowest
section took to read (s); the server's share of one processor (%). At the end: what grew between the
second tenth and the last one.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil

from catalog.reference import ReferenceData
from ingest.simulator import MARKETS
from monitors.dashboard.sections import SECTIONS

STRIKELAKE = [sys.executable, "-u", "-c", "from lake.cli import main; main()"]
KNOWN_LOTS = date(2026, 10, 26)
"""A day whose lots are in the shipped table: today's lake is given the same."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the output; memory in MB, ages in seconds."""

    minute: float
    server_mb: float
    app_mb: float
    checks_mb: float
    heap_mb: float
    nodes: int
    listeners: int
    live_pages: int
    slowest_s: float
    server_cpu_pct: float


def today_open(root: Path, minutes: int) -> None:
    """Write a session that runs from now on, and lots for it, into the lake's own tables."""
    root.mkdir(parents=True)
    now = datetime.now(ZoneInfo("Asia/Kolkata"))
    until = now + timedelta(minutes=minutes + 15)
    if until.date() != now.date():
        raise SystemExit(
            "the session would end after midnight in India: start earlier, or give fewer minutes"
        )
    hours = f"{now:%H:%M},{until:%H:%M}"
    (root / "calendar.csv").write_text(
        f"exchange,date,kind,open,close,note\n*,{now:%Y-%m-%d},special,{hours},simulated\n", encoding="utf-8"
    )
    lots = ReferenceData.load().lots
    lines = ["exchange,symbol,valid_from,lot_size,expires_by"]
    for symbol, market in MARKETS.items():
        size = lots.lot_size(market.exchange, symbol, KNOWN_LOTS, KNOWN_LOTS + timedelta(days=30))
        lines.append(f"{market.exchange},{symbol},{now:%Y-%m-%d},{size},")
    (root / "lot_sizes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def running(log: Path, root: Path, *command: str) -> Iterator[psutil.Process]:
    """A strikelake command in a process of its own; what it says goes to a file."""
    with (
        log.open("wb") as out,
        subprocess.Popen([*STRIKELAKE, "--root", str(root), *command], stdout=out, stderr=out) as process,
    ):
        try:
            yield psutil.Process(process.pid)
        finally:
            if process.poll() is not None:
                print(f"{' '.join(command[:2])} ended by itself: {log.read_text(encoding='utf-8')[-500:]}")
            process.terminate()
            process.wait(timeout=60)


def address(log: Path) -> str:
    """The address that the dashboard has printed."""
    for _ in range(300):
        lines = log.read_text(encoding="utf-8").split()
        if lines:
            url = lines[0].rstrip("/")
            httpx.get(url, timeout=60)
            return url
        time.sleep(0.1)
    raise SystemExit("the dashboard did not start")


def wait_for_chains(root: Path, at_most_s: float = 180) -> None:
    """Wait until the first chains are committed, so that every section has something to show."""
    until = time.monotonic() + at_most_s
    while not list((root / "raw_stream" / "option_chain").glob("date=*/exchange=*/*.parquet")):
        if time.monotonic() > until:
            raise SystemExit("no chain was committed")
        time.sleep(1)


def resident_mb(process: psutil.Process) -> float:
    """Resident memory of a process and its children."""
    family = [process, *process.children(recursive=True)]
    return sum(one.memory_info().rss for one in family) / 1e6


class Tab:
    """One section, open."""

    def __init__(self, browser: Any, url: str) -> None:
        self.page = browser.new_page()
        self.page.goto(url)
        self._devtools = self.page.context.new_cdp_session(self.page)
        self._devtools.send("Performance.enable")

    def metrics(self) -> dict[str, float]:
        """Of Chromium, after garbage collection."""
        self._devtools.send("HeapProfiler.collectGarbage")
        return {one["name"]: one["value"] for one in self._devtools.send("Performance.getMetrics")["metrics"]}

    def is_live(self) -> bool:
        """Whether the page says that its stream is up."""
        return bool(self.page.locator('#link[data-state="live"]').count())


def sample(began: float, processes: list[psutil.Process], tabs: list[Tab], url: str, cpu: float) -> Sample:
    """Look at everything once."""
    found = [tab.metrics() for tab in tabs]
    slowest = 0.0
    for section in SECTIONS:
        asked = time.monotonic()
        httpx.get(url + section.path, timeout=60).raise_for_status()
        slowest = max(slowest, time.monotonic() - asked)
    server, app, checks = (round(resident_mb(one), 1) for one in processes)
    return Sample(
        minute=round((time.monotonic() - began) / 60, 1),
        server_mb=server,
        app_mb=app,
        checks_mb=checks,
        heap_mb=round(sum(one["JSHeapUsedSize"] for one in found) / 1e6, 1),
        nodes=int(sum(one["Nodes"] for one in found)),
        listeners=int(sum(one["JSEventListeners"] for one in found)),
        live_pages=sum(tab.is_live() for tab in tabs),
        slowest_s=round(slowest, 3),
        server_cpu_pct=cpu,
    )


def growth(samples: list[Sample]) -> None:
    """Print the medians of the second tenth, when all has been looked at once, and of the last one."""
    part = max(1, len(samples) // 10)
    first, last = samples[part : 2 * part], samples[-part:]
    for name in ("server_mb", "app_mb", "checks_mb", "heap_mb", "nodes", "listeners", "slowest_s"):
        before, after = (
            statistics.median(getattr(one, name) for one in some) for some in (first or samples[:1], last)
        )
        print(f"{name:<10} {before:10,.1f} -> {after:10,.1f}  ({after / before:.2f}x)" if before else name)


def main() -> None:
    """Soak and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two chains of a symbol")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each page at the end")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        root = folder / "data"
        today_open(root, given.minutes)
        day = datetime.now(ZoneInfo("Asia/Kolkata")).strftime("%Y-%m-%d")
        app = stack.enter_context(
            running(
                folder / "app.log", root, "ingest", "run", "--source", "simulator",
                "--date", day, "--interval", str(given.interval),
            )
        )  # fmt: skip
        checks = stack.enter_context(running(folder / "checks.log", root, "monitors", "run", "--every", "1m"))
        server = stack.enter_context(running(folder / "page.log", root, "dashboard", "--port", "0"))
        url = address(folder / "page.log")
        wait_for_chains(root)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tabs = [Tab(browser, url + section.path) for section in SECTIONS]
        out = csv.DictWriter(sys.stdout, [one.name for one in fields(Sample)])
        out.writeheader()
        began = time.monotonic()
        samples: list[Sample] = []
        while time.monotonic() < began + 60 * given.minutes:
            spent = sum(server.cpu_times()[:2])
            tabs[0].page.wait_for_timeout(60_000)  # events of the pages are handled meanwhile
            share = round(100 * (sum(server.cpu_times()[:2]) - spent) / 60, 1)
            samples.append(sample(began, [server, app, checks], tabs, url, share))
            out.writerow(asdict(samples[-1]))
            sys.stdout.flush()
        if given.pictures:
            given.pictures.mkdir(parents=True, exist_ok=True)
            for section, tab in zip(SECTIONS, tabs, strict=True):
                tab.page.screenshot(
                    path=given.pictures / f"{section.path.strip('/') or 'now'}.png", full_page=True
                )
        browser.close()
        growth(samples)


if __name__ == "__main__":
    main()
