"""What a backfill left in a lake, read with deltalake and `sqlite3`, not through the code under test."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

# A leg that comes in alone is not judged with its chain.
NOT_JUDGED = frozenset({"dq_flags"})
# What differs between two loads of the same rows.
_OF_A_LOAD = frozenset({"batch_id", "received_time"})


def stored(root: Path, table: str, *, but: Collection[str] = ()) -> Counter[tuple[str, ...]]:
    """The rows of a table of `raw_stream`, without the columns `but` and those that tell of their load."""
    path = root / "raw_stream" / table
    rows: list[dict[str, Any]] = DeltaTable(str(path)).to_pyarrow_table().to_pylist() if path.exists() else []
    left_out = _OF_A_LOAD.union(but)
    return Counter(tuple(str(value) for name, value in row.items() if name not in left_out) for row in rows)


def check_books(root: Path) -> None:
    """The ledger of the backfill's spool balances for every table."""
    with closing(sqlite3.connect(root / "spool" / "backfill.db")) as db:
        books = db.execute(
            "SELECT offered = spooled + committed + quarantined + dropped, difference FROM ledger_balance"
        ).fetchall()
    assert books
    assert set(books) == {(1, 0)}
