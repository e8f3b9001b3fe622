"""From judgements to alerts: what a check tells the alert engine, and who mutes whom."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from lake.settings import Settings
from monitors.alert_store import FILE_NAME, AlertStore
from monitors.alerts import Alert, AlertState, Finding, RuleRun, RuleTerms, advance
from monitors.alerts import Outcome as RunOutcome
from monitors.dispatch import dispatch
from monitors.engine import AlertEngine, Muted
from monitors.evaluate import Judgement, Outcome
from monitors.inhibition import InhibitRule, inhibitors_of
from monitors.matchers import Matcher
from monitors.metrics import METRICS
from monitors.receivers.configured import Configured, configured_receivers
from monitors.rules import Rule, RuleSet, runbook_sections

_DO = re.compile(r"\*\*Do\.\*\*\s*(.*?)\s*\*\*Close\*\*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the alerts stand.

    Attributes:
        alerts: Those that are pending or fire, worst first.
        muted: Why nobody is told of some, by fingerprint.
        delivery_problems: Receivers that did not take what they were to be told, with the reason.
    """

    alerts: list[Alert] = field(default_factory=list)
    muted: dict[str, Muted] = field(default_factory=dict)
    delivery_problems: dict[str, str] = field(default_factory=dict)

    @property
    def firing(self) -> list[Alert]:
        """Those that fire, as far as they are looked at now."""
        return [alert for alert in self.alerts if alert.state is AlertState.FIRING and not alert.held]

    @property
    def pending(self) -> list[Alert]:
        """Those that must last longer first."""
        return [alert for alert in self.alerts if alert.state is AlertState.PENDING]


def runs_of(judgements: Sequence[Judgement]) -> list[RuleRun]:
    """What was evaluated, one a rule and exchange: a single series with a value makes it evaluated."""
    grouped: dict[tuple[str, str], list[Judgement]] = {}
    for one in judgements:
        grouped.setdefault((one.rule.name, one.labels["exchange"]), []).append(one)
    runs = []
    for (_, exchange), group in grouped.items():
        outcomes = {one.outcome for one in group}
        if outcomes & {Outcome.OK, Outcome.BREACH}:
            runs.append(RuleRun(_terms(group[0].rule), exchange))
            continue
        kind = {Outcome.ERROR: RunOutcome.ERROR, Outcome.NO_DATA: RunOutcome.NO_DATA}
        told = next((one for one in group if one.outcome is Outcome.ERROR), group[0])
        outcome = kind.get(told.outcome, RunOutcome.OFF)
        evidence = dict(told.evidence) | _to_do(told.rule)
        runs.append(RuleRun(_terms(told.rule), exchange, outcome, told.told, evidence))
    return runs


def findings_of(judgements: Sequence[Judgement]) -> list[Finding]:
    """The breaches, as the alert engine takes them."""
    return [
        Finding(
            one.rule.name, dict(one.labels), one.rule.severity, one.value, one.told,
            dict(one.evidence) | _to_do(one.rule), one.rule.runbook,
        )
        for one in judgements
        if one.outcome is Outcome.BREACH
    ]  # fmt: skip


def inhibit_rules(rule_set: RuleSet) -> list[InhibitRule]:
    """Who mutes whom: alerts of one exchange, and of the labels that both metrics have."""
    found = []
    for rule in rule_set.enabled:
        for name in rule.inhibited_by:
            source = rule_set.rules[name]
            shared = [one for one in METRICS[source.metric].labels if one in METRICS[rule.metric].labels]
            found.append(
                InhibitRule(
                    (Matcher("rule", "=", name),), (Matcher("rule", "=", rule.name),), ("exchange", *shared)
                )
            )
    return found


def standing_of(rule_set: RuleSet, judgements: Sequence[Judgement], now: datetime) -> Standing:
    """How alerts would stand if these judgements were the first: for a look that tells nobody."""
    step = advance(now, [], findings_of(judgements), runs_of(judgements))
    alerts = sorted(step.alerts, key=_order)
    inhibiting = inhibit_rules(rule_set)
    muted = {
        alert.fingerprint: Muted(inhibitors=tuple(found))
        for alert in alerts
        if (found := inhibitors_of(alert, alerts, inhibiting))
    }
    return Standing(alerts, muted)


@contextmanager
def opened_engine(settings: Settings, rule_set: RuleSet) -> Iterator[tuple[AlertEngine, Configured]]:
    """The alert engine of a lake, and its receivers.

    Raises:
        MonitorsUnavailableError: Its store cannot be opened.
        SettingsError: A receiver is not valid.
    """
    configured = configured_receivers(settings)
    source = {"host": socket.gethostname(), "lake": str(settings.root.absolute())}
    with AlertStore(settings.root / FILE_NAME) as store:
        engine = AlertEngine(store, configured.subscriptions, inhibit_rules(rule_set), source=source)
        yield engine, configured


def tell(
    settings: Settings,
    rule_set: RuleSet,
    judgements: Sequence[Judgement],
    now: datetime,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Standing:
    """Take a check into the states of the alerts, and tell the receivers what is due.

    Raises:
        MonitorsUnavailableError: The store cannot be read or written.
        SettingsError: A receiver is not valid.
    """
    with opened_engine(settings, rule_set) as (engine, configured):
        engine.observe(now, findings_of(judgements), runs_of(judgements))
        engine.retire(now, [rule.name for rule in rule_set.enabled])
        engine.notify(now)
        sent = dispatch(settings.root / FILE_NAME, configured.receivers, clock=clock)
        active = [alert for alert in engine.alerts() if alert.state is not AlertState.RESOLVED]
        problems = dict(sent.failed) | dict.fromkeys(sent.hanging, "it broke its own deadline")
        return Standing(active, engine.muted(now), problems)


@cache
def _sections() -> dict[str, str]:
    return runbook_sections()


def _to_do(rule: Rule) -> dict[str, str]:
    """What the runbook says to do: whoever gets the alert may have nothing else at hand."""
    found = _DO.search(_sections()[rule.runbook])
    return {"what_to_do": " ".join(found[1].split())} if found else {}


def _terms(rule: Rule) -> RuleTerms:
    return RuleTerms(
        rule.name, timedelta(seconds=rule.for_s), rule.severity, rule.no_data, rule.error, rule.runbook
    )


def _order(alert: Alert) -> tuple[bool, int, str]:
    return alert.state is not AlertState.FIRING, -alert.finding.severity, alert.fingerprint
