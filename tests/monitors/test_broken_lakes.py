"""Lakes that are broken from outside, one way each: the rule that it is for breaches, and nothing else.

The command in each alert's evidence is run as a user runs it, and shows the value.
"""

from __future__ import annotations

import json
import shlex
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from health_lake import DAY, EXPIRIES, NOW, OPEN, HealthLake, Rows, at, build

from catalog.contracts import HEALTH_METRICS, QUARANTINE
from lake.process_lock import ProcessLock
from lake.spool import Queue
from monitors.alerting import standing_of
from monitors.check import Check
from monitors.evaluate import Judgement, Outcome
from monitors.heartbeat import Heartbeat, beat
from monitors.rules import load_rules

Look = Callable[..., Check]
FRIDAY = DAY - timedelta(days=3)


def is_of(row: dict[str, Any], **wanted: Any) -> bool:
    return all(row[name] == value for name, value in wanted.items())


def drop(when: Callable[[dict[str, Any]], bool]) -> Callable[[Rows], Rows]:
    return lambda rows: [row for row in rows if not when(row)]


def alter(when: Callable[[dict[str, Any]], bool], **values: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **values} if when(row) else row for row in rows]


def of_nse(row: dict[str, Any]) -> bool:
    return bool(row["exchange"] == "NSE")


def recent(row: dict[str, Any]) -> bool:
    return bool(row["event_time"] > at(11, 40))


def every_second_strike(row: dict[str, Any]) -> bool:
    return int(row["strike"] / 100) % 2 == 0


def twice(rows: Rows) -> Rows:
    return rows + [row for row in rows if recent(row) and is_of(row, exchange="BSE", option_type="CE")][::5]


