"""Who may look, and what a browser may do: around the whole application, before any of it runs.

A page on this machine can be reached by any web site that the same browser has open. What keeps those out:
the Host header must be one of ours (DNS rebinding), a request that changes something must come from our own
pages (Origin, Sec-Fetch-Site, and Litestar's CSRF token), and no other site may frame the page, load a part
of it or keep a stream of it open.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, urlsplit

from litestar.types import ASGIApp, Receive, Scope, Send

from monitors.dashboard.wrong_tokens import WrongTokens

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

SANDBOXED: Mapping[str, str] = {
    "content-security-policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "x-frame-options": "SAMEORIGIN",
}
"""Headers for HTML that is not ours: it runs, without our origin, cookies or network."""

_HEADERS = {
    "content-security-policy": _CSP,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # "no-referrer" would make browsers send our own forms with the origin "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}

_PATH_CHARS = 1_000
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS = ("/login", "/static/")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may look.

    Attributes:
        hosts: Names and addresses by which the page may be asked for, without port.
        any_address: Whether any address will do as well: no name that an attacker chose is one, so that this
            is what a server on all interfaces needs.
        token: Who shows it may look; None for whoever reaches the page.
        proxy_header: Header in which a reverse proxy names who it has let in; None for no proxy.
        proxies: Addresses from which that header is believed.
        port: Of the cookies' names, since a browser keeps one jar for all ports of a host.
    """

    hosts: frozenset[str] = LOOPBACK_NAMES
    any_address: bool = False
    token: str | None = field(default=None, repr=False)
    proxy_header: str | None = None
    proxies: frozenset[str] = frozenset({"127.0.0.1", "::1"})
    port: int = 0

    @property
    def cookie(self) -> str:
        """Name of the cookie of who has shown the token."""
        return f"strikelake_{self.port}"

    def pass_of(self) -> str:
        """What the cookie holds: made from the token, which it does not give away."""
        return hmac.new((self.token or "").encode(), b"strikelake dashboard", hashlib.sha256).hexdigest()

    def is_ours(self, host: str) -> bool:
        """Whether the page may be asked for by that name or address."""
        return host in self.hosts or (self.any_address and _is_address(host))

    def is_token(self, given: str) -> bool:
        """Whether a text is the token, in constant time."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def who(self, headers: Mapping[str, str], peer: str) -> str | None:
        """Name of who asks; empty for one without a name, None for one who may not."""
        if self.proxy_header is not None:
            named = headers.get(self.proxy_header.lower(), "").strip()
            if named and peer in self.proxies:
                return named
        if self.token is None:
            return "" if self.proxy_header is None else None
        bearer = headers.get("authorization", "")
        if bearer.startswith("Bearer ") and self.is_token(bearer.removeprefix("Bearer ").strip()):
            return ""
        shown = _cookies(headers).get(self.cookie, "")
        return "" if hmac.compare_digest(shown.encode(), self.pass_of().encode()) else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str:
    """The host of `host:port`, without brackets, in lower case; empty if it is none."""
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port
    except ValueError:
        return ""
    plain = parts.username is None and not parts.path and not parts.query and not parts.fragment
    return (parts.hostname or "").lower() if plain else ""


def _authority(origin: str) -> str:
    """`host:port` of an origin, in lower case; empty if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


class Guard:
    """ASGI application around another, see the module."""

    def __init__(self, app: ASGIApp, access: Access, wrong: WrongTokens) -> None:
        self.app = app
        self.access = access
        self.wrong = wrong

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        kind = str(scope["type"])
        if kind == "lifespan":
            await self.app(scope, receive, send)
            return
        if kind != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        send = _with_headers(send)
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refused = self._refusal(scope, headers)
        if refused is not None:
            # What follows on the connection may be part of this request for somebody in front of us.
            await _answer(send, *refused, {"connection": "close"})
            return
        peer = str((scope.get("client") or ("", 0))[0])
        who = self.access.who(headers, peer)
        path = str(scope["path"])
        if who is None and not path.startswith(_OPEN_PATHS):
            if self.access.token is not None and "authorization" in headers:
                wait_s = self.wrong.count(peer)
                if wait_s:
                    await _answer(send, 429, "Too many wrong tokens.", {"retry-after": str(wait_s)})
                    return
            await self._turn_away(scope, headers, send)
            return
        scope.setdefault("state", {})["who"] = who or ""
        await self.app(scope, receive, send)

    def _refusal(self, scope: Any, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and text of the answer to a request that no page of ours makes."""
        if {"content-length", "transfer-encoding"} <= headers.keys():
            return 400, "A request has one length (RFC 9112, 6.1)."
        named = [value for name, value in scope["headers"] if name.lower() == b"host"]
        host = headers.get("host", "")
        if len(named) != 1 or not self.access.is_ours(host_of(host)):
            return 421, "This page is not served under that name; start it with --allowed-host NAME."
        if "\0" in scope["path"] or len(scope["path"]) > _PATH_CHARS:
            return 400, "That is no address of this page."
        proxy = self.access.proxy_header
        if (
            proxy is not None
            and sum(name.lower() == proxy.lower().encode() for name, _ in scope["headers"]) > 1
        ):
            return (
                400,
                "The reverse proxy's header is there more than once: it must replace that of a visitor.",
            )
        is_ours = headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"}
        # A link on another site may lead here; nothing else of it may so much as ask.
        is_link = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if not is_ours and not (is_link and headers.get("sec-fetch-dest", "document") == "document"):
            return 403, "A page of another site may not do that."
        if scope["method"] in _SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is not None and _authority(origin) != host.lower():
            return 403, "A page of another site may not do that."
        return None

    async def _turn_away(self, scope: Any, headers: Mapping[str, str], send: Send) -> None:
        if self.access.token is None:
            await _answer(send, 401, "The reverse proxy in front of this page names nobody.")
        elif scope["method"] == "GET" and "hx-request" not in headers and scope["path"] != "/metrics":
            target = quote(scope["path"], safe="/")
            await _answer(send, 303, "Log in.", {"location": f"/login?next={target}"})
        else:
            more = {"www-authenticate": 'Bearer realm="strikelake"', "hx-redirect": "/login"}
            await _answer(send, 401, "Log in: load the page anew.", more)


def _with_headers(send: Send) -> Send:
    async def guarded(message: Any) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            further = [
                (name.encode(), value.encode())
                for name, value in _HEADERS.items()
                if name.encode() not in given
            ]
            message = {**message, "headers": [*message["headers"], *further]}
        await send(message)

    return guarded


async def _answer(send: Send, status: int, text: str, more: Mapping[str, str] | None = None) -> None:
    body = f"{text}\n".encode()
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(more or {})}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    try:
        found: SimpleCookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in found.items()}
