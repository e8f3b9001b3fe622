"""The table at the top of each adapter: what a wire format calls things, and in which units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from ingest.sources.values import CONVERTERS, Converter, Unit, underlying_symbol

OptionType = Literal["CE", "PE"]

UNKNOWN_SYMBOL: Final = "UNKNOWN"
"""The underlying under which is filed what names none."""

UNKNOWN_LOT_SIZE: Final = "unknown_lot_size"
"""Reason of a reject that a line in the table of lot sizes would let in."""

OPTION_TYPES: tuple[OptionType, OptionType] = ("CE", "PE")

OPTION_TYPE_WORDS: Final[Mapping[str, OptionType]] = MappingProxyType(
    {"call": "CE", "put": "PE", "ce": "CE", "pe": "PE"}
)
"""What formats with a column for it write for call and put, in lower case."""


@dataclass(frozen=True, slots=True)
class Field:
    """One number of a leg.

    Attributes:
        column: Canonical key, as in `ChainUpdate`.
        unit: Unit in the wire format.
        names: Names in the wire format; the first one present is used.
    """

    column: str
    unit: Unit
    names: tuple[str, ...]


class BoundField(NamedTuple):
    """A field whose name in one header, or in one JSON object, is known."""

    column: str
    name: str
    convert: Converter


Parser = Callable[[object, ZoneInfo], datetime | None]
"""Reads the text of a time, which is of that zone unless it says another; None if it is no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The table at the top of an adapter: what its format calls things, and how it writes them.

    Attributes:
        source: Name of the adapter, as in `--source`.
        exchange: Where all it holds comes from; None where a row, a name or the symbol's home says it.
        suffixes: File name endings, lower case, without `.gz`.
        nulls: Texts that stand for a missing number.
        timezone: Of its times that name no offset.
        event_time: Parses the text of a time, see `Declaration.moment`.
        symbol_names: Names of the underlying's symbol; none where only a file's name says it.
        time_names: Names of the time.
        strike_names: Names of the strike price.
        expiry_names: Names of the expiry date.
        option_type_names: Names of the column that says call or put, where there is one.
        ignored: Names that are known and not stored.
        symbol: Parses the text of an underlying; None if it is none.
    """

    source: str
    exchange: str | None
    suffixes: tuple[str, ...]
    nulls: frozenset[str]
    timezone: ZoneInfo
    event_time: Parser
    symbol_names: tuple[str, ...] = ()
    time_names: tuple[str, ...] = ()
    strike_names: tuple[str, ...] = ()
    expiry_names: tuple[str, ...] = ()
    option_type_names: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()
    symbol: Callable[[object], str | None] = underlying_symbol

    @property
    def numbers(self) -> tuple[Field, ...]:
        """Every number of the format, with its unit and its names."""
        raise NotImplementedError

    @property
    def key_names(self) -> tuple[tuple[str, ...], ...]:
        """The names of what is no number, each with its alternatives."""
        return (
            self.symbol_names,
            self.time_names,
            self.strike_names,
            self.expiry_names,
            self.option_type_names,
        )

    @property
    def known_names(self) -> frozenset[str]:
        """Every name that this format is known to use."""
        names = (*(one.names for one in self.numbers), *self.key_names)
        return frozenset(name for each in names for name in each) | self.ignored

    def moment(self, raw: object) -> datetime | None:
        """Return a time of the format, in its zone; None if it is none."""
        return self.event_time(raw, self.timezone)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFormat(Declaration):
    """Declaration of one wire format of chains.

    Attributes:
        expiry: Parses the text of an expiry; None if it is none.
        calls: Fields of a call.
        puts: Fields of a put.
        format: Name of the format where `source` names somebody else who speaks it, e.g. a live feed.
        option_types: Words for call and put, in lower case, of formats that have a column for it.
    """

    expiry: Callable[[object], date | None]
    calls: tuple[Field, ...]
    puts: tuple[Field, ...]
    format: str = ""
    option_types: Mapping[str, OptionType] = field(default_factory=lambda: OPTION_TYPE_WORDS)

    def __post_init__(self) -> None:
        """A format that is made of another one by `replace` keeps its name."""
        if not self.format:
            object.__setattr__(self, "format", self.source)

    @property
    def numbers(self) -> tuple[Field, ...]:
        """The fields of both sides."""
        return (*self.calls, *self.puts)

    def option_type(self, said: object) -> OptionType | None:
        """Call or put by the word of the source, None if it is neither."""
        return self.option_types.get(said.strip().lower()) if isinstance(said, str) else None

    @property
    def counts_contracts(self) -> bool:
        """Whether a leg can be converted only with a lot size."""
        return any(one.unit is Unit.CONTRACTS for one in self.numbers)

    def fields(self, option_type: OptionType) -> tuple[Field, ...]:
        """Return the fields of a call or of a put."""
        return self.calls if option_type == "CE" else self.puts


def bind(fields: Iterable[Field], names: Iterable[str]) -> tuple[BoundField, ...]:
    """Pick, for each field, the name that is among `names`; a field without one is left out."""
    present = frozenset(names)
    bound = []
    for one in fields:
        name = next((name for name in one.names if name in present), None)
        if name is not None:
            bound.append(BoundField(one.column, name, CONVERTERS[one.unit]))
    return tuple(bound)
