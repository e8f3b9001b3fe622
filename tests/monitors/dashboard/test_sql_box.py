"""The box for SQL: reads the lake, and can do nothing else; tried over HTTP, and at its limits."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from health_lake import DAY, HealthLake
from page_server import Served, Visitor

from lake.errors import QueryError
from monitors.dashboard.sql_box import ROWS, SqlBox


@pytest.fixture(scope="module")
def visitor(page: Served) -> Iterator[Visitor]:
    with page.visitor() as one:
        yield one


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that is not the lake's."""
    path = tmp_path / "secret.csv"
    path.write_text("word\nxyzzy\n", encoding="utf-8")
    return path


def test_it_reads_tables_and_views(visitor: Visitor) -> None:
    counted = visitor.send(
        "/lake/sql", sql="SELECT exchange, count(*) AS legs FROM option_chain GROUP BY 1 ORDER BY 1"
    )
    assert counted.status_code == 200
    # Of BSE: 166 minutes, one underlying, two expiries, five strikes, two sides.
    assert "3,320" in counted.text
    assert "6,640" in counted.text
    assert "max_pain" in visitor.send("/lake/sql", sql="SELECT * FROM max_pain").text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_csv('https://127.0.0.1:1/x.csv')",
        "FROM '{file}'",
        "SUMMARIZE '{file}'",
        "DESCRIBE TABLE '{file}'",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_duckdb('{file}')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM parquet_metadata('{file}')",
        "SELECT * FROM query_table('{file}')",
        "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{file}'')'))",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM which_secret('s3://a', 's3')",
        "SELECT * FROM duckdb_extensions()",
        "SELECT getenv('PATH')",
        "SELECT * FROM enable_logging(storage='file')",
    ],
)  # fmt: skip
def test_it_reads_no_other_file(visitor: Visitor, secret: Path, sql: str) -> None:
    answer = visitor.send(
        "/lake/sql", sql=sql.format(file=secret.as_posix(), folder=secret.parent.as_posix())
    )
    assert "did not work" in answer.text
    assert "xyzzy" not in answer.text


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.db'",
        "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
        "CREATE TABLE t AS SELECT 1",
        "INSTALL httpfs",
        "LOAD '{folder}/x.duckdb_extension'",
        "EXPORT DATABASE '{folder}/x'",
        "IMPORT DATABASE '{folder}'",
        "CALL enable_logging(storage='file', storage_path='{folder}/log')",
        "PRAGMA enable_profiling='json'",
        "SET profiling_output = '{folder}/profile'",
        "SET VARIABLE a = 1",
        "CREATE SECRET s (TYPE s3)",
        "SET enable_external_access = true",
        "",
    ],
)
def test_it_writes_nothing_and_changes_nothing(visitor: Visitor, tmp_path: Path, sql: str) -> None:
    answer = visitor.send("/lake/sql", sql=sql.format(folder=tmp_path.as_posix()))
    assert "did not work" in answer.text
    assert list(tmp_path.iterdir()) == []
    assert (
        "6,640"
        in visitor.send("/lake/sql", sql="SELECT count(*) FROM option_chain WHERE exchange = 'NSE'").text
    )


def test_a_table_s_own_file_is_not_overwritten(visitor: Visitor, made: HealthLake) -> None:
    file = next((made.settings.lake.path("option_chain")).rglob("*.parquet"))
    before = file.read_bytes()
    for sql in ("COPY (SELECT 1) TO '{0}'", "EXPLAIN ANALYZE COPY (SELECT 1) TO '{0}'"):
        assert "did not work" in visitor.send("/lake/sql", sql=sql.format(file.as_posix())).text
    assert file.read_bytes() == before


def test_rows_are_limited_and_it_is_said(visitor: Visitor) -> None:
    text = visitor.send("/lake/sql", sql=f"SELECT * FROM range({ROWS + 1})").text
    assert text.count("<tr>") == ROWS + 1  # with that of the names
    assert "there are more" in text
    whole = visitor.send("/lake/sql", sql=f"SELECT * FROM range({ROWS})").text
    assert "there are more" not in whole


def test_a_file_has_every_row_or_is_refused(visitor: Visitor) -> None:
    answer = visitor.send("/lake/csv", sql="SELECT range AS n, 'x' || range AS t FROM range(2500) ORDER BY 1")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["n", "t"]
    assert rows[1:] == [[str(n), f"x{n}"] for n in range(2500)]
    refused = visitor.send("/lake/csv", sql="SELECT * FROM range(100001)")
    assert refused.status_code == 409
    assert "more than 100,000 rows" in refused.text


def test_a_spreadsheet_takes_no_text_for_a_formula(visitor: Visitor) -> None:
    sql = "SELECT '=cmd()' AS a, '+1' AS b, '@x' AS c, '-2' AS d, -2 AS e, 'ok' AS f"
    rows = list(csv.reader(io.StringIO(visitor.send("/lake/csv", sql=sql).text)))
    assert rows[1] == ["'=cmd()", "'+1", "'@x", "'-2", "-2", "ok"]


