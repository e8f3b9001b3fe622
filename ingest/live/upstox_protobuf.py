"""Upstox's market-data feed v3: protobuf messages, by its published MarketDataFeedV3.proto.

| field of the feed    | is                          | unit                         | 0 stands for  |
|----------------------|-----------------------------|------------------------------|---------------|
| `currentTs`          | the server's clock          | milliseconds since 1970, UTC | not told      |
| `ltp`, `bidP`, `askP`| last price, best bid, ask   | rupees                       | none          |
| `bidQ`, `askQ`       | what waits there            | units of the underlying      | none wanted   |
| `vtt`                | traded since the open       | units of the underlying      | a figure      |
| `oi`                 | open interest               | units of the underlying      | a figure      |
| `iv`                 | implied volatility          | annualised fraction          | none          |

Protobuf (proto3) does not send a number that is 0, so that "0" and "not told" look alike. `ltt`, the time of
a contract's last trade, is no time of the quote and is not taken.

Only fields that are read are declared; protobuf skips the rest. The messages are declared here and not by a
generated module, since such a module wants the very release of protobuf that it was generated with.
https://upstox.com/developer/api-documentation/v3/get-market-data-feed
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from ingest.live.tick_parts import TickerError

_PACKAGE: Final = "strikelake.upstox"
# Message -> field -> number and type; messages by their names, lists with "*"; maps are lists.
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = MappingProxyType(
    {
        "Quote": {"bidQ": (1, "int64"), "bidP": (2, "double"), "askQ": (3, "int64"), "askP": (4, "double")},
        "Ltpc": {"ltp": (1, "double")},
        "Level": {"bidAskQuote": (1, "*Quote")},
        "FirstLevel": {
            "ltpc": (1, "Ltpc"), "firstDepth": (2, "Quote"), "vtt": (4, "int64"), "oi": (5, "double"),
            "iv": (6, "double"),
        },
        "Market": {
            "ltpc": (1, "Ltpc"), "marketLevel": (2, "Level"), "vtt": (6, "int64"), "oi": (7, "double"),
            "iv": (8, "double"),
        },
        "Index": {"ltpc": (1, "Ltpc")},
        "Full": {"marketFF": (1, "Market"), "indexFF": (2, "Index")},
        "Feed": {"ltpc": (1, "Ltpc"), "fullFeed": (2, "Full"), "firstLevelWithGreeks": (3, "FirstLevel")},
        "Entry": {"key": (1, "string"), "value": (2, "Feed")},
        "Response": {"type": (1, "int32"), "feeds": (2, "*Entry"), "currentTs": (3, "int64")},
    }
)  # fmt: skip

_TYPE: Final = b"\x08"
_FEEDS: Final = b"\x12"
"""What the fields 1, `type`, and 2, `feeds`, begin with."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 253_402_300_799_000  # the end of the year 9999


# The tag of a key, its length, and how a key begins: `NSE_FO|`, `BSE_INDEX|`.
_KEY: Final = re.compile(rb"\x0a([\x04-\x7f])(?=[A-Z]{2,5}_[A-Z]{2,8}\|)")


class FeedError(TickerError):
    """Bytes that are no message of the feed."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What a message says of one instrument.

    Attributes:
        key: Instrument, e.g. `NSE_FO|45450`.
        ltp: Last price in rupees, None for none; of an index its value.
        values: Columns of a leg, see `ingest.live.tick_chains.TickChains.take`; None of an index.
        is_told: Whether it comes with values of a kind that is known.
    """

    key: str
    ltp: float | None
    values: dict[str, Any] | None
    is_told: bool = True


@dataclass(frozen=True, slots=True)
class Feed:
    """A message of the feed.

    Attributes:
        at: The server's time; None if it is not told.
        ticks: One an instrument, in the order of the message.
    """

    at: datetime | None
    ticks: tuple[Tick, ...]


