"""A small lake of one morning in which everything is well, for monitors to look at and tests to break.

Rows are made by hand and committed with `lake.append`; three underlyings of two exchanges, two expiries each.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.batches import sync
from catalog.calendar import SessionCalendar
from catalog.contracts import ATTRIBUTION, HEALTH_METRICS, OPTION_CHAIN, QUARANTINE, Contract
from catalog.database import opened_database
from lake.append import append
from lake.settings import Settings
from lake.spool import Entry, Spool
from monitors.drift import DriftScore
from monitors.drift_record import record

INDIA = timezone(timedelta(hours=5, minutes=30))
DAY = date(2026, 10, 26)
OPEN = datetime(2026, 10, 26, 9, 15, tzinfo=INDIA)
NOW = datetime(2026, 10, 26, 12, 0, 20, tzinfo=INDIA)
UNDERLYINGS = {"NIFTY": ("NSE", 25_000.0), "BANKNIFTY": ("NSE", 58_000.0), "SENSEX": ("BSE", 82_000.0)}
EXPIRIES = (date(2026, 10, 27), date(2026, 11, 3))
STRIKES = 5
SESSIONS_BEFORE = 14
PLENTY = (500_000_000_000, 250_000_000_000)
"""Total and free bytes of a disk with room."""

SUMMARY: dict[str, Any] = {
    "period_hours": 24,
    "data_quality": {
        "macro_availability_pct": 99.2, "depth_capture_success_rate": 100.0,
        "database_write_success_rate": 99.9,
    },
    "model_performance": {
        "total_signals": 330, "buy_signals": 66, "sell_signals": 66, "hold_signals": 198,
        "avg_confidence": 0.55,
    },
    "system_health": {"memory_usage_mb": 900.0, "error_rate": 0.0},
    "paper_trading": {"total_pnl": 1_200.0, "portfolio_constraint_violations": 1},
}  # fmt: skip

Rows = list[dict[str, Any]]


def at(hour: int, minute: int, second: int = 0) -> datetime:
    """A time of the session."""
    return datetime(DAY.year, DAY.month, DAY.day, hour, minute, second, tzinfo=INDIA)


def chain_rows(
    *, until: datetime = NOW, step: timedelta = timedelta(minutes=1), opening: datetime = OPEN
) -> Rows:
    """Chains of every underlying and expiry, every `step` from `opening`."""
    rows: Rows = []
    draws = np.random.default_rng(7)
    day = opening.astimezone(INDIA).date()
    moment, number = opening, 0
    while moment <= until:
        for symbol, (exchange, spot) in UNDERLYINGS.items():
            price = round(spot + float(draws.normal(0, 20)), 2)
            for expiry in EXPIRIES:
                for strike in range(STRIKES):
                    for option_type in ("CE", "PE"):
                        rows.append(
                            {
                                "date": day, "exchange": exchange, "event_time": moment,
                                "received_time": moment + timedelta(milliseconds=300), "symbol": symbol,
                                "expiry": expiry, "strike": spot + 100.0 * (strike - STRIKES // 2),
                                "option_type": option_type, "ltp": 100.0 + number, "bid": 99.0, "ask": 101.0,
                                "oi": 75 * 1000, "volume": 75 * number, "iv": 0.12,
                                "underlying_price": price, "source": "live", "dq_flags": 0,
                            }
                        )  # fmt: skip
        moment, number = moment + step, number + 1
    return rows


def summary_document(exchange: str, now: datetime, **figures: Any) -> dict[str, Any]:
    """A tracker's summary, with some figures changed."""
    document: dict[str, Any] = json.loads(json.dumps(SUMMARY))
    document |= {"exchange": exchange, "last_updated": now.isoformat()}
    for section in document.values():
        if isinstance(section, dict):
            section.update({name: value for name, value in figures.items() if name in section})
    return document


