"""A WebSocket server that plays scripts, one a connection: what a feed sends, and how it breaks."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

Script = Callable[["Play"], None]


class Play:
    """One connection, as a script sees it."""

    def __init__(self, server: FeedServer, connection: ServerConnection) -> None:
        self._server = server
        self.connection = connection

    def hear(self) -> str:
        """The client's next message, noted by the server as well."""
        text = str(self.connection.recv(timeout=30))
        self._server.heard.append(text)
        return text

    def send(self, *messages: str | bytes) -> None:
        for message in messages:
            self.connection.send(message)

    def send_half_a_frame(self) -> None:
        """The head of a text frame of 4,096 bytes, some of them, then the line is cut."""
        self.connection.socket.sendall(b"\x81\x7e\x10\x00" + b'{"records": {"data": [')
        self.cut()

    def cut(self) -> None:
        """End the connection without a closing handshake."""
        with suppress(OSError):
            self.connection.socket.shutdown(socket.SHUT_RDWR)

    def stay(self) -> None:
        """Say nothing, answer pings, until the client goes or the test ends."""
        with suppress(ConnectionClosed, TimeoutError):
            while not self._server.closing.is_set():
                with suppress(TimeoutError):
                    self.hear_quietly()

    def over(self, within_s: float) -> bool:
        """Whether the test ends within so many seconds."""
        return self._server.closing.wait(within_s)

    def hear_quietly(self) -> None:
        self.connection.recv(timeout=0.05)


class FeedServer:
    """Connection n plays script n, those after the last play the last."""

    def __init__(self, scripts: Sequence[Script], *, refuse: HTTPStatus | None = None) -> None:
        self.heard: list[str] = []
        self.requests: list[Any] = []
        self.closing = threading.Event()
        self._scripts = list(scripts)
        self._refuse = refuse
        self._refusals: list[HTTPStatus] = []
        self.redirects: dict[str, str] = {}
        """Where to, by path without its query."""
        self._lock = threading.Lock()
        self._played = 0
        quiet = logging.getLogger("tests.feed_server")
        quiet.setLevel(logging.CRITICAL)
        self._server: Server = serve(
            self._play, "127.0.0.1", 0, process_request=self._answer, logger=quiet, max_size=None,
            compression=None, close_timeout=0.5,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many connections asked, refused ones included."""
        return len(self.requests)

    def _answer(self, connection: ServerConnection, request: Any) -> Any:
        self.requests.append(request)
        if target := self.redirects.get(request.path.partition("?")[0]):
            response = connection.respond(HTTPStatus.TEMPORARY_REDIRECT, "elsewhere")
            response.headers["Location"] = target
            return response
        refuse = self._refuse
        with self._lock:
            if self._refusals:
                refuse = self._refusals.pop()
        return connection.respond(refuse, "no") if refuse is not None else None

    def refuse_next(self, count: int, status: HTTPStatus) -> None:
        """Refuse the next connections."""
        with self._lock:
            self._refusals = [status] * count

    def _play(self, connection: ServerConnection) -> None:
        with self._lock:
            script = self._scripts[min(self._played, len(self._scripts) - 1)]
            self._played += 1
        with suppress(ConnectionClosed, OSError):
            script(Play(self, connection))

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()


@contextmanager
def feed_server(*scripts: Script, refuse: HTTPStatus | None = None) -> Iterator[FeedServer]:
    """A running server."""
    server = FeedServer(scripts, refuse=refuse)
    try:
        yield server
    finally:
        server.close()
