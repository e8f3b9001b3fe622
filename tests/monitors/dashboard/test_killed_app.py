"""What the page says of an app that was killed: what it told last is in its spool, and is not so now."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dashboard_client import text_of
from page_server import PROGRAM, Served, serving

from lake.settings import Settings
from lake.spool import Queue, Spool

APP = "live"
"""As the command names the app of a simulated session."""


@contextmanager
def app(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real app that offers chains of a simulated session, faster than any market."""
    words = ["ingest", "run", "--source", "simulator", "--interval", "1", "--speed", "60"]
    process = subprocess.Popen(
        [*PROGRAM, "--root", str(root), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def until(look: Callable[[], bool], *, within_s: float) -> None:
    """Wait until something is so."""
    began = time.monotonic()
    while not look():
        assert time.monotonic() - began < within_s, "it did not come"
        time.sleep(0.1)


def tile(served: Served) -> str:
    """What the page says of the queue in the app's memory, as it streams it to who comes now."""
    with served.client() as client, client.stream("GET", "/live/now") as stream:
        said = ""
        for text in stream.iter_text():
            said += text
            if 'id="now-NSE"' in said and "Waiting in the spool" in said:
                break
    return text_of(said.partition("Waiting in the app")[2].partition("Waiting in the spool")[0])


def scraped(served: Served) -> str:
    with served.client() as client:
        return client.get("/metrics").text


def told(root: Path) -> Queue | None:
    spool = Spool(root / "spool" / f"{APP}.db", read_only=True)
    try:
        return spool.queue()
    finally:
        spool.close()


def test_the_queue_of_an_app_that_was_killed_is_not_shown_as_if_it_were_so(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path / "lake")
    with serving(settings) as served, app(settings.root) as process:
        until(lambda: "at most" in tile(served), within_s=60)
        running = scraped(served)
        assert re.search(rf'strikelake_queue_updates{{app="{APP}"}} \d', running)

        process.kill()  # SIGKILL; on Windows TerminateProcess
        process.wait(30)
        # Not "is silent", which is said of one that still holds its lock.
        until(lambda: "does not run" in tile(served), within_s=15)
        shown = tile(served)
        assert "at most" not in shown
        assert not re.search(r"\d+ updates", shown)
        left = told(settings.root)
        assert left is not None
        assert left.capacity == 10_000  # it is still there to be read, and yet not shown
        # A scrape is remembered for some seconds.
        until(lambda: f'strikelake_app_running{{app="{APP}"}} 0' in scraped(served), within_s=20)
        assert "strikelake_queue_updates{" not in scraped(served)
