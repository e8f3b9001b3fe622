"""What a statement from outside may name; tried with every way around that its syntax has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from health_lake import HealthLake

from lake.errors import QueryError
from lake.session import Session
from monitors.dashboard.sql_check import check_statement

TELLTALE = "xyzzy"
"""Stands in the settings that tell of the machine."""


@pytest.fixture(scope="module")
def session(made: HealthLake) -> Iterator[Session]:
    """As the box has it, with something to give away."""
    with Session(made.settings.lake) as one:
        for setting in ("home_directory", "secret_directory", "extension_directory"):
            one.connection.execute(f"SET {setting} = '/{TELLTALE}'")
        one.confine(memory_mb=256, threads=1)
        yield one


def asked(session: Session, sql: str) -> str:
    """What a stranger gets."""
    return str(session.table(sql, limit=1000, check=check_statement).to_pylist())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM option_chain",
        "SELECT count(*) FROM Memory.Main.OPTION_CHAIN",
        "FROM option_chain SELECT max(ltp)",
        "SELECT * FROM max_pain",
        "WITH a AS (FROM pcr_5m), b AS (FROM a) SELECT count(*) FROM b",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r",
        "SELECT now(), current_date, today(), random(), uuid(), user, version()",
        "SELECT split_part('a,b', ',', 1), list_sum([1, 2]), ago(INTERVAL 1 DAY)",
        "SELECT histogram(n) FROM range(3) t(n)",
        "SELECT unnest([1, 2]), json_extract('{}', '$.a')",
        "FROM json_each('[1]')",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "DESCRIBE",
        "DESCRIBE option_chain",
        "SUMMARIZE FROM option_chain LIMIT 10",
        "SELECT table_name FROM information_schema.tables",
        "SELECT column_name FROM information_schema.columns",
        "FROM option_chain PIVOT (count(*) FOR option_type IN ('CE', 'PE'))",
        "SELECT function_name, description FROM duckdb_functions()",
        "VALUES (1)",
    ],
)  # fmt: skip
def test_a_query_of_the_lake_is_taken(session: Session, sql: str) -> None:
    assert TELLTALE not in asked(session, sql)


REFUSED = [
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM DuckDB_Settings()",
    'SELECT * FROM "duckdb_settings"()',
    "SELECT * FROM system.main.duckdb_settings()",
    "FROM duckdb_secrets() SELECT *",
    "FROM duckdb_extensions()",
    "FROM pragma_database_list",
    "FROM duckdb_databases",
    "FROM duckdb_databases()",
    "FROM main.duckdb_views",
    "FROM pg_catalog.pg_settings",
    "FROM pg_settings",
    "FROM sqlite_master",
    "FROM information_schema.views",
    "SELECT current_setting('home_directory')",
    "SELECT \"Current_Setting\"('temp_directory')",
    "SELECT main.current_setting('temp_directory')",
    "SELECT 'temp_directory'.current_setting()",
    "SELECT list_transform(['temp_directory'], x -> current_setting(x))",
    "SELECT [current_setting(x) for x in ['temp_directory']]",
    "SELECT getvariable('a')",
    "SELECT getenv('HOME')",
    "FROM read_text('/etc/hostname')",
    "FROM glob('/*')",
    "WITH duckdb_databases AS (SELECT * FROM duckdb_databases) FROM duckdb_databases",
    "SELECT * FROM (WITH duckdb_views AS (SELECT 1) FROM duckdb_views) a, duckdb_views",
    "WITH a AS (SELECT 1) SELECT * FROM a UNION ALL SELECT count(*) FROM duckdb_settings()",
    "SELECT (SELECT string_agg(value) FROM duckdb_settings())",
    "SELECT 1 WHERE EXISTS (FROM duckdb_settings())",
    "SELECT 1 ORDER BY (SELECT max(value) FROM duckdb_settings())",
    "SELECT 1 LIMIT (SELECT count(*) FROM duckdb_settings())",
    "SELECT count(*) FILTER (WHERE current_setting('threads') = '1')",
    "SELECT sum(1) OVER (ORDER BY current_setting('threads'))",
    "SELECT pg_get_viewdef(1)",
    "SELECT pg_catalog.pg_get_viewdef((SELECT 1))",
    "SELECT get_block_size('memory')",
    "FROM duckdb_profiling_settings()",
    "FROM duckdb_logs_parsed('x')",
    "FROM histogram(duckdb_databases, path)",
    "FROM histogram_values(duckdb_databases, path)",
    "FROM query('FROM duckdb_settings()')",
    "FROM query_table('duckdb_databases')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM duckdb_settings()'))",
    "SELECT json_serialize_plan('SELECT current_setting(''temp_directory'')', optimize := true)",
    "SUMMARIZE duckdb_databases",
    "SUMMARIZE FROM duckdb_settings()",
    "DESCRIBE duckdb_settings",
    "SHOW duckdb_databases",
    "SHOW DATABASES",
    "SELECT * FROM (SUMMARIZE duckdb_databases)",
    "FROM (DESCRIBE duckdb_views)",
    "PIVOT duckdb_databases ON path",
    "FROM duckdb_databases PIVOT (count(*) FOR path IN ('x'))",
    "UNPIVOT duckdb_databases ON path",
    "TABLE duckdb_databases",
    "FROM option_chain, LATERAL (FROM duckdb_settings())",
    "FROM option_chain JOIN duckdb_databases ON true",
    "SELECT * FROM '/etc/passwd'",
    "FROM which_secret('s3://x', 's3')",
    "SELECT write_log('x')",
    "SELECT current_query()",
    "FROM pragma_storage_info('option_chain')",
    "FROM parquet_metadata('x')",
    "SELECT * FROM pragma_platform()",
    "SELECT nextval('x')",
    "FROM duckdb_temporary_files()",
    "FROM test_all_types()",
    "SELECT @@temp_directory",
    "EXPLAIN SELECT * FROM option_chain",
    "CALL duckdb_settings()",
    "PRAGMA database_list",
    "SELECT apply(['threads'], current_setting)",
    "SELECT try(current_setting('threads'))",
    "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a FROM r, duckdb_databases) FROM r",
    "SELECT * FROM option_chain AT (VERSION => 1)",
    "VALUES (current_setting('threads'))",
    "SELECT * FROM (VALUES ((SELECT max(path) FROM duckdb_databases)))",
    "SELECT COLUMNS(c -> c = current_setting('threads')) FROM option_chain",
    "SELECT * REPLACE (current_setting('threads') AS symbol) FROM option_chain",
    "SELECT 1 IN (SELECT value FROM duckdb_settings())",
    "SELECT * FROM range(current_setting('threads')::INT)",
    "SELECT * FROM generate_series(1, (SELECT count(*) FROM duckdb_settings()))",
    "SELECT 'x' AS \"duckdb_settings\" FROM duckdb_settings() AS range",
    "SELECT array(SELECT value FROM duckdb_settings())",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_a_query_of_the_machine_is_not(session: Session, sql: str) -> None:
    with pytest.raises(QueryError) as raised:
        asked(session, sql)
    assert TELLTALE not in str(raised.value)


def test_the_settings_would_tell(session: Session) -> None:
    told = str(session.table("SELECT * FROM duckdb_settings()").to_pylist())
    assert TELLTALE in told


def test_no_function_of_rows_and_no_view_of_duckdb_s_own_is_left_out(session: Session) -> None:
    """Whatever this version of DuckDB has: only those that tell of nothing are taken."""
    functions = session.table(
        "SELECT DISTINCT function_name AS name FROM duckdb_functions() "
        "WHERE function_type IN ('table', 'table_macro')"
    ).to_pylist()
    views = session.table("SELECT schema_name, view_name FROM duckdb_views() WHERE internal").to_pylist()
    statements = [f'FROM "{one["name"]}"()' for one in functions]
    statements += [f"FROM {one['schema_name']}.{one['view_name']}" for one in views]
    statements += [f"FROM {one['view_name']}" for one in views]
    taken = set()
    for sql in statements:
        try:
            check_statement(session.connection, sql)
        except QueryError:
            continue
        taken.add(sql.removeprefix("FROM ").replace('"', ""))
    assert taken <= {
        "duckdb_functions()", "duckdb_keywords()", "duckdb_types()", "generate_series()", "json_each()",
        "json_tree()", "range()", "repeat()", "repeat_row()", "summary()", "unnest()",
        "information_schema.columns", "information_schema.tables",
    }  # fmt: skip
    assert len(statements) > 100


def test_a_name_of_a_file_that_is_one_of_the_query_s_own_reads_no_file(session: Session) -> None:
    sql = 'SELECT * FROM (WITH "/etc/hostname" AS (SELECT 1) SELECT 1) a, "/etc/hostname"'
    with pytest.raises(QueryError):
        asked(session, sql)
