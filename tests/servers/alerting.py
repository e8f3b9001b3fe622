"""One alert that fires, told to receivers that a test names; for tests of what happens on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitors.alert_store import AlertStore
from monitors.alerts import Finding, RuleRun, RuleTerms, Severity
from monitors.dispatch import Dispatched, dispatch
from monitors.engine import AlertEngine
from monitors.grouping import GroupTerms, Subscription
from monitors.notification import Notification
from monitors.outbox import Failure, RetryTerms
from monitors.receivers.receiver import Receiver

START = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOURS = timedelta(hours=4)


@dataclass
class Alerting:
    """A store with a clock of its own, and the receivers it tells.

    Attributes:
        path: The store.
        receivers: Names that subscribe to everything.
        now: The time; moved on by the test.
    """

    path: Path
    receivers: Sequence[str]
    now: datetime = START
    terms: RetryTerms = field(default_factory=RetryTerms)

    def check(self, *rules: str) -> None:
        """One check in which these rules, of all there are, find something."""
        with AlertStore(self.path) as store:
            engine = self._engine(store)
            findings = [
                Finding(
                    rule, {"exchange": "NSE"}, Severity.CRITICAL, 7.0, f"{rule} is in breach",
                    {"values": {"age_s": 7.0}, "command": "strikelake sql ..."}, rule,
                )
                for rule in rules
            ]  # fmt: skip
            engine.observe(
                self.now, findings, [RuleRun(RuleTerms(rule), "NSE") for rule in ("feed", "chain")]
            )
            engine.notify(self.now)

    def send(self, *receivers: Receiver, budget_s: float = 30.0) -> Dispatched:
        """Try what is due."""
        return dispatch(
            self.path, receivers, clock=lambda: self.now, jitter=lambda: 0.0, terms=self.terms,
            budget_s=budget_s,
        )  # fmt: skip

    def _engine(self, store: AlertStore) -> AlertEngine:
        told = [Subscription(name, terms=GroupTerms(repeat_interval=HOURS)) for name in self.receivers]
        return AlertEngine(store, told)


@dataclass
class Recorder:
    """A receiver that takes what a test lets it take."""

    name: str
    failures: list[Failure | Exception | None] = field(default_factory=list)
    taken: list[Notification] = field(default_factory=list)
    tried: list[Notification] = field(default_factory=list)
    deadline_s: float = 5.0

    def send(self, notification: Notification) -> Failure | None:
        self.tried.append(notification)
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        if failure is None:
            self.taken.append(notification)
        return failure
