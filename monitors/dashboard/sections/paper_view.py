"""What the section Paper trading shows: figures, courses and sessions, from the table and the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from lake.session import Session
from monitors.dashboard.chart import Chart, Series
from monitors.dashboard.queries import dashboard_query
from monitors.phase2 import Summary

_TABLE = "paper_trading_metrics"

FIGURES = (
    "total_pnl", "realized_pnl", "unrealized_pnl", "open_positions", "trades", "winning_trades",
    "losing_trades", "portfolio_constraint_violations",
)  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands.

    Attributes:
        at: When the tracker said so, UTC.
        figures: By name; None where it did not say.
        origin: Where that was read: a file, or the table.
    """

    at: datetime
    figures: Mapping[str, float | None]
    origin: str


@dataclass(frozen=True, slots=True)
class SessionResult:
    """A session in a line.

    Attributes:
        date: Session date.
        last: Total P&L at its last record, rupees; None where none was told.
        lowest: The lowest that was recorded.
        highest: The highest that was recorded.
        drawdown: The largest fall from an earlier record of the session, rupees, 0 or more.
        trades: Trades at its last record.
        violations: Violations at its last record.
        records: How many there are.
    """

    date: date
    last: float | None
    lowest: float | None
    highest: float | None
    drawdown: float | None
    trades: int | None
    violations: int | None
    records: int


def course(session: Session, exchange: str) -> list[Row]:
    """The records of the last sessions; none where there never was one."""
    if _TABLE not in session.snapshots:
        return []
    rows: list[Row] = session.table(
        dashboard_query("paper_trading_course").sql, {"exchange": exchange}
    ).to_pylist()
    return rows


def standing(rows: Sequence[Row], summary: Summary) -> Standing | None:
    """The newest of what the table and the tracker's file say."""
    told = {name: summary.figures[name] for name in FIGURES if name in summary.figures}
    newest = rows[-1] if rows else None
    if told and summary.updated and (newest is None or summary.updated > newest["event_time"]):
        return Standing(summary.updated, {name: told.get(name) for name in FIGURES}, str(summary.path))
    if newest is None:
        return None
    return Standing(newest["event_time"], {name: newest[name] for name in FIGURES}, _TABLE)


def results(rows: Sequence[Row]) -> list[SessionResult]:
    """The sessions, newest first."""
    found = [_result(day, list(group)) for day, group in groupby(rows, key=lambda row: row["date"])]
    return found[::-1]


def _result(day: date, rows: list[Row]) -> SessionResult:
    known = [row["total_pnl"] for row in rows if row["total_pnl"] is not None]
    peak, drawdown = float("-inf"), 0.0
    for value in known:
        peak = max(peak, value)
        drawdown = max(drawdown, peak - value)
    return SessionResult(
        day, known[-1] if known else None, min(known, default=None), max(known, default=None),
        drawdown if known else None, rows[-1]["trades"], rows[-1]["portfolio_constraint_violations"],
        len(rows),
    )  # fmt: skip


def pnl_chart(rows: Sequence[Row]) -> Chart:
    """Profit and loss through a session."""
    return _chart(
        "Profit and loss", rows,
        (("Total", "total_pnl"), ("Realised", "realized_pnl"), ("Unrealised", "unrealized_pnl")), "₹", "line",
    )  # fmt: skip


def counts_chart(rows: Sequence[Row]) -> Chart:
    """Open positions, trades and violations through a session."""
    names = (
        ("Open positions", "open_positions"), ("Trades", "trades"),
        ("Violations", "portfolio_constraint_violations"),
    )  # fmt: skip
    return _chart("Positions, trades, violations", rows, names, "", "step")


def _chart(title: str, rows: Sequence[Row], names: Sequence[tuple[str, str]], unit: str, style: Any) -> Chart:
    # What no record says is left out: a legend of what is not there helps nobody.
    told = [(label, name) for label, name in names if any(row[name] is not None for row in rows)]
    series = tuple(Series(label, [row[name] for row in rows], unit, style) for label, name in told)
    return Chart(title, [row["event_time"] for row in rows], series, kind="time", x_label="Time", height=240)
