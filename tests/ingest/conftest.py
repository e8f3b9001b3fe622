"""What the tests of the ingest core share: a lake in `tmp_path`, and looks at it from outside.

Rows are read back with deltalake and spools with `sqlite3`, not through the code under test.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from catalog.reference import ReferenceData
from lake.settings import Settings

EXPIRY = "2026-12-29"
PATIENCE_S = 60.0
COUNTS = ("offered", "spooled", "committed", "quarantined", "dropped", "difference")


@dataclass(frozen=True)
class LakeUnderTest:
    """A lake that commits only when asked to."""

    settings: Settings

    def but(self, **changes: Any) -> Settings:
        """Its settings with changes, validated."""
        return Settings(**{**self.settings.model_dump(exclude_unset=True), **changes})

    def spool(self, app_id: str = "live") -> Path:
        return self.settings.root / "spool" / f"{app_id}.db"

    def legs(self, first: int, count: int, **more: Any) -> list[dict[str, Any]]:
        """Legs whose strikes tell every row of a test from every other."""
        return [{"strike": float(first + i), "ltp": 1.5, "oi": 75, **more} for i in range(count)]

    def update(self, first: int, count: int = 1, **more: Any) -> dict[str, Any]:
        """Arguments of `StreamTap.offer`."""
        given = {"exchange": "NSE", "calls": self.legs(first, count), "puts": [], "symbol": "NIFTY"}
        return {**given, "expiry": EXPIRY, **more}

    def rows(self, table: str = "option_chain") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (
            DeltaTable(str(self.settings.root / "raw_stream" / table)).to_pyarrow_table().to_pylist()
        )
        return rows

    def strikes(self) -> list[float]:
        return sorted(row["strike"] for row in self.rows())

    def totals(self, table: str = "option_chain", app_id: str = "live") -> dict[str, int]:
        """The ledger view of one table, its exchanges added up, over a connection of its own."""
        db = sqlite3.connect(f"{self.spool(app_id).resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in COUNTS)
            found = db.execute(f"SELECT {sums} FROM ledger_balance WHERE table_name = ?", (table,)).fetchone()
        finally:
            db.close()
        return dict(zip(COUNTS, found, strict=True))

    def drops(self, app_id: str = "live") -> dict[str, int]:
        """Rows dropped by reason, counts of their quality left out."""
        db = sqlite3.connect(self.spool(app_id), timeout=30)
        try:
            return dict(
                db.execute(
                    "SELECT reason, SUM(rows) FROM drops WHERE table_name <> 'feed_quality' GROUP BY reason"
                )
            )
        finally:
            db.close()

    def wait(self, true: Callable[[], bool], *, until: str) -> None:
        """Poll, with a limit far beyond any machine's slowness."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            if time.monotonic() > deadline:
                pytest.fail(f"after {PATIENCE_S:.0f} s still not: {until}")
            time.sleep(0.01)


@pytest.fixture(scope="session")
def reference() -> ReferenceData:
    return ReferenceData.load()


@pytest.fixture
def lake(tmp_path: Path) -> LakeUnderTest:
    return LakeUnderTest(
        Settings(root=tmp_path / "lake", raw_stream_flush_seconds=3600, raw_stream_spool_seconds=0.02)
    )
