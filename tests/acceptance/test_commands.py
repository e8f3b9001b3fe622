"""Every command as a user calls it, on recordings."""

from __future__ import annotations

import csv
import io
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from catalog.contracts import CAPTURED

SAMPLES = Path(__file__).parents[1] / "data"
POLL = SAMPLES / "kite_poll_csv" / "2026-01-22" / "index_OC_2026-01-22_03-31.csv"
COUNT = "SELECT count(*) AS rows FROM option_chain"
LEGS = 2 * 36


@pytest.fixture(scope="module")
def loaded(in_folder: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A lake of two loads: one poll, then the chain of another exchange."""
    run = in_folder(tmp_path_factory.mktemp("commands"))
    first = run.json("ingest", "load", "--source", "kite-poll", str(POLL))
    assert first["rows"] + sum(first["quarantined"].values()) == LEGS
    run.json("ingest", "load", "--source", "bse-json", str(SAMPLES / "bse_api_json"))
    return run


def count(run: Any, *arguments: str) -> int:
    (row,) = run.json("sql", COUNT, *arguments)
    return int(row["rows"])


def test_a_second_load_adds_nothing_and_says_so(loaded: Any) -> None:
    before = count(loaded)
    told = loaded("ingest", "load", "--source", "kite-poll", str(POLL)).stdout
    assert "0 rows committed" in told
    assert count(loaded) == before


def test_without_a_source_each_format_is_recognised_and_named(strikelake: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(POLL, folder / "a.json")
    shutil.copy(SAMPLES / "bse_api_json" / "sensex_option_chain.json", folder / "b.csv")
    (folder / "c.csv").write_text("what,is\nthis,?\n", encoding="utf-8")
    told = strikelake("ingest", "load", str(folder)).stdout
    assert "recognised: no known format 1 file, bse-json 1 file, kite-poll 1 file" in told
    assert "1 row in quarantine: unknown_format 1" in told
    # A command is one line, so that it can be copied.
    assert all(len(line) <= 80 for line in told.splitlines() if not line.startswith("  see: "))
    again = strikelake.json("ingest", "load", str(folder))
    assert (again["sources"], again["rows"]) == ({"any": 1, "bse-json": 1, "kite-poll": 1}, 0)
    assert "none in a known format" in strikelake("ingest", "load", str(folder / "c.csv"), code=1).stderr


def test_the_calendar_of_a_month_is_printed_without_a_lake(strikelake: Any) -> None:
    told = strikelake("catalog", "calendar", "--exchange", "nse", "--month", "2026-02").stdout
    assert "2026-02-01  Sun  special  09:00     09:15  15:30" in told
    rows = strikelake.json("catalog", "calendar", "--exchange", "BSE", "--month", "2026-01")
    assert [row["date"] for row in rows if row["kind"] == "holiday"] == ["2026-01-15", "2026-01-26"]
    early = strikelake("catalog", "calendar", "--exchange", "BSE", "--month", "2019-10")
    assert "expir" not in early.stdout.split("\n", 1)[1]
    assert "Days of expiry at BSE are known from 2023-05-15 on" in early.stderr
    assert "no exchange 'LSE'" in strikelake.error("catalog", "calendar", "--exchange", "LSE")


def test_status_is_the_ledger_and_balances(loaded: Any) -> None:
    rows = loaded.json("ingest", "status")
    names = ["table", "exchange", "offered", "spooled", "committed", "quarantined", "dropped"]
    for row in rows:
        assert list(row) == names
        assert row["offered"] == sum(row[name] for name in names[3:])
    assert sum(row["committed"] for row in rows if row["table"] == "option_chain") == count(loaded)
    by_app = loaded.json("ingest", "status", "--by-app")
    assert {row["app_id"] for row in by_app} == {"backfill"}
    assert sum(row["offered"] for row in by_app) == sum(row["offered"] for row in rows)


def test_csv_and_json_are_the_same_rows(loaded: Any) -> None:
    query = "SELECT symbol, strike, option_type, oi FROM option_chain ORDER BY ALL"
    as_csv = list(csv.reader(io.StringIO(loaded("sql", query, "--output", "csv").stdout)))
    as_json = loaded.json("sql", query)
    assert as_csv[0] == ["symbol", "strike", "option_type", "oi"]
    assert [row[0] for row in as_csv[1:]] == [row["symbol"] for row in as_json]
    assert [float(row[1]) for row in as_csv[1:]] == [row["strike"] for row in as_json]
    assert len(as_json) == count(loaded)


def test_a_version_and_a_time_show_the_table_as_it_was(loaded: Any) -> None:
    history = loaded.json("lake", "history", "option_chain")
    versions = sorted(int(row["version"]) for row in history)
    assert versions == list(range(versions[-1] + 1))
    at = [count(loaded, "--at", str(version)) for version in versions]
    assert at[0] == 0
    assert at == sorted(at)
    assert at[-1] == count(loaded)
    times = {int(row["version"]): row["time"] for row in history}
    assert datetime.fromisoformat(times[versions[-1]]).tzinfo
    assert count(loaded, "--at", times[versions[1]]) == at[1] < at[-1]


def test_tables_are_listed_with_their_versions(loaded: Any) -> None:
    tables = {row["table"]: row for row in loaded.json("lake", "tables")}
    assert set(tables) == set(CAPTURED)


def test_the_catalog_follows_and_is_made_again(loaded: Any) -> None:
    batches = loaded.json("catalog", "batches", "--table", "option_chain")
    assert sum(row["record_count"] for row in batches) == count(loaded)
    assert {row["exchange"] for row in loaded.json("catalog", "batches", "--exchange", "BSE")} == {"BSE"}
    loaded("catalog", "sync")
    loaded("catalog", "rebuild")
    again = loaded.json("catalog", "batches", "--table", "option_chain")
    assert [row["batch_id"] for row in again] == [row["batch_id"] for row in batches]
    assert "rupees" in loaded("catalog", "columns", "option_chain").stdout


def test_live_adds_what_is_spooled_until_it_is_committed(strikelake: Any) -> None:
    from ingest.tap import StreamTap
    from lake.settings import Settings

    tap = StreamTap(Settings(root=strikelake.folder / "data", committer="process"))
    strikelake("ingest", "commit", "--once")
    tap.offer("NSE", [{"strike": 1}, {"strike": 2}], [], symbol="NIFTY", expiry="2026-12-29")
    assert tap.flush()
    assert (count(strikelake), count(strikelake, "--live")) == (0, 2)
    assert "option_chain: 2 rows" in strikelake("ingest", "commit", "--once").stdout
    assert (count(strikelake), count(strikelake, "--live")) == (2, 2)
    assert tap.close()


def test_errors_are_one_line_and_say_what_to_do(loaded: Any, strikelake: Any, tmp_path: Path) -> None:
    assert "strikelake demo" in strikelake.error("sql", COUNT)
    assert "strikelake demo" in strikelake.error("ingest", "status")
    assert "nse-json" in strikelake.error("ingest", "load", "--source", "nse_jsn", str(POLL))
    assert "does not exist" in strikelake.error("ingest", "load", "--source", "nse-json", "gone.json")
    assert "999" in loaded.error("sql", COUNT, "--at", "999")
    assert "neither" in loaded.error("sql", COUNT, "--at", "yesterday")
    assert "tables:" in loaded.error("lake", "history", "nothing")
    assert "app_id" in loaded.error("ingest", "commit", "--once", "--app-id", "../evil")
    assert not (tmp_path / "data").exists()


def test_usage_errors_end_with_2(loaded: Any) -> None:
    for arguments in (
        ["nothing"],
        ["sql"],
        ["ingest", "load"],
        ["sql", COUNT, "--limit", "0"],
        ["--nothing"],
    ):
        assert loaded(*arguments, code=2).stdout == ""


def test_a_file_that_cannot_be_opened_ends_with_1_and_the_others_are_loaded(strikelake: Any) -> None:
    folder = strikelake.folder / "recordings"
    folder.mkdir()
    (folder / "good.csv").write_bytes(POLL.read_bytes())
    (folder / "bad.csv").write_text("<html>", encoding="utf-8")
    told = strikelake("ingest", "load", "--source", "kite-poll", str(folder)).stdout
    assert "in quarantine" in told
    (reject,) = strikelake.json(
        "sql", "SELECT reason, payload FROM quarantine WHERE payload LIKE '%bad.csv%'"
    )
    assert reject["reason"]
    assert count(strikelake) > 0


def test_a_lake_survives_the_loss_of_its_catalog(loaded: Any) -> None:
    catalog = loaded.folder / "data" / "catalog.db"
    before = loaded.json("catalog", "batches")
    catalog.unlink()
    loaded("catalog", "sync")
    assert [row["batch_id"] for row in loaded.json("catalog", "batches")] == [
        row["batch_id"] for row in before
    ]
    db = sqlite3.connect(catalog)
    assert db.execute("SELECT count(*) FROM ml_feature_batches").fetchone()[0] == len(before)
    db.close()


def test_the_simulator_can_be_captured_as_a_live_source(
    in_folder: Callable[[Path], Any], tmp_path: Path
) -> None:
    run = in_folder(tmp_path)
    arguments = ("--date", "2026-06-16", "--interval", "900", "--speed", "1000000")
    assert "captured" in run("ingest", "run", "--source", "simulator", *arguments).stdout
    before = run.json("ingest", "status")
    assert {row["exchange"] for row in before} == {"NSE", "BSE"}
    assert all(row["offered"] == row["committed"] > 0 for row in before)
    assert run("ingest", "run", "--source", "simulator", *arguments).stdout.startswith("0 chain updates")
    assert run.json("ingest", "status") == before
