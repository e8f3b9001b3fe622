"""How the alerts stand, as the monitor keeps them; read for the page, and changed by nobody here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from catalog.calendar import SessionCalendar
from lake.errors import StrikelakeError
from lake.settings import Settings
from monitors.alert_store import FILE_NAME
from monitors.alerting import opened_engine
from monitors.alerts import Alert, AlertState
from monitors.engine import Muted
from monitors.heartbeat import Heartbeat, quiet_s, read_heartbeat
from monitors.rules import RuleSet
from monitors.silences import Silence

_FRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class Alerts:
    """How the alerts stand, as the monitor keeps them.

    Attributes:
        active: Those that are pending or fire, worst first.
        resolved: Those that ended within a day, newest first.
        muted: Why nobody is told of some, by fingerprint.
        silences: Silences that are active or will be.
        heartbeat: The monitor's last check; None if there never was one.
        quiet_s: Seconds of open market since a check was due and none came.
        problem: Why they cannot be read.
    """

    active: tuple[Alert, ...] = ()
    resolved: tuple[Alert, ...] = ()
    muted: dict[str, Muted] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    heartbeat: Heartbeat | None = None
    quiet_s: float = 0.0
    problem: str = ""

    def firing(self, exchange: str | None = None) -> list[Alert]:
        """Those that fire, of one exchange or of all."""
        return [
            one
            for one in self.active
            if one.state is AlertState.FIRING and not one.held and exchange in {None, one.exchange}
        ]


def read_alerts(settings: Settings, rules: RuleSet, calendar: SessionCalendar, now: datetime) -> Alerts:
    """How the alerts stand; makes nothing where no monitor has run."""
    try:
        sign = read_heartbeat(settings.root)
        quiet = quiet_s(calendar, sign, now, rules.exchanges) if sign else 0.0
        if not (settings.root / FILE_NAME).exists():
            return Alerts(heartbeat=sign, quiet_s=quiet)
        with opened_engine(settings, rules) as (engine, _):
            found = engine.alerts()
            ended = [one for one in found if one.ends_at and now - one.ends_at < timedelta(days=1)]
            return Alerts(
                tuple(one for one in found if one.state is not AlertState.RESOLVED),
                tuple(sorted(ended, key=lambda one: one.ends_at or now, reverse=True)),
                engine.muted(now),
                tuple(one for one in engine.silences() if one.state(now) != "expired"),
                sign,
                quiet,
            )
    except (StrikelakeError, OSError) as error:
        return Alerts(problem=str(error))


class AlertLook:
    """Reads the alerts, once for however many ask. For one event loop."""

    def __init__(
        self, settings: Settings, rules: RuleSet, calendar: SessionCalendar, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._calendar = calendar
        self._clock = clock
        self._newest = Alerts()
        self._read_s = float("-inf")
        self._reading: asyncio.Task[Alerts] | None = None

    async def alerts(self) -> Alerts:
        """How the alerts stand, not older than two seconds."""
        if time.monotonic() - self._read_s < _FRESH_S:
            return self._newest
        return await self.read()

    async def read(self) -> Alerts:
        """How the alerts stand now."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> Alerts:
        self._newest = await asyncio.to_thread(
            read_alerts, self._settings, self._rules, self._calendar, self._clock()
        )
        self._read_s = time.monotonic()
        return self._newest
