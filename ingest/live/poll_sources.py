"""The HTTP sources: where each has its chains, and what it wants to be asked like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from catalog.exchanges import canonical_symbol, exchange_and_symbol, home_exchange
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.values import iso_date, named_month_date, shown
from lake.errors import SettingsError

USER_AGENT: Final = "Mozilla/5.0 (compatible; strikelake)"
"""Says who asks; a site that serves browsers only wants another, see `--user-agent`."""

_JSON_HEADERS: Final = {"User-Agent": USER_AGENT, "Accept": "application/json, text/plain, */*"}


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask for."""

    path: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSource:
    """One site or API that answers with whole chains, one expiry an answer.

    Attributes:
        name: As given to `--source`, and stored in the column `source`.
        about: For a person.
        address: Where it is.
        headers: Sent with each request.
        home: Page that gives the cookies its API wants; None if it wants none.
        key_of: What it calls an underlying; raises SettingsError for one it does not have.
        exchange_of: Where that trades.
        expiries_request: Asks for the expiries of an underlying.
        expiries_in: Reads that answer.
        chain_request: Asks for one chain.
        format: Of a chain, see `ingest.live.messages.FORMATS`.
        credential: Name of the bearer token it wants, None if it wants none.
        every_s: Seconds between rounds, unless told.
    """

    name: str
    about: str
    address: str
    headers: Mapping[str, str]
    home: str | None
    key_of: Callable[[str], str]
    exchange_of: Callable[[str], str]
    expiries_request: Callable[[str], Request]
    expiries_in: Callable[[Any], list[tuple[date, str]]]
    chain_request: Callable[[str, str], Request]
    format: str
    credential: str | None = None
    every_s: float = 60.0


def nearest_expiries(source: PollSource, payload: Any, count: int, today: date) -> list[str]:
    """Return the nearest expiries of an answer as the source writes them.

    Raises:
        NotARecordingError: `unknown_shape` or `no_expiries`.
    """
    try:
        found = dict(source.expiries_in(payload))
    except (TypeError, KeyError, AttributeError):
        raise NotARecordingError("unknown_shape", f"{shown(payload)}, not a list of expiries") from None
    coming = sorted(day for day in found if day >= today)
    if not coming:
        raise NotARecordingError("no_expiries", f"no expiry from {today} on")
    return [found[day] for day in coming[:count]]


def _dated(texts: Iterable[Any], read: Callable[[object], date | None]) -> list[tuple[date, str]]:
    return [(day, text) for text in texts if (day := read(text)) is not None]


_NSE_INDICES: Final = frozenset({"NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTYNXT50"})


def _nse_key(text: str) -> str:
    symbol = canonical_symbol(text)
    if home_exchange(symbol) != "NSE":
        raise SettingsError(f"{symbol} trades on BSE: use --source bse-poll")
    return symbol


def _nse_chain(key: str, expiry: str) -> Request:
    kind = "Indices" if key in _NSE_INDICES else "Equity"
    return Request("/api/option-chain-v3", {"type": kind, "symbol": key, "expiry": expiry})


NSE: Final = PollSource(
    name="nse-poll",
    about="NSE's website API, polled: option chains of indices and stocks",
    address="https://www.nseindia.com",
    headers={
        **_JSON_HEADERS, "Accept-Language": "en-IN,en;q=0.9",
        "Referer": "https://www.nseindia.com/option-chain",
    },
    home="/option-chain",
    key_of=_nse_key,
    exchange_of=lambda _: "NSE",
    expiries_request=lambda key: Request("/api/option-chain-contract-info", {"symbol": key}),
    expiries_in=lambda payload: _dated(payload["expiryDates"], named_month_date),
    chain_request=_nse_chain,
    format="nse-json",
)  # fmt: skip

_BSE_CODES: Final = {"SENSEX": "1", "BANKEX": "12"}


def _bse_key(text: str) -> str:
    symbol = canonical_symbol(text)
    try:
        return _BSE_CODES[symbol]
    except KeyError:
        raise SettingsError(f"no BSE code of {symbol} is known; known: {', '.join(_BSE_CODES)}") from None


BSE: Final = PollSource(
    name="bse-poll",
    about="BSE's website API, polled: option chains of SENSEX and BANKEX",
    address="https://api.bseindia.com",
    headers={
        **_JSON_HEADERS, "Origin": "https://www.bseindia.com", "Referer": "https://www.bseindia.com/",
    },
    home=None,
    key_of=_bse_key,
    exchange_of=lambda _: "BSE",
    expiries_request=lambda key: Request(
        "/BseIndiaAPI/api/ddlExpiry_IV/w", {"ProductType": "IO", "scrip_cd": key}
    ),
    expiries_in=lambda payload: _dated(
        [row.get("ExpiryDate") for row in payload["Table1"]], named_month_date
    ),
    chain_request=lambda key, expiry: Request(
        "/BseIndiaAPI/api/DerivOptionChain_IV/w", {"Expiry": expiry, "scrip_cd": key, "strprice": "0"}
    ),
    format="bse-json",
)  # fmt: skip

_UPSTOX_KEYS: Final = {
    "NIFTY": "NSE_INDEX|Nifty 50",
    "BANKNIFTY": "NSE_INDEX|Nifty Bank",
    "FINNIFTY": "NSE_INDEX|Nifty Fin Service",
    "MIDCPNIFTY": "NSE_INDEX|NIFTY MID SELECT",
    "SENSEX": "BSE_INDEX|SENSEX",
    "BANKEX": "BSE_INDEX|BANKEX",
}


def _upstox_key(text: str) -> str:
    if exchange_and_symbol(text) is not None:
        return text.strip()
    symbol = canonical_symbol(text)
    try:
        return _UPSTOX_KEYS[symbol]
    except KeyError:
        raise SettingsError(
            f"no Upstox key of {symbol} is known; known: {', '.join(_UPSTOX_KEYS)}, or give the key itself"
            " (NSE_INDEX|Nifty 50)"
        ) from None


UPSTOX: Final = PollSource(
    name="upstox",
    about="Upstox's option-chain API (v2), polled with an access token",
    address="https://api.upstox.com",
    headers={"Accept": "application/json"},
    home=None,
    key_of=_upstox_key,
    exchange_of=lambda key: (exchange_and_symbol(key) or ("NSE", ""))[0],
    expiries_request=lambda key: Request("/v2/option/contract", {"instrument_key": key}),
    expiries_in=lambda payload: _dated({row["expiry"] for row in payload["data"]}, iso_date),
    chain_request=lambda key, expiry: Request(
        "/v2/option/chain", {"instrument_key": key, "expiry_date": expiry}
    ),
    format="upstox-chain",
    credential="upstox_access_token",
    every_s=5.0,
)

POLL_SOURCES: Final[Mapping[str, PollSource]] = MappingProxyType(
    {each.name: each for each in (NSE, BSE, UPSTOX)}
)
