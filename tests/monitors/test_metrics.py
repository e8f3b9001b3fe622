"""What the statements of sql/health measure, on rows whose answer is worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from health_lake import DAY, INDIA, NOW, OPEN, HealthLake, at, chain_rows

from catalog.calendar import SessionCalendar
from catalog.contracts import OPTION_CHAIN, QUARANTINE
from lake.append import append
from lake.process_lock import ProcessLock
from lake.queries import load_folder
from lake.session import Session
from lake.spool import Entry, Queue
from lake.table import TableSpec
from monitors.check import Check, all_probes
from monitors.evidence import inlined
from monitors.lake_probes import HEALTH, health_query
from monitors.metrics import LAKE, METRICS, Sample, Shown
from monitors.probes import Measured, Surroundings, measure, moment_of

Look = Callable[..., Check]
TIME = pa.timestamp("us", tz="UTC")
KEYS = [("date", pa.date32()), ("exchange", pa.string()), ("event_time", TIME)]
PARAMETERS: dict[str, Any] = {
    "exchange": "NSE", "date": DAY, "previous_date": DAY - timedelta(days=3), "first_date": DAY,
    "open": OPEN.astimezone(UTC), "now": NOW.astimezone(UTC), "since": at(11, 30).astimezone(UTC),
    "spooled": OPEN.astimezone(UTC), "quiet_s": 60, "metrics": ["total_pnl"], "from_s": 0, "until_s": 86_400,
    "metric": "total_pnl",
}  # fmt: skip


def derived(made: HealthLake, name: str, columns: list[tuple[str, Any]], rows: list[dict[str, Any]]) -> None:
    """A table that another room writes, as DESIGN has it."""
    schema = pa.schema([*KEYS, *columns, ("batch_id", pa.string())])
    spec = TableSpec(name, schema, ("date", "exchange"), ("event_time",), (), area="derived")
    path = made.settings.lake.create(spec)
    table = pa.Table.from_pylist(
        [{"date": DAY, "exchange": "NSE", "batch_id": "b-1", **row} for row in rows], schema=schema
    )
    append(path, spec, table, stream="test", sequence=1, metadata={"batch_id": "b-1"})


def measured(made: HealthLake, calendar: SessionCalendar, now: datetime = NOW) -> Measured:
    """Every metric, without judging."""

    def catalog() -> Any:
        from catalog.database import open_database

        return open_database(made.settings.catalog)

    with Session(made.settings.lake) as session:
        around = Surroundings(
            made.settings, calendar, now.astimezone(UTC), session, datetime.now(UTC), catalog, ("NSE", "BSE")
        )
        return measure(around, all_probes())


def value(found: Measured, metric: str, exchange: str = "NSE", **labels: str) -> float | None:
    (sample,) = [s for s in found.of(metric, exchange) if dict(s.labels) == labels]
    return sample.value


@pytest.fixture
def bare(tmp_path: Path) -> HealthLake:
    made = HealthLake(tmp_path)
    made.settings.lake.create(QUARANTINE.spec)
    return made


@pytest.mark.parametrize("query", load_folder(HEALTH), ids=lambda query: query.name)
def test_a_statement_tells_each_row_of_its_grain_once(well: HealthLake, query: Any) -> None:
    if {"signals", "paper_trading_metrics"} & set(query.reads):
        pytest.skip("its table is made in a test of its own")
    with Session(well.settings.lake) as session:
        rows = session.table(query.sql, {key: PARAMETERS[key] for key in query.parameters}).to_pylist()
    grain = query.grain.partition(" per ")[2].replace(",", " ").split()
    assert len({tuple(row[name] for name in grain) for row in rows}) == len(rows)
    if not grain:
        assert len(rows) == 1


def test_the_age_of_the_feed_counts_from_the_newest_chain(
    bare: HealthLake, calendar: SessionCalendar
) -> None:
    bare.commit(OPTION_CHAIN, chain_rows(until=at(11, 50)))
    found = measured(bare, calendar)
    assert value(found, "feed_age_s") == 10 * 60 + 20
    assert value(found, "feed_gap_s") == 60


def test_before_the_first_chain_it_counts_from_the_open(bare: HealthLake, calendar: SessionCalendar) -> None:
    bare.commit(OPTION_CHAIN, chain_rows(opening=OPEN - timedelta(days=3), until=OPEN - timedelta(days=3)))
    found = measured(bare, calendar, at(9, 20))
    assert value(found, "feed_age_s") == 300


def test_chains_of_the_pre_open_are_no_gap(bare: HealthLake, calendar: SessionCalendar) -> None:
    rows = [
        row
        for row in chain_rows(opening=at(9, 0), until=at(9, 20))
        if row["event_time"].minute in {0, 15, 20}
    ]
    bare.commit(OPTION_CHAIN, rows)
    assert value(measured(bare, calendar, at(9, 20, 10)), "feed_gap_s") == 300


def test_a_clock_that_is_ahead_does_not_hide_a_feed_that_stands_still(
    bare: HealthLake, calendar: SessionCalendar
) -> None:
    rows = chain_rows(until=at(11, 0))
    ahead = [{**row, "event_time": at(14, 0)} for row in rows[-60:]]
    bare.commit(OPTION_CHAIN, rows + ahead)
    assert value(measured(bare, calendar), "feed_age_s") == 3600 + 20


def test_spooled_chains_count_for_the_age_of_the_feed(bare: HealthLake, calendar: SessionCalendar) -> None:
    bare.commit(OPTION_CHAIN, chain_rows(until=at(11, 50)))
    batch = pa.table({"event_time": pa.array([at(11, 59), at(14, 0)], TIME)})
    spool = bare.spool("live")
    spool.put([Entry("option_chain", "NSE", "option_chain", batch)], offered={("option_chain", "NSE"): 2})
    spool.close()
    found = measured(bare, calendar)
    assert value(found, "feed_age_s") == 80
    assert value(found, "feed_age_s", "BSE") == 10 * 60 + 20
    assert value(found, "spooled_rows") == 2


def test_the_fullest_queue_of_an_app_that_is_heard_counts_and_no_other(
    bare: HealthLake, calendar: SessionCalendar
) -> None:
    bare.commit(OPTION_CHAIN, chain_rows(until=at(9, 20)))

    def look() -> Sample:
        return measured(bare, calendar).of("queue_used_pct", LAKE)[0]

    def told(app_id: str, highest: int, ago_s: float) -> ProcessLock:
        spool = bare.spool(app_id)
        spool.tell(Queue(0, highest, 200, int((NOW.timestamp() - ago_s) * 1e6)))
        spool.close()
        return ProcessLock(bare.settings.lake.spools / f"{app_id}.tap.lock", role="app")

    assert look().why == "no app runs that has a queue"
    told("dead", 200, 1).release()
    assert look().value is None
    hung = told("hung", 200, 30)
    assert "hung does not tell" in look().why
    apps = [hung, told("one", 10, 1), told("two", 150, 1)]
    found = look()
    assert found.value == 75
    assert (found.facts["app_id"], found.facts["highest"], found.facts["silent"]) == ("two", 150, ["hung"])
    for app in apps:
        app.release()
    assert look().value is None


@pytest.mark.parametrize(("cut_since", "expected"), [(at(12, 0), 100), (at(11, 58), 60)])
def test_one_chain_cut_short_is_no_finding_and_three_are(
    bare: HealthLake, calendar: SessionCalendar, cut_since: datetime, expected: float
) -> None:
    def is_cut(row: dict[str, Any]) -> bool:
        return bool(row["event_time"] >= cut_since and row["symbol"] == "NIFTY" and row["strike"] > 25_000)

    bare.commit(OPTION_CHAIN, [row for row in chain_rows(until=at(12, 0)) if not is_cut(row)])
    found = measured(bare, calendar)
    assert value(found, "chain_completeness_pct", symbol="NIFTY", expiry="2026-10-27") == expected
    assert value(found, "chain_completeness_pct", symbol="BANKNIFTY", expiry="2026-10-27") == 100


def test_a_price_is_frozen_since_the_first_chain_that_had_it(
    bare: HealthLake, calendar: SessionCalendar
) -> None:
    rows = [
        {**row, "underlying_price": 25_000.0}
        if row["event_time"] > at(11, 50) and row["symbol"] == "NIFTY"
        else row
        for row in chain_rows(until=at(12, 0))
    ]
    bare.commit(OPTION_CHAIN, rows)
    found = measured(bare, calendar)
    assert value(found, "price_frozen_s", symbol="NIFTY") == 9 * 60
    assert value(found, "price_frozen_s", symbol="BANKNIFTY") == 0


def test_a_feed_that_comes_back_after_a_pause_is_not_frozen(
    bare: HealthLake, calendar: SessionCalendar
) -> None:
    rows = [row for row in chain_rows(until=at(12, 0)) if not at(11, 35) < row["event_time"] < at(12, 0)]
    bare.commit(OPTION_CHAIN, rows)
    assert value(measured(bare, calendar), "price_frozen_s", symbol="NIFTY") == 0


def test_a_chain_received_twice_is_as_full_as_once(bare: HealthLake, calendar: SessionCalendar) -> None:
    rows = chain_rows(until=at(12, 0))
    again = [
        {**r, "received_time": r["received_time"] + timedelta(seconds=5)}
        for r in rows
        if r["event_time"] == at(11, 30)
    ]
    bare.commit(OPTION_CHAIN, rows + again)
    found = measured(bare, calendar)
    assert value(found, "chain_completeness_pct", symbol="NIFTY", expiry="2026-10-27") == 100
    assert value(found, "duplicate_pct") == 0


def test_signals_of_the_lake_win_over_the_summary(sick: HealthLake, calendar: SessionCalendar) -> None:
    rows = [
        {"event_time": at(10, minute), "symbol": "NIFTY", "signal": signal, "confidence": confidence}
        for minute, signal, confidence in (
            (0, "BUY", 0.5),
            (1, "BUY", 0.7),
            (2, "SELL", 0.6),
            (3, "HOLD", 0.4),
        )
    ] + [{"event_time": at(14, 0), "symbol": "NIFTY", "signal": "SELL", "confidence": 0.9}]
    columns = [("symbol", pa.string()), ("signal", pa.string()), ("confidence", pa.float64())]
    derived(sick, "signals", columns, rows)
    found = measured(sick, calendar)
    assert value(found, "total_signals") == 4
    assert value(found, "avg_confidence") == pytest.approx(0.55)
    assert [value(found, name) for name in ("buy_pct", "sell_pct", "hold_pct")] == [50, 25, 25]
    assert value(found, "dominant_signal_pct") == 50
    # BSE has none yet, and that is a count.
    assert value(found, "total_signals", "BSE") == 0


def test_paper_trading_is_its_newest_row(sick: HealthLake, calendar: SessionCalendar) -> None:
    columns = [("total_pnl", pa.float64()), ("portfolio_constraint_violations", pa.int64())]
    rows = [
        {"event_time": at(10, 0), "total_pnl": 500.0, "portfolio_constraint_violations": 0},
        {"event_time": at(11, 0), "total_pnl": -700.0, "portfolio_constraint_violations": 2},
        {"event_time": at(13, 0), "total_pnl": 9.0, "portfolio_constraint_violations": 9},
    ]
    derived(sick, "paper_trading_metrics", columns, rows)
    found = measured(sick, calendar)
    assert value(found, "total_pnl") == -700
    assert value(found, "portfolio_constraint_violations") == 2
    # Without a row of the lake, the summary's counts.
    assert value(found, "total_pnl", "BSE") == 1_200


def test_after_the_close_the_session_is_looked_at_as_of_its_close(
    bare: HealthLake, calendar: SessionCalendar
) -> None:
    bare.commit(OPTION_CHAIN, chain_rows(until=at(15, 39)))
    found = measured(bare, calendar, at(18, 0))
    assert value(found, "feed_age_s") == 60


@pytest.mark.parametrize(
    "now", [at(8, 0), datetime(2026, 10, 25, 12, 0, tzinfo=INDIA)], ids=["early", "sunday"]
)
def test_without_a_session_that_has_begun_no_feed_is_measured(
    bare: HealthLake, calendar: SessionCalendar, now: datetime
) -> None:
    bare.commit(OPTION_CHAIN, chain_rows(until=at(9, 20)))
    found = measured(bare, calendar, now)
    assert found.of("feed_age_s", "NSE") == []
    assert found.failures == []
    assert value(found, "ledger_difference_rows") == 0


def test_the_moment_knows_muhurat_and_the_session_before(calendar: SessionCalendar) -> None:
    moment = moment_of(calendar, "NSE", datetime(2025, 10, 23, 10, 0, tzinfo=INDIA))
    assert moment.previous is not None
    assert (moment.previous.date, moment.previous.kind) == (date(2025, 10, 21), "muhurat")


def test_every_probe_measures_what_it_names(well: HealthLake, calendar: SessionCalendar) -> None:
    found = measured(well, calendar)
    named = {metric for probe in all_probes() for metric in probe.metrics}
    assert named | {"failed_probes"} == set(METRICS)
    assert {sample.metric for sample in found.samples} == set(METRICS)
    assert found.failures == []


@pytest.mark.parametrize("name", ["feed", "symbol_feeds", "metric_course", "quarantine_rate"])
def test_a_statement_with_its_values_put_in_gives_the_same_rows(well: HealthLake, name: str) -> None:
    query = health_query(name)
    given = {key: PARAMETERS[key] for key in query.parameters}
    text = inlined(Shown(query.sql, given, {}, 1))
    assert "\n" not in text
    assert "$" not in text
    with Session(well.settings.lake) as session:
        assert session.table(text).to_pylist() == session.table(query.sql, given).to_pylist()


def test_text_in_quotes_is_put_in_as_text() -> None:
    shown = Shown("SELECT $a AS x,\n  '$a  b' AS y", {"a": "it's"}, {}, 1)
    assert inlined(shown) == "SELECT 'it''s' AS x, '$a  b' AS y"


def test_a_probe_that_breaks_costs_its_own_metrics_only(well: HealthLake, calendar: SessionCalendar) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    with Session(well.settings.lake) as session:
        around = Surroundings(
            well.settings, calendar, NOW.astimezone(UTC), session, datetime.now(UTC), broken, ("NSE",)
        )
        probes = [replace(one, run=broken) if one.name == "feed" else one for one in all_probes()]
        found = measure(around, probes)
    assert {(one.probe, one.exchange) for one in found.failures} == {("feed", "NSE"), ("registry", "LAKE")}
    assert value(found, "failed_probes") == 1
    assert "ZeroDivisionError: a fault of ours" in found.failures[0].error
    assert found.of("feed_age_s", "NSE") == []
    assert value(found, "symbol_lag_s", symbol="NIFTY") == 0
