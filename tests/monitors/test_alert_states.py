"""Alerts go from pending to firing to resolved as Prometheus' do, and silence is never taken for health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.alerts import (
    CONDITION,
    Alert,
    AlertState,
    Finding,
    Outcome,
    Policy,
    RuleRun,
    RuleTerms,
    Severity,
    advance,
    fingerprint,
    retire,
)

START = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def finding(rule: str = "stale_feed", severity: Severity = Severity.WARN, **labels: str) -> Finding:
    return Finding(rule, {"exchange": "NSE", **labels}, severity, 1.0, "found")


class Rule:
    """One rule on NSE, evaluated every minute."""

    def __init__(self, **terms: Any) -> None:
        self.terms = RuleTerms("stale_feed", **terms)
        self.now = START
        self.alerts: dict[str, Alert] = {}
        self.changes: list[tuple[str | None, str | None]] = []

    def run(self, *findings: Finding, outcome: Outcome = Outcome.EVALUATED) -> None:
        step = advance(
            self.now, self.alerts.values(), findings, [RuleRun(self.terms, "NSE", outcome, "no rows")]
        )
        for alert in step.alerts:
            self.alerts[alert.fingerprint] = alert
        for mark in step.gone:
            del self.alerts[mark]
        self.changes += [(t.before, t.after) for t in step.transitions]
        self.now += MINUTE

    @property
    def states(self) -> list[str]:
        return sorted(alert.state.value for alert in self.alerts.values())

    def one(self) -> Alert:
        (alert,) = self.alerts.values()
        return alert


def test_it_fires_once_it_was_found_for_as_long_as_the_rule_says() -> None:
    rule = Rule(hold=2 * MINUTE)
    states = []
    for _ in range(3):
        rule.run(finding())
        states += rule.states
    assert states == ["pending", "pending", "firing"]
    assert rule.one().active_since == START
    assert rule.one().starts_at == START + 2 * MINUTE
    assert rule.changes == [(None, "pending"), ("pending", "firing")]


def test_a_rule_without_a_hold_fires_at_once() -> None:
    rule = Rule()
    rule.run(finding())
    assert rule.changes == [(None, "firing")]


def test_what_is_not_found_again_while_pending_begins_anew() -> None:
    rule = Rule(hold=2 * MINUTE)
    rule.run(finding())
    rule.run(finding())
    rule.run()
    rule.run(finding())
    rule.run(finding())
    assert rule.states == ["pending"]
    assert rule.changes == [(None, "pending"), ("pending", None), (None, "pending")]


def test_starts_at_is_kept_until_resolved_and_new_when_it_fires_again() -> None:
    rule = Rule()
    rule.run(finding())
    rule.run(finding())
    assert rule.one().starts_at == START
    rule.run()
    assert (rule.one().state, rule.one().ends_at) == (AlertState.RESOLVED, START + 2 * MINUTE)
    rule.run()
    assert rule.one().ends_at == START + 2 * MINUTE, "it is over once"
    rule.run(finding())
    assert (rule.one().starts_at, rule.one().ends_at) == (START + 4 * MINUTE, None)


def test_the_peak_stays_when_severity_falls() -> None:
    rule = Rule()
    for severity in (Severity.WARN, Severity.CRITICAL, Severity.INFO):
        rule.run(finding(severity=severity))
    assert (rule.one().finding.severity, rule.one().peak) == (Severity.INFO, Severity.CRITICAL)
    assert rule.changes == [(None, "firing"), ("firing", "firing"), ("firing", "firing")]


@pytest.mark.parametrize("outcome", [Outcome.NO_DATA, Outcome.ERROR])
def test_no_data_and_errors_are_alerts_and_resolve_nothing(outcome: Outcome) -> None:
    rule = Rule(severity=Severity.CRITICAL)
    rule.run(finding())
    rule.run(outcome=outcome)
    assert rule.states == ["firing", "firing"]
    spoken = next(alert for alert in rule.alerts.values() if CONDITION in alert.finding.labels)
    assert spoken.finding.labels == {"exchange": "NSE", "condition": outcome.value}
    assert spoken.finding.severity is Severity.CRITICAL
    assert "no rows" in spoken.finding.summary
    rule.run(finding())
    assert rule.states == ["firing", "resolved"]
    assert rule.alerts[fingerprint("stale_feed", {"exchange": "NSE"})].starts_at == START


def test_no_data_that_becomes_an_error_is_another_alert() -> None:
    rule = Rule()
    rule.run(outcome=Outcome.NO_DATA)
    rule.run(outcome=Outcome.ERROR)
    found = {alert.finding.labels[CONDITION]: alert.state.value for alert in rule.alerts.values()}
    assert found == {"no_data": "resolved", "error": "firing"}


@pytest.mark.parametrize("outcome", [Outcome.NO_DATA, Outcome.ERROR])
def test_a_policy_keeps_the_state_or_takes_it_for_healthy(outcome: Outcome) -> None:
    keep = Rule(no_data=Policy.KEEP, error=Policy.KEEP)
    healthy = Rule(no_data=Policy.OK, error=Policy.OK)
    for rule in (keep, healthy):
        rule.run(finding())
        rule.run(outcome=outcome)
    assert (keep.states, healthy.states) == (["firing"], ["resolved"])


def test_time_in_which_nobody_could_look_does_not_bring_an_alert_nearer_to_firing() -> None:
    rule = Rule(hold=2 * MINUTE, no_data=Policy.KEEP)
    rule.run(finding())
    for _ in range(10):
        rule.run(outcome=Outcome.NO_DATA)
    rule.run(finding())
    assert rule.states == ["pending"]
    rule.run(finding())
    assert rule.states == ["firing"]


def test_an_alert_is_held_while_its_rule_is_off_and_not_resolved() -> None:
    rule = Rule()
    rule.run(finding())
    rule.run(outcome=Outcome.OFF)
    assert (rule.one().state, rule.one().held) == (AlertState.FIRING, True)
    rule.run(finding())
    assert (rule.one().held, rule.one().starts_at) == (False, START)
    rule.run(outcome=Outcome.OFF)
    rule.run()
    assert rule.states == ["resolved"]


def test_a_pending_alert_is_gone_when_its_rule_is_off() -> None:
    rule = Rule(hold=MINUTE)
    rule.run(finding())
    rule.run(outcome=Outcome.OFF)
    assert rule.states == []


def test_other_rules_and_exchanges_stay_as_they_are() -> None:
    bse = Finding("stale_feed", {"exchange": "BSE"}, Severity.WARN, 1.0, "found")
    terms = RuleTerms("stale_feed")
    first = advance(START, [], [bse, finding()], [RuleRun(terms, "NSE"), RuleRun(terms, "BSE")])
    second = advance(START + MINUTE, first.alerts, [], [RuleRun(terms, "NSE")])
    assert [(a.exchange, a.state.value) for a in second.alerts] == [("NSE", "resolved")]


def test_alerts_of_rules_that_are_no_more_are_resolved() -> None:
    step = advance(START, [], [finding(), finding("drift")], [
        RuleRun(RuleTerms("stale_feed"), "NSE"), RuleRun(RuleTerms("drift"), "NSE"),
    ])  # fmt: skip
    ended = retire(START + MINUTE, step.alerts, ["drift"])
    assert [(t.alert.finding.rule, t.after) for t in ended.transitions] == [("stale_feed", "resolved")]


@pytest.mark.parametrize(
    ("findings", "runs", "says"),
    [
        ([finding()], [], "not evaluated"),
        ([finding()], [RuleRun(RuleTerms("stale_feed"), "BSE")], "not evaluated"),
        ([finding()], [RuleRun(RuleTerms("stale_feed"), "NSE", Outcome.ERROR)], "not evaluated"),
        ([finding(), finding()], [RuleRun(RuleTerms("stale_feed"), "NSE")], "twice"),
        ([], [RuleRun(RuleTerms("stale_feed"), "NSE")] * 2, "twice"),
    ],
)
def test_findings_that_cannot_be_are_refused(findings: list[Finding], runs: list[RuleRun], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        advance(START, [], findings, runs)


def test_a_fingerprint_depends_on_rule_and_labels_and_nothing_else() -> None:
    base = fingerprint("r", {"a": "1", "b": "2"})
    assert base == fingerprint("r", {"b": "2", "a": "1"})
    others = [
        ("s", {"a": "1", "b": "2"}),
        ("r", {"a": "1"}),
        ("r", {"a": "2", "b": "1"}),
        ("r", {"a": '1","b":"2'}),
    ]
    assert len({base, *(fingerprint(*other) for other in others)}) == 5


@given(
    hold=st.integers(0, 4),
    seen=st.lists(st.sampled_from(["found", "clean", "no data", "off"]), max_size=30),
)
def test_states_follow_a_simple_count(hold: int, seen: list[str]) -> None:
    """Against a count of what was found in a row; no data keeps."""
    rule = Rule(hold=hold * MINUTE, no_data=Policy.KEEP)
    row, fires = 0, False
    for what in seen:
        outcome = {"no data": Outcome.NO_DATA, "off": Outcome.OFF}.get(what, Outcome.EVALUATED)
        rule.run(*([finding()] if what == "found" else []), outcome=outcome)
        if what == "found":
            row += 1
            fires = fires or row > hold
        elif what == "clean" or (what == "off" and not fires):
            row, fires = 0, False
        active = [s for s in rule.states if s != "resolved"]
        expected = ["firing"] if fires else ["pending"] if row else []
        assert active == expected, what
