"""The queue in the memory of a live app, in front of its spool, as the app tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lake.process_lock import is_held
from lake.spool import Queue, Spool

HEARD_WITHIN_S = 5.0
"""An app tells its queue once a second at least: after this nothing is known of it."""


@dataclass(frozen=True, slots=True)
class AppQueue:
    """The queue of one app.

    Attributes:
        app_id: The app.
        runs: Whether its tap runs now.
        told: What it told last; None if it never did, or is of an earlier version.
    """

    app_id: str
    runs: bool
    told: Queue | None

    @property
    def told_at(self) -> datetime | None:
        """When it told that."""
        return None if self.told is None else datetime.fromtimestamp(self.told.told_us / 1e6, UTC)

    def known(self, now: datetime) -> Queue | None:
        """The queue as it is: None if the app is gone, silent for too long, or never told it."""
        if not self.runs or self.told_at is None or (now - self.told_at).total_seconds() > HEARD_WITHIN_S:
            return None
        return self.told


def app_queue(spool: Spool) -> AppQueue | None:
    """The queue of the app that fills a spool; None after a load of files, which has none.

    Raises:
        SpoolUnavailableError: The spool cannot be read.
    """
    runs, told = is_held(spool.path.with_name(f"{spool.path.stem}.tap.lock")), spool.queue()
    return AppQueue(spool.path.stem, runs, told) if runs or told is not None else None
