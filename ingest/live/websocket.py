"""Listens on a WebSocket for as long as it is wanted: reconnects, subscribes again, notices silence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import websockets
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ingest.events import Reject
from ingest.live.addresses import origin
from ingest.live.backoff import Backoff
from ingest.live.delivery import Delivery
from ingest.live.handover import HandOver, Message
from ingest.live.retry_after import retry_after_s
from lake.errors import SettingsError

logger = logging.getLogger(__name__)

# At DEBUG the library logs whole handshakes, address and headers with their tokens included.
_protocol_logger = logging.getLogger("ingest.live.websocket_protocol")
_protocol_logger.setLevel(logging.WARNING)

_REFUSED = frozenset({401, 403})
_TOO_BIG = 1009

_REFUSALS = 10
"""So many addresses for one connection may be refused in a row: with the default waits, two minutes or more.

A server that takes one connection at a time refuses the next while it has not noticed that the last is gone.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What to connect to, and what to say there.

    Attributes:
        url: Address, secret, for some feeds want the token in it. For feeds whose addresses are good for one
            connection, what gives one before each: it raises NoAddressError if there is none now, and
            SettingsError if asking again would not help. Such an address may be refused although the token
            is good, for it was used or the last connection still counts; the next one is tried then.
        shown: The address as it may be shown.
        headers: Sent with the handshake; secret.
        subscriptions: Sent on each connect, in this order.
        refused_hint: What to do when the server refuses the credentials.
    """

    url: SecretStr | Callable[[], Awaitable[SecretStr]]
    shown: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    subscriptions: tuple[str | bytes, ...] = field(default=(), repr=False)
    refused_hint: str = "check the token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait and how much to hold.

    Attributes:
        open_timeout_s: For connection and handshake.
        ping_interval_s: Between pings of ours.
        ping_timeout_s: For the answer to one.
        silence_s: Without data, while data is expected, before the connection is given up: a feed can go
            silent with its pings still answered.
        message_bytes: Longest message taken.
        queue_messages: Messages that wait for the parser.
        queue_bytes: What they may add up to.
    """

    open_timeout_s: float = 15.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    silence_s: float = 60.0
    message_bytes: int = 32 << 20
    queue_messages: int = 512
    queue_bytes: int = 128 << 20


class NoAddressError(Exception):
    """There is no address to connect to now.

    Attributes:
        why: For a person, without addresses.
        wait_s: How long the server wants to be left alone.
    """

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.why = why
        self.wait_s = wait_s


