"""Weeks in which everything is well: nothing may fire, at whatever time of day one looks.

Regular sessions, holidays, weekends, a muhurat hour, and each day's first and last minutes; checks keep what
they measured, so that later ones compare with it, and feed one alert engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from health_lake import DAY, INDIA, OPEN, PLENTY, HealthLake, chain_rows

from catalog.calendar import Session, SessionCalendar
from catalog.contracts import OPTION_CHAIN, QUARANTINE
from lake.append import append
from monitors.alerting import tell
from monitors.check import run_check
from monitors.evaluate import Outcome
from monitors.history import robust_spread
from monitors.rules import Measure, RuleSet, load_rules

FIRST, LAST = date(2025, 10, 1), date(2025, 10, 30)
"""With two holidays and the muhurat hour of 2025-10-21."""

OFFSETS = (
    timedelta(seconds=-60), timedelta(seconds=20), timedelta(minutes=47), timedelta(minutes=200),
    timedelta(minutes=374),
)  # fmt: skip
"""From the open: before it, just after it, and so on to the last minute of a regular session."""


def moved(day: pa.Table, session: Session) -> pa.Table:
    """A day's chains, moved to another session; its expiries move along."""
    days = (session.date - DAY).days
    shift = pa.scalar(session.open - OPEN, pa.duration("us"))
    for name in ("event_time", "received_time"):
        at = day.schema.get_field_index(name)
        day = day.set_column(at, name, pc.add(day.column(name), shift))
    for name in ("date", "expiry"):
        at = day.schema.get_field_index(name)
        numbers = pc.add(day.column(name).cast(pa.int32()), pa.scalar(days, pa.int32()))
        day = day.set_column(at, name, numbers.cast(pa.date32()))
    close = pa.scalar(session.close, pa.timestamp("us", tz="UTC"))
    return day.filter(pc.less(day.column("event_time"), close))


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    made = HealthLake(tmp_path_factory.mktemp("weeks"))
    calendar = SessionCalendar.load()
    rows = [{**row, "batch_id": "b"} for row in chain_rows(until=OPEN + timedelta(minutes=385))]
    day = pa.Table.from_pylist(rows, schema=OPTION_CHAIN.schema)
    path = made.settings.lake.create(OPTION_CHAIN.spec)
    made.settings.lake.create(QUARANTINE.spec)
    for number, session in enumerate(calendar.sessions("NSE", FIRST, LAST), start=1):
        note = {"batch_id": f"b{number}", "app_id": "test", "seq_first": number, "seq_last": number}
        append(path, OPTION_CHAIN.spec, moved(day, session), stream="test", sequence=number, metadata=note)
    made.mirror()
    return made


def moments(calendar: SessionCalendar) -> Iterator[datetime]:
    """Some of each day: all of `OFFSETS` in turn, so that every time of day comes often enough."""
    for number in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        session = calendar.session("NSE", day)
        if session is None:
            yield datetime(day.year, day.month, day.day, 11, 0, tzinfo=INDIA)
            continue
        yield session.open + OFFSETS[number % 2]
        # Noon of each day, so that there is a history of it.
        yield session.open + (OFFSETS[3] if session.kind == "regular" else OFFSETS[2])
        if number % 3 == 0:
            yield min(session.open + OFFSETS[4], session.close - timedelta(seconds=30))
        yield session.close + timedelta(minutes=20)


def test_nothing_fires_in_weeks_that_are_well(
    weeks: HealthLake, calendar: SessionCalendar, rules: RuleSet
) -> None:
    draws = np.random.default_rng(5)
    looked: set[tuple[str, Outcome]] = set()
    for now in moments(calendar):
        session = calendar.session("NSE", now.date())
        # Signals of a rolling day: they come evenly, some days more than others.
        share = 0.0 if session is None else min(1.0, max(0.0, (now - session.open) / timedelta(hours=6)))
        signals = round(800 * (0.3 + share) * float(draws.normal(1, 0.08)))
        buys = round(signals * draws.uniform(0.17, 0.23))
        for exchange in ("NSE", "BSE"):
            weeks.summary(
                exchange, now=now, total_signals=signals, buy_signals=buys,
                sell_signals=round(signals * 0.2), hold_signals=round(signals * 0.6),
                avg_confidence=float(draws.normal(0.55, 0.01)), total_pnl=float(draws.normal(0, 1_500)),
                memory_usage_mb=float(draws.uniform(700, 1_400)),
            )  # fmt: skip
        check = run_check(weeks.settings, calendar, rules, now=now, keep=True, disk_usage=lambda _: PLENTY)
        told = [(now.isoformat(), one.rule.name, one.told) for one in check.alerting]
        assert told == []
        assert not check.could_not_run, (now, check.measured.failures, check.problems)
        looked |= {(one.rule.name, one.outcome) for one in check.judgements}
    standing = tell(weeks.settings, rules, check.judgements, check.now, clock=lambda: check.now)
    assert standing.alerts == []
    # Every rule was really looked at, those that need a history as well; these have nothing to look at.
    passed = {name for name, outcome in looked if outcome is Outcome.OK}
    assert {rule.name for rule in rules.enabled} - passed == {
        "writer_stopped", "queue_filling", "monitor_quiet", "feature_drift", "attribution_drift",
    }  # fmt: skip


@pytest.mark.parametrize("day_to_day", [0.05, 0.2])
def test_sessions_that_vary_by_chance_are_seldom_unusual(day_to_day: float) -> None:
    """Of sessions drawn from one distribution, one in a thousand at most is as far out as the rules ask."""
    draws = np.random.default_rng(17)
    rule = next(r for r in load_rules().enabled if r.measure is Measure.DEVIATION and r.threshold > 0)
    unusual, trials = 0, 4_000
    for _ in range(trials):
        *before, today = draws.normal(1, day_to_day, rule.min_sessions + 1)
        middle, spread = robust_spread(before)
        unusual += abs(today - middle) / max(spread, rule.spread_floor * middle) > rule.threshold
    assert unusual / trials <= 0.001 if day_to_day == 0.05 else unusual / trials <= 0.01


def test_the_median_and_the_spread_do_not_follow_one_odd_session() -> None:
    usual = [98.0, 99.0, 100.0, 101.0, 102.0]
    middle, spread = robust_spread(usual)
    assert (middle, spread) == (100.0, pytest.approx(1.4826))
    assert robust_spread([*usual[:-1], 1e9]) == (100.0, pytest.approx(1.4826))


@pytest.mark.parametrize("folder", ["my lake", "größe"])
def test_a_lake_that_is_not_there_is_no_healthy_lake(
    tmp_path: Path, calendar: SessionCalendar, rules: RuleSet, folder: str
) -> None:
    made = HealthLake(tmp_path / folder)
    check = run_check(made.settings, calendar, rules, now=OPEN + timedelta(hours=1), keep=False)
    assert check.could_not_run
    assert "check_failed" in {one.rule.name for one in check.alerting}
    assert "no lake at" in check.errors[0].told
