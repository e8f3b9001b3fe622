"""Checks in their service: one at a time, told to people, with a heartbeat, again and again.

The work of a check is `monitors.check`; states and notifications are `monitors.engine`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from catalog.calendar import SessionCalendar
from catalog.reference import ReferenceData
from catalog.upkeep import AFTER_CLOSE, finished_sessions
from lake.errors import (
    DeliveryError,
    MonitorsUnavailableError,
    NotEnoughDataError,
    StreamInUseError,
    StrikelakeError,
    TableNotFoundError,
)
from lake.process_lock import ProcessLock
from lake.settings import Settings
from monitors.alerting import Standing, standing_of, tell
from monitors.alerts import Alert, AlertState
from monitors.check import Check, DiskUsage, run_check, told
from monitors.daily import day_summary, summary_exists
from monitors.evaluate import counts
from monitors.heartbeat import Heartbeat, beat, ping
from monitors.probes import Probe
from monitors.recording import OWN_TABLES, look_after
from monitors.rules import RuleSet
from monitors.stream_probes import stream_probes

logger = logging.getLogger(__name__)

MISSED = 3
"""So many checks in a row may be late before the monitor counts as quiet: one may wait for a slow disk."""

BETWEEN_SESSIONS = timedelta(hours=1)
"""Time between two checks while no session runs: of the ledger, the disk, the registry."""

_WATCHED_PROBES = ("writer", "monitor", "backlog")
_WATCHED_METRICS = frozenset({"writer_stopped", "monitor_quiet_s", "writer_lag_s"})
_OK, _ERROR, _FIRING = 0, 1, 3


@dataclass(slots=True)
class Done:
    """A check and what was made of it.

    Attributes:
        check: The check.
        standing: How the alerts stand after it.
    """

    check: Check
    standing: Standing

    @property
    def exit_code(self) -> int:
        """1 if anything could not be checked, else 3 if anything fires, else 0.

        Not known comes first: who sees 3 may rely on having been told of everything.
        """
        if self.check.could_not_run:
            return _ERROR
        return _FIRING if self.standing.firing else _OK

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        alerts = [
            {
                "rule": one.finding.rule, "state": str(one.state), "severity": one.finding.severity.name,
                "labels": dict(one.finding.labels), "value": one.finding.value,
                "summary": one.finding.summary, "since": one.active_since, "muted": self._aside(one),
                "runbook": one.finding.runbook, "evidence": dict(one.finding.evidence),
                "fingerprint": one.fingerprint,
            }
            for one in (*self.standing.firing, *self.standing.pending)
        ]  # fmt: skip
        return told(self.check) | {
            "alerts": alerts,
            "delivery_problems": self.standing.delivery_problems,
            "exit_code": self.exit_code,
        }

    def lines(self) -> Iterator[str]:
        """Lines for a person: what fires, with the way to see it again; then what is not known."""
        for one in (*self.standing.firing, *self.standing.pending):
            found = one.finding
            state = "" if one.state is AlertState.FIRING else "pending "
            aside = self._aside(one)
            yield (
                f"{found.severity.name:<8} {state}{one.exchange} {found.rule}: {found.summary}"
                + (f" ({aside})" if aside else "")
            )
            if command := found.evidence.get("command"):
                yield f"         see:     {command}"
            yield f"         runbook: strikelake monitors runbook {found.runbook}"
        for failure in self.check.measured.failures:
            yield f"NOT KNOWN {failure.exchange} {failure.probe}: {failure.error}"
        for problem in self.check.problems:
            yield f"PROBLEM  {problem}"
        for receiver, why in self.standing.delivery_problems.items():
            yield f"NOT TOLD {receiver}: {why}"
        outcomes = counts(self.check.judgements)
        yield (
            f"{outcomes['ok']} fine, {len(self.standing.firing)} firing, "
            f"{len(self.standing.pending)} pending, {outcomes['error']} not known, "
            f"{outcomes['no_data']} without data, {outcomes['not_now']} not due; {self.check.seconds:.1f} s"
        )

    def _aside(self, alert: Alert) -> str:
        """Why nobody is told of an alert, empty if somebody is."""
        why = self.standing.muted.get(alert.fingerprint)
        if not why:
            return ""
        names = {one.fingerprint: one.finding.rule for one in self.standing.alerts}
        reasons = [f"follows from {names.get(mark, mark)}" for mark in why.inhibitors]
        return ", ".join([*reasons, *(f"silenced by {one}" for one in why.silences)])


@dataclass(slots=True)
class Service:
    """Makes checks; build it with `of`.

    Attributes:
        settings: Folders and limits.
        calendar: The sessions.
        rules: The rules.
        exchanges: Only these, all that are watched by default.
        every: Time between two checks in session hours.
        disk_usage: The system's by default.
        clock: The moment it is.
        sleep: Waits so many seconds.
    """

    settings: Settings
    calendar: SessionCalendar
    rules: RuleSet
    exchanges: tuple[str, ...] = ()
    every: timedelta = timedelta(minutes=5)
    disk_usage: DiskUsage | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of(
        cls,
        settings: Settings,
        rules: RuleSet,
        *,
        exchanges: Sequence[str] = (),
        every: timedelta = timedelta(minutes=5),
    ) -> Self:
        """A service for a lake, with the calendar of that lake.

        Raises:
            SettingsError: The calendar is not valid.
        """
        calendar = ReferenceData.load(settings.root).calendar
        return cls(settings, calendar, rules, tuple(exchanges), every)

    def look(self, now: datetime | None = None) -> Done:
        """Check without telling anybody or keeping anything, as if it were the first check ever."""
        check = self._check(now or self.clock(), keep=False)
        return Done(check, standing_of(self.rules, check.judgements, check.now))

    def check(self) -> Done:
        """Check, keep what was measured, tell people, and leave a heartbeat.

        Raises:
            StreamInUseError: Another check is being made.
            SpoolUnavailableError: The lock cannot be taken.
            TableNotFoundError: There is no folder of the lake.
        """
        lock = self._lock()
        try:
            now = self.clock()
            problems = self._score_drift(now)
            check = self._check(now, keep=True)
            check.problems += problems
            done = self._tell(check)
        finally:
            lock.release()
        self._beat(done)
        return done

    def watch(self) -> Done:
        """See whether checks are made and the writer runs, and tell people if not.

        Raises:
            StreamInUseError: Another check is being made: so the monitor lives.
            SpoolUnavailableError: The lock cannot be taken.
        """
        lock = self._lock()
        try:
            rules = {name: rule for name, rule in self.rules.rules.items() if rule.metric in _WATCHED_METRICS}
            probes = [probe for probe in stream_probes() if probe.name in _WATCHED_PROBES]
            chosen = RuleSet(rules, self.rules.exchanges)
            return self._tell(self._check(self.clock(), keep=False, rules=chosen, probes=probes))
        finally:
            lock.release()

    def run(self, *, once: bool = False) -> Iterator[str]:
        """Check as the calendar says, for ever; gives back lines for a person.

        What goes wrong is told and never ends it.

        Args:
            once: End after what is due now.
        """
        due = self.clock()
        while True:
            try:
                yield from self.check().lines()
                yield from self._sum_up()
            except (StrikelakeError, OSError) as error:
                logger.error("check failed", extra={"action": "run", "error": str(error)})  # noqa: TRY400
                yield f"strikelake: {error}"
            if once:
                return
            due = self.next_check(due)
            self.sleep(max(0.0, (due - self.clock()).total_seconds()))

    def next_check(self, last: datetime) -> datetime:
        """When the next check is due; those that the machine slept through are not made up for."""
        now = self.clock()
        watched = self.exchanges or self.rules.exchanges
        if any(self.calendar.is_open(one, now) for one in watched):
            return max(last + self.every, now)
        later = max(last + BETWEEN_SESSIONS, now)
        moments = [
            moment
            for one in watched
            for session in self.calendar.sessions(
                one, self.calendar.session_date(one, now), self.calendar.session_date(one, later)
            )
            # At the open, and once the day can be summed up.
            for moment in (session.open, session.close + AFTER_CLOSE)
            if now < moment < later
        ]
        return min(moments, default=later)

    def _check(
        self,
        now: datetime,
        *,
        keep: bool,
        rules: RuleSet | None = None,
        probes: Sequence[Probe] | None = None,
    ) -> Check:
        return run_check(
            self.settings, self.calendar, rules or self.rules, now=now, exchanges=self.exchanges, keep=keep,
            disk_usage=self.disk_usage, probes=probes,
        )  # fmt: skip

    def _score_drift(self, now: datetime) -> list[str]:
        """Score the windows of features that have ended; gives back what went wrong."""
        from monitors.drift_service import check_drift_now

        problems = []
        for exchange in self.exchanges or self.rules.exchanges:
            try:
                check_drift_now(self.settings, self.calendar, exchange, now)
            except (StrikelakeError, OSError) as error:
                problems.append(f"drift of {exchange} could not be measured: {error}")
        return problems

    def _lock(self) -> ProcessLock:
        """One check at a time; nothing is made where no lake is.

        Raises:
            TableNotFoundError: There is no such folder.
        """
        if not self.settings.root.is_dir():
            raise TableNotFoundError(
                f"no lake at {self.settings.root}: nothing was checked and nobody told; give --root"
            )
        path = self.settings.root / "monitors" / "check.lock"
        return ProcessLock(path, role="health check of this lake", hint="one at a time is enough")

    def _tell(self, check: Check) -> Done:
        """Tell people; that they cannot be told is a problem of the check."""
        try:
            standing = tell(self.settings, self.rules, check.judgements, check.now, clock=self.clock)
        except MonitorsUnavailableError as error:
            check.problems.append(f"alerts cannot be kept or told: {error}")
            standing = standing_of(self.rules, check.judgements, check.now)
        return Done(check, standing)

    def _beat(self, done: Done) -> None:
        """Leave the heartbeat, and ask the watcher elsewhere; what fails is a problem of the check."""
        now = done.check.now
        sign = Heartbeat(
            at=now, next_by=now + MISSED * self.every, exit_code=done.exit_code,
            firing=tuple(sorted({one.finding.rule for one in done.standing.firing})),
        )  # fmt: skip
        try:
            beat(self.settings.root, sign)
        except OSError as error:
            done.check.problems.append(f"the heartbeat could not be left: {error}")
        if self.settings.heartbeat_url is not None:
            try:
                ping(self.settings.heartbeat_url.get_secret_value())
            except DeliveryError as error:
                done.check.problems.append(str(error))

    def _sum_up(self) -> Iterator[str]:
        """The day's summary of each exchange whose session is over and has none yet; then tidy up."""
        now = self.clock()
        summed = False
        for exchange in self.exchanges or self.rules.exchanges:
            day = self.calendar.session_date(exchange, now)
            session = self.calendar.session(exchange, day)
            over = session is not None and now >= session.close + AFTER_CLOSE
            if over and not summary_exists(self.settings.root, exchange, day):
                yield from day_summary(self.settings, exchange, day)
                yield from self._report_drift(exchange, day)
                summed = True
        if summed:
            self._tidy_up(now)

    def _report_drift(self, exchange: str, day: date) -> Iterator[str]:
        """The day's drift report; that there are too few rows for one is told and no failure."""
        from monitors.drift_service import daily_report

        try:
            html = daily_report(self.settings, self.calendar, exchange, day)
        except NotEnoughDataError as error:
            yield f"{exchange} {day}: no drift report: {error}"
        else:
            if html is not None:
                yield f"{exchange} {day}: drift report in {html}"

    def _tidy_up(self, now: datetime) -> None:
        """Look after the tables that checks write, and mirror what that did."""
        from catalog.batches import sync
        from catalog.database import opened_database

        with suppress(StreamInUseError):  # the writer does it as well
            look_after(self.settings.lake, finished_sessions(self.calendar, now), now=now)
        with opened_database(self.settings.catalog) as engine:
            sync(self.settings.lake, engine, tables=OWN_TABLES)
