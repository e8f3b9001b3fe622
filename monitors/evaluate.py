"""Hold the rules against what was measured: what is a breach, what is fine, and what is not known.

An outcome is one of five, and only one of them is a pass: a rule that is not looked at now, a metric without
a value and a measurement that could not be made are told apart from it.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lake.errors import StrikelakeError
from lake.settings import Settings
from monitors.alerts import Policy
from monitors.evidence import Recorded, evidence_of, plain_labels
from monitors.history import Derived, History
from monitors.metrics import LAKE, Sample
from monitors.probes import Measured, Moment
from monitors.rules import Phase, Rule


class Outcome(StrEnum):
    """What came of a rule.

    Attributes:
        OK: There is a value, and it is no breach.
        BREACH: It is one.
        NO_DATA: There is no value.
        ERROR: It could not be measured, or not be judged.
        NOT_NOW: The rule is not looked at in this phase of the day.
    """

    OK = "ok"
    BREACH = "breach"
    NO_DATA = "no_data"
    ERROR = "error"
    NOT_NOW = "not_now"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of a rule for one series of its metric.

    Attributes:
        rule: The rule.
        labels: Exchange and labels of the metric.
        outcome: What came of it.
        value: What was compared with the threshold.
        told: The alert's text for a breach, else why the outcome is what it is.
        evidence: What it rests on, unless it is a pass.
    """

    rule: Rule
    labels: Mapping[str, str]
    outcome: Outcome
    value: float | None = None
    told: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alerts(self) -> bool:
        """Whether it is an alert: a breach, or not known where the rule says that this is one."""
        policy = {Outcome.NO_DATA: self.rule.no_data, Outcome.ERROR: self.rule.error}.get(self.outcome)
        return self.outcome is Outcome.BREACH or policy is Policy.ALERT


def evaluate(
    rules: Sequence[Rule], measured: Measured, history: History, settings: Settings, recorded: Recorded
) -> list[Judgement]:
    """Judge every rule of every exchange that was measured, in the order of the rules.

    Args:
        rules: The rules that are on.
        measured: What was measured.
        history: What was measured before.
        settings: For the commands in the evidence.
        recorded: Where the measurements are kept.
    """
    judge = _Judge(measured, history, settings, recorded)
    return [
        judgement
        for rule in rules
        for exchange in rule.exchanges
        if exchange in measured.moments
        for judgement in judge.judge(rule, exchange)
    ]


def counts(judgements: Sequence[Judgement]) -> dict[str, int]:
    """How many rules had which outcome."""
    found = Counter(str(one.outcome) for one in judgements)
    return {str(outcome): found.get(str(outcome), 0) for outcome in Outcome}


class _Judge:
    def __init__(self, measured: Measured, history: History, settings: Settings, recorded: Recorded) -> None:
        self._measured = measured
        self._history = history
        self._settings = settings
        self._recorded = recorded

    def judge(self, rule: Rule, exchange: str) -> Iterator[Judgement]:
        labels = plain_labels(exchange, {})
        if not self._is_due(rule, exchange):
            yield Judgement(rule, labels, Outcome.NOT_NOW, told=f"looked at when {rule.phase}")
            return
        failure = self._measured.failure_of(rule.metric, exchange)
        samples = self._measured.of(rule.metric, exchange)
        if failure is not None and not any(sample.value is not None for sample in samples):
            yield self._unknown(rule, Sample(rule.metric, exchange, None), Outcome.ERROR, failure.error)
            return
        if not samples:
            samples = [Sample(rule.metric, exchange, None, why="nothing was measured")]
        for sample in samples:
            yield self._judge_sample(rule, sample)

    def _judge_sample(self, rule: Rule, sample: Sample) -> Judgement:
        moment = self._measured.moments[sample.exchange]
        try:
            derived = self._history.derive(rule, sample, moment)
        except StrikelakeError as error:
            return self._unknown(rule, sample, Outcome.ERROR, str(error))
        if derived.value is None:
            return self._unknown(rule, sample, Outcome.NO_DATA, derived.why)
        labels = plain_labels(sample.exchange, sample.labels)
        if not rule.breaches(derived.value):
            return Judgement(rule, labels, Outcome.OK, derived.value)
        told = self._text(rule, sample, derived)
        return Judgement(
            rule, labels, Outcome.BREACH, derived.value, told, self._evidence(rule, sample, derived)
        )

    def _unknown(self, rule: Rule, sample: Sample, outcome: Outcome, why: str) -> Judgement:
        """No value, or none that could be had; what that means is the rule's policy."""
        labels = plain_labels(sample.exchange, sample.labels)
        evidence = self._evidence(rule, sample, Derived(None, why)) | {"unknown": str(outcome), "why": why}
        return Judgement(rule, labels, outcome, None, why, evidence)

    def _evidence(self, rule: Rule, sample: Sample, derived: Derived) -> dict[str, Any]:
        found = evidence_of(
            self._settings, sample, self._measured.moments, self._recorded, history=derived.shown
        )
        found["values"] = found["values"] | derived.facts
        return found | {
            "rule": rule.name,
            "measure": str(rule.measure),
            "compared": derived.value,
            "comparison": rule.comparison,
            "threshold": rule.threshold,
            "measured_at": self._measured.moments[sample.exchange].now.isoformat(),
            "runbook": rule.runbook,
        }

    def _text(self, rule: Rule, sample: Sample, derived: Derived) -> str:
        probes = sample.facts.get("probes") or [{}]
        values = {
            **sample.facts, **derived.facts, **sample.labels, "exchange": sample.exchange,
            "value": derived.value, "threshold": rule.threshold, "metric": rule.metric,
            "first_error": probes[0].get("error", ""),
        }  # fmt: skip
        told = {name: "none" if value is None else value for name, value in values.items()}
        return _Forgiving().vformat(rule.summary, (), told)

    def _is_due(self, rule: Rule, exchange: str) -> bool:
        if rule.phase is Phase.ALWAYS:
            return True
        moments = [self._measured.moments[exchange]]
        if exchange == LAKE:
            moments = [moment for name, moment in self._measured.moments.items() if name != LAKE]
        if rule.phase is Phase.CLOSED:
            return not any(moment.is_open for moment in moments)
        return any(_is_begun(rule, moment) for moment in moments)


def _is_begun(rule: Rule, moment: Moment) -> bool:
    if rule.phase is Phase.OPEN and not moment.is_open:
        return False
    return moment.has_opened and moment.since_open_s >= rule.warmup_s


class _Forgiving(string.Formatter):
    """A user's template may name what a metric does not have: that must not cost the alert."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        del args
        return kwargs.get(str(key), "?")

    def format_field(self, value: Any, format_spec: str) -> str:
        try:
            return format(value, format_spec)
        except (ValueError, TypeError):
            return str(value)
