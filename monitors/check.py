"""One health check, from opening the lake to leaving a heartbeat."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.calendar import SessionCalendar
from catalog.contracts import HEALTH_METRICS, PAPER_TRADING_METRICS
from lake.errors import StrikelakeError
from lake.session import Session
from lake.settings import Settings
from monitors.drift_probe import drift_probe
from monitors.evaluate import Judgement, Outcome, counts, evaluate
from monitors.evidence import Recorded
from monitors.history import History
from monitors.lake_probes import lake_probes
from monitors.paper_trading import Kept, keep_summaries
from monitors.phase2 import phase2_probe
from monitors.probes import Measured, Probe, Surroundings, measure
from monitors.recording import record
from monitors.rules import RuleSet
from monitors.stream_probes import stream_probes

if TYPE_CHECKING:
    from sqlalchemy import Engine

logger = logging.getLogger(__name__)

DiskUsage = Callable[[Path], tuple[int, int]]


@dataclass(slots=True)
class Check:
    """What one check found.

    Attributes:
        now: The moment it looked at.
        measured: What it measured.
        judgements: What came of each rule.
        recorded: Where the measurements are kept.
        problems: What went wrong besides measuring: keeping the measurements, mirroring them.
        seconds: How long it took.
    """

    now: datetime
    measured: Measured
    judgements: list[Judgement] = field(default_factory=list)
    recorded: Recorded = field(default_factory=Recorded)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def alerting(self) -> list[Judgement]:
        """What is an alert, whether or not it has lasted long enough to fire."""
        return [one for one in self.judgements if one.alerts]

    @property
    def errors(self) -> list[Judgement]:
        """The rules that could not be judged."""
        return [one for one in self.judgements if one.outcome is Outcome.ERROR]

    @property
    def could_not_run(self) -> bool:
        """Whether anything that was to be looked at could not be."""
        return bool(self.measured.failures or self.errors or self.problems)


def all_probes() -> list[Probe]:
    """Every probe; of two that measure one metric, the first that has a value counts."""
    return [*lake_probes(), *stream_probes(), phase2_probe(), drift_probe()]


def run_check(
    settings: Settings,
    calendar: SessionCalendar,
    rule_set: RuleSet,
    *,
    now: datetime | None = None,
    exchanges: Sequence[str] = (),
    keep: bool = True,
    disk_usage: DiskUsage | None = None,
    probes: Sequence[Probe] | None = None,
) -> Check:
    """Measure, keep what was measured, and judge it.

    Args:
        settings: Folders and limits.
        calendar: The sessions.
        rule_set: The rules.
        now: The moment to look at, by default that of the machine's clock.
        exchanges: Only these of the exchanges that are watched; all by default.
        keep: Whether the measurements are kept in `health_metrics`, and trackers' summaries in
            `paper_trading_metrics`.
        disk_usage: Total and free bytes of a folder's disk, the system's by default.
        probes: Only these; all by default.
    """
    started = time.perf_counter()
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    watched = tuple(one for one in rule_set.exchanges if not exchanges or one in exchanges)
    # A folder without a lake, one that was not mounted perhaps, must not be made one.
    keep = keep and settings.lake.exists()
    # Opening the catalog is half a second of imports: it runs beside the queries, which do not hold the GIL.
    with ThreadPoolExecutor(1) as executor:
        opening = executor.submit(_open_catalog, settings)
        # Before the tables are bound: the newest summary is what is to be judged.
        kept = keep_summaries(settings, calendar, watched, moment) if keep else Kept()
        opened_at = datetime.now(UTC)
        bound = _bind(settings)
        further = {} if disk_usage is None else {"disk_usage": disk_usage}
        try:
            if kept.commits:
                # Its own commit must not look to the check like one that the catalog lacks.
                kept.problems += _mirror(settings, opening, PAPER_TRADING_METRICS.table)
            around = Surroundings(
                settings, calendar, moment, bound, opened_at, opening.result, watched, **further
            )
            measured = measure(around, all_probes() if probes is None else probes)
            check = Check(moment, measured, problems=kept.problems)
            if keep:
                _keep(settings, check, opening)
            history = History(around, rule_set.enabled)
            check.judgements = evaluate(rule_set.enabled, measured, history, settings, check.recorded)
        finally:
            if isinstance(bound, Session):
                bound.close()
            if opening.exception() is None:
                opening.result().dispose()
    check.seconds = time.perf_counter() - started
    logger.info(
        "health checked",
        extra={
            "action": "check", "exchanges": list(watched), "seconds": round(check.seconds, 3),
            "samples": len(measured.samples), "failures": len(measured.failures), **counts(check.judgements),
        },
    )  # fmt: skip
    return check


def _bind(settings: Settings) -> Session | StrikelakeError:
    try:
        return Session(settings.lake)
    except StrikelakeError as error:
        return error


def _open_catalog(settings: Settings) -> Engine:
    from catalog.database import open_database

    return open_database(settings.catalog)


def _keep(settings: Settings, check: Check, opening: Future[Engine]) -> None:
    """Keep the measurements; what goes wrong is told, and judging goes on without."""
    try:
        check.recorded = record(settings.lake, check.measured)
    except (StrikelakeError, OSError) as error:
        check.recorded = Recorded(problem=str(error))
        check.problems.append(f"the measurements could not be kept: {error}")
        return
    check.problems += _mirror(settings, opening, HEALTH_METRICS.table)


def _mirror(settings: Settings, opening: Future[Engine], table: str) -> list[str]:
    """Let the catalog know of a table's new commits; gives back what went wrong."""
    from catalog.batches import sync

    try:
        sync(settings.lake, opening.result(), tables=[table])
    except StrikelakeError as error:
        return [f"{table} could not be mirrored: {error}"]
    return []


def told(check: Check) -> dict[str, Any]:
    """The check as plain data."""
    return {
        "now": check.now,
        "exchanges": {
            name: {"date": moment.date, "open": moment.is_open}
            for name, moment in check.measured.moments.items()
        },
        "outcomes": counts(check.judgements),
        "not_known": [
            {"rule": one.rule.name, "labels": dict(one.labels), "why": one.told} for one in check.errors
        ],
        "no_data": [
            {"rule": one.rule.name, "labels": dict(one.labels), "why": one.told}
            for one in check.judgements
            if one.outcome is Outcome.NO_DATA
        ],
        "failures": [
            {"probe": one.probe, "exchange": one.exchange, "error": one.error}
            for one in check.measured.failures
        ],
        "problems": check.problems,
        "seconds": round(check.seconds, 3),
    }  # fmt: skip
