"""The health metrics: their names, units and meaning, and what a check measured of them.

Rules name these metrics, `health_metrics` keeps them, and evidence tells how to see them again. How each is
measured is a probe: `monitors.lake_probes` (SQL over the lake), `monitors.stream_probes` (spools, catalog,
disk, processes), `monitors.phase2` (summaries that trackers write).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monitors.alerts import LAKE

__all__ = ["LAKE", "METRICS", "Failure", "Metric", "Sample", "Shown", "label_text"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured.

    Attributes:
        name: Stable name, with its unit where a bare number would leave doubt.
        unit: Unit of the values.
        about: One line for a reader.
        labels: What tells its series apart, besides the exchange.
        of_lake: True if it concerns the lake and no exchange.
        everywhere: True if it is measured of each exchange and of the lake.
    """

    name: str
    unit: str
    about: str
    labels: tuple[str, ...] = ()
    of_lake: bool = False
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """How a measurement can be seen again in SQL.

    Attributes:
        sql: The statement, with `$name` parameters.
        parameters: Their values.
        versions: Version of each table it read.
        at: Version to bind all tables to, or the moment where several tables are read.
    """

    sql: str
    parameters: Mapping[str, Any]
    versions: Mapping[str, int]
    at: int | datetime


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric, measured once.

    Attributes:
        metric: Name of the metric.
        exchange: Exchange, or `LAKE`.
        value: What was measured, None where there was nothing to measure.
        labels: Of what it was measured, e.g. {"symbol": "NIFTY"}.
        why: Why there is no value.
        facts: What else the probe saw, for messages and evidence.
        shown: How to see it again in SQL, None for what is in no table.
    """

    metric: str
    exchange: str
    value: float | None
    labels: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    shown: Shown | None = None

    @property
    def label_text(self) -> str:
        """The labels as `health_metrics` has them: `expiry=2026-10-27,symbol=NIFTY`, sorted by name."""
        return label_text(self.labels)


@dataclass(frozen=True, slots=True)
class Failure:
    """A probe that could not run: its metrics are not known, which is not the same as fine.

    Attributes:
        probe: Name of the probe.
        exchange: Exchange, or `LAKE`.
        metrics: What it would have measured.
        error: What went wrong, one line.
    """

    probe: str
    exchange: str
    metrics: tuple[str, ...]
    error: str


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as text, sorted by name."""
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels))


_SYMBOL = ("symbol",)
_PERCENT, _SECONDS, _ROWS = "percent", "seconds", "rows"

_ALL = (
    # The feed.
    Metric("feed_age_s", _SECONDS, "age of the newest chain, spooled ones included; since the open at most"),
    Metric("feed_gap_s", _SECONDS, "longest pause between two chains that ended in the last half hour"),
    Metric("symbol_lag_s", _SECONDS, "how far an underlying is behind the newest chain", _SYMBOL),
    Metric("quiet_expiries", "expiries", "expiries whose chains stopped while others went on", _SYMBOL),
    Metric("price_frozen_s", _SECONDS, "how long the underlying's price did not move", _SYMBOL),
    Metric(
        "chain_completeness_pct", _PERCENT, "legs of the last chains, of the most within the hour",
        ("symbol", "expiry"),
    ),
    Metric("ltp_null_pct", _PERCENT, "recent rows without a last price"),
    Metric("oi_null_pct", _PERCENT, "recent rows without open interest"),
    Metric("underlying_null_pct", _PERCENT, "recent rows without the underlying's price"),
    Metric("one_sided_pct", _PERCENT, "recent strikes with a call and no put, or the reverse"),
    Metric("duplicate_pct", _PERCENT, "recent rows that a batch has twice"),
    Metric("lateness_s", _SECONDS, "95 of 100 recent rows were received within this of their event"),
    Metric("quarantine_rate_pct", _PERCENT, "recently received rows that went to quarantine"),
    # The stream from the app to the tables.
    Metric("ledger_difference_rows", _ROWS, "rows that were offered and are nowhere"),
    Metric("dropped_rows", _ROWS, "rows given up since the spools were made"),
    Metric("spooled_rows", _ROWS, "rows that wait to be committed"),
    Metric("writer_lag_s", _SECONDS, "how long the oldest spooled row has been waiting"),
    Metric("queue_used_pct", _PERCENT, "fullest queue in an app's memory, within ten seconds", of_lake=True),
    Metric("spool_used_pct", _PERCENT, "fullest spool, of raw_stream_spool_max_bytes", of_lake=True),
    Metric("writer_stopped", "0 or 1", "the app's spool is there and nobody commits it", of_lake=True),
    Metric(
        "registry_behind_commits", "commits", "commits that ml_feature_batches lacks", ("table",),
        of_lake=True,
    ),
    Metric("disk_free_pct", _PERCENT, "room left on the lake's disk", of_lake=True),
    Metric("disk_free_gb", "GB", "room left on the lake's disk", of_lake=True),
    # The monitors themselves.
    Metric("monitor_quiet_s", _SECONDS, "open market since a check was due and none came", of_lake=True),
    Metric("failed_probes", "probes", "measurements that could not be made", everywhere=True),
    # Trackers' summaries.
    Metric("summary_missing", "0 or 1", "there is no summary of the tracker"),
    Metric("summary_unreadable", "0 or 1", "the summary is half-written or no JSON object"),
    Metric("summary_bad_fields", "fields", "fields of the summary that are no possible value"),
    Metric("summary_age_s", _SECONDS, "age of the summary"),
    Metric("macro_availability_pct", _PERCENT, "updates for which macro data was there"),
    Metric("database_write_success_rate", _PERCENT, "the tracker's database writes that succeeded"),
    Metric("memory_usage_mb", "MB", "memory of the tracker"),
    Metric("error_rate", "errors an hour", "the tracker's errors"),
    # Signals and paper trading: from the lake's tables where they are, else from the summary.
    Metric("total_signals", "signals", "signals so far"),
    Metric("avg_confidence", "fraction", "mean confidence of the signals"),
    Metric("buy_pct", _PERCENT, "share of BUY among the signals"),
    Metric("sell_pct", _PERCENT, "share of SELL among the signals"),
    Metric("hold_pct", _PERCENT, "share of HOLD among the signals"),
    Metric("dominant_signal_pct", _PERCENT, "share of the commonest signal"),
    Metric("total_pnl", "rupees", "profit and loss of paper trading"),
    Metric("portfolio_constraint_violations", "violations", "broken limits of the portfolio so far"),
    # Drift.
    Metric("drifted_features", "features", "features whose values drifted from the training set"),
    Metric("attribution_drifted_features", "features", "features whose contributions to the model drifted"),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by name."""
