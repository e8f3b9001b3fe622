"""A statement is bound to the files it can find rows in; its answer is that of all files."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.commit_log import Commit
from lake.errors import DamagedTableError, QueryError
from lake.session import Session
from lake.spool import Entry, Spool
from lake.table import Lake

MakeRows = Callable[..., pa.Table]
CommitRows = Callable[..., Commit | None]

DAYS = [date(2026, 1, day) for day in (5, 6, 7, 8)]
STATIONS = ["s1", "s2"]

WHOLE_STATEMENTS = [
    "SELECT count(*), sum(celsius) FROM readings WHERE date = DATE '2026-01-06'",
    "SELECT * FROM readings WHERE '2026-01-06' = date",
    "FROM readings WHERE readings.date = '2026-01-06'",
    "SELECT r.celsius FROM readings r WHERE r.date >= '2026-01-07' AND r.station = 's2'",
    'SELECT celsius FROM "readings" AS "R" WHERE r."DATE" = DATE \'2026-01-07\'',
    "SELECT celsius FROM READINGS WHERE Date BETWEEN '2026-01-06' AND '2026-01-07' AND celsius > 3",
    "SELECT celsius FROM readings WHERE date = '2026-01-06' OR station = 's1'",
    "SELECT celsius FROM readings WHERE date = '2026-01-06' OR celsius > 3",
    "SELECT celsius FROM readings WHERE NOT (date = '2026-01-06')",
    "SELECT celsius FROM readings WHERE date NOT IN ('2026-01-06', '2026-01-07')",
    "SELECT celsius FROM readings WHERE date = DATE '2026-01-07' - INTERVAL 1 DAY",
    "SELECT celsius FROM readings WHERE date IS NULL",
    "SELECT celsius FROM readings WHERE date = NULL",
    "SELECT celsius FROM readings WHERE date = '2026-01-06' AND date = '2026-01-07'",
    "SELECT DATE '2020-01-01' AS date FROM readings WHERE date = '2026-01-06'",
    "SELECT celsius AS date FROM readings WHERE date = '2026-01-06'",
    "SELECT '₹' AS é, celsius FROM /* readings ₹ WHERE date = 1 */ readings -- date\n "
    "WHERE date = '2026-01-06'",
    "WITH readings AS (SELECT DATE '2026-01-06' AS date, 1 AS celsius) "
    "SELECT celsius FROM readings WHERE date = '2026-01-06'",
    "WITH x AS (SELECT * FROM readings WHERE date = '2026-01-06') SELECT x.celsius FROM x, readings",
    "SELECT celsius FROM readings WHERE date = '2026-01-06' "
    "UNION ALL SELECT celsius FROM readings WHERE date = '2026-01-07'",
    "SELECT a.celsius, b.station FROM readings a JOIN readings b USING (celsius) WHERE a.date = '2026-01-06'",
    "SELECT a.celsius, b.date FROM readings a LEFT JOIN readings b ON a.celsius = b.celsius + 1 "
    "WHERE b.date = '2026-01-06' OR b.date IS NULL",
    "SELECT celsius FROM readings o WHERE date = '2026-01-06' AND EXISTS "
    "(SELECT 1 FROM readings i WHERE i.date = DATE '2026-01-07' AND i.station = o.station)",
    "SELECT (SELECT max(celsius) FROM readings i WHERE i.date = o.date AND date = o.date) FROM readings o",
    "SELECT celsius FROM (SELECT * FROM readings WHERE date > '2026-01-05') WHERE station = 's1'",
    "SELECT celsius, row_number() OVER (ORDER BY celsius, station) FROM readings WHERE date = '2026-01-06' "
    "QUALIFY row_number() OVER (PARTITION BY station ORDER BY celsius) = 1",
    "SELECT date, count(*) FROM readings WHERE date <> '2026-01-06' GROUP BY date HAVING date > '2026-01-05'",
    "SELECT celsius FROM main.readings WHERE date = '2026-01-06'",
    "SELECT n FROM hot WHERE date = '2026-01-06'",
    "SELECT hot.n, readings.celsius FROM hot JOIN readings USING (date) WHERE date = '2026-01-06'",
    "SELECT t.d FROM readings AS t(d, s) WHERE d = '2026-01-06'",
    "SELECT celsius FROM readings WHERE CASE WHEN station = 's1' THEN date = '2026-01-06' ELSE true END",
    "SELECT celsius FROM readings WHERE date IN "
    "(SELECT date FROM readings WHERE station = 's2' AND celsius > 5)",
    "DESCRIBE readings",
    "SUMMARIZE SELECT celsius FROM readings WHERE date = '2026-01-06'",
    "SELECT count(*) FROM readings_partitions WHERE date = '2026-01-06'",
]


@pytest.fixture
def of_four_days(lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, views: Path) -> Lake:
    for number, (day, station) in enumerate(itertools.product(DAYS, STATIONS)):
        commit(make_rows(3, 2 * number, day=day, station=station), number + 1)
    header = "-- purpose: Test.\n-- reads: readings\n-- parameters: none\n-- grain: one row\n-- units: none\n"
    hot = "SELECT date, count(*) AS n FROM readings WHERE celsius > 4 GROUP BY date\n"
    (views / "hot.sql").write_text(header + hot, encoding="utf-8")
    return lake


def answers(session: Session, sql: str, parameters: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """A session's answer, and DuckDB's over all files; rows in any order, or the error."""
    try:
        ours: Any = sorted(map(str, session.table(sql, parameters).to_pylist()))
    except QueryError:
        ours = QueryError
    try:
        rows = session.connection.sql(sql, params=parameters).to_arrow_table()
        theirs: Any = sorted(map(str, rows.to_pylist()))
    except duckdb.Error:
        theirs = QueryError
    return ours, theirs


@pytest.mark.parametrize("sql", WHOLE_STATEMENTS)
def test_an_answer_is_that_of_all_files(of_four_days: Lake, views: Path, sql: str) -> None:
    with Session(of_four_days, views=views) as session:
        ours, theirs = answers(session, sql)

    assert theirs is not QueryError
    assert ours == theirs


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT celsius FROM readings WHERE date = 'no date'",
        "SELECT celsius FROM readings WHERE date = $missing",
        "SELECT nothing FROM readings WHERE date = '2026-01-06'",
        "SELECT other.celsius FROM readings WHERE other.date = '2026-01-06'",
    ],
)
def test_what_fails_over_all_files_fails(of_four_days: Lake, views: Path, sql: str) -> None:
    with Session(of_four_days, views=views) as session:
        assert answers(session, sql) == (QueryError, QueryError)


def test_parameters_count_as_constants(of_four_days: Lake, views: Path) -> None:
    sql = "SELECT celsius FROM readings WHERE date = $day AND station = $station AND celsius > $least"
    values = {"day": DAYS[1], "station": "s2", "least": 0}
    with Session(of_four_days, views=views) as session:
        ours, theirs = answers(session, sql, values)

    assert ours == theirs != []


def test_rows_that_are_not_committed_yet_are_seen_as_well(
    of_four_days: Lake, make_rows: MakeRows, views: Path
) -> None:
    spool = Spool(of_four_days.spools / "app.db")
    for day in (DAYS[1], date(2026, 1, 9)):
        rows = make_rows(2, 500, day=day, wind=[1.0, 2.0]).drop_columns(["batch_id"])
        spool.put([Entry("readings", "A", "readings", rows)], offered={("readings", "A"): 2})
    spool.close()

    with Session(of_four_days, views=views, live=True) as session:
        for day in ("2026-01-06", "2026-01-09"):
            ours, theirs = answers(session, f"SELECT * FROM readings WHERE date = '{day}'")
            assert ours == theirs
            assert sum("500.0" in row for row in ours) == 1


def test_the_files_of_other_days_are_not_touched(of_four_days: Lake, table: Path, views: Path) -> None:
    with Session(of_four_days, views=views) as session:
        before = session.table("SELECT * FROM readings WHERE date = '2026-01-06'")
    for file in table.rglob("*.parquet"):
        if "date=2026-01-06" not in file.as_posix():
            file.unlink()

    with Session(of_four_days, views=views) as session:
        assert session.table("SELECT * FROM readings WHERE date = '2026-01-06'").equals(before)
        with pytest.raises(DamagedTableError):
            session.table("SELECT max(celsius) FROM readings")


def test_a_statement_leaves_no_view_behind(of_four_days: Lake, views: Path) -> None:
    asked = "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1"
    with Session(of_four_days, views=views) as session:
        before = session.connection.sql(asked).fetchall()
        session.table("SELECT count(*) FROM readings WHERE date = '2026-01-06'")
        with pytest.raises(QueryError):
            session.table("SELECT error('no') FROM readings WHERE date = '2026-01-06'")
        assert session.connection.sql(asked).fetchall() == before


_DATES = st.sampled_from([*(f"DATE '{day}'" for day in DAYS), "'2026-01-06'", "NULL", "DATE '2020-01-01'"])
_STATIONS = st.sampled_from(["'s1'", "'s2'", "'none'"])
_OPERATORS = st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM"])
_ATOMS = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(["date", "r.date", "r.DATE"]), _OPERATORS, _DATES),
    st.builds("date BETWEEN {} AND {}".format, _DATES, _DATES),
    st.builds("date {} ({}, {})".format, st.sampled_from(["IN", "NOT IN"]), _DATES, _DATES),
    st.builds("station {} {}".format, _OPERATORS, _STATIONS),
    st.builds("celsius {} {}".format, _OPERATORS, st.integers(0, 18)),
    st.builds("(date {} {}) IS {} NULL".format, _OPERATORS, _DATES, st.sampled_from(["", "NOT"])),
    st.builds("date + {} {} {}".format, st.integers(-1, 1), _OPERATORS, _DATES),
)
_CONDITIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=6,
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(condition=_CONDITIONS, inner=_CONDITIONS)
def test_an_answer_is_that_of_all_files_whatever_the_condition(
    of_four_days: Lake, views: Path, condition: str, inner: str
) -> None:
    with Session(of_four_days, views=views) as session:
        for sql in (
            f"SELECT date, station, celsius FROM readings r WHERE {condition}",
            f"SELECT station, count(*) FROM readings AS r WHERE {condition} AND celsius IN "
            f"(SELECT celsius FROM readings r WHERE {inner}) GROUP BY ALL",
        ):
            ours, theirs = answers(session, sql)
            assert theirs is not QueryError
            assert ours == theirs
