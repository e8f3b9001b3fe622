"""Kite's trading symbols: `BANKNIFTY21SEP35300PE` is the monthly contract, `SENSEX2591180300CE` a weekly one.

A monthly code names year and month (`21SEP`), a weekly one the day (`25911`: 2025-09-11; from October on the
month is a letter, `25O09`). Which day the month's contract expires on, the code does not say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from catalog.exchanges import INDICES, canonical_exchange, canonical_symbol, home_exchange
from catalog.reference import ReferenceData
from ingest.sources.values import BadValueError, shown
from ingest.sources.wire_format import OptionType

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKLY_MONTHS: Final = "123456789OND"
_CENTURY: Final = 2000

_IN_NAME = re.compile(r"(?:[A-Z]+:)?[A-Z0-9&-]+(?:\.[0-9]+)?(?:CE|PE|FUT)(?![A-Z0-9])", re.IGNORECASE)
_CONTRACT = r"(?:(?P<strike>[0-9]+(?:\.[0-9]+)?)(?P<type>CE|PE)|FUT)"
_UNDERLYING = r"(?P<symbol>[A-Z0-9][A-Z0-9&-]*)"
_MONTHLY = re.compile(rf"{_UNDERLYING}(?P<year>[0-9]{{2}})(?P<month>{'|'.join(_MONTHS)}){_CONTRACT}")
# The digits of a symbol and of a date run together: a symbol ends in no digit, except for those that do.
_WEEKLY = re.compile(
    rf"(?P<symbol>SENSEX50|NIFTYNXT50|[A-Z0-9&-]*?[A-Z&-])(?P<year>[0-9]{{2}})(?P<month>[{_WEEKLY_MONTHS}])"
    rf"(?P<day>[0-9]{{2}}){_CONTRACT}"
)


@dataclass(frozen=True, slots=True)
class TradingSymbol:
    """What a trading symbol says.

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Canonical underlying.
        year: Year of the expiry.
        month: Month of the expiry, from 1.
        day: Day of the expiry; None in a monthly code.
        strike: Strike price in rupees; None for a future.
        option_type: Call or put; None for a future.
    """

    exchange: str
    symbol: str
    year: int
    month: int
    day: int | None
    strike: float | None
    option_type: OptionType | None


def trading_symbol_in(file_name: str) -> str | None:
    """Return the trading symbol at the beginning of a file's name, None if there is none."""
    found = _IN_NAME.match(file_name)
    return found[0] if found else None


def parse_trading_symbol(text: str) -> TradingSymbol:
    """Read a trading symbol, with or without the segment before it (`BFO:SENSEX2640273600CE`).

    Raises:
        BadValueError: `bad_trading_symbol`.
    """
    segment, separator, name = text.strip().upper().rpartition(":")
    exchange = canonical_exchange(segment) if separator else None
    found = _MONTHLY.fullmatch(name) or _WEEKLY.fullmatch(name)
    if found is None or (separator and exchange is None):
        raise BadValueError("bad_trading_symbol", f"{shown(text)} is no trading symbol")
    part = found.groupdict()
    symbol = canonical_symbol(part["symbol"])
    code = part["month"]
    year = _CENTURY + int(part["year"])
    month = (_MONTHS.index(code) if code in _MONTHS else _WEEKLY_MONTHS.index(code)) + 1
    day = int(part["day"]) if part.get("day") else None
    try:
        date(year, month, day or 1)
    except ValueError as error:
        raise BadValueError("bad_trading_symbol", f"{shown(text)}: {error}") from None
    option_type: OptionType | None = None if part["type"] is None else "CE" if part["type"] == "CE" else "PE"
    return TradingSymbol(
        exchange=exchange or home_exchange(symbol),
        symbol=symbol,
        year=year,
        month=month,
        day=day,
        strike=float(part["strike"]) if part["strike"] else None,
        option_type=option_type,
    )


def expiry_of(contract: TradingSymbol, reference: ReferenceData) -> date:
    """Return the day on which a contract expires.

    Raises:
        BadValueError: `unknown_expiry`, for a monthly code of a month whose day is not known.
    """
    exchange, symbol, year, month = contract.exchange, contract.symbol, contract.year, contract.month
    if contract.day is not None:
        return date(year, month, contract.day)
    # On NSE the contracts of a stock expire with the month's of NIFTY; for BSE's, no table here tells.
    leader = "NIFTY" if exchange == "NSE" and symbol not in INDICES else symbol
    expiry = reference.expiry_days.month_expiry(reference.calendar, exchange, leader, year, month)
    if expiry is None:
        raise BadValueError(
            "unknown_expiry",
            f"the day on which {exchange} {symbol} of {year}-{month:02} expires is not known; add a line to"
            " expiry_days.csv in the lake's folder and load again",
        )
    return expiry
