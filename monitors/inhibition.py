"""Inhibition: while one alert fires, others that follow from it are not told of.

Meaning after Alertmanager: a source inhibits while it fires, silenced or not; labels that neither has are
equal; an alert that is both source and target of a rule is not inhibited by another of that kind, so that two
cannot mute each other.

https://prometheus.io/docs/alerting/latest/configuration/#inhibition-related-settings
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from monitors.alerts import Alert, AlertState
from monitors.matchers import Matcher, all_match


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """Alerts that match `target` are muted while one that matches `source` fires, where `equal` is equal.

    A target must not fire before its source is found: give it a longer `for`.
    """

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ("exchange",)

    def is_source(self, alert: Alert) -> bool:
        """Whether an alert may inhibit others."""
        return all_match(self.source, alert.match_labels)

    def is_target(self, alert: Alert) -> bool:
        """Whether an alert may be inhibited."""
        return all_match(self.target, alert.match_labels)

    def inhibits(self, source: Alert, target: Alert) -> bool:
        """Whether one alert mutes another."""
        if source.state is not AlertState.FIRING or not self.is_source(source) or not self.is_target(target):
            return False
        if self.is_source(target) and self.is_target(source):
            return False
        given, wanted = source.match_labels, target.match_labels
        return all(given.get(name, "") == wanted.get(name, "") for name in self.equal)


def inhibitors_of(alert: Alert, alerts: Iterable[Alert], rules: Iterable[InhibitRule]) -> list[str]:
    """Fingerprints of the alerts that mute an alert."""
    rules = tuple(rules)
    return [source.fingerprint for source in alerts if any(rule.inhibits(source, alert) for rule in rules)]
