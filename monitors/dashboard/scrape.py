"""`/metrics`, made once for however many scrape at the same time."""

from __future__ import annotations

import asyncio
import time

from monitors.dashboard.backend import Backend
from monitors.prometheus_state import exposition

_FRESH_S = 1.0


class Scrape:
    """The text of Prometheus; for one event loop."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._text = b""
        self._made_s = float("-inf")
        self._making: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """The text, not older than a second."""
        if time.monotonic() - self._made_s < _FRESH_S:
            return self._text
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
        return await asyncio.shield(self._making)

    async def _make(self) -> bytes:
        one = self._backend
        self._text = await asyncio.to_thread(
            exposition, one.settings, one.calendar, one.rules, now=one.clock()
        )
        self._made_s = time.monotonic()
        return self._text
