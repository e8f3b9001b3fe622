"""The webhook: a notification as JSON, POSTed to one URL; `notification.schema.json` describes the body.

URL and token are secrets. So the request goes straight to httpx's transport: its client would log the URL,
and follow proxies and redirects to who knows where.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING

from lake.errors import SettingsError
from monitors.notification import Notification
from monitors.outbox import Failure
from monitors.receivers.retry_after import retry_after

if TYPE_CHECKING:
    import httpx

MOST_ANSWER_BYTES = 65_536
"""An answer is read to here, and not further; what it says does not matter."""

_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_ONLY_THIS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Answers that speak of this notification and not of the receiver."""

_NOT_A_TOKEN = re.compile(r"[^\x21-\x7e]")


class Webhook:
    """POSTs notifications.

    Guarantee: at least once. The receiver can make it exactly once by the header `Idempotency-Key`, which is
    the body's `key` and the same in every attempt; `Strikelake-Attempt` counts them.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        name: str = "webhook",
        deadline_s: float = 10.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            url: `https://...` or `http://...`, with whatever it needs in path and query.
            token: Sent as `Authorization: Bearer ...`.
            name: Name of the receiver.
            deadline_s: The longest that one attempt lasts, from looking up the name to the end of the answer.
            clock: The time from which a date in Retry-After counts.

        Raises:
            SettingsError: The URL is not one, or the token cannot be in a header; neither is shown.
        """
        self.name, self.deadline_s = name, deadline_s
        self._url, self._token, self._clock = _checked_url(url, name), token, clock
        if token is not None and _NOT_A_TOKEN.search(token or " "):
            raise SettingsError(f"receiver {name}: the token has characters that a header cannot have")

    def __repr__(self) -> str:
        return f"Webhook(name={self.name!r}, url=***, token={'***' if self._token else None})"

    def send(self, notification: Notification) -> Failure | None:
        """POST one notification; any 2xx takes it."""
        return asyncio.run(self._send(notification))

    async def _send(self, notification: Notification) -> Failure | None:
        import httpx

        # At DEBUG it shows the headers of answers, and a redirect repeats our URL.
        logging.getLogger("httpcore").setLevel(logging.INFO)
        try:
            async with asyncio.timeout(self.deadline_s):
                return await self._post(notification)
        except TimeoutError:
            return Failure(f"no answer within {self.deadline_s:g} s", may_have_arrived=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # The text of httpx names no more than the system's error.
            return Failure(f"no connection ({type(error).__name__})")
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            return Failure(f"the connection broke ({type(error).__name__})", may_have_arrived=True)

    async def _post(self, notification: Notification) -> Failure | None:
        import httpx

        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"strikelake/{version('strikelake')}",
            "Idempotency-Key": notification.key,
            "Strikelake-Attempt": str(notification.attempt),
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        limit = {"connect": self.deadline_s, "read": self.deadline_s, "write": self.deadline_s}
        request = httpx.Request(
            "POST", self._url, headers=headers, content=notification.payload.encode(),
            extensions={"timeout": limit},
        )  # fmt: skip
        async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
            answer = await transport.handle_async_request(request)
            try:
                await _read_bounded(answer)
            finally:
                await answer.aclose()
        return _judged(answer, self._clock())


async def _read_bounded(answer: httpx.Response) -> None:
    """Read an answer to its end or to the limit: a receiver that is cut off may think it failed."""
    size = 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size >= MOST_ANSWER_BYTES:
            return


def _judged(answer: httpx.Response, now: datetime) -> Failure | None:
    """What a status means; nothing else of the answer is told, since it may repeat our secrets."""
    status = answer.status_code
    if 200 <= status < 300:
        return None
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    told = f"answered {status}{phrase}"
    if 300 <= status < 400:
        return Failure(f"{told}: redirects are not followed")
    if status in _ONLY_THIS:
        return Failure(told, unavailable=False)
    wait = retry_after(answer.headers.get("retry-after"), now) if status in _BUSY else None
    return Failure(told, retry_after=wait, may_have_arrived=status >= 500)


def _checked_url(url: str, name: str) -> str:
    import httpx

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = None
    if parsed is None or parsed.scheme not in {"http", "https"} or not parsed.host:
        raise SettingsError(f"receiver {name}: the URL is not an http:// or https:// one (not shown here)")
    if parsed.userinfo:
        raise SettingsError(f"receiver {name}: the URL has a user or a password in it; set the token instead")
    return url
