"""Alerts in other databases are those of the store, read by sqlite3; whatever dies, each change once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alerting import MINUTE, START, Alerting
from export_targets import (
    EXPORTS,
    DuckDbExport,
    Export,
    PostgresExport,
    SqliteExport,
    comparable,
    export_to,
)

from catalog.export import ExportedTable, export_sources
from lake.errors import SettingsError
from lake.settings import Settings
from monitors.alert_store import AlertStore
from monitors.matchers import Matcher
from monitors.serving import CHANGE_COLUMNS, STATE_COLUMNS, sources
from monitors.silences import new_silence

INDIA = timezone(timedelta(hours=5, minutes=30))


@pytest.fixture(params=EXPORTS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Export:
    return export_to(tmp_path / "out", request)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path / "lake")


@pytest.fixture
def alerting(settings: Settings) -> Alerting:
    made = Alerting(settings.lake.root / "monitors.db", [])
    made.check("feed", "chain")
    made.now += MINUTE
    made.check("feed")  # the chain is well again
    return made


def bring(settings: Settings, target: Export, **given: Any) -> dict[str, ExportedTable]:
    opened = target.target()
    try:
        return {one.table: one for one in export_sources(opened, sources(settings), **given)}
    finally:
        if not isinstance(target, DuckDbExport):
            opened.close()  # type: ignore[union-attr]


def store_rows(alerting: Alerting, sql: str) -> list[dict[str, Any]]:
    db = sqlite3.connect(alerting.path)
    db.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in db.execute(sql)]
    finally:
        db.close()


def moment(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at / 1e6, UTC)


def changes(alerting: Alerting) -> list[tuple[Any, ...]]:
    same = ("exchange", "fingerprint", "rule", "state_before", "severity", "value", "summary", "why")
    return comparable(
        [
            {name: row[name] for name in same}
            | {"date": datetime.fromtimestamp(row["at"] / 1e6, INDIA).date(), "event_time": moment(row["at"]),
               "state": row["state_after"]}
            for row in store_rows(alerting, "SELECT * FROM transitions")
        ]
    )  # fmt: skip


def test_states_and_changes_are_those_of_the_store(
    alerting: Alerting, settings: Settings, target: Export
) -> None:
    done = bring(settings, target)
    own = store_rows(alerting, "SELECT * FROM alerts")
    assert (done["alert_states"].row_count, done["alerts"].done) == (len(own), "added")
    assert comparable(target.rows("alerts")) == changes(alerting)
    assert {c.name for c in CHANGE_COLUMNS} == set(target.rows("alerts")[0])
    there = target.rows("alert_states")
    assert {c.name for c in STATE_COLUMNS} == set(there[0])
    names = ["fingerprint", "rule", "exchange", "state", "severity", "peak", "active_since", "starts_at",
             "ends_at", "updated_at", "value"]  # fmt: skip
    times = ("active_since", "starts_at", "ends_at", "updated_at")
    expected = [
        row | {name: moment(row[name]) for name in times} | {"value": json.loads(row["finding"])["value"]}
        for row in own
    ]
    assert comparable(there, names=names) == comparable(expected, names=names)
    states = {row["rule"]: row["state"] for row in there}
    assert (states["feed"], states["chain"]) == ("firing", "resolved")


def test_who_has_seen_it_and_what_is_silenced_is_seen_and_goes_again(
    alerting: Alerting, settings: Settings, target: Export
) -> None:
    bring(settings, target)
    now = datetime.now(UTC)
    with AlertStore(alerting.path) as store:
        silence = new_silence(
            now, [Matcher.parse("rule=feed")], ends_at=now + timedelta(hours=1), author="a", comment="known"
        )
        with store.transaction():
            store.keep_silence(silence)
    assert bring(settings, target)["alert_states"].done == "made anew"
    rows = {row["rule"]: row for row in target.rows("alert_states")}
    assert (bool(rows["feed"]["silenced"]), rows["feed"]["silences"]) == (True, silence.id)
    assert (bool(rows["chain"]["silenced"]), rows["chain"]["silenced_until"]) == (False, None)
    assert {one.done for one in bring(settings, target).values()} == {"nothing new"}
    with AlertStore(alerting.path) as store, store.transaction() as db:
        db.execute("DELETE FROM silences")
        db.execute("DELETE FROM alerts WHERE rule != 'feed'")
    bring(settings, target)
    [row] = target.rows("alert_states")
    assert (row["rule"], bool(row["silenced"])) == ("feed", False)


def test_changes_come_once_and_stay_when_the_store_forgets_them_or_is_lost(
    alerting: Alerting, settings: Settings, target: Export
) -> None:
    bring(settings, target)
    first = comparable(target.rows("alerts"))
    assert first == changes(alerting)
    alerting.now += MINUTE
    alerting.check("feed", "chain")
    bring(settings, target)
    whole = changes(alerting)
    assert comparable(target.rows("alerts")) == whole
    assert len(whole) > len(first)
    with AlertStore(alerting.path) as store, store.transaction():
        store.prune(START + timedelta(days=9))
    for file in alerting.path.parent.glob("monitors.db*"):
        file.unlink()
    alerting.now += MINUTE
    alerting.check("feed")
    for _ in range(2):
        bring(settings, target)
        assert comparable(target.rows("alerts")) == sorted(whole + changes(alerting), key=repr)


def test_a_clock_that_was_set_back_hides_no_change(
    alerting: Alerting, settings: Settings, target: Export
) -> None:
    bring(settings, target)
    with AlertStore(alerting.path) as store, store.transaction() as db:
        db.execute(
            "INSERT INTO transitions (at, fingerprint, rule, exchange, state_before, state_after, severity,"
            " value, summary, why) SELECT at - 1000000, fingerprint, rule, exchange, state_before,"
            " state_after, severity, value, summary, 'late' FROM transitions WHERE id = 1"
        )
    bring(settings, target)
    assert comparable(target.rows("alerts")) == changes(alerting)


KILLED = """
import os, sys
from pathlib import Path
from catalog import export, export_duckdb, export_sql
from lake.settings import Settings
from monitors.serving import sources

