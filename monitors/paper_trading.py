"""Keep what trackers say of paper trading, as rows of `paper_trading_metrics`: each summary exactly once.

A summary is overwritten by the next one, so health checks are what makes a history of them: one row each
time that a check finds a newer one. What a tracker wrote and overwrote between two checks is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from catalog.calendar import SessionCalendar
from catalog.contracts import PAPER_TRADING_METRICS
from lake.append import append
from lake.commit_log import Commit
from lake.errors import CommitConflictError, StrikelakeError
from lake.log_recovery import recover_log
from lake.settings import Settings
from lake.table import open_table
from monitors.phase2 import Summary, read_summary, summary_file

SOURCE = "phase2"

AHEAD = timedelta(minutes=5)
"""A summary from further in the future is not kept: every later one would count as older than it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONEY = ("total_pnl", "realized_pnl", "unrealized_pnl")
_COUNTS = (
    "open_positions",
    "trades",
    "winning_trades",
    "losing_trades",
    "portfolio_constraint_violations",
)
_MOST = 2**53  # counts come as floats


@dataclass(slots=True)
class Kept:
    """What was made of the summaries.

    Attributes:
        commits: Those that were made, at most one an exchange.
        problems: What could not be kept, one line each.
    """

    commits: list[Commit] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def keep_summaries(
    settings: Settings, calendar: SessionCalendar, exchanges: Sequence[str], now: datetime
) -> Kept:
    """Record the summary of each exchange, unless it is recorded already; what goes wrong is told.

    A summary that is missing, unreadable or silent about paper trading gives no row: the metrics
    `summary_missing`, `summary_unreadable` and `summary_bad_fields` tell of it.

    Args:
        settings: Folders.
        calendar: The sessions.
        exchanges: Whose summaries.
        now: The moment it is, with zone.
    """
    kept = Kept()
    for exchange in exchanges:
        try:
            summary = read_summary(
                summary_file(settings.phase2_metrics_dir, exchange), timezone=settings.timezone
            )
            commit = _keep(settings, calendar, exchange, summary, now)
        except (StrikelakeError, OSError) as error:
            kept.problems.append(f"paper trading of {exchange} could not be kept: {error}")
            continue
        if commit is not None:
            kept.commits.append(commit)
    return kept


def _keep(
    settings: Settings, calendar: SessionCalendar, exchange: str, summary: Summary, now: datetime
) -> Commit | None:
    """Append one summary as one commit; None if there is nothing new in it.

    Raises:
        StrikelakeError: It is of another time than it can be, or cannot be written.
        OSError: The disk is full or failing.
    """
    figures = {name: summary.figures[name] for name in (*_MONEY, *_COUNTS) if name in summary.figures}
    at = summary.updated
    if not figures or at is None:
        return None
    if at > now + AHEAD:
        raise StrikelakeError(f"{summary.path} says it is of {at.isoformat()}, which is yet to come")
    too_many = [name for name in _COUNTS if figures.get(name, 0) > _MOST]
    if too_many:
        raise StrikelakeError(f"{summary.path}: {too_many[0]} is {figures[too_many[0]]:g}")
    spec = PAPER_TRADING_METRICS.spec
    path = settings.lake.create(spec)
    recover_log(settings.lake, path, spec=spec)
    stream = f"paper_trading/{exchange}"
    sequence = (at - _EPOCH) // timedelta(microseconds=1)
    handle = open_table(path)
    newest = handle.transaction_version(stream)
    if newest is not None and newest > sequence:
        recorded = (_EPOCH + timedelta(microseconds=newest)).isoformat()
        raise StrikelakeError(f"{summary.path} is of {at.isoformat()}, older than that of {recorded}")
    batch_id = f"paper-trading-{exchange}-{sequence:016d}"
    row = _row(calendar, exchange, at, now, figures) | {"batch_id": batch_id}
    note = {"batch_id": batch_id, "app_id": "monitors", "seq_first": sequence, "seq_last": sequence}
    try:
        return append(
            path, spec, pa.Table.from_pylist([row], schema=PAPER_TRADING_METRICS.schema), stream=stream,
            sequence=sequence, metadata=note, handle=handle,
        )  # fmt: skip
    except CommitConflictError:
        # Another check recorded a summary of this exchange just now: this one, or one that overwrote it.
        if (open_table(path).transaction_version(stream) or 0) >= sequence:
            return None
        raise


def _row(
    calendar: SessionCalendar, exchange: str, at: datetime, now: datetime, figures: Mapping[str, float]
) -> dict[str, object]:
    counts = {name: int(figures[name]) for name in _COUNTS if name in figures}
    money = {name: figures[name] for name in _MONEY if name in figures}
    return {
        "date": calendar.session_date(exchange, at), "exchange": exchange, "event_time": at,
        "received_time": now.astimezone(UTC), **money, **counts, "source": SOURCE,
    }  # fmt: skip
