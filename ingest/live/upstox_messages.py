"""Reads the messages of Upstox's feed into chains."""

from __future__ import annotations

import logging
from typing import Final

from ingest.events import Reject
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.live.messages import payload_of
from ingest.live.tick_chains import TickChains
from ingest.live.tick_parts import UPSTOX, is_index_value, part_origin
from ingest.live.upstox_contracts import Subscribed
from ingest.live.upstox_protobuf import FeedError, Tick, keys_in, part_of, read_feed

logger = logging.getLogger(__name__)

_FAULTS: Final = {
    "unknown_token": "not subscribed to",
    "unknown_shape": "without values that are known",
    "bad_number": "no value of an index",
}


class UpstoxMessages:
    """Reads messages into chains. Never raises."""

    def __init__(self, subscribed: Subscribed, delivery: Delivery, chains: TickChains) -> None:
        self._subscribed = subscribed
        self._delivery = delivery
        self._chains = chains
        self._exchange = subscribed.exchanges[0]

    def take(self, message: Message) -> None:
        """Take one message of the connection; one that cannot be read is kept whole."""
        content = message.content
        if isinstance(content, str):
            reject = Reject("unknown_shape", "a text message, no protobuf", content)
            self._delivery.reject(self._exchange, reject, message.received_ns)
            return
        try:
            self._take(content, message.received_ns)
        except FeedError as error:
            self._keep(error.reason, error.detail, content, message.received_ns)
        except Exception as error:
            # Not foreseen; but a reader that died would turn the feed into a silent hole. Some of it may have
            # been taken, so it is kept without what it takes to be tried again.
            logger.exception("message could not be read", extra={"action": "read_message"})
            detail = f"reading it raised {type(error).__name__}"
            reject = Reject("unreadable", detail, payload_of(content))
            self._delivery.reject(self._exchange, reject, message.received_ns)

    def _take(self, content: bytes, received_ns: int) -> None:
        """Take what can be taken; instruments that cannot be are kept, those of one reason together."""
        feed = read_feed(content)
        faults: dict[str, list[int]] = {}
        good: list[Tick] = []
        for position, tick in enumerate(feed.ticks):
            reason = self._fault(tick)
            if reason is None:
                good.append(tick)
            else:
                faults.setdefault(reason, []).append(position)
        parts = [
            (reason, found, part_of(content, found) if len(found) < len(feed.ticks) else content)
            for reason, found in faults.items()
        ]
        with self._chains.lock:
            for tick in good:
                index = self._subscribed.indices.get(tick.key)
                if index is not None:
                    self._chains.take_underlying(index, tick.ltp)
                elif tick.values is not None:
                    contract = self._subscribed.contracts[tick.key]
                    self._chains.take(contract, tick.values, feed.at, received_ns)
        for reason, found, part in parts:
            more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
            detail = f"{feed.ticks[found[0]].key!r}{more}: {_FAULTS[reason]}"
            self._keep(reason, detail, part, received_ns)

    def _fault(self, tick: Tick) -> str | None:
        """Why a tick cannot be taken."""
        if tick.key in self._subscribed.indices:
            if not tick.is_told:
                return "unknown_shape"
            return None if is_index_value(tick.ltp) else "bad_number"
        if tick.key not in self._subscribed.contracts:
            return "unknown_token"
        return None if tick.values is not None else "unknown_shape"

    def _keep(self, reason: str, detail: str, content: bytes, received_ns: int) -> None:
        subscribed = self._subscribed
        origin = part_origin(UPSTOX, keys_in(content), subscribed.contracts, subscribed.indices, self._chains)
        reject = Reject(reason, detail, payload_of(content), origin=origin)
        self._delivery.reject(self._exchange, reject, received_ns)
