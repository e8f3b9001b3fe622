"""The ledger of a lake: what became of every row that was offered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from lake.app_queue import AppQueue, app_queue
from lake.spool import Spool
from lake.table import Lake


def ledger(lake: Lake, *, by_app: bool = False) -> list[dict[str, Any]]:
    """Rows by table and exchange (and app id): offered = spooled + committed + quarantined + dropped.

    Rejected rows are counted under the table they were meant for. What a running app holds in memory
    (a quarter of a second's worth) is not offered yet in this sense; `Spool.queue` tells how much that is.

    Raises:
        SpoolUnavailableError: A spool cannot be read.
    """
    totals: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in sorted(lake.spools.glob("*.db")):
        spool = Spool(path, read_only=True)
        try:
            rows = spool.ledger()
        finally:
            spool.close()
        for row in rows:
            head = {"app_id": path.stem} if by_app else {}
            head |= {"table": row.table, "exchange": row.group}
            counts = totals.setdefault(tuple(head.values()), dict(head))
            for name in ("offered", "spooled", "committed", "quarantined", "dropped"):
                counts[name] = counts.get(name, 0) + getattr(row, name)
    return [totals[key] for key in sorted(totals)]


def app_lines(lake: Lake, now: datetime) -> Iterator[str]:
    """What waits in the memory of each live app, a line for a person; apps that never told are left out.

    Raises:
        SpoolUnavailableError: A spool cannot be read.
    """
    for path in sorted(lake.spools.glob("*.db")):
        spool = Spool(path, read_only=True)
        try:
            app = app_queue(spool)
        finally:
            spool.close()
        if app is not None and app.told_at is not None:
            yield f"  app {app.app_id} {_queue_told(app, app.told_at, now)}"


def _queue_told(app: AppQueue, told_at: datetime, now: datetime) -> str:
    heard_s = max(0.0, (now - told_at).total_seconds())
    queue = app.known(now)
    if queue is None:
        return f"{'is silent' if app.runs else 'does not run'}: last heard {heard_s:,.0f} s ago"
    return (
        f"holds {queue.waiting:,} updates in memory, at most {queue.highest:,} of {queue.capacity:,} of late;"
        f" heard {heard_s:.1f} s ago"
    )
