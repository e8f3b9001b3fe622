"""The mirror of the Delta logs: equal to the logs, however and whenever it is brought up to date."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from catalog_databases import Database, PostgresDatabase, SqliteDatabase, sqlite_only
from deltalake import DeltaTable, write_deltalake
from sqlalchemy import Engine, event

from catalog import batches as mirror
from catalog.contracts import CONTRACTS, ML_FEATURES, OPTION_CHAIN, Contract
from catalog.database import open_database
from lake.append import append
from lake.commit_log import commit_file
from lake.errors import CatalogUnavailableError, DamagedTableError
from lake.table import Lake

if TYPE_CHECKING:
    from postgres_server import PostgresServer

Append = Callable[..., None]

MONDAY = date(2026, 1, 5)
TUESDAY = date(2026, 1, 6)


def chain_rows(count: int, *, exchange: str = "NSE", day: date = MONDAY, start: int = 0) -> pa.Table:
    """Legs with the required columns; everything else is null."""
    opening = datetime(day.year, day.month, day.day, 3, 45, tzinfo=UTC)
    times = [opening + timedelta(seconds=start + n) for n in range(count)]
    given: dict[str, list[Any]] = {
        "date": [day] * count,
        "exchange": [exchange] * count,
        "event_time": times,
        "received_time": times,
        "symbol": ["NIFTY" if exchange == "NSE" else "SENSEX"] * count,
        "expiry": [date(2026, 1, 27)] * count,
        "strike": [24_000.0 + n for n in range(start, start + count)],
        "option_type": ["CE"] * count,
        "source": ["live"] * count,
        "dq_flags": [0] * count,
        "batch_id": [f"app-{start}"] * count,
    }
    schema = OPTION_CHAIN.schema
    return pa.table(
        [pa.array(given.get(field.name, [None] * count), field.type) for field in schema], schema=schema
    )


def feature_rows(count: int) -> pa.Table:
    names = ML_FEATURES.schema.names
    return chain_rows(count).select(names).append_column("pcr", pa.array([0.5] * count))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.at(tmp_path / "my lake")
    for contract in CONTRACTS.values():
        lake.create(contract.spec)
    return lake


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    engine = open_database(database.url)
    yield engine
    engine.dispose()


@pytest.fixture
def add(lake: Lake) -> Append:
    """Commit a micro-batch as the committer does."""

    def commit(rows: pa.Table, sequence: int, contract: Contract = OPTION_CHAIN) -> None:
        append(
            lake.path(contract.table), contract.spec, rows, stream="app/1", sequence=sequence,
            metadata={"batch_id": f"app-{sequence:06d}", "app_id": "app", "seq_first": sequence - 1,
                      "seq_last": sequence},
        )  # fmt: skip

    return commit


@pytest.fixture
def filled(lake: Lake, add: Append) -> Lake:
    """Three micro-batches of the chain over two exchanges and two days, one of the features."""
    add(pa.concat_tables([chain_rows(4), chain_rows(3, exchange="BSE")]), 2)
    add(chain_rows(5, start=100), 4)
    add(pa.concat_tables([chain_rows(2, start=200), chain_rows(6, day=TUESDAY)]), 6)
    add(feature_rows(2), 2, ML_FEATURES)
    return lake


def what_the_lake_says(lake: Lake) -> list[dict[str, Any]]:
    """The mirror worked out anew: deltalake's history and actions, and the bytes and rows of each file."""
    expected = []
    for name, path in lake.tables().items():
        history = {entry["version"]: entry for entry in DeltaTable(str(path)).history()}
        seen: set[str] = set()
        for version in sorted(history):
            actions = pa.table(DeltaTable(str(path), version=version).get_add_actions(flatten=True))
            for action in sorted(actions.to_pylist(), key=lambda one: str(one["path"])):
                if action["path"] in seen:
                    continue
                seen.add(action["path"])
                file = path / action["path"]
                times = pq.read_table(file, partitioning=None)["event_time"].to_pylist()
                info = history[version]["strikelake"]
                expected.append(
                    {
                        "table_name": name,
                        "table_version": version,
                        "batch_time": datetime.fromtimestamp(history[version]["timestamp"] / 1000, UTC),
                        "exchange": action["partition.exchange"],
                        "date": action["partition.date"],
                        "parquet_path": file.relative_to(lake.root).as_posix(),
                        "record_count": len(times),
                        "checksum": hashlib.sha256(file.read_bytes()).hexdigest(),
                        "size_bytes": file.stat().st_size,
                        "first_event_time": min(times),
                        "last_event_time": max(times),
                        "batch_id": info["batch_id"],
                        "app_id": "app",
                        "seq_first": info["seq_first"],
                        "seq_last": info["seq_last"],
                        "state": "committed",
                        "flagged_rows": None,
                    }
                )
    return expected


