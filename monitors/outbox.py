"""The outbox: each notification stays here until its receiver took it.

What holds, whatever dies whenever:

* A notification is written in the transaction that notes that its receiver is told, so none is lost.
* It is sent until the receiver took it, or until it is given up, which is an alert.
* One dispatcher at a time sends to a receiver (a lease), in the order of writing within a group.
* `sending_at` is on the disk before an attempt. A process that dies between the receiver's taking and our
  noting it leaves it set, and the notification is sent again, with the same idempotency key: this, and an
  answer that got lost, are the only ways in which a receiver gets one twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from monitors.alert_store import AlertStore, from_us, to_us
from monitors.grouping import Group, Reason
from monitors.notification import Notification


@dataclass(frozen=True, slots=True)
class RetryTerms:
    """When a failed notification is tried again.

    Attributes:
        first: Delay after the first failure; doubles with each further one.
        longest: The most it grows to; below the distance of two one-shot runs, so that each of them tries.
        longest_retry_after: The most that a receiver's Retry-After is waited for.
        give_up_after: Age at which a failed attempt is the last.
    """

    first: timedelta = timedelta(seconds=10)
    longest: timedelta = timedelta(minutes=4)
    longest_retry_after: timedelta = timedelta(hours=1)
    give_up_after: timedelta = timedelta(hours=24)

    def delay(self, failures: int, retry_after: timedelta | None, jitter: float) -> timedelta:
        """How long to wait.

        Args:
            failures: In a row, at least 1.
            retry_after: What the receiver asked for.
            jitter: Between 0 and 1; takes up to half of the delay, so that many do not come back at once.
        """
        grown = min(self.longest, self.first * (1 << min(failures - 1, 20)))
        waited = grown * (1 - jitter / 2)
        return waited if retry_after is None else max(waited, min(retry_after, self.longest_retry_after))


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed.

    Attributes:
        error: For people; without any secret.
        unavailable: Whether the receiver as a whole does not take anything now, and not just this one.
        may_have_arrived: Whether the receiver may have taken it all the same.
        retry_after: What the receiver asked to be waited.
    """

    error: str
    unavailable: bool = True
    may_have_arrived: bool = False
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """How a receiver does.

    Attributes:
        name: Its name.
        queued: Notifications that wait for it.
        oldest: When the first of them was made.
        failing_since: First failure since it last took one.
        failures: In a row.
        last_error: Why the last attempt failed.
        last_success: When it last took one.
        blocked_until: It is not tried before.
        given_up: Notifications given up since it last took one, in the last 24 hours.
        last_given_up: When that was.
    """

    name: str
    queued: int
    oldest: datetime | None
    failing_since: datetime | None
    failures: int
    last_error: str | None
    last_success: datetime | None
    blocked_until: datetime | None
    given_up: int
    last_given_up: datetime | None


