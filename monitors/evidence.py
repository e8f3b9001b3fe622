"""What a finding rests on: values, batches, versions, the SQL, and a command that shows the same again."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from catalog.exchanges import EXCHANGES
from lake.cli import command_line
from lake.settings import Settings
from lake.snapshot import literal
from monitors.lake_probes import health_query
from monitors.metrics import METRICS, Sample, Shown
from monitors.probes import Moment

# Text, and parameters; what stands between quotes is left alone.
_PARAMETER = re.compile(r"""(?P<text>'(?:[^']|'')*')|\$(?P<name>[A-Za-z_]\w*)|(?P<space>\s+)""")


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where a check's measurements are kept.

    Attributes:
        version: Version of `health_metrics` that brought them; None if they could not be kept.
        batch_id: Their batch.
        problem: Why they could not be kept.
    """

    version: int | None = None
    batch_id: str = ""
    problem: str = ""


def evidence_of(
    settings: Settings,
    sample: Sample,
    moments: Mapping[str, Moment],
    recorded: Recorded,
    *,
    history: Shown | None = None,
) -> dict[str, Any]:
    """What a finding about a sample rests on, as plain data.

    Args:
        settings: For the command line.
        sample: What was measured.
        moments: Dates of the exchanges, by exchange.
        recorded: Where the check's measurements are kept.
        history: What the sample was compared with.
    """
    shown = sample.shown or measurement(sample, moments, recorded)
    facts = dict(sample.facts)
    batches = [str(value) for name, value in facts.items() if name.endswith("batch_id") and value]
    if sample.shown is None and recorded.batch_id:
        batches.append(recorded.batch_id)
    found: dict[str, Any] = {
        "exchange": sample.exchange,
        "metric": sample.metric,
        "unit": METRICS[sample.metric].unit,
        "value": sample.value,
        "labels": dict(sample.labels),
        "values": facts,
        "batch_ids": list(dict.fromkeys(batches)),
        "table_versions": dict(shown.versions) if shown else {},
        "sql": inlined(shown) if shown else "",
        "command": command(settings, shown) if shown else _measure_again(settings, sample),
    }
    if history is not None:
        found["history_sql"] = inlined(history)
        found["history_command"] = command(settings, history)
        found["table_versions"] |= history.versions
    return found


def measurement(sample: Sample, moments: Mapping[str, Moment], recorded: Recorded) -> Shown | None:
    """How to see a sample as it was recorded; None if it was not."""
    if recorded.version is None:
        return None
    moment = moments[sample.exchange]
    parameters = {
        "exchange": sample.exchange, "date": moment.date, "metric": sample.metric,
        "now": moment.now.astimezone(UTC),
    }  # fmt: skip
    sql = health_query("measurement").sql
    return Shown(sql, parameters, {"health_metrics": recorded.version}, recorded.version)


def inlined(shown: Shown) -> str:
    """The statement in one line, its parameters replaced by their values."""

    def put(found: re.Match[str]) -> str:
        if found["text"]:
            return found["text"]
        return " " if found["space"] else _literal(shown.parameters[found["name"]])

    return _PARAMETER.sub(put, shown.sql).strip()


def command(settings: Settings, shown: Shown) -> str:
    """A command line that shows the same rows again, whatever is committed later."""
    at = shown.at.isoformat() if isinstance(shown.at, datetime) else str(shown.at)
    return f"{command_line(settings)} {joined('sql', inlined(shown), '--at', at, '--output', 'json')}"


def joined(*words: str) -> str:
    """Words as this system's shell wants them."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _measure_again(settings: Settings, sample: Sample) -> str:
    words = ["monitors", "check", "--dry-run", "--output", "json"]
    if sample.exchange in EXCHANGES:
        words += ["--exchange", sample.exchange]
    return f"{command_line(settings)} {joined(*words)}"


def _literal(value: Any) -> str:
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ {literal(value.astimezone(UTC).isoformat(sep=' '))}"
    if isinstance(value, date):
        return f"DATE {literal(value.isoformat())}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(one) for one in value)}]"
    return literal(value) if isinstance(value, str) else repr(value)


def plain_labels(exchange: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of an alert: the exchange first."""
    return {"exchange": exchange, **labels}
