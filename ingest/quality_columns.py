"""Rows of `option_chain` as numpy arrays, grouped into the chains that arrived together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.int32]

CONTENT = ("ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "volume")
"""What makes two chains the same, by row of `Chain.content`. Not iv: some sources work it out of the spot."""

PRICES = slice(0, 3)
_LTP, _BID, _ASK = 0, 1, 2
VOLUME = 6
MISSING = -1.0
"""Stands for null in `content`, so that nulls equal one another; no column of it is ever negative."""


@dataclass(slots=True)
class Chain:
    """What one update brought of one expiry: what is judged together.

    Attributes:
        symbol: Underlying.
        source: Source adapter.
        expiry: Days since 1970.
        event_us: Event time, epoch microseconds.
        received_us: Time of receipt.
        years: To expiry.
        keys: One a leg: the strike, negative for puts.
        content: Shape (7, legs), rows as in `CONTENT`, `MISSING` for null.
        price: One a leg: middle of bid and ask, else the last price; NaN for none.
        underlying: Spot, NaN for none.
        flags: One a leg, to be set in place.
    """

    symbol: str
    source: str
    expiry: int
    event_us: int
    received_us: int
    years: float
    keys: Floats
    content: Floats
    price: Floats
    underlying: float
    flags: Flags

    @property
    def legs(self) -> int:
        """How many legs there are."""
        return len(self.keys)

    @property
    def volume(self) -> Floats:
        """Cumulative volume by leg, `MISSING` for null."""
        volume: Floats = self.content[VOLUME]
        return volume

    @property
    def sides(self) -> str:
        """Which legs there are: CE, PE or both."""
        puts = int(np.count_nonzero(self.keys < 0))
        return "PE" if puts == self.legs else "both" if puts else "CE"


class Block:
    """Rows of one exchange with room for their flags; `flags` are in the order of the rows."""

    def __init__(self, rows: pa.Table, updates: Ints) -> None:
        """Read the columns that detectors look at.

        Args:
            rows: Of `option_chain`, those of an update together.
            updates: One a row, ascending: which update brought it.
        """
        rows = rows.combine_chunks()
        self._rows = rows
        expiries = rows.column("expiry").cast(pa.int32()).to_numpy()
        puts = pc.equal(rows.column("option_type"), "PE").to_numpy()
        strikes = rows.column("strike").to_numpy()
        self._order = _order(updates, expiries, puts, strikes)
        keys = np.where(puts, -strikes, strikes)
        content = np.empty((len(CONTENT), rows.num_rows))
        for index, name in enumerate(CONTENT):
            column = rows.column(name)
            if column.null_count == rows.num_rows:
                content[index] = MISSING
            else:
                filled = column.fill_null(-1) if column.null_count else column
                content[index] = filled.to_numpy()
        if self._order is not None:
            keys, content = keys[self._order], content[:, self._order]
            updates, expiries = updates[self._order], expiries[self._order]
        self.iv = _reordered(rows.column("iv").to_numpy(), self._order)
        self.content, self._keys, self._expiries = content, keys, expiries
        self._flags = np.zeros(rows.num_rows, np.int32)
        self.sorted_flags = self._flags
        bid, ask, ltp = content[_BID], content[_ASK], content[_LTP]
        last = np.where(ltp > 0, ltp, np.nan)
        self.price = np.where((bid > 0) & (ask > 0), (bid + ask) / 2, last)
        changes = (np.diff(updates) != 0) | (np.diff(expiries) != 0)
        self._starts = [0, *(np.flatnonzero(changes) + 1).tolist()]

    def chains(self) -> Iterator[Chain]:
        """The chains, in the order in which they arrived; those of one update by expiry."""
        rows, flags = self._rows, self.sorted_flags
        events = rows.column("event_time").cast(pa.int64()).to_numpy()
        receipts = rows.column("received_time").cast(pa.int64()).to_numpy()
        seconds = rows.column("time_to_expiry_s").to_numpy()
        spots = rows.column("underlying_price").to_numpy()
        symbols, sources = rows.column("symbol"), rows.column("source")
        ends = [*self._starts[1:], len(flags)]
        for start, end in zip(self._starts, ends, strict=True):
            at = start if self._order is None else int(self._order[start])
            own = slice(start, end)
            where = own if self._order is None else self._order[own]
            yield Chain(
                symbol=symbols[at].as_py(),
                source=sources[at].as_py(),
                expiry=int(self._expiries[start]),
                event_us=int(events[at]),
                received_us=int(receipts[at]),
                years=float(seconds[at]) / (365 * 86_400),
                keys=self._keys[own],
                content=self.content[:, own],
                price=self.price[own],
                underlying=_spot(spots[where]),
                flags=flags[own],
            )

    def flags(self) -> Flags:
        """The flags set so far, in the order of the rows."""
        if self._order is None:
            return self.sorted_flags
        flags = np.empty_like(self.sorted_flags)
        flags[self._order] = self.sorted_flags
        return flags


def _reordered(values: Floats, order: Ints | None) -> Floats:
    return values if order is None else values[order]


def _order(
    updates: Ints, expiries: npt.NDArray[np.int32], puts: npt.NDArray[np.bool_], strikes: Floats
) -> Ints | None:
    """Order of the rows by update, expiry, calls before puts, strike; None if they are in it.

    Sources that list legs by volume give another order every time; chains are compared leg by leg.
    """
    same = np.diff(updates) == 0
    back = np.zeros(len(same), bool)
    for column in (expiries, puts.view(np.int8), strikes):
        step = np.diff(column)
        back |= same & (step < 0)
        same &= step == 0
    if not back.any():
        return None
    order: Ints = np.lexsort((strikes, puts, expiries, updates))
    return order


def _spot(values: Floats) -> float:
    """Spot of a chain: its first leg's, as a rule all have the same."""
    first = float(values[0])
    if not np.isnan(first):
        return first
    there = values[~np.isnan(values)]
    return float(there[0]) if len(there) else float("nan")
