"""Reads the messages of Kite's ticker into chains."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from ingest.events import Reject
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.kite_instruments import Instruments
from ingest.live.kite_packets import PacketError, Tick, leg_values, read_ticks, tokens_in
from ingest.live.messages import payload_of
from ingest.live.tick_chains import TickChains
from ingest.live.tick_parts import KITE, is_index_value, part_origin

logger = logging.getLogger(__name__)


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
        content = message.content
        try:
            if isinstance(content, str):
                self._take_text(content, message)
            else:
                self._take_ticks(content, message)
        except Exception as error:
            # Not foreseen; but a reader that died would turn the feed into a silent hole. Some of it may have
            # been taken, so it is kept without what it takes to be tried again.
            logger.exception("message could not be read", extra={"action": "read_message"})
            detail = f"reading it raised {type(error).__name__}"
            reject = Reject("unreadable", detail, payload_of(content))
            self._delivery.reject(self._exchange, reject, message.received_ns)

    def _take_ticks(self, content: bytes, message: Message) -> None:
        """Take the ticks before the first packet that is none; that and what comes after it are kept."""
        ticks: list[Tick] = []
        broken: PacketError | None = None
        try:
            ticks.extend(read_ticks(content))
        except PacketError as error:
            broken = error
        with self.chains.lock:
            bad = [(tick, fault) for tick in ticks if (fault := self._take_tick(tick, message)) is not None]
        for tick, (reason, detail) in bad:
            self._keep(reason, detail, {"rest": payload_of(tick.packet)}, [tick.token], message)
        if broken is not None:
            payload = {"message": payload_of(content), "rest": {"hex": broken.rest.hex()}}
            self._keep(broken.reason, broken.detail, payload, tokens_in(broken.rest), message)

    def _take_tick(self, tick: Tick, message: Message) -> tuple[str, str] | None:
        """Take a tick; or reason and detail of why it cannot be taken."""
        index = self._instruments.indices.get(tick.token)
        if index is not None:
            if not is_index_value(tick.ltp):
                return "bad_number", f"index {index} at {tick.ltp}"
            self.chains.take_underlying(index, tick.ltp)
            return None
        contract = self._instruments.contracts.get(tick.token)
        if contract is None:
            return "unknown_token", f"token {tick.token} was not subscribed to"
        self.chains.take(contract, leg_values(tick), tick.exchange_time, message.received_ns)
        return None

    def _keep(self, reason: str, detail: str, payload: Any, tokens: Iterable[int], message: Message) -> None:
        origin = part_origin(
            KITE, tokens, self._instruments.contracts, self._instruments.indices, self.chains
        )
        reject = Reject(reason, detail, payload, origin=origin)
        self._delivery.reject(self._exchange, reject, message.received_ns)

    def _take_text(self, content: str, message: Message) -> None:
        """Orders of the account are no business of ours; errors are told, and kept."""
        import json

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
