"""Days of option chains for benchmarks: made by numpy, in the layout of `option_chain`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from catalog.contracts import OPTION_CHAIN

SYMBOLS = {"NSE": ("NIFTY", "BANKNIFTY", "FINNIFTY"), "BSE": ("SENSEX", "BANKEX")}
SESSION_MINUTES = 375
_OPEN = timedelta(hours=3, minutes=45)  # 09:15 in India, in UTC


def sessions(count: int, *, last: date = date(2026, 11, 20)) -> list[date]:
    """The last `count` weekdays up to `last`, oldest first."""
    days: list[date] = []
    day = last
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


def chain_rows(
    day: date,
    exchange: str,
    minutes: range,
    *,
    chains_a_minute: int,
    expiries: int,
    strikes: int,
    batch_id: str | None = None,
    seed: int = 0,
) -> pa.Table:
    """Rows of all symbols of an exchange for some minutes of a session, in order of arrival.

    One batch id a minute unless it is given.
    """
    rng = np.random.default_rng([seed, day.toordinal(), minutes.start, exchange == "BSE"])
    legs = [
        (symbol, e, 20_000.0 + 50 * k, side)
        for symbol in SYMBOLS[exchange]
        for e in range(expiries)
        for k in range(strikes)
        for side in ("CE", "PE")
    ]
    moments = len(minutes) * chains_a_minute
    n = moments * len(legs)
    opening = datetime(day.year, day.month, day.day, tzinfo=UTC) + _OPEN
    start_us = int(opening.timestamp() * 1e6) + minutes.start * 60_000_000
    event_us = start_us + np.repeat(np.arange(moments), len(legs)) * (60_000_000 // chains_a_minute)
    minute_of = np.repeat(np.arange(moments) // chains_a_minute + minutes.start, len(legs))
    names = [f"{exchange}-{day}-{m:03d}" if batch_id is None else batch_id for m in minutes]

    def words(values: list[str], index: np.ndarray) -> pa.Array:
        return pa.DictionaryArray.from_arrays(index.astype(np.int32), values).cast(pa.string())

    def tiled(values: list[object], kind: pa.DataType) -> pa.Array:
        return pa.array(values * moments, kind)

    time = pa.array(event_us, pa.timestamp("us", tz="UTC"))
    underlying = np.repeat(24_000 + np.cumsum(rng.normal(0, 2, moments)).round(2), len(legs))
    oi = np.tile(rng.integers(1, 40_000, len(legs)) * 75, moments) + rng.integers(0, 50, n) * 75
    price = (rng.uniform(1, 900, (3, n)) / 0.05).round() * 0.05
    given: dict[str, pa.Array] = {
        "date": pa.array([day] * n, pa.date32()),
        "exchange": pa.array([exchange] * n, pa.string()),
        "event_time": time,
        "received_time": pa.array(event_us + rng.integers(100_000, 900_000, n), pa.timestamp("us", tz="UTC")),
        "symbol": tiled([leg[0] for leg in legs], pa.string()),
        "expiry": tiled([day + timedelta(days=7 * leg[1] + 3) for leg in legs], pa.date32()),
        "strike": tiled([leg[2] for leg in legs], pa.float64()),
        "option_type": tiled([leg[3] for leg in legs], pa.string()),
        "ltp": pa.array(price[0]),
        "bid": pa.array(price[1]),
        "ask": pa.array(price[2]),
        "bid_qty": pa.array(rng.integers(1, 900, n) * 75),
        "ask_qty": pa.array(rng.integers(1, 900, n) * 75),
        "oi": pa.array(oi),
        "oi_change": pa.array(rng.integers(-900, 900, n) * 75),
        "volume": pa.array(np.repeat(np.arange(moments), len(legs)) * 750 + rng.integers(0, 9, n) * 75),
        "iv": pa.array(rng.uniform(0.08, 0.4, n).round(4)),
        "underlying_price": pa.array(underlying),
        "source": pa.array(["live"] * n, pa.string()),
        "dq_flags": pa.array(np.zeros(n, np.int32)),
        "batch_id": words(names, minute_of - minutes.start),
    }
    schema = OPTION_CHAIN.schema
    return pa.table([given.get(f.name, pa.nulls(n, f.type)) for f in schema], schema=schema)
