"""The alert engine with receivers of a test, run every minute by a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitors.alert_store import FILE_NAME, AlertStore
from monitors.alerts import Finding, Outcome, RuleRun, RuleTerms, Severity
from monitors.dispatch import Dispatched, dispatch
from monitors.engine import AlertEngine, Enqueued
from monitors.grouping import Subscription
from monitors.notification import Notification
from monitors.outbox import Failure, Outbox

START = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)


def finding(rule: str = "stale_feed", exchange: str = "NSE", **given: Any) -> Finding:
    labels = {"exchange": exchange, **given.pop("labels", {})}
    return Finding(rule, labels, given.pop("severity", Severity.WARN), 7.5, f"{rule} found", **given)


class Inbox:
    """A receiver that takes, or fails as it is told."""

    deadline_s = 5.0

    def __init__(self, name: str, *failures: Failure | None) -> None:
        self.name = name
        self.taken: list[Notification] = []
        self.failures = list(failures)

    def send(self, notification: Notification) -> Failure | None:
        failure = self.failures.pop(0) if self.failures else None
        if failure is None:
            self.taken.append(notification)
        return failure

    @property
    def told(self) -> list[tuple[str, list[str]]]:
        """Reason and rules of each."""
        contents = [notification.content for notification in self.taken]
        return [(c["reason"], [a["rule"] for a in c["alerts"]]) for c in contents]


class Watch:
    """The engine, its store and its receivers."""

    def __init__(
        self, store: AlertStore, boxes: Sequence[Inbox], subscriptions: Sequence[Subscription]
    ) -> None:
        self.store, self.boxes, self.now = store, boxes, START
        self.engine = AlertEngine(store, subscriptions, source={"host": "test"})
        self.outbox = Outbox(store)

    def check(
        self, *findings: Finding, outcome: Outcome = Outcome.EVALUATED, rules: Sequence[str] = ()
    ) -> list[Enqueued]:
        """One check: of the rules of the findings, of those named, and of `stale_feed` on NSE."""
        keys = {("stale_feed", "NSE"), *((f.rule, f.labels["exchange"]) for f in findings)}
        keys |= {(rule, "NSE") for rule in rules}
        runs = [RuleRun(RuleTerms(rule), exchange, outcome) for rule, exchange in sorted(keys)]
        self.engine.observe(self.now, findings, runs)
        return self.engine.notify(self.now)

    def deliver(self) -> Dispatched:
        return dispatch(self.store.path, self.boxes, clock=lambda: self.now, jitter=lambda: 0.0)

    def run(self, *findings: Finding, **given: Any) -> None:
        """A whole run: check, deliver; then the next minute begins."""
        self.check(*findings, **given)
        self.deliver()
        self.now += timedelta(minutes=1)


@contextmanager
def watching(folder: Path, *boxes: Inbox, subscriptions: Sequence[Subscription] = ()) -> Iterator[Watch]:
    """A watch; by default, each receiver takes everything."""
    with AlertStore(folder / FILE_NAME) as store:
        yield Watch(store, boxes, subscriptions or [Subscription(box.name) for box in boxes])
