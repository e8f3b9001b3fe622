"""NSE's, BSE's and Upstox's sites as a poller meets them: cookies, refusals, block pages, broken answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float


@dataclass
class Reply:
    """What the site sends; `announced` is a Content-Length that may be a lie, `hang` sends nothing at all."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    hang: bool = False


Answerer = Callable[[Asked, int], Reply]


class ExchangeSite:
    """One site. A path's answerer is given the request and how many that path had before."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self.under_way = 0
        self.most_under_way = 0
        self._answerers: dict[str, Answerer] = {}
        self._lock = threading.Lock()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with site._lock:
                    site.under_way += 1
                    site.most_under_way = max(site.most_under_way, site.under_way)
                try:
                    with suppress(OSError):
                        self._answer(site._reply(self.path, dict(self.headers)))
                finally:
                    with site._lock:
                        site.under_way -= 1

            def _answer(self, reply: Reply) -> None:
                if reply.hang:
                    site.closing.wait()
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                length = len(reply.body) if reply.announced is None else reply.announced
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(reply.body)
                self.close_connection = length != len(reply.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def on(self, path: str, answerer: Answerer) -> None:
        self._answerers[path] = answerer

    def requests(self, path: str) -> list[Asked]:
        with self._lock:
            return [asked for asked in self.asked if asked.path == path]

    def _reply(self, target: str, headers: dict[str, str]) -> Reply:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(parts.path, query, headers, time.monotonic())
        with self._lock:
            before = sum(each.path == asked.path for each in self.asked)
            self.asked.append(asked)
        answerer = self._answerers.get(asked.path)
        return answerer(asked, before) if answerer else Reply(404, b"not here")

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def json_reply(value: Any) -> Reply:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Reply(body=body, headers={"Content-Type": "application/json"})


def in_turn(*replies: Reply) -> Answerer:
    """These replies one after the other, the last one for ever."""

    def answer(_: Asked, before: int) -> Reply:
        return replies[min(before, len(replies) - 1)]

    return answer


@contextmanager
def exchange_site() -> Iterator[ExchangeSite]:
    """A running site."""
    site = ExchangeSite()
    try:
        yield site
    finally:
        site.close()
