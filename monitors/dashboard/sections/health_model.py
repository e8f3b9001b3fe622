"""What the section Health shows: rules with their values, alerts with what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from lake.session import Session
from monitors.alerts import LAKE, Alert, AlertState
from monitors.check import Check
from monitors.dashboard.alert_look import Alerts
from monitors.dashboard.queries import dashboard_query
from monitors.dashboard.sections.states import BY_SEVERITY, State, state_of
from monitors.engine import Muted
from monitors.evaluate import Judgement, counts
from monitors.metrics import METRICS, Failure, label_text
from monitors.rules import Measure, Rule, RuleSet

POINTS = 48
"""Measurements in a small line: four hours of checks every five minutes."""

Sparks = Mapping[tuple[str, str, str], Sequence[float | None]]
"""Newest values of each series, oldest first, by exchange, metric and labels."""

_TOLD = {"sql", "command", "history_sql", "history_command", "values", "batch_ids", "what_to_do", "labels"}


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule, for one series of its metric.

    Attributes:
        rule: Its name.
        series: Labels besides the exchange, as text.
        about: What the metric is.
        value: What was compared, None for none.
        unit: Its unit.
        measure: What of the metric is compared, empty for its value.
        comparison: How.
        limit_value: The threshold.
        state: How it stands.
        told: Why, where it is no pass.
        values: The metric's course, oldest first.
    """

    rule: str
    series: str
    about: str
    value: float | None
    unit: str
    measure: str
    comparison: str
    limit_value: float
    state: State
    told: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class AlertCard:
    """One alert.

    Attributes:
        fingerprint: Its identity.
        rule: Rule that found it.
        exchange: Where.
        series: Labels besides the exchange, as text.
        state: By its severity.
        stage: `pending`, `firing` or `resolved`.
        since: When it was first found.
        ended: When it was resolved.
        summary: The alert's text.
        muted: Why nobody is told of it, empty if people are.
        acknowledged: Who has seen it, and what they said.
        what_to_do: What the runbook says to do.
        evidence: Name and text of what it rests on.
        batch_ids: Batches that it rests on.
        sql: Statement that found it.
        command: Command that shows the same rows.
        runbook: Text of the runbook's section.
    """

    fingerprint: str
    rule: str
    exchange: str
    series: str
    state: State
    stage: str
    since: datetime
    ended: datetime | None
    summary: str
    muted: str
    acknowledged: str
    what_to_do: str
    evidence: tuple[tuple[str, str], ...]
    batch_ids: tuple[str, ...]
    sql: str
    command: str
    runbook: str


def sparks(session: Session, first_date: date) -> Sparks:
    """The courses of all metrics since a date; nothing where no check was kept."""
    if "health_metrics" not in session.snapshots:
        return {}
    parameters = {"first_date": first_date, "points": POINTS}
    found: dict[tuple[str, str, str], list[float | None]] = {}
    for row in session.table(dashboard_query("metric_sparks").sql, parameters).to_pylist():
        found.setdefault((row["exchange"], row["metric"], row["labels"]), []).append(row["value"])
    return found


def rule_rows(check: Check, courses: Sparks, place: str) -> list[RuleRow]:
    """The rules of an exchange, or of the lake; worst first, else in the order of the rules."""
    found = [_row(one, courses, place) for one in check.judgements if one.labels.get("exchange") == place]
    return sorted(found, key=lambda row: -row.state.rank)


def _row(one: Judgement, courses: Sparks, place: str) -> RuleRow:
    rule, metric = one.rule, METRICS[one.rule.metric]
    labels = {name: text for name, text in one.labels.items() if name != "exchange"}
    unit = "sd" if rule.measure is Measure.DEVIATION else metric.unit
    return RuleRow(
        rule.name,
        series_text(labels),
        metric.about,
        one.value,
        unit,
        measure_of(rule),
        rule.comparison,
        rule.threshold,
        state_of(one),
        one.told,
        tuple(courses.get((place, rule.metric, label_text(labels)), ())),
    )


def series_text(labels: Mapping[str, str]) -> str:
    """Labels for a reader, the underlying first: `NIFTY 2026-10-27`; those that need it, with their name."""
    ordered = sorted(labels, key=lambda name: (name != "symbol", name))
    return " ".join(
        labels[name] if name in {"symbol", "expiry", "table"} else f"{name}={labels[name]}"
        for name in ordered
    )


def measure_of(rule: Rule) -> str:
    """What of the metric is compared: `change over 30 m`; empty for its value."""
    over = f" over {rule.over_s / 60:g} m" if rule.over_s else ""
    return "" if rule.measure is Measure.VALUE else f"{rule.measure}{over}"


def failures_of(failures: Sequence[Failure], place: str) -> dict[str, list[str]]:
    """Measurements of an exchange that could not be made, by what went wrong: each reason is told once."""
    found: dict[str, list[str]] = {}
    for one in failures:
        if one.exchange == place:
            found.setdefault(one.error, []).append(one.probe)
    return found


def tally(check: Check) -> dict[str, int]:
    """How many rules had which outcome."""
    return counts(check.judgements)


def disabled(rules: RuleSet) -> list[str]:
    """Rules that are turned off: nobody must take them for fine."""
    return sorted(rule.name for rule in rules.rules.values() if not rule.enabled)


def places(rules: RuleSet) -> tuple[str, ...]:
    """Exchanges, then the lake itself."""
    return (*rules.exchanges, LAKE)


def alert_cards(alerts: Alerts, runbook: Mapping[str, str]) -> tuple[list[AlertCard], list[AlertCard]]:
    """The alerts that are active, and those that ended within a day."""
    names = {one.fingerprint: one.finding.rule for one in alerts.active}
    active = [_card(one, alerts.muted.get(one.fingerprint), names, runbook) for one in alerts.active]
    return active, [_card(one, None, names, runbook) for one in alerts.resolved]


def _card(
    alert: Alert, muted: Muted | None, names: Mapping[str, str], runbook: Mapping[str, str]
) -> AlertCard:
    found, seen = alert.finding, alert.acknowledgement
    evidence = found.evidence
    values = evidence.get("values") or {}
    rows = [(name, _text(value)) for name, value in values.items()]
    rows += [(name, _text(value)) for name, value in evidence.items() if name not in _TOLD]
    labels = {name: text for name, text in found.labels.items() if name != "exchange"}
    return AlertCard(
        alert.fingerprint,
        found.rule,
        alert.exchange,
        series_text(labels),
        BY_SEVERITY[found.severity] if alert.state is not AlertState.RESOLVED else State.OK,
        str(alert.state),
        alert.active_since,
        alert.ends_at,
        found.summary,
        _muted(muted, names),
        f"{seen.author}: {seen.comment}".rstrip(": ") if seen and alert.is_acknowledged else "",
        str(evidence.get("what_to_do", "")),
        tuple(rows),
        tuple(str(one) for one in evidence.get("batch_ids") or ()),
        str(evidence.get("sql", "")),
        str(evidence.get("command", "")),
        runbook.get(found.runbook, ""),
    )


def _muted(muted: Muted | None, names: Mapping[str, str]) -> str:
    if not muted:
        return ""
    reasons = [f"follows from {names.get(mark, mark)}" for mark in muted.inhibitors]
    reasons += [f"silence {one}" for one in muted.silences]
    return ", ".join([*reasons, *(["not looked at now"] if muted.held else [])])


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(_text(inner) for inner in value) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)
