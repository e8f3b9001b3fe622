"""Alerts and their states: inactive -> pending (`for`) -> firing -> resolved.

A check evaluates rules; `advance` turns what it found into the next states. States mean what they mean in
Prometheus: an alert is *pending* until it was found for as long as its rule says, keeps its `starts_at` from
firing until it is resolved, and is *resolved* only by an evaluation that did not find it. Nothing here
knows a clock or a disk.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any

LAKE = "LAKE"
"""In the place of an exchange, for what concerns none."""

CONDITION = "condition"
"""Label of an alert that says its rule had no data, or could not be evaluated."""


class Severity(IntEnum):
    """How bad it is; higher is worse."""

    INFO = 1
    WARN = 2
    CRITICAL = 3


class AlertState(StrEnum):
    """Where an alert stands; one that nobody found is inactive and has no state."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Outcome(StrEnum):
    """How the evaluation of one rule on one exchange ended.

    Attributes:
        EVALUATED: It ran; its findings are all there are, none means healthy.
        NO_DATA: There was nothing to judge.
        ERROR: It could not run. A check that could not run is not a check that passed.
        OFF: The calendar says that it is not to be evaluated now. Alerts stay as they are and are held:
            nobody is told of them until the rule is evaluated again.
    """

    EVALUATED = "evaluated"
    NO_DATA = "no_data"
    ERROR = "error"
    OFF = "off"


