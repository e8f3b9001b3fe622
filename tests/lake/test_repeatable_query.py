"""Queries that give the same rows for ever."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lake import repeatable_query
from lake.digest import content_digest
from lake.errors import QueryError
from lake.repeatable_query import check_repeatable, repeatable_connection, run_repeatably
from lake.selection import Selection
from lake.snapshot import read_snapshot

DAY = date(2026, 1, 5)


@pytest.fixture
def many(make_rows: Callable[..., pa.Table], commit: Callable[..., Any]) -> Selection:
    """Twelve batches of numbers whose sum depends on the order they are added in."""
    numbers = random.Random(7)  # noqa: S311
    recorded = []
    columns: tuple[str, ...] = ()
    for sequence in range(1, 13):
        rows = make_rows(500, numbers.randrange(86_000), batch_id=f"b{sequence}")
        values = [numbers.uniform(-1, 1) * 10.0 ** numbers.randrange(-12, 12) for _ in range(500)]
        rows = rows.set_column(rows.schema.get_field_index("celsius"), "celsius", pa.array(values))
        commit(rows, sequence)
        columns = tuple(rows.column_names)
        recorded.append((f"b{sequence}", 500, content_digest(rows, ignore=["batch_id"])))
    names, counts, digests = (list(column) for column in zip(*recorded, strict=True))
    batches = pa.table({"batch_id": names, "rows": counts, "content_digest": digests})
    return Selection("readings", {(str(DAY), "A"): batches}, columns)


@contextmanager
def opened(
    table: Path, selection: Selection, views: dict[str, str] | None = None, zone: str = "UTC"
) -> Iterator[duckdb.DuckDBPyConnection]:
    tables = {"readings": (read_snapshot(table), selection)}
    with repeatable_connection(tables, views or {}, timezone=zone) as connection:
        yield connection


def result(table: Path, selection: Selection, sql: str, **options: Any) -> pa.Table:
    with opened(table, selection, **options) as connection:
        return run_repeatably(connection, sql)


def test_sums_are_the_same_to_the_last_bit_in_every_layout(table: Path, many: Selection) -> None:
    sums = "sum(celsius), avg(celsius), stddev(celsius), first(samples)"
    sql = f"SELECT sensor, {sums} FROM readings GROUP BY sensor"
    before = result(table, many, sql)
    plainly = duckdb.sql(f"SELECT sum(celsius) FROM ({read_snapshot(table).select()})").fetchall()
    DeltaTable(str(table)).optimize.compact()
    assert result(table, many, sql).equals(before)
    DeltaTable(str(table)).optimize.z_order(["celsius"])
    assert result(table, many, sql).equals(before)
    # The numbers do depend on order: else this test would prove nothing.
    assert duckdb.sql(f"SELECT sum(celsius) FROM ({read_snapshot(table).select()})").fetchall() != plainly


def test_the_result_is_sorted_by_all_its_columns(table: Path, many: Selection) -> None:
    rows = result(table, many, "SELECT sensor, samples FROM readings ORDER BY samples DESC LIMIT 50")
    found = [(row["sensor"] is None, row["sensor"], row["samples"]) for row in rows.to_pylist()]
    assert found == sorted(found, key=lambda one: (one[0], one[1] or "", one[2]))


def test_a_semicolon_and_comments_do_no_harm(table: Path, many: Selection) -> None:
    for sql in ("SELECT 1 AS x; -- end", "/* a */ SELECT 1 AS x -- end", "SELECT 1 AS x;;\n"):
        assert result(table, many, sql).to_pylist() == [{"x": 1}]


def test_every_type_of_duckdb_has_a_place_in_a_result(table: Path, many: Selection) -> None:
    with opened(table, many) as connection:
        connection.execute("CREATE TABLE types AS FROM test_all_types()")
        rows = run_repeatably(connection, "SELECT * FROM types")
        again = run_repeatably(connection, "SELECT * FROM types")
        assert rows.num_rows == 3
        assert content_digest(rows) == content_digest(again)
        for name in rows.column_names:
            one = run_repeatably(connection, f'SELECT "{name}" FROM types')
            assert len(content_digest(one)) == 32


def test_times_are_told_in_the_zone_of_the_dataset(table: Path, many: Selection) -> None:
    sql = "SELECT CAST(TIMESTAMPTZ '2026-01-05 00:00:00+00' AS VARCHAR) AS t"
    assert result(table, many, sql, zone="Asia/Kolkata")["t"].to_pylist() == ["2026-01-05 05:30:00+05:30"]


def test_nothing_outside_can_be_reached(table: Path, many: Selection, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n", encoding="utf-8")
    local_rows = pa.table({"a": [1]})
    assert local_rows.num_rows
    with opened(table, many) as connection:
        for sql in (
            f"SELECT * FROM read_csv('{secret.as_posix()}')",
            f"SELECT * FROM read_text('{secret.as_posix()}')",
            f"SELECT * FROM glob('{tmp_path.as_posix()}/*')",
            "SELECT * FROM local_rows",
        ):
            with pytest.raises(QueryError):
                run_repeatably(connection, sql)
        for statement in (
            f"COPY readings TO '{(tmp_path / 'out.csv').as_posix()}'",
            f"ATTACH '{(tmp_path / 'other.db').as_posix()}'",
            "SET enable_external_access = true",
            "SET threads = 2",
        ):
            with pytest.raises(QueryError, match="one SELECT"):
                run_repeatably(connection, statement)
            with pytest.raises(duckdb.Error):
                connection.execute(statement)
    assert {path.name for path in tmp_path.iterdir()} == {"secret.csv", "lake"}


def test_a_view_that_does_not_fit_is_left_out(table: Path, many: Selection) -> None:
    views = {
        "a": "SELECT * FROM other",
        "b": "SELECT nothing FROM readings",
        "c": "SELECT samples FROM readings",
        "d": "SELECT max(samples) AS m FROM c",
    }
    assert result(table, many, "SELECT m > 0 AS x FROM d", views=views)["x"].to_pylist() == [True]
    with pytest.raises(QueryError, match="b does not exist"):
        result(table, many, "SELECT * FROM b", views=views)


def test_it_works_on_disk_beyond_its_memory(
    table: Path, many: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT range AS n, sum(range * 0.1) AS s FROM range(2000000) GROUP BY range"
    whole = result(table, many, sql)
    monkeypatch.setitem(repeatable_query._REPEATABLE, "memory_limit", "'150MB'")
    assert content_digest(result(table, many, sql)) == content_digest(whole)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM readings, range(3), unnest([1, 2])",
        "WITH x AS (SELECT * FROM readings), y AS (FROM x) SELECT * FROM y JOIN x USING (samples)",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t",
        "FROM readings SELECT list(celsius ORDER BY celsius), date_trunc('hour', max(event_time))",
        "VALUES (1), (2)",
        "SELECT * FROM readings USING SAMPLE 10 PERCENT (bernoulli, 42)",
        "SELECT CASE WHEN count(*) < 0 THEN error('no') END FROM readings",
        "SELECT lag(celsius) OVER (ORDER BY event_time, celsius) FROM readings",
        "SELECT * FROM (PIVOT readings ON sensor IN ('s0', 's1') USING sum(samples) GROUP BY date)",
    ],
)
def test_what_follows_from_the_rows_is_allowed(table: Path, many: Selection, sql: str) -> None:
    check_repeatable(sql, {"readings": read_snapshot(table).schema}, {}, timezone="UTC")
    assert result(table, many, sql).equals(result(table, many, sql))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CURRENT_TIMESTAMP",
        "SELECT today()",
        "SELECT get_current_timestamp()",
        "SELECT uuid()",
        "SELECT LOCALTIME",
        "SELECT nextval('s')",
        "SELECT current_setting('threads')",
        "SELECT txid_current()",
        "SELECT (SELECT now())",
        "SELECT * FROM (SELECT random())",
        "SELECT list_transform([1], x -> random())",
        "WITH x AS (SELECT now() AS t) SELECT * FROM x",
        "SELECT 1 ORDER BY random()",
        "SELECT * FROM readings WHERE celsius > random()",
        "SELECT sum(random()) OVER () FROM readings",
        "SELECT now() UNION ALL SELECT NULL",
        "SELECT version()",
    ],
)
def test_what_follows_from_anything_else_is_refused(table: Path, sql: str) -> None:
    with pytest.raises(QueryError):
        check_repeatable(sql, {"readings": read_snapshot(table).schema}, {}, timezone="UTC")
