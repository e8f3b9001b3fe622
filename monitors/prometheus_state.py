"""Find what `/metrics` tells: what is cheap to look at is looked at now, the rest is of the newest check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.calendar import SessionCalendar
from lake.app_queue import AppQueue, app_queue
from lake.commit_log import read_commit, versions
from lake.errors import CatalogUnavailableError, SpoolUnavailableError, StrikelakeError, TableNotFoundError
from lake.session import Session
from lake.settings import Settings
from lake.spool import Spool
from lake.table import Lake
from monitors.alert_store import FILE_NAME, AlertStore
from monitors.alerts import Alert, AlertState
from monitors.lake_probes import health_query, lake_probes
from monitors.metrics import LAKE, METRICS
from monitors.probes import Measured, Surroundings, measure, moment_of
from monitors.prometheus import Exposed, RuleState, Value, render
from monitors.rules import RuleSet
from monitors.stream_probes import stream_probes

if TYPE_CHECKING:
    from sqlalchemy import Engine

OLD = timedelta(hours=2)
"""What a check measured counts as known for so long: between sessions there is a check every hour."""

_LOOK_BACK = timedelta(days=10)
_COMMITS_BACK = 20
# The catalog is not among them: opening it takes half a second.
_LIVE = frozenset({"feed", "ledger", "backlog", "spool size", "writer", "disk", "monitor"})
_COUNTED = "failed_probes"


@dataclass(frozen=True, slots=True)
class _Recorded:
    values: list[Value]
    checked_at: dict[str, datetime]


def exposition(
    settings: Settings, calendar: SessionCalendar, rules: RuleSet, *, now: datetime | None = None
) -> bytes:
    """The text of `/metrics`, see `monitors.prometheus`; what cannot be looked at is told as a failed probe.

    It reads only, takes a few hundredths of a second, and may be called from any thread.
    """
    return render(observe(settings, calendar, rules, now=now))


def observe(
    settings: Settings, calendar: SessionCalendar, rules: RuleSet, *, now: datetime | None = None
) -> Exposed:
    """What there is to tell.

    Args:
        settings: Folders and limits.
        calendar: The sessions.
        rules: The rules, for the exchanges that are watched.
        now: The moment it is, by default that of the machine's clock.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    failed: list[tuple[str, str]] = []
    bound: Session | StrikelakeError
    try:
        bound = Session(settings.lake)
    except StrikelakeError as error:
        bound = error
    try:
        live = _measured(settings, calendar, rules, bound, moment)
        recorded = _recorded(bound, calendar, moment, failed)
    finally:
        if isinstance(bound, Session):
            bound.close()
    failed += [(one.probe, one.exchange) for one in live.failures]
    alerts, states = _alerts(settings.root, rules, failed)
    queues = _queues(settings.lake, failed)
    is_open, elapsed_s = _sessions(live)
    return Exposed(
        moment, list(_together(live, recorded, moment)), recorded.checked_at, is_open, elapsed_s,
        _last_batches(settings.lake, failed), alerts, states, failed, queues,
    )  # fmt: skip


def _queues(lake: Lake, failed: list[tuple[str, str]]) -> list[AppQueue]:
    """The queues of all apps."""
    found = []
    for path in sorted(lake.spools.glob("*.db")):
        try:
            spool = Spool(path, read_only=True)
            try:
                found.append(app_queue(spool))
            finally:
                spool.close()
        except SpoolUnavailableError:
            failed.append(("queue", LAKE))
    return [one for one in found if one is not None]


def _measured(
    settings: Settings,
    calendar: SessionCalendar,
    rules: RuleSet,
    bound: Session | StrikelakeError,
    now: datetime,
) -> Measured:
    def no_catalog() -> Engine:
        raise CatalogUnavailableError("the catalog is not looked at here")

    around = Surroundings(settings, calendar, now, bound, now, no_catalog, rules.exchanges)
    return measure(around, [one for one in (*lake_probes(), *stream_probes()) if one.name in _LIVE])


