"""Replay: the same rows in the same order whatever happens to the lake, and damage told to the batch."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_databases import Database, sqlite_only
from deltalake import DeltaTable
from small_lake import MONDAY, TUESDAY, SmallLake, feature_rows, legs, rewrite, rewrite_row

from catalog import batches as mirror
from catalog import datasets
from catalog.contracts import ML_FEATURES
from catalog.dataset_replay import BatchDifference
from lake.errors import DamagedTableError, QueryError, TableNotFoundError
from lake.snapshot import read_snapshot
from lake.table import Lake

Happening = Callable[[SmallLake], None]

SUMS = """
    -- Sums of prices over many orders of magnitude, which show every change of order.
    SELECT exchange, option_type, sum(ltp) AS total, avg(iv) AS mean, stddev(ltp) AS deviation, first(strike)
    FROM option_chain GROUP BY exchange, option_type; -- done
"""


def nothing(small: SmallLake) -> None: ...


def appends(small: SmallLake) -> None:
    """Late batches for the same sessions."""
    small.add(
        legs(33, batch="late"), legs(11, batch="late", exchange="BSE"), legs(5, batch="late", day=TUESDAY)
    )
    small.add(feature_rows(6, batch="f9", rsi=[9.0] * 6), contract=ML_FEATURES)


def compaction(small: SmallLake) -> None:
    small.maintain()
    assert len(small.files()) == 3


def compaction_and_clean_up(small: SmallLake) -> None:
    """Everything that can go is gone: the old files, the old commits, time travel."""
    before = set(small.files())
    small.maintain()
    gone = before - set(small.files())
    for number in range(12):
        small.add(legs(1, batch=f"more{number}"))
    small.maintain()
    assert not any(file.exists() for file in gone)
    assert read_snapshot(small.lake.path("option_chain")).version > 12
    assert not (small.lake.path("option_chain") / "_delta_log" / f"{0:020d}.json").exists()


def foreign_compaction_and_vacuum(small: SmallLake) -> None:
    before = set(small.files())
    small.foreign_compaction()
    small.foreign_compaction("ml_features")
    small.foreign_vacuum()
    gone = before - set(small.files())
    assert gone
    assert not any(file.exists() for file in gone)


def new_columns(small: SmallLake) -> None:
    small.add(feature_rows(2, batch="f3", rsi=[1.0, 2.0], adx=[3.0, 4.0]), contract=ML_FEATURES)
    small.maintain()
    small.add(feature_rows(2, batch="f4", vwap=[5.0, 6.0]), contract=ML_FEATURES)


def everything(small: SmallLake) -> None:
    for happening in (appends, foreign_compaction_and_vacuum, new_columns, compaction_and_clean_up, appends):
        happening(small)


HAPPENINGS = [
    nothing, appends, compaction, compaction_and_clean_up, foreign_compaction_and_vacuum, new_columns,
    everything,
]  # fmt: skip


def told_by(small: SmallLake, dataset: datasets.Dataset) -> set[tuple[str, str, str, str]]:
    found = datasets.verify(small.lake, dataset)
    assert not found.intact
    assert found.content_digest is None
    return {(d.date, d.exchange, d.batch_id, d.kind) for d in found.differences}


def assert_refused(small: SmallLake, dataset: datasets.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    (folder / "kept.parquet").write_bytes(b"of before")
    for target in (folder / "new.parquet", folder / "kept.parquet", folder / "new.arrow"):
        with pytest.raises((DamagedTableError, QueryError)):
            datasets.replay_to_file(small.lake, dataset, target)
    with pytest.raises((DamagedTableError, QueryError)):
        datasets.replay_to_arrow(small.lake, dataset)
    assert [path.name for path in folder.iterdir()] == ["kept.parquet"]
    assert (folder / "kept.parquet").read_bytes() == b"of before"


@pytest.mark.parametrize("happening", HAPPENINGS)
@sqlite_only
def test_the_same_rows_come_in_the_same_order(small: SmallLake, happening: Happening, tmp_path: Path) -> None:
    made = small.create(tables=["option_chain", "ml_features"])
    computed = small.create("sums", query=SUMS)
    before = {name: datasets.replay_to_arrow(small.lake, made, table=name) for name in made.versions}
    sums = datasets.replay_to_arrow(small.lake, computed)
    datasets.replay_to_file(small.lake, made, tmp_path / "before.parquet", table="option_chain")
    assert before["option_chain"].num_rows == 200

    happening(small)

    for name, rows in before.items():
        assert datasets.replay_to_arrow(small.lake, made, table=name).equals(rows)
    assert datasets.replay_to_arrow(small.lake, computed).equals(sums)
    assert datasets.verify(small.lake, made).intact
    assert datasets.verify(small.lake, made).content_digest == made.content_digest
    assert datasets.verify(small.lake, computed).intact
    datasets.replay_to_file(small.lake, made, tmp_path / "after.parquet", table="option_chain")
    assert (tmp_path / "after.parquet").read_bytes() == (tmp_path / "before.parquet").read_bytes()


def test_another_machine_and_another_catalog_give_the_same_rows(
    small: SmallLake, database: Database, tmp_path: Path
) -> None:
    made = small.create()
    before = datasets.replay_to_arrow(small.lake, made)
    small.add(legs(7, batch="late"))
    small.maintain()
    small.engine.dispose()
    database.delete()
    moved = tmp_path / "another machine"
    shutil.copytree(small.lake.root, moved)
    shutil.rmtree(small.lake.root)

    lake = Lake.at(moved)
    there = datasets.read(lake, "ds")
    assert datasets.replay_to_arrow(lake, there).equals(before)
    assert datasets.verify(lake, there).intact


def test_it_is_the_same_on_every_catalog(small: SmallLake) -> None:
    made = small.create()
    # What it is on SQLite and on PostgreSQL: batches, versions, rows and order depend on the lake alone.
    assert made.versions == {"option_chain": 3}
    rows = datasets.replay_to_arrow(small.lake, made)
    text = json.dumps(rows.select(["date", "event_time", "strike", "batch_id"]).to_pylist(), default=str)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "af17f74271141280"


@sqlite_only
def test_the_order_is_by_partition_and_then_by_all_columns(small: SmallLake) -> None:
    rows = datasets.replay_to_arrow(small.lake, small.create()).to_pylist()
    keys = [(r["date"], r["exchange"], *((value is None, value) for name, value in r.items())) for r in rows]
    assert keys == sorted(keys)


@sqlite_only
def test_a_relation_and_files_have_the_rows_in_order(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    rows = datasets.replay_to_arrow(small.lake, made)
    with duckdb.connect() as connection:
        relation = datasets.replay_to_duckdb(small.lake, made, connection)
        assert relation.columns == rows.column_names
        assert connection.sql("SELECT strike, iv FROM relation").fetchall() == list(
            zip(rows["strike"].to_pylist(), rows["iv"].to_pylist(), strict=True)
        )
    for name in ("a.parquet", "a.PARQUET", "a.arrow", "a.feather"):
        assert datasets.replay_to_file(small.lake, made, tmp_path / name) == 200
    assert pq.read_table(tmp_path / "a.parquet").equals(rows)
    with pa.ipc.open_file(str(tmp_path / "a.arrow")) as reader:
        assert reader.read_all().equals(rows)


@sqlite_only
def test_a_session_over_a_dataset_sees_its_rows_and_no_others(small: SmallLake) -> None:
    made = small.create(first=MONDAY, last=MONDAY, exchanges=["NSE"])
    appends(small)
    with datasets.open_session(small.lake, made) as session:
        (row,) = session.table(
            "SELECT count(*) AS n, min(date) AS a, max(date) AS b FROM option_chain"
        ).to_pylist()
        assert row == {"n": 110, "a": MONDAY, "b": MONDAY}
        quality = session.table("SELECT DISTINCT batch_id FROM batch_quality ORDER BY 1")
        assert quality["batch_id"].to_pylist() == ["b1", "b2", "b3"]


@pytest.mark.parametrize("happening", HAPPENINGS)
@sqlite_only
def test_a_proven_session_gives_the_same_sums_whatever_happens(
    small: SmallLake, happening: Happening
) -> None:
    made = small.create(tables=["option_chain", "ml_features"], first=MONDAY, last=MONDAY)

    def answers() -> list[pa.Table]:
        with datasets.open_proven_session(small.lake, made) as session:
            asked = (SUMS.partition("; --")[0], "SELECT * FROM option_chain", "SELECT * FROM ml_features")
            return [session.table(sql) for sql in (*asked, "SELECT * FROM chain_legs")]

    before = answers()
    for rows, table in zip(before[1:3], made.versions, strict=True):
        replayed = datasets.replay_to_arrow(small.lake, made, table=table)
        assert rows.equals(replayed.cast(rows.schema))  # the session shows times in the lake's zone
    assert before[3].num_rows == 140
    happening(small)
    for one, other in zip(before, answers(), strict=True):
        assert one.equals(other)


@sqlite_only
def test_a_proven_session_is_not_opened_over_a_changed_row(small: SmallLake) -> None:
    made = small.create()
    rewrite(small.file_of("b2"), oi=123_456)
    with (
        pytest.raises(DamagedTableError, match="b2"),
        datasets.open_proven_session(small.lake, made),
    ):
        pytest.fail("it was opened")


@sqlite_only
def test_a_row_that_changes_after_it_was_proven_is_not_read(small: SmallLake) -> None:
    made = small.create()
    sql = "SELECT sum(oi) AS oi, count(*) AS legs FROM option_chain"
    with datasets.open_proven_session(small.lake, made) as session:
        before = session.table(sql)
        rewrite(small.file_of("b2"), oi=123_456)
        assert session.table(sql).equals(before)
    with datasets.open_session(small.lake, made) as session:
        assert not session.table(sql).equals(before)


@sqlite_only
def test_several_tables_go_to_a_folder_all_or_none(small: SmallLake, tmp_path: Path) -> None:
    made = small.create(tables=["option_chain", "ml_features"])
    counts = datasets.replay_to_folder(small.lake, made, tmp_path / "rows")
    assert counts == {"option_chain": 200, "ml_features": 7}
    assert {path.name for path in (tmp_path / "rows").iterdir()} == {
        "option_chain.parquet",
        "ml_features.parquet",
    }
    with pytest.raises(QueryError, match="is there already"):
        datasets.replay_to_folder(small.lake, made, tmp_path / "rows")
    with pytest.raises(TableNotFoundError, match="say which"):
        datasets.replay_to_file(small.lake, made, tmp_path / "one.parquet")
    rewrite(small.file_of("f2", table="ml_features"), rsi=7.0)
    with pytest.raises(DamagedTableError, match="f2"):
        datasets.replay_to_folder(small.lake, made, tmp_path / "again")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"my lake", "rows"}


@sqlite_only
def test_a_target_that_will_not_do_is_refused_before_anything_is_read(
    small: SmallLake, tmp_path: Path
) -> None:
    made = small.create()
    for target, told in [
        (tmp_path / "a.csv", "ends in"),
        (tmp_path / "gone" / "a.parquet", "no folder"),
        (small.files()[0].with_name("a.parquet"), "lake's own files"),
        (made.folder / "a.parquet", "lake's own files"),
    ]:
        with pytest.raises(QueryError, match=told):
            datasets.replay_to_file(small.lake, made, target)
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(QueryError, match="is a folder"):
        datasets.replay_to_file(small.lake, made, tmp_path / "folder.parquet")


@sqlite_only
@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("value", [{"ltp": 0.1}, {"oi": 123_456}, {"symbol": "BANKNIFTY"}, {"iv": None}])
def test_one_changed_value_names_its_batch_and_no_other(
    small: SmallLake, tmp_path: Path, compacted: bool, value: dict[str, Any]
) -> None:
    made = small.create()
    if compacted:
        small.maintain()
    file = small.file_of("b3")
    row = pq.read_table(file, partitioning=None)["batch_id"].to_pylist().index("b3")
    rewrite_row(file, row, **value)
    assert told_by(small, made) == {("2026-01-05", "NSE", "b3", "values")}
    assert_refused(small, made, tmp_path)
    assert datasets.verify(small.lake, small.create("tuesday", first=TUESDAY, last=TUESDAY)).intact


@sqlite_only
def test_a_changed_value_in_a_dataset_with_a_query_names_the_batch(small: SmallLake, tmp_path: Path) -> None:
    # The result is the same; the rows it was made of are not.
    made = small.create(query="SELECT count(*) AS n FROM option_chain")
    rewrite(small.file_of("b2"), oi=1)
    assert told_by(small, made) == {("2026-01-05", "NSE", "b2", "values")}
    assert_refused(small, made, tmp_path)


@sqlite_only
def test_a_column_of_another_type_names_its_batch_alone(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    # The first file read decides on the types of all.
    file = small.file_of("b1")
    rows = pq.read_table(file, partitioning=None)
    place = rows.schema.get_field_index("oi")
    doubles = pa.array([value + 0.5 for value in rows["oi"].to_pylist()])
    pq.write_table(rows.set_column(place, "oi", doubles), file)
    assert told_by(small, made) == {("2026-01-05", "NSE", "b1", "values")}
    assert_refused(small, made, tmp_path)


@sqlite_only
def test_a_deleted_or_torn_file_names_its_batches_and_itself(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    file = small.file_of("b2")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert told_by(small, made) == {("2026-01-05", "NSE", "b2", "missing")}
    assert any(file.name in problem for problem in datasets.verify(small.lake, made).problems)
    assert_refused(small, made, tmp_path)
    file.unlink()
    assert told_by(small, made) == {("2026-01-05", "NSE", "b2", "missing")}
    assert_refused(small, made, tmp_path)
    file.write_bytes(content)
    assert datasets.verify(small.lake, made).intact


@sqlite_only
def test_flipped_bits_in_the_middle_of_a_file_are_told(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    file = small.file_of("b2")
    content = bytearray(file.read_bytes())
    for place in range(200, 260):
        content[place] ^= 0xFF
    file.write_bytes(bytes(content))
    assert {found[2] for found in told_by(small, made)} == {"b2"}
    assert_refused(small, made, tmp_path)


@sqlite_only
def test_a_torn_file_of_later_batches_does_not_concern_a_dataset(small: SmallLake) -> None:
    made = small.create()
    before = datasets.replay_to_arrow(small.lake, made)
    small.add(legs(5, batch="late"))
    small.file_of("late").write_bytes(b"PAR1")
    assert datasets.verify(small.lake, made).intact
    assert datasets.replay_to_arrow(small.lake, made).equals(before)


@sqlite_only
def test_files_that_were_swapped_between_sessions_name_both_batches(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    one, other = small.file_of("b1", "BSE"), small.file_of("b2")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    # b1 is in another exchange's folder now, b2 nowhere of its own.
    assert told_by(small, made) == {
        ("2026-01-05", "BSE", "b1", "missing"), ("2026-01-05", "NSE", "b2", "missing"),
        ("2026-01-05", "NSE", "b1", "rows"),
    }  # fmt: skip
    assert_refused(small, made, tmp_path)


@sqlite_only
def test_files_that_were_swapped_within_a_session_are_the_same_rows(small: SmallLake) -> None:
    made = small.create()
    one, other = small.file_of("b1"), small.file_of("b2")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert datasets.verify(small.lake, made).intact


@sqlite_only
def test_rows_that_were_given_to_another_batch_name_both(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    rewrite(small.file_of("b2"), batch_id="b1")
    assert told_by(small, made) == {("2026-01-05", "NSE", "b1", "rows"), ("2026-01-05", "NSE", "b2", "rows")}
    assert_refused(small, made, tmp_path)


@sqlite_only
def test_rows_that_were_doubled_are_told(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    file = small.file_of("b2")
    rows = pq.read_table(file, partitioning=None)
    pq.write_table(pa.concat_tables([rows, rows.slice(0, 1)]), file)
    (difference,) = datasets.verify(small.lake, made).differences
    assert difference == BatchDifference(
        "option_chain", "2026-01-05", "NSE", "b2", "rows", "51 rows instead of 50"
    )
    assert_refused(small, made, tmp_path)


@sqlite_only
def test_a_table_that_lost_its_session_names_all_of_its_batches(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    path = small.lake.path("option_chain")
    handle = DeltaTable(str(path))
    handle.alter.set_table_properties({"delta.appendOnly": "false"})
    DeltaTable(str(path)).delete("date = '2026-01-06'")
    assert told_by(small, made) == {("2026-01-06", "NSE", "b3", "missing")}
    assert_refused(small, made, tmp_path)


def edit_manifest(folder: Path, **changes: Any) -> None:
    file = folder / "manifest.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")


@sqlite_only
@pytest.mark.parametrize(
    "change",
    [{"row_count": 199}, {"content_digest": "0" * 32}, {"from": "2026-01-02"}, {"query": "SELECT 1"},
     {"timezone": "UTC"}, {"tables": []}, {"batches_sha256": "0" * 64}, {"form": 2}],
)  # fmt: skip
def test_a_changed_manifest_is_no_dataset_any_more(small: SmallLake, change: dict[str, Any]) -> None:
    made = small.create()
    edit_manifest(made.folder, **change)
    with pytest.raises(DamagedTableError, match="ds"):
        datasets.read(small.lake, "ds")


@sqlite_only
def test_changed_batches_are_told_and_replay_refuses(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()
    file = made.folder / "batches.parquet"
    rows = pq.read_table(file)
    pq.write_table(rows.slice(1), file)
    found = datasets.verify(small.lake, made)
    assert not found.intact
    assert "batches.parquet" in found.problems[0]
    assert_refused(small, made, tmp_path)
    file.unlink()
    assert not datasets.verify(small.lake, made).intact
    assert_refused(small, made, tmp_path)


@sqlite_only
def test_an_interrupted_replay_leaves_nothing(small: SmallLake, tmp_path: Path) -> None:
    made = small.create()

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        datasets.replay_to_file(small.lake, made, folder / "a.parquet", progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        datasets.replay_to_folder(small.lake, made, folder / "a", progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        small.create("other", progress=interrupt)
    assert list(folder.iterdir()) == []
    assert [path.name for path in made.folder.parent.iterdir()] == ["ds"]


@sqlite_only
def test_progress_counts_every_row_once(small: SmallLake) -> None:
    seen: list[int] = []
    made = small.create(progress=seen.append)
    computed = small.create("sums", query=SUMS, progress=seen.append)
    for one in (made, computed):
        datasets.replay_to_arrow(small.lake, one, progress=seen.append)
        datasets.verify(small.lake, one, progress=seen.append)
    assert sum(seen) == 6 * 200


@sqlite_only
def test_views_as_they_were_are_part_of_a_query(
    small: SmallLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small.create(query="SELECT * FROM pcr_5m")
    rows = datasets.replay_to_arrow(small.lake, made)
    assert rows.num_rows > 0
    empty = tmp_path / "views"
    empty.mkdir()
    monkeypatch.setattr("catalog.datasets.VIEWS", empty)
    mirror.sync(small.lake, small.engine)
    assert datasets.replay_to_arrow(small.lake, datasets.read(small.lake, "ds")).equals(rows)
    with pytest.raises(QueryError, match="pcr_5m"):
        small.create("now", query="SELECT * FROM pcr_5m")


@sqlite_only
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT now()", "now"),
        ("SELECT * FROM option_chain WHERE date >= current_date - 30", "current_date"),
        ("SELECT random() AS r FROM option_chain", "random"),
        ("SELECT count(*) FROM option_chain WHERE event_time > ago(INTERVAL 1 DAY)", "ago"),
        ("SELECT * FROM option_chain USING SAMPLE 3 ROWS", "each time"),
        ("SELECT * FROM read_parquet('x.parquet')", "read_parquet"),
        ("SELECT * FROM read_csv('x.csv'), option_chain", "read_csv"),
        ("SELECT * FROM 'x.parquet'", "x.parquet"),
        ("SELECT * FROM query('SELECT now()')", "query"),
        ("SELECT * FROM duckdb_settings()", "duckdb_settings"),
        ("SELECT * FROM information_schema.tables", "tables"),
        ("SELECT * FROM ml_features", "ml_features"),
        ("SELECT * FROM rows", "rows"),
        ("SELECT nothing FROM option_chain", "nothing"),
        ("SELEC 1", "SELEC"),
        ("", "none"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("COPY option_chain TO 'x.csv'", "COPY"),
        ("ATTACH 'x.db'", "ATTACH"),
        ("DROP TABLE option_chain", "DROP"),
        ("DESCRIBE option_chain", "DESCRIBE"),
        ("PIVOT option_chain ON option_type USING sum(oi)", "PIVOT"),
        ("SELECT $a", "a"),
    ],
)
def test_a_query_that_is_not_repeatable_is_refused(small: SmallLake, query: str, told: str) -> None:
    with pytest.raises(QueryError, match=told) as caught:
        small.create(query=query)
    assert "\n" not in str(caught.value)
    assert datasets.names(small.lake) == []


@sqlite_only
def test_a_view_that_asks_for_the_time_is_refused_only_if_it_is_read(
    small: SmallLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "views"
    folder.mkdir()
    header = "-- purpose: {}\n-- reads: option_chain\n-- parameters: none\n-- grain: a row\n-- units: none\n"
    bodies = {"today": "SELECT now() AS t, * FROM option_chain", "plain": "SELECT * FROM option_chain"}
    for name, body in bodies.items():
        (folder / f"{name}.sql").write_text(header.format(name) + body + "\n", encoding="utf-8")
    monkeypatch.setattr("catalog.datasets.VIEWS", folder)
    small.create(query="SELECT count(*) FROM plain")
    with pytest.raises(QueryError, match="the view today uses now"):
        small.create("now", query="WITH x AS (SELECT * FROM today) SELECT count(*) FROM x")


@sqlite_only
def test_an_empty_result_and_columns_of_one_name_are_replayed(small: SmallLake, tmp_path: Path) -> None:
    empty = small.create("empty", query="SELECT symbol, oi FROM option_chain WHERE oi < 0")
    assert (empty.row_count, empty.content_digest) == (0, "0" * 32)
    datasets.replay_to_file(small.lake, empty, tmp_path / "empty.parquet")
    assert pq.read_table(tmp_path / "empty.parquet").schema.names == ["symbol", "oi"]
    assert datasets.verify(small.lake, empty).intact
    twice = small.create("twice", query="SELECT max(oi) AS x, min(oi) AS x FROM option_chain")
    assert datasets.replay_to_arrow(small.lake, twice).column_names == ["x", "x_1"]


@sqlite_only
def test_a_result_that_parquet_cannot_hold_is_told_and_arrow_holds_it(
    small: SmallLake, tmp_path: Path
) -> None:
    made = small.create(query="SELECT max(event_time) - min(event_time) AS span FROM option_chain")
    with pytest.raises(QueryError, match=r"use \.arrow"):
        datasets.replay_to_file(small.lake, made, tmp_path / "a.parquet")
    assert datasets.replay_to_file(small.lake, made, tmp_path / "a.arrow") == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.arrow"]


@sqlite_only
def test_a_software_change_that_changes_a_result_is_told(small: SmallLake) -> None:
    import dataclasses

    made = small.create(query=SUMS)
    other = dataclasses.replace(made, content_digest="f" * 32, software={**made.software, "duckdb": "0.1"})
    found = datasets.verify(small.lake, other)
    assert "duckdb 0.1 then" in found.problems[0]
    with pytest.raises(QueryError, match=r"duckdb 0\.1 then"):
        datasets.replay_to_arrow(small.lake, other)
