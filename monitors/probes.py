"""Measuring: what a check looks at, through which probes, and what it makes of one that fails."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.calendar import Session as TradingSession
from catalog.calendar import SessionCalendar
from lake.errors import StrikelakeError, one_line
from lake.settings import Settings
from monitors.metrics import LAKE, Failure, Sample

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from lake.session import Session

logger = logging.getLogger(__name__)

_LOOK_BACK = timedelta(days=15)  # the longest closure so far, an epidemic's or an election's, was far shorter


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the day of an exchange a check stands.

    Attributes:
        exchange: Exchange, or `LAKE`.
        now: When the check looks, UTC.
        date: Exchange-local date.
        session: Today's session, None if there is none.
        previous: The session before, None if the calendar has none.
        is_open: Whether the session runs.
    """

    exchange: str
    now: datetime
    date: date
    session: TradingSession | None
    previous: TradingSession | None
    is_open: bool

    @property
    def since_open_s(self) -> float:
        """Seconds since today's open; negative before it and where there is no session."""
        return (self.now - self.session.open).total_seconds() if self.session else -1.0

    @property
    def has_opened(self) -> bool:
        """Whether today's session has begun, and perhaps ended."""
        return self.since_open_s >= 0

    @property
    def seen(self) -> datetime:
        """The moment that is looked at: now, or the close once it is past."""
        return min(self.now, self.session.close) if self.session else self.now


def moment_of(calendar: SessionCalendar, exchange: str, now: datetime) -> Moment:
    """Where a check stands; of `LAKE`, the date is that of the exchanges' zone and there is no session."""
    if exchange == LAKE:
        # All exchanges keep one zone.
        return Moment(LAKE, now, calendar.session_date("NSE", now), None, None, is_open=False)
    today = calendar.session_date(exchange, now)
    before = calendar.sessions(exchange, today - _LOOK_BACK, today - timedelta(days=1))
    return Moment(
        exchange, now, today, calendar.session(exchange, today), before[-1] if before else None,
        calendar.is_open(exchange, now),
    )  # fmt: skip


def _disk_usage(path: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What probes look at.

    Attributes:
        settings: Folders and limits.
        calendar: The sessions.
        now: When the check looks, UTC.
        bound: The lake's tables, or why they cannot be read.
        opened_at: The machine's clock when they were bound: what time travel goes back to.
        catalog: Opens the catalog, or raises why it cannot be opened.
        disk_usage: Total and free bytes of the disk of a folder.
        exchanges: Those that are watched.
    """

    settings: Settings
    calendar: SessionCalendar
    now: datetime
    bound: Session | StrikelakeError
    opened_at: datetime
    catalog: Callable[[], Engine]
    exchanges: tuple[str, ...]
    disk_usage: Callable[[Path], tuple[int, int]] = _disk_usage

    @property
    def session(self) -> Session:
        """The lake's tables.

        Raises:
            StrikelakeError: They cannot be read.
        """
        if isinstance(self.bound, StrikelakeError):
            raise self.bound
        return self.bound


@dataclass(frozen=True, slots=True)
class Probe:
    """One way to measure one or more metrics of an exchange, or of the lake.

    Attributes:
        name: For a reader.
        metrics: What it measures.
        run: Measures; samples of metrics that it does not name are a mistake.
        of_lake: True if it concerns no exchange.
        in_session: True if it has nothing to look at before today's open and on days without a session.
    """

    name: str
    metrics: tuple[str, ...]
    run: Callable[[Surroundings, Moment], Sequence[Sample]]
    of_lake: bool = False
    in_session: bool = False


@dataclass(slots=True)
class Measured:
    """What a check measured.

    Attributes:
        moments: Where each exchange stands, `LAKE` included.
        samples: What was measured.
        failures: What could not be measured.
    """

    moments: dict[str, Moment] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def of(self, metric: str, exchange: str) -> list[Sample]:
        """Samples of one metric and exchange."""
        return [s for s in self.samples if s.metric == metric and s.exchange == exchange]

    def failure_of(self, metric: str, exchange: str) -> Failure | None:
        """Why a metric of an exchange could not be measured."""
        return next((f for f in self.failures if metric in f.metrics and f.exchange == exchange), None)


def measure(around: Surroundings, probes: Sequence[Probe]) -> Measured:
    """Run every probe for every exchange; one that fails costs its own metrics and no other's.

    Where a metric has no value from a later probe, an earlier one's counts, and the reverse: of two sources
    of a metric, the first that has a value is kept.
    """
    measured = Measured()
    for exchange in (*around.exchanges, LAKE):
        moment = moment_of(around.calendar, exchange, around.now)
        measured.moments[exchange] = moment
        found: dict[tuple[str, str], Sample] = {}
        failed = []
        for probe in probes:
            if probe.of_lake != (exchange == LAKE) or (probe.in_session and not moment.has_opened):
                continue
            try:
                samples = probe.run(around, moment)
            except Exception as error:  # a fault of ours must not pass for health either
                told = _told(error)
                failed.append(Failure(probe.name, exchange, probe.metrics, told))
                known = isinstance(error, StrikelakeError | OSError)
                logger.log(
                    logging.WARNING if known else logging.ERROR,
                    "probe failed",
                    exc_info=None if known else error,
                    extra={"action": "measure", "probe": probe.name, "exchange": exchange, "error": told},
                )
                continue
            for sample in samples:
                key = (sample.metric, sample.label_text)
                if key not in found or found[key].value is None:
                    found[key] = sample
        facts = {"probes": [{"probe": one.probe, "error": one.error} for one in failed]}
        count = Sample("failed_probes", exchange, float(len(failed)), facts=facts)
        measured.samples += [*_with_values(found.values()), count]
        measured.failures += failed
    return measured


def _with_values(samples: Collection[Sample]) -> list[Sample]:
    """Samples, without those that have no value where the same metric has one under other labels."""
    valued = {sample.metric for sample in samples if sample.value is not None}
    return [sample for sample in samples if sample.value is not None or sample.metric not in valued]


def _told(error: Exception) -> str:
    text = one_line(error)
    return text if isinstance(error, StrikelakeError | OSError) else f"{type(error).__name__}: {text}"
