"""Session calendar, lot sizes and days of expiry in one value that the other rooms are handed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from catalog.calendar import SessionCalendar
from catalog.expiries import ExpiryDays
from catalog.lots import LotSizes


@dataclass(frozen=True, slots=True)
class ReferenceData:
    """What is known about the markets, shipped with the package and edited by the user.

    Attributes:
        calendar: Sessions of every exchange.
        lots: Lot sizes by exchange, symbol and session date.
        expiry_days: Weekdays on which index derivatives expire.
    """

    calendar: SessionCalendar
    lots: LotSizes
    expiry_days: ExpiryDays = field(default_factory=ExpiryDays.load)

    @classmethod
    def load(cls, root: Path | None = None) -> ReferenceData:
        """Read the shipped tables and, laid over them, the user's in `root`.

        Those are `calendar.csv`, `lot_sizes.csv` and `expiry_days.csv`, of the same form.

        Raises:
            SettingsError: A line of a table is not valid; the message names file and line.
        """
        return cls(
            calendar=SessionCalendar.load(root / "calendar.csv" if root else None),
            lots=LotSizes.load(root / "lot_sizes.csv" if root else None),
            expiry_days=ExpiryDays.load(root / "expiry_days.csv" if root else None),
        )
