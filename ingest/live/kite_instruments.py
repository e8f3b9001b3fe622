"""Kite's list of instruments: which token is which contract."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from catalog.exchanges import canonical_exchange, canonical_symbol
from ingest.live.tick_chains import Contract
from ingest.sources.recorded_file import NotARecordingError, read_text
from ingest.sources.values import BadValueError, iso_date, strike_price
from lake.errors import MalformedInputError

_COLUMNS = frozenset(
    {
        "instrument_token",
        "tradingsymbol",
        "name",
        "expiry",
        "strike",
        "instrument_type",
        "segment",
        "exchange",
    }
)
_INDICES = "INDICES"


@dataclass(frozen=True, slots=True)
class Instruments:
    """The contracts to listen to, and their underlyings.

    Attributes:
        contracts: By token.
        indices: Symbol of an index by its token; one that the list does not have gives no underlying price.
    """

    contracts: Mapping[int, Contract]
    indices: Mapping[int, str]

    @property
    def tokens(self) -> list[int]:
        """All of them, the indices first."""
        return [*self.indices, *self.contracts]

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Where the contracts trade."""
        return tuple(sorted({contract.exchange for contract in self.contracts.values()}))


def read_instruments(path: Path) -> str:
    """Return the text of a list, plain or packed.

    Raises:
        MalformedInputError: It is no text, or too large.
        OSError: It cannot be read.
    """
    try:
        text, damage = read_text(path)
    except NotARecordingError as error:
        raise MalformedInputError(f"{path} is no list of instruments: {error}") from error
    if damage is not None:
        raise MalformedInputError(f"{path} is no list of instruments: {damage}")
    return text


def choose(text: str, symbols: Iterable[str], *, expiries: int, today: date) -> Instruments:
    """Choose the options of some underlyings.

    Args:
        text: The list, as CSV with Kite's header.
        symbols: Underlyings, in any spelling.
        expiries: How many of the nearest expiries of each.
        today: Contracts that expired before are left out.

    Raises:
        MalformedInputError: It is no such list, a line of it cannot be read, or it has none of an underlying.
    """
    wanted = list(dict.fromkeys(canonical_symbol(symbol) for symbol in symbols))
    found: dict[str, dict[int, Contract]] = {symbol: {} for symbol in wanted}
    indices: dict[int, str] = {}
    for line, row in enumerate(_rows(text), start=2):
        try:
            if row["segment"] == _INDICES:
                symbol = canonical_symbol(row["tradingsymbol"])
                if symbol in found:
                    indices[int(row["instrument_token"])] = symbol
            elif row["instrument_type"] in {"CE", "PE"} and canonical_symbol(row["name"]) in found:
                contract = _contract(row)
                if contract.expiry >= today:
                    found[contract.symbol][int(row["instrument_token"])] = contract
        except (ValueError, TypeError, AttributeError, BadValueError) as error:
            raise MalformedInputError(f"line {line} of the list of instruments: {error}") from error
    missing = [symbol for symbol, contracts in found.items() if not contracts]
    if missing:
        raise MalformedInputError(
            f"the list of instruments has no option on {', '.join(missing)} that expires on {today} or later;"
            " get today's list, of the right exchange"
        )
    chosen = {}
    for contracts in found.values():
        nearest = sorted({contract.expiry for contract in contracts.values()})[:expiries]
        chosen.update({token: each for token, each in contracts.items() if each.expiry in nearest})
    return Instruments(chosen, indices)


def _rows(text: str) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        if missing := _COLUMNS.difference(reader.fieldnames or ()):
            raise MalformedInputError(
                f"no list of Kite's instruments: its header lacks {', '.join(sorted(missing))}"
            )
        yield from reader
    except csv.Error as error:
        raise MalformedInputError(f"line {reader.line_num} of the list of instruments: {error}") from error


def _contract(row: Mapping[str, str]) -> Contract:
    exchange = canonical_exchange(row["exchange"])
    expiry = iso_date(row["expiry"])
    if exchange is None or expiry is None:
        raise ValueError(f"exchange {row['exchange']!r}, expiry {row['expiry']!r}")
    return Contract(
        exchange=exchange,
        symbol=canonical_symbol(row["name"]),
        expiry=expiry,
        strike=strike_price(row["strike"], frozenset()),
        option_type=row["instrument_type"],
    )
