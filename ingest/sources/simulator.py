"""Seeded sessions of index option chains, as a live tracker would hand them over.

For the demo, benchmarks and tests: nothing here is market data. Figures marked "measured" were read off
recordings of 2026: three-minute candles of India VIX, NIFTY, BANKNIFTY and SENSEX of January, June and
July, and NIFTY chains of 2026-07-10 and 2026-08-19.

What is simulated, and after what:

* **VIX**: exponential Ornstein-Uhlenbeck process (Scott, "Option pricing when the variance changes
  randomly", 1987), mean 13.1 points, 4 % of volatility a session, moving against the market (measured).
  One VIX for all symbols.
* **Spot**: d ln S = -s^2/2 dt + s dW, where s is proportional to the VIX and to a U-shaped profile of the
  session (measured; Wood, McInish and Ord, "An investigation of transactions data", 1985). The symbols
  share the market's shocks.
* **Forward** of each expiry: cost of carry plus a mean-reverting basis of a few basis points that dies
  out over the last day, so that at the expiry's close the forward is the spot.
* **Implied volatility**: at the money the expected mean variance of a mean-reverting variance (Heston,
  1993), which gives the term structure; across strikes quadratic with a skew in
  m = ln(K/F) / (sigma sqrt T), the log-moneyness in standard deviations, and linear beyond |m| = 2.5,
  because there a parabola would let calls gain value as the strike rises.
* **Quotes**: Black-76 values between a bid and an ask on the 0.05 tick. The half-spread grows with the
  price and with the distance in the money; a cheap option keeps at least a tick. No bid means None. As at
  the NSE there is no implied volatility where the bid is missing or below the intrinsic value.
* **Trades**: exponential counts, rounded at random, of a mean that follows the session's profile and
  falls slowly out of the money, fast in the money and from each expiry to the next (measured). The last
  price stays where the last trade left it.
* **Open interest** moves by a part of each interval's volume: at most all of it opens or closes contracts.

Every variate comes from PCG64's raw stream by way of `ingest.sources.black76`, and no float is summed by
a routine that may reorder: the same arguments give the same updates on every machine and numpy version.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from heapq import merge
from itertools import count as count_from
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.calendar import Session, SessionCalendar
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import black76
from ingest.sources.black76 import FloatArray
from lake.errors import SettingsError

IntArray = npt.NDArray[np.int64]

INTEREST_RATE = 0.065
"""Annual rate, continuously compounded, at which option values are discounted."""

TICKS_PER_RUPEE = 20

_TUESDAY, _THURSDAY = 1, 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REGULAR_SESSION_S = 375 * 60.0
_SESSIONS_PER_YEAR = 252.0
_DAY_S = 86_400.0
_YEAR_S = 365.0 * _DAY_S
_CARRY_RATE = 0.053
_MINIMUM_INTERVAL_S = 0.001

_VIX_MEAN = 13.1
_VIX_REVERSION_PER_SESSION = 0.05
_VIX_VOLATILITY_PER_SESSION = 0.040
_VIX_OVERNIGHT_VOLATILITY = 0.039
_VIX_START_DEVIATION = 0.13
_VIX_MARKET_CORRELATION = -0.65
_SPOT_START_DEVIATION = 0.01
_SPOT_OVERNIGHT_RATIO = 0.7
_NIFTY_DAILY_VOLATILITY = 0.0054

# The VIX prices the whole smile; at the money the options are cheaper.
_ATM_TO_VIX = 0.85
_NOISE_MEMORY_S = 1_800.0
_ATM_NOISE = 0.01
_BASIS_NOISE = 0.0003

# Fitted by eye to the chains of 2026-07-10 and 2026-08-19 at 4 to 27 days.
_SMILE_SKEW = -0.07
_SMILE_CURVATURE = 0.05
_SMILE_LINEAR_BEYOND = 2.5
_SMILE_MAXIMUM = 4.0

_CALL, _PUT = 0, 1
_SIDES = np.array([[1.0], [-1.0]])


@dataclass(frozen=True, slots=True)
class SimulatedMarket:
    """One symbol's market, as simulated.

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Canonical underlying.
        spot: Level around which a simulation starts, rupees.
        strike_step: Distance between neighbouring strikes, rupees.
        lot_size: Units of the underlying per contract on days for which the reference data know none.
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
                daily_volatility=_NIFTY_DAILY_VOLATILITY,
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


def next_expiries(symbol: str, day: date, calendar: SessionCalendar, count: int) -> list[date]:
    """Return the next `count` expiry dates from `day` on, `day` included, in order.

    The rule in force since September 2025, applied to any day: NIFTY every Tuesday, SENSEX every
    Thursday, BANKNIFTY the last Tuesday of the month; without a session that day, the session before.

    Raises:
        SettingsError: The symbol is not one of `MARKETS`.
    """
    market = _market(symbol)
    nominal_days = (_weekly_days if market.weekly else _monthly_days)(day, market.expiry_weekday)
    expiries: list[date] = []
    while len(expiries) < count:
        nominal = next(nominal_days)
        sessions = calendar.sessions(market.exchange, max(day, nominal - timedelta(days=6)), nominal)
        if sessions:
            expiries.append(sessions[-1].date)
    return expiries


def _weekly_days(day: date, weekday: int) -> Iterator[date]:
    first = day + timedelta(days=(weekday - day.weekday()) % 7)
    return (first + timedelta(weeks=week) for week in count_from())