def mirrored(engine: Engine, *, without: tuple[str, ...] = ("id",)) -> list[dict[str, Any]]:
    """Every row in the order of tables, versions and paths."""
    rows = sorted(
        mirror.batches(engine), key=lambda r: (r["table_name"], r["table_version"], r["parquet_path"])
    )
    return [{key: value for key, value in row.items() if key not in without} for row in rows]


def test_every_row_is_what_log_and_files_say(filled: Lake, engine: Engine) -> None:
    result = mirror.sync(filled, engine)

    # Creations count as commits: one a table, and the one that added the column pcr.
    assert (result.commits, result.batches) == (len(CONTRACTS) + 1 + 4, 6)
    found = mirrored(engine, without=("id", "created_at", "content_digest"))
    expected = what_the_lake_says(filled)
    assert sorted(found, key=lambda r: r["parquet_path"]) == sorted(expected, key=lambda r: r["parquet_path"])


def test_a_content_digest_depends_on_the_rows_alone(filled: Lake, engine: Engine, add: Append) -> None:
    add(chain_rows(5, start=100), 8)
    mirror.sync(filled, engine)

    digests = {row["parquet_path"]: row["content_digest"] for row in mirror.batches(engine)}
    twins = [row for row in mirror.batches(engine, table="option_chain") if row["record_count"] == 5]
    assert len(twins) == 2
    assert len({row["content_digest"] for row in twins}) == 1
    assert len(set(digests.values())) == len(digests) - 1


def test_following_again_adds_nothing_and_new_commits_are_added_alone(
    filled: Lake, engine: Engine, add: Append
) -> None:
    mirror.sync(filled, engine)
    before = mirrored(engine, without=())

    again = mirror.sync(filled, engine)
    assert (again.commits, again.batches) == (0, 0)
    add(chain_rows(1, start=500), 8)
    assert mirror.pending_commits(filled, engine) == 1
    more = mirror.sync(filled, engine)

    assert (more.commits, more.batches) == (1, 1)
    assert [row for row in mirrored(engine, without=()) if row in before] == before
    assert mirror.pending_commits(filled, engine) == 0


def test_it_is_told_how_far_the_mirror_is_behind_each_log(filled: Lake, engine: Engine, add: Append) -> None:
    assert {mirrored for _, mirrored in mirror.behind(filled, engine).values()} == {-1}
    mirror.sync(filled, engine)
    told = mirror.behind(filled, engine)
    assert told.keys() == filled.tables().keys()
    assert all(newest == mirrored for newest, mirrored in told.values())
    add(chain_rows(1, start=900), 9)
    newest, mirrored = mirror.behind(filled, engine)["option_chain"]
    assert newest == mirrored + 1


