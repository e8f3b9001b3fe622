"""What a receiver is told: one group of alerts, as JSON and as text for people.

The JSON is what the webhook sends, described in `receivers/notification.schema.json`. It is made once and
kept in the outbox, so every attempt sends the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from monitors.alerts import Alert, AlertState, Severity
from monitors.grouping import Group, Reason
from monitors.plain_json import json_text

SCHEMA = "strikelake.notification/1"
TEXT_ALERTS = 10
"""Alerts that a text lists; the JSON has them all."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification to one receiver.

    Attributes:
        key: Idempotency key: the same for every attempt, never for another notification.
        receiver: Name of the receiver.
        payload: The JSON, as text.
        attempt: Counts from 1.
        in_doubt: Whether an earlier attempt may have arrived without our knowing: its process died, or no
            answer came.
    """

    key: str
    receiver: str
    payload: str
    attempt: int = 1
    in_doubt: bool = False

    @property
    def content(self) -> Mapping[str, Any]:
        """The JSON, as read."""
        content: Mapping[str, Any] = json.loads(self.payload)
        return content


def payload_of(
    key: str,
    now: datetime,
    group: Group,
    reason: Reason,
    alerts: Sequence[Alert],
    source: Mapping[str, str],
) -> str:
    """The JSON of a notification.

    Args:
        key: Idempotency key.
        now: When it is made.
        group: The group.
        reason: Why its receiver is told.
        alerts: What it is told of; not empty.
        source: Facts for a reader that the alerts do not have: name of the host, folder of the lake.
    """
    firing = [alert for alert in alerts if alert.state is AlertState.FIRING]
    severity = max(alert.finding.severity for alert in (firing or alerts))
    listed = sorted(alerts, key=lambda a: (a.state is not AlertState.FIRING, -a.finding.severity))
    return json_text(
        {
            "schema": SCHEMA,
            "key": key,
            "receiver": group.receiver,
            "made_at": _iso(now),
            "status": "firing" if firing else "resolved",
            "reason": reason.value,
            "severity": severity.name,
            "group": dict(group.labels),
            "source": dict(source),
            "title": _title(firing, alerts, severity),
            "alerts": [_alert(alert) for alert in listed],
        }
    )


def text_of(content: Mapping[str, Any]) -> str:
    """A notification for people: what, since when, how to see it again, what to do."""
    alerts: Sequence[Mapping[str, Any]] = content["alerts"]
    parts = [_told(alert) for alert in alerts[:TEXT_ALERTS]]
    if len(alerts) > TEXT_ALERTS:
        parts.append(f"... and {len(alerts) - TEXT_ALERTS} more")
    if content["reason"] == Reason.REPEAT.value:
        parts.append("(a reminder: it was told before, and still holds)")
    return "\n\n".join(parts)


def _told(alert: Mapping[str, Any]) -> str:
    severity = alert["severity"] if alert["status"] == "firing" else "RESOLVED"
    lines = [f"{severity} {alert['labels']['exchange']}: {alert['summary']}", f"since {alert['starts_at']}"]
    if alert["ends_at"]:
        lines[-1] += f" until {alert['ends_at']}"
    if alert["acknowledged"]:
        lines.append(f"acknowledged by {alert['acknowledged']['author']}: {alert['acknowledged']['comment']}")
    command = alert["evidence"].get("command")
    if command:
        lines.append(f"see it again: {command}")
    if alert["runbook"]:
        lines.append(f"what to do: strikelake monitors runbook {alert['runbook']}")
    return "\n".join(lines)


def _title(firing: Sequence[Alert], alerts: Sequence[Alert], severity: Severity) -> str:
    counted = firing or alerts
    first = counted[0]
    names = sorted({alert.finding.rule for alert in counted})
    exchanges = sorted({alert.exchange for alert in counted})
    what = first.finding.summary if len(counted) == 1 else f"{len(counted)} alerts: {', '.join(names)}"
    return f"{severity.name if firing else 'RESOLVED'} {', '.join(exchanges)}: {what}"


def _alert(alert: Alert) -> dict[str, Any]:
    found, seen = alert.finding, alert.acknowledgement
    return {
        "fingerprint": alert.fingerprint,
        "status": "firing" if alert.state is AlertState.FIRING else "resolved",
        "rule": found.rule,
        "labels": dict(found.labels),
        "severity": found.severity.name,
        "value": found.value,
        "summary": found.summary,
        "evidence": dict(found.evidence),
        "runbook": found.runbook,
        "starts_at": None if alert.starts_at is None else _iso(alert.starts_at),
        "ends_at": None if alert.ends_at is None else _iso(alert.ends_at),
        "acknowledged": seen and {"author": seen.author, "comment": seen.comment, "at": _iso(seen.at)},
    }


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
