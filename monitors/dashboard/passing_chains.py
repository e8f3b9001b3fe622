"""The newest chain of every underlying on its way through the spools: seconds before it is committed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from lake.spool import Spool

_ENTRIES = 16
"""Entries that one look reads at most: apps spool four times a second, pages look once."""

_REMEMBERED = 256
"""Chains of one exchange that are remembered, to find the newest that is not ahead of the clock."""


@dataclass(frozen=True, slots=True)
class PassingChain:
    """A chain that was seen in a spool: its underlying, `event_time` and price (rupees, if told)."""

    symbol: str
    event_time: datetime
    price: float | None


class PassingChains:
    """Looks at spools again and again and reads each entry once; what is committed is remembered."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], int] = {}
        self._passed: dict[str, deque[PassingChain]] = {}
        self._newest: dict[tuple[str, str], PassingChain] = {}

    def read(self, spool: Spool, exchange: str) -> None:
        """Take in what was spooled since the last look.

        Raises:
            SpoolUnavailableError: The spool cannot be read.
        """
        key = (spool.stream, exchange)
        entries = spool.newest_rows("option_chain", exchange, limit=_ENTRIES, after=self._read.get(key, 0))
        if not entries:
            return
        self._read[key] = entries[0][0]
        passed = self._passed.setdefault(exchange, deque(maxlen=_REMEMBERED))
        for _, rows in reversed(entries):
            passed.extend(_chains(rows))

    def newest(self, exchange: str, *, until: datetime) -> dict[str, PassingChain]:
        """The newest chain of each underlying, not after `until`: one ahead is no sign of life."""
        for chain in self._passed.get(exchange, ()):
            known = self._newest.get((exchange, chain.symbol))
            if chain.event_time <= until and (known is None or chain.event_time >= known.event_time):
                self._newest[exchange, chain.symbol] = chain
        return {symbol: chain for (of, symbol), chain in self._newest.items() if of == exchange}


def _chains(rows: pa.Table) -> list[PassingChain]:
    """The chains of one entry, oldest first; every leg of a chain carries the same price."""
    found = rows.group_by(["symbol", "event_time"]).aggregate([("underlying_price", "max")]).to_pylist()
    return [
        PassingChain(one["symbol"], one["event_time"], one["underlying_price_max"])
        for one in sorted(found, key=lambda one: one["event_time"])
    ]