@dataclass
class HealthLake:
    """A lake, its settings, and hands to break it with.

    Attributes:
        folder: Holds the lake and what is beside it.
        further: Settings besides the folders.
    """

    folder: Path
    further: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        given = {
            "root": self.folder / "lake", "phase2_metrics_dir": self.folder / "metrics",
            "models_dir": self.folder / "models", **self.further,
        }  # fmt: skip
        return Settings(**given)

    def model(self) -> None:
        """A model of NSE in use, as far as monitors know one."""
        folder = self.settings.models_dir / "NSE" / "m1"
        folder.mkdir(parents=True)
        document = {
            "exchange": "NSE", "model_version": "m1", "created_at": (NOW - timedelta(days=3)).isoformat(),
            "dataset": {"name": "autumn", "content_digest": "0" * 64}, "symbols": ["NIFTY"],
            "features": [{"name": "vix"}],
        }  # fmt: skip
        (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")

    def contributions(self, *, first: date, sample: str, means: Sequence[float], sequence: int) -> None:
        """What the model's one feature added to BUY, on days in a row."""
        rows = [
            {"date": first + timedelta(days=number), "exchange": "NSE", "model_version": "m1",
             "event_time": datetime.combine(first + timedelta(days=number), NOW.timetz()), "sample": sample,
             "feature": "vix", "class": "BUY", "mean": mean, "mean_absolute": abs(mean), "std": 0.1,
             "row_count": 300}
            for number, mean in enumerate(means)
        ]  # fmt: skip
        self.commit(ATTRIBUTION, rows, sequence=sequence)

    def drift(self, *, first: datetime, missing: float, windows: int = 3) -> None:
        """Scores of the model's one feature, in half-hour windows from `first` on."""
        for number in range(windows):
            start = (first + number * timedelta(minutes=30)).astimezone(UTC)
            score = DriftScore(
                window_start=start, window_end=start + timedelta(minutes=30), date=DAY, exchange="NSE",
                symbol="NIFTY", feature="vix", method="missing", score=missing, threshold=0.2, p_value=None,
                effective_n=None, drifted=missing > 0.2, verdict="drift" if missing > 0.2 else "ok",
                row_count=30, dataset="autumn",
            )  # fmt: skip
            record(self.settings.lake, [score])

    def commit(self, contract: Contract, rows: Sequence[Mapping[str, Any]], *, sequence: int = 1) -> None:
        """One commit of a table, the catalog not told."""
        path = self.settings.lake.create(contract.spec)
        batch_id = f"{contract.table}-{sequence:012d}"
        table = pa.Table.from_pylist([{**row, "batch_id": batch_id} for row in rows], schema=contract.schema)
        note = {"batch_id": batch_id, "app_id": "test", "seq_first": sequence, "seq_last": sequence}
        append(path, contract.spec, table, stream="test", sequence=sequence, metadata=note)

    def mirror(self) -> None:
        with opened_database(self.settings.catalog) as engine:
            sync(self.settings.lake, engine)

    def summary(self, exchange: str, *, now: datetime = NOW, **figures: Any) -> Path:
        """Write a tracker's summary, a minute before now unless it says when."""
        path = self.settings.phase2_metrics_dir / f"{exchange}_summary.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = summary_document(exchange, now - timedelta(minutes=1), **figures)
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")
        return path

    def measured(self, values: Mapping[str, float], moment: datetime, *, exchange: str = "NSE") -> Rows:
        """Rows of `health_metrics`, as an earlier check would have left them."""
        day = moment.astimezone(INDIA).date()
        return [
            {"date": day, "exchange": exchange, "event_time": moment, "metric": name, "labels": "",
             "value": value, "unit": "x"}
            for name, value in values.items()
        ]  # fmt: skip

    def spool(self, app_id: str) -> Spool:
        return Spool(self.settings.lake.spools / f"{app_id}.db")

    def spool_rows(self, app_id: str, count: int, *, spooled: datetime, size: int = 8) -> None:
        """Rows that wait in a spool since some time; `size` random bytes each, so that nothing shrinks."""
        draws = np.random.default_rng(3)
        batch = pa.table({"event_time": pa.array([spooled] * count, pa.timestamp("us", tz="UTC")),
                          "symbol": ["NIFTY"] * count, "underlying_price": pa.nulls(count, pa.float64()),
                          "x": pa.array([draws.bytes(size) for _ in range(count)], pa.binary())})  # fmt: skip
        spool = self.spool(app_id)
        try:
            spool.put(
                [Entry("option_chain", "NSE", "option_chain", batch)],
                offered={("option_chain", "NSE"): count},
            )
        finally:
            spool.close()
        self.tamper(app_id, "UPDATE entries SET spooled_us = ?", int(spooled.timestamp() * 1e6))

    def tamper(self, app_id: str, statement: str, *values: Any) -> None:
        """Change a spool behind everybody's back."""
        db = sqlite3.connect(self.settings.lake.spools / f"{app_id}.db")
        try:
            db.execute(statement, values)
            db.commit()
        finally:
            db.close()


def history_rows(made: HealthLake, calendar: SessionCalendar, *, count: int = SESSIONS_BEFORE) -> Rows:
    """What checks around noon measured in the sessions before."""
    draws = np.random.default_rng(11)
    rows: Rows = []
    for exchange in ("NSE", "BSE"):
        for session in calendar.sessions(exchange, DAY - timedelta(days=40), DAY - timedelta(days=1))[
            -count:
        ]:
            for minutes in (-10, -5, 0, 5, 10):
                moment = session.open + (NOW - OPEN) + timedelta(minutes=minutes)
                values = {
                    "total_signals": round(330 + float(draws.normal(0, 20))),
                    "avg_confidence": 0.55 + float(draws.normal(0, 0.01)),
                    "buy_pct": 20 + float(draws.normal(0, 2)), "sell_pct": 20 + float(draws.normal(0, 2)),
                }  # fmt: skip
                rows += made.measured(values, moment.astimezone(UTC), exchange=exchange)
        rows += made.measured(
            {"dropped_rows": 0.0, "total_pnl": 1_000.0, "portfolio_constraint_violations": 1.0},
            at(10, 10).astimezone(UTC), exchange=exchange,
        )  # fmt: skip
    return rows


def build(folder: Path, *, change: Callable[[Rows], Rows] = lambda rows: rows) -> HealthLake:
    """The lake in which everything is well, but for what `change` does to the rows of its chains."""
    made = HealthLake(folder)
    made.commit(OPTION_CHAIN, change(chain_rows()))
    made.settings.lake.create(QUARANTINE.spec)
    made.commit(HEALTH_METRICS, history_rows(made, SessionCalendar.load()))
    for exchange in ("NSE", "BSE"):
        made.summary(exchange)
    made.model()
    made.drift(first=at(9, 15), missing=0.01, windows=2)
    about_nothing = [0.01, -0.01, 0.012, -0.008, 0.009, -0.011, 0.007, -0.01]
    made.contributions(first=DAY - timedelta(days=20), sample="training", means=about_nothing, sequence=1)
    made.contributions(first=DAY - timedelta(days=12), sample="session", means=about_nothing[:5], sequence=2)
    made.mirror()
    return made
