"""What the section Drift shows: every feature's scores against its threshold, and the reports there are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from lake.session import Session
from monitors.dashboard.queries import dashboard_query
from monitors.dashboard.sections.states import State

_TABLE = "drift_scores"
_REPORT = re.compile(
    r"(?:daily|drift)-(?P<day>\d{4}-\d\d-\d\d)(?:T(?P<time>\d{6})Z)?(?:-(?P<symbol>[^/\\:]+))?\.html"
)
METHODS: Mapping[str, tuple[str, str]] = {
    "level": ("level: the mean moved", "Student's t"),
    "psi": ("psi: another shape", "PSI"),
    "step": ("step: a lasting jump", "standard errors"),
    "level_of_sessions": ("level of whole sessions", "Student's t"),
    "missing": ("missing values", "share of rows"),
    "unseen": ("unseen categories", "share of rows"),
    "out_of_range": ("out of range", "share of rows"),
    "infinite": ("infinite values", "share of rows"),
    "constant": ("constant", "share of rows"),
    "column": ("columns that came or went", "0 or 1"),
    "evidently_wasserstein": ("Evidently's Wasserstein distance", "reference std"),
}
"""Of each method its name and the unit of its score."""

_VERDICTS = {
    "ok": "no drift", "drift": "drift", "too_few_rows": "too few rows", "no_score": "no score",
    "reference_too_short": "reference too short to judge", "reference_empty": "reference empty",
    "missing_column": "column is missing", "new_column": "column is new", "new_values": "new values",
    "all_missing": "all values missing",
}  # fmt: skip

_TALL = 20.0
"""Height of a strip; the threshold is at half of it."""


@dataclass(frozen=True, slots=True)
class DriftKey:
    """Which scores: of one dataset, underlying and method."""

    dataset: str
    symbol: str
    method: str

    @property
    def text(self) -> str:
        """Method, symbol and dataset as the form sends them; a dataset's name may hold anything."""
        return f"{self.method}|{self.symbol}|{self.dataset}"


@dataclass(frozen=True, slots=True)
class DriftChoice:
    """Scores that there are.

    Attributes:
        key: Which.
        label: In words.
        feature_count: Features that were scored.
        window_count: Windows.
        flagged_count: Features flagged in the newest window.
        last_window_end: Its end, UTC.
    """

    key: DriftKey
    label: str
    feature_count: int
    window_count: int
    flagged_count: int
    last_window_end: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """A window of a strip: `height` of 20 (the threshold is at 10), None without a score."""

    height: float | None
    flagged: bool
    told: str


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """A feature and its windows.

    Attributes:
        feature: Name.
        score: Of the newest window.
        threshold: Of the newest window, None if nothing can be flagged.
        p_value: Of the newest window.
        state: Of the newest window.
        verdict: Of the newest window, in words.
        flagged_count: Windows that were flagged.
        scored_count: Windows that have a score.
        steps: The windows, oldest first.
    """

    feature: str
    score: float | None
    threshold: float | None
    p_value: float | None
    state: State
    verdict: str
    flagged_count: int
    scored_count: int
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A report of Evidently.

    Attributes:
        name: Of the file.
        day: Session date.
        made_at: When it was made because drift fired, UTC; None for that of a whole session.
        symbol: Underlying, empty for all together.
        size_bytes: Its size.
    """

    name: str
    day: date
    made_at: datetime | None
    symbol: str
    size_bytes: int


def drift_choices(session: Session, exchange: str) -> list[DriftChoice]:
    """The scores of the last sessions, the newest first; none where drift was never looked for."""
    if _TABLE not in session.snapshots:
        return []
    rows = session.table(dashboard_query("drift_choices").sql, {"exchange": exchange}).to_pylist()
    return [
        DriftChoice(
            DriftKey(row["dataset"], row["symbol"], row["method"]), method_name(row["method"])[0],
            row["feature_count"], row["window_count"], row["flagged_count"], row["last_window_end"],
        )
        for row in rows
    ]  # fmt: skip


def method_name(method: str) -> tuple[str, str]:
    """A method in words, and the unit of its scores."""
    return METHODS.get(method, (method, ""))


def drift_course(session: Session, exchange: str, key: DriftKey) -> list[FeatureDrift]:
    """Every feature's windows: flagged ones first, then by how near the newest score is to its threshold."""
    given = {"exchange": exchange, "dataset": key.dataset, "symbol": key.symbol, "method": key.method}
    rows = session.table(dashboard_query("drift_course").sql, given).to_pylist()
    ends = sorted({row["window_end"] for row in rows})
    found = [
        _feature(name, {row["window_end"]: row for row in group}, ends)
        for name, group in groupby(rows, key=lambda row: row["feature"])
    ]
    return sorted(found, key=_nearness)


def _nearness(one: FeatureDrift) -> tuple[bool, float, str]:
    ratio = abs(one.score) / one.threshold if one.score is not None and one.threshold else 0.0
    return one.state is not State.WARN, -ratio, one.feature


def _feature(name: str, by_end: Mapping[datetime, Mapping[str, Any]], ends: list[datetime]) -> FeatureDrift:
    newest = by_end[max(by_end)]
    state = State.WARN if newest["drifted"] else State.OK if newest["score"] is not None else State.UNKNOWN
    scored = [row for row in by_end.values() if row["score"] is not None]
    return FeatureDrift(
        name, newest["score"], newest["threshold"], newest["p_value"], state, verdict(newest["verdict"]),
        sum(row["drifted"] for row in by_end.values()), len(scored),
        [_step(by_end.get(end)) for end in ends],
    )  # fmt: skip


def verdict(name: str) -> str:
    """A verdict in words."""
    return _VERDICTS.get(name, name)


def _step(row: Mapping[str, Any] | None) -> Step:
    if row is None:
        return Step(None, flagged=False, told="not scored")
    score, threshold = row["score"], row["threshold"]
    if score is None:
        return Step(None, flagged=row["drifted"], told=verdict(row["verdict"]))
    if not threshold:
        # Rules without a threshold say yes or no.
        return Step(_TALL if row["drifted"] else 1.0, flagged=row["drifted"], told=verdict(row["verdict"]))
    height = max(1.0, round(min(_TALL, _TALL / 2 * abs(score) / threshold), 1))
    return Step(height, flagged=row["drifted"], told=f"{score:.3g} of {threshold:.3g}")


def report_files(folder: Path, exchange: str) -> list[ReportFile]:
    """Reports of an exchange, the newest first."""
    found = []
    for file in (folder / exchange).glob("*.html"):
        named = _REPORT.fullmatch(file.name)
        if named is None:
            continue
        try:
            size = file.stat().st_size
            day = date.fromisoformat(named["day"])
            made_at = datetime.fromisoformat(f"{day}T{named['time']}+00:00") if named["time"] else None
        except (FileNotFoundError, ValueError):
            continue  # pruned just now, or no report of ours
        found.append(ReportFile(file.name, day, made_at, named["symbol"] or "", size))
    return sorted(found, key=lambda one: (one.day, one.name), reverse=True)
