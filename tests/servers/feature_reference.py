"""Every feature once more, in plain Python: chains arrive one after the other, as they do for a live app.

Nothing of `sql/features/` is used, nor is any of its ways: lookbacks are found by searching what has arrived
so far, max pain by paying out at every strike, volatility by sampling a list of prices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

from catalog.calendar import SessionCalendar

YEAR_S = 252 * 375 * 60
LIVE = {"live", "simulator"}

Row = dict[str, Any]


@dataclass
class Chain:
    """One chain, as it became known."""

    symbol: str
    source: str
    expiry: date
    event_time: datetime
    known_time: datetime
    legs: dict[tuple[float, str], Row] = field(default_factory=dict)
    _values: dict[tuple[str, str], dict[float, Any]] = field(default_factory=dict)

    def values(self, column: str, side: str) -> dict[float, Any]:
        """Strike -> figure, of the legs that have one."""
        if (column, side) not in self._values:
            self._values[column, side] = {
                strike: leg[column]
                for (strike, kind), leg in self.legs.items()
                if kind == side and leg[column] is not None
            }
        return self._values[column, side]

    def total(self, column: str, side: str) -> int | None:
        found = self.values(column, side)
        return sum(found.values()) if found else None

    def highest(self, column: str) -> float | None:
        return max((leg[column] for leg in self.legs.values() if leg[column] is not None), default=None)

    @property
    def strikes(self) -> list[float]:
        return sorted({strike for strike, _ in self.legs})

    @cached_property
    def spot(self) -> float | None:
        return self.highest("underlying_price")


def reference_rows(legs: Iterable[Mapping[str, Any]], exchange: str, calendar: SessionCalendar) -> list[Row]:
    """One mapping a row of features, in the order of event time and symbol; sources of a symbol: one."""
    rows: list[Row] = []
    for (day, _), arrivals in sorted(_arrivals(legs, exchange, calendar).items()):
        session = calendar.session(exchange, day)
        assert session is not None
        known: list[Chain] = []
        made: list[Row] = []
        for arrived in arrivals:
            together = [c for c in arrived if not any(k.event_time > c.event_time for k in known)]
            known += together
            near = min((c.expiry for c in known), default=None)
            for chain in together:
                same_time = [row for row in made if row["event_time"] == chain.event_time]
                if chain.expiry == near and not same_time:
                    made.append(_row(chain, known, session.open, session.close, day, exchange))
        rows += made
    return sorted(rows, key=lambda row: (row["event_time"], row["symbol"]))


def _arrivals(
    legs: Iterable[Mapping[str, Any]], exchange: str, calendar: SessionCalendar
) -> dict[tuple[date, str], list[list[Chain]]]:
    """Chains of each session and symbol as they arrive, those that arrive together in one list."""
    receptions: dict[tuple[Any, ...], dict[datetime, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for leg in legs:
        session = calendar.session(exchange, leg["date"])
        if leg["exchange"] != exchange or session is None or leg["expiry"] < leg["date"]:
            continue
        if session.open <= leg["event_time"] <= session.close:
            key = (leg["date"], leg["symbol"], leg["source"], leg["expiry"], leg["event_time"])
            receptions[key][leg["received_time"]].append(dict(leg))
    chains: dict[tuple[date, str], list[Chain]] = defaultdict(list)
    for (day, symbol, source, expiry, event_time), by_time in receptions.items():
        if source in LIVE:
            received = min(by_time)
            chain = Chain(symbol, source, expiry, event_time, max(received, event_time))
        else:
            received = max(by_time)
            chain = Chain(symbol, source, expiry, event_time, event_time)
        for leg in by_time[received]:
            assert (leg["strike"], leg["option_type"]) not in chain.legs
            chain.legs[leg["strike"], leg["option_type"]] = leg
        chains[day, symbol].append(chain)
    grouped: dict[tuple[date, str], list[list[Chain]]] = {}
    for key, found in chains.items():
        together: dict[tuple[datetime, datetime], list[Chain]] = defaultdict(list)
        for chain in sorted(found, key=lambda c: c.expiry):
            together[chain.known_time, chain.event_time].append(chain)
        grouped[key] = [together[moment] for moment in sorted(together)]
    return grouped


def _row(
    chain: Chain, known: list[Chain], opens: datetime, closes: datetime, day: date, exchange: str
) -> Row:
    spot = chain.spot
    row: Row = {
        "event_time": chain.event_time.astimezone(UTC),
        "date": day,
        "exchange": exchange,
        "symbol": chain.symbol,
        "pcr_oi": _ratio(chain.total("oi", "PE"), chain.total("oi", "CE")),
        "pcr_volume": _ratio(chain.total("volume", "PE"), chain.total("volume", "CE")),
        "atm_iv": _atm_iv(chain),
        "iv_skew": _skew(chain),
        "vix": chain.highest("vix"),
        "max_pain_distance": _minus(_ratio(_max_pain(chain), spot), 1.0),
        "call_oi_concentration": _concentration(chain, "CE"),
        "put_oi_concentration": _concentration(chain, "PE"),
        "realised_volatility_15m": _realised_volatility(chain, known),
        "session_elapsed": (chain.event_time - opens) / (closes - opens),
        "minutes_to_close": (closes - chain.event_time) / timedelta(minutes=1),
        "days_to_expiry": _ratio(chain.highest("time_to_expiry_s"), 86_400.0),
    }
    further = [c for c in known if c.expiry > chain.expiry and c.event_time <= chain.event_time]
    if further:
        # The next expiry is the first beyond the nearest that the session has shown so far.
        expiry = min(c.expiry for c in further)
        newest = max((c for c in further if c.expiry == expiry), key=lambda c: c.event_time)
        young = chain.event_time - newest.event_time <= timedelta(minutes=5)
        row["iv_term_slope"] = _minus(_atm_iv(newest), row["atm_iv"]) if young else None
    else:
        row["iv_term_slope"] = None
    for minutes in (3, 5, 15):
        then = _earlier(chain, known, minutes)
        row |= {f"{name}_{minutes}m": value for name, value in _changes(chain, then).items()}
        if minutes == 15:
            row["vix_change_15m"] = _minus(row["vix"], then.highest("vix")) if then else None
            row["atm_iv_change_15m"] = _minus(row["atm_iv"], _atm_iv(then)) if then else None
    volatility = row["realised_volatility_15m"]
    expected = None if volatility is None else volatility * math.sqrt(15 * 60 / YEAR_S)
    row["trend"] = _ratio(row["return_15m"], expected)
    return row


def _earlier(chain: Chain, known: list[Chain], minutes: int) -> Chain | None:
    latest = chain.event_time - timedelta(minutes=minutes)
    earliest = chain.event_time - 1.5 * timedelta(minutes=minutes)
    found = [c for c in known if c.expiry == chain.expiry and earliest <= c.event_time <= latest]
    return max(found, key=lambda c: c.event_time, default=None)


def _changes(now: Chain, then: Chain | None) -> dict[str, float | None]:
    names = ("return", "pcr_oi_change")
    sides = [f"{side}_{what}_change" for side in ("call", "put") for what in ("oi", "volume")]
    if then is None:
        return dict.fromkeys([*names, *sides])
    changes: dict[str, float | None] = {}
    ratio = None if not (now.spot and then.spot) else now.spot / then.spot
    changes["return"] = None if ratio is None else math.log(ratio)
    both: dict[str, tuple[int, int] | None] = {}
    for name, side in (("call", "CE"), ("put", "PE")):
        oi_now, oi_then = now.values("oi", side), then.values("oi", side)
        common = oi_now.keys() & oi_then.keys()
        both[name] = (sum(oi_now[k] for k in common), sum(oi_then[k] for k in common)) if common else None
        volume_now, volume_then = now.values("volume", side), then.values("volume", side)
        traded = [volume_now[k] - volume_then[k] for k in volume_now.keys() & volume_then.keys()]
        before = both[name][1] if both[name] else None
        changes[f"{name}_oi_change"] = _ratio(both[name][0] - before, before) if both[name] else None
        rose = traded and sum(traded) >= 0
        changes[f"{name}_volume_change"] = _ratio(sum(traded), before) if rose else None
    changes["pcr_oi_change"] = (
        _minus(_ratio(both["put"][0], both["call"][0]), _ratio(both["put"][1], both["call"][1]))
        if both["put"] and both["call"]
        else None
    )
    return changes


def _max_pain(chain: Chain) -> float | None:
    calls, puts = chain.values("oi", "CE"), chain.values("oi", "PE")
    if not calls or not puts or sum(calls.values()) + sum(puts.values()) == 0:
        return None

    def payout(price: float) -> float:
        return sum(oi * max(0.0, price - k) for k, oi in calls.items()) + sum(
            oi * max(0.0, k - price) for k, oi in puts.items()
        )

    return min(chain.strikes, key=lambda strike: (payout(strike), strike))


def _concentration(chain: Chain, side: str) -> float | None:
    oi = chain.values("oi", side).values()
    return sum((each / sum(oi)) ** 2 for each in oi) if sum(oi) else None


def _nearest(strikes: Iterable[float], target: float) -> float | None:
    return min(strikes, key=lambda strike: (abs(strike - target), strike), default=None)


def _iv(chain: Chain, strike: float | None, side: str) -> float | None:
    if strike is None or (strike, side) not in chain.legs:
        return None
    return chain.legs[strike, side]["iv"] or None


def _atm_iv(chain: Chain) -> float | None:
    if chain.spot is None:
        return None
    strike = _nearest(chain.strikes, chain.spot)
    found = [iv for side in ("CE", "PE") if (iv := _iv(chain, strike, side)) is not None]
    return sum(found) / len(found) if found else None


def _skew(chain: Chain) -> float | None:
    if chain.spot is None:
        return None
    wings = {}
    for side, middle in (("PE", 0.975), ("CE", 1.025)):
        low, high = (middle - 0.0125) * chain.spot, (middle + 0.0125) * chain.spot
        listed = [strike for strike, kind in chain.legs if kind == side and low <= strike <= high]
        wings[side] = _iv(chain, _nearest(listed, middle * chain.spot), side)
    return _minus(wings["PE"], wings["CE"])


def _realised_volatility(chain: Chain, known: list[Chain]) -> float | None:
    prices: dict[datetime, float] = {}
    near = None
    for each in sorted(known, key=lambda c: (c.event_time, c.known_time, c.expiry)):
        near = each.expiry if near is None else min(near, each.expiry)
        # One price a moment: of the chain that makes the row.
        if each.expiry == near and each.spot is not None and each.event_time <= chain.event_time:
            prices.setdefault(each.event_time, each.spot)
    samples: dict[int, tuple[datetime, float]] = {}
    for moment in sorted(prices):
        samples.setdefault(int(moment.timestamp() // 60), (moment, prices[moment]))
    ordered = sorted(samples.values())
    squares, span_s, count = 0.0, 0.0, 0
    for (before, price_before), (moment, price) in pairwise(ordered):
        in_window = chain.event_time - timedelta(minutes=15) < moment
        if in_window and moment - before <= timedelta(minutes=7.5):
            squares += math.log(price / price_before) ** 2
            span_s += (moment - before).total_seconds()
            count += 1
    if count < 3 or span_s < 450:
        return None
    return math.sqrt(squares / span_s * YEAR_S)


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