def _recorded(
    bound: Session | StrikelakeError, calendar: SessionCalendar, now: datetime, failed: list[tuple[str, str]]
) -> _Recorded:
    found = _Recorded([], {})
    if isinstance(bound, StrikelakeError):
        if not isinstance(bound, TableNotFoundError):
            failed.append(("health_metrics", LAKE))
        return found
    if "health_metrics" not in bound.snapshots:
        return found
    first = moment_of(calendar, LAKE, now - _LOOK_BACK).date
    query = health_query("newest_check")
    try:
        rows = bound.table(query.sql, {"first_date": first, "now": now}).to_pylist()
    except StrikelakeError:
        failed.append(("health_metrics", LAKE))
        return found
    for row in rows:
        found.checked_at[row["exchange"]] = row["checked_at"].astimezone(UTC)
        labels = _labels(row)
        if labels is not None:
            found.values.append(Value(row["metric"], row["exchange"], float(row["value"]), labels))
    return found


def _labels(row: Mapping[str, Any]) -> dict[str, str] | None:
    """Labels of a recorded series; None for a metric that this release does not know so."""
    metric = METRICS.get(row["metric"])
    if metric is None:
        return None
    # By their names: a value may hold commas and equals signs itself.
    names = sorted(metric.labels)
    pattern = ",".join(f"{re.escape(name)}=(.*)" for name in names)
    match = re.fullmatch(pattern, row["labels"], re.DOTALL)
    return None if match is None else dict(zip(names, match.groups(), strict=True))


def _together(live: Measured, recorded: _Recorded, now: datetime) -> Iterator[Value]:
    """What was measured now, and of all else what the newest check found, if that is not long ago."""
    # That a live one has no value now, or failed, is newer than what a check found.
    told = {(sample.metric, sample.exchange) for sample in live.samples}
    told |= {(metric, failure.exchange) for failure in live.failures for metric in failure.metrics}
    for sample in live.samples:
        if sample.value is not None and sample.metric != _COUNTED:
            yield Value(sample.metric, sample.exchange, sample.value, sample.labels)
    for value in recorded.values:
        young = now - recorded.checked_at[value.exchange] <= OLD
        if young and (value.metric == _COUNTED or (value.metric, value.exchange) not in told):
            yield value


def _sessions(live: Measured) -> tuple[dict[str, bool], dict[str, float]]:
    moments = {name: moment for name, moment in live.moments.items() if name != LAKE}
    is_open = {name: moment.is_open for name, moment in moments.items()}
    elapsed_s = {name: moment.since_open_s for name, moment in moments.items() if moment.has_opened}
    is_open[LAKE] = any(is_open.values())
    # Of an open session, if there is one: what is to wait for some time after the open is of that.
    of_open = [seconds for name, seconds in elapsed_s.items() if is_open[name]]
    if elapsed_s:
        elapsed_s[LAKE] = max(of_open or elapsed_s.values())
    return is_open, elapsed_s


def _alerts(root: Path, rules: RuleSet, failed: list[tuple[str, str]]) -> tuple[list[Alert], list[RuleState]]:
    path = root / FILE_NAME
    if not path.exists():
        return [], []
    try:
        with AlertStore(path) as store:
            alerts, runs = store.alerts(), store.last_runs()
    except StrikelakeError:
        failed.append(("alerts", LAKE))
        return [], []
    states = [
        RuleState(rule.name, exchange, rule.severity.name, runs[rule.name, exchange][1])
        for rule in rules.enabled
        for exchange in rule.exchanges
        if (rule.name, exchange) in runs
    ]
    return [one for one in alerts if one.state is not AlertState.RESOLVED], states


def _last_batches(lake: Lake, failed: list[tuple[str, str]]) -> dict[str, datetime]:
    """When the newest micro-batch of each table was committed, as far as the last commits tell."""
    found = {}
    for name, path in lake.tables().items():
        try:
            for version in reversed(versions(path)[-_COMMITS_BACK:]):
                commit = read_commit(path, version)
                if commit.batch.get("batch_id"):
                    found[name] = commit.time
                    break
        except (StrikelakeError, OSError):
            failed.append((f"log of {name}", LAKE))
    return found
