"""Parts of a ticker's messages that could not be read: how they are kept, and how they are read again.

A binary message names instruments by numbers or keys that mean something on that day only. So what is kept
of one goes with the contracts of the instruments in it, and with the prices of their underlyings then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar

from ingest.events import ChainUpdate
from ingest.live.tick_chains import Contract, TickChains
from ingest.origins import TicksOrigin
from lake.errors import MalformedInputError

KITE: Final = "kite-ticker"
UPSTOX: Final = "upstox-feed"

_Token = TypeVar("_Token", int, str)


class TickerError(MalformedInputError):
    """Bytes that are no message of a ticker, or a part of one that cannot be taken.

    Attributes:
        reason: Stable code.
        detail: For a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Heard:
    """What a message says of one instrument, of any ticker.

    Attributes:
        token: The instrument, as the ticker calls it.
        ltp: Last price in rupees, None for none; of an index its value.
        values: Columns of a leg, see `TickChains.take`; None where only the price is told.
        at: As the exchange's or the server's clock has it; None if it is not told.
    """

    token: str
    ltp: float | None
    values: dict[str, Any] | None
    at: datetime | None


def is_index_value(value: float | None) -> bool:
    """Whether an index can have this value: a wrong one would spoil every leg of its chains."""
    return value is None or (math.isfinite(value) and value > 0)


def part_origin(
    name: str,
    tokens: Iterable[_Token],
    contracts: Mapping[_Token, Contract],
    indices: Mapping[_Token, str],
    chains: TickChains,
) -> TicksOrigin:
    """Where a part comes from; it knows the contracts in it and no others.

    Args:
        name: Format of the message, one of `READERS`.
        tokens: What may be an instrument in it.
        contracts: Those that were subscribed to.
        indices: Symbols of the underlyings that were subscribed to.
        chains: Has the prices of the underlyings; its lock is not held.
    """
    found = set(tokens)
    known = {str(token): contracts[token] for token in found if token in contracts}
    symbols = {contract.symbol for contract in known.values()}
    with chains.lock:
        prices = {symbol: chains.underlying(symbol) for symbol in sorted(symbols)}
    return TicksOrigin(
        name,
        {
            token: (one.exchange, one.symbol, one.expiry.isoformat(), one.strike, one.option_type)
            for token, one in known.items()
        },
        {str(token): indices[token] for token in found if token in indices},
        {symbol: price for symbol, price in prices.items() if price is not None},
    )


def chains_again(content: bytes, origin: Mapping[str, Any], received_ns: int) -> list[ChainUpdate]:
    """The ticks of a kept part, each a chain of one leg, for the rest of its chain is not at hand.

    Args:
        content: The part.
        origin: Where it comes from, as `TicksOrigin` describes it.
        received_ns: When it came, epoch nanoseconds.

    Raises:
        TickerError: It still cannot be read in whole; nothing of it is given then.
        KeyError: There is no such format.
        ImportError: A library is missing that its format takes.
    """
    read = READERS[origin["format"]]
    contracts = {token: _contract(*told) for token, told in origin["contracts"].items()}
    indices = origin["indices"]
    collected = _Collected()
    chains = TickChains(collected, gather=False)
    with chains.lock:
        for symbol, price in origin["prices"].items():
            chains.take_underlying(symbol, price)
        for heard in read(content):
            if heard.token in indices:
                if not is_index_value(heard.ltp):
                    raise TickerError("bad_number", f"index {heard.token}: {heard.ltp}")
                chains.take_underlying(indices[heard.token], heard.ltp)
            elif heard.token not in contracts:
                raise TickerError("unknown_token", f"{heard.token} was not subscribed to")
            elif heard.values is None:
                raise TickerError("unknown_shape", f"{heard.token} comes without values")
            else:
                chains.take(contracts[heard.token], heard.values, heard.at, received_ns)
    return collected.chains


class _Collected:
    """Keeps the chains it is given."""

    def __init__(self) -> None:
        self.chains: list[ChainUpdate] = []

    def chain(self, update: ChainUpdate, received_ns: int) -> None:
        """Take a chain."""
        update.received_ns = received_ns
        self.chains.append(update)


def _contract(exchange: str, symbol: str, expiry: str, strike: float, option_type: str) -> Contract:
    return Contract(exchange, symbol, date.fromisoformat(expiry), strike, option_type)


def _kite(content: bytes) -> Iterator[Heard]:
    from ingest.live.kite_packets import leg_values, read_packets

    for tick in read_packets(content):
        yield Heard(str(tick.token), tick.ltp, leg_values(tick), tick.exchange_time)


def _upstox(content: bytes) -> Iterator[Heard]:
    from ingest.live.upstox_protobuf import read_feed

    feed = read_feed(content)
    # In a map of protobuf the last entry of a key counts.
    for tick in {tick.key: tick for tick in feed.ticks}.values():
        yield Heard(tick.key, tick.ltp, tick.values, feed.at)


READERS: Final[Mapping[str, Callable[[bytes], Iterator[Heard]]]] = MappingProxyType(
    {KITE: _kite, UPSTOX: _upstox}
)
"""Formats of binary messages, and what reads a part of one."""
