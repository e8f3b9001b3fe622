"""Serving tables in other databases are what the lake has: at once, bit by bit, and whatever dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from command_line import call
from deltalake import DeltaTable
from export_targets import (
    EXPORTS,
    DuckDbExport,
    Export,
    PostgresExport,
    SqliteExport,
    comparable,
    export_to,
)

from catalog.contracts import (
    ATTRIBUTION,
    DRIFT_SCORES,
    FEED_QUALITY,
    HEALTH_METRICS,
    ML_FEATURES,
    OPTION_CHAIN,
    PAPER_TRADING_METRICS,
    SIGNALS,
    Column,
    Contract,
)
from catalog.export import ExportedTable, export
from catalog.serving import SERVING, SERVING_TABLES
from catalog.upkeep import SPECS
from lake.append import append
from lake.drop import drop_partitions
from lake.errors import ExportUnavailableError, SettingsError
from lake.maintenance import maintain
from lake.queries import load_folder
from lake.session import Session
from lake.table import Lake

INDIA = timezone(timedelta(hours=5, minutes=30))
DAY = date(2026, 10, 26)
ROWS = {"paper_trading_metrics", "health_metrics", "drift_scores", "attribution", "feed_quality"}
MARK = "strikelake_export"


class SmallLake:
    """A lake with something in every table that is served, and hands to add more."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake.at(folder)
        self._draws = np.random.default_rng(5)
        self._sequence = 0

    def commit(self, contract: Contract, rows: list[dict[str, Any]]) -> None:
        path = self.lake.create(contract.spec)
        self._sequence += 1
        batch_id = f"{contract.table}-{self._sequence:06d}"
        schema = contract.schema
        for name in sorted({name for row in rows for name in row} - set(schema.names)):
            schema = schema.append(pa.field(name, pa.float64()))
        table = pa.Table.from_pylist([row | {"batch_id": batch_id} for row in rows], schema=schema)
        note = {
            "batch_id": batch_id,
            "app_id": "test",
            "seq_first": self._sequence,
            "seq_last": self._sequence,
        }
        append(path, contract.spec, table, stream="test", sequence=self._sequence, metadata=note)

    def keys(self, day: date, minute: int, exchange: str = "NSE") -> dict[str, Any]:
        moment = datetime(day.year, day.month, day.day, 9, 15, tzinfo=INDIA) + timedelta(minutes=minute)
        return {"date": day, "exchange": exchange, "event_time": moment.astimezone(UTC),
                "received_time": (moment + timedelta(seconds=1)).astimezone(UTC)}  # fmt: skip

    def health(
        self, day: date = DAY, minute: int = 0, *, contract: Contract = HEALTH_METRICS, **more: Any
    ) -> None:
        rows = []
        for exchange in ("NSE", "BSE"):
            keys = self.keys(day, minute, exchange)
            del keys["received_time"]
            rows += [
                keys | {"metric": name, "labels": "", "value": self._draws.random(), "unit": "s", **more}
                for name in ("feed_age_s", "feed_gap_s")
            ]
        self.commit(contract, rows)

    def paper(self, day: date = DAY, minute: int = 0) -> None:
        row = self.keys(day, minute) | {
            "total_pnl": self._draws.normal(0, 999),
            "trades": minute,
            "source": "phase2",
        }
        self.commit(PAPER_TRADING_METRICS, [row])

    def chains(self, day: date = DAY, minute: int = 0) -> None:
        rows = [
            self.keys(day, minute, exchange)
            | {"symbol": symbol, "expiry": day, "strike": strike, "option_type": side, "ltp": 1.0,
               "oi": None if self._draws.random() < 0.2 else 75, "source": "live", "dq_flags": 0}
            for exchange, symbol in (("NSE", "NIFTY"), ("BSE", "SENSEX"))
            for strike in (100.0, 200.0)
            for side in ("CE", "PE")
        ]  # fmt: skip
        self.commit(OPTION_CHAIN, rows)

    def features(self, day: date = DAY, minute: int = 0) -> None:
        rows = [
            self.keys(day, minute + step)
            | {"symbol": symbol, "source": "live", "pcr": self._draws.random(),
               "skew": None if step == 1 else self._draws.normal(0, 1)}
            for symbol in ("NIFTY", "BANKNIFTY")
            for step in range(3)
        ]  # fmt: skip
        self.commit(ML_FEATURES, rows)

    def signals(self, day: date = DAY, minute: int = 0, narrative: str = "rising") -> None:
        top = [{"name": "pcr", "value": 0.9, "z": 1.0, "magnitude": 0.5, "contribution": -0.25},
               {"name": "skew", "value": 0.1, "z": 0.5, "magnitude": 0.2, "contribution": 0.125}]  # fmt: skip
        row = self.keys(day, minute) | {
            "symbol": "NIFTY", "signal": "BUY", "confidence": 0.5,
            "probabilities": {"BUY": 0.5, "HOLD": 0.3, "SELL": 0.2},
            "regime": {"vix": "low", "trend": None, "expiry": "far"}, "model_version": "m1", "depth": "exact",
            "top_features": top, "narrative": narrative, "source": "live",
        }  # fmt: skip
        self.commit(SIGNALS, [row])

    def drift(self, day: date = DAY, minute: int = 0) -> None:
        keys = self.keys(day, minute)
        row = {"date": day, "exchange": "NSE", "window_start": keys["event_time"],
               "window_end": keys["received_time"], "symbol": "NIFTY", "feature": "pcr", "method": "psi",
               "score": self._draws.random(), "threshold": 0.2, "drifted": bool(minute % 2), "verdict": "ok",
               "row_count": 30, "dataset": "autumn"}  # fmt: skip
        self.commit(DRIFT_SCORES, [row])

    def quality(self, day: date = DAY, minute: int = 0) -> None:
        rows = [
            self.keys(day, minute)
            | {"symbol": "NIFTY", "source": "live", "detector": detector, "rows_seen": 80,
               "rows_flagged": minute, "chains": 1, "value": self._draws.random(), "detail": None}
            for detector in ("seen", "silent")
        ]  # fmt: skip
        self.commit(FEED_QUALITY, rows)

    def attribution(self, day: date = DAY) -> None:
        row = {"date": day, "exchange": "NSE", "event_time": self.keys(day, 0)["event_time"],
               "model_version": "m1", "sample": "session", "feature": "pcr", "class": "BUY", "mean": 0.1,
               "mean_absolute": 0.2, "std": 0.1, "row_count": 10}  # fmt: skip
        self.commit(ATTRIBUTION, [row])

    def fill(self, day: date = DAY) -> None:
        for minute in range(3):
            self.health(day, minute)
            self.paper(day, minute)
            self.chains(day, minute)
            self.features(day, 10 * minute)
            self.signals(day, minute)
            self.drift(day, minute)
            self.quality(day, minute)
        self.attribution(day)

    def compact(self) -> None:
        maintain(self.lake, SPECS, lambda _: True)

    def drop(self, table: str, day: date) -> None:
        drop_partitions(self.lake.path(table), lambda values: values["date"] == day.isoformat())


