"""What one update's chain says by itself: the figures that a tracker makes its features of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.simulator.arrays import IntArray
from ingest.simulator.legs import CALL, PUT, Legs
from ingest.simulator.path import UnderlyingPath
from ingest.simulator.quotes import Quotes
from ingest.simulator.timetable import Timetable


@dataclass(frozen=True, slots=True)
class ChainFigures:
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


def chain_figures(
    legs: Legs, quotes: Quotes, path: UnderlyingPath, timetable: Timetable, *, index: int, atm: int, lot: int
) -> ChainFigures:
    """Read the figures off one update's chain.

    Args:
        legs: What was traded and is held by then.
        quotes: The market then.
        path: The underlying's session.
        timetable: Of the session.
        index: Of the update.
        atm: At-the-money strike, rupees.
        lot: Units of the underlying per contract of the nearest expiry.
    """
    spot = float(path.spot[index])
    elapsed_s = float(timetable.elapsed_s[index])
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
    if path.atm_volatility.shape[1] > 1:
        term_slope = float(path.atm_volatility[index, 1] - path.atm_volatility[index, 0])
    return ChainFigures(
        minutes_since_open=elapsed_s / 60.0,
        minutes_to_close=(timetable.session_s - elapsed_s) / 60.0,
        days_to_expiry=float(path.years[index, 0]) * 365.0,
        spot=spot,
        vix=float(path.vix[index]),
        basis=float(path.forward[index, 0]) / spot - 1.0,
        atm_iv=float(iv[at]),
        skew=float(iv[below] - iv[above]),
        curvature=0.5 * float(iv[below] + iv[above]) - float(iv[at]),
        term_slope=term_slope,
        straddle=float(quotes.value[CALL, at] + quotes.value[PUT, at]) / spot,
        pcr=_ratio(put_oi, call_oi),
        pcr_volume=_ratio(put_volume, call_volume),
        call_oi_change=float(call_oi_change * lot),
        put_oi_change=float(put_oi_change * lot),
        oi_imbalance=_ratio(put_oi - call_oi, put_oi + call_oi),
        atm_oi_imbalance=_ratio(atm_put_oi - atm_call_oi, atm_put_oi + atm_call_oi),
        max_pain=max_pain(strike, oi),
        call_wall=int(strike[np.argmax(oi[CALL])]),
        put_wall=int(strike[np.argmax(oi[PUT])]),
    )


def max_pain(strike: IntArray, oi: IntArray) -> int:
    """Return the strike at which the buyers of all options of one expiry would be paid least.

    Args:
        strike: Ascending, rupees.
        oi: Open interest of calls and puts, one column a strike.
    """
    call_oi, put_oi = oi
    # Calls below and puts above a settlement price are paid: both sums in one pass over the strikes.
    calls = strike * np.cumsum(call_oi) - np.cumsum(call_oi * strike)
    puts = np.cumsum((put_oi * strike)[::-1])[::-1] - strike * np.cumsum(put_oi[::-1])[::-1]
    return int(strike[np.argmin(calls + puts)])


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
