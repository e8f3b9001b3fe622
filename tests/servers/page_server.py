"""The page of a lake, served for real on a free port, in a thread of the test's own process."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from health_lake import NOW, HealthLake

from lake.settings import Settings
from monitors.dashboard.app import Dashboard
from monitors.dashboard.backend import Backend
from monitors.dashboard.sections import SECTIONS
from monitors.dashboard.sections.section import Section
from monitors.dashboard.security import Access
from monitors.dashboard.server import Server, bound, configured
from monitors.dashboard.wrong_tokens import WrongTokens
from monitors.rules import load_rules

PROGRAM = [sys.executable, "-u", "-c", "from lake.cli import main; main()"]

_TOKEN = re.compile(r'"x-csrf-token": "([0-9a-f]+)"|name="_csrf_token" value="([0-9a-f]+)"')


def noon() -> datetime:
    """The moment at which the lake of `health_lake` is well."""
    return NOW.astimezone(UTC)


@dataclass
class Served:
    """A page that is served.

    Attributes:
        url: Its address, without a slash at the end.
        dashboard: The application.
    """

    url: str
    dashboard: Dashboard

    def client(self, **more: Any) -> httpx.Client:
        """A browser's cookie jar and nothing else of a browser."""
        return httpx.Client(base_url=self.url, timeout=30, **more)

    @contextmanager
    def visitor(self) -> Iterator[Visitor]:
        """Somebody who has opened the page, and whose forms are taken."""
        with self.client() as client:
            yield Visitor(client)


class Visitor:
    """Reads pages and sends forms as the page's own script does."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.csrf = csrf_of(client.get("/lake").text)

    def send(self, path: str, **form: str) -> httpx.Response:
        """Send a form as htmx does."""
        headers = {"x-csrf-token": self.csrf, "hx-request": "true"}
        return self.client.post(path, data=form, headers=headers)


def csrf_of(html: str) -> str:
    """The token that a page carries."""
    found = _TOKEN.search(html.replace("&#34;", '"'))
    assert found is not None
    return found[1] or found[2]


@contextmanager
def serving(
    settings: Settings,
    *,
    clock: Callable[[], datetime] | None = None,
    access: Access | None = None,
    sections: Sequence[Section] = SECTIONS,
    wrong: WrongTokens | None = None,
) -> Iterator[Served]:
    """Serve the page of a lake until the block ends."""
    more = {} if clock is None else {"clock": clock}
    rules = load_rules(settings.rules_file or settings.root / "rules.yaml")
    dashboard = Dashboard(
        Backend.of(settings, rules, **more), access or Access(), sections=sections, wrong=wrong
    )
    listening = bound("127.0.0.1", 0)
    server = Server(configured(dashboard), dashboard)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield Served(url, dashboard)
    finally:
        dashboard.live.close_soon()
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()
        assert not thread.is_alive()


@contextmanager
def running(made: HealthLake, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a user starts it, once it answers; and its address."""
    process = subprocess.Popen(
        [*PROGRAM, "--root", str(made.settings.root), "dashboard", "--port", "0", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.communicate()
        yield process, url
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
