"""A real Prometheus, and its promtool, for tests of what it is to read."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local_program import free_port, program, running

_PATIENCE_S = 30.0


def promtool(*words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What promtool says; skips where it is not installed."""
    return subprocess.run(
        [program("promtool", "prometheus"), *words], input=given, capture_output=True, check=False, timeout=60
    )


class Prometheus:
    """What a test asks it, by its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:  # noqa: S310 - http://
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Series of an instant query: `metric` and `value`.

        Raises:
            AssertionError: It does not understand the expression.
        """
        words = urllib.parse.urlencode({"query": expression})
        try:
            found: list[dict[str, Any]] = self._get(f"query?{words}")["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        return found

    def firing(self) -> set[tuple[str, str]]:
        """Name and exchange of the alerts that fire."""
        return {
            (one["labels"]["alertname"], one["labels"].get("exchange", ""))
            for one in self._get("alerts")["alerts"]
            if one["state"] == "firing"
        }

    def target_errors(self) -> list[str]:
        """What went wrong with each target's last scrape, empty texts if nothing."""
        return [str(one["lastError"]) for one in self._get("targets")["activeTargets"]]

    def rule_errors(self) -> list[str]:
        """What went wrong with rules that were evaluated."""
        groups = self._get("rules")["groups"]
        return [r["lastError"] for g in groups for r in g["rules"] if r.get("lastError")]

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}", timeout=10) as answer:  # noqa: S310 - http://
            return json.loads(answer.read())["data"]


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask until it holds.

    Raises:
        AssertionError: It did not within half a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@contextmanager
def serving(text: Callable[[], bytes], content_type: str) -> Iterator[int]:
    """A local server that answers `/metrics` with a text; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def prometheus(folder: Path, *, scraped: int, rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """One that scrapes a port of this machine every second and evaluates rules as often."""
    found = program("prometheus", "prometheus")
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(one) for one in rules],
        "scrape_configs": [
            {"job_name": "strikelake", "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]}
        ],
    }
    file = folder / "prometheus.yml"
    # JSON is YAML.
    file.write_text(json.dumps(configuration), encoding="utf-8")
    port = free_port()
    server = Prometheus(f"http://127.0.0.1:{port}")
    command = [
        found, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with running(command, folder / "prometheus.log", server.is_ready):
        yield server
