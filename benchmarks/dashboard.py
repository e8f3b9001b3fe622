"""What the page costs: first byte, bytes over the wire, first paint, and what 50 open pages cost a writer.

    python -m benchmarks.dashboard              # about a minute
    python -m benchmarks.dashboard --pages 50 --commits 40 --rows 2000

A lake of one morning is served by `strikelake dashboard` in a process of its own; a writer in this process
commits small batches, alone, then beside open streams, by turns, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import httpx
import psutil
import pyarrow as pa

from benchmarks.option_days import chain_rows
from catalog.contracts import OPTION_CHAIN
from lake.append import append
from lake.spool import Entry, Spool
from lake.table import Lake
from monitors.dashboard.sections import SECTIONS

PATHS = tuple(section.path for section in SECTIONS)
DAY = date(2026, 10, 26)


def built(root: Path, minutes: int) -> Lake:
    """A lake of one morning, a commit each quarter of an hour."""
    lake = Lake.at(root)
    path = lake.create(OPTION_CHAIN.spec)
    for number, start in enumerate(range(0, minutes, 15), start=1):
        commit(path, legs(range(start, start + 15), number), number)
    return lake


def legs(minutes: range, number: int) -> pa.Table:
    """Chains of some minutes of NSE."""
    return chain_rows(DAY, "NSE", minutes, chains_a_minute=2, expiries=2, strikes=40, batch_id=f"b{number}")


def commit(path: Path, rows: pa.Table, number: int) -> float:
    """Commit rows as a writer does; milliseconds."""
    began = time.perf_counter()
    note = {"batch_id": f"b{number}", "app_id": "bench", "seq_first": number, "seq_last": number}
    append(path, OPTION_CHAIN.spec, rows, stream="bench", sequence=number, metadata=note)
    return 1000 * (time.perf_counter() - began)


@contextmanager
def served(root: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The page, in a process of its own; its address and that process."""
    program = [sys.executable, "-u", "-c", "from lake.cli import main; main()"]
    with subprocess.Popen(
        [*program, "--root", str(root), "dashboard", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        httpx.get(url, timeout=60)
        time.sleep(3)  # what it looks at when it is started is none of a page's cost
        try:
            yield url.rstrip("/"), psutil.Process(process.pid)
        finally:
            process.terminate()


def first_bytes(url: str) -> None:
    """Print the first byte and the bytes of each page and of what it loads."""
    with httpx.Client(base_url=url, timeout=30) as client:
        print("page       first byte   HTML, kB   all that it loads, kB   (gzip, behind a proxy, kB)")
        for path in PATHS:
            taken = []
            for _ in range(20):
                began = time.perf_counter()
                with client.stream("GET", path) as answer:
                    next(answer.iter_raw())
                    taken.append(1000 * (time.perf_counter() - began))
            html = client.get(path).content
            loaded = [html, *(client.get(one).content for one in assets(html.decode()))]
            whole, packed = sum(map(len, loaded)), sum(len(gzip.compress(one)) for one in loaded)
            print(
                f"{path:<10} {statistics.median(taken):7.1f} ms {len(html) / 1000:10.1f}"
                f" {whole / 1000:22.1f} {packed / 1000:18.1f}"
            )


def assets(html: str) -> list[str]:
    """Addresses of the files that a page loads."""
    parts = [part.partition('"')[0] for part in html.split('="')[1:]]
    return sorted({part for part in parts if part.startswith("/static/")})


def first_paint(url: str) -> None:
    """Print when a browser has painted something, where there is one."""
    program = shutil.which("chromium")
    if program is None:
        print("first paint: there is no chromium")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/static/icon.svg")
        for path in PATHS:
            taken = []
            for _ in range(5):
                page.goto(url + path)
                page.wait_for_selector('#link[data-state="live"]')
                found = "performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
                taken += page.evaluate(found)
            print(
                f"first paint {path:<8} {statistics.median(taken):6.0f} ms (worst of five {max(taken):.0f})"
            )
        browser.close()


def effect_on_a_writer(lake: Lake, url: str, pages: int, commits: int, rows: int) -> None:
    """Print what a commit and a move to the spool take, alone and beside open pages, by turns."""
    path = lake.path(OPTION_CHAIN.table)
    batch = legs(range(200, 210), 0).slice(0, rows)
    spool = Spool(lake.spools / "bench.db")
    alone: list[float] = []
    watched: list[float] = []
    spooled: dict[bool, list[float]] = {False: [], True: []}
    number = 10_000
    for turn in range(4):
        is_watched = turn % 2 == 1
        with ExitStack() as stack:
            if is_watched:
                stack.enter_context(open_pages(url, pages))
                time.sleep(2)
            for _ in range(commits // 2):
                number += 1
                (watched if is_watched else alone).append(commit(path, batch, number))
                began = time.perf_counter()
                spool.put(
                    [Entry("option_chain", "NSE", "option_chain", batch)],
                    offered={("option_chain", "NSE"): batch.num_rows},
                )
                spooled[is_watched].append(1000 * (time.perf_counter() - began))
    spool.close()
    for name, without, beside in (("commit", alone, watched), ("spool", spooled[False], spooled[True])):
        print(
            f"{name:<7} alone {statistics.median(without):6.1f} ms, beside {pages} pages"
            f" {statistics.median(beside):6.1f} ms; slowest {max(without):.0f} and {max(beside):.0f}"
            f" ({len(beside)} each, {batch.num_rows:,} rows)"
        )


@contextmanager
def open_pages(url: str, count: int) -> Iterator[None]:
    """Streams that read all they are sent."""
    ended = threading.Event()

    def read() -> None:
        with httpx.Client(timeout=60) as client, client.stream("GET", f"{url}/live/now") as stream:
            for _ in stream.iter_raw():
                if ended.is_set():
                    return

    threads = [threading.Thread(target=read, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(timeout=20)


def effect_of_tabs(lake: Lake, url: str, server: psutil.Process, tabs: int, commits: int, rows: int) -> None:
    """Print what tabs of a real browser cost the server and a writer; the browser's own cost is the tester's.

    Each tab is of a visitor of its own: tabs of one profile share six connections to a host, so that only
    six of them would be live. Alone, the tabs' browser runs without a page; each row says what it took.
    """
    from playwright.sync_api import sync_playwright

    path, batch = lake.path(OPTION_CHAIN.table), legs(range(200, 210), 0).slice(0, rows)

    def measure(what: str, first: int) -> None:
        time.sleep(2)
        own, began, all_before = sum(server.cpu_times()[:2]), time.perf_counter(), psutil.cpu_times()
        taken = []
        for number in range(first, first + commits):
            taken.append(commit(path, batch, number))
            time.sleep(0.5)
        seconds, all_after = time.perf_counter() - began, psutil.cpu_times()
        busy = sum(all_after[:3]) - sum(all_before[:3])
        print(
            f"{what:<22} commit {statistics.median(taken):6.1f} ms, slowest {max(taken):5.0f};"
            f" server {(sum(server.cpu_times()[:2]) - own) / seconds:5.1%} of a core,"
            f" whole machine {busy / seconds:.2f} of {psutil.cpu_count()} cores"
        )

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        measure("no tab", 20_000)
        for _ in range(tabs):
            browser.new_context().new_page().goto(url, wait_until="commit", timeout=120_000)
        pages = [context.pages[0] for context in browser.contexts]
        for page in pages:
            page.wait_for_selector('#link[data-state="live"]', timeout=120_000)
        measure(f"{tabs} tabs", 30_000)
        browser.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--tabs", type=int, default=0, help="so many in Chromium as well")
    parser.add_argument("--commits", type=int, default=40)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--minutes", type=int, default=180)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = built(Path(folder) / "data", given.minutes)
        with served(lake.root) as (url, server):
            first_bytes(url)
            first_paint(url)
            effect_on_a_writer(lake, url, given.pages, given.commits, given.rows)
            if given.tabs:
                effect_of_tabs(lake, url, server, given.tabs, given.commits // 2, given.rows)


if __name__ == "__main__":
    main()