CHAINS: dict[str, tuple[str, Callable[[Rows], Rows]]] = {
    "the feed of an exchange stops": (
        "feed_stale NSE", drop(lambda r: of_nse(r) and r["event_time"] > at(11, 50))
    ),
    "the feed pauses and comes back": (
        "feed_paused NSE", drop(lambda r: of_nse(r) and at(11, 39) < r["event_time"] < at(11, 52))
    ),
    "an underlying stops": (
        "symbol_behind BANKNIFTY",
        drop(lambda r: is_of(r, symbol="BANKNIFTY") and r["event_time"] > at(11, 45)),
    ),
    "an underlying never comes": (
        "symbol_behind BANKNIFTY",
        lambda rows: [
            *(r for r in rows if not is_of(r, symbol="BANKNIFTY")),
            *(
                {**r, "date": FRIDAY, "event_time": OPEN - timedelta(days=3)}
                for r in rows
                if is_of(r, symbol="BANKNIFTY", event_time=OPEN)
            ),
        ],
    ),
    "an expiry stops": (
        "expiry_quiet NIFTY",
        drop(lambda r: is_of(r, symbol="NIFTY", expiry=EXPIRIES[1]) and r["event_time"] > at(11, 15)),
    ),
    "a source repeats an old answer": (
        "price_frozen SENSEX",
        alter(
            lambda r: is_of(r, symbol="SENSEX") and r["event_time"] > at(11, 45), underlying_price=82_000.0
        ),
    ),
    "chains are cut short": (
        "partial_chain NIFTY 2026-10-27",
        drop(lambda r: is_of(r, symbol="NIFTY", expiry=EXPIRIES[0], strike=25_200.0) and recent(r)),
    ),
    "chains lose most strikes": (
        "chain_cut NIFTY 2026-10-27",
        drop(lambda r: is_of(r, symbol="NIFTY", expiry=EXPIRIES[0]) and r["strike"] > 24_950 and recent(r)),
    ),
    "prices are missing": (
        "prices_missing BSE",
        alter(lambda r: is_of(r, exchange="BSE") and recent(r), ltp=None),
    ),
    "open interest is missing": (
        "open_interest_missing BSE",
        alter(lambda r: is_of(r, exchange="BSE") and recent(r), oi=None),
    ),
    "the price of the underlying is missing": (
        "underlying_missing NSE",
        alter(lambda r: of_nse(r) and recent(r), underlying_price=None),
    ),
    "puts are missing all day": (
        "one_sided_strikes NSE",
        drop(lambda r: of_nse(r) and every_second_strike(r) and is_of(r, option_type="PE")),
    ),
    "rows are written twice": ("duplicate_rows BSE", twice),
    "rows come late": (
        "rows_late NSE",
        lambda rows: [
            {**r, "received_time": r["event_time"] + timedelta(minutes=4)} if of_nse(r) and recent(r) else r
            for r in rows
        ],
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Break:
    """A way to break a lake.

    Attributes:
        expected: Rule and labels of the alert.
        do: Breaks it; may give back what is to be closed.
        disk: Total and free bytes of the disk, where that is what is wrong.
    """

    expected: str
    do: Callable[[HealthLake], Any]
    disk: tuple[int, int] | None = None


def rejected(made: HealthLake, count: int) -> None:
    rows = [
        {"date": NOW.date(), "exchange": "NSE", "received_time": at(11, 50), "table": "option_chain",
         "reason": "bad_number", "detail": "strike", "payload": "{}", "source": "live"}
        for _ in range(count)
    ]  # fmt: skip
    made.commit(QUARANTINE, rows)
    made.mirror()


def summary(**figures: Any) -> Callable[[HealthLake], Any]:
    return lambda made: made.summary("NSE", **figures)


def text_in_summary(text: str) -> Callable[[HealthLake], Any]:
    return lambda made: (made.settings.phase2_metrics_dir / "NSE_summary.json").write_text(text, "utf-8")


def dropped(made: HealthLake) -> None:
    spool = made.spool("tracker")
    spool.put([], offered={("option_chain", "NSE"): 7}, dropped={("option_chain", "NSE", "queue_full"): 7})
    spool.close()


def unbalanced(made: HealthLake) -> None:
    spool = made.spool("tracker")
    spool.put([], offered={("option_chain", "BSE"): 3}, dropped={("option_chain", "BSE", "bad"): 3})
    spool.close()
    made.commit(HEALTH_METRICS, made.measured({"dropped_rows": 3.0}, at(10, 11), exchange="BSE"), sequence=2)
    made.mirror()
    made.tamper("tracker", "UPDATE ledger SET offered = offered + 5")


def measured_before(**values: float) -> Callable[[HealthLake], Any]:
    def do(made: HealthLake) -> None:
        made.commit(HEALTH_METRICS, made.measured(values, at(10, 30)), sequence=2)
        made.mirror()

    return do


def both(*steps: Callable[[HealthLake], Any]) -> Callable[[HealthLake], Any]:
    return lambda made: [step(made) for step in steps]


def filled(count: int) -> Callable[[HealthLake], Any]:
    def do(made: HealthLake) -> None:
        made.further["raw_stream_spool_max_bytes"] = 1_000_000
        made.spool_rows("tracker", count, spooled=NOW - timedelta(seconds=20), size=10_000)

    return do


def queue_told(*, waiting: int, highest: int, runs: bool = True) -> Callable[[HealthLake], Any]:
    """An app whose queue of 10,000 was that full within ten seconds."""

    def do(made: HealthLake) -> ProcessLock | None:
        spool = made.spool("tracker")
        spool.tell(Queue(waiting, highest, 10_000, int(NOW.timestamp() * 1e6) - 500_000))
        spool.close()
        return ProcessLock(made.settings.lake.spools / "tracker.tap.lock", role="app") if runs else None

    return do


def stopped(made: HealthLake) -> None:
    made.spool("live").close()


def running(made: HealthLake) -> ProcessLock:
    made.spool("live").close()
    return ProcessLock(made.settings.lake.spools / "live.commit.lock", role="writer")


def mirror_behind(made: HealthLake) -> None:
    db = sqlite3.connect(made.settings.root / "catalog.db")
    db.execute("UPDATE mirror_cursors SET table_version = 0 WHERE table_name = 'option_chain'")
    db.commit()
    db.close()


def quiet(made: HealthLake) -> None:
    beat(made.settings.root, Heartbeat(at(10, 0), at(10, 15), 0))


def well_but(made: HealthLake) -> None:
    """Nothing is wrong with the lake itself."""


def drifted(made: HealthLake) -> None:
    made.drift(first=at(10, 15), missing=0.6)
    made.mirror()


def contributions_moved(made: HealthLake) -> None:
    made.contributions(first=DAY - timedelta(days=7), sample="session", means=[0.9] * 5, sequence=3)
    made.mirror()


def old_summary(made: HealthLake) -> None:
    made.summary("NSE", now=NOW - timedelta(hours=1))


OTHERS = {
    "a little goes to quarantine": Break("quarantine_rising NSE", lambda made: rejected(made, 20)),
    "half goes to quarantine": Break("quarantine_flood NSE", lambda made: rejected(made, 600)),
    "the ledger does not balance": Break("ledger_unbalanced BSE", unbalanced),
    "rows are dropped": Break("rows_dropped NSE", dropped),
    "the writer lags": Break(
        "writer_behind NSE", lambda made: made.spool_rows("tracker", 10, spooled=at(11, 50))
    ),
    "the writer has stopped": Break("writer_stopped LAKE", stopped),
    "the queue in an app's memory fills": Break("queue_filling LAKE", queue_told(waiting=0, highest=8_000)),
    "the spool fills": Break("spool_filling LAKE", filled(50)),
    "the spool is full": Break("spool_full LAKE", filled(95)),
    "the registry is behind": Break("registry_behind LAKE option_chain", mirror_behind),
    "the disk gets low": Break("disk_low LAKE", well_but, disk=(500_000_000_000, 30_000_000_000)),
    "the disk is full": Break("disk_full LAKE", well_but, disk=(5_000_000_000, 1_000_000_000)),
    "the monitor was quiet": Break("monitor_quiet LAKE", quiet),
    "a spool is no database": Break(
        "check_failed LAKE check_failed NSE check_failed BSE",
        lambda made: (made.spool("tracker").close(),
                      (made.settings.lake.spools / "tracker.db").write_bytes(b"no database at all" * 100)),
    ),
    "the catalog is no database": Break(
        "check_failed LAKE",
        lambda made: (made.settings.root / "catalog.db").write_bytes(b"no database at all" * 100),
    ),
    "the summary is missing": Break(
        "summary_missing NSE", lambda made: (made.settings.phase2_metrics_dir / "NSE_summary.json").unlink()
    ),
    "the summary is half-written": Break(
        "summary_unreadable NSE", text_in_summary('{"exchange": "NSE", "data_quality": {"macro_av')
    ),
    "the summary is empty": Break("summary_unreadable NSE", text_in_summary("")),
    "the summary is a list": Break("summary_unreadable NSE", text_in_summary("[1, 2]")),
    "the summary has impossible values": Break(
        "summary_malformed NSE", summary(macro_availability_pct=140, avg_confidence="high")
    ),
    "the summary is old": Break("summary_old NSE", old_summary),
    "macro data is missing": Break("macro_availability NSE", summary(macro_availability_pct=89.9)),
    "some database writes fail": Break("database_writes NSE", summary(database_write_success_rate=98.0)),
    "database writes fail": Break("database_writes_lost NSE", summary(database_write_success_rate=50.0)),
    "the tracker takes much memory": Break("memory_high NSE", summary(memory_usage_mb=4_100)),
    "the tracker has errors": Break("errors_go_on NSE", summary(error_rate=0.5)),
    "the tracker has many errors": Break("errors_many NSE", summary(error_rate=25)),
    "there are few signals": Break("signals_few NSE", summary(total_signals=60)),
    "there are many signals": Break("signals_many NSE", summary(total_signals=900)),
    "there is no signal": Break(
        "no_signals NSE", summary(total_signals=0, buy_signals=0, sell_signals=0, hold_signals=0)
    ),
    "confidence is no better than chance": Break("confidence_low NSE", summary(avg_confidence=0.34)),
    "confidence spikes": Break("confidence_spike NSE", summary(avg_confidence=0.9)),
    "confidence drops": Break("confidence_drop NSE", summary(avg_confidence=0.42)),
    "nearly all signals are BUY": Break(
        "buy_share_unusual NSE", summary(buy_signals=264, hold_signals=10, sell_signals=56)
    ),
    "nearly all signals are SELL": Break(
        "sell_share_unusual NSE", summary(sell_signals=264, hold_signals=10, buy_signals=56)
    ),
    "a feature is missing window after window": Break("feature_drift NSE", drifted),
    "what a feature adds has moved": Break("attribution_drift NSE", contributions_moved),
    "paper trading loses fast": Break("losing_fast NSE", summary(total_pnl=-9_500)),
    "paper trading has lost much": Break(
        "losing NSE",
        both(summary(total_pnl=-26_000), lambda made: _pnl_before(made, -25_900.0)),
    ),
    "limits are broken again and again": Break(
        "constraint_violations NSE", summary(portfolio_constraint_violations=9)
    ),
}  # fmt: skip


def _pnl_before(made: HealthLake, pnl: float) -> None:
    made.commit(HEALTH_METRICS, made.measured({"total_pnl": pnl}, at(10, 5)), sequence=2)
    made.mirror()


def names(check: Check) -> set[str]:
    """Rule and labels of each alert that no other explains."""
    lasting = [replace(one, rule=replace(one.rule, for_s=0)) for one in check.judgements]
    standing = standing_of(load_rules(), lasting, check.now)
    muted = [
        (one.finding.rule, dict(one.finding.labels))
        for one in standing.alerts
        if one.fingerprint in standing.muted
    ]
    return {
        f"{one.rule.name} {' '.join(one.labels[name] for name in _order(one))}"
        for one in check.alerting
        if (one.rule.name, dict(one.labels)) not in muted
    }


def _order(one: Judgement) -> list[str]:
    """The exchange where nothing tells more, else what does."""
    further = [name for name in ("symbol", "expiry") if name in one.labels]
    return further or ["exchange", *(name for name in ("table",) if name in one.labels)]


def shows_the_value(one: Judgement) -> None:
    """Run the command of an alert, and find its value in what it prints."""
    if sys.platform == "win32":
        return  # nothing in Python splits a line as cmd does
    words = shlex.split(str(one.evidence["command"]))
    assert words[0] == "strikelake"
    done = call(words[1:])
    assert done.exit_code == 0, (words, done.stderr)
    rows = json.loads(done.stdout)
    metric, value = one.rule.metric, one.evidence["value"]
    seen = [row[name] for row in rows for name in (metric, "value") if row.get(name) is not None]
    assert any(number == pytest.approx(value) for number in seen), (value, rows)


def expected_of(text: str) -> set[str]:
    words = text.split()
    if words[0] == "check_failed":
        return {f"check_failed {exchange}" for exchange in words[1::2]}
    return {text}


def test_nothing_breaches_in_a_lake_that_is_well(sick: HealthLake, look: Look) -> None:
    check = look(sick)
    assert check.alerting == []
    assert not check.could_not_run
    known = {one.rule.name for one in check.judgements if one.outcome is Outcome.OK}
    # These have nothing to look at in it: no app, no check before.
    assert set(_BREAKING_RULES) - known == {"writer_stopped", "monitor_quiet", "queue_filling"}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_that_are_broken_breach_their_rule_alone(name: str, tmp_path: Path, look: Look) -> None:
    expected, change = CHAINS[name]
    check = look(build(tmp_path, change=change))
    assert names(check) == {expected}
    assert not check.could_not_run
    for one in check.alerting:
        shows_the_value(one)
        assert one.evidence["batch_ids"]
        assert one.evidence["table_versions"]
        assert "?" not in one.told


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_broken_breaches_its_rule_alone(name: str, sick: HealthLake, look: Look) -> None:
    broken = OTHERS[name]
    held = broken.do(sick)
    check = look(sick, **({"disk_usage": lambda _: broken.disk} if broken.disk else {}))
    if isinstance(held, ProcessLock):
        held.release()
    assert names(check) == expected_of(broken.expected)
    assert check.could_not_run == broken.expected.startswith("check_failed")
    for one in check.alerting:
        if one.outcome is Outcome.BREACH:
            shows_the_value(one)
        assert one.evidence["table_versions"]
        assert "?" not in one.told


def test_every_rule_is_broken_by_some_test(well: HealthLake, look: Look) -> None:
    check = look(well, keep=False)
    assert {one.rule.name for one in check.judgements} == set(_BREAKING_RULES)


_BREAKING_RULES = [
    text.split()[0] for text in (*(c[0] for c in CHAINS.values()), *(b.expected for b in OTHERS.values()))
]


def test_a_writer_that_runs_is_no_finding(sick: HealthLake, look: Look) -> None:
    lock = running(sick)
    try:
        assert names(look(sick)) == set()
    finally:
        lock.release()


def test_on_a_sunday_only_what_must_hold_always_is_looked_at(well: HealthLake, look: Look) -> None:
    check = look(well, NOW - timedelta(days=1), keep=False)
    assert check.alerting == []
    due = {one.rule.name for one in check.judgements if one.outcome is not Outcome.NOT_NOW}
    assert {"ledger_unbalanced", "disk_full", "registry_behind"} <= due
    assert not {"feed_stale", "partial_chain", "summary_missing"} & due


def test_a_damaged_table_is_no_pass(sick: HealthLake, look: Look) -> None:
    log = sick.settings.root / "raw_stream" / "option_chain" / "_delta_log"
    (log / f"{1:020d}.json").write_bytes(b"")
    check = look(sick)
    assert check.could_not_run
    stale = [one for one in check.judgements if one.rule.name == "feed_stale"]
    assert {one.outcome for one in stale} == {Outcome.ERROR}
    assert {"check_failed NSE", "check_failed BSE"} <= names(check)
    assert "option_chain" in next(one.told for one in stale)


def test_a_lake_without_the_table_is_silence_and_no_health(sick: HealthLake, look: Look) -> None:
    (sick.settings.root / "raw_stream" / "option_chain").rename(sick.folder / "gone")
    assert {"feed_stale NSE", "feed_stale BSE"} <= names(look(sick))
