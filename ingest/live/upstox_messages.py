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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from lake.errors import MalformedInputError

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

MARKET_INFO: Final = b"\x08\x02"
"""What a message about the state of segments begins with: field 1, `type`, is 2."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 253_402_300_799_000  # the end of the year 9999


class FeedError(MalformedInputError):
    """Bytes that are no message of the feed."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Tick:
    """What a message says of one instrument.

    Attributes:
        key: Instrument, e.g. `NSE_FO|45450`.
        ltp: Last price in rupees, None for none; of an index its value.
        values: Columns of a leg, see `ingest.live.tick_chains.TickChains.take`; None of an index.
    """

    key: str
    ltp: float | None
    values: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Feed:
    """A message of the feed.

    Attributes:
        at: The server's time; None if it is not told.
        ticks: One an instrument.
    """

    at: datetime | None
    ticks: tuple[Tick, ...]


def read_feed(content: bytes) -> Feed:
    """Read a message.

    Raises:
        FeedError: `bad_protobuf`: it is none, or cut off; `bad_event_time`; `unknown_shape`: an instrument
            without values.
    """
    response: Any = _response()
    try:
        response.ParseFromString(content)
    except DecodeError:
        raise FeedError("bad_protobuf", f"{len(content):,} bytes that are no message of the feed") from None
    if not 0 <= response.currentTs <= _LATEST_MS:
        raise FeedError("bad_event_time", f"currentTs is {response.currentTs}")
    at = _EPOCH + timedelta(milliseconds=response.currentTs) if response.currentTs else None
    return Feed(at, tuple(_ticks(response)))


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
            raise FeedError("unknown_shape", f"{entry.key!r} comes without values")


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


def _response() -> Message:
    return _message_class()()


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
