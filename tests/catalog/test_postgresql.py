"""What only a server does: it goes away, refuses, is read-only, and lets many write at once."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from catalog_databases import PostgresDatabase

from catalog import database as database_module
from catalog.database import migrations, open_database, transaction, write_alone
from catalog.models import MirrorCursor
from lake.errors import CatalogUnavailableError

if TYPE_CHECKING:
    from postgres_server import PostgresServer

CURSORS = sa.select(MirrorCursor.table_version)


def set_cursor(connection: sa.Connection, version: int) -> None:
    connection.execute(sa.insert(MirrorCursor).values(table_name=f"t{version}", table_version=version))


def test_a_plain_url_uses_the_driver_that_the_extra_installs(postgres_database: PostgresDatabase) -> None:
    for url in (postgres_database.url, postgres_database.url.replace("postgresql://", "postgres://")):
        engine = open_database(url)
        assert (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg")
        engine.dispose()


def test_a_server_that_goes_away_is_unavailable_and_works_again_when_it_is_back(
    postgres_server_of_its_own: PostgresServer,
) -> None:
    server = postgres_server_of_its_own
    url = server.url(server.new_database())
    engine = open_database(url)
    with transaction(engine) as connection:
        set_cursor(connection, 1)

    def lose_the_server_on_the_way() -> None:
        with transaction(engine) as connection:
            set_cursor(connection, 2)
            server.stop()
            set_cursor(connection, 3)

    with pytest.raises(CatalogUnavailableError) as caught:
        lose_the_server_on_the_way()
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(CatalogUnavailableError, match="refused"), transaction(engine):
        pass
    with pytest.raises(CatalogUnavailableError, match="refused"):
        open_database(url)

    server.start()
    with transaction(engine) as connection:
        assert connection.execute(CURSORS).scalars().all() == [1]
        set_cursor(connection, 2)
    engine.dispose()


def test_connections_that_died_while_nobody_looked_are_replaced(
    postgres_server_of_its_own: PostgresServer,
) -> None:
    server = postgres_server_of_its_own
    engine = open_database(server.url(server.new_database()))
    server.stop()
    server.start()
    with transaction(engine) as connection:
        assert connection.execute(CURSORS).all() == []
    engine.dispose()


@pytest.mark.parametrize("where", ["password", "user", "database"])
def test_a_refused_login_is_unavailable_in_one_line_without_the_password(
    postgres_database: PostgresDatabase, where: str
) -> None:
    given: dict[str, Any] = {
        "password": {"password": "s3cret"},
        "user": {"user": "nobody", "password": "s3cret"},
        "database": {},
    }[where]
    name = "no_such_database" if where == "database" else postgres_database.name
    with pytest.raises(CatalogUnavailableError, match=r"catalog postgresql\+psycopg://.*FATAL") as caught:
        open_database(postgres_database.server.url(name, **given))
    told = str(caught.value)
    assert len(told.splitlines()) == 1
    assert "s3cret" not in told
    assert "p@ss" not in told


def test_a_password_among_the_options_is_not_shown(postgres_database: PostgresDatabase) -> None:
    with pytest.raises(CatalogUnavailableError) as caught:
        open_database(f"{postgres_database.url}?sslpassword=s3cret&sslmode=require")
    assert "s3cret" not in str(caught.value)


@pytest.mark.usefixtures("postgres_programs")
def test_a_host_that_never_answers_is_unavailable_after_the_time_the_url_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(CatalogUnavailableError, match="timeout"):
            open_database(f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=2")
    assert time.monotonic() - began < database_module._LIBPQ["connect_timeout"]


def test_a_role_that_may_only_read_can_read_and_is_unavailable_for_writing(
    postgres_database: PostgresDatabase,
) -> None:
    server, name = postgres_database.server, postgres_database.name
    role = f"reader_of_{name}"
    postgres_database.run(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    url = server.url(name, user=role, password="p")  # noqa: S106 - made above
    with pytest.raises(CatalogUnavailableError, match="permission denied"):
        open_database(url)  # nothing there yet, and it may not make it
    open_database(postgres_database.url).dispose()
    postgres_database.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")

    engine = open_database(url)
    with transaction(engine) as connection:
        assert connection.execute(CURSORS).all() == []
    with (
        pytest.raises(CatalogUnavailableError, match="permission denied"),
        transaction(engine) as connection,
    ):
        set_cursor(connection, 1)
    engine.dispose()
    postgres_database.run(f"DROP OWNED BY {role}")
    postgres_database.run(f"DROP ROLE {role}")


def test_a_database_that_is_read_only_for_now_can_be_read(postgres_database: PostgresDatabase) -> None:
    open_database(postgres_database.url).dispose()
    postgres_database.run(f"ALTER DATABASE {postgres_database.name} SET default_transaction_read_only = on")
    engine = open_database(postgres_database.url)
    with transaction(engine) as connection:
        assert connection.execute(CURSORS).all() == []
    with (
        pytest.raises(CatalogUnavailableError, match="read-only transaction"),
        transaction(engine) as connection,
    ):
        set_cursor(connection, 1)
    engine.dispose()


def test_who_opens_a_new_catalog_waits_for_the_one_who_makes_it(postgres_database: PostgresDatabase) -> None:
    url = postgres_database.url.replace("postgresql://", "postgresql+psycopg://")
    first = sa.create_engine(url)
    opened: list[sa.Engine] = []
    second = threading.Thread(target=lambda: opened.append(open_database(postgres_database.url)))
    config = migrations()
    with transaction(first) as connection:
        write_alone(connection)
        second.start()
        postgres_database.wait_until_somebody_waits()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    second.join()
    first.dispose()

    (engine,) = opened
    with transaction(engine) as connection:
        assert connection.execute(CURSORS).all() == []
    engine.dispose()


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_what_a_writer_reads_holds_until_it_has_written_whatever_the_servers_default(
    postgres_database: PostgresDatabase, isolation: str
) -> None:
    open_database(postgres_database.url).dispose()
    postgres_database.run(
        f"ALTER DATABASE {postgres_database.name} SET default_transaction_isolation = '{isolation}'"
    )
    engine = open_database(postgres_database.url)
    seen: list[int] = []

    def add_one_more() -> None:
        with transaction(engine) as connection:
            write_alone(connection)
            seen.extend(connection.execute(CURSORS).scalars())
            set_cursor(connection, len(seen) + 1)

    second = threading.Thread(target=add_one_more)
    with transaction(engine) as connection:
        write_alone(connection)
        assert connection.execute(CURSORS).all() == []
        second.start()
        postgres_database.wait_until_somebody_waits()
        set_cursor(connection, 1)
    second.join()
    with transaction(engine) as connection:
        assert sorted(connection.execute(CURSORS).scalars()) == [1, 2]
    engine.dispose()
    assert seen == [1]


def test_readers_do_not_wait_for_a_writer(postgres_database: PostgresDatabase) -> None:
    engine = open_database(postgres_database.url)
    with transaction(engine) as writer:
        write_alone(writer)
        set_cursor(writer, 1)
        with transaction(engine) as reader:
            assert reader.execute(CURSORS).all() == []
    engine.dispose()


def test_a_writer_that_does_not_end_makes_the_catalog_unavailable_for_the_next(
    postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_LOCK_TIMEOUT_S", 1)
    engine = open_database(postgres_database.url)
    with transaction(engine) as endless:
        write_alone(endless)
        with pytest.raises(CatalogUnavailableError, match="lock timeout"), transaction(engine) as second:
            write_alone(second)
    with transaction(engine) as second:
        write_alone(second)
    engine.dispose()
