"""The exchanges, and the one spelling of each exchange and underlying that the tables use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange, as far as its regular trading day goes.

    Attributes:
        code: `NSE` or `BSE`, as in the column `exchange`.
        timezone: IANA name of the zone its clock shows.
        regular_open: Local time at which a regular session opened for continuous trading in 2019.
        regular_close: Local time at which it closed then. Hours have changed since, and single days
            have hours of their own: ask `catalog.calendar.SessionCalendar` when a day's session ends.
    """

    code: str
    timezone: str
    regular_open: time
    regular_close: time


EXCHANGES: Mapping[str, Exchange] = MappingProxyType(
    {
        code: Exchange(code, timezone="Asia/Kolkata", regular_open=time(9, 15), regular_close=time(15, 30))
        for code in ("NSE", "BSE")
    }
)

# Brokers name the segment or the index feed of an exchange; all of them keep that exchange's sessions.
_EXCHANGE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "NSE": "NSE",
        "NFO": "NSE",
        "NSE_FO": "NSE",
        "NSE_INDEX": "NSE",
        "NSE_EQ": "NSE",
        "BSE": "BSE",
        "BFO": "BSE",
        "BSE_FO": "BSE",
        "BSE_INDEX": "BSE",
        "BSE_EQ": "BSE",
    }
)

# Keys without blanks: sources write both "NIFTY 50" and "NIFTY50", "NIFTY MID SELECT" and "NiftyMidSelect".
_SYMBOL_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "NIFTY50": "NIFTY",
        "NIFTYBANK": "BANKNIFTY",
        "NIFTYFINSERVICE": "FINNIFTY",
        "NIFTYFINANCIALSERVICES": "FINNIFTY",
        "NIFTYMIDSELECT": "MIDCPNIFTY",
        "NIFTYMIDCAPSELECT": "MIDCPNIFTY",
        "NIFTYNEXT50": "NIFTYNXT50",
        "INDIAVIX": "INDIAVIX",
        "BSX": "SENSEX",
        "BKX": "BANKEX",
        "SX50": "SENSEX50",
    }
)

# What ISO 6166 makes of a security: two letters of the country, nine characters, a check digit.
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")

_BSE_SYMBOLS = frozenset({"SENSEX", "BANKEX", "SENSEX50"})

INDICES = _BSE_SYMBOLS | {
    "NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTYNXT50", "NIFTYIT", "INDIAVIX"
}  # fmt: skip
"""Indices that a recording may be of by its name alone."""


def canonical_exchange(text: str) -> str | None:
    """Return the exchange that a source means by `text` (`nfo` is NSE), None if it is no known name."""
    return _EXCHANGE_ALIASES.get(text.strip().upper())


def canonical_symbol(text: str) -> str:
    """Return the underlying as the tables spell it: `Nifty 50` is NIFTY.

    An unknown name is kept, without surrounding blanks and in upper case.
    """
    name = text.strip().upper()
    return _SYMBOL_ALIASES.get("".join(name.split()), name)


def exchange_and_symbol(key: str) -> tuple[str, str] | None:
    """Return the exchange and the underlying in a broker's key of an instrument.

    Upstox writes `NSE_INDEX|Nifty Bank`, Kite `NSE:NIFTY BANK`; both are NSE BANKNIFTY.

    Returns:
        None for what is no such key, and for one that names a security by its ISIN (`NSE_EQ|INE002A01018`):
        which symbol that is, no table here tells.
    """
    segment, separator, name = key.partition("|" if "|" in key else ":")
    exchange = canonical_exchange(segment)
    symbol = canonical_symbol(name)
    if not separator or exchange is None or not symbol or _ISIN.fullmatch(symbol):
        return None
    return exchange, symbol


def home_exchange(symbol: str) -> str:
    """Return the exchange on which options on `symbol` trade, for sources that name none.

    Anything that is not one of the BSE's own indices is taken as listed on NSE.
    """
    return "BSE" if canonical_symbol(symbol) in _BSE_SYMBOLS else "NSE"
