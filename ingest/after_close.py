"""Look after the lake once a day, in the quiet time after the session's close."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from catalog.calendar import SessionCalendar
from catalog.upkeep import maintain_lake, newest_finished
from lake.errors import StreamInUseError, StrikelakeError
from lake.table import Lake

logger = logging.getLogger(__name__)

SETTLED_S = 60.0
"""A writer this young may be one that ends at once: a demo, a test, a try."""


class AfterClose:
    """Runs maintenance once for each session that has closed; call it often, from one thread.

    Never while a session of any exchange is open or about to open: compaction takes the processor that the
    live app needs. A writer that was not running at the close catches up before the next open.
    """

    def __init__(self, lake: Lake, calendar: SessionCalendar, *, settled_s: float = SETTLED_S) -> None:
        self._lake = lake
        self._settled_s = settled_s
        self._calendar = calendar
        self._looked_after: datetime | None = None
        self._began_s = time.monotonic()

    def run_if_due(self, now: datetime | None = None) -> bool:
        """Maintain the lake if a session has closed since the last time; True if that was done.

        Problems are logged and never raised: the rows are safe, and maintenance is tried again after the
        next close.

        Args:
            now: The moment it is.
        """
        if time.monotonic() - self._began_s < self._settled_s:
            return False
        moment = now or datetime.now(UTC)
        closed = newest_finished(self._calendar, moment)
        if closed is None or (self._looked_after is not None and closed <= self._looked_after):
            return False
        self._looked_after = closed
        try:
            for done in maintain_lake(self._lake, self._calendar, now=moment):
                for problem in done.problems:
                    logger.error(
                        "table not maintained",
                        extra={"action": "maintain", "table": done.table, "error": problem},
                    )
        except StreamInUseError as error:
            # Another writer of this lake was faster, and does the same.
            logger.info("maintained by another process", extra={"action": "maintain", "error": str(error)})
        except (StrikelakeError, OSError) as error:
            logger.error("lake not maintained", extra={"action": "maintain", "error": str(error)})  # noqa: TRY400
        except Exception:
            # Not foreseen, but it must not end the thread that commits.
            logger.exception("lake not maintained", extra={"action": "maintain"})
        return True
