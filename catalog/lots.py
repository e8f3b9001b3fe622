"""Lot sizes: how many units of the underlying one contract stands for, by session date and expiry.

Exchange feeds give open interest and volume in contracts. On most days all contracts of a symbol have the
same lot. In the weeks after a revision contracts of two lots trade side by side, and which has which is told
by their expiry.
"""

from __future__ import annotations

import time as clocks
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from catalog.editable_csv import Line, is_there, read_lines
from catalog.editable_table import EditableTable
from catalog.exchanges import EXCHANGES, canonical_symbol

_COLUMNS: Final = ("exchange", "symbol", "valid_from", "lot_size")
_OPTIONAL: Final = ("expires_by",)
_SHIPPED: Final = Path(__file__).parent / "data" / "lot_sizes.csv"

_ALL_LATER: Final = date.max
"""Limit of the line that holds for whatever expires after the others' limits."""

_Ladder = dict[date, int | None]
"""Lot by last expiry it holds for."""

_Changes = dict[tuple[str, str], dict[date, _Ladder]]
"""Ladders by exchange and symbol, and by the session date from which they hold."""


@dataclass(frozen=True, slots=True)
class _History:
    """Lot sizes of one symbol: `ladders[i]` from `starts[i]` until the day before `starts[i + 1]`.

    A ladder is pairs of last expiry and lot, in order: a contract has the lot of the first pair that its
    expiry does not exceed.
    """

    starts: tuple[date, ...]
    ladders: tuple[tuple[tuple[date, int | None], ...], ...]


class LotSizes:
    """Lot sizes by exchange, symbol, session date and expiry; what is not known is None, never guessed.

    Build it with `load`. The user's file is read again when it has changed, see `EditableTable`.
    """

    def __init__(self, extra: Path | None = None, clock: Callable[[], float] = clocks.monotonic) -> None:
        """Read the tables; see `load`, which has the arguments but the clock, in seconds."""
        self._table = EditableTable(_histories, extra, clock)

    @classmethod
    def load(cls, extra: Path | None = None) -> LotSizes:
        """Read the shipped table and, laid over it, the user's.

        A user's lines of one exchange, symbol and `valid_from` replace all shipped ones of these; any other
        is added. Either way they hold until the next `valid_from` of that symbol, whichever file has it.

        Args:
            extra: The user's file, of the same form as the shipped one, with or without its last column;
                it need not exist, now or ever.

        Raises:
            SettingsError: A line is not valid; the message names file and line.
        """
        return cls(extra)

    def lot_size(self, exchange: str, symbol: str, day: date, expiry: date | None) -> int | None:
        """Return a contract's units of the underlying in that session, None if that is not known.

        Args:
            exchange: `NSE` or `BSE`.
            symbol: Canonical underlying, e.g. `NIFTY`.
            day: Session date, exchange-local.
            expiry: Of the contract; None where it is not known, which leaves the lot that all have.
        """
        history = self._table.newest().get((exchange, symbol))
        if history is None:
            return None
        index = bisect_right(history.starts, day)
        if not index:
            return None
        ladder = history.ladders[index - 1]
        if expiry is None:
            return ladder[0][1] if len(ladder) == 1 and ladder[0][0] == _ALL_LATER else None
        place = bisect_left(ladder, expiry, key=_limit)
        return ladder[place][1] if place < len(ladder) else None


def _histories(extra: Path | None) -> dict[tuple[str, str], _History]:
    changes = _read(_SHIPPED)
    if is_there(extra):
        for key, by_day in _read(extra).items():
            changes.setdefault(key, {}).update(by_day)
    return {key: _history(by_day) for key, by_day in changes.items()}


def _history(by_day: dict[date, _Ladder]) -> _History:
    starts = tuple(sorted(by_day))
    return _History(starts, tuple(tuple(sorted(by_day[start].items(), key=_limit)) for start in starts))


def _limit(step: tuple[date, int | None]) -> date:
    return step[0]


def _read(path: Path) -> _Changes:
    changes: _Changes = {}
    for line in read_lines(path, _COLUMNS, _OPTIONAL):
        exchange, symbol = line.fields["exchange"], line.fields["symbol"]
        if exchange not in EXCHANGES:
            raise line.error(f"{exchange!r} is no exchange; known: {', '.join(EXCHANGES)}")
        if not symbol:
            raise line.error("symbol is empty")
        if symbol != canonical_symbol(symbol):
            raise line.error(f"symbol {symbol!r} must be written {canonical_symbol(symbol)!r}")
        valid_from = line.date("valid_from")
        ladder = changes.setdefault((exchange, symbol), {}).setdefault(valid_from, {})
        expires_by = line.date("expires_by") if line.fields["expires_by"] else _ALL_LATER
        if expires_by < valid_from:
            raise line.error(f"expires_by {expires_by} is before valid_from {valid_from}")
        if expires_by in ladder:
            contracts = "" if expires_by == _ALL_LATER else f" and contracts that expire by {expires_by}"
            raise line.error(f"{exchange} {symbol} has a second line for {valid_from}{contracts}")
        ladder[expires_by] = _lot(line)
    return changes


def _lot(line: Line) -> int | None:
    text = line.fields["lot_size"]
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise line.error(f"lot_size {text!r} must be a whole number above 0, or empty for unknown")
    return int(text)
