"""The state of the monitors in the text form of Prometheus, for `/metrics` and node_exporter.

Pure: what is told is handed in, `monitors.prometheus_state` finds it. What is not known has no line: no NaN,
no 0 and no value of long ago stands in its place.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from lake.app_queue import AppQueue
from monitors.alerts import Alert, AlertState, Outcome
from monitors.prometheus_names import EXPORTED, PREFIX

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of an HTTP answer with `render`'s text."""


@dataclass(frozen=True, slots=True)
class Value:
    """One health metric of one series.

    Attributes:
        metric: Its name in `monitors.metrics`.
        exchange: Exchange, or `LAKE`.
        value: In that metric's own unit.
        labels: Of what it was measured.
    """

    metric: str
    exchange: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleState:
    """How the last evaluation of a rule on an exchange ended.

    Attributes:
        rule: Name of the rule.
        exchange: Exchange, or `LAKE`.
        severity: Severity of the rule.
        outcome: How it ended.
    """

    rule: str
    exchange: str
    severity: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Exposed:
    """What is told.

    Attributes:
        now: The moment it is.
        values: Health metrics, each series once.
        checked_at: When the newest check looked at an exchange.
        open: Whether the session of an exchange runs.
        elapsed_s: Seconds since the open of today's session, for exchanges where it has begun.
        last_batch: When the newest micro-batch of a table was committed.
        alerts: Those that are pending or fire; resolved ones are left out.
        rules: Every rule that was ever evaluated.
        failed: What could not be looked at just now: (what, exchange).
        queues: Of apps that have one in their memory.
    """

    now: datetime
    values: Sequence[Value] = ()
    checked_at: Mapping[str, datetime] = field(default_factory=dict)
    open: Mapping[str, bool] = field(default_factory=dict)
    elapsed_s: Mapping[str, float] = field(default_factory=dict)
    last_batch: Mapping[str, datetime] = field(default_factory=dict)
    alerts: Sequence[Alert] = ()
    rules: Sequence[RuleState] = ()
    failed: Sequence[tuple[str, str]] = ()
    queues: Sequence[AppQueue] = ()


def render(exposed: Exposed) -> bytes:
    """The text, UTF-8; see `CONTENT_TYPE`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(exposed))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are checked when they are collected."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family that has a series."""
        one = self._exposed
        families = [*_values(one), *_alerts(one), *_rules(one)]
        families += [
            _gauge(
                "check_age_seconds", "Age of the newest health check of an exchange", ("exchange",),
                {(name,): (one.now - at).total_seconds() for name, at in one.checked_at.items()},
            ),
            _gauge(
                "session_open", "Whether the session of an exchange runs; of LAKE, any", ("exchange",),
                {(name,): float(is_open) for name, is_open in one.open.items()},
            ),
            _gauge(
                "session_elapsed_seconds", "Time since the open of today's session, once it has begun",
                ("exchange",), {(name,): value for name, value in one.elapsed_s.items()},
            ),
            _gauge(
                "last_batch_timestamp_seconds", "When the newest micro-batch of a table was committed",
                ("table",), {(name,): at.timestamp() for name, at in one.last_batch.items()},
            ),
            *_queues(one),
            _gauge(
                "scrape_probe_failed", "1 for what could not be looked at for this answer",
                ("probe", "exchange"), dict.fromkeys(one.failed, 1.0),
            ),
        ]  # fmt: skip
        return (family for family in families if family.samples)


def _values(exposed: Exposed) -> Iterator[Metric]:
    by_metric: dict[str, list[Value]] = {}
    for value in exposed.values:
        if math.isfinite(value.value):
            by_metric.setdefault(value.metric, []).append(value)
    for name, values in by_metric.items():
        exported = EXPORTED[name]
        kind = CounterMetricFamily if exported.is_counter else GaugeMetricFamily
        family = kind(exported.name, exported.help, labels=exported.labels)
        for one in values:
            labels = [one.exchange, *(one.labels[label] for label in exported.metric.labels)]
            family.add_metric(labels, one.value * exported.scale)
        yield family


def _queues(exposed: Exposed) -> Iterator[Metric]:
    """What waits in the memory of apps; of an app that is silent only since when."""
    known = {(one.app_id,): queue for one in exposed.queues if (queue := one.known(exposed.now)) is not None}
    yield _gauge(
        "app_running", "Whether the tap of an app runs", ("app",),
        {(one.app_id,): float(one.runs) for one in exposed.queues},
    )  # fmt: skip
    yield _gauge(
        "app_heard_age_seconds", "Time since a running app told of its queue; it does so once a second",
        ("app",),
        {(one.app_id,): (exposed.now - one.told_at).total_seconds()
         for one in exposed.queues if one.runs and one.told_at is not None},
    )  # fmt: skip
    yield _gauge(
        "queue_updates", "Updates that wait in an app's memory, not yet in its spool", ("app",),
        {key: float(queue.waiting) for key, queue in known.items()},
    )  # fmt: skip
    yield _gauge(
        "queue_highest_updates", "The most that waited there within ten seconds", ("app",),
        {key: float(queue.highest) for key, queue in known.items()},
    )  # fmt: skip
    yield _gauge(
        "queue_capacity_updates", "Updates that fit there; beyond them the oldest go", ("app",),
        {key: float(queue.capacity) for key, queue in known.items()},
    )  # fmt: skip


def _alerts(exposed: Exposed) -> Iterator[Metric]:
    counts: dict[tuple[str, ...], float] = {}
    for rule in exposed.rules:
        # A 0 where it is known, so that an alert is seen to come and to go.
        if rule.outcome is Outcome.EVALUATED:
            counts[rule.rule, rule.exchange, rule.severity, AlertState.FIRING.value] = 0.0
            counts[rule.rule, rule.exchange, rule.severity, AlertState.PENDING.value] = 0.0
    for alert in exposed.alerts:
        if alert.state is AlertState.RESOLVED:
            continue
        state = "held" if alert.held else alert.state.value
        key = (alert.finding.rule, alert.exchange, alert.finding.severity.name, state)
        counts[key] = counts.get(key, 0.0) + 1.0
    yield _gauge(
        "alerts", "Alerts by state; held ones fired before their rule was no longer looked at",
        ("rule", "exchange", "severity", "state"), counts,
    )  # fmt: skip


def _rules(exposed: Exposed) -> Iterator[Metric]:
    outcomes: dict[tuple[str, ...], float] = {
        (one.rule, one.exchange, one.outcome.value): 1.0 for one in exposed.rules
    }
    yield _gauge(
        "rule_outcome", "1 for how the rule's last evaluation ended; off while it is not looked at",
        ("rule", "exchange", "outcome"), outcomes,
    )  # fmt: skip


def _gauge(
    name: str, about: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, about, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family
