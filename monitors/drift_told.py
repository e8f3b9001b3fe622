"""What a drift check found, for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from catalog.calendar import SessionCalendar
from lake.errors import NotEnoughDataError
from lake.settings import Settings
from monitors.drift import DriftScore
from monitors.drift_breaches import DriftBreach
from monitors.drift_service import check_drift_now, daily_report

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class DriftTold:
    """What is told of one exchange.

    Attributes:
        exchange: `NSE` or `BSE`.
        scores: Of the newest window; none without a model, or before a window has ended.
        breaches: What has drifted, features first, then attributions; worst first.
        html: Evidently's report.
        notes: What could not be done, and why.
    """

    exchange: str
    scores: Sequence[DriftScore] = ()
    breaches: Sequence[DriftBreach] = ()
    html: Path | None = None
    notes: Sequence[str] = field(default=())

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "exchange": self.exchange,
            "window_end": self.scores[0].window_end if self.scores else None,
            "scores": len(self.scores),
            "flagged": sorted({f"{s.symbol} {s.feature} {s.method}" for s in self.scores if s.drifted}),
            "breaches": [
                {
                    "symbol": one.symbol, "feature": one.feature, "methods": list(one.methods),
                    "since": one.since, "score": one.scores[0].score, "threshold": one.scores[0].threshold,
                    "verdict": one.scores[0].verdict, "dataset": one.dataset,
                }
                for one in self.breaches
            ],
            "report": None if self.html is None else str(self.html),
            "notes": list(self.notes),
        }  # fmt: skip


def drift_of(
    settings: Settings, calendar: SessionCalendar, exchange: str, at: datetime, *, report: bool
) -> DriftTold:
    """Check one exchange as of a moment, and make the day's report if it is asked for.

    Raises:
        StrikelakeError: As for `monitors.drift_service.check_drift_now`.
        OSError: The disk is full or failed.
    """
    check = check_drift_now(settings, calendar, exchange, at, again=True)
    if check is None:
        return DriftTold(exchange, notes=("no model, or no window of the session has ended yet",))
    html, notes = check.html, list(check.notes)
    if report:
        try:
            html = daily_report(settings, calendar, exchange, calendar.session_date(exchange, at))
        except NotEnoughDataError as error:
            notes.append(str(error))
    return DriftTold(exchange, check.scores, [*check.breaches, *check.attribution], html, notes)


def drift_lines(told: DriftTold) -> Iterator[str]:
    """Lines for a terminal of 80 columns."""
    if told.scores:
        flagged = len({(s.symbol, s.feature) for s in told.scores if s.drifted})
        features = len({(s.symbol, s.feature) for s in told.scores})
        yield (
            f"{told.exchange}: {len(told.breaches)} drifted; {flagged} of {features} features flagged in the "
            f"window to {told.scores[0].window_end:%Y-%m-%d %H:%M} UTC"
        )
    else:
        yield f"{told.exchange}: nothing scored"
    for one in told.breaches[:_SHOWN]:
        score = one.scores[0]
        numbers = "" if score.score is None else f" {score.score:.3g}"
        limit = "" if score.threshold is None else f" (limit {score.threshold:.3g})"
        yield f"  {one.symbol} {one.feature}: {score.method}{numbers}{limit}, since {one.since:%H:%M} UTC"
    if len(told.breaches) > _SHOWN:
        yield f"  and {len(told.breaches) - _SHOWN} more"
    if told.html is not None:
        yield f"  report: {told.html}"
    for note in told.notes:
        yield f"  {note}"
