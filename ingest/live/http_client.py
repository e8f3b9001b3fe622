"""GET over HTTP with limits: time, size, redirects; an answer in whole or an error that says what came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from ingest.live.addresses import origin
from ingest.live.retry_after import retry_after_s

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent, in whole.

    Attributes:
        status: HTTP status.
        content: The body, decompressed.
        retry_after_s: How long it wants to be left alone, 0 if it does not say.
    """

    status: int
    content: bytes
    retry_after_s: float

    @property
    def is_html(self) -> bool:
        """Whether a page came, judged by the body: block pages come under any content type."""
        return self.content[:256].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """How long to wait and how much to take.

    Attributes:
        connect_s: For a connection.
        silence_s: Between two pieces of an answer.
        total_s: For a whole answer; a server that drips would hold us for ever.
        answer_bytes: Longest body, decompressed.
        redirects: Followed within the same origin.
    """

    connect_s: float = 10.0
    silence_s: float = 15.0
    total_s: float = 45.0
    answer_bytes: int = 32 << 20
    redirects: int = 3


class NoAnswerError(Exception):
    """No whole answer came.

    Attributes:
        reason: Stable code.
        detail: For a person, without addresses.
        partial: What had come of the body.
    """

    def __init__(self, reason: str, detail: str, partial: bytes = b"") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.partial = partial


class HttpClient:
    """A session with one server: keeps its cookies and connection; one request at a time."""

    def __init__(
        self,
        address: str,
        *,
        headers: Mapping[str, str],
        limits: HttpLimits,
        bearer: SecretStr | None = None,
    ) -> None:
        self.shown = origin(address)
        self._limits = limits
        sent = dict(headers)
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer.get_secret_value()}"
        # trust_env would take proxies, and passwords from a .netrc, from the environment.
        self._client = httpx.AsyncClient(
            base_url=address,
            headers=sent,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(limits.silence_s, connect=limits.connect_s),
            limits=httpx.Limits(max_connections=1),
        )

    async def close(self) -> None:
        """End the session."""
        await self._client.aclose()

    def forget_cookies(self) -> None:
        """Begin anew, as a browser with an empty profile."""
        self._client.cookies.clear()

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask once.

        Raises:
            NoAnswerError: `timeout`, `no_connection`, `incomplete_answer`, `answer_too_large`, `redirected`
                (away, or too often).
        """
        partial = bytearray()
        try:
            async with asyncio.timeout(self._limits.total_s):
                request = self._client.build_request("GET", path, params=params, headers=headers)
                return await self._send(request, partial)
        except (TimeoutError, httpx.TimeoutException):
            detail = f"no whole answer from {self.shown} in time"
            raise NoAnswerError("timeout", detail, bytes(partial)) from None
        except (httpx.RemoteProtocolError, httpx.DecodingError, httpx.ReadError) as error:
            reason = "incomplete_answer" if partial else "no_connection"
            detail = f"{self.shown} broke off ({type(error).__name__})"
            raise NoAnswerError(reason, detail, bytes(partial)) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            detail = f"{self.shown} cannot be reached ({type(error).__name__})"
            raise NoAnswerError("no_connection", detail, bytes(partial)) from None

    async def _send(self, request: httpx.Request, partial: bytearray) -> Answer:
        for _ in range(self._limits.redirects + 1):
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code not in _REDIRECTS or response.next_request is None:
                    return await self._read(response, partial)
                following = response.next_request
            finally:
                await response.aclose()
            if _origin(following.url) != _origin(request.url):
                raise NoAnswerError("redirected", f"{self.shown} redirects to {following.url.host}")
            request = following
        raise NoAnswerError("redirected", f"{self.shown} redirects more than {self._limits.redirects} times")

    async def _read(self, response: httpx.Response, partial: bytearray) -> Answer:
        async for chunk in response.aiter_bytes():
            partial += chunk
            if len(partial) > self._limits.answer_bytes:
                detail = f"an answer of more than {self._limits.answer_bytes:,} bytes"
                raise NoAnswerError("answer_too_large", detail, bytes(partial[:65_536]))
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        return Answer(response.status_code, bytes(partial), wait_s)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
