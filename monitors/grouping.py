"""Who is told of what, and when: subscriptions, groups and their intervals, after Alertmanager.

A group is the alerts of equal `group_by` labels that go to one receiver. It is looked at first `group_wait`
after its first alert, then every `group_interval`; a look notifies if there is news, or if `repeat_interval`
has passed. So a repeat waits for the next look.

https://prometheus.io/docs/alerting/latest/configuration/#route
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from monitors.alerts import Alert, AlertState, Severity
from monitors.matchers import Matcher, all_match

EMPTY_GROUP_KEPT = timedelta(seconds=30)
"""How long a group stays whose alerts are all resolved; what fires meanwhile waits for its next look, so that
an alert which comes and goes is not told of at every turn. Alertmanager clears them up every 30 s."""


@dataclass(frozen=True, slots=True)
class GroupTerms:
    """How alerts are put together, and when they are told of.

    Alertmanager's defaults are 30 s, 5 min and 4 h. Here the alerts of one check come together, so waiting
    for more gains nothing, and would lose a whole run where a run is one shot every few minutes.

    Attributes:
        group_by: Labels (and `rule`, `severity`) whose values make a group.
        group_wait: From a group's first alert to the first look.
        group_interval: Between two looks.
        repeat_interval: The least between two notifications without news.
    """

    group_by: tuple[str, ...] = ("exchange", "rule")
    group_wait: timedelta = timedelta(0)
    group_interval: timedelta = timedelta(minutes=1)
    repeat_interval: timedelta = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one receiver is told of.

    Attributes:
        receiver: Name of the receiver.
        minimum_severity: The least bad it takes.
        tags: Takes alerts with one of these tags, and those without any; empty takes all.
        matchers: All must match.
        send_resolved: Whether it is told when alerts are resolved.
        reaches_people: False for the log file, which nobody is woken by.
        terms: How its alerts are put together.
    """

    receiver: str
    minimum_severity: Severity = Severity.INFO
    tags: tuple[str, ...] = ()
    matchers: tuple[Matcher, ...] = ()
    send_resolved: bool = True
    reaches_people: bool = True
    terms: GroupTerms = field(default_factory=GroupTerms)

    def takes(self, alert: Alert) -> bool:
        """Whether an alert is for this receiver, by the worst it has been."""
        tags = alert.finding.tags
        return (
            alert.peak >= self.minimum_severity
            and (not self.tags or not tags or not set(tags).isdisjoint(self.tags))
            and all_match(self.matchers, alert.match_labels)
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that one receiver is told of together.

    Attributes:
        receiver: Name of the receiver.
        labels: Its `group_by` labels.
        next_look: When it is looked at.
        looked: Whether it was looked at before.
        emptied_at: Since when all its alerts are resolved and told of.
        members: Fingerprints.
    """

    receiver: str
    labels: tuple[tuple[str, str], ...]
    next_look: datetime
    looked: bool = False
    emptied_at: datetime | None = None
    members: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Name of the group within its receiver."""
        return json.dumps(dict(self.labels), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What a receiver was told of a group last; Alertmanager's notification log.

    Attributes:
        firing: Alerts that fired then, and how bad they were.
        resolved: Alerts that were resolved then.
        at: When it was sent; when the receiver took it, once it did.
    """

    firing: Mapping[str, Severity]
    resolved: frozenset[str]
    at: datetime


class Reason(StrEnum):
    """Why a group's receiver is told."""

    NEW = "new"
    WORSE = "worse"
    RESOLVED = "resolved"
    REPEAT = "repeat"


def group_labels(alert: Alert, terms: GroupTerms) -> tuple[tuple[str, str], ...]:
    """The labels by which an alert is grouped; those it lacks are left out."""
    labels = alert.match_labels
    return tuple((name, labels[name]) for name in terms.group_by if name in labels)


def put_into_groups(
    now: datetime,
    alerts: Iterable[Alert],
    groups: Iterable[Group],
    subscriptions_of: Mapping[str, Sequence[Subscription]],
) -> dict[tuple[str, str], Group]:
    """Put firing alerts into the groups of their receivers.

    Args:
        now: The time.
        alerts: All that are known; those that do not fire are passed over.
        groups: Those that are there.
        subscriptions_of: Who takes an alert, by fingerprint.

    Returns:
        All groups, by receiver and key.
    """
    found = {(group.receiver, group.key): group for group in groups}
    for alert in alerts:
        if alert.state is not AlertState.FIRING or alert.starts_at is None:
            continue
        for subscription in subscriptions_of.get(alert.fingerprint, ()):
            terms = subscription.terms
            new = Group(subscription.receiver, group_labels(alert, terms), now + terms.group_wait)
            group = found.get((new.receiver, new.key), new)
            if group.emptied_at is not None and now - group.emptied_at >= EMPTY_GROUP_KEPT:
                group = new
            members = group.members | {alert.fingerprint}
            group = replace(group, members=members, emptied_at=None)
            if not group.looked and alert.starts_at + terms.group_wait < group.next_look:
                # It has been firing for long enough: the receiver is new, or the process was away.
                group = replace(group, next_look=max(now, alert.starts_at + terms.group_wait))
            found[group.receiver, group.key] = group
    return found


def reason_to_tell(
    now: datetime,
    told: Told | None,
    alerts: Sequence[Alert],
    subscription: Subscription,
    *,
    undelivered: bool = False,
) -> Reason | None:
    """Why a receiver is to be told of its group now, None if it is not.

    Args:
        now: The time.
        told: What it was told last.
        alerts: The group's alerts that are not muted, firing or resolved.
        subscription: The receiver's.
        undelivered: Whether an earlier notification of the group is still on its way; then there is
            nothing to repeat.
    """
    firing = {alert.fingerprint: alert for alert in alerts if alert.state is AlertState.FIRING}
    resolved = {alert.fingerprint for alert in alerts if alert.state is AlertState.RESOLVED}
    known = {} if told is None else told.firing
    unseen = [alert for alert in firing.values() if not alert.is_acknowledged]
    if any(alert.fingerprint not in known for alert in unseen):
        return Reason.NEW
    if any(alert.finding.severity > known[alert.fingerprint] for alert in unseen):
        return Reason.WORSE
    if told is None:
        return None
    if not firing:
        return Reason.RESOLVED if known else None
    if subscription.send_resolved and not resolved <= told.resolved:
        return Reason.RESOLVED
    if unseen and not undelivered and told.at < now - subscription.terms.repeat_interval:
        return Reason.REPEAT
    return None
