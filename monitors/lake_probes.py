"""Metrics that are SQL over the lake: one statement of `sql/health/` a probe, its columns the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from lake.queries import QUERIES, Query, load_query
from lake.session import VIEWS, Session
from lake.spool import Spool
from lake.table import Lake
from monitors.metrics import METRICS, Sample, Shown
from monitors.probes import Moment, Probe, Surroundings

HEALTH = QUERIES / "health"

QUIET_EXPIRY_S = 1800
"""An expiry is quiet after this: trackers poll the far ones less often, but within a quarter of an hour."""

_NEWEST_SPOOLED_ENTRIES = 8  # an entry is what a quarter of a second brought

Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement of `sql/health/` as a probe.

    Attributes:
        name: File name.
        metrics: Columns of the result that are metrics.
        window: How far `$since` is back.
        optional: Table without which there is nothing to measure and nothing wrong.
        further: Parameters besides those that follow from the moment.
    """

    name: str
    metrics: tuple[str, ...]
    window: timedelta = timedelta(0)
    optional: str = ""
    further: Callable[[Surroundings, Moment], Parameters] | None = None


def newest_spooled(lake: Lake, exchange: str, *, until: datetime) -> datetime | None:
    """`event_time` of the newest chain of an exchange that waits in a spool, not after `until`.

    Raises:
        SpoolUnavailableError: A spool cannot be read.
    """
    newest: datetime | None = None
    for path in sorted(lake.spools.glob("*.db")):
        spool = Spool(path, read_only=True)
        try:
            parts = spool.newest_rows("option_chain", exchange, limit=_NEWEST_SPOOLED_ENTRIES)
        finally:
            spool.close()
        for _, rows in parts:
            times = rows.column("event_time")
            found = pc.max(times.filter(pc.less_equal(times, until))).as_py()
            if found is not None and (newest is None or found > newest):
                newest = found
    return newest


def _spooled(around: Surroundings, moment: Moment) -> Parameters:
    newest = newest_spooled(around.settings.lake, moment.exchange, until=moment.seen.astimezone(UTC))
    return {"spooled": newest or _open(moment)}


_STATEMENTS = (
    _Statement("feed", ("feed_age_s", "feed_gap_s"), timedelta(minutes=30), further=_spooled),
    _Statement(
        "symbol_feeds", ("symbol_lag_s", "quiet_expiries"), further=lambda *_: {"quiet_s": QUIET_EXPIRY_S}
    ),
    _Statement("frozen_prices", ("price_frozen_s",), timedelta(minutes=30)),
    _Statement("chain_completeness", ("chain_completeness_pct",), timedelta(minutes=60)),
    _Statement(
        "recent_quality",
        (
            "ltp_null_pct",
            "oi_null_pct",
            "underlying_null_pct",
            "one_sided_pct",
            "duplicate_pct",
            "lateness_s",
        ),
        timedelta(minutes=15),
    ),
    _Statement("quarantine_rate", ("quarantine_rate_pct",), timedelta(minutes=15)),
    _Statement(
        "signal_totals",
        ("total_signals", "avg_confidence", "buy_pct", "sell_pct", "hold_pct", "dominant_signal_pct"),
        optional="signals",
    ),
    _Statement(
        "paper_trading", ("total_pnl", "portfolio_constraint_violations"), optional="paper_trading_metrics"
    ),
)


def lake_probes() -> list[Probe]:
    """The probes that are SQL over the lake; all of them look at a session that has begun."""
    return [
        Probe(one.name, one.metrics, _runner(one), in_session=True)
        for one in _STATEMENTS
    ]  # fmt: skip


@cache
def health_query(name: str) -> Query:
    """A statement of `sql/health/`."""
    return load_query(HEALTH / f"{name}.sql")


@cache
def _view_reads() -> dict[str, tuple[str, ...]]:
    return {path.stem: load_query(path).reads for path in Path(VIEWS).glob("*.sql")}


def tables_of(session: Session, names: Iterable[str]) -> list[str]:
    """The tables that some tables and views come down to."""
    found: list[str] = []
    for name in names:
        base = name.removesuffix("_recent").removesuffix("_partitions")
        if name in session.snapshots:
            found.append(name)
        elif base in session.snapshots:
            found.append(base)
        else:
            found += tables_of(session, _view_reads().get(name, ()))
    return list(dict.fromkeys(found))


def shown(around: Surroundings, query: Query, parameters: Parameters) -> Shown:
    """How to see the rows of a statement again, whatever is committed later."""
    tables = tables_of(around.session, query.reads)
    versions = {name: around.session.snapshots[name].version for name in tables}
    # A version is one table's; several tables are as they were at a moment.
    at = next(iter(versions.values())) if len(versions) == 1 else around.opened_at
    return Shown(query.sql, parameters, versions, at)


def _runner(one: _Statement) -> Callable[[Surroundings, Moment], Sequence[Sample]]:
    def run(around: Surroundings, moment: Moment) -> Sequence[Sample]:
        session = around.session
        query = health_query(one.name)
        lacking = [name for name in query.reads if name not in session.snapshots and name in _TABLES]
        if lacking:
            if one.optional in lacking:
                return []
            why = f"the lake has no table {', '.join(lacking)}"
            return [Sample(metric, moment.exchange, None, why=why) for metric in one.metrics]
        every = _parameters(one, around, moment)
        parameters = {name: every[name] for name in query.parameters}
        rows = session.table(query.sql, parameters).to_pylist()
        return _samples(one, moment, rows, shown(around, query, parameters))

    return run


_TABLES = frozenset({"option_chain", "quarantine", "signals", "paper_trading_metrics"})


def _parameters(one: _Statement, around: Surroundings, moment: Moment) -> Parameters:
    seen = moment.seen.astimezone(UTC)
    further = one.further(around, moment) if one.further else {}
    return {
        "exchange": moment.exchange,
        "date": moment.date,
        "previous_date": moment.previous.date if moment.previous else moment.date,
        "open": _open(moment),
        "now": seen,
        "since": seen - one.window,
        **further,
    }


def _open(moment: Moment) -> datetime:
    if moment.session is None:
        raise ValueError(f"{moment.exchange} has no session on {moment.date}")
    return moment.session.open.astimezone(UTC)


def _samples(one: _Statement, moment: Moment, rows: list[dict[str, Any]], how: Shown) -> list[Sample]:
    """One sample a row and metric; a metric without a row has no value."""
    samples = []
    for metric in one.metrics:
        names = METRICS[metric].labels
        for row in rows:
            value = row[metric]
            facts = {name: _plain(fact) for name, fact in row.items() if name not in one.metrics}
            samples.append(
                Sample(
                    metric,
                    moment.exchange,
                    None if value is None else float(value),
                    labels={name: str(row[name]) for name in names},
                    why="" if value is not None else "no rows to measure it on",
                    facts=facts,
                    shown=how,
                )
            )
        if not rows:
            samples.append(Sample(metric, moment.exchange, None, why="no rows to measure it on", shown=how))
    return samples


def _plain(fact: Any) -> Any:
    """A value as JSON has it; times as the lake's zone shows them."""
    return fact.isoformat() if isinstance(fact, date) else fact
