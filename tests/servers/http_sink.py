"""An HTTP server that notes what it gets, and answers well, badly, late or never, as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Manner = Literal["answer", "hang", "drip head", "drip body", "garbage", "hang up", "endless"]


@dataclass(frozen=True)
class Request:
    """What came in, and when by the monotonic clock."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """How to answer: a status with headers, or in a bad manner."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = "answer"
    body: bytes = b"thanks"


class HttpSink:
    """One server; a path's answers are used in turn, the last one for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = sink._take(Request(self.path, dict(self.headers), body, time.monotonic()))
                self.close_connection = True
                # The other side may go away, which is what some tests want.
                with suppress(OSError):
                    self._answer(answer)

            do_GET = do_POST  # noqa: N815 - its name in the base

            def _answer(self, answer: Answer) -> None:
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                if answer.manner == "hang":
                    sink.closing.wait()
                elif answer.manner == "garbage":
                    self.wfile.write(b"\x00\xffSSH-2.0-what\r\n\r\n")
                elif answer.manner == "drip head":
                    self._drip(head + b"X-Slow: " + b"x" * 10_000)
                elif answer.manner == "drip body":
                    self.wfile.write(head + b"Content-Length: 10000\r\n\r\n")
                    self._drip(b"y" * 10_000)
                elif answer.manner == "endless":
                    self.wfile.write(head + b"\r\n")
                    while not sink.closing.is_set():
                        self.wfile.write(b"z" * 65_536)
                elif answer.manner == "answer":
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)

            def _drip(self, data: bytes) -> None:
                for byte in data:
                    if sink.closing.wait(0.02):
                        return
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, *answers: Answer) -> None:
        """How to answer on a path, in turn."""
        with self._lock:
            self._answers[path] = list(answers)

    def on(self, path: str) -> list[Request]:
        """What came in on a path."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def _take(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            answers = self._answers.get(request.path) or [Answer()]
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def http_sink() -> Iterator[HttpSink]:
    """A running sink."""
    sink = HttpSink()
    try:
        yield sink
    finally:
        sink.close()
