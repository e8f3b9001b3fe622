"""Drift scores in the lake: `drift_scores`, each window exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pyarrow as pa

from catalog.contracts import DRIFT_SCORES
from lake.append import append
from lake.commit_log import Commit
from lake.log_recovery import recover_log
from lake.session import Session
from lake.table import Lake
from monitors.drift import ALL_SYMBOLS, EVIDENTLY, SESSIONS, DriftScore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES = tuple(field.name for field in fields(DriftScore))

RECENT = timedelta(days=10)
"""How far back `recent_scores` looks by default: longer than any row of holidays."""


def record(lake: Lake, scores: Sequence[DriftScore]) -> list[Commit]:
    """Append scores, a commit a window and kind (windows, sessions, reports); what is there adds nothing.

    The sequence of a stream is the end of the window, so a window that ends before one that was recorded
    counts as recorded, too: score windows in the order of time.

    Args:
        lake: The lake; the table is made where it is not there.
        scores: Of any windows, exchanges and datasets.

    Returns:
        The commits that were made.

    Raises:
        CommitConflictError: Another process recorded the same window just now; it is there.
        CommitStateUnknownError: It may have landed; recording it again finds out.
        DamagedTableError: The table cannot be read or written.
        OSError: The disk is full or failed.
    """
    path = lake.create(DRIFT_SCORES.spec)
    recover_log(lake, path, spec=DRIFT_SCORES.spec)
    commits = []
    for (end, stream), group in groupby(sorted(scores, key=_batch), key=_batch):
        sequence = (end - _EPOCH) // timedelta(microseconds=1)
        batch_id = f"{stream.replace('/', '-')}-{end:%Y%m%dT%H%M%S}"
        commit = append(
            path,
            DRIFT_SCORES.spec,
            _rows(list(group), batch_id),
            stream=stream,
            sequence=sequence,
            metadata={
                "batch_id": batch_id, "app_id": "monitors", "seq_first": sequence, "seq_last": sequence,
            },
        )  # fmt: skip
        if commit is not None:
            commits.append(commit)
    return commits


def recent_scores(
    session: Session, exchange: str, dataset: str, *, at: datetime, since: timedelta = RECENT
) -> list[DriftScore]:
    """Scores of windows that ended in the time before a moment, in the order of time.

    Args:
        session: With `drift_scores`; without it there are none.
        exchange: `NSE` or `BSE`.
        dataset: The reference.
        at: The moment, with zone.
        since: How long before it.

    Raises:
        DamagedTableError: The table cannot be read.
    """
    if DRIFT_SCORES.table not in session.snapshots:
        return []
    rows = session.table(
        f"SELECT {', '.join(_NAMES)} FROM {DRIFT_SCORES.table}"
        " WHERE exchange = $exchange AND dataset = $dataset AND date >= CAST($first AS DATE)"
        " AND window_end > $since AND window_end <= $at ORDER BY window_end, symbol, feature, method",
        {
            "exchange": exchange, "dataset": dataset, "at": at, "since": at - since,
            "first": (at - since - timedelta(days=1)).date(),
        },
    )  # fmt: skip
    zone = pa.timestamp("us", tz="UTC")
    for name in ("window_start", "window_end"):
        rows = rows.set_column(rows.column_names.index(name), name, rows.column(name).cast(zone))
    return [DriftScore(**row) for row in rows.to_pylist()]


def _batch(score: DriftScore) -> tuple[datetime, str]:
    kind = "windows"
    if score.method == SESSIONS:
        kind = "sessions"
    elif score.method.startswith(EVIDENTLY):
        # A report is of one underlying, or of all together.
        kind = f"evidently/{'all' if score.symbol == ALL_SYMBOLS else score.symbol}"
    return score.window_end, f"drift/{kind}/{score.exchange}/{score.dataset}"


def _rows(scores: list[DriftScore], batch_id: str) -> pa.Table:
    columns = {
        column.name: pa.array(
            [batch_id] * len(scores)
            if column.name == "batch_id"
            else [getattr(score, column.name) for score in scores],
            column.type,
        )
        for column in DRIFT_SCORES.columns
    }
    return pa.table(columns)
