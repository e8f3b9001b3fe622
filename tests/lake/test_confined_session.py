"""A session that takes statements of strangers reads the tables, and can do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_lake import legs

from catalog.contracts import OPTION_CHAIN
from lake.append import append
from lake.errors import QueryError
from lake.session import Session
from lake.table import Lake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a lake in a folder with a blank, and a file that is not the lake's."""
    made = tmp_path_factory.mktemp("confined")
    (made / "secret.csv").write_text("word\nxyzzy\n", encoding="utf-8")
    lake = Lake.at(made / "my lake")
    path = lake.create(OPTION_CHAIN.spec)
    note = {"batch_id": "b1", "app_id": "a", "seq_first": 1, "seq_last": 1}
    append(path, OPTION_CHAIN.spec, legs(40, batch="b1"), stream="a", sequence=1, metadata=note)
    return made


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    with Session(Lake.at(folder / "my lake")) as made:
        made.confine(memory_mb=200, threads=1)
        yield made


def test_it_still_reads_tables_views_and_parts(session: Session) -> None:
    assert session.table("SELECT count(*) AS n FROM option_chain")["n"].to_pylist() == [40]
    part = "SELECT count(*) AS n FROM option_chain WHERE date = DATE '2026-01-05' AND exchange = $exchange"
    assert session.table(part, {"exchange": "NSE"})["n"].to_pylist() == [40]
    assert session.table("SELECT * FROM max_pain").num_rows > 0
    assert session.table("DESCRIBE option_chain").num_rows == len(OPTION_CHAIN.columns)


def test_a_pivot_names_its_columns(session: Session) -> None:
    pivot = "PIVOT option_chain ON option_type {} USING sum(oi) GROUP BY strike"
    sides = session.table(pivot.format("IN ('CE', 'PE')"))
    assert sides.column_names == ["strike", "CE", "PE"]
    with pytest.raises(QueryError, match="name them"):
        session.table(pivot.format(""))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
        "SELECT (SELECT content FROM read_text('{file}'))",
        "WITH a AS MATERIALIZED (SELECT * FROM read_csv('{file}')) SELECT * FROM a",
        "SELECT * FROM read_csv('file:{file}')",
        "SELECT * FROM parquet_metadata('{file}')",
        "SELECT * FROM read_json('{file}')",
        "FROM read_csv(['{file}'])",
        "SELECT * FROM read_csv('{folder}/my lake/../secret.csv')",
        "SELECT * FROM read_csv('https://127.0.0.1:1/x.csv')",
        "SELECT * FROM sqlite_scan('{folder}/x.db', 't')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "COPY option_chain TO '{folder}/out.parquet'",
        "EXPLAIN COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "IMPORT DATABASE '{folder}'",
        "ATTACH '{folder}/out.db'",
        "ATTACH ':memory:' AS o",
        "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
        "PRAGMA enable_profiling",
        "CREATE TABLE t AS SELECT 1",
        "CREATE OR REPLACE VIEW option_chain AS SELECT 1",
        "CREATE MACRO count(x) AS 1",
        "INSERT INTO option_chain SELECT * FROM option_chain",
        "DROP VIEW option_chain",
        "INSTALL httpfs",
        "LOAD '{folder}/evil.duckdb_extension'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET ALL",
        "PRAGMA memory_limit = '100GB'",
        "CALL enable_logging()",
        "CREATE SECRET s (TYPE s3)",
        "USE memory",
        "CHECKPOINT",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "-- nothing",
        "SELECT list(range) FROM range(1000000000)",
    ],
    ids=lambda sql: sql.partition("{")[0][:40].replace(":", " ").replace("'", ""),
)
def test_it_does_nothing_else(session: Session, folder: Path, sql: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(QueryError) as raised:
        session.table(sql.format(file=(folder / "secret.csv").as_posix(), folder=folder.as_posix()))
    assert "xyzzy" not in str(raised.value)
    assert sorted(folder.rglob("*")) == before
    assert session.table("SELECT count(*) AS n FROM option_chain")["n"].to_pylist() == [40]


def test_a_file_of_the_lake_is_not_overwritten(session: Session, folder: Path) -> None:
    (file,) = (folder / "my lake").rglob("*.parquet")
    before = file.read_bytes()
    for sql in ("COPY (SELECT 1) TO '{}'", "EXPLAIN ANALYZE COPY (SELECT 1) TO '{}'"):
        with pytest.raises(QueryError):
            session.table(sql.format(file.as_posix()))
        # And if the kind of a statement were not looked at, DuckDB itself would refuse.
        with pytest.raises(Exception, match="disabled by configuration"):
            session.connection.execute(sql.format(file.as_posix()))
    assert file.read_bytes() == before
