"""The features that a live tracker would hand over beside each chain."""

from __future__ import annotations

import math

from ingest.simulator.figures import ChainFigures
from ingest.simulator.timetable import REGULAR_SESSION_S, SESSIONS_PER_YEAR


class _Smoothed:
    """Exponential moving average, started at its first value."""

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self.value: float | None = None

    def add(self, value: float) -> float:
        self.value = value if self.value is None else self.value + self._weight * (value - self.value)
        return self.value


class Tracker:
    """The features a live tracker would compute from the session's updates so far.

    Windows are in minutes and count updates; one shorter than the interval spans one interval. What
    needs more history than there is yet is None. Changes are differences, returns simple returns.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._figures: list[ChainFigures] = []
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

    def observe(self, now: ChainFigures) -> dict[str, float | None]:
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

    def _remember(self, now: ChainFigures) -> None:
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

    def _before(self, minutes: int) -> ChainFigures | None:
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
        sessions = updates * self._interval_s / REGULAR_SESSION_S
        return math.sqrt(max(squares, 0.0) / sessions * SESSIONS_PER_YEAR)

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