def _monthly_days(day: date, weekday: int) -> Iterator[date]:
    for month in count_from(day.year * 12 + day.month):
        end = date(month // 12, month % 12 + 1, 1) - timedelta(days=1)
        nominal = end - timedelta(days=(end.weekday() - weekday) % 7)
        if nominal >= day:
            yield nominal


def simulate_session(
    day: date,
    reference: ReferenceData,
    *,
    seed: int,
    symbols: Sequence[str] = SYMBOLS,
    interval_s: float = 60.0,
    strikes: int = 20,
    expiries: int = 2,
) -> Iterator[ChainUpdate]:
    """Simulate one day: one update per symbol and interval, in order of event time.

    The first update of a symbol is at its exchange's open, before anything has traded, the last one not
    after the close. An update holds all expiries of its symbol; legs are ordered by expiry and strike.
    A symbol's updates do not depend on which other symbols are asked for. Symbols of one event time come
    in the order of `symbols`. `received_ns` is 40 ms or more after the event; when `interval_s` is that
    short, receipts can overtake one another.

    Args:
        day: Session date.
        reference: Sessions and lot sizes.
        seed: Not negative.
        symbols: Of `MARKETS`, each at most once.
        interval_s: Seconds between a symbol's updates, at least 0.001.
        strikes: Strikes listed above, and below, the money at the open. More are added when the spot
            leaves less than half of them on one side; none is taken away.
        expiries: Number of expiries.

    Raises:
        SettingsError: An argument is out of range, or an exchange has no session that day.
    """
    return stream_days(
        [day],
        reference,
        seed=seed,
        symbols=symbols,
        interval_s=interval_s,
        strikes=strikes,
        expiries=expiries,
    )


def stream_days(
    days: Iterable[date],
    reference: ReferenceData,
    *,
    seed: int,
    symbols: Sequence[str] = SYMBOLS,
    interval_s: float = 60.0,
    strikes: int = 20,
    expiries: int = 2,
) -> Iterator[ChainUpdate]:
    """Simulate several sessions, each opening from the spot, VIX, strikes and OI of the one before.

    Otherwise as `simulate_session`, which is the case of one day. Features start afresh each day.

    Args:
        days: Session dates, ascending.
        reference: Sessions and lot sizes.
        seed: Not negative.
        symbols: Of `MARKETS`, each at most once.
        interval_s: Seconds between a symbol's updates, at least 0.001.
        strikes: Strikes listed above, and below, the money at the open.
        expiries: Number of expiries.

    Raises:
        SettingsError: An argument is out of range, the days do not ascend, or an exchange has no session
            on one of them. Raised at the call, before the first update.
    """
    days = list(days)
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise SettingsError("days must ascend, each at most once")
    if not symbols or len(set(symbols)) != len(symbols):
        raise SettingsError(f"symbols must name at least one symbol, each once, not {list(symbols)}")
    if seed < 0:
        raise SettingsError(f"seed must not be negative, not {seed}")
    if not (math.isfinite(interval_s) and interval_s >= _MINIMUM_INTERVAL_S):
        raise SettingsError(f"interval_s must be at least {_MINIMUM_INTERVAL_S}, not {interval_s}")
    if strikes < 1 or expiries < 1:
        raise SettingsError(f"strikes and expiries must be at least 1, not {strikes} and {expiries}")
    markets = [_market(symbol) for symbol in symbols]
    sessions = [[_session(reference.calendar, market.exchange, day) for market in markets] for day in days]
    scope = _Scope(reference, seed, interval_s, strikes, expiries)
    return _run(markets, sessions, scope)


def _market(symbol: str) -> SimulatedMarket:
    if symbol not in MARKETS:
        raise SettingsError(f"symbol {symbol!r} cannot be simulated; known: {', '.join(MARKETS)}")
    return MARKETS[symbol]


def _session(calendar: SessionCalendar, exchange: str, day: date) -> Session:
    session = calendar.session(exchange, day)
    if session is None:
        raise SettingsError(f"{exchange} has no session on {day}; choose a day of the session calendar")
    return session


@dataclass(frozen=True, slots=True)
class _Scope:
    """What one call asks for, the same for all its symbols and days."""

    reference: ReferenceData
    seed: int
    interval_s: float
    strikes: int
    expiries: int


def _run(
    markets: Sequence[SimulatedMarket], sessions: Iterable[Sequence[Session]], scope: _Scope
) -> Iterator[ChainUpdate]:
    closes: list[_Close | None] = [None] * len(markets)
    for of_day in sessions:
        running = [
            _SymbolSession(market, session, scope, previous)
            for market, session, previous in zip(markets, of_day, closes, strict=True)
        ]
        yield from merge(*(symbol.updates() for symbol in running), key=_event_time)
        closes = [symbol.close() for symbol in running]


def _event_time(update: ChainUpdate) -> Any:
    return update.event_time


class _Draws:
    """Uniform and normal variates out of PCG64's raw stream, which numpy promises never to change."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, *shape: int) -> FloatArray:
        """Draw from the open interval (0, 1)."""
        # 52 bits and a half: exact in a double, and never 0 or 1.
        raw = self._bits.random_raw(math.prod(shape)) >> np.uint64(12)
        return ((raw.astype(np.float64) + 0.5) * 2.0**-52).reshape(shape)

    def normal(self, *shape: int) -> FloatArray:
        return black76.norm_ppf(self.uniform(*shape))


def _activity(progress: FloatArray) -> FloatArray:
    """U-shaped level of a session, root mean square 1; `progress` runs from 0 at the open to 1.

    Measured on three-minute returns of NIFTY: 1.75 in the first, 0.76 at 13:00, 0.95 in the last.
    """
    left = 1.0 - progress
    sixth = left * left * left
    sixth *= sixth
    late = progress * progress * progress
    late *= late
    shape: FloatArray = 0.80 + 0.90 * sixth + 0.25 * late
    # The mean square of the polynomial over 0 to 1, integrated term by term.
    mean_square = 0.64 + 0.81 / 13 + 0.0625 / 13 + 2 * (0.72 + 0.20) / 7 + 0.45 / 12_012
    return shape / math.sqrt(mean_square)


def _autoregression(start: float, persistence: float, shocks: FloatArray) -> FloatArray:
    """x[0] = start, x[k] = persistence x[k-1] + shocks[k-1]."""
    value = start
    values = [value]
    for shock in shocks.tolist():
        value = persistence * value + shock
        values.append(value)
    return np.array(values)


@dataclass(frozen=True, slots=True)
class _Close:
    """What one session leaves to the next.

    Attributes:
        spot: Rupees.
        vix_deviation: ln(VIX / mean).
        strikes: Per expiry the listed strikes, ascending.
        oi: Per expiry the open interest of calls and puts, in the order of `strikes`.
    """

    spot: float
    vix_deviation: float
    strikes: Mapping[date, IntArray]
    oi: Mapping[date, IntArray]


@dataclass(frozen=True, slots=True)
class _Path:
    """The underlying over one session: one row an update, one column an expiry where there are two axes.

    Attributes:
        spot: Rupees, to the paisa.
        vix: Points, to two decimals.
        last_vix_deviation: ln(VIX / mean) at the last update.
        years: Time to each expiry's close.
        forward: Forward price of each expiry, rupees.
        discount: Present value of one rupee at each expiry.
        atm_volatility: At-the-money implied volatility of each expiry.
    """

    spot: FloatArray
    vix: FloatArray
    last_vix_deviation: float
    years: FloatArray
    forward: FloatArray
    discount: FloatArray
    atm_volatility: FloatArray


def _simulate_path(
    market: SimulatedMarket,
    *,
    elapsed_s: FloatArray,
    session_s: float,
    expiry_s: FloatArray,
    market_draws: _Draws,
    own_draws: _Draws,
    previous: _Close | None,
) -> _Path:
    """Simulate VIX, spot and forwards.

    Args:
        market: Which.
        elapsed_s: Of each update since the open; starts with 0.
        session_s: From open to close.
        expiry_s: From the open to each expiry's close.
        market_draws: The same for every symbol, so that the VIX is too.
        own_draws: The symbol's own.
        previous: The close before; None starts near the market's usual level.
    """
    updates = len(elapsed_s)
    start_shocks = market_draws.normal(2)
    shocks = market_draws.normal(updates, 2)
    market_shock = shocks[:, 0]
    independent = math.sqrt(1.0 - _VIX_MARKET_CORRELATION * _VIX_MARKET_CORRELATION)
    vix_shock = _VIX_MARKET_CORRELATION * market_shock + independent * shocks[:, 1]
    loading = market.market_correlation
    spot_shock = loading * market_shock + math.sqrt(1.0 - loading * loading) * own_draws.normal(updates)

    step_s = np.diff(elapsed_s)
    weight = np.sqrt(step_s / _REGULAR_SESSION_S) * _activity((elapsed_s[1:] - 0.5 * step_s) / session_s)
    reversion = _VIX_REVERSION_PER_SESSION * (elapsed_s[1] if updates > 1 else 0.0) / _REGULAR_SESSION_S
    before = previous.vix_deviation if previous else _VIX_START_DEVIATION * float(start_shocks[1])
    deviation = _autoregression(
        before + _VIX_OVERNIGHT_VOLATILITY * float(vix_shock[0]),
        float(black76.exp(-reversion)),
        _VIX_VOLATILITY_PER_SESSION * weight * vix_shock[1:],
    )
    vix = _VIX_MEAN * black76.exp(deviation)

    volatility = market.daily_volatility * vix / _VIX_MEAN
    step_deviation = volatility[:-1] * weight
    gap = _SPOT_OVERNIGHT_RATIO * volatility[0] * spot_shock[0]
    if previous is None:
        gap = gap + _SPOT_START_DEVIATION * start_shocks[0]
    moves = np.concatenate(([gap], step_deviation * spot_shock[1:] - 0.5 * step_deviation * step_deviation))
    start = previous.spot if previous else market.spot
    spot = np.rint(start * black76.exp(np.cumsum(moves)) * 100.0) / 100.0

    years = np.maximum(expiry_s - elapsed_s[:, np.newaxis], 0.0) / _YEAR_S
    memory = float(black76.exp(-(elapsed_s[1] if updates > 1 else 0.0) / _NOISE_MEMORY_S))
    noise = np.empty((2, updates, len(expiry_s)))
    for expiry in range(len(expiry_s)):
        for which, size in enumerate((_BASIS_NOISE, _ATM_NOISE)):
            shock = size * own_draws.normal(updates)
            noise[which, :, expiry] = _autoregression(
                float(shock[0]), memory, math.sqrt(1.0 - memory * memory) * shock[1:]
            )
    basis = noise[0] * np.minimum(years * 365.0, 1.0)
    return _Path(
        spot=spot,
        vix=np.rint(vix * 100.0) / 100.0,
        last_vix_deviation=float(deviation[-1]),
        years=years,
        forward=spot[:, np.newaxis] * black76.exp(_CARRY_RATE * years) * (1.0 + basis),
        discount=black76.exp(-INTEREST_RATE * years),
        atm_volatility=_atm_volatility(market, vix[:, np.newaxis], years) * (1.0 + noise[1]),
    )


def _atm_volatility(market: SimulatedMarket, vix: FloatArray, years: FloatArray) -> FloatArray:
    """Square root of the mean variance to be expected until expiry while the VIX reverts to its mean.

    Heston (1993): theta + (v - theta) (1 - exp(-kappa T)) / (kappa T).
    """
    decay = 2.0 * _VIX_REVERSION_PER_SESSION * _SESSIONS_PER_YEAR * np.maximum(years, 1e-6)
    share = (1.0 - black76.exp(-decay)) / decay
    long_run = _VIX_MEAN * _VIX_MEAN
    points = np.sqrt(long_run + (vix * vix - long_run) * share)
    relative = market.daily_volatility / _NIFTY_DAILY_VOLATILITY
    result: FloatArray = _ATM_TO_VIX * relative * points / 100.0
    return result


def _smile(moneyness: FloatArray) -> FloatArray:
    """Implied volatility over that at the money, for a moneyness in standard deviations."""
    inner = np.minimum(np.maximum(moneyness, -_SMILE_LINEAR_BEYOND), _SMILE_LINEAR_BEYOND)
    level = 1.0 + inner * (_SMILE_SKEW + _SMILE_CURVATURE * inner)
    slope = _SMILE_SKEW + 2.0 * _SMILE_CURVATURE * inner
    return np.minimum(level + slope * (moneyness - inner), _SMILE_MAXIMUM)


def _roundness(strike: IntArray) -> FloatArray:
    """How much more a round strike is held and traded (measured roughly)."""
    weight: FloatArray = np.where(
        strike % 1000 == 0, 2.2, np.where(strike % 500 == 0, 1.5, np.where(strike % 100 == 0, 1.0, 0.5))
    )
    return weight


class _Legs:
    """Every leg listed, ordered by expiry and strike; two-dimensional arrays hold calls, then puts.

    Quantities are in contracts, prices in ticks. A `last_price` of 0 is no trade yet today. `opening_bias`
    is the part of a leg's volume that opens contracts rather than closing them, day's mean.
    """

    def __init__(self) -> None:
        self.expiry = np.empty(0, dtype=np.int64)
        self.strike = np.empty(0, dtype=np.int64)
        self.opening_oi = np.empty((2, 0), dtype=np.int64)
        self.oi = np.empty((2, 0), dtype=np.int64)
        self.volume = np.empty((2, 0), dtype=np.int64)
        self.last_price = np.empty((2, 0), dtype=np.int64)
        self.opening_bias = np.empty((2, 0))

    def add(self, expiry: int, strike: IntArray, opening_oi: IntArray, opening_bias: FloatArray) -> None:
        """List the calls and puts of new strikes of one expiry."""
        unused = np.zeros_like(opening_oi)
        self.expiry = np.concatenate((self.expiry, np.full(len(strike), expiry, dtype=np.int64)))
        self.strike = np.concatenate((self.strike, strike))
        order = np.lexsort((self.strike, self.expiry))
        self.expiry, self.strike = self.expiry[order], self.strike[order]
        self.opening_oi = np.concatenate((self.opening_oi, opening_oi), axis=1)[:, order]
        self.oi = np.concatenate((self.oi, opening_oi), axis=1)[:, order]
        self.volume = np.concatenate((self.volume, unused), axis=1)[:, order]
        self.last_price = np.concatenate((self.last_price, unused), axis=1)[:, order]
        self.opening_bias = np.concatenate((self.opening_bias, opening_bias), axis=1)[:, order]

    def of_expiry(self, expiry: int) -> slice:
        """Return where that expiry's legs are."""
        first, end = np.searchsorted(self.expiry, (expiry, expiry + 1)).tolist()
        return slice(first, end)


@dataclass(frozen=True, slots=True)
class _Quotes:
    """The market of every leg at one moment, in the order of `_Legs`.

    Attributes:
        moneyness: ln(K/F) in standard deviations, one a strike.
        volatility: Implied volatility, one a strike; call and put share it.
        value: Black-76 value, rupees.
        bid: Ticks; below 1 there is no bid.
        ask: Ticks.
        solvable: Whether the bid has an implied volatility.
    """

    moneyness: FloatArray
    volatility: FloatArray
    value: FloatArray
    bid: IntArray
    ask: IntArray
    solvable: npt.NDArray[np.bool_]


class _SymbolSession:
    """One symbol's session, generated update by update."""

    def __init__(
        self, market: SimulatedMarket, session: Session, scope: _Scope, previous: _Close | None
    ) -> None:
        calendar, day = scope.reference.calendar, session.date
        self._market = market
        self._strikes = scope.strikes
        self._lot = scope.reference.lots.lot_size(market.exchange, market.symbol, day) or market.lot_size
        self._expiries = next_expiries(market.symbol, day, calendar, scope.expiries)
        opens = session.open.astimezone(UTC)
        session_s = (session.close - session.open).total_seconds()
        # A millionth of an interval forgives the rounding of the division, so the close is reached.
        updates = int(session_s / scope.interval_s + 1e-6) + 1
        elapsed = [timedelta(seconds=index * scope.interval_s) for index in range(updates)]
        self._times = [opens + since for since in elapsed]
        self._elapsed_s = np.array([since.total_seconds() for since in elapsed])
        self._session_s = session_s
        expiry_s = [
            (calendar.close_of(market.exchange, expiry) - session.open).total_seconds()
            for expiry in self._expiries
        ]
        key = (scope.seed, day.toordinal())
        self._draws = _Draws(*key, *market.symbol.encode("ascii"))
        self._path = _simulate_path(
            market,
            elapsed_s=self._elapsed_s,
            session_s=session_s,
            expiry_s=np.array(expiry_s),
            market_draws=_Draws(*key),
            own_draws=self._draws,
            previous=previous,
        )
        latency_s = 0.040 - 0.060 * black76.log(self._draws.uniform(updates))
        self._latency_ns: list[int] = (latency_s * 1e9).astype(np.int64).tolist()
        self._tracker = _Tracker(scope.interval_s)
        self._legs = _Legs()
        self._listed: list[tuple[int, int]] = []
        self._popularity = np.empty(0)
        self._strike_column: list[float] = []
        self._expiry_column: list[date] = []
        self._list_at_open(previous)

    def updates(self) -> Iterator[ChainUpdate]:
        """Yield the session's updates in order; to be called once."""
        for index in range(len(self._times)):
            self._list_around(self._atm_strike(index))
            quotes = self._quote(index)
            uniform = self._draws.uniform(8, *quotes.value.shape)
            exponential = -black76.log(uniform[:3])
            if index:
                self._trade(index, quotes, exponential[0], uniform[3:])
            yield self._update(index, quotes, depth=exponential[1:])

    def close(self) -> _Close:
        """Return what the next session needs; to be called after the last update."""
        slices = {expiry: self._legs.of_expiry(index) for index, expiry in enumerate(self._expiries)}
        return _Close(
            spot=float(self._path.spot[-1]),
            vix_deviation=self._path.last_vix_deviation,
            strikes={expiry: self._legs.strike[part] for expiry, part in slices.items()},
            oi={expiry: self._legs.oi[:, part] for expiry, part in slices.items()},
        )

    def _atm_strike(self, index: int) -> int:
        step = self._market.strike_step
        return math.floor(float(self._path.spot[index]) / step + 0.5) * step

    def _around(self, atm: int) -> tuple[int, int]:
        step = self._market.strike_step
        return max(atm - self._strikes * step, step), atm + self._strikes * step

    def _list_at_open(self, previous: _Close | None) -> None:
        for index, expiry in enumerate(self._expiries):
            low, high = self._around(self._atm_strike(0))
            held = previous.strikes.get(expiry) if previous else None
            if previous is None or held is None:
                strike = self._every_strike(low, high)
                opening_oi = self._first_open_interest(index, strike)
            else:
                low, high = min(low, int(held[0])), max(high, int(held[-1]))
                strike = self._every_strike(low, high)
                opening_oi = np.zeros((2, len(strike)), dtype=np.int64)
                opening_oi[:, np.searchsorted(strike, held)] = previous.oi[expiry]
            self._listed.append((low, high))
            self._add(index, strike, opening_oi)

    def _list_around(self, atm: int) -> None:
        """Add strikes where the spot has run too near the end of an expiry's list."""
        margin = (self._strikes + 1) // 2 * self._market.strike_step
        wanted_low, wanted_high = self._around(atm)
        step = self._market.strike_step
        for index, (low, high) in enumerate(self._listed):
            new_low = wanted_low if atm - low < margin and low > wanted_low else low
            new_high = wanted_high if high - atm < margin else high
            if (new_low, new_high) == (low, high):
                continue
            self._listed[index] = (new_low, new_high)
            below, above = self._every_strike(new_low, low - step), self._every_strike(high + step, new_high)
            strike = np.concatenate((below, above))
            self._add(index, strike, np.zeros((2, len(strike)), dtype=np.int64))

    def _every_strike(self, low: int, high: int) -> IntArray:
        return np.arange(low, high + 1, self._market.strike_step, dtype=np.int64)

    def _add(self, expiry: int, strike: IntArray, opening_oi: IntArray) -> None:
        # At its last session a contract is closed more than opened.
        mean = -0.02 if self._path.years[0, expiry] * 365.0 < 1.0 else 0.01
        bias = mean + 0.015 * self._draws.normal(2, len(strike))
        self._legs.add(expiry, strike, opening_oi, bias)
        rank = self._legs.expiry
        self._popularity = _roundness(self._legs.strike) / (1.0 + 35.0 * rank * rank)
        self._strike_column = self._legs.strike.astype(np.float64).tolist()
        self._expiry_column = [self._expiries[index] for index in self._legs.expiry.tolist()]

    def _moneyness(self, index: int, expiry: IntArray, strike: IntArray) -> FloatArray:
        """ln(K/F) in standard deviations until expiry, of at least a day: a smile does not become a spike."""
        years = np.maximum(self._path.years[index], 1.0 / 365.0)
        deviation = self._path.atm_volatility[index] * np.sqrt(years)
        moneyness: FloatArray = black76.log(strike / self._path.forward[index][expiry]) / deviation[expiry]
        return moneyness

    def _first_open_interest(self, expiry: int, strike: IntArray) -> IntArray:
        """Draw the open interest of a first day: most of it some way out of the money, at round strikes."""
        which = np.full(len(strike), expiry, dtype=np.int64)
        out = _SIDES * self._moneyness(0, which, strike)
        shape = np.where(
            out > 0.0,
            (0.5 + np.minimum(out, 8.0)) * black76.exp(-0.5 * np.maximum(out, 0.0)),
            0.5 * black76.exp(1.5 * np.minimum(out, 0.0)),
        )
        spread = black76.exp(0.5 * self._draws.normal(2, len(strike)))
        scale = self._market.open_interest_lots / (1.0 + 19.0 * expiry * expiry)
        return np.floor(scale * _roundness(strike) * shape * spread).astype(np.int64)

    def _quote(self, index: int) -> _Quotes:
        path, legs = self._path, self._legs
        moneyness = self._moneyness(index, legs.expiry, legs.strike)
        volatility = path.atm_volatility[index][legs.expiry] * _smile(moneyness)
        forward, discount = path.forward[index][legs.expiry], path.discount[index][legs.expiry]
        value = black76.price(
            forward, legs.strike, path.years[index][legs.expiry], volatility, side=_SIDES, discount=discount
        )
        inside = np.maximum(-_SIDES * moneyness, 0.0)
        widening = (1.0 + 1.5 * np.minimum(inside * inside, 40.0)) * (1.0 + 0.5 * legs.expiry)
        half_spread = 0.04 + 0.0008 * value * widening
        bid = np.floor((value - half_spread) * TICKS_PER_RUPEE).astype(np.int64)
        intrinsic = discount * np.maximum(_SIDES * (forward - legs.strike), 0.0)
        return _Quotes(
            moneyness=moneyness,
            volatility=volatility,
            value=value,
            bid=bid,
            ask=np.ceil((value + half_spread) * TICKS_PER_RUPEE).astype(np.int64),
            solvable=(bid >= 1) & (bid > intrinsic * TICKS_PER_RUPEE),
        )

    def _trade(self, index: int, quotes: _Quotes, exponential: FloatArray, uniform: FloatArray) -> None:
        """Trade since the update before: volume, last price, open interest.

        Counts and changes are rounded at random, or a leg that seldom trades would never trade at all.
        """
        legs = self._legs
        out = _SIDES * quotes.moneyness
        inside_decay = np.where(legs.expiry == 0, 3.2, 5.0)
        appetite = black76.exp(np.where(out > 0.0, -0.65, inside_decay) * out)
        step_s = self._elapsed_s[index] - self._elapsed_s[index - 1]
        middle = (self._elapsed_s[index] - 0.5 * step_s) / self._session_s
        per_step = self._market.atm_lots_per_session * step_s / _REGULAR_SESSION_S * _activity(middle)
        rate = per_step * self._popularity * appetite
        lots = np.floor(rate * exponential + uniform[0])
        volume = lots.astype(np.int64)
        legs.volume += volume
        low = np.where(quotes.bid >= 1, quotes.bid, quotes.ask)
        price = low + np.floor(uniform[1] * (quotes.ask - low + 1)).astype(np.int64)
        legs.last_price = np.where(volume > 0, price, legs.last_price)
        opened = legs.opening_bias + 0.4 * (uniform[2] - uniform[3])
        opened = np.minimum(np.maximum(opened, -1.0), 1.0)
        change = np.floor(opened * lots + uniform[4]).astype(np.int64)
        legs.oi = np.maximum(legs.oi + change, 0)

    def _update(self, index: int, quotes: _Quotes, *, depth: FloatArray) -> ChainUpdate:
        spot = float(self._path.spot[index])
        atm = self._atm_strike(index)
        near = self._legs.of_expiry(0)
        call_oi, put_oi = self._legs.oi[:, near].sum(axis=1).tolist()
        pcr = put_oi / call_oi if call_oi else None
        calls, puts = self._legs_of(quotes, depth)
        event_time = self._times[index]
        microseconds = (event_time - _EPOCH) // timedelta(microseconds=1)
        return ChainUpdate(
            exchange=self._market.exchange,
            symbol=self._market.symbol,
            event_time=event_time,
            received_ns=microseconds * 1_000 + self._latency_ns[index],
            calls=calls,
            puts=puts,
            features=self._tracker.observe(self._chain_figures(index, quotes, atm=atm, pcr=pcr)),
            context={
                "underlying_price": spot,
                "vix": float(self._path.vix[index]),
                "atm_strike": float(atm),
                "pcr": pcr,
                "lot_size": self._lot,
            },
            source="simulator",
        )

    def _legs_of(
        self, quotes: _Quotes, depth: FloatArray
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return calls and puts as canonical legs, quantities in units of the underlying.

        Args:
            quotes: The market.
            depth: Of bids and asks, over its mean.
        """
        legs, lot = self._legs, self._lot
        mean_lots = 8.0 + 400.0 / (1.0 + quotes.value)
        size = (1 + np.floor(depth * mean_lots).astype(np.int64)) * lot
        has_bid = quotes.bid >= 1
        ltp = _or_none(legs.last_price / TICKS_PER_RUPEE, legs.last_price > 0)
        bid = _or_none(quotes.bid / TICKS_PER_RUPEE, has_bid)
        ask = (quotes.ask / TICKS_PER_RUPEE).tolist()
        bid_qty, ask_qty = _or_none(size[0], has_bid), size[1].tolist()
        oi, oi_change = (legs.oi * lot).tolist(), ((legs.oi - legs.opening_oi) * lot).tolist()
        volume = (legs.volume * lot).tolist()
        volatility = np.rint(quotes.volatility * 1e6) / 1e6
        iv = _or_none(np.broadcast_to(volatility, quotes.bid.shape), quotes.solvable)
        columns = (ltp, bid, ask, bid_qty, ask_qty, oi, oi_change, volume, iv)
        shared = (self._strike_column, self._expiry_column)
        calls, puts = (
            _leg_mappings(*shared, *(column[side] for column in columns)) for side in (_CALL, _PUT)
        )
        return calls, puts

    def _chain_figures(self, index: int, quotes: _Quotes, *, atm: int, pcr: float | None) -> _ChainFigures:
        legs, path = self._legs, self._path
        spot = float(path.spot[index])
        near = legs.of_expiry(0)
        strike, oi = legs.strike[near], legs.oi[:, near]
        at = int(np.searchsorted(strike, atm))
        below = int(np.argmin(np.abs(strike - 0.98 * spot)))
        above = int(np.argmin(np.abs(strike - 1.02 * spot)))
        iv = quotes.volatility[near]
        call_oi, put_oi = oi.sum(axis=1).tolist()
        call_oi_change, put_oi_change = (oi - legs.opening_oi[:, near]).sum(axis=1).tolist()
        call_volume, put_volume = legs.volume[:, near].sum(axis=1).tolist()
        atm_call_oi, atm_put_oi = oi[:, max(at - 5, 0) : at + 6].sum(axis=1).tolist()
        term_slope = 0.0
        if len(self._expiries) > 1:
            term_slope = float(path.atm_volatility[index, 1] - path.atm_volatility[index, 0])
        return _ChainFigures(
            minutes_since_open=float(self._elapsed_s[index]) / 60.0,
            minutes_to_close=(self._session_s - float(self._elapsed_s[index])) / 60.0,
            days_to_expiry=float(path.years[index, 0]) * 365.0,
            spot=spot,
            vix=float(path.vix[index]),
            basis=float(path.forward[index, 0]) / spot - 1.0,
            atm_iv=float(iv[at]),
            skew=float(iv[below] - iv[above]),
            curvature=0.5 * float(iv[below] + iv[above]) - float(iv[at]),
            term_slope=term_slope,
            straddle=float(quotes.value[_CALL, at] + quotes.value[_PUT, at]) / spot,
            pcr=pcr,
            pcr_volume=put_volume / call_volume if call_volume else None,
            call_oi_change=float(call_oi_change * self._lot),
            put_oi_change=float(put_oi_change * self._lot),
            oi_imbalance=_ratio(put_oi - call_oi, put_oi + call_oi),
            atm_oi_imbalance=_ratio(atm_put_oi - atm_call_oi, atm_put_oi + atm_call_oi),
            max_pain=_max_pain(strike, oi),
            call_wall=int(strike[np.argmax(oi[_CALL])]),
            put_wall=int(strike[np.argmax(oi[_PUT])]),
        )


def _leg_mappings(*columns: Sequence[Any]) -> list[dict[str, Any]]:
    """Return one mapping a leg; a literal, which is built in half the time of dict(zip(keys, values))."""
    return [
        {
            "strike": strike,
            "expiry": expiry,
            "ltp": ltp,
            "bid": bid,
            "ask": ask,
            "bid_qty": bid_qty,
            "ask_qty": ask_qty,
            "oi": oi,
            "oi_change": oi_change,
            "volume": volume,
            "iv": iv,
        }
        for strike, expiry, ltp, bid, ask, bid_qty, ask_qty, oi, oi_change, volume, iv in zip(
            *columns, strict=True
        )
    ]


def _or_none(values: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> list[list[Any]]:
    """Return Python values by row, None where absent."""
    return [
        [value if there else None for value, there in zip(row, mask, strict=True)]
        for row, mask in zip(values.tolist(), present.tolist(), strict=True)
    ]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _max_pain(strike: IntArray, oi: IntArray) -> int:
    """Return the strike at which the buyers of all options of one expiry would be paid least."""
    call_oi, put_oi = oi
    # Calls below and puts above a settlement price are paid: both sums in one pass over the strikes.
    calls = strike * np.cumsum(call_oi) - np.cumsum(call_oi * strike)
    puts = np.cumsum((put_oi * strike)[::-1])[::-1] - strike * np.cumsum(put_oi[::-1])[::-1]
    return int(strike[np.argmin(calls + puts)])


@dataclass(frozen=True, slots=True)
class _ChainFigures:
    """What one update's chain says by itself, of the nearest expiry.

    Attributes:
        minutes_since_open: Minutes.
        minutes_to_close: Minutes.
        days_to_expiry: Calendar days, to the expiry's close.
        spot: Rupees.
        vix: Points.
        basis: Forward over spot, less 1.
        atm_iv: Implied volatility of the at-the-money strike, annualised fraction.
        skew: Implied volatility 2 % below less that 2 % above the spot, or at the list's ends.
        curvature: Mean implied volatility of those two strikes less that at the money.
        term_slope: At-the-money volatility of the second expiry less that of the first; 0 without one.
        straddle: Value of the at-the-money call and put, over the spot.
        pcr: Open interest of the puts over that of the calls.
        pcr_volume: The same of the volume.
        call_oi_change: Since the last close, units of the underlying.
        put_oi_change: The same of the puts.
        oi_imbalance: (puts - calls) / (puts + calls) of the open interest.
        atm_oi_imbalance: The same of the five strikes on either side of the money.
        max_pain: Strike, rupees.
        call_wall: Strike with the largest call open interest, rupees.
        put_wall: Strike with the largest put open interest, rupees.
    """

    minutes_since_open: float
    minutes_to_close: float
    days_to_expiry: float
    spot: float
    vix: float
    basis: float
    atm_iv: float
    skew: float
    curvature: float
    term_slope: float
    straddle: float
    pcr: float | None
    pcr_volume: float | None
    call_oi_change: float
    put_oi_change: float
    oi_imbalance: float | None
    atm_oi_imbalance: float | None
    max_pain: int
    call_wall: int
    put_wall: int


class _Smoothed:
    """Exponential moving average, started at its first value."""

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self.value: float | None = None

    def add(self, value: float) -> float:
        self.value = value if self.value is None else self.value + self._weight * (value - self.value)
        return self.value


class _Tracker:
    """The features a live tracker would compute from the session's updates so far.

    Windows are in minutes and count updates; one shorter than the interval spans one interval. What
    needs more history than there is yet is None. Changes are differences, returns simple returns.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._figures: list[_ChainFigures] = []
        # Running sums over returns since the open keep the precision that squares of prices would lose.
        self._sum = [0.0]
        self._sum_of_squares = [0.0]
        self._squared_returns = [0.0]
        self._high = -math.inf
        self._low = math.inf
        self._fast, self._slow, self._signal = (
            _Smoothed(2.0 / (self._updates(minutes) + 1.0)) for minutes in (12, 26, 9)
        )
        self._gain, self._loss = (_Smoothed(1.0 / self._updates(14)) for _ in range(2))

    def observe(self, now: _ChainFigures) -> dict[str, float | None]:
        """Take the next update in and return its features; always the same names in the same order."""
        self._remember(now)
        first, minute_5 = self._figures[0], self._before(5)
        fast, slow = self._fast.add(now.spot), self._slow.add(now.spot)
        macd = (fast - slow) / now.spot
        realised_15, realised_30 = self._realised_volatility(15), self._realised_volatility(30)
        mean_20, deviation_20 = self._mean(20), self._deviation(20)
        span = self._high - self._low
        return {
            "minutes_since_open": now.minutes_since_open,
            "minutes_to_close": now.minutes_to_close,
            "days_to_expiry": now.days_to_expiry,
            "is_expiry_day": float(now.days_to_expiry * 1_440.0 <= now.minutes_to_close + 1e-6),
            "return_1m": self._return(1),
            "return_5m": self._return(5),
            "return_15m": self._return(15),
            "return_30m": self._return(30),
            "return_since_open": now.spot / first.spot - 1.0,
            "realised_volatility_15m": realised_15,
            "realised_volatility_30m": realised_30,
            "range_since_open": span / first.spot,
            "position_in_range": (now.spot - self._low) / span if span else None,
            "sma_gap_5m": self._gap(5),
            "sma_gap_15m": self._gap(15),
            "sma_gap_30m": self._gap(30),
            "ema_gap_12m": now.spot / fast - 1.0,
            "ema_gap_26m": now.spot / slow - 1.0,
            "macd": macd,
            "macd_signal": self._signal.add(macd),
            "rsi_14m": self._rsi(),
            "bollinger_z_20m": _over(_less(now.spot / first.spot - 1.0, mean_20), deviation_20),
            "vix": now.vix,
            "vix_change_5m": now.vix - minute_5.vix if minute_5 else None,
            "vix_change_since_open": now.vix - first.vix,
            "futures_basis": now.basis,
            "atm_iv": now.atm_iv,
            "atm_iv_change_5m": now.atm_iv - minute_5.atm_iv if minute_5 else None,
            "atm_iv_change_since_open": now.atm_iv - first.atm_iv,
            "iv_skew": now.skew,
            "iv_curvature": now.curvature,
            "iv_term_slope": now.term_slope,
            "iv_less_realised_30m": _less(now.atm_iv, realised_30),
            "atm_straddle": now.straddle,
            "pcr_oi": now.pcr,
            "pcr_oi_change_5m": _less(now.pcr, minute_5.pcr) if minute_5 else None,
            "pcr_oi_change_since_open": _less(now.pcr, first.pcr),
            "pcr_volume": now.pcr_volume,
            "call_oi_change": now.call_oi_change,
            "put_oi_change": now.put_oi_change,
            "call_oi_change_5m": now.call_oi_change - minute_5.call_oi_change if minute_5 else None,
            "put_oi_change_5m": now.put_oi_change - minute_5.put_oi_change if minute_5 else None,
            "oi_imbalance": now.oi_imbalance,
            "atm_oi_imbalance": now.atm_oi_imbalance,
            "max_pain_gap": now.max_pain / now.spot - 1.0,
            "call_wall_gap": now.call_wall / now.spot - 1.0,
            "put_wall_gap": now.put_wall / now.spot - 1.0,
        }

    def _remember(self, now: _ChainFigures) -> None:
        if self._figures:
            move = now.spot - self._figures[-1].spot
            self._gain.add(max(move, 0.0))
            self._loss.add(max(-move, 0.0))
            step = move / self._figures[-1].spot
            self._squared_returns.append(self._squared_returns[-1] + step * step)
        self._figures.append(now)
        since_open = now.spot / self._figures[0].spot - 1.0
        self._sum.append(self._sum[-1] + since_open)
        self._sum_of_squares.append(self._sum_of_squares[-1] + since_open * since_open)
        self._high, self._low = max(self._high, now.spot), min(self._low, now.spot)

    def _updates(self, minutes: int) -> int:
        return max(1, round(60.0 * minutes / self._interval_s))

    def _before(self, minutes: int) -> _ChainFigures | None:
        updates = self._updates(minutes)
        return self._figures[-1 - updates] if len(self._figures) > updates else None

    def _return(self, minutes: int) -> float | None:
        before = self._before(minutes)
        return self._figures[-1].spot / before.spot - 1.0 if before else None

    def _mean(self, minutes: int) -> float | None:
        """Mean return since the open over a window that ends with this update."""
        updates = self._updates(minutes)
        return (self._sum[-1] - self._sum[-1 - updates]) / updates if len(self._sum) > updates else None

    def _deviation(self, minutes: int) -> float | None:
        updates, mean = self._updates(minutes), self._mean(minutes)
        if mean is None:
            return None
        squares = (self._sum_of_squares[-1] - self._sum_of_squares[-1 - updates]) / updates
        return math.sqrt(max(squares - mean * mean, 0.0))

    def _gap(self, minutes: int) -> float | None:
        mean = self._mean(minutes)
        return None if mean is None else self._figures[-1].spot / (self._figures[0].spot * (1.0 + mean)) - 1.0

    def _realised_volatility(self, minutes: int) -> float | None:
        updates = self._updates(minutes)
        if len(self._squared_returns) <= updates:
            return None
        squares = self._squared_returns[-1] - self._squared_returns[-1 - updates]
        sessions = updates * self._interval_s / _REGULAR_SESSION_S
        return math.sqrt(max(squares, 0.0) / sessions * _SESSIONS_PER_YEAR)

    def _rsi(self) -> float | None:
        """Relative strength index (Wilder, 1978), 0 to 100."""
        gain, loss = self._gain.value, self._loss.value
        if gain is None or loss is None or len(self._figures) <= self._updates(14):
            return None
        return 100.0 * gain / (gain + loss) if gain + loss > 0.0 else 50.0


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _over(value: float | None, divisor: float | None) -> float | None:
    return value / divisor if value is not None and divisor else None
