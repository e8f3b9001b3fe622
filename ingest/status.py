"""The ledger of a lake: what became of every row that was offered."""

from __future__ import annotations

from typing import Any

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
