"""Watching the watcher's own voice: receivers that fail, notifications given up, alerts that reach nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from monitors.alerts import LAKE, Alert, Finding, RuleRun, RuleTerms, Severity
from monitors.grouping import Subscription
from monitors.outbox import ReceiverStatus

NO_RECEIVER = "no_receiver"
RECEIVER_FAILING = "receiver_failing"
NOTIFICATION_GIVEN_UP = "notification_given_up"
DELIVERY_RULES = (NO_RECEIVER, RECEIVER_FAILING, NOTIFICATION_GIVEN_UP)
"""Rules that the alert engine evaluates itself; each needs a section in the runbook, by this name."""

FAILING_FOR = timedelta(minutes=10)
"""A receiver that fails for longer is an alert, told to the others."""

_COMMAND = "strikelake monitors alerts"


def delivery_runs() -> list[RuleRun]:
    """The runs of these rules: they can always be evaluated."""
    return [RuleRun(RuleTerms(name, runbook=name), LAKE) for name in DELIVERY_RULES]


def receiver_findings(
    statuses: Sequence[ReceiverStatus], now: datetime, failing_for: timedelta
) -> list[Finding]:
    """Receivers that fail for too long, and those for which something was given up."""
    findings = []
    for status in statuses:
        labels = {"exchange": LAKE, "receiver": status.name}
        evidence = {
            "queued": status.queued,
            "failures": status.failures,
            "last_error": status.last_error,
            "last_success": status.last_success,
            "command": _COMMAND,
        }
        since = status.failing_since
        if since is not None and now - since >= failing_for:
            minutes = int((now - since).total_seconds() // 60)
            findings.append(
                Finding(
                    RECEIVER_FAILING, labels, Severity.CRITICAL, float(status.failures),
                    f"receiver {status.name} takes no notifications since {minutes} minutes,"
                    f" {status.queued} wait: {status.last_error}",
                    {**evidence, "failing_since": since}, RECEIVER_FAILING,
                )
            )  # fmt: skip
        if status.given_up:
            findings.append(
                Finding(
                    NOTIFICATION_GIVEN_UP, labels, Severity.CRITICAL, float(status.given_up),
                    f"{status.given_up} notifications to receiver {status.name} were given up",
                    {**evidence, "given_up": status.given_up, "last_given_up": status.last_given_up},
                    NOTIFICATION_GIVEN_UP,
                )
            )  # fmt: skip
    return findings


def no_receiver_finding(unheard: Sequence[Alert]) -> list[Finding]:
    """The finding that alerts fire of which no receiver tells anybody; none if there are no such alerts."""
    if not unheard:
        return []
    names = sorted({f"{alert.finding.rule} on {alert.exchange}" for alert in unheard})
    return [
        Finding(
            NO_RECEIVER, {"exchange": LAKE}, max(alert.finding.severity for alert in unheard),
            float(len(unheard)), f"no receiver takes {', '.join(names)}: only the log file has it",
            {"fingerprints": [alert.fingerprint for alert in unheard], "command": _COMMAND}, NO_RECEIVER,
        )
    ]  # fmt: skip


def subscriptions_of(
    alerts: Sequence[Alert], subscriptions: Sequence[Subscription]
) -> Mapping[str, Sequence[Subscription]]:
    """Who takes each alert, by fingerprint.

    An alert of these rules goes to every receiver, whatever it subscribed to, except the one it speaks of.
    """
    return {
        alert.fingerprint: [
            subscription
            for subscription in subscriptions
            if (
                subscription.receiver != alert.finding.labels.get("receiver")
                if alert.finding.rule in DELIVERY_RULES
                else subscription.takes(alert)
            )
        ]
        for alert in alerts
    }
