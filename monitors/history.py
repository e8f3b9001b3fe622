"""What metrics were before: in the last hours, and at this time of day in the sessions before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from monitors.lake_probes import health_query, shown
from monitors.metrics import Sample, Shown
from monitors.probes import Moment, Surroundings
from monitors.rules import Measure, Rule

AROUND = timedelta(minutes=15)
"""Measurements this near to the time of day count as of the same session phase."""

MAD_TO_STANDARD_DEVIATION = 1.4826
"""For a normal distribution: 1 / the 75 % quantile of the standard normal. Rousseeuw and Croux, Alternatives
to the Median Absolute Deviation, Journal of the American Statistical Association 88 (1993), p. 1273."""

_TABLE = "health_metrics"


@dataclass(frozen=True, slots=True)
class Derived:
    """What a rule compares with its threshold.

    Attributes:
        value: The number, None where there is none.
        why: Why there is none.
        facts: What it was made of, for messages and evidence.
        shown: How to see that again in SQL.
    """

    value: float | None
    why: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    shown: Shown | None = None


class History:
    """Earlier measurements, read once a check and exchange for all rules of a kind."""

    def __init__(self, around: Surroundings, rules: Sequence[Rule]) -> None:
        self._around = around
        self._rules = rules
        self._read: dict[tuple[str, ...], tuple[list[dict[str, Any]], Shown]] = {}

    def derive(self, rule: Rule, sample: Sample, moment: Moment) -> Derived:
        """What the rule compares: the value itself, or what comes of it and the earlier ones.

        Raises:
            StrikelakeError: The earlier ones cannot be read.
        """
        if sample.value is None:
            return Derived(None, sample.why)
        if rule.measure is Measure.VALUE:
            return Derived(sample.value)
        if _TABLE not in self._around.session.snapshots:
            return Derived(None, "nothing was recorded before")
        if rule.measure is Measure.DEVIATION:
            return self._deviation(rule, sample, sample.value, moment)
        return self._course(rule, sample, sample.value, moment)

    def _course(self, rule: Rule, sample: Sample, value: float, moment: Moment) -> Derived:
        since = moment.now - timedelta(seconds=rule.over_s)
        first = moment.previous.date if moment.previous else moment.date - timedelta(days=4)
        parameters = {
            "exchange": moment.exchange, "metrics": self._metrics(rule.measure), "first_date": first,
            "date": moment.date, "since": since.astimezone(UTC),
        }  # fmt: skip
        rows, how = self._rows("metric_course", parameters)
        mine = [row for row in rows if _is_of(row, sample) and row["event_time"] < moment.now]
        if rule.measure is Measure.CHANGE:
            # Another day's profit is another day's.
            mine = [row for row in mine if row["date"] == moment.date]
        if not mine:
            return Derived(None, "this is the first measurement", shown=how)
        course = [*(row["value"] for row in mine), value]
        if rule.measure is Measure.CHANGE:
            result = value - course[0]
        else:
            result = sum(max(0.0, later - earlier) for earlier, later in pairwise(course))
        from_time = mine[0]["event_time"].astimezone(UTC).isoformat()
        facts = {"current": value, "before": course[0], "from_time": from_time}
        return Derived(result, facts=facts, shown=how)

    def _deviation(self, rule: Rule, sample: Sample, value: float, moment: Moment) -> Derived:
        session = moment.session
        if session is None or session.kind != "regular":
            return Derived(None, "today's is no regular session")
        before = self._regular_sessions(moment, rule.sessions)
        if len(before) < rule.min_sessions:
            return Derived(None, f"the calendar has {len(before)} sessions before this one")
        at_s = int(moment.seen.timestamp()) % 86_400
        parameters = {
            "exchange": moment.exchange, "metrics": self._metrics(rule.measure), "first_date": before[0],
            "date": moment.date, "from_s": at_s - int(AROUND.total_seconds()),
            "until_s": at_s + int(AROUND.total_seconds()),
        }  # fmt: skip
        rows, how = self._rows("metric_history", parameters)
        chosen = set(before)
        known = [row["value"] for row in rows if _is_of(row, sample) and row["date"] in chosen]
        if len(known) < rule.min_sessions:
            told = f"{len(known)} sessions are recorded at this time of day, {rule.min_sessions} are needed"
            return Derived(None, told, shown=how)
        middle, spread = robust_spread(known)
        least = max(spread, rule.spread_floor * abs(middle))
        facts = {"current": value, "median": middle, "spread": least, "sessions": len(known)}
        if least == 0:
            # Always the same so far: any other value is infinitely far away.
            return Derived(0.0 if value == middle else None, "it never varied", facts, how)
        return Derived((value - middle) / least, facts=facts, shown=how)

    def _regular_sessions(self, moment: Moment, count: int) -> list[date]:
        """Dates of the regular sessions before, the newest `count`, oldest first."""
        # Exchanges are closed on fewer than one weekday in ten.
        days = count * 2 + 20
        found = self._around.calendar.sessions(
            moment.exchange, moment.date - timedelta(days=days), moment.date - timedelta(days=1)
        )
        return [session.date for session in found if session.kind == "regular"][-count:]

    def _metrics(self, measure: Measure) -> list[str]:
        return sorted({rule.metric for rule in self._rules if rule.measure is measure})

    def _rows(self, name: str, parameters: dict[str, Any]) -> tuple[list[dict[str, Any]], Shown]:
        key = (name, *(str(value) for value in parameters.values()))
        if key not in self._read:
            query = health_query(name)
            table = self._around.session.table(query.sql, parameters)
            self._read[key] = (table.to_pylist(), shown(self._around, query, parameters))
        return self._read[key]


def robust_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the median absolute deviation scaled to a standard deviation."""
    middle = median(values)
    return middle, MAD_TO_STANDARD_DEVIATION * median(abs(value - middle) for value in values)


def _is_of(row: dict[str, Any], sample: Sample) -> bool:
    return bool(row["metric"] == sample.metric and row["labels"] == sample.label_text)
