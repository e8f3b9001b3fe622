"""Seeded sessions of index option chains, as a live tracker would hand them over.

For the demo, benchmarks and tests: nothing here is market data. Figures marked "measured" were read off
recordings of 2026: three-minute candles of India VIX, NIFTY, BANKNIFTY and SENSEX of January, June and
July, and NIFTY chains of 2026-07-10 and 2026-08-19.

Every variate comes from PCG64's raw stream by way of `ingest.simulator.black76`, and no float is summed by
a routine that may reorder: the same arguments give the same updates on every machine and numpy version.
"""

from ingest.simulator.expiries import EXPIRIES, next_expiries
from ingest.simulator.markets import MARKETS, SYMBOLS, SimulatedMarket
from ingest.simulator.path import INTEREST_RATE
from ingest.simulator.stream import simulate_session, stream_days

__all__ = [
    "EXPIRIES",
    "INTEREST_RATE",
    "MARKETS",
    "SYMBOLS",
    "SimulatedMarket",
    "next_expiries",
    "simulate_session",
    "stream_days",
]
