"""What a day's checks measured, summed up once its session is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from lake.durability import replace_durably
from lake.output import to_json
from lake.session import Session
from lake.settings import Settings
from monitors.lake_probes import health_query

# What a person asks of a day first; everything is in the file.
_HEADLINES = (
    ("feed_gap_s", "highest"), ("chain_completeness_pct", "lowest"), ("quarantine_rate_pct", "highest"),
    ("dropped_rows", "last"), ("writer_lag_s", "highest"), ("total_signals", "last"),
    ("avg_confidence", "middle"), ("total_pnl", "last"), ("failed_probes", "highest"),
)  # fmt: skip


def summary_path(root: Path, exchange: str, day: date) -> Path:
    """Where the summary of a day is."""
    return root / "monitors" / "daily" / f"{day}_{exchange}.json"


def summary_exists(root: Path, exchange: str, day: date) -> bool:
    """Whether that day was summed up."""
    return summary_path(root, exchange, day).exists()


def day_summary(settings: Settings, exchange: str, day: date) -> Iterator[str]:
    """Write the summary of a day, and tell its headlines.

    Raises:
        StrikelakeError: What was measured cannot be read.
        OSError: The summary cannot be written.
    """
    with Session(settings.lake) as session:
        rows: list[dict[str, Any]] = session.table(
            health_query("day_summary").sql, {"exchange": exchange, "date": day}
        ).to_pylist()
    checks = max((row["measurements"] for row in rows if row["metric"] == "failed_probes"), default=0)
    document = {"exchange": exchange, "date": day, "checks": checks, "metrics": rows}
    path = summary_path(settings.root, exchange, day)
    replace_durably(path, to_json(document, zone=settings.timezone).encode())
    yield f"{exchange} {day}: {checks} checks, see {path}"
    for metric, which in _HEADLINES:
        found = [row for row in rows if row["metric"] == metric and row[which] is not None]
        if found:
            worst = min if which == "lowest" else max
            one = worst(found, key=lambda row: float(row[which]))
            where = f" ({one['labels']})" if one["labels"] else ""
            yield f"  {metric} {which} {one[which]:g} {one['unit']}{where}"
