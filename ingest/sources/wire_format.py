"""The table at the top of each adapter: what a wire format calls things, and in which units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from ingest.sources.values import CONVERTERS, Converter, Unit, underlying_symbol

OptionType = Literal["CE", "PE"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFormat:
    """Declaration of one wire format.

    Attributes:
        source: Name of the adapter, as in `--source`.
        exchange: Where all its chains come from; None for the home exchange of each symbol.
        suffixes: File name endings, lower case, without `.gz`.
        nulls: Texts that stand for a missing number.
        event_time: Parses the text of a chain's time; None if it is none.
        expiry: Parses the text of an expiry; None if it is none.
        symbol_names: Names of the underlying's symbol.
        time_names: Names of the chain's time.
        strike_names: Names of the strike price.
        expiry_names: Names of the expiry date.
        calls: Fields of a call.
        puts: Fields of a put.
        ignored: Names that are known and not stored.
        symbol: Parses the text of an underlying; None if it is none.
        format: Name of the format where `source` names somebody else who speaks it, e.g. a live feed.
        option_types: Words for call and put, in lower case, of formats that have a column for it.
    """

    source: str
    exchange: str | None
    suffixes: tuple[str, ...]
    nulls: frozenset[str]
    event_time: Callable[[object], datetime | None]
    expiry: Callable[[object], date | None]
    symbol_names: tuple[str, ...]
    time_names: tuple[str, ...]
    strike_names: tuple[str, ...]
    expiry_names: tuple[str, ...]
    calls: tuple[Field, ...]
    puts: tuple[Field, ...]
    ignored: frozenset[str]
    symbol: Callable[[object], str | None] = underlying_symbol
    format: str = ""
    option_types: Mapping[str, OptionType] = field(default_factory=lambda: OPTION_TYPE_WORDS)

    def __post_init__(self) -> None:
        """A format that is made of another one by `replace` keeps its name."""
        if not self.format:
            object.__setattr__(self, "format", self.source)

    def option_type(self, said: object) -> OptionType | None:
        """Call or put by the word of the source, None if it is neither."""
        return self.option_types.get(said.strip().lower()) if isinstance(said, str) else None

    @property
    def counts_contracts(self) -> bool:
        """Whether a leg can be converted only with a lot size."""
        return any(one.unit is Unit.CONTRACTS for one in (*self.calls, *self.puts))

    @property
    def known_names(self) -> frozenset[str]:
        """Every name that this format is known to use."""
        fields = {name for one in (*self.calls, *self.puts) for name in one.names}
        keys = {*self.symbol_names, *self.time_names, *self.strike_names, *self.expiry_names}
        return frozenset(fields | keys) | self.ignored

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
