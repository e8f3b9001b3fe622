"""What the sections read from, made once a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from zoneinfo import ZoneInfo

from litestar.exceptions import NotFoundException

from catalog.calendar import SessionCalendar
from catalog.reference import ReferenceData
from lake.settings import Settings
from monitors.dashboard.alert_look import AlertLook
from monitors.dashboard.health_look import HealthLook
from monitors.dashboard.lake_reader import LakeReader
from monitors.dashboard.stream_facts import StreamWatch
from monitors.rules import RuleSet


@dataclass(slots=True)
class Backend:
    """The lake of one dashboard and what is known about it; build it with `of`.

    Attributes:
        settings: Folders and limits.
        rules: The monitors' rules.
        calendar: The sessions.
        reader: Queries.
        streams: Spools.
        health: The rules, judged.
        alerts: How the alerts stand.
        clock: The moment it is.
    """

    settings: Settings
    rules: RuleSet
    calendar: SessionCalendar
    reader: LakeReader
    streams: StreamWatch
    health: HealthLook
    alerts: AlertLook
    clock: Callable[[], datetime]

    @classmethod
    def of(
        cls, settings: Settings, rules: RuleSet, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> Self:
        """The backend of a lake.

        Raises:
            SettingsError: The lake's calendar is not valid.
        """
        calendar = ReferenceData.load(settings.root).calendar
        return cls(
            settings,
            rules,
            calendar,
            LakeReader(settings.lake, clock=clock),
            StreamWatch(settings.lake),
            HealthLook(settings, rules, calendar, clock),
            AlertLook(settings, rules, calendar, clock),
            clock,
        )

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Exchanges that are watched: a card for each."""
        return self.rules.exchanges

    def watched(self, exchange: str) -> str:
        """The exchange that an address names.

        Raises:
            NotFoundException: It is none of `exchanges`.
        """
        if exchange not in self.exchanges:
            raise NotFoundException("there is no such exchange")
        return exchange

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which times are shown."""
        return ZoneInfo(self.settings.timezone)

    def close(self) -> None:
        """Let go of the lake."""
        self.reader.close()
