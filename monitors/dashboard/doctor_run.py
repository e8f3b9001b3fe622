"""The doctor, called from the page: one at a time, in a thread, its findings kept until the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from catalog.calendar import SessionCalendar
from catalog.doctor import examine
from catalog.upkeep import finished_sessions
from lake.errors import StrikelakeError, one_line
from lake.settings import Settings

if TYPE_CHECKING:
    from catalog.findings import Finding


@dataclass(frozen=True, slots=True)
class DoctorState:
    """What the doctor does or found.

    Attributes:
        running: Whether it looks now.
        checksums: Whether it reads every file.
        files: Files read so far.
        done_at: When it finished last; None before the first time.
        findings: What it found then.
        seconds: How long that took.
        problem: Why it could not look.
    """

    running: bool = False
    checksums: bool = False
    files: int = 0
    done_at: datetime | None = None
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    problem: str = ""


class DoctorRun:
    """Runs the doctor; for one event loop. It looks only: repairs are made on the command line."""

    def __init__(self, settings: Settings, calendar: SessionCalendar, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._calendar = calendar
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.state = DoctorState()

    def begin(self, *, checksums: bool) -> None:
        """Let it look, unless it does already."""
        if not self.state.running:
            self.state = replace(self.state, running=True, checksums=checksums, files=0, problem="")
            self._task = asyncio.create_task(self._run(checksums))

    async def _run(self, checksums: bool) -> None:
        started = time.perf_counter()
        try:
            found = await asyncio.to_thread(self._examine, checksums)
        except (StrikelakeError, OSError) as error:
            self.state = replace(self.state, running=False, problem=one_line(error))
            return
        except BaseException as error:
            self.state = replace(self.state, running=False, problem=f"a fault: {type(error).__name__}")
            raise
        self.state = DoctorState(
            False, checksums, self.state.files, self._clock(), found, time.perf_counter() - started
        )

    def _examine(self, checksums: bool) -> tuple[Finding, ...]:
        finished = finished_sessions(self._calendar)
        return tuple(
            examine(
                self._settings.lake, self._settings.catalog, finished=finished, checksums=checksums,
                progress=self._count,
            )
        )  # fmt: skip

    def _count(self, files: int) -> None:
        self.state = replace(self.state, files=self.state.files + files)
