"""The way from the app to the tables as it is now: spools, ledger, writer. Cheap enough for every second.

Read-only connections in WAL mode: they take no lock that the app or the writer waits for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lake.app_queue import AppQueue, app_queue
from lake.errors import SpoolUnavailableError
from lake.process_lock import is_held
from lake.spool import LedgerRow, Spool
from lake.table import Lake
from monitors.dashboard.passing_chains import PassingChain, PassingChains

RATE_WINDOW_S = 10.0
"""Events a second are those of the last ten: apps spool four times a second, feeds come in bursts."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Rows of one exchange, over all apps and tables; `difference` is nought or rows are lost.

    Attributes:
        reasons: Rows given up, by reason.
    """

    offered: int = 0
    spooled: int = 0
    committed: int = 0
    quarantined: int = 0
    dropped: int = 0
    difference: int = 0
    reasons: tuple[tuple[str, int], ...] = ()

    def plus(self, row: LedgerRow) -> Ledger:
        """With the rows of one more line."""
        return replace(
            self,
            offered=self.offered + row.offered, spooled=self.spooled + row.spooled,
            committed=self.committed + row.committed, quarantined=self.quarantined + row.quarantined,
            dropped=self.dropped + row.dropped, difference=self.difference + abs(row.difference),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the spools say of one exchange.

    Attributes:
        apps: Apps that have a spool with rows of this exchange.
        ledger: Rows of the exchange.
        waiting_since: When the oldest row that waits was spooled.
        chains: The newest chain of each underlying that has passed the spools since this process looks.
        rows_per_s: Rows offered a second; None until two looks are far enough apart.
    """

    apps: tuple[str, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    waiting_since: datetime | None = None
    chains: Mapping[str, PassingChain] = field(default_factory=dict)
    rows_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """Who takes rows out of one app's spool.

    Attributes:
        app_id: The app.
        runs: Whether somebody commits its spool.
        used_bytes: Of the spool file.
    """

    app_id: str
    runs: bool
    used_bytes: int


@dataclass(frozen=True, slots=True)
class StreamLook:
    """What all spools say at one moment.

    Attributes:
        exchanges: By exchange.
        writers: By app.
        queues: Of apps that have one in their memory.
        problem: Why a spool could not be read; what is said then does not count it.
    """

    exchanges: dict[str, StreamFacts]
    writers: tuple[Writer, ...] = ()
    queues: tuple[AppQueue, ...] = ()
    problem: str = ""


class StreamWatch:
    """Looks at the spools again and again; remembers what was offered, for the rate. One look at a time."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._chains = PassingChains()
        self._offered: deque[tuple[float, dict[str, int]]] = deque()

    def look(self, exchanges: Sequence[str], now: datetime) -> StreamLook:
        """What the spools say now."""
        facts = {name: StreamFacts() for name in exchanges}
        writers, queues, problems = [], [], []
        for path in sorted(self._lake.spools.glob("*.db")):
            try:
                spool = Spool(path, read_only=True)
                try:
                    _add(facts, spool)
                    for name in exchanges:
                        self._chains.read(spool, name)
                    runs = is_held(self._lake.spools / f"{path.stem}.commit.lock")
                    writers.append(Writer(path.stem, runs, spool.used_bytes()))
                    queues.append(app_queue(spool))
                finally:
                    spool.close()
            except SpoolUnavailableError as error:
                problems.append(str(error))
        for name, found in facts.items():
            facts[name] = replace(found, chains=self._chains.newest(name, until=now))
        if not problems:
            self._rate(facts)
        known = tuple(one for one in queues if one is not None)
        return StreamLook(facts, tuple(writers), known, "; ".join(dict.fromkeys(problems)))

    def _rate(self, facts: dict[str, StreamFacts]) -> None:
        at = time.monotonic()
        offered = {name: found.ledger.offered for name, found in facts.items()}
        self._offered.append((at, offered))
        while len(self._offered) > 2 and at - self._offered[1][0] >= RATE_WINDOW_S:
            self._offered.popleft()
        first_at, first = self._offered[0]
        if at - first_at < 1.0:
            return
        for name, found in facts.items():
            # A spool that was made anew counts from nought.
            rate = max(0, offered[name] - first.get(name, 0)) / (at - first_at)
            facts[name] = replace(found, rows_per_s=rate if found.apps else None)


def _add(facts: dict[str, StreamFacts], spool: Spool) -> None:
    """Count one spool in."""
    drops = spool.drops()
    for row in spool.ledger():
        found = facts.get(row.group)
        if found is None:
            continue
        ledger = found.ledger.plus(row)
        reasons = dict(ledger.reasons)
        for (table, group, reason), rows in drops.items():
            if (table, group) == (row.table, row.group):
                reasons[reason] = reasons.get(reason, 0) + rows
        apps = tuple(dict.fromkeys([*found.apps, spool.path.stem]))
        facts[row.group] = replace(found, apps=apps, ledger=replace(ledger, reasons=tuple(reasons.items())))
    for waiting in spool.backlog():
        found = facts.get(waiting.group)
        if found is not None:
            since = datetime.fromtimestamp(waiting.oldest_us / 1e6, UTC)
            oldest = min(since, found.waiting_since) if found.waiting_since else since
            facts[waiting.group] = replace(found, waiting_since=oldest)
