"""The rules, judged for the page: at most every few seconds, however many pages are open."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime

from catalog.calendar import SessionCalendar
from lake.settings import Settings
from monitors.check import Check, run_check
from monitors.rules import RuleSet

logger = logging.getLogger(__name__)

LEAST_S = 5.0
"""Seconds between two looks at least."""

SHARE = 10.0
"""A look that takes a second is made every ten at most: the page never takes more of the machine."""


class HealthLook:
    """The newest check of the page's own: it tells nobody and keeps nothing. For one event loop."""

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        calendar: SessionCalendar,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._calendar = calendar
        self._clock = clock
        self._newest: Check | None = None
        self._due_s = 0.0
        self._running: asyncio.Task[Check] | None = None
        self._renewing: asyncio.Task[Check] | None = None

    @property
    def newest(self) -> Check | None:
        """The newest check, None before the first."""
        return self._newest

    async def check(self) -> Check:
        """A check that is not older than it need be.

        Raises:
            StrikelakeError: It could not be made.
        """
        if self._newest is not None and time.monotonic() < self._due_s:
            return self._newest
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(asyncio.to_thread(self._make))
        made = await asyncio.shield(self._running)
        self._newest = made
        self._due_s = time.monotonic() + max(LEAST_S, SHARE * made.seconds)
        return made

    def begin(self) -> None:
        """Have a check made if one is due, without waiting for it."""
        is_due = self._newest is None or time.monotonic() >= self._due_s
        if is_due and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.create_task(self.check())
            self._renewing.add_done_callback(_told)

    def _make(self) -> Check:
        return run_check(self._settings, self._calendar, self._rules, now=self._clock(), keep=False)


def _told(done: asyncio.Task[Check]) -> None:
    """Nobody waits for this one: what went wrong is logged, and the card turns stale."""
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.error("health look failed", extra={"action": "look", "error": str(error)})
