"""Datasets and audits as a user has them: through the command line, on recordings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

EVER = ("--from", "2015-01-01", "--to", "2035-12-31")
SUMS = """-- Sums that depend on the order of addition.
SELECT exchange, symbol, count(*) AS legs, sum(ltp) AS ltp, avg(iv) AS iv, sum(oi) AS oi
FROM option_chain GROUP BY exchange, symbol;
"""


@pytest.fixture(scope="module")
def filled(
    in_folder: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory, recordings: Path
) -> Any:
    """A lake of a few recordings of both exchanges, one load each, so that sessions have several batches."""
    run = in_folder(tmp_path_factory.mktemp("filled"))
    polls = sorted((recordings / "kite_poll_csv").rglob("*.csv"))
    for poll in [*polls[:2], *polls[-2:]]:
        run("ingest", "load", "--source", "kite-poll", str(poll))
    run("ingest", "load", "--source", "bse-json", str(recordings / "bse_api_json"))
    nse = sorted((recordings / "nse_api_json").rglob("nifty_option_chain.at_*"))
    run("ingest", "load", "--source", "nse-json", str(nse[0]))
    (run.folder / "sums.sql").write_bytes(b"\xef\xbb\xbf" + SUMS.encode())
    return run


@pytest.fixture
def lake(filled: Any, in_folder: Callable[[Path], Any], tmp_path: Path) -> Any:
    """A copy of that lake, to do with as one likes."""
    shutil.copytree(filled.folder, tmp_path / "copy")
    return in_folder(tmp_path / "copy")


def create(run: Any, name: str = "ds", *options: str) -> dict[str, Any]:
    tables = [] if "--table" in options else ["--table", "option_chain"]
    found: dict[str, Any] = run.json("dataset", "create", name, *tables, *EVER, *options)
    return found


def replayed(run: Any, name: str, to: str) -> bytes:
    run("dataset", "replay", name, "--to", to)
    return (run.folder / to).read_bytes()


def data_file_of(run: Any, batch: dict[str, Any]) -> Path:
    """The active file that has rows of a batch."""
    folder = run.folder / "data" / "raw_stream" / "option_chain"
    place = folder / f"date={batch['date']}" / f"exchange={batch['exchange']}"
    return next(
        file
        for file in sorted(place.glob("*.parquet"))
        if batch["batch_id"] in pq.read_table(file, partitioning=None)["batch_id"].to_pylist()
    )


def change_one_value(file: Path, batch_id: str) -> None:
    rows = pq.read_table(file, partitioning=None)
    row = rows["batch_id"].to_pylist().index(batch_id)
    values = rows["oi"].to_pylist()
    values[row] = (values[row] or 0) + 1
    place = rows.schema.get_field_index("oi")
    pq.write_table(rows.set_column(place, "oi", [values]), file)


def test_create_show_list_replay_and_verify_agree(lake: Any) -> None:
    made = create(lake)
    (count,) = lake.json("sql", "SELECT count(*) AS n FROM option_chain")
    assert made["row_count"] == count["n"] > 0
    shown = lake.json("dataset", "show", "ds")
    written = lake.json("dataset", "replay", "ds", "--to", "rows.parquet")
    checked = lake.json("dataset", "verify", "ds")
    (listed,) = lake.json("dataset", "list")
    for told in (shown, written, checked, listed):
        for key in ("content_digest", "row_count", "versions"):
            assert told[key] == made[key]
    assert sum(batch["rows"] for batch in shown["batches"]) == made["row_count"]
    assert written["rows_written"] == pq.read_metadata(lake.folder / "rows.parquet").num_rows == count["n"]
    assert checked["intact"] is True
    told = lake("dataset", "show", "ds").stdout
    assert made["content_digest"] in told
    assert all(len(line) <= 80 for line in told.splitlines())


def test_it_is_the_same_file_after_appends_compaction_and_clean_up(lake: Any, recordings: Path) -> None:
    create(lake)
    create(lake, "sums", "--query", "sums.sql")
    before = replayed(lake, "ds", "before.parquet"), replayed(lake, "sums", "sums.parquet")
    stocks = sorted((recordings / "kite_poll_csv").rglob("*.csv"))[2:4]
    for poll in stocks:
        lake("ingest", "load", "--source", "kite-poll", str(poll))
    lake("lake", "maintain", "--keep-days", "0")
    lake("lake", "maintain", "--keep-days", "0")
    assert (replayed(lake, "ds", "after.parquet"), replayed(lake, "sums", "after.parquet")) == before
    assert lake.json("dataset", "verify", "sums")["intact"]


def test_it_is_the_same_file_in_a_moved_lake_with_a_new_catalog(lake: Any, in_folder: Any) -> None:
    create(lake)
    before = replayed(lake, "ds", "before.parquet")
    elsewhere = lake.folder.with_name("elsewhere")
    shutil.move(lake.folder, elsewhere)
    (elsewhere / "data" / "catalog.db").unlink()
    there = in_folder(elsewhere)
    assert replayed(there, "ds", "after.parquet") == before
    there("catalog", "rebuild")
    shown = there.json("dataset", "show", "ds")
    batch = shown["batches"][0]["batch_id"]
    rows = there.json("catalog", "batches", "--batch", batch)
    assert {tuple(row["datasets"]) for row in rows} == {("ds",)}


@pytest.mark.parametrize("compacted", [False, True])
def test_tampering_is_told_to_the_batch_and_replay_leaves_no_file(lake: Any, compacted: bool) -> None:
    create(lake)
    create(lake, "sums", "--query", "sums.sql")
    if compacted:
        lake("lake", "maintain", "--keep-days", "0")
    batch = lake.json("dataset", "show", "ds")["batches"][0]
    change_one_value(data_file_of(lake, batch), batch["batch_id"])
    for name in ("ds", "sums"):
        told = json.loads(lake("dataset", "verify", name, "--output", "json", code=3).stdout)
        assert told["intact"] is False
        (difference,) = told["differences"]
        assert {key: difference[key] for key in ("batch_id", "date", "exchange")} == {
            key: batch[key] for key in ("batch_id", "date", "exchange")
        }
        assert difference["kind"] == "values"
        assert batch["batch_id"] in lake("dataset", "verify", name, code=3).stdout
        assert batch["batch_id"] in lake.error("dataset", "replay", name, "--to", "out.parquet")
    assert not list(lake.folder.glob("*.parquet"))
    found = json.loads(lake("catalog", "verify", "--output", "json", code=3).stdout)
    assert {row["batch_id"] for row in found if row["batch_id"]} == {batch["batch_id"]}
    assert lake("catalog", "verify", "--since", "2034-01-01").stdout.startswith("0 files")


def test_a_changed_manifest_is_a_breach(lake: Any) -> None:
    create(lake)
    manifest = lake.folder / "data" / "datasets" / "ds" / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"row_count"', '"row_count" ', 1), encoding="utf-8")
    assert lake.json("dataset", "verify", "ds")["intact"], "only what it says counts, not how it is written"
    manifest.write_text(text.replace("2035-12-31", "2034-12-31", 1), encoding="utf-8")
    told = json.loads(lake("dataset", "verify", "ds", "--output", "json", code=3).stdout)
    assert "manifest" in told["problems"][0]
    assert "manifest" in lake.error("dataset", "replay", "ds", "--to", "out.parquet")
    assert "manifest" in lake("dataset", "list", code=3).stderr
    assert "manifest" in lake.error("lake", "drop-before", "2016-01-01")
    lake("dataset", "delete", "ds")
    assert lake.json("dataset", "list") == []


def test_a_session_is_dropped_only_when_no_dataset_needs_it(lake: Any) -> None:
    made = create(lake)
    line = lake.error("lake", "drop-before", "2035-01-01")
    assert "ds (" in line
    assert "dataset delete" in line
    lake("dataset", "delete", "ds")
    lake("lake", "drop-before", "2035-01-01")
    (count,) = lake.json("sql", "SELECT count(*) AS n FROM option_chain")
    assert (count["n"], made["row_count"] > 0) == (0, True)


def test_several_tables_go_to_a_folder(lake: Any, recordings: Path) -> None:
    (lake.folder / "bad.json").write_text("{", encoding="utf-8")
    lake("ingest", "load", "--source", "nse-json", str(lake.folder / "bad.json"))
    made = create(lake, "two", "--table", "option_chain", "--table", "quarantine")
    told = lake.json("dataset", "replay", "two", "--to", "rows")
    assert told["rows_written"] == made["row_count"]
    assert sorted(path.name for path in (lake.folder / "rows").iterdir()) == [
        "option_chain.parquet", "quarantine.parquet",
    ]  # fmt: skip
    one = lake.json("dataset", "replay", "two", "--table", "quarantine", "--to", "one.arrow")
    parts = {part["name"]: part for part in made["tables"]}
    assert one["content_digest"] == parts["quarantine"]["content_digest"]
    assert one["row_count"] == one["rows_written"] == parts["quarantine"]["row_count"]


def test_errors_are_one_line_that_says_what_to_do(lake: Any) -> None:
    create(lake)
    (lake.folder / "bad.sql").write_text("SELECT now() FROM option_chain", encoding="utf-8")
    (lake.folder / "wrong.sql").write_text("SELECT nothing\nFROM option_chain", encoding="utf-8")
    table = ("--table", "option_chain", *EVER)
    assert "never change" in lake.error("dataset", "create", "ds", *table)
    assert "datasets: ds" in lake.error("dataset", "show", "nothing")
    assert "now" in lake.error("dataset", "create", "x", *table, "--query", "bad.sql")
    assert "nothing" in lake.error("dataset", "create", "x", *table, "--query", "wrong.sql")
    assert "gone.sql" in lake.error("dataset", "create", "x", *table, "--query", "gone.sql")
    assert "letters" in lake.error("dataset", "create", "../x", *table)
    assert "tables:" in lake.error("dataset", "create", "x", "--table", "chain", *EVER)
    assert "ends in" in lake.error("dataset", "replay", "ds", "--to", "rows.csv")
    assert "no folder" in lake.error("dataset", "replay", "ds", "--to", "gone/rows.parquet")
    assert "say which" in lake.error("dataset", "replay", "ds", "--to", "x.parquet", "--table", "chain")
    lake("dataset", "create", "x", *table, "--exchange", "NYSE", code=2)
    assert [row["name"] for row in lake.json("dataset", "list")] == ["ds"]


def test_quality_is_the_same_after_compaction(lake: Any) -> None:
    before = lake.json("catalog", "batches", "--quality", "--limit", "1000")
    assert before
    assert {"ltp_null_rate", "duplicate_rows", "max_gap_s", "max_lateness_s"} <= before[0].keys()
    lake("lake", "maintain", "--keep-days", "0")
    after = lake.json("catalog", "batches", "--quality", "--limit", "1000")
    assert after == before
