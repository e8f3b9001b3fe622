"""Exchanges, session calendar and lot sizes in one value that the other rooms are handed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catalog.calendar import SessionCalendar
from catalog.lots import LotSizes


@dataclass(frozen=True, slots=True)
class ReferenceData:
    """What is known about the markets, shipped with the package and edited by the user.

    Attributes:
        calendar: Sessions of every exchange.
        lots: Lot sizes by exchange, symbol and session date.
    """

    calendar: SessionCalendar
    lots: LotSizes

    @classmethod
    def load(cls, root: Path | None = None) -> ReferenceData:
        """Read the shipped tables and, laid over them, `calendar.csv` and `lot_sizes.csv` in `root`.

        Raises:
            SettingsError: A line of a table is not valid; the message names file and line.
        """
        return cls(
            calendar=SessionCalendar.load(root / "calendar.csv" if root else None),
            lots=LotSizes.load(root / "lot_sizes.csv" if root else None),
        )
