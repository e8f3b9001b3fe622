"""What travels from a source or a live app to the spool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from catalog.exchanges import canonical_exchange
from ingest.origins import Origin, RawLegs

if TYPE_CHECKING:
    from ingest.sources.growth import Growth

CHAIN_TABLE = "option_chain"
FEATURE_TABLE = "ml_features"
SIGNAL_TABLE = "signals"
CANDLE_TABLE = "candles"


@dataclass(slots=True, frozen=True)
class Reject:
    """One piece of input that could not become a row, kept with its reason.

    Attributes:
        reason: Stable code in snake_case, e.g. `bad_number`; views group by it.
        detail: For a person: which field, which value, what was expected.
        payload: The input as it came, JSON-serialisable where possible.
        table: The table the input was meant for.
        origin: What else it takes to try again; None where the update it is in has it all.
    """

    reason: str
    detail: str
    payload: Any
    table: str = CHAIN_TABLE
    origin: Origin | None = None


@dataclass(slots=True)
class ChainUpdate:
    """One update of one symbol's option chain, as handed over; nothing in it is converted yet.

    `calls` and `puts` hold one mapping a leg with the canonical keys `strike, expiry, ltp, bid, ask,
    bid_qty, ask_qty, oi, oi_change, volume, iv` and, where they differ from leg to leg,
    `underlying_price` and `lot_size`. Prices in rupees; `oi`, `oi_change`, `volume` and quantities in units
    of the underlying; `iv` an annualised fraction. Missing is None (also accepted: absent, NaN, '' and '-').

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Canonical underlying, e.g. `NIFTY`.
        event_time: When the source says it happened: aware datetime, naive datetime (taken as
            exchange-local), ISO text or epoch seconds; None means the time of receipt.
        received_ns: When strikelake got it, epoch nanoseconds.
        calls: Legs of type CE: a sequence of mappings, a mapping by strike, or a DataFrame.
        puts: Legs of type PE.
        expiry: For legs that carry no `expiry` of their own.
        features: One number a feature; None if there are none.
        context: Values for every leg: `underlying_price`, `vix`, `atm_strike`, `pcr`, `lot_size`.
        source: Name of the source adapter, or `live`.
        rejects: Legs of this chain that the source could not convert.
        identity: What makes this update the same one when it is loaded again; None for live data.
        signal: What a model said of the symbol at that moment, one mapping by the columns of `signals`; None
            if there is none.
        raw_legs: Its legs as they came, for rejects.
        growth: How it came together, of files that may be read while they are written.
    """

    exchange: str
    symbol: str
    event_time: Any
    received_ns: int
    calls: Any = ()
    puts: Any = ()
    expiry: Any = None
    features: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    source: str = "live"
    rejects: tuple[Reject, ...] = ()
    identity: bytes | None = None
    signal: Any = None
    raw_legs: RawLegs | None = None
    growth: Growth | None = None


@dataclass(slots=True)
class CandleUpdate:
    """Candles of one session of one underlying or index, as a recording has them.

    `candles` holds one mapping a candle with the keys `start_time` (aware), `interval_s`, `instrument`,
    `expiry`, `strike`, `option_type` and those of the figures in `candles`: `open`, `high`, `low`, `close`,
    `settle`, `volume`, `oi`, `oi_change`, `trades`, `turnover`, `underlying_price`, `lot_size`. Units are
    those of the table; missing is None or absent. `raw` is the candle as it came, for a reject.

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Canonical index or underlying, e.g. `NIFTY`.
        received_ns: When strikelake got it, epoch nanoseconds.
        candles: The candles, in the order of the recording.
        day: Session date to file rejects under; None if it is not known.
        source: Name of the source adapter.
        rejects: What the source could not convert.
        identity: What makes this update the same one when it is loaded again.
        parts: Identity of each candle, then of each reject, where another update may have some of them, as
            when a file was cut short and comes again whole; empty where an update comes whole or not at all.
    """

    exchange: str
    symbol: str
    received_ns: int
    candles: Sequence[Mapping[str, Any]]
    day: date | None
    source: str
    rejects: tuple[Reject, ...] = ()
    identity: bytes | None = None
    parts: tuple[bytes, ...] = ()


def legs_in(legs: Any) -> int:
    """How many legs a side of an update has; what has no length counts as one piece of input."""
    if legs is None:
        return 0
    try:
        return len(legs)
    except Exception:  # noqa: BLE001 - the object is the app's, and this runs in the app's thread
        return 1


def has_features(update: ChainUpdate) -> bool:
    """Whether an update brings a row of features."""
    return legs_in(update.features) > 0


def exchange_key(exchange: Any) -> str:
    """Canonical exchange; NSE for what is none: such input is counted and filed, never stored as rows."""
    return (canonical_exchange(exchange) if isinstance(exchange, str) else None) or "NSE"


def rows_offered(update: ChainUpdate) -> dict[tuple[str, str], int]:
    """Rows an update offers, by (table, exchange): the same figure whatever becomes of it."""
    exchange = exchange_key(update.exchange)
    counts: dict[tuple[str, str], int] = {}
    legs = legs_in(update.calls) + legs_in(update.puts)
    if legs:
        counts[CHAIN_TABLE, exchange] = legs
    if has_features(update):
        counts[FEATURE_TABLE, exchange] = 1
    if update.signal is not None:
        counts[SIGNAL_TABLE, exchange] = 1
    for reject in update.rejects:
        key = (reject.table, exchange)
        counts[key] = counts.get(key, 0) + 1
    return counts


def candles_offered(update: CandleUpdate) -> dict[tuple[str, str], int]:
    """Rows an update of candles offers, by (table, exchange)."""
    counts = {(CANDLE_TABLE, update.exchange): len(update.candles)} if update.candles else {}
    for reject in update.rejects:
        key = (reject.table, update.exchange)
        counts[key] = counts.get(key, 0) + 1
    return counts
