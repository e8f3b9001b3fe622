"""Gathers Kite's ticks into chains.

A tick is one contract. The tables, the views over them and the checks of a feed's quality look at chains,
so each interval gives one chain an underlying: every contract heard of so far, with its newest values. Ticks
in between that are overtaken within the interval are counted; with an interval of 0 every tick is a
chain of one leg of its own.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ingest.events import ChainUpdate, Reject
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.kite_instruments import Contract, Instruments
from ingest.live.kite_packets import PacketError, Tick, read_ticks
from ingest.live.messages import payload_of


@dataclass(slots=True)
class _Book:
    """What is known of one underlying.

    Attributes:
        legs: Newest values of each contract, by token.
        new: Tokens heard of since the last chain.
        event_time: The exchange's newest time since then.
        received_ns: When the newest tick came.
    """

    exchange: str
    legs: dict[int, dict[str, Any]] = field(default_factory=dict)
    new: set[int] = field(default_factory=set)
    event_time: datetime | None = None
    received_ns: int = 0


class KiteChains:
    """Takes binary and text messages of all connections; gives chains to a delivery. Never raises.

    Attributes:
        ticks: Ticks of contracts taken.
        overtaken: Ticks whose values were replaced before a chain was made of them.
        errors: Texts in which Kite told of an error.
    """

    def __init__(self, instruments: Instruments, delivery: Delivery, *, gather: bool = True) -> None:
        self._instruments = instruments
        self._delivery = delivery
        self._gather = gather
        # Messages are read in a thread each connection, chains are made by a timer.
        self._lock = threading.Lock()
        self._books: dict[str, _Book] = {}
        self._underlying: dict[str, float | None] = {}
        self._exchange = instruments.exchanges[0]
        self.ticks = 0
        self.overtaken = 0
        self.errors = 0

    def take(self, message: Message) -> None:
        """Take one message of a connection."""
        if isinstance(message.content, str):
            self._take_text(message)
            return
        with self._lock:
            try:
                for tick in read_ticks(message.content):
                    self._take_tick(tick, message)
            except PacketError as error:
                payload = {"message": payload_of(message.content), "rest": {"hex": error.rest.hex()}}
                reject = Reject(error.reason, error.detail, payload)
                self._delivery.reject(self._exchange, reject, message.received_ns)

    def make_chains(self) -> int:
        """Give out a chain of each underlying that was heard of since the last time; how many."""
        with self._lock:
            made = 0
            for symbol, book in self._books.items():
                if book.new:
                    self._give(symbol, book, book.legs)
                    made += 1
            return made

    def _take_tick(self, tick: Tick, message: Message) -> None:
        index = self._instruments.indices.get(tick.token)
        if index is not None:
            self._underlying[index] = tick.ltp
            return
        contract = self._instruments.contracts.get(tick.token)
        if contract is None:
            detail = f"token {tick.token} was not subscribed to"
            reject = Reject("unknown_token", detail, payload_of(message.content))
            self._delivery.reject(self._exchange, reject, message.received_ns)
            return
        self.ticks += 1
        book = self._books.setdefault(contract.symbol, _Book(contract.exchange))
        self.overtaken += tick.token in book.new
        book.legs[tick.token] = _leg(contract, tick)
        book.new.add(tick.token)
        book.received_ns = message.received_ns
        if tick.exchange_time is not None and (
            book.event_time is None or tick.exchange_time > book.event_time
        ):
            book.event_time = tick.exchange_time
        if not self._gather:
            self._give(contract.symbol, book, {tick.token: book.legs[tick.token]})

    def _give(self, symbol: str, book: _Book, legs: dict[int, dict[str, Any]]) -> None:
        sides: dict[str, list[dict[str, Any]]] = {"CE": [], "PE": []}
        for token, leg in legs.items():
            # The tap keeps these very objects: the next tick puts another in its place, and changes none.
            sides[self._instruments.contracts[token].option_type].append(leg)
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

    def _take_text(self, message: Message) -> None:
        """Orders of the account are no business of ours; errors are told, and kept."""
        import json

        content = str(message.content)
        try:
            kind = json.loads(content).get("type")
        except (ValueError, AttributeError, RecursionError):
            kind = None
        if kind in {"order", "message"}:
            return
        self.errors += kind == "error"
        reason = "kite_error" if kind == "error" else "unknown_shape"
        reject = Reject(reason, "a text message that is no tick", content)
        self._delivery.reject(self._exchange, reject, message.received_ns or time.time_ns())


def _leg(contract: Contract, tick: Tick) -> dict[str, Any]:
    return {
        "strike": contract.strike,
        "expiry": contract.expiry,
        "ltp": tick.ltp,
        "bid": tick.bid,
        "ask": tick.ask,
        "bid_qty": tick.bid_qty,
        "ask_qty": tick.ask_qty,
        "oi": tick.oi,
        "volume": tick.volume,
    }
