"""What the candles of a file are of, which only the names of the file and of its folder say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from catalog.exchanges import INDICES, canonical_symbol, home_exchange
from catalog.reference import ReferenceData
from ingest.sources.candle_format import Instrument
from ingest.sources.candle_intervals import stated_interval
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.trading_symbol import (
    TradingSymbol,
    expiry_of,
    parse_trading_symbol,
    trading_symbol_in,
)
from ingest.sources.values import BadValueError, shown

_ENDINGS: Final = (".gz", ".zip", ".csv", ".json")
_NUMBERS = re.compile(r"[0-9-]+")
_TRADED = re.compile(r"[A-Z0-9][A-Z0-9&-]{0,19}")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_FUTURE = re.compile(
    r"(?P<symbol>[a-z0-9&_ -]+?)[_ -]fut(?:ure)?s?"
    r"[_ -](?P<month>[a-z]{3,9})[_ -](?P<year>20[0-9]{2})(?![0-9])",
    re.IGNORECASE,
)


def name_of(path: Path) -> str:
    """Return the name of a file without its endings."""
    name = path.name
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def instrument_of(path: Path, reference: ReferenceData) -> Instrument:
    """Return what the candles of a file are of.

    A contract stands in the name of the file, as Kite's trading symbol (`SENSEX2591180300CE_2025-09-05`) or
    in words (`nifty50_futures_apr_2026`). An index stands there too (`BANKNIFTY_3m`) or, where the name says
    nothing but interval and dates (`3m.2026-01`), in that of the folder (`INDIA_VIX`).

    Raises:
        NotARecordingError: `unknown_contract`, or `unknown_expiry` for a month whose expiry day is not known.
    """
    name = name_of(path)
    try:
        found = _contract(name)
        if found is not None:
            return Instrument(
                found.exchange,
                found.symbol,
                "option" if found.option_type else "future",
                expiry_of(found, reference),
                found.strike,
                found.option_type,
            )
    except BadValueError as error:
        raise NotARecordingError(error.reason, error.detail) from error
    words = [word for word in re.split(r"[_.\s]+", name) if word]
    names = [word for word in words if stated_interval(word) is None and not _NUMBERS.fullmatch(word)]
    folder = path.absolute().parent.name
    index = _index("_".join(words)) or _index("_".join(names)) or (None if names else _index(folder))
    if index is None:
        raise NotARecordingError(
            "unknown_contract",
            f"neither the name {shown(path.name)} nor its folder {shown(folder)} says a contract or an index"
            " that is known; name it e.g. BANKNIFTY_3m.csv",
        )
    return Instrument(home_exchange(index), index, "index")


def _contract(name: str) -> TradingSymbol | None:
    """The contract that a name begins with; None if it begins with none.

    Raises:
        BadValueError: `bad_trading_symbol`.
    """
    if (found := _FUTURE.match(name)) is not None:
        symbol = _index(found["symbol"]) or canonical_symbol(found["symbol"])
        if not _TRADED.fullmatch(symbol):
            raise BadValueError("bad_trading_symbol", f"{shown(found['symbol'])} is no name of an underlying")
        month = _MONTHS.get(found["month"].lower()[:3])
        if month is None:
            raise BadValueError("bad_trading_symbol", f"{shown(found['month'])} is no month")
        return TradingSymbol(home_exchange(symbol), symbol, int(found["year"]), month, None, None, None)
    text = trading_symbol_in(name)
    return None if text is None else parse_trading_symbol(text)


def _index(name: str) -> str | None:
    symbol = canonical_symbol(re.sub(r"[_ -]", "", name))
    return symbol if symbol in INDICES else None