def test_commits_made_while_the_catalog_was_gone_are_caught_up(
    filled: Lake, engine: Engine, database: Database, add: Append
) -> None:
    mirror.sync(filled, engine)
    engine.dispose()
    database.delete()
    add(chain_rows(1, start=500), 8)

    anew = open_database(database.url)
    mirror.sync(filled, anew)

    assert {row["parquet_path"] for row in mirrored(anew)} == {
        row["parquet_path"] for row in what_the_lake_says(filled)
    }
    anew.dispose()


def test_a_rebuild_gives_the_same_rows(filled: Lake, engine: Engine, add: Append) -> None:
    mirror.sync(filled, engine, tables=["option_chain"])
    add(chain_rows(1, start=500), 8)
    mirror.sync(filled, engine)
    before = mirrored(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ml_feature_batches SET checksum = 'spoilt', record_count = 0"))

    result = mirror.rebuild(filled, engine)

    assert result.batches == len(before)
    assert mirrored(engine) == before
    assert len({row["id"] for row in mirror.batches(engine)}) == len(before)


def test_a_rebuild_without_the_beginning_of_a_log_leaves_the_mirror(filled: Lake, engine: Engine) -> None:
    mirror.sync(filled, engine)
    before = mirrored(engine)
    commit_file(filled.path("option_chain"), 0).unlink()

    with pytest.raises(DamagedTableError, match="log of option_chain starts at version 1"):
        mirror.rebuild(filled, engine)

    assert mirrored(engine) == before


def test_the_catalog_deleted_and_rebuilt_has_the_same_rows_on_either_database(
    filled: Lake, sqlite_database: SqliteDatabase, postgres_database: PostgresDatabase, add: Append
) -> None:
    write_deltalake(str(filled.path("option_chain")), chain_rows(3, start=700), mode="append")
    found = []
    for database in (sqlite_database, postgres_database):
        engine = open_database(database.url)
        mirror.sync(filled, engine)
        before = mirrored(engine)
        engine.dispose()
        database.delete()

        engine = open_database(database.url)
        assert mirror.batches(engine) == []
        mirror.rebuild(filled, engine)
        after = mirrored(engine)
        engine.dispose()
        assert after == before
        found.append(after)

    on_sqlite, on_postgresql = found
    assert len(on_sqlite) == 7
    assert on_sqlite == on_postgresql


def test_many_commits_are_followed_in_several_transactions(
    filled: Lake, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_COMMITS_A_TRANSACTION", 2)
    steps: list[int] = []

    result = mirror.sync(filled, engine, progress=steps.append)

    assert max(steps) == 2
    assert sum(steps) == result.commits == len(CONTRACTS) + 1 + 4
    assert len(mirrored(engine)) == 6


def test_only_the_tables_asked_for_are_followed_however_they_are_given(filled: Lake, engine: Engine) -> None:
    mirror.sync(filled, engine, tables=(name for name in ("quarantine", "ml_features", "option_chain")))
    assert {row["table_name"] for row in mirror.batches(engine)} == {"ml_features", "option_chain"}

    mirror.rebuild(filled, engine)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ml_feature_batches"))
        connection.execute(sa.text("DELETE FROM mirror_cursors"))
    mirror.sync(filled, engine, tables=["ml_features"])
    assert {row["table_name"] for row in mirror.batches(engine)} == {"ml_features"}


def test_batches_of_another_writer_are_foreign_and_their_facts_are_worked_out(
    filled: Lake, engine: Engine, add: Append
) -> None:
    path = filled.path("option_chain")
    write_deltalake(str(path), chain_rows(5, start=100), mode="append")

    mirror.sync(filled, engine)

    (foreign,) = [row for row in mirror.batches(engine) if row["state"] == "foreign"]
    content = (filled.root / foreign["parquet_path"]).read_bytes()
    assert foreign["checksum"] == hashlib.sha256(content).hexdigest()
    assert (foreign["record_count"], foreign["size_bytes"]) == (5, len(content))
    assert (foreign["exchange"], foreign["date"]) == ("NSE", MONDAY)
    assert [foreign[name] for name in ("batch_id", "app_id", "seq_first", "seq_last")] == [None] * 4
    (ours,) = [
        row
        for row in mirror.batches(engine, table="option_chain")
        if row["record_count"] == 5 and row["state"] == "committed"
    ]
    assert foreign["content_digest"] == ours["content_digest"], "the same rows"


def test_compaction_adds_no_batch_and_takes_none_away(filled: Lake, engine: Engine, add: Append) -> None:
    mirror.sync(filled, engine)
    before = mirrored(engine)
    assert DeltaTable(str(filled.path("option_chain"))).optimize.compact()["numFilesRemoved"] > 0

    result = mirror.sync(filled, engine)
    assert (result.commits, result.batches) == (1, 0)
    assert mirrored(engine) == before
    add(chain_rows(1, start=500), 8)
    assert mirror.sync(filled, engine).batches == 1


def test_batches_are_filtered_and_come_newest_first(filled: Lake, engine: Engine) -> None:
    mirror.sync(filled, engine)

    def sizes(**wanted: Any) -> list[int]:
        return [row["record_count"] for row in mirror.batches(engine, **wanted)]

    assert sorted(sizes()) == [2, 2, 3, 4, 5, 6]
    assert sizes(exchange="BSE") == [3]
    assert sizes(day=TUESDAY) == [6]
    assert sorted(sizes(table="option_chain", day=MONDAY, exchange="NSE")) == [2, 4, 5]
    assert sorted(sizes(batch_id="app-000006")) == [2, 6]
    assert sizes(table="nope") == []
    times = [row["batch_time"] for row in mirror.batches(engine)]
    assert times == sorted(times, reverse=True)
    assert len(mirror.batches(engine, limit=2)) == 2
    assert mirror.batches(engine, limit=2) == mirror.batches(engine)[:2]
    assert tuple(mirror.batches(engine, limit=1)[0]) == mirror.COLUMNS


def test_files_outside_the_root_are_named_by_their_whole_path(tmp_path: Path, engine: Engine) -> None:
    lake = Lake(root=tmp_path / "root", raw_stream=tmp_path / "elsewhere")
    path = lake.create(OPTION_CHAIN.spec)
    append(path, OPTION_CHAIN.spec, chain_rows(1), stream="a/1", sequence=1, metadata={})

    mirror.sync(lake, engine)

    (row,) = mirror.batches(engine)
    assert Path(row["parquet_path"]).is_absolute()
    assert hashlib.sha256(Path(row["parquet_path"]).read_bytes()).hexdigest() == row["checksum"]


@sqlite_only
def test_a_locked_catalog_is_unavailable_and_catches_up_from_the_log_later(
    filled: Lake, engine: Engine, add: Append
) -> None:
    @event.listens_for(engine, "connect")
    def _impatient(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    engine.dispose()
    mirror.sync(filled, engine)
    add(chain_rows(1, start=500), 8)
    other = sqlite3.connect(filled.root / "catalog.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for follow in (mirror.sync, mirror.rebuild):
        with pytest.raises(CatalogUnavailableError, match="locked"):
            follow(filled, engine)
    other.execute("ROLLBACK")
    other.close()

    assert mirror.sync(filled, engine).batches == 1
    assert len(mirrored(engine)) == len(what_the_lake_says(filled)) == 7


@sqlite_only
def test_a_read_only_catalog_can_be_read_but_not_brought_up_to_date(
    filled: Lake, engine: Engine, add: Append
) -> None:
    mirror.sync(filled, engine)
    before = mirrored(engine)
    add(chain_rows(1, start=500), 8)
    file = (filled.root / "catalog.db").as_posix()
    read_only = open_database(f"sqlite:///file:{file}?mode=ro&uri=true")

    assert mirrored(read_only) == before
    with pytest.raises(CatalogUnavailableError, match="readonly"):
        mirror.sync(filled, read_only)
    read_only.dispose()
    assert mirrored(engine) == before


def test_a_torn_commit_is_named_and_what_came_before_stays(filled: Lake, engine: Engine, add: Append) -> None:
    mirror.sync(filled, engine)
    before = mirrored(engine)
    add(chain_rows(1, start=500), 8)
    newest = commit_file(filled.path("option_chain"), 4)
    whole = newest.read_bytes()
    newest.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DamagedTableError, match="commit 4 of option_chain"):
        mirror.sync(filled, engine)

    assert mirrored(engine) == before
    newest.write_bytes(whole)
    assert mirror.sync(filled, engine).batches == 1


def test_commits_cleaned_up_before_they_were_mirrored_are_an_error_that_names_them(
    filled: Lake, engine: Engine
) -> None:
    for version in (0, 1):
        commit_file(filled.path("option_chain"), version).unlink()

    with pytest.raises(DamagedTableError, match="commits 0 to 1 of option_chain"):
        mirror.sync(filled, engine)


def test_commits_cleaned_up_after_they_were_mirrored_do_no_harm(
    filled: Lake, engine: Engine, add: Append
) -> None:
    mirror.sync(filled, engine)
    for version in (0, 1, 2):
        commit_file(filled.path("option_chain"), version).unlink()
    assert mirror.sync(filled, engine).batches == 0
    assert len(mirrored(engine)) == 6


def test_a_table_made_anew_under_an_old_name_is_noticed_and_a_rebuild_mends_it(
    filled: Lake, engine: Engine, add: Append
) -> None:
    mirror.sync(filled, engine)
    old = filled.path("option_chain")
    old.rename(filled.root / "old")
    filled.create(OPTION_CHAIN.spec)
    add(chain_rows(1, start=900), 2)

    with pytest.raises(DamagedTableError, match="catalog rebuild"):
        mirror.sync(filled, engine)

    mirror.rebuild(filled, engine)
    assert [row["record_count"] for row in mirror.batches(engine, table="option_chain")] == [1]


def test_a_table_that_is_not_partitioned_by_date_is_refused_by_name(lake: Lake, engine: Engine) -> None:
    write_deltalake(str(lake.raw_stream / "zoo"), pa.table({"animal": ["lion"]}))

    with pytest.raises(DamagedTableError, match="zoo is not partitioned by date"):
        mirror.sync(lake, engine)


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the actions of a commit."""
    actions = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for action in actions:
        change(action)
    file.write_text("".join(json.dumps(action) + "\n" for action in actions), encoding="utf-8")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("batch_id", "a\0b"),
        ("batch_id", "\ud800"),
        ("batch_id", "x" * 129),
        ("batch_id", 7),
        ("seq_first", 2**63),
        ("seq_last", "seven"),
    ],
)
def test_what_not_every_database_can_hold_is_refused_on_each_by_name(
    filled: Lake, engine: Engine, column: str, value: object
) -> None:
    newest = commit_file(filled.path("option_chain"), 3)
    rewrite(newest, lambda action: action.get("commitInfo", {}).get("strikelake", {}).update({column: value}))

    with pytest.raises(DamagedTableError, match=f"commit 3 of option_chain.* as {column}"):
        mirror.sync(filled, engine)
    assert mirror.batches(engine, table="option_chain") == []


def test_an_exchange_with_a_name_too_long_for_the_catalog_is_refused(lake: Lake, engine: Engine) -> None:
    write_deltalake(str(lake.path("option_chain")), chain_rows(2, exchange="N" * 17), mode="append")

    with pytest.raises(DamagedTableError, match=r"N{17}.* as exchange"):
        mirror.sync(lake, engine)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_there_are_no_batches_by_a_name_that_no_database_holds(
    filled: Lake, engine: Engine, text: str
) -> None:
    mirror.sync(filled, engine)
    assert mirror.batches(engine, batch_id=text) == []


@pytest.mark.parametrize("damage", ["gone", "not Parquet"])
def test_a_foreign_file_that_cannot_be_read_is_named(lake: Lake, engine: Engine, damage: str) -> None:
    path = lake.path("option_chain")
    write_deltalake(str(path), chain_rows(2), mode="append")
    (file,) = path.glob("date=*/**/*.parquet")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"not Parquet at all, but long enough to be looked into")

    with pytest.raises(DamagedTableError, match=file.name):
        mirror.sync(lake, engine)


_SYNC = """
import sys
from catalog.batches import sync
from catalog.database import open_database
from lake.table import Lake
engine = open_database(sys.argv[2])
for _ in range(5):
    sync(Lake.at(sys.argv[1]), engine)
"""


def test_processes_that_follow_together_add_every_batch_once(
    filled: Lake, database: Database, add: Append
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _SYNC, str(filled.root), database.url],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    sequence = 8
    while any(process.poll() is None for process in started):
        add(chain_rows(1, start=sequence * 100), sequence)
        sequence += 2
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors

    engine = open_database(database.url)
    mirror.sync(filled, engine)
    paths = [row["parquet_path"] for row in mirror.batches(engine)]
    engine.dispose()
    assert sorted(paths) == sorted(row["parquet_path"] for row in what_the_lake_says(filled))


@pytest.mark.parametrize("mirrored_before", [False, True])
def test_a_mirror_followed_during_a_rebuild_has_every_batch_once(
    filled: Lake, postgres_database: PostgresDatabase, add: Append, mirrored_before: bool
) -> None:
    first, second = (open_database(postgres_database.url) for _ in range(2))
    if mirrored_before:
        mirror.sync(filled, first)
    add(chain_rows(1, start=500), 8)
    results: list[mirror.SyncResult] = []
    follower = threading.Thread(target=lambda: results.append(mirror.sync(filled, second)))

    def let_another_follow(commits: int) -> None:
        if not follower.ident:
            follower.start()
            postgres_database.wait_until_somebody_waits()

    rebuilt = mirror.rebuild(filled, first, progress=let_another_follow)
    follower.join()

    assert (rebuilt.batches, results) == (7, [mirror.SyncResult(0, 0)])
    paths = [row["parquet_path"] for row in mirrored(first)]
    assert sorted(paths) == sorted(row["parquet_path"] for row in what_the_lake_says(filled))
    first.dispose()
    second.dispose()


def test_a_catalog_whose_server_goes_away_catches_up_from_the_log_when_it_is_back(
    filled: Lake, postgres_server_of_its_own: PostgresServer, add: Append
) -> None:
    server = postgres_server_of_its_own
    engine = open_database(server.url(server.new_database()))
    mirror.sync(filled, engine)
    before = mirrored(engine)
    add(chain_rows(1, start=500), 8)

    def lose_the_server_on_the_way(commits: int) -> None:
        server.stop()

    with pytest.raises(CatalogUnavailableError):
        mirror.rebuild(filled, engine, progress=lose_the_server_on_the_way)
    for follow in (mirror.sync, mirror.rebuild):
        with pytest.raises(CatalogUnavailableError):
            follow(filled, engine)

    server.start()
    assert mirrored(engine) == before
    assert mirror.sync(filled, engine).batches == 1
    assert len(mirrored(engine)) == len(what_the_lake_says(filled)) == 7
    engine.dispose()


@sqlite_only
def test_the_command_line_lists_batches_as_json(filled: Lake, engine: Engine) -> None:
    mirror.sync(filled, engine)
    code = "from lake.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "--root", str(filled.root), "catalog", "batches", "--output", "json",
         "--exchange", "BSE"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip

    (row,) = json.loads(ended.stdout)
    assert (row["record_count"], row["exchange"], row["date"]) == (3, "BSE", "2026-01-05")
    assert datetime.fromisoformat(row["batch_time"]).utcoffset() == timedelta(hours=5, minutes=30)
