"""The catalog on PostgreSQL, by one setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalog_databases import PostgresDatabase

RECORDING = Path(__file__).parents[1] / "data" / "bse_api_json"


def without_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [{key: value for key, value in row.items() if key != "id"} for row in rows]
    return sorted(kept, key=lambda row: str(row["parquet_path"]))


def test_a_catalog_on_postgresql_is_written_listed_and_rebuilt(
    strikelake: Any, postgres_database: PostgresDatabase
) -> None:
    there = strikelake.but(catalog_url=postgres_database.url)
    there("ingest", "load", "--source", "bse-json", str(RECORDING))
    assert not (strikelake.folder / "data" / "catalog.db").exists()

    batches = there.json("catalog", "batches", "--limit", "1000")
    assert batches
    assert "0 batches added" in there("catalog", "sync").stdout

    postgres_database.delete()
    assert f"{len(batches)} batches added" in there("catalog", "rebuild").stdout
    assert without_id(there.json("catalog", "batches", "--limit", "1000")) == without_id(batches)

    strikelake("catalog", "sync")
    on_sqlite = strikelake.json("catalog", "batches", "--limit", "1000")
    assert without_id(on_sqlite) == without_id(batches)


def test_a_server_that_is_not_there_is_one_line_without_the_password(
    strikelake: Any, postgres_database: PostgresDatabase
) -> None:
    strikelake("ingest", "load", "--source", "bse-json", str(RECORDING))
    nowhere = strikelake.but(catalog_url="postgresql://trader:s3cret@127.0.0.1:1/catalog")
    line = nowhere.error("catalog", "batches")
    assert "postgresql+psycopg://trader:***@127.0.0.1:1/catalog" in line
    assert "s3cret" not in line


def test_a_load_needs_no_catalog_and_the_next_sync_catches_up(
    strikelake: Any, postgres_database: PostgresDatabase
) -> None:
    nowhere = strikelake.but(catalog_url="postgresql://trader:s3cret@127.0.0.1:1/catalog")
    told = nowhere("ingest", "load", "--source", "bse-json", str(RECORDING))
    assert "s3cret" not in told.stdout + told.stderr

    there = strikelake.but(catalog_url=postgres_database.url)
    there("catalog", "sync")
    assert there.json("catalog", "batches")