def test_no_separator_of_other_spreadsheets_begins_a_cell(visitor: Visitor) -> None:
    sql = (
        "SELECT 'a;=cmd()' AS t, 'b' || chr(9) || '=cmd()' AS u, '\uff1dcmd()' AS v, 'c;\"=cmd()' AS w, "
        "'x; -1' AS x, 7 AS n"
    )
    text = visitor.send("/lake/csv", sql=sql).text
    for separator in (",", ";", "\t"):
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            assert not [cell for cell in row if cell.startswith(("=", "\uff1d"))]
    assert text.splitlines()[1].endswith(",x; -1,7")


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT {','.join(['a>1'] * 4_000)} FROM range(1000) t(a)",
        "SELECT repeat('<', 2000) AS a, repeat('&', 2000) AS b, repeat('x', 2000) AS c FROM range(1000)",
    ],
    ids=["many columns", "long texts"],
)
def test_a_result_too_large_for_a_page_holds_nobody_up(visitor: Visitor, page: Served, sql: str) -> None:
    longest_s, done = 0.0, threading.Event()

    def look() -> None:
        nonlocal longest_s
        with page.client() as other:
            while not done.is_set():
                began = time.monotonic()
                assert other.get("/static/app.css").status_code == 200
                longest_s = max(longest_s, time.monotonic() - began)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        answer = visitor.send("/lake/sql", sql=sql)
    finally:
        done.set()
        looking.join()
    assert "ask for less" in answer.text or "stopped" in answer.text
    assert len(answer.content) < 2_000
    assert longest_s < 5


VALUES = {
    "9007199254740993": "9007199254740993",
    "9223372036854775807::HUGEINT * 10": "92233720368547758070",
    "(SELECT sum(range) FROM range(10))": "45",
    "'nan'::DOUBLE": "nan",
    "NULL": "null",
    "'\\x41\\x42'::BLOB": "4142",
    "[1, NULL, 'nan'::DOUBLE]": "[1.0, null, &#34;nan&#34;]",
    "INTERVAL 90 SECOND": "90 s",
    "TIMESTAMPTZ '2026-01-05 03:45:00+00'": "2026-01-05 09:15:00+05:30",
    "repeat('x', 3000)": f"{'x' * 2000}…",
}


def test_values_are_shown_as_they_are(visitor: Visitor) -> None:
    text = visitor.send("/lake/sql", sql=f"SELECT {', '.join(f'{one} AS v' for one in VALUES)}").text
    cells = re.findall(r"<td[^>]*>(?:<span[^>]*>)?(.*?)(?:</span>)?</td>", text)
    assert cells == list(VALUES.values())
    assert "v_1" in text  # columns of one name are told apart


def test_an_error_says_what_is_wrong_without_the_advice_that_cannot_be_taken(visitor: Visitor) -> None:
    text = visitor.send("/lake/sql", sql="SELECT nothing FROM option_chain").text
    assert "nothing" in text
    text = visitor.send("/lake/sql", sql="SELECT list(range) FROM range(1000000000)").text
    assert "Out of Memory" in text
    assert "SET " not in text


def run(
    made: HealthLake, sql: str, *, timeout_s: float = 10.0, memory_mb: int = 512, system_limit: bool = True
) -> str:
    """What a box says of a statement that must not succeed."""

    async def ask() -> str:
        box = SqlBox(made.settings, timeout_s=timeout_s, memory_mb=memory_mb, system_limit=system_limit)
        try:
            with pytest.raises(QueryError) as raised:
                await box.run(sql)
            return str(raised.value)
        finally:
            box.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(1000000000000) a, range(1000000) b",
        "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 2e9) SELECT max(n) FROM r",
        "SELECT pg_sleep(60)",
        "SELECT sleep_ms(60000)",
    ],
    ids=["cross join", "recursion", "sleep", "sleep in milliseconds"],
)
def test_one_that_would_run_for_ever_is_stopped(made: HealthLake, sql: str) -> None:
    started = time.monotonic()
    told = run(made, sql, timeout_s=1.0)
    assert "stopped" in told or "memory" in told.lower()
    assert time.monotonic() - started < 15


