"""Reads the messages of Kite's ticker into chains."""

from __future__ import annotations

import time
from typing import Any

from ingest.events import Reject
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.kite_instruments import Instruments
from ingest.live.kite_packets import PacketError, Tick, read_ticks
from ingest.live.messages import payload_of
from ingest.live.tick_chains import TickChains


class KiteMessages:
    """Takes binary and text messages of all connections. Never raises.

    Attributes:
        chains: Where its ticks go.
        errors: Texts in which Kite told of an error.
    """

    def __init__(self, instruments: Instruments, delivery: Delivery, chains: TickChains) -> None:
        self._instruments = instruments
        self._delivery = delivery
        self._exchange = instruments.exchanges[0]
        self.chains = chains
        self.errors = 0

    def take(self, message: Message) -> None:
        """Take one message of a connection."""
        if isinstance(message.content, str):
            self._take_text(message)
            return
        with self.chains.lock:
            try:
                for tick in read_ticks(message.content):
                    self._take_tick(tick, message)
            except PacketError as error:
                payload = {"message": payload_of(message.content), "rest": {"hex": error.rest.hex()}}
                reject = Reject(error.reason, error.detail, payload)
                self._delivery.reject(self._exchange, reject, message.received_ns)

    def _take_tick(self, tick: Tick, message: Message) -> None:
        index = self._instruments.indices.get(tick.token)
        if index is not None:
            self.chains.take_underlying(index, tick.ltp)
            return
        contract = self._instruments.contracts.get(tick.token)
        if contract is None:
            detail = f"token {tick.token} was not subscribed to"
            reject = Reject("unknown_token", detail, payload_of(message.content))
            self._delivery.reject(self._exchange, reject, message.received_ns)
            return
        self.chains.take(contract, _values(tick), tick.exchange_time, message.received_ns)

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


def _values(tick: Tick) -> dict[str, Any]:
    return {
        "ltp": tick.ltp,
        "bid": tick.bid,
        "ask": tick.ask,
        "bid_qty": tick.bid_qty,
        "ask_qty": tick.ask_qty,
        "oi": tick.oi,
        "volume": tick.volume,
    }
