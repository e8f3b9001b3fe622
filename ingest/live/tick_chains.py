"""Gathers the ticks of a ticker into chains.

A tick is one contract. The tables, the views over them and the checks of a feed's quality look at chains,
so each interval gives one chain an underlying: every contract heard of so far, with its newest values. Ticks
in between that are overtaken within the interval are counted; with an interval of 0 every tick is a
chain of one leg of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ingest.events import ChainUpdate

if TYPE_CHECKING:
    # A retry gathers ticks, too, and needs none of the libraries of live sources.
    from ingest.live.websocket import WebSocketFeed


class TakesChains(Protocol):
    """Where chains go, e.g. an `ingest.live.delivery.Delivery`."""

    def chain(self, update: ChainUpdate, received_ns: int) -> None:
        """Take a chain, received at that time."""
        ...


@dataclass(frozen=True, slots=True)
class Contract:
    """One option.

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Underlying, canonical.
        expiry: Expiry date.
        strike: In rupees.
        option_type: `CE` or `PE`.
    """

    exchange: str
    symbol: str
    expiry: date
    strike: float
    option_type: str


@dataclass(slots=True)
class _Book:
    """What is known of one underlying.

    Attributes:
        legs: Newest values of each contract.
        new: Contracts heard of since the last chain.
        event_time: The exchange's newest time since then.
        received_ns: When the newest tick came.
    """

    exchange: str
    legs: dict[Contract, dict[str, Any]] = field(default_factory=dict)
    new: set[Contract] = field(default_factory=set)
    event_time: datetime | None = None
    received_ns: int = 0


class TickChains:
    """Takes ticks of all connections of a ticker; gives chains to a delivery. Raises only if that does.

    Attributes:
        lock: To be held while ticks are taken: messages are read in a thread each connection, chains are made
            by a timer.
        ticks: Ticks of contracts taken.
        overtaken: Ticks whose values were replaced before a chain was made of them.
    """

    def __init__(self, delivery: TakesChains, *, gather: bool = True) -> None:
        self._delivery = delivery
        self._gather = gather
        self.lock = threading.Lock()
        self._books: dict[str, _Book] = {}
        self._underlying: dict[str, float | None] = {}
        self.ticks = 0
        self.overtaken = 0

    def take_underlying(self, symbol: str, price: float | None) -> None:
        """Take the price of an underlying, in rupees; with the lock held."""
        self._underlying[symbol] = price

    def underlying(self, symbol: str) -> float | None:
        """The price of an underlying, None if none is known; with the lock held."""
        return self._underlying.get(symbol)

    def take(self, contract: Contract, values: dict[str, Any], at: datetime | None, received_ns: int) -> None:
        """Take one tick; with the lock held.

        Args:
            contract: Whose it is.
            values: Columns of a leg: `ltp`, `bid`, `ask` in rupees, `bid_qty`, `ask_qty`, `oi`, `volume` in
                units of the underlying, `iv` as a fraction. It is kept, and must not be changed.
            at: As the exchange's clock has it, with zone; None if it is not told.
            received_ns: When it came, epoch nanoseconds.
        """
        self.ticks += 1
        book = self._books.setdefault(contract.symbol, _Book(contract.exchange))
        self.overtaken += contract in book.new
        leg = {"strike": contract.strike, "expiry": contract.expiry, **values}
        book.legs[contract] = leg
        book.new.add(contract)
        book.received_ns = received_ns
        if at is not None and (book.event_time is None or at > book.event_time):
            book.event_time = at
        if not self._gather:
            self._give(contract.symbol, book, {contract: leg})

    def make_chains(self) -> int:
        """Give out a chain of each underlying that was heard of since the last time; how many."""
        with self.lock:
            made = 0
            for symbol, book in self._books.items():
                if book.new:
                    self._give(symbol, book, book.legs)
                    made += 1
            return made

    def _give(self, symbol: str, book: _Book, legs: dict[Contract, dict[str, Any]]) -> None:
        sides: dict[str, list[dict[str, Any]]] = {"CE": [], "PE": []}
        for contract, leg in legs.items():
            # The tap keeps these very objects: the next tick puts another in its place, and changes none.
            sides[contract.option_type].append(leg)
        self._delivery.chain(
            ChainUpdate(
                book.exchange,
                symbol,
                book.event_time,
                book.received_ns,
                calls=sides["CE"],
                puts=sides["PE"],
                context={"underlying_price": self._underlying.get(symbol)},
            ),
            book.received_ns,
        )
        book.new.clear()
        book.event_time = None


async def run_ticker(feeds: Sequence[WebSocketFeed], chains: TickChains, every_s: float) -> None:
    """Listen on all connections until cancelled; what was heard is given out before it ends.

    Args:
        feeds: The connections.
        chains: Takes what they parse.
        every_s: Seconds between chains; 0 for each tick on its own.

    Raises:
        SettingsError: The server refuses the credentials of one of them.
    """
    tasks = [asyncio.create_task(feed.run()) for feed in feeds]
    if every_s > 0:
        tasks.append(asyncio.create_task(_make_chains(chains, every_s)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        chains.make_chains()


async def _make_chains(chains: TickChains, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        chains.make_chains()
