"""Runs one live source until Ctrl-C, a given time or an error, and always commits what was taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from ingest.live.delivery import Delivery
from ingest.tap import StreamTap

logger = logging.getLogger(__name__)

Listen = Callable[[Delivery], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        interrupted: By Ctrl-C.
        committed: Whether all that was taken is in the tables; else it waits in the spool.
    """

    interrupted: bool
    committed: bool


def run_live(
    tap: StreamTap,
    delivery: Delivery,
    listen: Listen,
    *,
    for_s: float | None = None,
    progress: Callable[[], None] | None = None,
    progress_s: float = 10.0,
) -> RunResult:
    """Run a source in an event loop of its own; the tap is closed at the end, however it comes.

    Args:
        tap: Where the source delivers to.
        delivery: Of that source.
        listen: Runs until cancelled; gives out what it holds before it ends.
        for_s: End after so many seconds; None for no end.
        progress: Called now and then.
        progress_s: How often.

    Raises:
        StrikelakeError: The source cannot go on, e.g. its token is refused.
    """
    interrupted = False
    try:
        try:
            asyncio.run(_listen(delivery, listen, for_s, progress, progress_s))
        except KeyboardInterrupt:
            interrupted = True
    finally:
        committed = tap.close()
        logger.info("live run ended", extra={"action": "live_run", **delivery.summary()})
    return RunResult(interrupted, committed)


async def _listen(
    delivery: Delivery,
    listen: Listen,
    for_s: float | None,
    progress: Callable[[], None] | None,
    progress_s: float,
) -> None:
    teller = asyncio.create_task(_tell(progress, progress_s)) if progress is not None else None
    try:
        # Not a timeout around it: what the source raises then must not be taken for the end of time.
        task = asyncio.ensure_future(listen(delivery))
        try:
            await asyncio.wait([task], timeout=for_s)
        finally:
            if not task.done():
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    finally:
        if teller is not None:
            teller.cancel()


async def _tell(progress: Callable[[], None], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        progress()
