"""Sending what is in the outbox: every receiver in a thread of its own, so that none waits for another."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lake.errors import MonitorsUnavailableError
from monitors.alert_store import AlertStore
from monitors.outbox import Failure, Outbox, RetryTerms
from monitors.receivers.receiver import Receiver

logger = logging.getLogger(__name__)

LEASE_MARGIN_S = 15.0
"""How much longer than an attempt's deadline a lease lasts."""

BUDGET_S = 30.0
"""After this, no further attempt is begun in one dispatch; what still waits is sent in the next."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one dispatch did.

    Attributes:
        delivered: Keys of the notifications that were taken, by receiver.
        failed: Why the last attempt failed, by receiver.
        hanging: Receivers that broke their own deadline and were left behind.
    """

    delivered: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    hanging: list[str] = field(default_factory=list)


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def dispatch(
    path: Path,
    receivers: Sequence[Receiver],
    *,
    clock: Callable[[], datetime] = utc_now,
    jitter: Callable[[], float] = random.random,
    terms: RetryTerms | None = None,
    budget_s: float = BUDGET_S,
) -> Dispatched:
    """Try each receiver's due notifications once, in their order, all receivers at the same time.

    Two dispatches at once do not send twice: whoever has a receiver's lease sends. A receiver that takes
    nothing is not tried further in this dispatch. Lasts no longer than `budget_s` and the longest deadline.

    Args:
        path: The store.
        receivers: Those of the settings.
        clock: The time that is written down.
        jitter: Between 0 and 1, see `RetryTerms.delay`.
        terms: When failed ones are tried again.
        budget_s: After this, no further attempt is begun.

    Raises:
        MonitorsUnavailableError: The store cannot be read or written. Nothing is lost, but a notification may
            have been sent without our noting it, and will be sent again.
    """
    done = Dispatched()
    lanes = [_Lane(path, receiver, clock, jitter, terms, budget_s) for receiver in receivers]
    for lane in lanes:
        lane.thread.start()
    end = time.monotonic() + budget_s + max((r.deadline_s for r in receivers), default=0) + LEASE_MARGIN_S
    for lane in lanes:
        lane.thread.join(max(0.0, end - time.monotonic()))
    for lane in lanes:
        name = lane.receiver.name
        if lane.delivered:
            done.delivered[name] = list(lane.delivered)
        if lane.failure is not None:
            done.failed[name] = lane.failure
        if lane.thread.is_alive():
            done.hanging.append(name)
    broken = next((lane.broken for lane in lanes if lane.broken is not None), None)
    if broken is not None:
        raise broken
    return done


class _Lane:
    """One receiver's thread; a daemon, so that one that hangs does not keep the process from ending."""

    def __init__(
        self, path: Path, receiver: Receiver, clock: Callable[[], datetime], jitter: Callable[[], float],
        terms: RetryTerms | None, budget_s: float,
    ) -> None:  # fmt: skip
        self.receiver = receiver
        self.delivered: list[str] = []
        self.failure: str | None = None
        self.broken: MonitorsUnavailableError | None = None
        self._path, self._clock, self._jitter, self._terms = path, clock, jitter, terms
        self._budget_s = budget_s
        self._lease = timedelta(seconds=receiver.deadline_s + LEASE_MARGIN_S)
        self.thread = threading.Thread(target=self._run, name=f"notify {receiver.name}", daemon=True)

    def _run(self) -> None:
        try:
            with AlertStore(self._path) as store:
                self._send_all(Outbox(store, self._terms))
        except MonitorsUnavailableError as error:
            self.broken = error

    def _send_all(self, outbox: Outbox) -> None:
        name = self.receiver.name
        token = outbox.lease(name, self._clock(), self._lease)
        if token is None:
            return
        end = time.monotonic() + self._budget_s
        while time.monotonic() < end and self._send_next(outbox, token):
            pass
        outbox.release(name, token)

    def _send_next(self, outbox: Outbox, token: str) -> bool:
        """Send one; False if there is none, or the receiver takes nothing now."""
        name = self.receiver.name
        taken = outbox.take(name, token, self._clock(), self._lease)
        if taken is None:
            return False
        number, notification = taken
        try:
            failure = self.receiver.send(notification)
        except Exception as error:  # noqa: BLE001 - whatever a receiver does, it is counted as a failure
            # Its text and its traceback may have secrets in them.
            failure = Failure(f"a mistake in the receiver ({type(error).__name__})", may_have_arrived=True)
        if failure is None:
            outbox.delivered(number, self._clock())
            self.delivered.append(notification.key)
            return True
        outbox.failed(number, token, self._clock(), failure, self._jitter())
        self.failure = failure.error
        logger.warning("notification not taken", extra={"receiver": name, "error": failure.error})
        return not failure.unavailable
