"""One drift check of one exchange, from live rows to breaches: what `monitors check` calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from catalog.calendar import SessionCalendar
from lake.errors import NotEnoughDataError
from lake.session import Session
from lake.table import Lake
from monitors.attribution_breaches import attribution_breaches, attribution_scores
from monitors.drift import DriftScore, check_drift
from monitors.drift_breaches import DriftBreach, find_breaches
from monitors.drift_model import ModelReference, profile_of
from monitors.drift_record import recent_scores, record
from monitors.evidently_report import newest_report, report_drift, report_file

TrainingRows = Callable[[], pa.Table]


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """What a check found.

    Attributes:
        scores: Of the newest window that has ended; none before the first has.
        breaches: Features that have drifted, worst first; see `drift_breaches.worst_features`.
        attribution: Features whose contributions have drifted, worst first.
        is_new: True if no feature was in breach one window ago.
        html: Evidently's report: made when breaches are new, later on the newest of those.
        notes: What could not be done, and why, e.g. the report for too few rows.
    """

    scores: tuple[DriftScore, ...]
    breaches: tuple[DriftBreach, ...]
    attribution: tuple[DriftBreach, ...] = ()
    is_new: bool = False
    html: Path | None = None
    notes: tuple[str, ...] = field(default=())


def run_drift_check(
    lake: Lake,
    model: ModelReference,
    live: pa.Table,
    training_rows: TrainingRows,
    calendar: SessionCalendar,
    *,
    at: datetime,
    reports: Path | None = None,
) -> DriftCheck:
    """Score the newest window, record it, and tell what has drifted.

    Running it again at the same moment records nothing and finds the same.

    Args:
        lake: Where scores are recorded.
        model: The model in use, see `drift_model.model_in_use`.
        live: Feature rows of the session so far.
        training_rows: Gives the feature rows of the model's dataset; called only where there is no profile
            yet, or for a report.
        calendar: When sessions open and close.
        at: The moment it is, with zone.
        reports: Folder for Evidently's report of new breaches; None makes none.

    Raises:
        NotEnoughDataError: The dataset gives no row within a session.
        SchemaMismatchError: A key column is missing.
        CommitConflictError: Another process records the same window; check again.
        DamagedTableError: The table of scores cannot be read or written.
        OSError: The disk is full or failed.
    """
    profile = profile_of(model, training_rows, calendar)
    scores = check_drift(profile, live, calendar, at=at)
    record(lake, scores)
    with Session(lake) as session:
        history = recent_scores(session, model.exchange, model.dataset, at=at)
        attribution = attribution_breaches(
            attribution_scores(session, model.exchange, model.model_version, model.dataset, calendar)
        )
    breaches = find_breaches(history)
    newest = max((score.window_end for score in history), default=None)
    before = find_breaches(score for score in history if score.window_end != newest)
    is_new = bool(breaches) and not before
    html, notes = None, []
    if breaches and reports is not None and newest is not None:
        html = newest_report(reports, model.exchange, "drift")
        day = calendar.session_date(model.exchange, newest)
        if is_new and not report_file(reports, model.exchange, "drift", day, newest).exists():
            try:
                html = report_drift(
                    training_rows(), live, reports, exchange=model.exchange, dataset=model.dataset,
                    occasion="drift", features=model.features, now=newest,
                ).html  # fmt: skip
            except NotEnoughDataError as error:
                notes.append(str(error))
    return DriftCheck(tuple(scores), tuple(breaches), tuple(attribution), is_new, html, tuple(notes))
