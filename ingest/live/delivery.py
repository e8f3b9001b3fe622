"""Hands what a live source brings over to the tap, and counts it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest.events import CHAIN_TABLE, ChainUpdate, Reject, legs_in
from ingest.live.connection import Connections, ConnectionState, OnState
from ingest.tap import StreamTap

logger = logging.getLogger(__name__)

_NO_SYMBOL = "UNKNOWN"


@dataclass(slots=True)
class LiveCounts:
    """What a run brought so far; what became of the rows is in the ledger.

    Attributes:
        chains: Chains handed to the tap.
        rows: Legs in them.
        rejected: Pieces of input handed over for quarantine, by reason.
        dropped: Messages given up unread, by reason.
        connects: How often a connection came up.
    """

    chains: int = 0
    rows: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    connects: int = 0


class Delivery:
    """The way from one live source to the tap; none of its methods waits or raises."""

    def __init__(self, tap: StreamTap, source: str, *, on_state: OnState | None = None) -> None:
        self.source = source
        self.counts = LiveCounts()
        self._tap = tap
        self._on_state = on_state
        self.connections = Connections(source, self._tell)

    def chain(self, update: ChainUpdate, received_ns: int) -> None:
        """Hand over a chain, received at that time; it is new by nature, so it carries no identity.

        The rows name this source; a leg that is rejected keeps its format's name, by which it is tried again.
        """
        update.received_ns = received_ns
        update.identity = None
        update.source = self.source
        self.counts.chains += 1
        self.counts.rows += legs_in(update.calls) + legs_in(update.puts)
        for reject in update.rejects:
            self._count_reject(reject.reason)
        self._tap.put(update)

    def reject(self, exchange: str, reject: Reject, received_ns: int) -> None:
        """Hand over input that is no chain, for quarantine."""
        self._count_reject(reject.reason)
        self._tap.put(
            ChainUpdate(exchange, _NO_SYMBOL, None, received_ns, source=self.source, rejects=(reject,))
        )

    def drop(self, exchange: str, reason: str) -> None:
        """Count a message given up unread: one piece of input in the ledger, however many rows it held."""
        self.counts.dropped[reason] = self.counts.dropped.get(reason, 0) + 1
        self._tap.count_lost(1, {(CHAIN_TABLE, exchange): 1}, reason)

    def summary(self) -> Mapping[str, Any]:
        """The counts as fields of a log line or of JSON."""
        counts = self.counts
        return {
            "source": self.source, "chains": counts.chains, "rows": counts.rows,
            "rejected": dict(counts.rejected), "dropped": dict(counts.dropped), "connects": counts.connects,
        }  # fmt: skip

    def _count_reject(self, reason: str) -> None:
        self.counts.rejected[reason] = self.counts.rejected.get(reason, 0) + 1

    def _tell(self, state: ConnectionState) -> None:
        if state.up:
            self.counts.connects += 1
        self._tap.connection(state.exchange, state.source, up=state.up)
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception:
                logger.exception("state could not be told", extra={"action": "connection"})
