"""Attribution drift: what a feature adds to the model's scores has moved, by the view `attribution_drift`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from catalog.calendar import SessionCalendar
from lake.session import VIEWS, Session
from monitors.drift import ALL_SYMBOLS, DriftScore
from monitors.drift_breaches import FAMILY_ALPHA, DriftBreach, order_breaches

VIEW, TABLE = "attribution_drift", "attribution"
PREFIX = "attribution_"
"""Prefix of the methods, which end with the class."""

SESSIONS = 5
"""Newest sessions that are compared, fewer where there are fewer: one alone is too much by chance."""

_NEWEST = f"""
SELECT *
FROM {VIEW}
WHERE exchange = $exchange AND model_version = $model_version AND sessions = (
    SELECT max(sessions) FROM {VIEW}
    WHERE exchange = $exchange AND model_version = $model_version AND sessions <= $sessions
)
ORDER BY feature, class
"""


def attribution_scores(
    session: Session,
    exchange: str,
    model_version: str,
    dataset: str,
    calendar: SessionCalendar,
    *,
    sessions: int = SESSIONS,
    family_alpha: float = FAMILY_ALPHA,
) -> list[DriftScore]:
    """How far the newest sessions' mean contributions are from the training set's, by Student's t.

    Args:
        session: The lake.
        exchange: `NSE` or `BSE`.
        model_version: The model in use.
        dataset: Its training dataset.
        calendar: When sessions close.
        sessions: Newest sessions, at most.
        family_alpha: Chance that anything is flagged though nothing moved (Bonferroni).

    Returns:
        One score a feature and class, symbol `*`, method `attribution_<class>`; nothing where attributions
        are not recorded. Fewer than three training sessions: no score, verdict `reference_too_short`.

    Raises:
        QueryError: The view is another one than is expected.
    """
    if TABLE not in session.snapshots or not (VIEWS / f"{VIEW}.sql").exists():
        return []
    given = {"exchange": exchange, "model_version": model_version, "sessions": sessions}
    rows = session.table(_NEWEST, given).to_pylist()
    asked = sum(row["difference_in_standard_errors"] is not None for row in rows)
    return [_score(row, exchange, dataset, calendar, family_alpha / max(asked, 1)) for row in rows]


def attribution_breaches(scores: list[DriftScore]) -> list[DriftBreach]:
    """What was flagged, worst first: it has sessions in a row within, so it needs no further ones."""
    found: dict[str, list[DriftScore]] = {}
    for score in scores:
        if score.drifted:
            found.setdefault(score.feature, []).append(score)
    return order_breaches((flagged, flagged[0].window_start) for flagged in found.values())


def _score(
    row: dict[str, Any], exchange: str, dataset: str, calendar: SessionCalendar, alpha: float
) -> DriftScore:
    from scipy.special import stdtr, stdtrit

    t, freedom = row["difference_in_standard_errors"], row["degrees_of_freedom"]
    limit = float(stdtrit(freedom, 1 - alpha / 2)) if t is not None else None
    drifted = t is not None and limit is not None and abs(t) > limit
    verdict = "reference_too_short" if t is None else "drift" if drifted else "ok"
    trading = calendar.session(exchange, row["date"])
    # A session that the calendar has lost meanwhile still has a place in time.
    close = trading.close if trading else calendar.close_of(exchange, row["date"])
    start = trading.open if trading else datetime.combine(row["date"], datetime.min.time(), tzinfo=UTC)
    return DriftScore(
        window_start=start.astimezone(UTC), window_end=close.astimezone(UTC),
        date=row["date"], exchange=exchange, symbol=ALL_SYMBOLS, feature=row["feature"],
        method=PREFIX + row["class"], score=t, threshold=limit,
        p_value=None if t is None else float(2 * stdtr(freedom, -np.abs(t))), effective_n=None,
        drifted=drifted, verdict=verdict, row_count=0, dataset=dataset,
    )  # fmt: skip