@pytest.mark.skipif(sys.platform != "linux", reason="the system limits a process's memory on Linux")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(repeat('x', 4000000000))",
        "SELECT list(range) FROM range(2000000000)",
        "SELECT string_agg(repeat('x', 1000000), '') FROM range(5000)",
        "SELECT count(*) FROM (SELECT * FROM range(500000000) ORDER BY hash(range) OFFSET 1)",
    ],
    ids=["long text", "list", "aggregated text", "sort"],
)
def test_one_that_needs_too_much_memory_fails_alone(made: HealthLake, sql: str) -> None:
    told = run(made, sql, memory_mb=200)
    assert "memory" in told.lower() or "stopped" in told


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(repeat('x', 4000000000))",
        "SELECT string_agg(repeat('x', 1000000), '') FROM range(5000)",
        "SELECT list(repeat('x', 100000) || range) FROM range(50000)",
        "WITH RECURSIVE r(t) AS (SELECT 'x' UNION ALL SELECT t || t FROM r WHERE length(t) < 4e9)"
        " SELECT max(length(t)) FROM r",
        "SELECT length(regexp_replace(repeat('x', 50000000), 'x', repeat('y', 200), 'g'))",
        f"SELECT {', '.join(f'repeat(chr(97), 4000000) AS c{n}' for n in range(400))} FROM range(1000)",
    ],
    ids=["long text", "aggregated text", "list of texts", "doubled text", "replaced text", "wide rows"],
)
def test_where_the_system_limits_nothing_the_watch_does(made: HealthLake, sql: str) -> None:
    peak = 0

    async def ask() -> str:
        nonlocal peak
        box = SqlBox(made.settings, timeout_s=8.0, memory_mb=200, system_limit=False)
        asking = asyncio.create_task(box.run(sql))
        try:
            while not asking.done():
                for process in list(box._running):
                    with contextlib.suppress(psutil.Error):
                        peak = max(peak, psutil.Process(process.pid).memory_info().rss)
                await asyncio.sleep(0.005)
            with pytest.raises(QueryError) as raised:
                await asking
            return str(raised.value)
        finally:
            box.close()

    told = asyncio.run(ask())
    assert "memory" in told.lower() or "stopped" in told or "bytes" in told
    assert peak < 1_500_000_000


def test_the_watch_says_that_it_stopped_a_statement(
    made: HealthLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With no room at all, any statement is one too many.
    monkeypatch.setattr("monitors.dashboard.memory_watch._IMPORTS_BYTES", 1_000_000)
    monkeypatch.setattr("monitors.dashboard.memory_watch._BEYOND", 0)
    told = run(made, "SELECT pg_sleep(5)", memory_mb=200)
    assert "more memory than a statement may have here (200 MB)" in told


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_environment_of_its_process_holds_no_credentials(
    made: HealthLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_WEBHOOK_TOKEN", "xyzzy")
    monkeypatch.setenv("STRIKELAKE_CATALOG_URL", "postgresql://u:xyzzy@h/d")
    box = SqlBox(made.settings)
    box.prepare()
    try:
        assert box._spare is not None
        assert b"xyzzy" not in Path(f"/proc/{box._spare.pid}/environ").read_bytes()
    finally:
        box.close()


def test_no_process_is_left(made: HealthLake) -> None:
    async def use() -> list[int]:
        box = SqlBox(made.settings)
        pids = []
        for _ in range(2):
            box.prepare()
            assert box._spare is not None
            pids.append(box._spare.pid)
            assert (await box.run("SELECT 1")).rows == ((1,),)
        assert box._spare is not None
        pids.append(box._spare.pid)
        box.close()
        return pids

    pids = asyncio.run(use())
    assert len(set(pids)) == 3  # each statement has a process of its own
    if sys.platform == "linux":
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_others_wait_their_turn_and_all_are_answered(made: HealthLake) -> None:
    async def together() -> list[int]:
        box = SqlBox(made.settings)
        try:
            found = await asyncio.gather(*(box.run(f"SELECT {n}") for n in range(3)))
        finally:
            box.close()
        return [one.rows[0][0] for one in found]

    assert asyncio.run(together()) == [0, 1, 2]


def test_a_result_over_time_is_drawn_a_line_for_each_group(visitor: Visitor) -> None:
    sql = f"SELECT bucket_start, expiry, pcr_oi FROM pcr_5m WHERE symbol = 'NIFTY' AND date = '{DAY}'"
    text = visitor.send("/lake/sql", sql=sql).text
    assert 'data-chart="' in text
    assert "pcr_oi 2026-10-27" in text
    assert "pcr_oi 2026-11-03" in text
    assert 'data-chart="' not in visitor.send("/lake/sql", sql="SELECT 'a' AS t, 'b' AS u FROM range(3)").text


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (f"SELECT {'+'.join(['1'] * 900)}", "nested too deeply"),
        (f"SELECT {'+'.join(['1'] * 5_000)}", "Max expression depth limit"),
        ("SELECT 1\0, current_setting('threads')", "NUL"),
    ],
    ids=["deep", "deeper", "cut short"],
)
def test_a_statement_that_cannot_be_looked_at_is_not_run(visitor: Visitor, sql: str, told: str) -> None:
    text = visitor.send("/lake/sql", sql=sql).text
    assert told in text
    assert "SET " not in text


def test_a_statement_too_long_is_refused(visitor: Visitor) -> None:
    assert "characters" in visitor.send("/lake/sql", sql="SELECT " + "1," * 12_000 + "1").text