def read_feed(content: bytes) -> Feed:
    """Read a message.

    Raises:
        FeedError: `bad_protobuf`: it is none, or cut off; `bad_event_time`.
    """
    response = _parsed(content)
    if not 0 <= response.currentTs <= _LATEST_MS:
        raise FeedError("bad_event_time", f"currentTs is {response.currentTs}")
    at = _EPOCH + timedelta(milliseconds=response.currentTs) if response.currentTs else None
    return Feed(at, tuple(_ticks(response)))


def has_ticks(content: bytes) -> bool:
    """Whether a message says anything of an instrument, or cannot be read.

    The state of segments, and messages with the time alone, come whether quotes do or not.
    """
    if content.startswith(_FEEDS) or (content[:1] == _TYPE and content[2:3] == _FEEDS):
        return True  # as Upstox writes all its messages, and cheap to see
    try:
        return len(_parsed(content).feeds) > 0
    except FeedError:
        return True


def part_of(content: bytes, positions: Sequence[int]) -> bytes:
    """A message with some of the instruments of another one, all that it says of them included.

    Raises:
        FeedError: As of `read_feed`.
    """
    response = _parsed(content)
    part: Any = _message_class()()
    part.type, part.currentTs = response.type, response.currentTs
    part.feeds.extend(response.feeds[position] for position in positions)
    return bytes(part.SerializeToString())


def keys_in(content: bytes) -> Iterator[str]:
    """What may be keys of instruments, in a message that cannot be read, too."""
    for found in _KEY.finditer(content):
        yield content[found.end() : found.end() + found[1][0]].decode("utf-8", "replace")


def _parsed(content: bytes) -> Any:
    response: Any = _message_class()()
    try:
        response.ParseFromString(content)
    except DecodeError:
        raise FeedError("bad_protobuf", f"{len(content):,} bytes that are no message of the feed") from None
    return response


def _ticks(response: Any) -> Iterator[Tick]:
    for entry in response.feeds:
        feed = entry.value
        if feed.HasField("firstLevelWithGreeks"):
            one = feed.firstLevelWithGreeks
            yield _leg(entry.key, one, one.firstDepth if one.HasField("firstDepth") else None)
        elif feed.fullFeed.HasField("marketFF"):
            one = feed.fullFeed.marketFF
            levels = one.marketLevel.bidAskQuote
            yield _leg(entry.key, one, levels[0] if levels else None)
        elif feed.fullFeed.HasField("indexFF"):
            yield Tick(entry.key, _price(feed.fullFeed.indexFF.ltpc.ltp), None)
        elif feed.HasField("ltpc"):
            yield Tick(entry.key, _price(feed.ltpc.ltp), None)
        else:
            yield Tick(entry.key, None, None, is_told=False)


def _leg(key: str, one: Any, depth: Any) -> Tick:
    ltp = _price(one.ltpc.ltp)
    return Tick(
        key,
        ltp,
        {
            "ltp": ltp,
            "bid": _price(depth.bidP) if depth is not None else None,
            "ask": _price(depth.askP) if depth is not None else None,
            "bid_qty": depth.bidQ if depth is not None else None,
            "ask_qty": depth.askQ if depth is not None else None,
            "oi": one.oi,
            "volume": one.vtt,
            "iv": one.iv or None,
        },
    )


def _price(rupees: float) -> float | None:
    return rupees or None


@cache
def _message_class() -> type[Message]:
    """The class of a whole message, from a pool of its own: Upstox's SDK may be loaded beside it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="strikelake/upstox.proto", package=_PACKAGE, syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        made = file.message_type.add(name=name)
        for field_name, (number, told) in fields.items():
            kind = told.removeprefix("*")
            label = kinds.LABEL_OPTIONAL if kind == told else kinds.LABEL_REPEATED
            field = made.field.add(name=field_name, number=number, label=label)
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: type[Message] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Response"))
    return found
