"""Drift of one lake: the rows of features that a check needs, and the day's report.

The cheap pass is part of every check in session hours, as far as a model is there; a window is scored once.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from catalog import datasets
from catalog.batches import sync
from catalog.calendar import SessionCalendar
from catalog.contracts import DRIFT_SCORES
from catalog.database import opened_database
from catalog.features import feature_rows
from lake.errors import MalformedInputError, ModelNotFoundError, NotEnoughDataError
from lake.session import Session
from lake.settings import Settings
from monitors.drift_check import DriftCheck, run_drift_check
from monitors.drift_grid import SLOTS, window_times
from monitors.drift_model import ModelReference, model_in_use
from monitors.drift_record import recent_scores, record
from monitors.evidently_report import report_drift, report_file


def reports_folder(settings: Settings) -> Path:
    """Where Evidently's reports are kept."""
    return settings.reports_dir / "drift"


def check_drift_now(
    settings: Settings, calendar: SessionCalendar, exchange: str, at: datetime, *, again: bool = False
) -> DriftCheck | None:
    """Score the newest window of an exchange that has ended, unless that was done.

    Args:
        settings: Folders of lake, models and reports.
        calendar: When sessions open and close.
        exchange: `NSE` or `BSE`.
        at: The moment it is, with zone.
        again: Look at a window also if it was scored.

    Returns:
        None if there is no model, no window has ended yet, or it was scored already.

    Raises:
        NotEnoughDataError: The model's dataset gives no row within a session.
        MalformedInputError: The dataset of that name is another one than the model's.
        DatasetNotFoundError: There is no such dataset any more.
        DamagedTableError: Rows of the dataset or of the lake cannot be read.
        CatalogUnavailableError: The scores are kept, but could not be mirrored.
        OSError: The disk is full or failed.
    """
    try:
        model = model_in_use(settings.models_dir, exchange)
    except ModelNotFoundError:
        return None  # the metric says so; whether that is an alert is up to its rule
    end = _newest_end(calendar, exchange, at)
    if end is None:
        return None
    day = calendar.session_date(exchange, at)
    with Session(settings.lake, live=True) as session:
        if not again and any(
            score.window_end >= end for score in recent_scores(session, exchange, model.dataset, at=at)
        ):
            return None
        live = _rows(session, model, [day], at)
    check = run_drift_check(
        settings.lake, model, live, lambda: training_rows(settings, model), calendar, at=at,
        reports=reports_folder(settings),
    )  # fmt: skip
    _mirror(settings)
    return check


def daily_report(settings: Settings, calendar: SessionCalendar, exchange: str, day: date) -> Path | None:
    """Evidently's report of a session that is over, and its scores; the one that is there already, if so.

    Returns:
        The HTML; None if there is no model.

    Raises:
        NotEnoughDataError: A side has too few rows, or no feature can be compared.
        StrikelakeError: As for `check_drift_now`.
        OSError: The disk is full or failed.
    """
    try:
        model = model_in_use(settings.models_dir, exchange)
    except ModelNotFoundError:
        return None
    file = report_file(reports_folder(settings), exchange, "daily", day, datetime.now(UTC))
    if file.exists():
        return file
    close = calendar.close_of(exchange, day).astimezone(UTC)
    with Session(settings.lake, live=True) as session:
        live = _rows(session, model, [day], close)
    made = report_drift(
        training_rows(settings, model), live, reports_folder(settings), exchange=exchange,
        dataset=model.dataset, occasion="daily", features=model.features, now=close,
    )  # fmt: skip
    record(settings.lake, made.scores)
    _mirror(settings)
    return made.html


def _mirror(settings: Settings) -> None:
    """Follow the log of the scores into the catalog.

    Raises:
        CatalogUnavailableError: The database does not answer; the scores are kept all the same.
    """
    with opened_database(settings.catalog) as engine:
        sync(settings.lake, engine, tables=[DRIFT_SCORES.table])


def training_rows(settings: Settings, model: ModelReference) -> pa.Table:
    """The rows of features of a model's dataset, each of its rows proven.

    Raises:
        DatasetNotFoundError: There is no such dataset any more.
        MalformedInputError: It is another one of the same name.
        DamagedTableError: Rows are not those of the dataset.
        NotEnoughDataError: It gives no rows.
    """
    dataset = datasets.read(settings.lake, model.dataset)
    if dataset.content_digest != model.dataset_digest:
        raise MalformedInputError(
            f"dataset {model.dataset} has content digest {dataset.content_digest}, the model's had "
            f"{model.dataset_digest}: it is another one of that name"
        )
    if dataset.query is not None:
        raise NotEnoughDataError(
            f"dataset {model.dataset} is the result of a query: live features cannot be compared with it"
        )
    with datasets.open_proven_session(settings.lake, dataset) as session:
        return _rows(session, model, (), None)


def _rows(
    session: Session, model: ModelReference, days: list[date] | tuple[()], at: datetime | None
) -> pa.Table:
    return feature_rows(session, model.exchange, symbols=model.symbols, dates=days, at=at)


def _newest_end(calendar: SessionCalendar, exchange: str, at: datetime) -> datetime | None:
    """When the newest window of the session ended, None if none has."""
    hours = calendar.session(exchange, calendar.session_date(exchange, at))
    if hours is None:
        return None
    ends = (window_times(hours, number)[1] for number in range(1, SLOTS + 1))
    return max((end for end in ends if end <= at), default=None)
