"""Lot sizes: how many units of the underlying one contract stands for, by session date.

Exchange feeds give open interest and volume in contracts. On most days all contracts of a symbol have the
same lot, so the session date is key enough; in the weeks after a revision contracts of two lots trade side
by side, and for those days the lot is unknown rather than right for one half of the chain.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from catalog.editable_csv import Line, read_lines
from catalog.exchanges import EXCHANGES, canonical_symbol

_COLUMNS = ("exchange", "symbol", "valid_from", "lot_size")
_SHIPPED = Path(__file__).parent / "data" / "lot_sizes.csv"


@dataclass(frozen=True, slots=True)
class _History:
    """Lot sizes of one symbol: `lots[i]` from `starts[i]` until the day before `starts[i + 1]`."""

    starts: tuple[date, ...]
    lots: tuple[int | None, ...]


class LotSizes:
    """Lot sizes by exchange, symbol and session date; what is not known is None, never guessed.

    Build it with `load`.
    """

    def __init__(self, changes: Mapping[tuple[str, str], Mapping[date, int | None]]) -> None:
        self._histories: dict[tuple[str, str], _History] = {}
        for key, by_day in changes.items():
            starts = tuple(sorted(by_day))
            self._histories[key] = _History(starts, tuple(by_day[start] for start in starts))

    @classmethod
    def load(cls, extra: Path | None = None) -> LotSizes:
        """Read the shipped table and, laid over it, the user's.

        A user's line replaces the shipped one of the same exchange, symbol and `valid_from`; any other
        is added. Either way it holds until the next line of that symbol, whichever file has it.

        Args:
            extra: The user's file, of the same form as the shipped one; it need not exist.

        Raises:
            SettingsError: A line is not valid; the message names file and line.
        """
        changes = _read(read_lines(_SHIPPED, _COLUMNS))
        if extra is not None and extra.exists():
            for key, by_day in _read(read_lines(extra, _COLUMNS)).items():
                changes.setdefault(key, {}).update(by_day)
        return cls(changes)

    def lot_size(self, exchange: str, symbol: str, day: date) -> int | None:
        """Return the units of the underlying per contract in that session, None if that is not known.

        Args:
            exchange: `NSE` or `BSE`.
            symbol: Canonical underlying, e.g. `NIFTY`.
            day: Session date, exchange-local.
        """
        history = self._histories.get((exchange, symbol))
        if history is None:
            return None
        index = bisect_right(history.starts, day)
        return history.lots[index - 1] if index else None


def _read(lines: Iterable[Line]) -> dict[tuple[str, str], dict[date, int | None]]:
    changes: dict[tuple[str, str], dict[date, int | None]] = {}
    for line in lines:
        exchange, symbol = line.fields["exchange"], line.fields["symbol"]
        if exchange not in EXCHANGES:
            raise line.error(f"{exchange!r} is no exchange; known: {', '.join(EXCHANGES)}")
        if not symbol:
            raise line.error("symbol is empty")
        if symbol != canonical_symbol(symbol):
            raise line.error(f"symbol {symbol!r} must be written {canonical_symbol(symbol)!r}")
        valid_from = line.date("valid_from")
        by_day = changes.setdefault((exchange, symbol), {})
        if valid_from in by_day:
            raise line.error(f"{exchange} {symbol} has a second line for {valid_from}")
        by_day[valid_from] = _lot(line)
    return changes


def _lot(line: Line) -> int | None:
    text = line.fields["lot_size"]
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise line.error(f"lot_size {text!r} must be a whole number above 0, or empty for unknown")
    return int(text)
