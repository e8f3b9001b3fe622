"""How the health metrics are called in Prometheus: base units in the names, and what to multiply by.

https://prometheus.io/docs/practices/naming/: seconds, bytes and ratios from 0 to 1; counters end in `_total`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitors.metrics import METRICS, Metric

PREFIX = "strikelake_"


@dataclass(frozen=True, slots=True)
class Exported:
    """A health metric as Prometheus has it.

    Attributes:
        metric: The metric.
        name: Its name there; of a counter without the `_total` that it is shown with.
        scale: A value times this is in the unit of that name.
        help: One line for a reader.
        is_counter: True if it only rises, but for starts anew.
    """

    metric: Metric
    name: str
    scale: float
    help: str
    is_counter: bool = False

    @property
    def series(self) -> str:
        """The name that a query uses."""
        return f"{self.name}_total" if self.is_counter else self.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its labels."""
        return ("exchange", *self.metric.labels)


# Unit of the metric: what its name ends in, what it ends in there, what to multiply by.
_UNITS: Mapping[str, tuple[str, str, float]] = {
    "seconds": ("_s", "_seconds", 1.0),
    "percent": ("_pct", "_ratio", 0.01),
    "fraction": ("", "_ratio", 1.0),
    "MB": ("_mb", "_bytes", 1e6),
    "GB": ("_gb", "_bytes", 1e9),
    "rupees": ("", "_rupees", 1.0),
}
_NAMES = {
    "database_write_success_rate": "database_write_success_ratio",
    "error_rate": "tracker_errors_per_second",
    "quarantine_rate_pct": "quarantine_ratio",
    "memory_usage_mb": "tracker_memory_bytes",
    # A name with "summary" in it would be taken for a metric of that type.
    "summary_missing": "tracker_report_missing",
    "summary_unreadable": "tracker_report_unreadable",
    "summary_bad_fields": "tracker_report_bad_fields",
    "summary_age_s": "tracker_report_age_seconds",
    "total_signals": "session_signals",
    "total_pnl": "paper_trading_pnl_rupees",
}
_SCALES = {"error_rate": 1 / 3600}
_COUNTERS = frozenset({"dropped_rows", "portfolio_constraint_violations"})


def _exported(metric: Metric) -> Exported:
    ending, base, scale = _UNITS.get(metric.unit, ("", "", 1.0))
    name = _NAMES.get(metric.name) or metric.name.removesuffix(ending) + base
    about = metric.about[0].upper() + metric.about[1:]
    return Exported(
        metric,
        PREFIX + name,
        _SCALES.get(metric.name, scale),
        f"{about} ({metric.name} of strikelake)",
        metric.name in _COUNTERS,
    )


EXPORTED: Mapping[str, Exported] = {name: _exported(metric) for name, metric in METRICS.items()}
"""Every health metric by its own name."""
