"""Datasets: what they are made of, what is refused, and how they are found again."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from catalog_databases import Database, sqlite_only
from deltalake import write_deltalake
from small_lake import EVERY_DAY, MONDAY, TUESDAY, SmallLake, legs, rewrite

from catalog import batches as mirror
from catalog import datasets
from catalog.database import opened_database
from catalog.dataset_manifest import datasets_folder
from lake.digest import content_digest
from lake.errors import (
    CatalogUnavailableError,
    ContractError,
    DamagedTableError,
    DatasetExistsError,
    DatasetInUseError,
    DatasetNotFoundError,
    QueryError,
    SettingsError,
    TableNotFoundError,
)
from lake.session import Session


def test_it_is_the_rows_of_the_tables_and_their_digest(small: SmallLake) -> None:
    made = small.create()
    with Session(small.lake) as session:
        rows = session.table("SELECT * FROM option_chain")
    assert made.row_count == rows.num_rows == 200
    assert made.content_digest == content_digest(rows, ignore=["batch_id"])
    assert made.versions == {"option_chain": 3}
    assert made.tables[0].columns == tuple(rows.column_names)
    assert datasets.read(small.lake, "ds") == made
    assert datasets.names(small.lake) == ["ds"]


def test_dates_and_exchanges_choose(small: SmallLake) -> None:
    assert small.create("monday", first=MONDAY, last=MONDAY).row_count == 140
    assert small.create("bse", exchanges=["BSE"]).row_count == 30
    assert small.create("tuesday", first=TUESDAY, last=TUESDAY, exchanges=["NSE"]).row_count == 60
    places = small.create("both").batches().select(["date", "exchange", "batch_id"]).to_pylist()
    assert [tuple(place.values()) for place in places] == [
        (MONDAY, "BSE", "b1"), (MONDAY, "NSE", "b1"), (MONDAY, "NSE", "b2"), (MONDAY, "NSE", "b3"),
        (TUESDAY, "NSE", "b3"),
    ]  # fmt: skip


def test_several_tables_have_a_digest_each_and_one_together(small: SmallLake) -> None:
    made = small.create(tables=["option_chain", "ml_features"])
    alone = [small.create(name, tables=[name]) for name in ("option_chain", "ml_features")]
    assert [t.content_digest for t in made.tables] == [one.content_digest for one in alone]
    assert made.row_count == sum(one.row_count for one in alone)
    assert made.content_digest not in {one.content_digest for one in alone}
    swapped = small.create("swapped", tables=["ml_features", "option_chain"])
    assert swapped.content_digest == made.content_digest


@sqlite_only
def test_one_other_value_is_another_digest(small: SmallLake) -> None:
    made = small.create(exchanges=["BSE"], first=MONDAY, last=MONDAY)
    rows = datasets.replay_to_arrow(small.lake, made)
    assert content_digest(rows, ignore=["batch_id"]) == made.content_digest
    for name in rows.column_names:
        if name == "batch_id":
            continue
        column = rows.column(name)
        other = column[1] if column[1] != column[0] else None
        values = [other.as_py() if other is not None else None, *column.to_pylist()[1:]]
        if values[0] == column[0].as_py():
            continue
        place = rows.schema.get_field_index(name)
        changed = rows.set_column(place, name, pa.array(values, column.type))
        assert content_digest(changed, ignore=["batch_id"]) != made.content_digest, name


def test_lineage_goes_both_ways_and_comes_back_with_a_new_catalog(
    small: SmallLake, database: Database
) -> None:
    small.create("one")
    small.create("two", first=TUESDAY, last=TUESDAY)
    assert datasets.datasets_with(small.engine, "b3") == ["one", "two"]
    assert datasets.datasets_with(small.engine, "b1") == ["one"]
    assert datasets.datasets_with(small.engine, "nothing") == []

    small.engine.dispose()
    database.delete()
    with opened_database(database.url) as engine:
        mirror.rebuild(small.lake, engine)
        datasets.sync_datasets(small.lake, engine)
        assert datasets.datasets_with(engine, "b3") == ["one", "two"]
        datasets.remove(small.lake, engine, "one")
        assert datasets.datasets_with(engine, "b3") == ["two"]
        assert datasets.names(small.lake) == ["two"]


def test_a_dataset_that_is_gone_from_the_lake_goes_from_the_catalog(small: SmallLake) -> None:
    small.create("one")
    shutil.rmtree(datasets_folder(small.lake) / "one")
    datasets.sync_datasets(small.lake, small.engine)
    assert datasets.datasets_with(small.engine, "b1") == []


@sqlite_only
def test_sessions_that_a_dataset_needs_cannot_be_dropped(small: SmallLake) -> None:
    small.create("early", first=MONDAY, last=MONDAY)
    small.create("late", first=TUESDAY, last=TUESDAY)
    datasets.check_not_needed(small.lake, MONDAY)
    with pytest.raises(DatasetInUseError, match=r"early \(2026-01-05 to 2026-01-05\)") as caught:
        datasets.check_not_needed(small.lake, TUESDAY)
    assert "late" not in str(caught.value)
    datasets.check_not_needed(small.lake, TUESDAY, tables=["ml_features"])
    datasets.remove(small.lake, small.engine, "early")
    datasets.check_not_needed(small.lake, TUESDAY)


@sqlite_only
def test_nothing_is_dropped_while_a_dataset_cannot_say_what_it_needs(small: SmallLake) -> None:
    small.create("ds")
    (datasets_folder(small.lake) / "ds" / "manifest.json").unlink()
    with pytest.raises(DamagedTableError, match="ds"):
        datasets.check_not_needed(small.lake, MONDAY)
    assert datasets.names(small.lake) == ["ds"]
    datasets.remove(small.lake, small.engine, "ds")
    datasets.check_not_needed(small.lake, MONDAY)


@sqlite_only
def test_a_damaged_dataset_does_not_keep_the_others_from_being_mirrored(small: SmallLake) -> None:
    small.create("bad")
    small.create("good")
    (datasets_folder(small.lake) / "bad" / "manifest.json").write_text("{", encoding="utf-8")
    with opened_database(f"sqlite:///{(small.lake.root / 'other.db').as_posix()}") as engine:
        with pytest.raises(DamagedTableError, match="bad"):
            datasets.sync_datasets(small.lake, engine)
        assert datasets.datasets_with(engine, "b1") == ["good"]
    with pytest.raises(DamagedTableError, match="bad"):
        datasets.sync_datasets(small.lake, small.engine)
    assert datasets.datasets_with(small.engine, "b1") == ["bad", "good"]


@sqlite_only
@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "con", "COM1", "ü", "-a", "x" * 65, "a b"])
def test_a_name_is_a_folder_on_every_system(small: SmallLake, name: str) -> None:
    with pytest.raises(SettingsError, match="dataset name"):
        small.create(name)


@sqlite_only
def test_a_dataset_never_changes(small: SmallLake) -> None:
    small.create("ds")
    for name in ("ds", "DS"):
        with pytest.raises(DatasetExistsError):
            small.create(name)


@sqlite_only
def test_of_two_creations_at_once_one_wins(small: SmallLake) -> None:
    outcomes: list[str] = []

    def create() -> None:
        try:
            small.create("ds")
            outcomes.append("made")
        except (DatasetExistsError, CatalogUnavailableError) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=create) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["DatasetExistsError", "DatasetExistsError", "made"]
    assert [path.name for path in datasets_folder(small.lake).iterdir()] == ["ds"]


@sqlite_only
def test_what_a_killed_creation_leaves_is_no_dataset(small: SmallLake) -> None:
    made = small.create("ds")
    shutil.copytree(made.folder, made.folder.with_name(".5d41402abc4b2a76b9719d911017c592"))
    assert datasets.names(small.lake) == ["ds"]
    datasets.sync_datasets(small.lake, small.engine)


@sqlite_only
def test_a_folder_that_was_copied_to_another_name_is_told(small: SmallLake) -> None:
    made = small.create("ds")
    shutil.copytree(made.folder, made.folder.with_name("copy"))
    with pytest.raises(DamagedTableError, match="rename"):
        datasets.read(small.lake, "copy")


@sqlite_only
def test_requests_that_cannot_be_met_say_why(small: SmallLake) -> None:
    with pytest.raises(TableNotFoundError, match="tables:"):
        small.create(tables=["nothing"])
    with pytest.raises(TableNotFoundError, match="its sessions are 2026-01-05 to 2026-01-06"):
        small.create(first=date(2027, 1, 1), last=date(2027, 2, 1))
    with pytest.raises(TableNotFoundError, match="it is empty"):
        small.create(tables=["quarantine"])
    with pytest.raises(QueryError, match="first date is after the last"):
        small.create(first=TUESDAY, last=MONDAY)
    with pytest.raises(DatasetNotFoundError, match="none yet"):
        datasets.read(small.lake, "ds")
    with pytest.raises(DatasetNotFoundError, match="none yet"):
        datasets.remove(small.lake, small.engine, "ds")
    assert datasets.names(small.lake) == []


@sqlite_only
def test_damaged_rows_make_no_dataset_and_the_batch_is_named(small: SmallLake) -> None:
    rewrite(small.file_of("b2"), ltp=1.0)
    for query in (None, "SELECT count(*) FROM option_chain"):
        with pytest.raises(DamagedTableError, match="b2") as caught:
            small.create(query=query)
        assert "b1" not in str(caught.value)
    small.create("tuesday", first=TUESDAY, last=TUESDAY)
    assert datasets.names(small.lake) == ["tuesday"]


@sqlite_only
def test_rows_of_another_tool_belong_to_no_batch_and_are_refused(small: SmallLake) -> None:
    write_deltalake(str(small.lake.path("option_chain")), legs(3, batch="x", day=TUESDAY), mode="append")
    with pytest.raises(ContractError, match="3 rows"):
        small.create()
    small.create(first=MONDAY, last=MONDAY)


@sqlite_only
def test_a_batch_in_two_commits_is_one_batch(small: SmallLake) -> None:
    small.add(legs(9, batch="b2", seed=7))
    made = small.create()
    found = {(b["batch_id"], b["date"], b["exchange"]): b["rows"] for b in made.batches().to_pylist()}
    assert found["b2", MONDAY, "NSE"] == 59
    assert made.row_count == 209
    assert datasets.verify(small.lake, made).intact


@sqlite_only
def test_a_catalog_that_fails_at_the_end_leaves_a_dataset_to_be_mirrored_later(
    small: SmallLake, database: Database, tmp_path: Path
) -> None:
    from sqlalchemy import text

    mirror.sync(small.lake, small.engine)
    with small.engine.begin() as connection:
        connection.execute(text("DROP TABLE dataset_batches"))
    with pytest.raises(CatalogUnavailableError, match="is made, but not mirrored yet"):
        small.create()
    with opened_database(f"sqlite:///{(tmp_path / 'other.db').as_posix()}") as engine:
        datasets.sync_datasets(small.lake, engine)
        assert datasets.datasets_with(engine, "b1") == ["ds"]


@sqlite_only
def test_the_manifest_says_everything_in_words_that_others_can_read(small: SmallLake) -> None:
    made = small.create(query="SELECT symbol, sum(oi) AS oi FROM option_chain GROUP BY symbol")
    manifest = json.loads((made.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["query"].startswith("SELECT symbol")
    assert manifest["content_digest"] == made.content_digest
    assert manifest["row_count"] == 2
    assert manifest["tables"][0]["row_count"] == 200
    assert {"duckdb", "pyarrow", "deltalake", "strikelake"} <= manifest["software"].keys()
    assert "pcr_5m" in manifest["views"]
    assert (manifest["from"], manifest["to"]) == tuple(day.isoformat() for day in EVERY_DAY)
