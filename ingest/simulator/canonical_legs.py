"""Legs in the form of `ChainUpdate`: mappings of plain Python values in rupees and units."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.simulator.arrays import BoolArray, FloatArray
from ingest.simulator.legs import CALL, PUT, Legs
from ingest.simulator.quotes import TICKS_PER_RUPEE, Quotes


def canonical_legs(
    legs: Legs, quotes: Quotes, *, expiries: Sequence[date], lots: Sequence[int], depth: FloatArray
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return calls and puts as canonical legs, quantities in units of the underlying.

    Args:
        legs: What was traded and is held.
        quotes: The market.
        expiries: Date of each expiry, by rank.
        lots: Units per contract of each expiry; legs whose lot is not that of the first carry it.
        depth: Quantity of bids, then asks, over its mean.
    """
    lot = np.array(lots, dtype=np.int64)[legs.expiry]
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
    strike = legs.strike.astype(np.float64).tolist()
    expiry = [expiries[rank] for rank in legs.expiry.tolist()]
    calls, puts = (
        _leg_mappings(strike, expiry, *(column[side] for column in columns)) for side in (CALL, PUT)
    )
    for at in np.flatnonzero(lot != lots[0]).tolist():
        calls[at]["lot_size"] = puts[at]["lot_size"] = int(lot[at])
    return calls, puts


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


def _or_none(values: npt.NDArray[Any], present: BoolArray) -> list[list[Any]]:
    """Return Python values by row, None where absent."""
    return [
        [value if there else None for value, there in zip(row, mask, strict=True)]
        for row, mask in zip(values.tolist(), present.tolist(), strict=True)
    ]