root, kind, where, step = sys.argv[1:]
if kind == "environment":
    where = os.environ["EXPORT_URL"]
if kind == "duckdb":
    target, writer = export_duckdb.DuckDbTarget(Path(where)), export_duckdb._Writer
else:
    target, writer = export_sql.SqlTarget(where), export_sql._Writer
real = getattr(writer, step)

def dying(self, table, *more):
    real(self, table, *more)
    if table == "alerts":
        os._exit(9)

setattr(writer, step, dying)
export.export_sources(target, sources(Settings(root=Path(root))))
"""


@pytest.mark.parametrize("step", ["delete_since", "insert", "set_mark"])
def test_an_export_that_is_killed_is_finished_by_the_next(
    alerting: Alerting, settings: Settings, target: Export, step: str
) -> None:
    bring(settings, target)
    before = comparable(target.rows("alerts"))
    alerting.now += MINUTE
    alerting.check("chain")
    kind, where, environment = "environment", "", {}
    if isinstance(target, DuckDbExport):
        kind, where = "duckdb", str(target.file)
    elif isinstance(target, SqliteExport):
        kind, where = "sqlite", f"sqlite:///{target.file.as_posix()}"
    else:
        environment = {"EXPORT_URL": target.database.url}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(settings.root), kind, where, step],
        check=False, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    assert comparable(target.rows("alerts")) == before
    bring(settings, target)
    assert comparable(target.rows("alerts")) == changes(alerting)


def test_a_lake_without_alerts_gets_no_tables(settings: Settings, target: Export) -> None:
    assert bring(settings, target) == {}


def test_a_table_that_no_export_made_is_left_alone(
    alerting: Alerting, settings: Settings, target: Export
) -> None:
    del alerting
    if not isinstance(target, PostgresExport):
        target.file.parent.mkdir()
    target.run("CREATE TABLE alerts (mine INTEGER)")
    with pytest.raises(SettingsError, match="a table alerts that no export made"):
        bring(settings, target)