class _Connect(connect):
    """Follows redirects on the same host only: subscriptions may hold a token, as headers do."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        found = super().process_redirect(exc)
        return found if not isinstance(found, str) or origin(found) == origin(self.uri) else exc


class _SilenceError(Exception):
    """No data for too long."""


class WebSocketFeed:
    """One connection that is kept up, and the parser behind it."""

    def __init__(
        self,
        endpoint: Endpoint,
        delivery: Delivery,
        parse: Callable[[Message], object],
        *,
        exchanges: tuple[str, ...],
        limits: Limits,
        is_data: Callable[[str | bytes], bool] = lambda _: True,
        expects_data: Callable[[], bool] = lambda: True,
        backoff: Backoff | None = None,
        line: int = 0,
    ) -> None:
        """Make a feed; `run` connects.

        Args:
            endpoint: Where to.
            delivery: Is told of states and drops.
            parse: Takes each message, in a thread, one at a time and in order; never raises.
            exchanges: Whose data comes over it.
            limits: Times and sizes.
            is_data: Whether a message is data; others show only that the connection is alive, and are not
                parsed.
            expects_data: Whether data should come now; out of session, silence is no fault.
            backoff: Waits between tries.
            line: Number of this connection among those of the source.
        """
        self._endpoint = endpoint
        self._delivery = delivery
        self._parse = parse
        self._exchanges = exchanges
        self._limits = limits
        self._is_data = is_data
        self._expects_data = expects_data
        self._backoff = backoff or Backoff()
        self._line = line
        self._refusals = 0
        self._handover = HandOver(
            most_messages=limits.queue_messages, most_bytes=limits.queue_bytes, on_drop=self._dropped
        )
        for exchange in exchanges:
            delivery.connections.expect(exchange, line)

    async def run(self) -> None:
        """Listen until cancelled; what was received is parsed before it ends.

        Raises:
            SettingsError: The server refuses the credentials (401, 403): trying again would not help. Of
                addresses for one connection, ten in a row.
        """
        parser = asyncio.create_task(self._parse_all())
        try:
            while True:
                why, at_least_s = await self._listen_once()
                self._state(up=False, why=why)
                await asyncio.sleep(self._backoff.next_s(at_least_s))
        finally:
            self._state(up=False, why="stopped")
            parser.cancel()
            with suppress(asyncio.CancelledError):
                await parser
            for message in self._handover.take_all():
                self._parse(message)

    async def _listen_once(self) -> tuple[str, float]:
        """Connect and listen until it ends; why it did, and how long the server wants us to stay away."""
        limits = self._limits
        try:
            url = self._endpoint.url
            url = url if isinstance(url, SecretStr) else await url()
            async with _Connect(
                url.get_secret_value(),
                additional_headers=dict(self._endpoint.headers),
                open_timeout=limits.open_timeout_s,
                ping_interval=limits.ping_interval_s,
                ping_timeout=limits.ping_timeout_s,
                close_timeout=2.0,
                max_size=limits.message_bytes,
                max_queue=16,
                proxy=None,
                logger=_protocol_logger,
                process_exception=lambda error: error,
            ) as connection:
                for subscription in self._endpoint.subscriptions:
                    await connection.send(subscription)
                self._refusals = 0
                self._state(up=True, why="connected")
                await self._receive(connection)
        except NoAddressError as error:
            return error.why, error.wait_s
        except InvalidStatus as error:
            return self._refused(error.response.status_code, error.response.headers.get("Retry-After"))
        except ConnectionClosed as error:
            return self._closed(error), 0.0
        except _SilenceError:
            return f"no data for {limits.silence_s:g} s", 0.0
        except TimeoutError:
            return "connecting took too long", 0.0
        except (OSError, EOFError, websockets.WebSocketException, ValueError) as error:
            # Texts of these errors can hold the address, and with it the token.
            return f"connection failed ({type(error).__name__})", 0.0
        return "closed", 0.0

    async def _receive(self, connection: ClientConnection) -> None:
        deadline = time.monotonic() + self._limits.silence_s
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    content = await connection.recv()
            except TimeoutError:
                if self._expects_data():
                    raise _SilenceError from None
                deadline = time.monotonic() + self._limits.silence_s
                continue
            received_ns = time.time_ns()
            if self._is_data(content):
                self._backoff.reset()
                deadline = time.monotonic() + self._limits.silence_s
                self._handover.put(Message(content, received_ns))
            elif time.monotonic() >= deadline:
                # Heartbeats that come thick must not keep the watch-dog asleep.
                if self._expects_data():
                    raise _SilenceError
                deadline = time.monotonic() + self._limits.silence_s

    async def _parse_all(self) -> None:
        while True:
            message = await self._handover.get()
            work = asyncio.ensure_future(asyncio.to_thread(self._parse, message))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                # What is being parsed is brought to its end, so that nothing overtakes it.
                await work
                raise

    def _refused(self, status: int, retry_after: str | None) -> tuple[str, float]:
        wait_s = retry_after_s(retry_after)
        if status in _REFUSED:
            self._refusals += 1
            if not isinstance(self._endpoint.url, SecretStr) and self._refusals < _REFUSALS:
                return f"the server refused the address it gave (HTTP {status})", wait_s
            raise SettingsError(
                f"{self._endpoint.shown} refused the connection (HTTP {status}):"
                f" {self._endpoint.refused_hint}"
            )
        return f"the server answered HTTP {status}", wait_s

    def _closed(self, error: ConnectionClosed) -> str:
        ours = error.sent.code if error.sent is not None else None
        theirs = error.rcvd.code if error.rcvd is not None else None
        if ours == _TOO_BIG and not error.rcvd_then_sent:
            # The library ends such a connection without giving out what came.
            limit = self._limits.message_bytes
            for exchange in self._exchanges[:1]:
                reject = Reject("message_too_large", f"a message of more than {limit:,} bytes", None)
                self._delivery.reject(exchange, reject, time.time_ns())
            return f"a message was longer than {limit:,} bytes"
        code = theirs if theirs is not None else ours
        return "connection lost" if code is None or code == 1006 else f"connection closed (code {code})"

    def _dropped(self, message: Message, reason: str) -> None:
        del message
        for exchange in self._exchanges[:1]:
            self._delivery.drop(exchange, reason)

    def _state(self, *, up: bool, why: str) -> None:
        for exchange in self._exchanges:
            self._delivery.connections.change(exchange, up=up, why=why, line=self._line)
