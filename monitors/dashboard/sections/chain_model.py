"""What the section Chain shows: one captured chain, the course of its session, and what can be chosen."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from lake.session import Session
from monitors.dashboard.chart import Chart, Mark, Series
from monitors.dashboard.queries import dashboard_query

_TABLE = "option_chain"


@dataclass(frozen=True, slots=True)
class ChainKey:
    """Which chains: of one session, underlying, expiry and source.

    Attributes:
        exchange: NSE or BSE.
        session_date: Exchange-local.
        symbol: Underlying.
        expiry: Expiry date.
        source: Source adapter, or live.
    """

    exchange: str
    session_date: date
    symbol: str
    expiry: date
    source: str

    @property
    def text(self) -> str:
        """Expiry, source and symbol as the form sends them; a symbol may hold anything."""
        return f"{self.expiry}|{self.source}|{self.symbol}"

    @property
    def parameters(self) -> dict[str, Any]:
        """For the statements."""
        return {
            "exchange": self.exchange, "date": self.session_date, "symbol": self.symbol,
            "expiry": self.expiry, "source": self.source,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """A chain that a session has, and how often it was captured."""

    key: ChainKey
    chains: int

    @property
    def days_to_expiry(self) -> int:
        """Calendar days from the session to the expiry."""
        return (self.key.expiry - self.key.session_date).days


@dataclass(frozen=True, slots=True)
class ChainMoment:
    """One chain.

    Attributes:
        event_time: When it was so, UTC.
        received_time: When the last of its legs was received, None if unknown.
        strikes: A row a strike, see `sql/dashboard/chain_at.sql`.
        marks: Max pain and the money, see `sql/dashboard/chain_marks.sql`; empty if they cannot be told.
        step: The chain's row of the session's course.
    """

    event_time: datetime
    received_time: datetime | None
    strikes: Sequence[Mapping[str, Any]]
    marks: Mapping[str, Any]
    step: Mapping[str, Any]


def captured_dates(session: Session) -> dict[str, list[date]]:
    """Dates that have chains, newest first, by exchange; from the log alone."""
    snapshot = session.snapshots.get(_TABLE)
    found: dict[str, list[date]] = {}
    if snapshot is not None:
        rows = [row for row in snapshot.partitions().to_pylist() if row["row_count"]]
        for row in sorted(rows, key=lambda row: row["date"], reverse=True):
            found.setdefault(row["exchange"], []).append(row["date"])
    return found


def choices(session: Session, exchange: str, day: date) -> list[Choice]:
    """The chains of a session, the nearest expiry of an underlying first."""
    rows = session.table(dashboard_query("chain_choices").sql, {"exchange": exchange, "date": day})
    return [
        Choice(ChainKey(exchange, day, row["symbol"], row["expiry"], row["source"]), row["chains"])
        for row in rows.to_pylist()
    ]


def course(session: Session, key: ChainKey) -> list[dict[str, Any]]:
    """Every chain of the session, a row each, in the order of time."""
    rows: list[dict[str, Any]] = session.table(
        dashboard_query("chain_course").sql, key.parameters
    ).to_pylist()
    return rows


def moment(session: Session, key: ChainKey, step: Mapping[str, Any]) -> ChainMoment:
    """The chain of a step of the course."""
    given = key.parameters | {"at": step["event_time"]}
    strikes = session.table(dashboard_query("chain_at").sql, given).to_pylist()
    marks = session.table(dashboard_query("chain_marks").sql, given).to_pylist()
    received = [row["received_time"] for row in strikes if row["received_time"] is not None]
    return ChainMoment(
        step["event_time"], max(received, default=None), strikes, marks[0] if marks else {}, step
    )


def place_at(steps: Sequence[Mapping[str, Any]], at: datetime) -> int:
    """Place of the last chain at or before a moment; the first one if all are later."""
    return max(0, bisect_right([step["event_time"] for step in steps], at) - 1)


def first_choice(found: Sequence[Choice]) -> Choice:
    """What is shown when nothing was chosen: the nearest expiry not over, of what was captured most often."""
    ahead = [one for one in found if one.days_to_expiry >= 0] or list(found)
    return min(ahead, key=lambda one: (-one.chains, one.key.expiry, one.key.symbol, one.key.source))


def oi_chart(chain: ChainMoment) -> Chart:
    """Open interest of calls against puts, by strike."""
    return Chart(
        "Open interest by strike",
        [row["strike"] for row in chain.strikes],
        (
            Series("Calls", [row["call_oi"] for row in chain.strikes], "units", "bars"),
            Series("Puts", [row["put_oi"] for row in chain.strikes], "units", "bars"),
        ),
        marks=_marks(chain, "max_pain"),
        x_label="Strike, ₹",
        height=300,
    )


def smile_chart(chain: ChainMoment) -> Chart:
    """Implied volatility by strike."""
    return Chart(
        "Implied volatility by strike",
        [row["strike"] for row in chain.strikes],
        (
            Series("Calls", [_percent(row["call_iv"]) for row in chain.strikes], "% a year"),
            Series("Puts", [_percent(row["put_iv"]) for row in chain.strikes], "% a year"),
        ),
        marks=_marks(chain),
        x_label="Strike, ₹",
    )


def course_chart(steps: Sequence[Mapping[str, Any]]) -> Chart:
    """Put-call ratios and the underlying through the session."""
    return Chart(
        "Put-call ratio through the session",
        [step["event_time"] for step in steps],
        (
            Series("PCR by open interest", [step["pcr_oi"] for step in steps], "ratio"),
            Series("PCR by volume", [step["pcr_volume"] for step in steps], "ratio"),
            Series("Underlying", [step["underlying_price"] for step in steps], "₹", scale="y2"),
        ),
        kind="time",
        x_label="Time",
    )


def _marks(chain: ChainMoment, *more: str) -> list[Mark]:
    names = {"max_pain": "max pain", "atm_strike": "ATM"}
    found = [(name, chain.marks.get(name)) for name in ("atm_strike", *more)]
    return [Mark(value, f"{names[name]} {value:,.10g}") for name, value in found if value is not None]


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 4)
