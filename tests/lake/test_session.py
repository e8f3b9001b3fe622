"""A session binds every table and view once; what it shows equals what deltalake reads."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lake.commit_log import Commit, commit_file, read_commit
from lake.errors import (
    DamagedTableError,
    QueryError,
    SettingsError,
    TableNotFoundError,
    VersionNotFoundError,
)
from lake.session import Session
from lake.snapshot import read_snapshot
from lake.spool import Entry, Spool
from lake.table import Lake, TableSpec

MakeRows = Callable[..., pa.Table]
CommitRows = Callable[..., Commit | None]
Query = Callable[..., list[dict[str, Any]]]

TOTALS = "SELECT count(*) AS n, CAST(sum(celsius) AS DOUBLE) AS total FROM readings"


def totals(numbers: list[int]) -> list[dict[str, Any]]:
    return [{"n": len(numbers), "total": float(sum(numbers)) if numbers else None}]


def write_view(folder: Path, name: str, sql: str, reads: str = "readings") -> None:
    header = f"-- purpose: Test.\n-- reads: {reads}\n-- parameters: none\n-- grain: one row\n-- units: none\n"
    (folder / f"{name}.sql").write_text(f"{header}{sql}\n", encoding="utf-8")


@pytest.fixture
def spool(lake: Lake) -> Any:
    spool = Spool(lake.spools / "app.db")
    yield spool
    spool.close()


def put(spool: Spool, rows: pa.Table) -> None:
    batch = rows.drop_columns(["batch_id"])
    spool.put([Entry("readings", "A", "readings", batch)], offered={("readings", "A"): batch.num_rows})


def test_each_version_and_each_moment_shows_the_rows_it_had(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    for sequence in range(1, 5):
        time.sleep(0.003)
        commit(make_rows(sequence, 10 * sequence), sequence)

    for version in range(5):
        expected = DeltaTable(str(table), version=version).to_pyarrow_table()["celsius"].to_pylist()
        moment = read_commit(table, version).time
        assert query(lake, TOTALS, at=version) == totals(expected)
        assert query(lake, TOTALS, at=moment) == totals(expected)
        assert query(lake, TOTALS, at=moment + timedelta(milliseconds=1)) == totals(expected)
    assert query(lake, TOTALS) == query(lake, TOTALS, at=4)


def test_a_session_does_not_see_commits_made_after_it_was_opened(
    lake: Lake, commit: CommitRows, make_rows: MakeRows, views: Path
) -> None:
    commit(make_rows(3), 1)
    with Session(lake, views=views) as session:
        commit(make_rows(5, 100), 2)
        assert session.table(TOTALS).to_pylist() == totals([0, 1, 2])
        assert session.snapshots["readings"].version == 1


def test_an_empty_table_has_its_columns_and_no_rows(lake: Lake, views: Path) -> None:
    with Session(lake, views=views) as session:
        rows = session.table("SELECT * FROM readings")
        kinds = session.table("SELECT column_type AS kind FROM (DESCRIBE readings)").to_pylist()

    assert rows.num_rows == 0
    assert rows.column_names == read_snapshot(lake.path("readings")).schema.names
    assert [row["kind"] for row in kinds] == [
        "DATE", "VARCHAR", "TIMESTAMP WITH TIME ZONE", "VARCHAR", "DOUBLE", "BIGINT", "VARCHAR",
    ]  # fmt: skip


def test_files_of_different_columns_are_read_as_one_table(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(2), 1)
    commit(make_rows(2, 10, wind=[1.0, 2.0]), 2)
    commit(make_rows(2, 20, humidity=[0.1, None], wind=[3.0, 4.0]), 3)
    commit(make_rows(1, 30), 4)

    ours = query(lake, "SELECT celsius, wind, humidity FROM readings ORDER BY celsius")

    theirs = DeltaTable(str(table)).to_pyarrow_table().sort_by("celsius")
    assert ours == theirs.select(["celsius", "wind", "humidity"]).to_pylist()
    assert [row["wind"] for row in ours] == [None, None, 1.0, 2.0, 3.0, 4.0, None]


@pytest.mark.parametrize(
    "name", ["my data", "50% data", "trader's", "ऑप्शन é", "a;b", "data [old]", "what?*", "k=v", '"q"']
)
def test_a_lake_may_lie_in_a_folder_of_any_common_name(
    tmp_path: Path, spec: TableSpec, make_rows: MakeRows, commit: CommitRows, query: Query, name: str
) -> None:
    lake = Lake.at(tmp_path / name / "lake")
    try:
        path = lake.create(spec)
    except OSError:
        pytest.skip("the file system does not take this name")
    commit(make_rows(4), 1, path=path)
    commit(make_rows(2, 10, wind=[1.0, 2.0]), 2, path=path)

    assert query(lake, TOTALS) == totals([0, 1, 2, 3, 10, 11])


def test_a_folder_name_that_reads_as_a_pattern_does_not_reach_into_the_folder_beside_it(
    tmp_path: Path, spec: TableSpec, make_rows: MakeRows, commit: CommitRows, query: Query
) -> None:
    lake = Lake.at(tmp_path / "data[1]")
    commit(make_rows(4), 1, path=lake.create(spec))
    shutil.copytree(lake.root, tmp_path / "data1")
    for file in (tmp_path / "data1").rglob("*.parquet"):
        pq.write_table(pq.read_table(file, partitioning=None).slice(1), file)

    assert query(lake, TOTALS) == totals([0, 1, 2, 3])


def test_a_percent_escape_in_the_root_is_refused_before_anything_is_written(
    tmp_path: Path, spec: TableSpec
) -> None:
    with pytest.raises(SettingsError, match="%41"):
        Lake.at(tmp_path / "a%41").create(spec)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_above_that_would_replace_a_columns_values_is_refused(
    tmp_path: Path, spec: TableSpec, make_rows: MakeRows, commit: CommitRows, query: Query
) -> None:
    lake = Lake.at(tmp_path / "sensor=s9" / "lake")
    commit(make_rows(4), 1, path=lake.create(spec))

    with pytest.raises(DamagedTableError, match="'sensor=s9'"):
        query(lake, TOTALS)


def test_compaction_by_another_tool_changes_no_row(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    for sequence in range(1, 6):
        more = {"wind": [0.5] * 4} if sequence > 3 else {}
        commit(make_rows(4, 10 * sequence, **more), sequence)
    everything = "SELECT * FROM readings ORDER BY celsius"
    before = query(lake, everything)

    metrics = DeltaTable(str(table)).optimize.compact()

    assert metrics["numFilesRemoved"] == 5
    assert len(read_snapshot(table).files) == 1
    assert query(lake, everything) == before
    assert query(lake, TOTALS, at=1) == totals([10, 11, 12, 13])
    commit(make_rows(1, 99), 6)
    assert query(lake, TOTALS) == totals([n for s in range(1, 6) for n in range(10 * s, 10 * s + 4)] + [99])


def test_rows_that_another_writer_appended_are_read_too(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(2, wind=[1.0, 2.0]), 1)
    write_deltalake(str(table), make_rows(2, 50), mode="append", schema_mode="merge")

    assert query(lake, TOTALS) == totals([0, 1, 50, 51])


def test_spooled_rows_show_at_once_in_a_live_session_only(
    lake: Lake, spool: Spool, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(2), 1)
    put(spool, make_rows(3, 100))

    assert query(lake, TOTALS) == totals([0, 1])
    assert query(lake, TOTALS, live=True) == totals([0, 1, 100, 101, 102])
    shown = query(lake, "SELECT * FROM readings WHERE celsius >= 100 ORDER BY celsius", live=True)
    expected = make_rows(3, 100).to_pylist()
    assert shown == [{**row, "batch_id": None} for row in expected]


def test_rows_that_are_committed_and_still_spooled_show_once(
    lake: Lake, spool: Spool, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    put(spool, make_rows(2, 0))
    put(spool, make_rows(2, 10))
    commit(make_rows(2, 0), 1, stream=spool.stream)

    assert query(lake, TOTALS, live=True) == totals([0, 1, 10, 11])
    commit(make_rows(2, 10), 2, stream=spool.stream)
    assert query(lake, TOTALS, live=True) == totals([0, 1, 10, 11])
    spool.clear("readings", 2)
    assert query(lake, TOTALS, live=True) == totals([0, 1, 10, 11])


def test_commits_while_a_live_session_opens_neither_double_nor_hide_a_row(
    lake: Lake, spool: Spool, commit: CommitRows, make_rows: MakeRows, views: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    put(spool, make_rows(2, 0))
    put(spool, make_rows(2, 10))
    read_entries = Spool.entries

    def commit_and_clear_meanwhile(self: Spool, name: str) -> Any:
        entries = list(read_entries(self, name))
        commit(pa.concat_tables([make_rows(2, 0), make_rows(2, 10)]), 2, stream=spool.stream)
        spool.clear("readings", 2)
        return iter(entries)

    monkeypatch.setattr(Spool, "entries", commit_and_clear_meanwhile)
    with Session(lake, views=views, live=True) as session:
        assert session.table(TOTALS).to_pylist() == totals([0, 1, 10, 11])


def test_spooled_columns_the_table_does_not_have_yet_are_shown_in_either_spelling(
    lake: Lake, spool: Spool, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(1, RSI=[50.0]), 1)
    put(spool, make_rows(1, 10, rsi=[60.0]))
    put(spool, make_rows(1, 20, RSI=[70.0], wind=[1.0]))
    put(spool, make_rows(1, 30, Wind=[2.0]))

    rows = query(lake, "SELECT rsi AS rsi, wind AS wind FROM readings ORDER BY celsius", live=True)

    assert rows == [
        {"rsi": 50.0, "wind": None},
        {"rsi": 60.0, "wind": None},
        {"rsi": 70.0, "wind": 1.0},
        {"rsi": None, "wind": 2.0},
    ]


def test_live_rows_have_no_version(lake: Lake, views: Path) -> None:
    with pytest.raises(QueryError, match="not both"):
        Session(lake, at=0, live=True, views=views)


def test_a_folder_without_tables_is_not_a_lake(tmp_path: Path, views: Path) -> None:
    with pytest.raises(TableNotFoundError, match="strikelake demo"):
        Session(Lake.at(tmp_path / "nowhere"), views=views)


@pytest.mark.parametrize("at", [7, -1, 10**30, datetime(2001, 1, 1, tzinfo=UTC)])
def test_a_version_or_moment_that_no_table_has_is_an_error(
    lake: Lake, query: Query, at: int | datetime
) -> None:
    with pytest.raises(VersionNotFoundError, match="readings has no version"):
        query(lake, TOTALS, at=at)


def test_a_name_that_is_not_bound_is_explained_where_it_is_used(
    lake: Lake, spec: TableSpec, commit: CommitRows, make_rows: MakeRows, views: Path
) -> None:
    commit(make_rows(2), 1)
    lake.create(TableSpec("younger", spec.schema, spec.partition_by, (), ()))
    write_view(views, "per_sensor", "SELECT sensor, count(*) AS n FROM readings GROUP BY sensor")
    write_view(views, "of_younger", "SELECT * FROM younger", reads="younger")
    write_view(views, "of_view", "SELECT * FROM of_younger", reads="of_younger")
    write_view(views, "of_absent", "SELECT * FROM absent", reads="absent")
    write_view(views, "of_wind", "SELECT wind FROM readings")

    with Session(lake, at=1, views=views) as session:
        assert set(session.unbound) == {"younger", "of_younger", "of_view", "of_absent", "of_wind"}
        assert session.table("SELECT sum(n) AS n FROM per_sensor").to_pylist() == [{"n": 2}]
        for name, reason in {
            "younger": "younger has no version 1; the newest is 0",
            "of_view": "of_view needs of_younger needs younger has no version 1",
            "of_absent": "the lake has no table absent",
            "of_wind": "wind",
        }.items():
            with pytest.raises(QueryError, match=reason):
                session.table(f"SELECT * FROM {name}")


def test_a_view_whose_column_came_later_is_there_once_the_column_is(
    lake: Lake, commit: CommitRows, make_rows: MakeRows, views: Path, query: Query
) -> None:
    write_view(views, "windy", "SELECT max(wind) AS wind FROM readings")
    commit(make_rows(1), 1)
    commit(make_rows(1, 10, wind=[7.0]), 2)

    assert query(lake, "SELECT * FROM windy") == [{"wind": 7.0}]
    with pytest.raises(QueryError, match=r"windy: .*wind"):
        query(lake, "SELECT * FROM windy", at=1)


def test_a_data_file_that_is_gone_is_named(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    made = commit(make_rows(2), 1)
    assert made is not None
    (table / made.adds[0]["path"]).unlink()

    with pytest.raises(DamagedTableError, match=r"readings.*part-\w+-\w+\.parquet"):
        query(lake, TOTALS)


def test_a_torn_newest_commit_is_an_error_in_one_line(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(2), 1)
    commit_file(table, 1).write_bytes(b"\0" * 300)

    with pytest.raises(DamagedTableError, match="the log of readings") as caught:
        query(lake, TOTALS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("feature", ["deletionVectors", "columnMapping"])
def test_tables_that_plain_parquet_would_misread_are_refused(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query, feature: str
) -> None:
    commit(make_rows(2), 1)
    path = commit_file(table, 0)
    actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for action in actions:
        if "protocol" in action:
            action["protocol"] = {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": [feature],
                "writerFeatures": [feature, "appendOnly"],
            }
    path.write_text("\n".join(json.dumps(action) for action in actions) + "\n", encoding="utf-8")

    with pytest.raises(DamagedTableError, match=feature):
        query(lake, TOTALS)


def test_moments_come_back_aware_and_text_is_read_in_the_lakes_zone(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(2), 1)
    statement = (
        "SELECT event_time, CAST(event_time AS VARCHAR) AS text, "
        "TIMESTAMPTZ '2026-01-05 05:30:00' = event_time AS equal FROM readings ORDER BY event_time LIMIT 1"
    )

    indian = query(lake, statement)
    assert indian == [
        {"event_time": datetime(2026, 1, 5, tzinfo=UTC), "text": "2026-01-05 05:30:00+05:30", "equal": True}
    ]
    utc = Lake(root=lake.root, raw_stream=lake.raw_stream, timezone="UTC")
    (row,) = query(utc, statement)
    assert (row["text"], row["equal"]) == ("2026-01-05 00:00:00+00", False)


def test_values_enter_as_parameters(lake: Lake, commit: CommitRows, make_rows: MakeRows, views: Path) -> None:
    commit(make_rows(6), 1)
    with Session(lake, views=views) as session:
        rows = session.table(
            "SELECT celsius FROM readings WHERE sensor = $sensor AND event_time > $since",
            {"sensor": "s0", "since": datetime(2026, 1, 5, 0, 0, 1, tzinfo=UTC)},
        )
        assert rows.to_pylist() == [{"celsius": 3.0}]
        assert session.table("SELECT $x AS x", {"x": "'; DROP VIEW readings; --"}).num_rows == 1
        assert session.table(TOTALS)["n"].to_pylist() == [6]


def test_columns_of_one_name_are_told_apart(lake: Lake, views: Path) -> None:
    with Session(lake, views=views) as session:
        rows = session.table("SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a")

    assert len(set(rows.column_names)) == 4
    assert rows.column_names[0] == "a"
    assert list(rows.to_pylist()[0].values()) == [1, 2, 3, 4]


@pytest.mark.parametrize("statement", ["SELEC 1", "SELECT * FROM absent", "SELECT 1/'x'", "SELECT $x"])
def test_a_statement_that_cannot_run_is_a_query_error(lake: Lake, views: Path, statement: str) -> None:
    with Session(lake, views=views) as session, pytest.raises(QueryError):
        session.table(statement)


def test_nothing_is_fetched_from_the_network(lake: Lake, views: Path) -> None:
    with Session(lake, views=views) as session, socket.create_server(("127.0.0.1", 0)) as proxy:
        # Whatever DuckDB would fetch, it would ask this for it.
        session.connection.execute(f"SET http_proxy = '127.0.0.1:{proxy.getsockname()[1]}'")
        with pytest.raises(QueryError):
            session.table("SELECT * FROM delta_scan('x')")
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_files_stand_in_the_order_of_their_commits(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    made = []
    for sequence in range(1, 6):
        time.sleep(0.002)
        made.append(commit(make_rows(1, sequence), sequence))

    files = [path.name for path in read_snapshot(table).files]

    assert files == [Path(one.adds[0]["path"]).name for one in made if one is not None]


def test_a_table_that_lacks_its_log_file_is_not_found_by_name(lake: Lake) -> None:
    with pytest.raises(TableNotFoundError, match=r"'nope'.*readings"):
        lake.path("nope")


def test_creating_a_table_again_keeps_it(
    lake: Lake, spec: TableSpec, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(3), 1)
    assert lake.create(spec) == lake.path("readings")
    assert query(lake, TOTALS) == totals([0, 1, 2])


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("", "none"),
        (";", "none"),
        ("SELECT 1; SELECT 2", "2"),
        ("COPY (SELECT 1) TO 'out.csv'", "COPY"),
        ("CREATE TABLE mine (n INTEGER)", "CREATE"),
        ("DROP VIEW readings", "DROP"),
        ("ATTACH 'other.db'", "ATTACH"),
        ("SET threads = 1", "SET"),
    ],
)
def test_only_one_statement_that_reads_is_run(
    lake: Lake, views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    with Session(lake, views=views) as session, pytest.raises(QueryError, match=why):
        session.table(sql)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("sql", ["DESCRIBE readings", "SUMMARIZE readings", "SHOW TABLES", "EXPLAIN SELECT 1",
                                 "PIVOT readings ON sensor USING sum(samples)", "FROM readings"])  # fmt: skip
def test_every_statement_that_reads_is_run(lake: Lake, views: Path, sql: str) -> None:
    with Session(lake, views=views) as session:
        assert session.table(sql).num_columns > 0


def test_a_limit_stops_a_query_that_would_fill_the_memory(lake: Lake, views: Path) -> None:
    with Session(lake, views=views) as session:
        rows = session.table("SELECT * FROM range(1000000000000)", limit=3)
    assert rows.column(0).to_pylist() == [0, 1, 2]
