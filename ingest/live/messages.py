"""One JSON message of a live source to chains, by the adapter that reads recordings of the same format."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject
from ingest.live.delivery import Delivery
from ingest.live.handover import Message
from ingest.sources import bse_json, json_document, nse_json, upstox_log
from ingest.sources.recorded_file import NotARecordingError
from lake.errors import SettingsError

logger = logging.getLogger(__name__)

ReadPayload = Callable[[Any, datetime, ReferenceData], Iterator[ChainUpdate | Reject]]


def _nse(payload: Any, received: datetime, reference: ReferenceData) -> Iterator[ChainUpdate | Reject]:
    del received
    return nse_json.chains_of(payload, reference)


def _bse(payload: Any, received: datetime, reference: ReferenceData) -> Iterator[ChainUpdate | Reject]:
    del received
    return bse_json.chains_of(payload, reference)


def _upstox(payload: Any, received: datetime, reference: ReferenceData) -> Iterator[ChainUpdate | Reject]:
    # An answer of Upstox has no time of its own: the best there is is when it came.
    return upstox_log.chains_of(payload, received, reference)


FORMATS: Final[Mapping[str, ReadPayload]] = MappingProxyType(
    {"nse-json": _nse, "bse-json": _bse, "upstox-chain": _upstox}
)
"""Formats a JSON message can be in, and what reads them."""


def read_payload(name: str) -> ReadPayload:
    """Return what reads a format.

    Raises:
        SettingsError: There is no such format; the message lists those there are.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise SettingsError(f"no message format {name!r}; there are: {', '.join(FORMATS)}") from None


class MessageReader:
    """Turns messages into chains for a delivery; what cannot be read goes to quarantine whole."""

    def __init__(
        self, read: ReadPayload, reference: ReferenceData, delivery: Delivery, *, exchange: str
    ) -> None:
        """Make a reader.

        Args:
            read: One of `FORMATS`.
            reference: Calendar and lot sizes.
            delivery: Takes chains and rejects.
            exchange: Where messages that cannot be read are filed.
        """
        self._read = read
        self._reference = reference
        self._delivery = delivery
        self._exchange = exchange

    def take(self, message: Message) -> bool:
        """Read one message; whether it was a chain. Never raises."""
        try:
            text = _text(message.content)
            received = datetime.fromtimestamp(message.received_ns / 1e9, UTC)
            payload = json_document.parse(text)
            # All of it before any of it: a message that breaks half way is kept once, whole.
            items = list(self._read(payload, received, self._reference))
        except NotARecordingError as error:
            self._reject(error.reason, error.detail, message)
            return False
        except Exception as error:
            # Not foreseen; but a reader that died would turn the feed into a silent hole.
            logger.exception("message could not be read", extra={"action": "read_message"})
            self._reject("unreadable", f"reading it raised {type(error).__name__}", message)
            return False
        for item in items:
            if isinstance(item, Reject):
                self._delivery.reject(self._exchange, item, message.received_ns)
            else:
                self._delivery.chain(item, message.received_ns)
        return True

    def _reject(self, reason: str, detail: str, message: Message) -> None:
        reject = Reject(reason, detail, payload_of(message.content))
        self._delivery.reject(self._exchange, reject, message.received_ns)


def payload_of(content: str | bytes) -> Any:
    """A message as it is kept in quarantine: text as it is, other bytes in hexadecimal."""
    if isinstance(content, bytes):
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return {"hex": content.hex()}
    return content


def _text(content: str | bytes) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotARecordingError("undecodable", f"not UTF-8, first at byte {error.start}") from None
