"""Whether a source's connection is up: told when it changes, and to whom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """One connection as it is now.

    Attributes:
        source: Name of the live source, as in the column `source`.
        exchange: `NSE` or `BSE`.
        up: Whether data can come.
        since_ns: When that began, epoch nanoseconds.
        why: For a person: what ended or failed, without addresses and credentials.
    """

    source: str
    exchange: str
    up: bool
    since_ns: int
    why: str = ""


OnState = Callable[[ConnectionState], None]


class Connections:
    """Keeps the state of each connection of a source; tells it, and logs one line, when it changes.

    An exchange may come over several connections; it is up while all of them are, for with one missing
    the chains are not whole.
    """

    def __init__(self, source: str, on_state: OnState, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._on_state = on_state
        self._clock_ns = clock_ns
        self._lines: dict[str, dict[int, bool]] = {}
        self._told: dict[str, bool] = {}

    def expect(self, exchange: str, line: int) -> None:
        """Say that an exchange has this connection, before it is up for the first time."""
        self._lines.setdefault(exchange, {}).setdefault(line, False)

    def change(self, exchange: str, *, up: bool, why: str = "", line: int = 0) -> None:
        """Note what a connection is; nothing happens if the exchange's state stays as it was."""
        lines = self._lines.setdefault(exchange, {})
        lines[line] = up
        whole = all(lines.values())
        told = self._told.get(exchange)
        if told is whole or (told is None and up and not whole):
            # The second case: the first of several has come up, and nothing was told yet.
            return
        self._told[exchange] = whole
        state = ConnectionState(self._source, exchange, whole, self._clock_ns(), why)
        logger.info(
            "connection changed",
            extra={"action": "connection", "source": self._source, "exchange": exchange, "up": whole,
                   "why": why},
        )  # fmt: skip
        self._on_state(state)
