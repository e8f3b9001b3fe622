"""The summaries that trackers write, `metrics/phase2_metrics/<EXCHANGE>_summary.json`.

Known trackers put figures into sections (`data_quality`, `model_performance`, `system_health`,
`paper_trading`) under `last_updated`, and write the file in place every few minutes: a reader may come to a
half-written one. Sections are not insisted on; a figure is taken from the top level or from any section.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from monitors.metrics import Sample
from monitors.probes import Moment, Probe, Surroundings

MAX_BYTES = 10_000_000
"""A summary has a few kilobytes; what is much larger is something else."""

_TRIES, _PAUSE_S = 3, 0.05  # a tracker writes its summary in a few milliseconds
_TIMES = ("last_updated", "timestamp", "generated_at", "updated_at")


@dataclass(frozen=True, slots=True)
class _Field:
    """A figure of the summary.

    Attributes:
        name: Its name there.
        lowest: Least possible value.
        highest: Greatest possible value.
        counts: True for a whole number of things. A list stands for the number of its members, and an object
            of that name is a section.
    """

    name: str
    lowest: float = -math.inf
    highest: float = math.inf
    counts: bool = False


_FIELDS = (
    _Field("macro_availability_pct", 0, 100),
    _Field("database_write_success_rate", 0, 100),
    _Field("memory_usage_mb", 0),
    _Field("error_rate", 0),
    _Field("total_signals", 0),
    _Field("avg_confidence", 0, 1),
    _Field("total_pnl"),
    _Field("portfolio_constraint_violations", 0, counts=True),
)
_PAPER_TRADING = (
    _Field("realized_pnl"),
    _Field("unrealized_pnl"),
    _Field("open_positions", 0, counts=True),
    _Field("trades", 0, counts=True),
    _Field("winning_trades", 0, counts=True),
    _Field("losing_trades", 0, counts=True),
)
"""Kept in the table `paper_trading_metrics`, but no health metrics."""

_SIGNALS = (_Field("buy_signals", 0), _Field("sell_signals", 0), _Field("hold_signals", 0))
_FIGURES = tuple(one.name for one in _FIELDS)
_MIX = ("buy_pct", "sell_pct", "hold_pct", "dominant_signal_pct")
_STATE = ("summary_missing", "summary_unreadable", "summary_bad_fields", "summary_age_s")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a summary says.

    Attributes:
        path: The file.
        state: `read`, `missing`, or `unreadable`.
        problem: What is wrong with it, empty if nothing.
        updated: When it was written: as it says, else as the file system does.
        figures: Possible values, by name.
        bad_fields: What is no possible value, by name, with what stands there.
    """

    path: Path
    state: str
    problem: str = ""
    updated: datetime | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    bad_fields: Mapping[str, str] = field(default_factory=dict)


def phase2_probe() -> Probe:
    """The probe of the summaries."""
    return Probe("phase2 summary", (*_STATE, *_FIGURES, *_MIX), _measure)


def summary_file(folder: Path, exchange: str) -> Path:
    """Where the summary of an exchange is."""
    return folder / f"{exchange}_summary.json"


def read_summary(path: Path, *, timezone: str) -> Summary:
    """Read a summary; whatever is wrong with it is told, not raised.

    Args:
        path: The file.
        timezone: Zone of times without an offset.

    Raises:
        OSError: It is there, and the system does not let us read it.
    """
    for attempt in range(_TRIES):
        try:
            # One byte more tells that there are more.
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return Summary(path, "missing", f"there is no {path}")
        if len(content) > MAX_BYTES:
            return Summary(path, "unreadable", f"{path} has more than {MAX_BYTES:,} bytes", modified)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            if attempt + 1 < _TRIES:
                time.sleep(_PAUSE_S)  # it may just be written
                continue
            what = "is empty" if not content.strip() else f"is no JSON, half-written perhaps: {error}"
            return Summary(path, "unreadable", f"{path} {what}", modified)
        if not isinstance(document, dict):
            told = f"{path} holds a {type(document).__name__} and no JSON object"
            return Summary(path, "unreadable", told, modified)
        return _checked(path, document, modified, timezone)
    raise AssertionError("unreachable")


def _checked(path: Path, document: dict[str, Any], modified: datetime, timezone: str) -> Summary:
    figures: dict[str, float] = {}
    bad: dict[str, str] = {}
    for one in (*_FIELDS, *_SIGNALS, *_PAPER_TRADING):
        found = list(dict.fromkeys(_values(document, one)))
        if not found:
            continue
        text = ", ".join(found)
        value = _number(found[0])
        if len(found) > 1:
            bad[one.name] = f"stands there with several values: {text}"
        elif value is None or not one.lowest <= value <= one.highest or (one.counts and value % 1):
            bad[one.name] = f"{text} is no possible value"
        else:
            figures[one.name] = value
    updated = modified
    for name in _TIMES:
        stands = document.get(name)
        if stands is not None:
            moment = _moment(stands, timezone)
            if moment is None:
                bad[name] = f"{json.dumps(stands)} is no time"
            updated = moment or modified
            break
    if not figures and not bad:
        bad["(all)"] = "none of the figures is there"
    told = "; ".join(f"{name}: {what}" for name, what in bad.items())
    return Summary(path, "read", told, updated, figures, bad)


def _values(document: Mapping[str, Any], wanted: _Field) -> Iterator[str]:
    """What stands under a name, at the top and in sections, as JSON."""
    for section in (document, *document.values()):
        if not isinstance(section, Mapping) or wanted.name not in section:
            continue
        stands = section[wanted.name]
        if wanted.counts and isinstance(stands, Mapping):
            continue
        yield json.dumps(len(stands) if wanted.counts and isinstance(stands, list) else stands)


def _number(text: str) -> float | None:
    value = json.loads(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _moment(stands: Any, timezone: str) -> datetime | None:
    try:
        if isinstance(stands, int | float) and not isinstance(stands, bool):
            return datetime.fromtimestamp(stands, UTC)
        moment = datetime.fromisoformat(stands)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))).astimezone(UTC)


def _measure(around: Surroundings, moment: Moment) -> Sequence[Sample]:
    path = summary_file(around.settings.phase2_metrics_dir, moment.exchange)
    summary = read_summary(path, timezone=around.settings.timezone)
    read = summary.state == "read"
    age_s = (around.now - summary.updated).total_seconds() if read and summary.updated else None
    facts = {
        "file": str(path), "problem": summary.problem,
        "updated": summary.updated.isoformat() if summary.updated else None,
    }  # fmt: skip
    state: dict[str, float | None] = {
        "summary_missing": float(summary.state == "missing"),
        "summary_unreadable": float(summary.state == "unreadable"),
        "summary_bad_fields": float(len(summary.bad_fields)) if read else None,
        # A clock that is ahead is no young summary: its age is told as what it is off.
        "summary_age_s": None if age_s is None else abs(age_s),
    }
    values = {**state, **{name: summary.figures.get(name) for name in _FIGURES}, **_mix(summary.figures)}
    samples = []
    for name, value in values.items():
        why = "" if value is not None else (summary.problem or "the summary does not say")
        samples.append(Sample(name, moment.exchange, value, why=why, facts=facts))
    return samples


def _mix(figures: Mapping[str, float]) -> dict[str, float | None]:
    counts = [figures.get(one.name) for one in _SIGNALS]
    known = [count for count in counts if count is not None]
    total = sum(known)
    if len(known) < len(counts) or not total:
        return dict.fromkeys(_MIX)
    shares = [100.0 * count / total for count in known]
    return dict(zip(_MIX, (*shares, max(shares)), strict=True))
