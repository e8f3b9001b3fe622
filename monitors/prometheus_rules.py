"""The rules of the monitors as alert rules of Prometheus, for who alerts from there.

A comparison of a value, or of what a counter rose by, is the same question in PromQL. A change since the
same session's beginning and a deviation from earlier sessions are not: of those, the alert states that
strikelake itself keeps are asked, and so are its outcomes where no data, or an error, is an alert.

Prometheus extrapolates what a counter rose by to the whole range, so that its figure may be a little higher.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from monitors.alerts import LAKE, Outcome, Policy
from monitors.prometheus_names import EXPORTED, PREFIX, Exported
from monitors.rules import Measure, Phase, Rule, RuleSet

_SEVERITIES = {"INFO": "info", "WARN": "warning", "CRITICAL": "critical"}
_CHECKS_MISSED_S = 1200  # a check comes every five minutes
_BETWEEN_SESSIONS_S = 7200  # and once an hour between sessions


def alert_rules(rules: RuleSet) -> str:
    """A rule file of Prometheus with every rule that is on."""
    groups = [
        {"name": "strikelake", "rules": [one for rule in rules.enabled for one in _alerts_of(rule)]},
        {"name": "strikelake-monitors", "rules": list(_of_the_monitors())},
    ]
    text = yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=110)
    return f"# Made by 'strikelake monitors rules --prometheus'; make it again when the rules change.\n{text}"


def alert_name(rule: str) -> str:
    """Name of a rule's alert there: `StrikelakeFeedStale` of `feed_stale`."""
    return "Strikelake" + "".join(part.capitalize() for part in rule.split("_"))


def _alerts_of(rule: Rule) -> Iterator[dict[str, Any]]:
    if not rule.exchanges:
        return
    exported = EXPORTED[rule.metric]
    expression = _expression(rule, exported)
    if expression is None:
        yield _alert(rule, _state_of(rule), f"{rule.measure} of {exported.metric.about}")
    else:
        limit = _limit(rule, exported)
        about = f"{exported.metric.about}: {{{{ $value }}}}, the rule is {rule.comparison} {limit}"
        yield _alert(rule, expression, about, hold_s=rule.for_s)
        for outcome, policy, told in (
            (Outcome.NO_DATA, rule.no_data, "had no data"),
            (Outcome.ERROR, rule.error, "could not be evaluated"),
        ):
            if policy is Policy.ALERT:
                selector = f'rule="{rule.name}",outcome="{outcome}",{_exchanges(rule)}'
                ended = f"{PREFIX}rule_outcome{{{selector}}} == 1"
                yield _alert(rule, ended, told, hold_s=rule.for_s, condition=str(outcome))


def _expression(rule: Rule, exported: Exported) -> str | None:
    """The rule in PromQL, None where there is no such question."""
    series = f"{exported.series}{{{_exchanges(rule)}}}"
    if rule.measure is Measure.VALUE:
        left = series
    elif rule.measure is Measure.INCREASE:
        left = f"increase({series}[{round(rule.over_s)}s])"
    else:
        return None
    return f"({left} {rule.comparison} {_limit(rule, exported)}){_phase(rule)}"


def _limit(rule: Rule, exported: Exported) -> str:
    return f"{rule.threshold * exported.scale:.12g}"


def _exchanges(rule: Rule) -> str:
    """The matcher of a rule's exchanges."""
    return f'exchange=~"{"|".join(rule.exchanges)}"'


def _phase(rule: Rule) -> str:
    """The condition that the rule is looked at now."""
    if rule.phase is Phase.ALWAYS:
        return ""
    if rule.phase is Phase.CLOSED:
        return f" and on (exchange) ({PREFIX}session_open == 0)"
    begun = f" and on (exchange) ({PREFIX}session_elapsed_seconds >= {rule.warmup_s:g})"
    return begun + (f" and on (exchange) ({PREFIX}session_open == 1)" if rule.phase is Phase.OPEN else "")


def _state_of(rule: Rule) -> str:
    selector = f'rule="{rule.name}",state="firing",{_exchanges(rule)}'
    return f"{PREFIX}alerts{{{selector}}} > 0"


def _alert(
    rule: Rule, expression: str, about: str, *, hold_s: float = 0.0, condition: str = ""
) -> dict[str, Any]:
    alert: dict[str, Any] = {"alert": alert_name(rule.name), "expr": expression}
    if hold_s:
        alert["for"] = f"{round(hold_s)}s"
    labels = {"rule": rule.name, "severity": _SEVERITIES[rule.severity.name]}
    alert["labels"] = labels | ({"condition": condition} if condition else {})
    annotations = {
        "summary": f"{{{{ $labels.exchange }}}} {rule.name}: {about}",
        "runbook": f"strikelake monitors runbook {rule.runbook}",
    }
    if rule.inhibited_by:
        annotations["inhibited_by"] = " ".join(alert_name(other) for other in rule.inhibited_by)
    return alert | {"annotations": annotations}


def _of_the_monitors() -> Iterator[dict[str, Any]]:
    """What Prometheus sees that strikelake cannot say of itself."""
    yield {
        "alert": "StrikelakeNotScraped",
        "expr": f"absent({PREFIX}session_open)",
        "for": "5m",
        "labels": {"severity": "critical"},
        "annotations": {"summary": "/metrics of strikelake gives nothing", "runbook": _RUNBOOK},
    }
    age, is_open = f"{PREFIX}check_age_seconds", f'{PREFIX}session_open{{exchange="{LAKE}"}}'
    yield {
        "alert": "StrikelakeCheckOld",
        "expr": f"({age} > {_BETWEEN_SESSIONS_S}) or ({age} > {_CHECKS_MISSED_S} and on () ({is_open} == 1))",
        "labels": {"severity": "critical"},
        "annotations": {
            "summary": "no health check of {{ $labels.exchange }} for {{ $value | humanizeDuration }}",
            "runbook": _RUNBOOK,
        },
    }
    yield {
        "alert": "StrikelakeProbeFailed",
        "expr": f"{PREFIX}scrape_probe_failed == 1",
        "for": "2m",
        "labels": {"severity": "warning"},
        "annotations": {
            "summary": "{{ $labels.exchange }}: {{ $labels.probe }} cannot be looked at",
            "runbook": "strikelake monitors runbook check_failed",
        },
    }


_RUNBOOK = "strikelake monitors runbook monitor_quiet"
