"""What every receiver is: something that takes one notification, or says why it did not."""

from __future__ import annotations

from typing import Protocol

from monitors.notification import Notification
from monitors.outbox import Failure


class Receiver(Protocol):
    """Takes notifications; used by one thread at a time.

    Its settings hold secrets, so neither its `repr`, nor its errors, nor what it logs may show them.
    """

    @property
    def name(self) -> str:
        """Its name in the settings, in subscriptions and in the outbox."""
        ...

    @property
    def deadline_s(self) -> float:
        """The longest that one `send` lasts, whatever the other side does."""
        ...

    def send(self, notification: Notification) -> Failure | None:
        """Deliver one notification; return when the other side has it.

        Returns:
            None if it was taken, else how it failed. It does not raise for anything the other side does.
        """
        ...
