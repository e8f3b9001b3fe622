"""Alerts as serving tables, for `strikelake lake export`: how they stand, and every change.

The store forgets old changes; a target keeps those that it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from catalog.contracts import TIME, Column
from catalog.export import Mark, Reading, Source
from catalog.serving import ServingTable
from lake.settings import Settings
from monitors.alert_store import FILE_NAME, AlertStore, from_us
from monitors.alerts import Alert
from monitors.plain_json import json_text
from monitors.silences import Silence, silences_of

_DATE = Column("date", pa.date32(), "", "date of its time in the lake's zone", required=True)
_EXCHANGE = Column("exchange", pa.string(), "", "NSE, BSE, or LAKE for what is of no exchange", required=True)
_FINGERPRINT = Column("fingerprint", pa.string(), "", "identity of the alert", required=True)
_RULE = Column("rule", pa.string(), "", "name of the rule", required=True)
_SEVERITY = Column("severity", pa.string(), "", "as the last check found it", required=True)
_VALUE = Column("value", pa.float64(), "as the rule says", "what was measured; missing if it is no number")
_SUMMARY = Column("summary", pa.string(), "", "one line for people", required=True)

STATE_COLUMNS = (
    _DATE, _EXCHANGE, _FINGERPRINT, _RULE, Column("labels", pa.string(), "JSON", "its labels", required=True),
    Column("state", pa.string(), "", "pending, firing or resolved", required=True),
    _SEVERITY, Column("peak", pa.string(), "", "its worst severity since it began", required=True),
    _VALUE, _SUMMARY, Column("runbook", pa.string(), "", "section of the runbook", required=True),
    Column("active_since", TIME, "UTC", "when it was first found", required=True),
    Column("starts_at", TIME, "UTC", "when it fired; missing while pending"),
    Column("ends_at", TIME, "UTC", "when it was resolved"),
    Column("updated_at", TIME, "UTC", "when it was evaluated last", required=True),
    Column("held", pa.bool_(), "", "its rule is not being evaluated now", required=True),
    Column("acknowledged", pa.bool_(), "", "somebody has seen it as bad as it is now", required=True),
    Column("acknowledged_by", pa.string(), "", "who"),
    Column("acknowledged_at", TIME, "UTC", "when"),
    Column("acknowledged_comment", pa.string(), "", "what they said"),
    Column("silenced", pa.bool_(), "", "a silence mutes it at the time of the export", required=True),
    Column("silenced_until", TIME, "UTC", "when the last of those silences ends"),
    Column("silences", pa.string(), "", "their ids, by commas"),
)  # fmt: skip
"""Columns of `alert_states`: one row per fingerprint, replaced by each export."""

CHANGE_COLUMNS = (
    _DATE, _EXCHANGE, Column("event_time", TIME, "UTC", "when the check found the change", required=True),
    _FINGERPRINT, _RULE, Column("state_before", pa.string(), "", "missing for one that begins"),
    Column("state", pa.string(), "", "state after it; missing for one that is forgotten"), _SEVERITY, _VALUE,
    _SUMMARY, Column("why", pa.string(), "", "what brought the change", required=True),
)  # fmt: skip
"""Columns of `alerts`: one row per event_time, fingerprint and change."""

_STATES = ServingTable("alert_states", "", "active_since")
_CHANGES = ServingTable("alerts", "", "event_time")

_CHANGES_SQL = (
    "SELECT id, at, exchange, fingerprint, rule, state_before, state_after, severity, value, summary, why"
    " FROM transitions ORDER BY id"
)


def sources(settings: Settings) -> list[Source]:
    """What this room serves; the entry point of `strikelake.serving`."""
    path, zone = settings.lake.root / FILE_NAME, ZoneInfo(settings.timezone)
    return [AlertStates(path, zone), AlertChanges(path, zone)]


@dataclass(frozen=True, slots=True)
class AlertStates:
    """Alerts that are pending or firing, and those that were resolved of late.

    Attributes:
        path: The store.
        zone: Whose dates.
        clock: Says which silences hold.
    """

    path: Path
    zone: ZoneInfo
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    table: ServingTable = _STATES

    def read(self, mark: Mark | None) -> Reading | None:
        """All of them; the mark is a digest, since states go back and forth.

        Raises:
            MonitorsUnavailableError: The store cannot be read now.
        """
        del mark
        if not self.path.exists():
            return None
        now = self.clock()
        with AlertStore(self.path) as store, store.transaction():
            alerts, silences = store.alerts(), store.silences()
        rows = [_state(alert, silences, now, self.zone) for alert in alerts]
        digest = hashlib.sha256(json_text([{n: str(v) for n, v in row.items()} for row in rows]).encode())
        return Reading(_rows(rows, STATE_COLUMNS), Mark(digest.hexdigest(), len(rows), 0))


@dataclass(frozen=True, slots=True)
class AlertChanges:
    """Every change of an alert that the store still has.

    Attributes:
        path: The store.
        zone: Whose dates.
    """

    path: Path
    zone: ZoneInfo
    table: ServingTable = _CHANGES

    def read(self, mark: Mark | None) -> Reading | None:
        """All of its changes from the first time that the target may lack.

        Raises:
            MonitorsUnavailableError: The store cannot be read now.
        """
        if not self.path.exists():
            return None
        with AlertStore(self.path) as store:
            found = store.rows(_CHANGES_SQL)
        if not found:
            return None
        newest = Mark(_digest(found[-1]), found[-1][0], found[-1][1] // 1000)
        news = found
        if mark is not None:
            # A store that was lost and begun anew has another change under that number, or none.
            known = [one for one in found if one[0] == mark.version]
            if known and _digest(known[0]) == mark.source_id:
                news = [one for one in found if one[0] > mark.version] or known
        since = min(one[1] for one in news)  # a clock may have been set back
        rows = [_change(one, self.zone) for one in found if one[1] >= since]
        return Reading(_rows(rows, CHANGE_COLUMNS), newest, since=from_us(since))


def _digest(change: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr(change).encode()).hexdigest()


def _state(alert: Alert, silences: Sequence[Silence], now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    found, seen = alert.finding, alert.acknowledgement
    muting = silences_of(alert, silences, now)
    ends = [one.ends_at for one in silences if one.id in muting]
    return {
        "date": alert.active_since.astimezone(zone).date(), "exchange": alert.exchange,
        "fingerprint": alert.fingerprint, "rule": found.rule, "labels": json_text(dict(found.labels)),
        "state": alert.state.value, "severity": found.severity.name, "peak": alert.peak.name,
        "value": _number(found.value), "summary": found.summary, "runbook": found.runbook,
        "active_since": alert.active_since, "starts_at": alert.starts_at, "ends_at": alert.ends_at,
        "updated_at": alert.updated_at, "held": alert.held, "acknowledged": alert.is_acknowledged,
        "acknowledged_by": seen.author if seen else None, "acknowledged_at": seen.at if seen else None,
        "acknowledged_comment": seen.comment if seen else None, "silenced": bool(muting),
        "silenced_until": max(ends, default=None), "silences": ",".join(muting) or None,
    }  # fmt: skip


def _change(row: tuple[Any, ...], zone: ZoneInfo) -> dict[str, Any]:
    _, at, exchange, fingerprint, rule, before, after, severity, value, summary, why = row
    moment = from_us(at)
    return {
        "date": moment.astimezone(zone).date(), "exchange": exchange, "event_time": moment,
        "fingerprint": fingerprint, "rule": rule, "state_before": before, "state": after,
        "severity": severity, "value": _number(value), "summary": summary, "why": why,
    }  # fmt: skip


def _number(value: float | None) -> float | None:
    return value if value is not None and value - value == 0 else None  # NaN and infinities are none


def _rows(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema([(c.name, c.type) for c in columns]))