@pytest.fixture
def made(tmp_path: Path) -> SmallLake:
    small = SmallLake(tmp_path / "my lake")
    small.fill()
    return small


@pytest.fixture(params=EXPORTS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Export:
    return export_to(tmp_path / "out", request)


def bring(made: SmallLake, target: Export, **given: Any) -> dict[str, ExportedTable]:
    opened = target.target()
    try:
        return {one.table: one for one in export(made.lake, opened, **given)}
    finally:
        if not isinstance(target, DuckDbExport):
            opened.close()  # type: ignore[union-attr]


def content(target: Export) -> dict[str, list[tuple[Any, ...]]]:
    return {table: comparable(target.rows(table)) for table in target.tables() - {MARK}}


def expected(made: SmallLake, tmp_path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What an export of everything into an empty file has."""
    fresh = DuckDbExport(tmp_path / f"fresh-{len(list(tmp_path.iterdir()))}.duckdb")
    bring(made, fresh)
    return content(fresh)


def lakes_own(made: SmallLake, table: str) -> pl.DataFrame:
    """Rows of a table as deltalake and polars read them, without the session."""
    frame = pl.from_arrow(pa.table(DeltaTable(str(made.lake.path(table))).to_pyarrow_table()))
    assert isinstance(frame, pl.DataFrame)
    return frame


def test_every_serving_table_has_its_statement_and_every_statement_its_table() -> None:
    assert {query.name for query in load_folder(SERVING, known=set(SPECS) | {"batch_quality"})} == {
        f"serving_{table.name}" for table in SERVING_TABLES
    }


def test_rows_are_the_lakes_by_an_independent_reading(made: SmallLake, target: Export) -> None:
    made.fill(DAY + timedelta(days=1))
    made.compact()
    done = bring(made, target)
    assert set(done) == {table.name for table in SERVING_TABLES}
    for name in ROWS:
        own = lakes_own(made, name)
        assert comparable(target.rows(name)) == comparable(own.to_dicts())
        assert done[name].row_count == len(own)

    signals = lakes_own(made, "signals")
    kept = [n for n in signals.columns if n not in {"probabilities", "regime", "top_features"}]
    assert comparable(target.rows("signals"), names=kept) == comparable(signals.select(kept).to_dicts())
    [first, *_] = target.rows("signals")
    assert (first["probability_buy"], first["regime_vix"], first["regime_trend"]) == (0.5, "low", None)
    assert (first["top_feature"], first["top_feature_contribution"]) == ("pcr", -0.25)
    assert '"name":"skew"' in first["top_features"]

    with Session(made.lake) as session:
        quality = session.table("SELECT * FROM batch_quality").to_pylist()
    assert comparable(target.rows("batch_quality")) == comparable(quality)


def test_the_summary_of_features_is_that_of_an_independent_calculation(
    made: SmallLake, target: Export
) -> None:
    bring(made, target)
    frame = lakes_own(made, "ml_features")
    found = {(r["exchange"], r["symbol"], r["feature"]): r for r in target.rows("feature_summary")}
    assert len(found) == 4
    for (exchange, symbol, feature), row in found.items():
        rows = frame.filter((pl.col("exchange") == exchange) & (pl.col("symbol") == symbol)).sort(
            "event_time"
        )
        values = rows[feature].drop_nulls().to_list()
        mean = sum(values) / len(values)
        assert (row["row_count"], row["null_count"]) == (len(rows), len(rows) - len(values))
        assert row["mean"] == pytest.approx(mean)
        assert row["std"] == pytest.approx((sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5)
        assert (row["minimum"], row["maximum"], row["last_value"]) == (min(values), max(values), values[-1])


def test_bit_by_bit_is_the_same_as_at_once(made: SmallLake, target: Export, tmp_path: Path) -> None:
    bring(made, target)
    assert {one.done for one in bring(made, target).values()} == {"nothing new"}
    tomorrow = DAY + timedelta(days=1)
    steps: list[Callable[[], None]] = [
        lambda: made.health(DAY, 5),
        lambda: made.chains(DAY, 7),
        # Between two chains that were there: another batch's gap changes.
        lambda: (made.chains(DAY, 4), made.signals(DAY, 9), made.features(DAY, 40))[0],
        lambda: made.fill(tomorrow),
        made.compact,
        lambda: made.drop("health_metrics", DAY),
        lambda: (made.drop("option_chain", DAY), made.chains(DAY, 11), made.health(DAY, 12))[0],
        lambda: (made.health(tomorrow, 20), made.compact(), made.health(tomorrow, 21))[0],
    ]
    for step in steps:
        step()
        done = bring(made, target)
        assert "made anew" not in {one.done for one in done.values()}
        assert content(target) == expected(made, tmp_path)
    before = content(target)
    assert {one.done for one in bring(made, target, full=True).values()} == {"made anew"}
    assert content(target) == before


def test_only_what_is_new_is_written(made: SmallLake, target: Export) -> None:
    bring(made, target)
    made.health(DAY, 30)
    done = bring(made, target)
    assert (done["health_metrics"].done, done["health_metrics"].row_count) == ("added", 4)
    assert {one.row_count for name, one in done.items() if name != "health_metrics"} == {0}
    made.compact()
    assert {one.row_count for one in bring(made, target).values()} == {0}


KILLED = """
import os, sys
from pathlib import Path
from catalog.export import export
from catalog.export_duckdb import DuckDbTarget
from catalog.export_sql import SqlTarget
from lake.table import Lake

root, kind, where, calls = sys.argv[1:]
if kind == "environment":
    where = os.environ["EXPORT_URL"]
target = DuckDbTarget(Path(where)) if kind == "duckdb" else SqlTarget(where)
left = int(calls)

def progress(rows):
    global left
    left -= 1
    if left == 0:
        os._exit(9)

export(Lake.at(root), target, progress=progress)
"""


@pytest.mark.parametrize("calls", [1, 4, 9])
def test_an_export_that_is_killed_is_finished_by_the_next(
    made: SmallLake, target: Export, tmp_path: Path, calls: int
) -> None:
    if calls > 1:
        bring(made, target, tables=SERVING_TABLES[:2])
    made.health(DAY, 50)
    made.fill(DAY + timedelta(days=1))
    kind, where, environment = "sqlite", "", {}
    if isinstance(target, DuckDbExport):
        kind, where = "duckdb", str(target.file)
    elif isinstance(target, SqliteExport):
        where = f"sqlite:///{target.file.as_posix()}"
    else:
        kind, environment = "environment", {"EXPORT_URL": target.database.url}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(made.lake.root), kind, where, str(calls)],
        check=False, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    bring(made, target)
    assert content(target) == expected(made, tmp_path)
    if isinstance(target, DuckDbExport):
        assert not list(target.file.parent.glob("*.draft*"))


def test_exporters_at_the_same_time_bring_each_batch_once(
    made: SmallLake, target: Export, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(3) as executor:
        for minute in range(20, 24):
            jobs = [executor.submit(bring, made, target) for _ in range(3)]
            made.health(DAY, minute)
            made.chains(DAY, minute)
            for job in jobs:
                job.result()
    bring(made, target)
    assert content(target) == expected(made, tmp_path)


def test_a_column_that_came_later_is_added_and_empty_in_older_rows(made: SmallLake, target: Export) -> None:
    bring(made, target)
    *columns, batch_id = HEALTH_METRICS.columns
    limit = Column("limit", pa.float64(), "x", "a limit")
    wider = replace(HEALTH_METRICS, columns=(*columns, limit, batch_id))
    made.health(DAY, 40, contract=wider, limit=7.5)
    assert bring(made, target)["health_metrics"].done == "added"
    assert sorted((row["limit"] or 0) for row in target.rows("health_metrics")) == [0] * 12 + [7.5] * 4


def test_a_table_that_no_export_made_is_left_alone(made: SmallLake, target: Export) -> None:
    if not isinstance(target, PostgresExport):
        target.file.parent.mkdir()
    target.run("CREATE TABLE signals (mine INTEGER)")
    with pytest.raises(SettingsError, match="a table signals that no export made"):
        bring(made, target)
    assert target.rows("signals") == []
    bring(made, target, tables=[SERVING_TABLES[0]])
    assert len(target.rows("paper_trading_metrics")) == 3


def test_a_table_that_was_deleted_there_is_made_anew(made: SmallLake, target: Export, tmp_path: Path) -> None:
    bring(made, target)
    target.run("DROP TABLE health_metrics")
    made.health(DAY, 41)
    done = bring(made, target)["health_metrics"]
    assert (done.done, done.row_count) == ("made anew", 16)
    assert content(target) == expected(made, tmp_path)


def test_a_lake_that_was_replaced_or_restored_is_exported_anew(
    made: SmallLake, target: Export, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(made.lake.root, backup)
    made.health(DAY, 42)
    bring(made, target)
    # Restored: the log ends earlier, then goes another way with the same version numbers.
    shutil.rmtree(made.lake.root)
    shutil.copytree(backup, made.lake.root)
    assert bring(made, target)["health_metrics"].done == "made anew"
    assert content(target) == expected(made, tmp_path)
    made.health(DAY, 43)
    bring(made, target)
    shutil.rmtree(made.lake.root)
    shutil.copytree(backup, made.lake.root)
    made.health(DAY, 44)
    made.health(DAY, 45)
    assert "restored" in bring(made, target)["health_metrics"].why
    assert content(target) == expected(made, tmp_path)
    shutil.rmtree(made.lake.path("health_metrics"))
    made.health(DAY, 46)
    assert "another one" in bring(made, target)["health_metrics"].why
    assert len(target.rows("health_metrics")) == 4


def test_odd_values_do_not_stop_an_export(made: SmallLake, target: Export) -> None:
    odd = "a\0b \U0001f4c8 'quoted' \u2028 $1 :x %s"
    made.signals(DAY, 50, narrative=odd)
    made.health(DAY, 51, note="x", value=float("nan"))
    bring(made, target)
    told = {row["narrative"] for row in target.rows("signals")} - {"rising"}
    assert told == {
        odd.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(target, PostgresExport) else odd
    }
    assert {row["value"] for row in target.rows("health_metrics") if row["note"] == "x"} == {None}


def test_times_are_moments_and_indexed(made: SmallLake, target: Export) -> None:
    bring(made, target)
    [row, *_] = sorted(target.rows("paper_trading_metrics"), key=lambda one: str(one["event_time"]))
    first = datetime(2026, 10, 26, 3, 45, tzinfo=UTC)
    if isinstance(target, SqliteExport):
        assert row["event_time"] == "2026-10-26T03:45:00.000000Z"
        assert target.run("SELECT unixepoch(min(event_time)) AS s FROM paper_trading_metrics") == [
            {"s": int(first.timestamp())}
        ]
        plan = target.run("EXPLAIN QUERY PLAN SELECT * FROM health_metrics WHERE event_time > '2026'")
        assert "USING INDEX" in plan[0]["detail"]
    else:
        assert row["event_time"] == first
    if isinstance(target, PostgresExport):
        kinds = target.run(
            "SELECT data_type FROM information_schema.columns WHERE table_name = 'health_metrics'"
            " AND column_name = 'event_time'"
        )
        assert kinds == [{"data_type": "timestamp with time zone"}]
        named = target.run("SELECT indexdef FROM pg_indexes WHERE tablename = 'health_metrics'")
        assert any("(exchange, event_time)" in one["indexdef"] for one in named)


def test_how_far_it_has_come_stands_beside_the_tables(made: SmallLake, target: Export) -> None:
    bring(made, target)
    marks = {row["table_name"]: row["source_version"] for row in target.rows(MARK)}
    assert marks["health_metrics"] == DeltaTable(str(made.lake.path("health_metrics"))).version()
    assert marks["batch_quality"] == DeltaTable(str(made.lake.path("option_chain"))).version()


def test_features_that_are_not_there_yet_and_tables_that_are_not_are_no_failure(
    tmp_path: Path, target: Export
) -> None:
    small = SmallLake(tmp_path / "bare")
    small.lake.create(ML_FEATURES.spec)
    small.paper()
    assert set(bring(small, target)) == {"paper_trading_metrics"}
    small.features()
    assert bring(small, target)["feature_summary"].row_count == 4


def test_readers_of_a_duckdb_file_keep_what_they_opened_and_see_the_new_one_next_time(
    made: SmallLake, tmp_path: Path
) -> None:
    target = DuckDbExport(tmp_path / "serving.duckdb")
    bring(made, target)
    count = "SELECT count(*) FROM health_metrics"
    # In a process of its own, as Superset is.
    reader = subprocess.Popen(
        [sys.executable, "-c",
         "import duckdb, sys\nc = duckdb.connect(sys.argv[1], read_only=True)\n"
         f"for line in sys.stdin:\n    print(c.execute('{count}').fetchone()[0], flush=True)\n",
         str(target.file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert reader.stdin
    assert reader.stdout

    def seen() -> int:
        reader.stdin.write("\n")  # type: ignore[union-attr]
        reader.stdin.flush()  # type: ignore[union-attr]
        return int(reader.stdout.readline())  # type: ignore[union-attr]

    try:
        assert seen() == 12
        made.health(DAY, 33)
        if sys.platform == "win32":
            with pytest.raises(ExportUnavailableError):
                bring(made, target)
            return
        bring(made, target)
        assert seen() == 12
        with duckdb.connect(str(target.file), read_only=True) as connection:
            assert connection.execute(count).fetchone() == (16,)
    finally:
        reader.communicate()


@pytest.fixture
def words(made: SmallLake, target: Export, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    if isinstance(target, PostgresExport):
        monkeypatch.setenv("STRIKELAKE_EXPORT_URL", target.database.url)
    return ["--root", str(made.lake.root), "lake", "export", *target.words()]


def test_the_command_says_what_it_did(words: list[str], made: SmallLake, target: Export) -> None:
    done = call([*words, "--output", "csv"])
    assert done.exit_code == 0
    assert "health_metrics,made anew,12," in done.stdout
    made.health(DAY, 34)
    assert "health_metrics,added,4," in call([*words, "--output", "csv", "--table", "health_metrics"]).stdout
    assert len(target.rows("health_metrics")) == 16


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--to", "postgres", "--url", "postgresql://me:hunter2@host/db"], "--url has a password"),
        (
            ["--to", "postgres", "--url", "postgresql://host/db?user=me&password=hunter2"],
            "--url has a password",
        ),
        (["--to", "postgres", "--url", "hunter2"], "not of the form"),
        (["--to", "postgres", "--url", "mysql://me:hunter2@host/db"], "no PostgreSQL"),
        (["--to", "postgres"], "STRIKELAKE_EXPORT_URL"),
        (["--to", "sqlite", "--url", "postgresql://host/db"], "--path"),
        (["--to", "postgres", "--path", "x.db"], "--url"),
        (["--to", "sqlite", "--table", "chains"], "there are: paper_trading_metrics"),
    ],
)
def test_what_cannot_be_is_refused_and_no_password_is_shown(
    made: SmallLake, given: list[str], told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        call(["--root", str(made.lake.root), "lake", "export", *given])
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_does_not_answer_is_told_without_its_password(
    made: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("STRIKELAKE_EXPORT_URL", "postgresql://me:hunter2@127.0.0.1:1/db")
    with pytest.raises(ExportUnavailableError) as caught:
        call(["--root", str(made.lake.root), "lake", "export", "--to", "postgres"])
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_file_that_is_no_database_is_told_and_left_alone(made: SmallLake, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database " * 1000, encoding="utf-8")
    for one in (SqliteExport(file), DuckDbExport(file)):
        with pytest.raises(ExportUnavailableError, match=r"notes\.txt"):
            bring(made, one)
    assert file.read_text(encoding="utf-8").startswith("not a database")


def test_watching_goes_on_and_brings_what_comes(made: SmallLake, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("a process is interrupted in another way there")
    file = tmp_path / "serving.sqlite"
    watching = subprocess.Popen(
        [sys.executable, "-c", "from lake.cli import main; main()", "--root", str(made.lake.root), "lake",
         "export", "--to", "sqlite", "--path", str(file), "--watch", "1", "--output", "csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout
    try:
        while not watching.stdout.readline().startswith("batch_quality,made anew"):
            assert watching.poll() is None
        made.health(DAY, 35)
        while not watching.stdout.readline().startswith("health_metrics,added,4"):
            assert watching.poll() is None
        watching.send_signal(signal.SIGINT)
        _, told = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert watching.returncode in {0, 130}
    assert "Traceback" not in told
    assert len(SqliteExport(file).rows("health_metrics")) == 16
