"""Live source `upstox-feed`: Upstox's market-data feed v3, protobuf over a WebSocket.

    contracts of each underlying (HTTP) -> address of the feed (HTTP) -> WebSocket -> chains

An address is good for one connection, and asked for before each; an app may have one at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from ingest.events import Reject
from ingest.live.addresses import checked_address
from ingest.live.backoff import Backoff
from ingest.live.delivery import Delivery
from ingest.live.http_client import HttpClient, HttpLimits, NoAnswerError
from ingest.live.messages import payload_of
from ingest.live.poll_sources import UPSTOX
from ingest.live.tick_chains import Contract, TickChains, run_ticker
from ingest.live.upstox_contracts import Subscribed, checked, contracts_in, contracts_request
from ingest.live.upstox_messages import UpstoxMessages
from ingest.live.upstox_protobuf import has_ticks
from ingest.live.websocket import Endpoint, Limits, NoAddressError, WebSocketFeed
from ingest.sources import json_document
from ingest.sources.recorded_file import NotARecordingError
from lake.errors import SettingsError

logger = logging.getLogger(__name__)

_AUTHORIZE: Final = "/v3/feed/market-data-feed/authorize"
_OPTIONS_MODE: Final = "option_greeks"
"""Last price, best bid and ask, volume, open interest and implied volatility: what a chain has."""

_INDEX_MODE: Final = "ltpc"
_SUBSCRIBE_KEYS: Final = 500
_REFUSED: Final = frozenset({401, 403})
_REFUSED_HINT: Final = (
    "the access token has ended or is wrong; get today's and store it as upstox_access_token"
)


def subscriptions(subscribed: Subscribed) -> tuple[bytes, ...]:
    """Messages that subscribe; Upstox wants JSON in binary frames."""
    messages = []
    for mode, keys in ((_INDEX_MODE, list(subscribed.indices)), (_OPTIONS_MODE, list(subscribed.contracts))):
        for start in range(0, len(keys), _SUBSCRIBE_KEYS):
            data = {"mode": mode, "instrumentKeys": keys[start : start + _SUBSCRIBE_KEYS]}
            message = {"guid": uuid.uuid4().hex, "method": "sub", "data": data}
            messages.append(json.dumps(message).encode())
    return tuple(messages)


async def listen(
    symbols: list[str],
    delivery: Delivery,
    *,
    access_token: SecretStr,
    expiries: int,
    today: Callable[[str], date],
    address: str = UPSTOX.address,
    every_s: float = 1.0,
    limits: Limits | None = None,
    http_limits: HttpLimits | None = None,
    expects_data: Callable[[tuple[str, ...]], bool] = lambda _: True,
    backoff: Backoff | None = None,
) -> None:
    """Listen until cancelled; what was heard is given out before it ends.

    Args:
        symbols: Underlyings, in any spelling.
        delivery: Takes the chains.
        access_token: Of the day.
        expiries: How many of the nearest expiries of each underlying.
        today: The session date of an exchange.
        address: Of the API; the feed's own is what it answers.
        every_s: Seconds between chains; 0 for each tick on its own.
        limits: Times and sizes of the connection.
        http_limits: Those of the API.
        expects_data: Whether a session of some exchanges runs.
        backoff: Waits between tries.

    Raises:
        SettingsError: Too many instruments, an underlying that Upstox does not have, or the token is refused.
    """
    keys = {UPSTOX.key_of(symbol): None for symbol in symbols}
    exchanges = tuple(sorted({UPSTOX.exchange_of(key) for key in keys}))
    backoff = backoff or Backoff()
    client = HttpClient(
        address, headers=UPSTOX.headers, limits=http_limits or HttpLimits(), bearer=access_token
    )
    try:
        api = _Api(client, delivery, exchanges[0], is_loopback=address.startswith("http://"))
        subscribed = await _subscribed(api, list(keys), exchanges, delivery, expiries, today, backoff)
        chains = TickChains(delivery, gather=every_s > 0)
        messages = UpstoxMessages(subscribed, delivery, chains)
        feed = WebSocketFeed(
            Endpoint(
                url=api.feed_address,
                shown=client.shown,
                subscriptions=subscriptions(subscribed),
                refused_hint=_REFUSED_HINT,
            ),
            delivery,
            messages.take,
            exchanges=exchanges,
            limits=limits or Limits(),
            is_data=_is_data,
            expects_data=lambda: expects_data(exchanges),
            backoff=backoff,
        )
        await run_ticker([feed], chains, every_s)
    finally:
        for exchange in exchanges:
            delivery.connections.change(exchange, up=False, why="stopped")
        await client.close()


class _Api:
    """What is asked over HTTP before the feed can be listened to."""

    def __init__(self, client: HttpClient, delivery: Delivery, exchange: str, *, is_loopback: bool) -> None:
        self._client = client
        self._delivery = delivery
        self._exchange = exchange
        self._schemes = ("ws", "wss") if is_loopback else ("wss", "wss")

    async def contracts(self, key: str, today: date, expiries: int) -> dict[str, Contract]:
        """The contracts of an underlying.

        Raises:
            NoAddressError: They are not to be had now.
            SettingsError: The token is refused.
        """
        request = contracts_request(key)
        payload, content = await self._get(request.path, request.params)
        try:
            return contracts_in(payload, key, expiries=expiries, today=today)
        except NotARecordingError as error:
            self._keep(error.reason, error.detail, content)
            raise NoAddressError(f"no list of contracts: {error.detail}") from None

    async def feed_address(self) -> SecretStr:
        """An address of the feed, good for one connection; it holds a secret.

        Raises:
            NoAddressError: There is none now.
            SettingsError: The token is refused, or the address is not encrypted.
        """
        # An answer that is no page may hold an address, also when it is cut off: it is not kept.
        payload, content = await self._get(_AUTHORIZE, {}, is_secret=True)
        data = payload.get("data") if isinstance(payload, Mapping) else None
        found = data.get("authorized_redirect_uri") if isinstance(data, Mapping) else None
        if not isinstance(found, str) or not urlsplit(found).hostname:
            self._keep("unknown_shape", f"{len(content):,} bytes without an address of the feed", b"")
            raise NoAddressError("the answer has no address of the feed")
        return SecretStr(checked_address(found, schemes=self._schemes))

    async def _get(
        self, path: str, params: Mapping[str, str], *, is_secret: bool = False
    ) -> tuple[Any, bytes]:
        try:
            answer = await self._client.get(path, params)
        except NoAnswerError as error:
            raise NoAddressError(error.detail) from None
        if answer.status in _REFUSED:
            raise SettingsError(
                f"{self._client.shown} refused the token (HTTP {answer.status}): {_REFUSED_HINT}"
            )
        if answer.is_html:
            detail = f"a page instead of JSON (HTTP {answer.status})"
            self._keep("html_instead_of_json", detail, answer.content)
            raise NoAddressError(detail, answer.retry_after_s)
        if answer.status != 200:
            raise NoAddressError(f"HTTP {answer.status}", answer.retry_after_s)
        try:
            return json_document.parse(answer.content.decode("utf-8-sig")), answer.content
        except (NotARecordingError, UnicodeDecodeError):
            detail = f"an answer of {len(answer.content):,} bytes that is no JSON"
            self._keep("unknown_shape", detail, b"" if is_secret else answer.content)
            raise NoAddressError(detail) from None

    def _keep(self, reason: str, detail: str, content: bytes) -> None:
        self._delivery.reject(self._exchange, Reject(reason, detail, payload_of(content)), time.time_ns())


async def _subscribed(
    api: _Api,
    keys: list[str],
    exchanges: tuple[str, ...],
    delivery: Delivery,
    expiries: int,
    today: Callable[[str], date],
    backoff: Backoff,
) -> Subscribed:
    """Ask for the contracts of all underlyings until they are there."""
    while True:
        try:
            contracts: dict[str, Contract] = {}
            indices: dict[str, str] = {}
            for key in keys:
                found = await api.contracts(key, today(UPSTOX.exchange_of(key)), expiries)
                contracts |= found
                indices[key] = next(iter(found.values())).symbol
        except NoAddressError as error:
            for exchange in exchanges:
                delivery.connections.change(exchange, up=False, why=error.why)
            wait_s = backoff.next_s(error.wait_s)
            logger.info(
                "no contracts", extra={"action": "listen", "why": error.why, "wait_s": round(wait_s, 1)}
            )
            await asyncio.sleep(wait_s)
            continue
        backoff.reset()
        return checked(Subscribed(contracts, indices))


def _is_data(content: str | bytes) -> bool:
    return isinstance(content, str) or has_ticks(content)
