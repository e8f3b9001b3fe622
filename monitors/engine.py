"""The alert engine: from the findings of a check to notifications in the outbox.

    with AlertStore(root / FILE_NAME) as store:
        engine = AlertEngine(store, subscriptions, inhibit_rules)
        engine.observe(now, findings, runs)  # states, on the disk
        engine.notify(now)                   # what is due, into the outbox
    dispatch(path, receivers, ...)           # to the receivers, see monitors.dispatch

Each call is one transaction and takes the time as an argument. So it makes no difference whether one process
makes all the calls or a new one each: a run that dies between two of them is finished by the next.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lake.errors import AlertNotFoundError, SilenceNotFoundError
from monitors.alert_store import AlertStore
from monitors.alerts import (
    LAKE,
    Acknowledgement,
    Advance,
    Alert,
    AlertState,
    Finding,
    Outcome,
    RuleRun,
    Severity,
    Transition,
    advance,
    retire,
)
from monitors.delivery_rules import (
    DELIVERY_RULES,
    FAILING_FOR,
    delivery_runs,
    no_receiver_finding,
    receiver_findings,
    subscriptions_of,
)
from monitors.grouping import (
    EMPTY_GROUP_KEPT,
    Group,
    Reason,
    Subscription,
    Told,
    put_into_groups,
    reason_to_tell,
)
from monitors.inhibition import InhibitRule, inhibitors_of
from monitors.matchers import Matcher
from monitors.notification import payload_of
from monitors.outbox import Outbox
from monitors.silences import Silence, new_silence, silences_of

logger = logging.getLogger(__name__)

KEPT = timedelta(days=90)
"""How long resolved alerts, old silences, history and closed notifications are kept."""


@dataclass(frozen=True, slots=True)
class Muted:
    """Why nobody is told of an alert; falsy if everybody is.

    Attributes:
        silences: Ids of silences that match.
        inhibitors: Fingerprints of alerts that inhibit it.
        held: Its rule is not evaluated now.
    """

    silences: tuple[str, ...] = ()
    inhibitors: tuple[str, ...] = ()
    held: bool = False

    def __bool__(self) -> bool:
        return bool(self.silences or self.inhibitors or self.held)


@dataclass(frozen=True, slots=True)
class Enqueued:
    """One notification that was put into the outbox."""

    key: str
    receiver: str
    group: Mapping[str, str]
    reason: Reason
    alerts: tuple[Alert, ...]


class AlertEngine:
    """The rules of alerting, over one store; use it from one thread.

    Raises:
        MonitorsUnavailableError: From every method: nothing was changed, try again.
    """

    def __init__(
        self,
        store: AlertStore,
        subscriptions: Sequence[Subscription],
        inhibit_rules: Sequence[InhibitRule] = (),
        *,
        source: Mapping[str, str] | None = None,
        failing_for: timedelta = FAILING_FOR,
        new_key: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            store: Where state is.
            subscriptions: Who is told of what; at most one a receiver.
            inhibit_rules: What mutes what.
            source: Where notifications come from, for a reader: host, folder of the lake.
            failing_for: After how long a failing receiver is an alert.
            new_key: Makes idempotency keys, 32 hexadecimal digits.
        """
        self._store = store
        self._subscriptions = {s.receiver: s for s in subscriptions}
        if len(self._subscriptions) != len(subscriptions):
            raise ValueError("two subscriptions of one receiver")
        self._inhibit_rules = tuple(inhibit_rules)
        self._source = dict(source or {})
        self._failing_for = failing_for
        self._new_key = new_key
        self._outbox = Outbox(store)

    # Evaluating

    def observe(
        self, now: datetime, findings: Sequence[Finding], runs: Sequence[RuleRun]
    ) -> list[Transition]:
        """Take in one check: states change, and firing alerts go into their groups.

        Rules that were evaluated later than `now`, by another run that overtook this one, are passed over.

        Args:
            now: When the check looked, UTC.
            findings: What it found, of rules among `runs` only.
            runs: What it evaluated, once per (rule, exchange). Alerts of other rules and exchanges stay.

        Returns:
            The changes of state, those of the engine's own rules as well.

        Raises:
            ValueError: See `monitors.alerts.advance`.
        """
        with self._store.transaction():
            overtaken = self._store.newer_runs(now)
            fresh = [run for run in runs if (run.terms.name, run.exchange) not in overtaken]
            given = [f for f in findings if (f.rule, f.labels.get("exchange", "")) not in overtaken]
            if len(fresh) < len(runs):
                logger.warning("check overtaken by a later one", extra={"rules": len(runs) - len(fresh)})
            changes = self._take(now, advance(now, self._store.alerts(), given, fresh))
            self._outbox.withdraw(self._subscriptions, now)
            changes += self._take(now, self._own_rules(now))
            self._store.keep_runs(now, fresh)
            self._regroup(now)
            self._store.prune(now - KEPT)
        return changes

    def retire(self, now: datetime, known_rules: Sequence[str]) -> list[Transition]:
        """Resolve the alerts of rules that are no more."""
        with self._store.transaction():
            return self._take(now, retire(now, self._store.alerts(), [*known_rules, *DELIVERY_RULES]))

    def _own_rules(self, now: datetime) -> Advance:
        alerts = self._store.alerts()
        firing = [a for a in alerts if a.state is AlertState.FIRING and a.finding.rule not in DELIVERY_RULES]
        heard = subscriptions_of(firing, list(self._subscriptions.values()))
        unheard = [a for a in firing if not any(s.reaches_people for s in heard[a.fingerprint])]
        findings = receiver_findings(self._outbox.statuses(now), now, self._failing_for)
        return advance(now, alerts, findings + no_receiver_finding(unheard), delivery_runs())

    def _take(self, now: datetime, step: Advance) -> list[Transition]:
        for alert in step.alerts:
            self._store.keep_alert(alert)
        for mark in step.gone:
            self._store.forget_alert(mark)
        self._store.note(step.transitions)
        for t in step.transitions:
            logger.info(
                "alert changed",
                extra={
                    "rule": t.alert.finding.rule, "exchange": t.alert.exchange,
                    "before": t.before, "after": t.after, "at": now.isoformat(),
                },
            )  # fmt: skip
        return step.transitions

    def _regroup(self, now: datetime) -> None:
        alerts = self._store.alerts()
        takers = subscriptions_of(alerts, list(self._subscriptions.values()))
        before = self._store.groups()
        known = {(group.receiver, group.key): group for group in before}
        for place, group in put_into_groups(now, alerts, before, takers).items():
            if known.get(place) != group:
                self._store.keep_group(group)

    # Telling

    def notify(self, now: datetime) -> list[Enqueued]:
        """Look at the groups that are due, and put what is to be told into the outbox.

        Args:
            now: The time; groups whose look was due earlier are looked at once, now.
        """
        with self._store.transaction():
            alerts = {alert.fingerprint: alert for alert in self._store.alerts()}
            muted = {mark: why for mark, why in self._muted(alerts.values(), now).items() if why}
            due = [group for group in self._store.groups() if group.next_look <= now]
            told = [self._look(now, group, alerts, muted) for group in sorted(due, key=_order)]
        return [enqueued for enqueued in told if enqueued is not None]

    def next_due(self) -> datetime | None:
        """When the next group is to be looked at; None if there is none."""
        return min((group.next_look for group in self._store.groups()), default=None)

    def _look(
        self, now: datetime, group: Group, alerts: Mapping[str, Alert], muted: Mapping[str, Muted]
    ) -> Enqueued | None:
        """Look at one group, and forget those of its members that are resolved."""
        subscription = self._subscriptions.get(group.receiver)
        members = [alerts[mark] for mark in sorted(group.members) if mark in alerts]
        firing = frozenset(a.fingerprint for a in members if a.state is AlertState.FIRING)
        is_old = group.emptied_at is not None and now - group.emptied_at >= EMPTY_GROUP_KEPT
        if subscription is None or (not members and is_old):
            self._store.forget_group(group)
            return None
        enqueued = self._tell(now, group, [a for a in members if a.fingerprint not in muted], subscription)
        self._forget_unheard_ends(group, [a for a in members if a.fingerprint in muted])
        self._store.keep_group(
            replace(
                group,
                next_look=now + subscription.terms.group_interval,
                looked=True,
                members=firing,
                emptied_at=None if firing else group.emptied_at or now,
            )
        )
        return enqueued

    def _tell(
        self, now: datetime, group: Group, alerts: Sequence[Alert], subscription: Subscription
    ) -> Enqueued | None:
        if not alerts:
            return None  # all are muted, which says nothing about whether they are over
        undelivered = self._outbox.has_queued(group)
        before = self._store.told(group)
        reason = reason_to_tell(now, before, alerts, subscription, undelivered=undelivered)
        if reason is None:
            return None
        firing = {a.fingerprint: a.finding.severity for a in alerts if a.state is AlertState.FIRING}
        resolved = frozenset(a.fingerprint for a in alerts if a.state is AlertState.RESOLVED)
        self._store.keep_told(group, Told(firing, resolved, now))
        spoken = [a for a in alerts if subscription.send_resolved or a.state is AlertState.FIRING]
        if not spoken:
            return None
        key = self._new_key()
        payload = payload_of(key, now, group, reason, spoken, self._source)
        self._outbox.enqueue(now, key, group, reason, payload)
        return Enqueued(key, group.receiver, dict(group.labels), reason, tuple(spoken))

    def _forget_unheard_ends(self, group: Group, muted: Sequence[Alert]) -> None:
        """What is resolved while muted is news when it fires again; Alertmanager takes it for told of."""
        ended = {alert.fingerprint for alert in muted if alert.state is AlertState.RESOLVED}
        told = self._store.told(group)
        if told is not None and not ended.isdisjoint(told.firing):
            firing = {mark: severity for mark, severity in told.firing.items() if mark not in ended}
            self._store.keep_told(group, replace(told, firing=firing))

    # Looking

    def alerts(self) -> list[Alert]:
        """All alerts, worst first; resolved ones for as long as they are kept."""
        return self._store.alerts()

    def muted(self, now: datetime) -> dict[str, Muted]:
        """Why nobody is told of each alert, by fingerprint."""
        return self._muted(self._store.alerts(), now)

    def last_runs(self) -> dict[tuple[str, str], tuple[datetime, Outcome, str]]:
        """When each rule was evaluated last on each exchange, how that ended, and why."""
        return self._store.last_runs()

    def _muted(self, alerts: Iterable[Alert], now: datetime) -> dict[str, Muted]:
        listed = list(alerts)
        silences = [s for s in self._store.silences() if s.state(now) == "active"]
        return {
            alert.fingerprint: Muted(
                tuple(silences_of(alert, silences, now)),
                tuple(inhibitors_of(alert, listed, self._inhibit_rules)),
                alert.held,
            )
            for alert in listed
        }

    # What people do

    def silence(
        self,
        now: datetime,
        matchers: Sequence[Matcher],
        *,
        ends_at: datetime,
        author: str,
        comment: str,
        starts_at: datetime | None = None,
    ) -> Silence:
        """Mute alerts that match, see `monitors.silences.new_silence`.

        Raises:
            SettingsError: Something is missing or makes no sense.
        """
        made = new_silence(
            now, matchers, ends_at=ends_at, author=author, comment=comment, starts_at=starts_at
        )
        with self._store.transaction():
            self._store.keep_silence(made)
        return made

    def expire_silence(self, now: datetime, silence_id: str) -> Silence:
        """End a silence now.

        Raises:
            SilenceNotFoundError: There is none of that id that has not ended.
        """
        with self._store.transaction():
            for silence in self._store.silences():
                if silence.id == silence_id and silence.state(now) != "expired":
                    ended = replace(silence, starts_at=min(silence.starts_at, now), ends_at=now)
                    self._store.keep_silence(ended)
                    return ended
        raise SilenceNotFoundError(f"there is no silence {silence_id!r} that has not ended")

    def silences(self) -> list[Silence]:
        """All silences, oldest first; ended ones for as long as they are kept."""
        return self._store.silences()

    def acknowledge(self, now: datetime, fingerprint: str, *, author: str, comment: str = "") -> Alert:
        """Say that somebody has seen an alert: it does not repeat until resolved, or its severity rises.

        Args:
            now: The time.
            fingerprint: The alert's, or its beginning, if that is enough to tell it.
            author: Who has seen it.
            comment: What they do about it.

        Raises:
            AlertNotFoundError: No alert, or several, that are pending or firing have it.
        """
        with self._store.transaction():
            found = [
                alert
                for alert in self._store.alerts()
                if alert.state is not AlertState.RESOLVED and alert.fingerprint.startswith(fingerprint)
            ]
            if len(found) != 1 or not fingerprint:
                count = "no" if not found else "more than one"
                raise AlertNotFoundError(
                    f"{count} pending or firing alert has the fingerprint {fingerprint!r}"
                )
            (alert,) = found
            seen = Acknowledgement(author, comment, now, alert.finding.severity)
            alert = replace(alert, acknowledgement=seen)
            self._store.keep_alert(alert)
        return alert

    # Trying out

    def enqueue_test(self, now: datetime, receiver: str) -> Enqueued:
        """Put a notification into the outbox that says that it is a test; no alert and no group knows of it.

        Raises:
            KeyError: There is no such receiver.
        """
        subscription = self._subscriptions[receiver]
        finding = Finding(
            "receiver_test", {"exchange": LAKE, "receiver": receiver}, Severity.INFO, None,
            f"this is a test of receiver {receiver}; there is nothing to do",
        )  # fmt: skip
        alert = Alert(finding, AlertState.FIRING, Severity.INFO, now, now, None, now)
        labels = (("exchange", LAKE), ("rule", "receiver_test"))
        group, key = Group(subscription.receiver, labels, now), self._new_key()
        with self._store.transaction():
            payload = payload_of(key, now, group, Reason.NEW, [alert], self._source)
            self._outbox.enqueue(now, key, group, Reason.NEW, payload)
        return Enqueued(key, receiver, dict(labels), Reason.NEW, (alert,))


def _order(group: Group) -> tuple[datetime, str, str]:
    return group.next_look, group.receiver, group.key
