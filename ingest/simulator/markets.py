"""The markets that can be simulated: strikes, lots, volatility and trade of each symbol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lake.errors import SettingsError

_TUESDAY, _THURSDAY = 1, 3


@dataclass(frozen=True, slots=True)
class SimulatedMarket:
    """One symbol's market, as simulated.

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Canonical underlying.
        spot: Level around which a simulation starts, rupees.
        strike_step: Distance between neighbouring strikes, rupees.
        lot_size: Units of the underlying per contract where the reference data know none.
        daily_volatility: Standard deviation of ln(close / open) at a VIX of 13.1, measured.
        market_correlation: Of the spot's shocks with the market's, measured.
        expiry_weekday: Monday is 0.
        weekly: Whether every week has an expiry; else the last such weekday of each month.
        atm_lots_per_session: Contracts of one at-the-money leg of the next expiry traded in a session.
        open_interest_lots: Scale of the open interest of one leg of the next expiry, contracts.
    """

    exchange: str
    symbol: str
    spot: float
    strike_step: int
    lot_size: int
    daily_volatility: float
    market_correlation: float
    expiry_weekday: int
    weekly: bool
    atm_lots_per_session: float
    open_interest_lots: float

    def atm_strike(self, spot: float) -> int:
        """Return the strike nearest to the spot, the higher of two."""
        return math.floor(spot / self.strike_step + 0.5) * self.strike_step


MARKETS: Mapping[str, SimulatedMarket] = MappingProxyType(
    {
        market.symbol: market
        for market in (
            SimulatedMarket(
                exchange="NSE",
                symbol="NIFTY",
                spot=25_000.0,
                strike_step=50,
                lot_size=65,
                daily_volatility=0.0054,
                market_correlation=0.99,
                expiry_weekday=_TUESDAY,
                weekly=True,
                atm_lots_per_session=2_500_000.0,
                open_interest_lots=80_000.0,
            ),
            SimulatedMarket(
                exchange="NSE",
                symbol="BANKNIFTY",
                spot=58_000.0,
                strike_step=100,
                lot_size=30,
                daily_volatility=0.0068,
                market_correlation=0.95,
                expiry_weekday=_TUESDAY,
                weekly=False,
                atm_lots_per_session=120_000.0,
                open_interest_lots=20_000.0,
            ),
            SimulatedMarket(
                exchange="BSE",
                symbol="SENSEX",
                spot=82_000.0,
                strike_step=100,
                lot_size=20,
                daily_volatility=0.0056,
                market_correlation=0.99,
                expiry_weekday=_THURSDAY,
                weekly=True,
                atm_lots_per_session=800_000.0,
                open_interest_lots=30_000.0,
            ),
        )
    }
)

SYMBOLS = tuple(MARKETS)


def market_of(symbol: str) -> SimulatedMarket:
    """Return the market of a symbol.

    Raises:
        SettingsError: The symbol is not one of `MARKETS`.
    """
    if symbol not in MARKETS:
        raise SettingsError(f"symbol {symbol!r} cannot be simulated; known: {', '.join(MARKETS)}")
    return MARKETS[symbol]
