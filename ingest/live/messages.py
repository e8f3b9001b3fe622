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
from ingest.origins import MessageOrigin
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


def chains_in(
    content: str | bytes, name: str, received: datetime, reference: ReferenceData
) -> list[ChainUpdate | Reject]:
    """The chains of one message, and what is none: all of it, or an error.

    Args:
        content: The message as it came.
        name: Its format, one of `FORMATS`.
        received: When it came.
        reference: Calendar and lot sizes.

    Raises:
        NotARecordingError: It is no message of this format.
    """
    return list(read_payload(name)(json_document.parse(_text(content)), received, reference))


class MessageReader:
    """Turns messages into chains for a delivery; what cannot be read goes to quarantine whole."""

    def __init__(self, name: str, reference: ReferenceData, delivery: Delivery, *, exchange: str) -> None:
        """Make a reader.

        Args:
            name: Format of the messages, one of `FORMATS`.
            reference: Calendar and lot sizes.
            delivery: Takes chains and rejects.
            exchange: Where messages that cannot be read are filed.
        """
        self._format = name
        self._reference = reference
        self._delivery = delivery
        self._exchange = exchange

    def take(self, message: Message) -> bool:
        """Read one message; whether it was a chain. Never raises."""
        received = datetime.fromtimestamp(message.received_ns / 1e9, UTC)
        try:
            # All of it before any of it: a message that breaks half way is kept once, whole.
            items = chains_in(message.content, self._format, received, self._reference)
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
        origin = MessageOrigin(self._format)
        reject = Reject(reason, detail, payload_of(message.content), origin=origin)
        self._delivery.reject(self._exchange, reject, message.received_ns)


def payload_of(content: str | bytes) -> Any:
    """A message as it is kept in quarantine: text as it is, other bytes in hexadecimal."""
    if isinstance(content, bytes):
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return {"hex": content.hex()}
    return content


def content_of(payload: Any) -> str | bytes:
    """The message that `payload_of` was given.

    Raises:
        ValueError: It is none.
    """
    if isinstance(payload, str):
        return payload
    if isinstance(payload, Mapping) and isinstance(payload.get("hex"), str):
        return bytes.fromhex(payload["hex"])
    raise ValueError("neither text nor bytes in hexadecimal")


def _text(content: str | bytes) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotARecordingError("undecodable", f"not UTF-8, first at byte {error.start}") from None