class Outbox:
    """The notifications of one store."""

    def __init__(self, store: AlertStore, terms: RetryTerms | None = None) -> None:
        self._store = store
        self.terms = terms or RetryTerms()

    def enqueue(self, now: datetime, key: str, group: Group, reason: Reason, payload: str) -> None:
        """Put one in; within a transaction of the store."""
        self._store.rows(
            "INSERT INTO outbox (key, receiver, group_key, reason, payload, created_at, state, next_try)"
            " VALUES (?, ?, ?, ?, ?, ?, 'queued', ?)",
            key, group.receiver, group.key, reason.value, payload, to_us(now), to_us(now),
        )  # fmt: skip

    def has_queued(self, group: Group) -> bool:
        """Whether a notification of a group still waits."""
        return bool(
            self._store.rows(
                "SELECT 1 FROM outbox WHERE receiver = ? AND state = 'queued' AND group_key = ? LIMIT 1",
                group.receiver, group.key,
            )
        )  # fmt: skip

    def lease(self, receiver: str, now: datetime, duration: timedelta) -> str | None:
        """Become the one who sends to a receiver; None if there is nothing to send, or somebody else is.

        Args:
            receiver: Name of the receiver.
            now: The time.
            duration: When others may take over: longer than an attempt lasts.
        """
        due = "SELECT 1 FROM outbox WHERE receiver = ? AND state = 'queued' AND next_try <= ? LIMIT 1"
        if not self._store.rows(due, receiver, to_us(now)):
            return None
        token = uuid.uuid4().hex
        with self._store.transaction() as db:
            db.execute("INSERT INTO receivers (name) VALUES (?) ON CONFLICT DO NOTHING", (receiver,))
            taken = db.execute(
                "UPDATE receivers SET lease = ?, leased_until = ?"
                " WHERE name = ? AND leased_until <= ? AND blocked_until <= ?",
                (token, to_us(now + duration), receiver, to_us(now), to_us(now)),
            )
            return token if taken.rowcount else None

    def release(self, receiver: str, token: str) -> None:
        """Let others send to a receiver."""
        with self._store.transaction() as db:
            db.execute(
                "UPDATE receivers SET lease = NULL, leased_until = 0 WHERE name = ? AND lease = ?",
                (receiver, token),
            )

    def take(
        self, receiver: str, token: str, now: datetime, duration: timedelta
    ) -> tuple[int, Notification] | None:
        """The next one to send, noted as being sent; the lease is renewed. None if there is none.

        Returns:
            Its number in the outbox, and what to send; None also without the lease.
        """
        with self._store.transaction() as db:
            held = db.execute(
                "UPDATE receivers SET leased_until = ? WHERE name = ? AND lease = ? AND blocked_until <= ?",
                (to_us(now + duration), receiver, token, to_us(now)),
            )
            if not held.rowcount:
                return None
            row = db.execute(
                "SELECT id, key, payload, attempts, sending_at FROM outbox AS o"
                " WHERE receiver = ? AND state = 'queued' AND next_try <= ? AND NOT EXISTS ("
                "  SELECT 1 FROM outbox AS earlier WHERE earlier.receiver = o.receiver"
                "  AND earlier.state = 'queued' AND earlier.group_key = o.group_key AND earlier.id < o.id)"
                " ORDER BY id LIMIT 1",
                (receiver, to_us(now)),
            ).fetchone()
            if row is None:
                return None
            number, key, payload, attempts, sending_at = row
            db.execute(
                "UPDATE outbox SET attempts = attempts + 1, sending_at = ? WHERE id = ?", (to_us(now), number)
            )
        return number, Notification(key, receiver, payload, attempts + 1, in_doubt=sending_at is not None)

    def delivered(self, number: int, now: datetime) -> None:
        """Note that the receiver took one; true whoever has the lease meanwhile."""
        at = to_us(now)
        with self._store.transaction() as db:
            db.execute(
                "UPDATE outbox SET state = 'delivered', closed_at = ?, sending_at = NULL, last_error = NULL"
                " WHERE id = ? AND state = 'queued'",
                (at, number),
            )
            receiver, group_key = self._whose(number)
            db.execute(
                "UPDATE receivers SET failing_since = NULL, failures = 0, last_error = NULL,"
                " blocked_until = 0, last_success = ? WHERE name = ?",
                (at, receiver),
            )
            # The next repeat counts from when people got to know.
            db.execute(
                "UPDATE told SET at = MAX(at, ?) WHERE receiver = ? AND group_key = ?",
                (at, receiver, group_key),
            )

    def failed(self, number: int, token: str, now: datetime, failure: Failure, jitter: float) -> None:
        """Note that an attempt failed, and when to try again; ignored if the lease was lost meanwhile."""
        at, terms = to_us(now), self.terms
        receiver, _ = self._whose(number)
        with self._store.transaction() as db:
            state = db.execute(
                "SELECT failures FROM receivers WHERE name = ? AND lease = ?", (receiver, token)
            ).fetchone()
            row = db.execute(
                "SELECT attempts, created_at FROM outbox WHERE id = ? AND state = 'queued'", (number,)
            ).fetchone()
            if state is None or row is None:
                return
            failures = state[0] + 1 if failure.unavailable else row[0]
            again = to_us(now + terms.delay(failures, failure.retry_after, jitter))
            db.execute(
                "UPDATE receivers SET failing_since = COALESCE(failing_since, ?), failures = failures + 1,"
                " last_error = ?, blocked_until = ? WHERE name = ?",
                (at, failure.error, again if failure.unavailable else 0, receiver),
            )
            db.execute(
                "UPDATE outbox SET last_error = ?, next_try = ?,"
                " sending_at = CASE WHEN ? THEN sending_at END WHERE id = ?",
                (failure.error, again, failure.may_have_arrived, number),
            )
            if now - from_us(row[1]) >= terms.give_up_after:
                self._give_up([number], now, failure.error)

    def withdraw(self, configured: Collection[str], now: datetime) -> None:
        """Give up what waits for receivers that the settings no longer have; within a transaction."""
        known = sorted(configured)
        marks = ", ".join("?" * len(known))
        waiting = self._store.rows(
            f"SELECT id FROM outbox WHERE state = 'queued' AND receiver NOT IN ({marks})", *known
        )
        self._give_up([number for (number,) in waiting], now, "the settings no longer have this receiver")
        self._store.rows(f"DELETE FROM receivers WHERE name NOT IN ({marks})", *known)

    def _give_up(self, numbers: Sequence[int], now: datetime, error: str) -> None:
        for number in numbers:
            receiver, group_key = self._whose(number)
            self._store.rows(
                "UPDATE outbox SET state = 'given_up', closed_at = ?, last_error = ? WHERE id = ?",
                to_us(now), error, number,
            )  # fmt: skip
            # Its receiver was not told, so what still fires is news to it.
            self._store.rows(
                "DELETE FROM told WHERE receiver = ? AND group_key = ? AND NOT EXISTS (SELECT 1 FROM outbox"
                " WHERE receiver = told.receiver AND group_key = told.group_key AND state = 'queued')",
                receiver, group_key,
            )  # fmt: skip

    def statuses(self, now: datetime) -> list[ReceiverStatus]:
        """How each receiver does that was ever sent to, or has something waiting, by name."""
        rows = self._store.rows(
            "SELECT name, (SELECT COUNT(*) FROM outbox WHERE receiver = name AND state = 'queued'),"
            " (SELECT MIN(created_at) FROM outbox WHERE receiver = name AND state = 'queued'),"
            " failing_since, COALESCE(failures, 0), last_error, last_success, NULLIF(blocked_until, 0),"
            " given_up, last_given_up"
            " FROM (SELECT name FROM receivers UNION SELECT DISTINCT receiver FROM outbox) AS names"
            " LEFT JOIN receivers USING (name) LEFT JOIN ("
            "  SELECT receiver AS name, COUNT(*) AS given_up, MAX(closed_at) AS last_given_up FROM outbox"
            "  WHERE state = 'given_up' AND closed_at > ? AND closed_at > COALESCE("
            "   (SELECT last_success FROM receivers AS r WHERE r.name = outbox.receiver), 0)"
            "  GROUP BY receiver) AS lost USING (name) ORDER BY name",
            to_us(now - timedelta(hours=24)),
        )
        return [
            ReceiverStatus(
                name, queued, _at(oldest), _at(failing_since), failures, last_error, _at(last_success),
                _at(blocked_until), given_up or 0, _at(last_given_up),
            )
            for (
                name, queued, oldest, failing_since, failures, last_error, last_success, blocked_until,
                given_up, last_given_up,
            ) in rows
        ]  # fmt: skip

    def _whose(self, number: int) -> tuple[Any, Any]:
        ((receiver, group_key),) = self._store.rows(
            "SELECT receiver, group_key FROM outbox WHERE id = ?", number
        )
        return receiver, group_key


def _at(at: int | None) -> datetime | None:
    return None if at is None else from_us(at)
