"""What the tests of live sources share: a run that ends when something is seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ingest.live.connection import ConnectionState
from ingest.live.delivery import Delivery
from ingest.live.runner import Listen, RunResult, run_live
from ingest.tap import StreamTap
from lake.settings import Settings

PATIENCE_S = 60.0


@dataclass
class Run:
    """One run of a live source into a lake."""

    settings: Settings
    source: str
    states: list[ConnectionState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tap = StreamTap(self.settings)
        self.delivery = Delivery(self.tap, self.source, on_state=self.states.append)

    def until(self, seen: Callable[[], bool], listen: Listen) -> RunResult:
        """Listen until something is seen, then end as Ctrl-C does, by cancelling."""

        async def watched(delivery: Delivery) -> None:
            task = asyncio.ensure_future(listen(delivery))
            deadline = time.monotonic() + PATIENCE_S
            try:
                while not seen() and not task.done():
                    if time.monotonic() > deadline:
                        pytest.fail(f"not seen within {PATIENCE_S:.0f} s: {delivery.counts}, {self.states}")
                    await asyncio.sleep(0.01)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled():
                task.result()

        return run_live(self.tap, self.delivery, watched)

    @property
    def ups(self) -> list[bool]:
        return [state.up for state in self.states]


@pytest.fixture
def new_run(lake: Any) -> Callable[[str], Run]:
    return lambda source: Run(lake.settings, source)
