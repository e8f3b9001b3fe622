"""Frames to train on: the features of `catalog.features`, with labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import date, timedelta

import pyarrow as pa

from catalog.app_features import join_app_features
from catalog.features import (
    FeatureRow,
    dates_of,
    feature_names,
    feature_rows,
    features_at,
    frame_columns,
    sessions_of,
)
from catalog.session_features import labelled_features
from explain.frame import LabelTerms, TrainingFrame
from lake.errors import NotEnoughDataError, QueryError
from lake.session import Session

__all__ = ["FeatureRow", "build_frame", "feature_names", "feature_rows", "features_at"]


def build_frame(
    session: Session,
    exchange: str,
    *,
    terms: LabelTerms | None = None,
    symbols: Sequence[str] = (),
    dates: Collection[date] = (),
    progress: Callable[[date], None] | None = None,
) -> TrainingFrame:
    """Features and labels of the sessions that are bound, audited for look-ahead.

    Args:
        session: A lake, or a dataset opened by `catalog.datasets.open_session`.
        exchange: `NSE` or `BSE`.
        terms: What counts as a move; by default `LabelTerms()`.
        symbols: Underlyings; none for all there are.
        dates: Session dates; none for all there are.
        progress: Called with each session date that is done.

    Raises:
        NotEnoughDataError: No row has a label.
        ContractError: The look-ahead audit found a value that could not have been known.
        QueryError: The session has no `option_chain`, or the terms make no sense.
    """
    terms = terms or LabelTerms()
    _check_terms(terms)
    parts: list[pa.Table] = []
    count = 0
    for hours in sessions_of(session, exchange, dates=dates):
        rows = labelled_features(session, hours, terms.horizon, terms.threshold, symbols=symbols)
        parts.append(frame_columns(join_app_features(session, hours, rows)))
        count += 1
        if progress:
            progress(hours.date)
    if not any(part.num_rows for part in parts):
        raise NotEnoughDataError(_why_empty(session, exchange, symbols, terms, count))
    rows = pa.concat_tables(parts).combine_chunks()
    return TrainingFrame(rows, feature_names(rows), terms)


def _check_terms(terms: LabelTerms) -> None:
    if terms.horizon <= timedelta(0):
        raise QueryError(f"the horizon of a label must be positive, not {terms.horizon}")
    if not terms.threshold >= 0:
        raise QueryError(f"the threshold of a label must not be negative, not {terms.threshold}")


def _why_empty(
    session: Session, exchange: str, symbols: Sequence[str], terms: LabelTerms, sessions: int
) -> str:
    stored = dates_of(session, exchange)
    what = f"{', '.join(symbols)} of {exchange}" if symbols else exchange
    if not stored:
        return f"no chains of {exchange}: nothing to make features of"
    if not sessions:
        return f"no session of {exchange} on {_listed(stored)}: add it to calendar.csv if there was one"
    return (
        f"no label for {what} in {sessions} sessions: a row needs prices of the underlying for fifteen "
        f"minutes before it and for {terms.horizon} after it, within the session"
    )


def _listed(dates: list[date]) -> str:
    shown = ", ".join(map(str, dates[:3]))
    return shown if len(dates) <= 3 else f"{shown} and {len(dates) - 3} more dates"
