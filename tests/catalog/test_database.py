"""The catalog database: its schema is what the models say, and its failures are one kind of error."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from catalog_databases import Database, SqliteDatabase
from sqlalchemy import event, inspect

from catalog.database import migrations, open_database, transaction
from catalog.models import Base, MirrorCursor, UtcDateTime
from lake.errors import CatalogUnavailableError, SettingsError


def url_of(path: Path) -> str:
    return f"sqlite:///{path.as_posix()}"


def impatient(engine: sa.Engine) -> None:
    """Wait 50 ms for a lock instead of 30 s."""

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    engine.dispose()


def test_the_migrations_make_exactly_what_the_models_say(database: Database) -> None:
    engine = open_database(database.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_owners_columns_and_index_are_there(database: Database) -> None:
    engine = open_database(database.url)
    columns = [column["name"] for column in inspect(engine).get_columns("ml_feature_batches")]
    indexes = [index["column_names"] for index in inspect(engine).get_indexes("ml_feature_batches")]
    engine.dispose()

    assert columns[:7] == [
        "id", "batch_time", "exchange", "parquet_path", "record_count", "checksum", "created_at",
    ]  # fmt: skip
    assert ["exchange", "batch_time"] in indexes


def test_every_migration_can_be_taken_back(database: Database) -> None:
    engine = open_database(database.url)
    config = migrations()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    engine.dispose()
    engine = open_database(database.url)
    assert {"ml_feature_batches", "mirror_cursors"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    file = tmp_path / "a folder" / "50% é" / "catalog.db"
    open_database(url_of(file)).dispose()
    assert file.exists()


def test_opening_again_keeps_what_is_there(database: Database) -> None:
    engine = open_database(database.url)
    with transaction(engine) as connection:
        connection.execute(sa.insert(MirrorCursor).values(table_name="t", table_version=3))
    engine.dispose()

    engine = open_database(database.url)
    with transaction(engine) as connection:
        assert connection.execute(sa.select(MirrorCursor.table_version)).scalars().all() == [3]
    engine.dispose()


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    engine = open_database(database.url)

    def write_and_fail() -> None:
        with transaction(engine) as connection:
            connection.execute(sa.insert(MirrorCursor).values(table_name="t", table_version=3))
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    with transaction(engine) as connection:
        assert connection.execute(sa.select(MirrorCursor)).all() == []
    engine.dispose()


def test_a_locked_database_is_unavailable_and_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    engine = open_database(url_of(path))
    impatient(engine)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(CatalogUnavailableError, match=r"catalog\.db.*locked"), transaction(engine):
        pass
    other.execute("ROLLBACK")
    other.close()

    with transaction(engine) as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_what_a_transaction_has_read_still_holds_when_it_writes(tmp_path: Path) -> None:
    # SQLite's plain BEGIN lets two read the same cursor, and then refuses the second one's write.
    first, second = (open_database(url_of(tmp_path / "catalog.db")) for _ in range(2))
    impatient(second)
    cursors = sa.select(MirrorCursor.table_version)
    with transaction(first) as connection:
        assert connection.execute(cursors).all() == []
        with pytest.raises(CatalogUnavailableError, match="locked"), transaction(second) as other:
            other.execute(cursors)
        connection.execute(sa.insert(MirrorCursor).values(table_name="t", table_version=3))
    with transaction(second) as other:
        assert other.execute(cursors).scalars().all() == [3]
    first.dispose()
    second.dispose()


@pytest.mark.parametrize("content", [b"no database but a text of some length\n" * 500])
def test_a_file_that_is_no_database_is_unavailable_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(content)

    with pytest.raises(CatalogUnavailableError, match=r"catalog\.db"):
        open_database(url_of(path))

    assert path.read_bytes() == content


def test_a_read_only_database_can_be_read_and_is_unavailable_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.db"
    open_database(url_of(path)).dispose()
    monkeypatch.chdir(tmp_path)

    engine = open_database(f"sqlite:///file:{path.as_posix()}?mode=ro&uri=true")
    with transaction(engine) as connection:
        assert connection.execute(sa.select(MirrorCursor)).all() == []
    with pytest.raises(CatalogUnavailableError, match="readonly"), transaction(engine) as connection:
        connection.execute(sa.insert(MirrorCursor).values(table_name="t", table_version=3))
    engine.dispose()

    assert [file.name for file in tmp_path.iterdir()] == ["catalog.db"]


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CatalogUnavailableError, match="file"):
        open_database(url_of(tmp_path / "file" / "catalog.db"))


def test_a_schema_of_a_newer_release_is_unavailable_and_not_touched(database: Database) -> None:
    engine = open_database(database.url)
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(CatalogUnavailableError, match=r"another release.*9999"):
        open_database(database.url)

    with transaction(engine) as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == [
            "9999"
        ]
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["no url", "nosuchdb://host/x", "sqlite+nosuchdriver:///x", "postgresql+nosuchdriver://host/x", ""],
)
def test_a_url_that_is_none_names_the_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="catalog_url"):
        open_database(url)


def test_a_password_is_never_in_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = sa.create_engine(url_of(tmp_path))
    engine.url = sa.make_url("postgresql://trader:s3cret@db/x")
    with pytest.raises(CatalogUnavailableError) as caught, transaction(engine):
        pass
    assert "trader" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "trader:s3cret@db/x",
        "postgresql://trader:s3cret@db:port/x",
        "postgresql://trader:p@s3cret@db/x",
        "postgresql://trader:p@ss/s3cret@db/x",
        "postgres:/trader:s3cret@db/x",
    ],
)
def test_a_password_in_a_url_that_is_none_is_not_shown_either(url: str) -> None:
    with pytest.raises(SettingsError, match="catalog_url") as caught:
        open_database(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_missing_driver_is_a_setting_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # type: ignore[arg-type]
    with pytest.raises(
        SettingsError, match=r'catalog_url.*psycopg.*pip install "strikelake\[postgres\]"'
    ) as caught:
        open_database(f"{scheme}://trader:s3cret@db/x")
    assert "s3cret" not in str(caught.value)


def test_moments_are_kept_in_utc_and_come_back_aware(database: Database) -> None:
    engine = open_database(database.url)
    table = sa.Table("t", sa.MetaData(), sa.Column("at", UtcDateTime))
    table.create(engine)
    india = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 1, 5, 9, 15, 0, 123456, tzinfo=india)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"at": moment}, {"at": None}])
        found = connection.execute(sa.select(table.c.at).order_by(table.c.at.is_(None))).scalars().all()
        early = connection.execute(sa.select(table.c.at).where(table.c.at < moment)).all()
        same = connection.execute(sa.select(table.c.at).where(table.c.at == moment.astimezone(UTC))).all()
    engine.dispose()

    assert found == [datetime(2026, 1, 5, 3, 45, 0, 123456, tzinfo=UTC), None]
    assert found[0] is not None
    assert found[0].utcoffset() == timedelta(0)
    assert (len(early), len(same)) == (0, 1)


def test_sqlite_holds_the_text_of_moments_in_utc(sqlite_database: SqliteDatabase) -> None:
    engine = open_database(sqlite_database.url)
    table = sa.Table("t", sa.MetaData(), sa.Column("at", UtcDateTime))
    table.create(engine)
    india = timezone(timedelta(hours=5, minutes=30))
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"at": datetime(2026, 1, 5, 9, 15, tzinfo=india)}])
        raw = connection.execute(sa.text("SELECT at FROM t")).scalar_one()
    engine.dispose()
    assert str(raw).startswith("2026-01-05 03:45")


def test_processes_that_open_a_new_catalog_together_all_succeed(database: Database) -> None:
    script = "import sys; from catalog.database import open_database; open_database(sys.argv[1]).dispose()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, database.url],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
