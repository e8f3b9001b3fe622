"""Clients that speak badly, slowly or not at all, by raw sockets: they are refused, and others are served."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from health_lake import HealthLake
from page_server import Served, noon, serving

from monitors.dashboard.security import Access

MANY = 150
TOKEN = "a" * 32


def connected(page: Served) -> socket.socket:
    parts = urlsplit(page.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def said(page: Served, request: bytes) -> bytes:
    """All that the server says to a request until it closes or is silent."""
    with connected(page) as link:
        link.sendall(request.replace(b"HOST", urlsplit(page.url).netloc.encode()))
        link.settimeout(1.0)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while block := link.recv(65536):
                answer += block
    return answer


@contextlib.contextmanager
def held(page: Served, start: bytes) -> Iterator[None]:
    """Many connections that send a beginning, and then neither send nor read."""
    with contextlib.ExitStack() as stack:
        for _ in range(MANY):
            link = stack.enter_context(connected(page))
            link.sendall(start.replace(b"HOST", urlsplit(page.url).netloc.encode()))
        yield


def is_served_soon(page: Served) -> None:
    for _ in range(3):
        started = time.monotonic()
        assert httpx.get(f"{page.url}/", timeout=10).status_code == 200
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTT",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nX-Slow: ",
        b"POST /lake/sql HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000\r\n\r\nsql=",
        b"GET /live/now HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ],
    ids=["half a line", "half a header", "half a body", "streams never read"],
)
def test_who_holds_connections_keeps_nobody_out(page: Served, start: bytes) -> None:
    with held(page, start):
        is_served_soon(page)
    is_served_soon(page)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\nabcd",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : HOST\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    ],
    ids=[
        "two lengths of a body",
        "two lengths",
        "two hosts",
        "other host",
        "space",
        "no host",
        "long header",
    ],
)
def test_requests_that_can_be_read_in_two_ways_are_refused(page: Served, request_bytes: bytes) -> None:
    answer = said(page, request_bytes)
    assert b"HTTP/1.1 200" not in answer
    assert b"strikelake_" not in answer
    is_served_soon(page)


def test_a_huge_body_is_refused_before_it_is_whole(page: Served) -> None:
    size = 2_000_000_000
    head = f"POST /lake/sql HTTP/1.1\r\nHost: HOST\r\nContent-Length: {size}\r\n"
    kind = "Content-Type: application/x-www-form-urlencoded\r\n\r\nsql="
    answer = said(page, (head + kind).encode() + b"a" * 200_000)
    assert b"HTTP/1.1 200" not in answer
    is_served_soon(page)


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example", "/%0d%0aset-cookie:%20a=b", "/%2e%2e/"]
)
def test_who_logs_in_is_sent_nowhere_else(made: HealthLake, path: str) -> None:
    with (
        serving(made.settings, clock=noon, access=Access(token=TOKEN)) as page,
        httpx.Client(base_url=page.url) as client,
    ):
        answer = client.get(f"{page.url}{path}")
        assert "set-cookie" not in answer.headers or "a=b" not in answer.headers["set-cookie"]
        target = answer.headers.get("location", "/")
        assert target.startswith("/")
        assert not target.startswith("//")


def test_a_proxy_s_header_twice_is_nobody(made: HealthLake) -> None:
    access = Access(proxy_header="X-User")
    with serving(made.settings, clock=noon, access=access) as page:
        once = httpx.get(page.url, headers=[("X-User", "asha")])
        twice = httpx.get(page.url, headers=[("X-User", "evil"), ("x-user", "asha")])
        other = httpx.get(page.url, headers=[("X_User", "evil")])
    assert (once.status_code, twice.status_code, other.status_code) == (200, 400, 401)