class Policy(StrEnum):
    """What no data, or an error, of a rule means.

    Attributes:
        ALERT: It is an alert itself, with the label `condition`; alerts of the rule stay as they are.
        KEEP: Alerts stay as they are; one that is pending does not come nearer to firing.
        OK: The rule counts as evaluated, with no finding.
    """

    ALERT = "alert"
    KEEP = "keep"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found wrong.

    Attributes:
        rule: Name of the rule.
        labels: What tells this alert from others of the rule; always with `exchange`, which is `LAKE`
            where it concerns no exchange. Labels are identity: no values, times or batch ids in here.
        severity: How bad.
        value: The measured value, None if there is none.
        summary: One line for a reader.
        evidence: What shows it again: batch ids, table version, SQL, values, command. JSON values only.
        runbook: Section of the runbook.
        tags: Which teams' receivers it is for; empty for those that take everything.
    """

    rule: str
    labels: Mapping[str, str]
    severity: Severity
    value: float | None
    summary: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    runbook: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleTerms:
    """What the states of a rule's alerts need to know of it.

    Attributes:
        name: Name of the rule.
        hold: How long it must be found before it fires (Prometheus' `for`).
        severity: Severity of an alert that says it had no data or could not be evaluated.
        no_data: What no data means.
        error: What an error means.
        runbook: Section of the runbook.
        tags: See `Finding`.
    """

    name: str
    hold: timedelta = timedelta(0)
    severity: Severity = Severity.WARN
    no_data: Policy = Policy.ALERT
    error: Policy = Policy.ALERT
    runbook: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleRun:
    """One rule, evaluated on one exchange.

    Attributes:
        terms: The rule.
        exchange: Exchange, or `LAKE`.
        outcome: How it ended.
        detail: Why there was no data, or what the error was.
        evidence: As in `Finding`, for an alert that says so.
    """

    terms: RuleTerms
    exchange: str
    outcome: Outcome = Outcome.EVALUATED
    detail: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody has seen it: it does not repeat until it is resolved, or gets worse than it was then."""

    author: str
    comment: str
    at: datetime
    severity: Severity


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it stands; the fields of `Finding` are those of the newest one.

    Attributes:
        peak: Its worst severity since it began; who was told of that is told of the rest, too.
        active_since: When it was first found.
        starts_at: When it fired; None while pending.
        ends_at: When it was resolved.
        updated_at: When it was evaluated last.
        held: Whether its rule is not being evaluated now, see `Outcome.OFF`.
        acknowledgement: Who has seen it.
    """

    finding: Finding
    state: AlertState
    peak: Severity
    active_since: datetime
    starts_at: datetime | None
    ends_at: datetime | None
    updated_at: datetime
    held: bool = False
    acknowledgement: Acknowledgement | None = None

    @property
    def fingerprint(self) -> str:
        """Identity of the alert, see `fingerprint`."""
        return fingerprint(self.finding.rule, self.finding.labels)

    @property
    def exchange(self) -> str:
        """Its exchange, or `LAKE`."""
        return self.finding.labels["exchange"]

    @property
    def is_acknowledged(self) -> bool:
        """Whether somebody has seen it as bad as it is now."""
        return self.acknowledgement is not None and self.finding.severity <= self.acknowledgement.severity

    @property
    def match_labels(self) -> dict[str, str]:
        """What matchers look at: the labels, the rule and the severity."""
        found = self.finding
        return {**found.labels, "rule": found.rule, "severity": found.severity.name}


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an alert; `before` is None where it was inactive, `after` where it became so."""

    at: datetime
    before: AlertState | None
    after: AlertState | None
    alert: Alert
    why: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """What an evaluation made of the alerts.

    Attributes:
        alerts: Those that are new or changed.
        gone: Fingerprints of pending alerts that are inactive again.
        transitions: The changes of state, and rises of severity.
    """

    alerts: list[Alert]
    gone: list[str]
    transitions: list[Transition]


def fingerprint(rule: str, labels: Mapping[str, str]) -> str:
    """16 hexadecimal digits that depend on the rule and its labels only, in no order."""
    identity = json.dumps([rule, sorted(labels.items())], ensure_ascii=False)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def advance(
    now: datetime, alerts: Iterable[Alert], findings: Sequence[Finding], runs: Sequence[RuleRun]
) -> Advance:
    """The next states, after one check.

    Alerts whose (rule, exchange) is not among the runs stay as they are.

    Args:
        now: When the check looked.
        alerts: All that are known, resolved ones as well.
        findings: What it found.
        runs: What it evaluated, at most once per (rule, exchange).

    Raises:
        ValueError: A finding's rule and exchange are not among the runs, or were not evaluated; or two
            findings, or two runs, are the same.
    """
    by_key = {(run.terms.name, run.exchange): run for run in runs}
    if len(by_key) != len(runs):
        raise ValueError("a rule was evaluated twice on one exchange")
    found: dict[str, tuple[Finding, timedelta]] = {}
    for finding in findings:
        key = (finding.rule, finding.labels.get("exchange", ""))
        run = by_key.get(key)
        if run is None or run.outcome is not Outcome.EVALUATED:
            raise ValueError(f"a finding of rule {key[0]!r} on {key[1]!r}, which was not evaluated there")
        mark = fingerprint(finding.rule, finding.labels)
        if mark in found:
            raise ValueError(f"rule {finding.rule!r} found {dict(finding.labels)} twice")
        found[mark] = (finding, run.terms.hold)
    for run in runs:
        spoken = _condition(run)
        if spoken is not None:
            found[fingerprint(spoken.rule, spoken.labels)] = (spoken, run.terms.hold)

    result = Advance([], [], [])
    for alert in alerts:
        run = by_key.get((alert.finding.rule, alert.exchange))
        if run is None:
            continue
        seen = found.pop(alert.fingerprint, None)
        if seen is not None:
            _found(result, now, alert, *seen)
        elif alert.state is not AlertState.RESOLVED:
            _not_found(result, now, alert, run)
    for finding, hold in found.values():
        _found(result, now, None, finding, hold)
    return result


def retire(now: datetime, alerts: Iterable[Alert], known_rules: Iterable[str]) -> Advance:
    """Resolve alerts of rules that are no more."""
    known = set(known_rules)
    result = Advance([], [], [])
    for alert in alerts:
        if alert.finding.rule not in known and alert.state is not AlertState.RESOLVED:
            _end(result, now, alert, "its rule is no more")
    return result


def _policy(run: RuleRun) -> Policy | None:
    """What an outcome without findings means; None if it was evaluated, or is off."""
    if run.outcome is Outcome.NO_DATA:
        return run.terms.no_data
    return run.terms.error if run.outcome is Outcome.ERROR else None


def _condition(run: RuleRun) -> Finding | None:
    """What is found where a rule had no data, or could not be evaluated, and that is an alert."""
    if _policy(run) is not Policy.ALERT:
        return None
    terms = run.terms
    told = "had no data" if run.outcome is Outcome.NO_DATA else "could not be evaluated"
    return Finding(
        rule=terms.name,
        labels={"exchange": run.exchange, CONDITION: run.outcome.value},
        severity=terms.severity,
        value=None,
        summary=f"{terms.name} {told} on {run.exchange}" + (f": {run.detail}" if run.detail else ""),
        evidence=run.evidence,
        runbook=terms.runbook,
        tags=terms.tags,
    )


def _found(result: Advance, now: datetime, before: Alert | None, finding: Finding, hold: timedelta) -> None:
    """Begin an alert, go on with it, or let it fire."""
    if before is None or before.state is AlertState.RESOLVED:
        was = None
        alert = Alert(
            finding, AlertState.PENDING, finding.severity, active_since=now, starts_at=None, ends_at=None,
            updated_at=now,
        )  # fmt: skip
    else:
        was = before.state
        alert = replace(
            before, finding=finding, peak=max(before.peak, finding.severity), updated_at=now, held=False
        )
    if alert.state is AlertState.PENDING and now - alert.active_since >= hold:
        alert = replace(alert, state=AlertState.FIRING, starts_at=now)
    result.alerts.append(alert)
    if alert.state is not was:
        result.transitions.append(Transition(now, was, alert.state, alert))
    elif before is not None and finding.severity != before.finding.severity:
        why = f"severity was {before.finding.severity.name}"
        result.transitions.append(Transition(now, was, alert.state, alert, why))


def _not_found(result: Advance, now: datetime, alert: Alert, run: RuleRun) -> None:
    """What becomes of an alert that is active and was not among the findings."""
    policy = _policy(run)
    if run.outcome is Outcome.OFF:
        if alert.state is AlertState.PENDING:
            _end(result, now, alert, "its rule is not evaluated now")
        else:
            result.alerts.append(replace(alert, held=True, updated_at=now))
    elif policy in {Policy.ALERT, Policy.KEEP} and CONDITION not in alert.finding.labels:
        kept = replace(alert, updated_at=now, held=False)
        if alert.state is AlertState.PENDING:
            # The time in which nobody could look does not count.
            kept = replace(kept, active_since=alert.active_since + (now - alert.updated_at))
        result.alerts.append(kept)
    else:
        _end(result, now, alert, "")


def _end(result: Advance, now: datetime, alert: Alert, why: str) -> None:
    if alert.state is AlertState.PENDING:
        result.gone.append(alert.fingerprint)
        result.transitions.append(Transition(now, AlertState.PENDING, None, alert, why))
        return
    ended = replace(alert, state=AlertState.RESOLVED, ends_at=now, updated_at=now, held=False)
    result.alerts.append(ended)
    result.transitions.append(Transition(now, alert.state, AlertState.RESOLVED, ended, why))
