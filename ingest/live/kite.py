"""Live source `kite`: Kite's ticker, as many connections as the contracts need."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

from pydantic import SecretStr

from ingest.live.addresses import origin
from ingest.live.delivery import Delivery
from ingest.live.kite_instruments import Instruments
from ingest.live.kite_messages import KiteMessages
from ingest.live.kite_packets import is_heartbeat
from ingest.live.tick_chains import TickChains, run_ticker
from ingest.live.websocket import Endpoint, Limits, WebSocketFeed
from lake.errors import SettingsError

KITE_ADDRESS = "wss://ws.kite.trade"

TOKENS_A_CONNECTION = 2_000
"""Kite allows 3,000, but trackers saw their ticks end without a word at about 2,600 in full mode."""

CONNECTIONS = 3
"""What Kite allows an API key."""

_SUBSCRIBE_TOKENS = 500
"""Tokens in one message of ours; a long one is legal, but short ones are known to work."""


def subscriptions(tokens: list[int]) -> tuple[str, ...]:
    """Messages that subscribe to tokens in full mode."""
    messages = []
    for start in range(0, len(tokens), _SUBSCRIBE_TOKENS):
        some = tokens[start : start + _SUBSCRIBE_TOKENS]
        messages.append(json.dumps({"a": "subscribe", "v": some}))
        messages.append(json.dumps({"a": "mode", "v": ["full", some]}))
    return tuple(messages)


def split_tokens(tokens: list[int], most: int = TOKENS_A_CONNECTION) -> list[list[int]]:
    """Share the tokens out among as few connections as they need.

    Raises:
        SettingsError: They need more connections than Kite allows.
    """
    if len(tokens) > most * CONNECTIONS:
        raise SettingsError(
            f"{len(tokens):,} instruments, but {CONNECTIONS} connections of {most:,} are the most that Kite"
            " carries without losing ticks; choose fewer symbols or --expiries"
        )
    parts = -(-len(tokens) // most)
    size = -(-len(tokens) // parts)
    return [tokens[start : start + size] for start in range(0, len(tokens), size)]


async def listen(
    instruments: Instruments,
    delivery: Delivery,
    *,
    api_key: SecretStr,
    access_token: SecretStr,
    address: str = KITE_ADDRESS,
    every_s: float = 1.0,
    limits: Limits | None = None,
    expects_data: Callable[[], bool] = lambda: True,
    tokens_a_connection: int = TOKENS_A_CONNECTION,
) -> None:
    """Listen until cancelled; what was heard is given out before it ends.

    Args:
        instruments: What to subscribe to.
        delivery: Takes the chains.
        api_key: Of the Kite Connect app.
        access_token: Of the day; it ends at about six in the morning.
        address: The ticker's.
        every_s: Seconds between chains; 0 for each tick on its own.
        limits: Times and sizes.
        expects_data: Whether a session runs.
        tokens_a_connection: See `TOKENS_A_CONNECTION`.

    Raises:
        SettingsError: Too many instruments, or Kite refuses the credentials.
    """
    chains = TickChains(delivery, gather=every_s > 0)
    messages = KiteMessages(instruments, delivery, chains)
    query = urlencode(
        {"api_key": api_key.get_secret_value(), "access_token": access_token.get_secret_value()}
    )
    feeds = [
        WebSocketFeed(
            Endpoint(
                url=SecretStr(f"{address}?{query}"),
                shown=origin(address),
                headers={"X-Kite-Version": "3"},
                subscriptions=subscriptions(tokens),
                refused_hint="the access token has ended or the API key is wrong; log in to Kite",
            ),
            delivery,
            messages.take,
            exchanges=instruments.exchanges,
            limits=limits or Limits(silence_s=30.0),
            is_data=lambda content: not is_heartbeat(content),
            expects_data=expects_data,
            line=number,
        )
        for number, tokens in enumerate(split_tokens(instruments.tokens, tokens_a_connection))
    ]
    await run_ticker(feeds, chains, every_s)
