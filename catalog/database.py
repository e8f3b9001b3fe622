"""Open the catalog database, at the newest revision of its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lake.errors import CatalogUnavailableError, SettingsError

_MIGRATIONS = Path(__file__).with_name("migrations")

_LOCK_TIMEOUT_S = 30

# The key of PostgreSQL's advisory lock of all writers; any number that nobody else uses in this database.
_WRITERS = 0x5354524B4C4B

# A host that does not answer, or goes away, must be noticed: commits wait for the mirror meanwhile.
_LIBPQ: dict[str, str | int] = {
    "application_name": "strikelake",
    "connect_timeout": 10,  # s
    "keepalives_idle": 20,  # s
    "keepalives_interval": 5,  # s
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
}


def open_database(url: str) -> Engine:
    """Connect, creating or migrating the schema where needed.

    Args:
        url: SQLAlchemy URL, e.g. `sqlite:///data/catalog.db` or `postgresql://user:password@host/database`.

    Raises:
        SettingsError: The URL is not valid or names a driver that is not installed.
        CatalogUnavailableError: The database does not answer, is locked or read-only, or its schema is
            that of another release.
    """
    try:
        engine = connect(url, setting="catalog_url")
    except OSError as error:
        raise CatalogUnavailableError(f"catalog: {error}") from error
    try:
        with transaction(engine) as connection:
            _migrate(connection)
    except BaseException as error:
        engine.dispose()
        if isinstance(error, CommandError):
            raise CatalogUnavailableError(
                f"catalog {shown(engine.url)} was made by another release of strikelake: {error}"
            ) from error
        raise
    return engine


def connect(url: str, *, setting: str) -> Engine:
    """An engine, with nothing asked of the database yet; transactions of SQLite begin with its write lock.

    Args:
        url: SQLAlchemy URL.
        setting: Name of the setting that it came from, for messages.

    Raises:
        SettingsError: The URL is not valid or names a driver that is not installed.
        OSError: The folder of an SQLite file cannot be made.
    """
    parsed = _parse(url, setting)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite and parsed.database and not parsed.database.startswith("file:"):
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(parsed, **_engine_options(parsed))
    except ImportError as error:
        hint = 'pip install "strikelake[postgres]"' if _is_postgresql(parsed) else str(error)
        raise SettingsError(f"{setting}: the driver of {parsed.drivername} is missing: {hint}") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise SettingsError(f"{setting}: {error}") from error
    if sqlite:
        _begin_immediately(engine)
    return engine


@contextmanager
def opened_database(url: str) -> Iterator[Engine]:
    """`open_database`, closed at the end.

    Raises:
        As `open_database`.
    """
    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed at the end.

    Raises:
        CatalogUnavailableError: The database does not answer, is locked or read-only.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        # A message of PostgreSQL has several lines, the command line's has one.
        told = " ".join(str(cause).split())
        raise CatalogUnavailableError(f"catalog {shown(engine.url)}: {told}") from error


def write_alone(connection: Connection) -> None:
    """Let no other process of ours write until this transaction ends; call it before the first read.

    Who reads in order to write (how far is the mirror? which revision is the schema?) must not be overtaken
    in between. SQLite has one writer anyway, from BEGIN on. On PostgreSQL it is a lock of the transaction,
    because there may be no row or table to lock yet. Readers are not held up.

    Raises:
        sqlalchemy.exc.OperationalError: Another process has been writing for `_LOCK_TIMEOUT_S`; `transaction`
            makes it a CatalogUnavailableError.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT set_config('lock_timeout', :wait, true), pg_advisory_xact_lock(:key)"),
            {"wait": f"{_LOCK_TIMEOUT_S}s", "key": _WRITERS},
        )


def migrations() -> Config:
    """Alembic's configuration, without an ini file."""
    config = Config()
    config.set_main_option("script_location", _MIGRATIONS.as_posix().replace("%", "%%"))
    return config


def _parse(url: str, setting: str) -> URL:
    """The URL, naming our driver for PostgreSQL; what it cannot read may be a password: not shown."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            f"{setting} is not of the form sqlite:///data/catalog.db or "
            "postgresql://user:password@host:5432/database (it is not shown: it may hold a password)"
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if _is_postgresql(parsed) and "@" in f"{parsed.host}{parsed.database}":
        raise SettingsError(f"{setting} has more than one @; write one within user or password as %40")
    return parsed


def _engine_options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        options: dict[str, Any] = {"connect_args": {"timeout": _LOCK_TIMEOUT_S}}
        # A connection that is kept would go on writing to a file that somebody has deleted or replaced.
        return options | ({"poolclass": NullPool} if url.database else {})
    if not _is_postgresql(url):
        return {}
    # A lock that was waited for is worth nothing to a statement that goes on seeing what was there before:
    # not every server's default is READ COMMITTED. A connection may have died with a restart of the server.
    options = {"isolation_level": "READ COMMITTED", "pool_pre_ping": True}
    if url.get_driver_name().startswith("psycopg"):
        given = {name: value for name, value in _LIBPQ.items() if name not in url.query}
        options["connect_args"] = given
    return options


def _is_postgresql(url: URL) -> bool:
    return url.get_backend_name() == "postgresql"


def shown(url: URL) -> str:
    """For messages: without password, and without options, of which one may be a password."""
    return url.set(query={}).render_as_string(hide_password=True)


def _migrate(connection: Connection) -> None:
    config = migrations()
    head = ScriptDirectory.from_config(config).get_current_head()
    if MigrationContext.configure(connection).get_current_revision() == head:
        return
    write_alone(connection)
    # Another process may have done it while this one waited; an upgrade to where it is does nothing.
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _begin_immediately(engine: Engine) -> None:
    """Take SQLite's write lock at the start: a reader cannot be upgraded once another has written."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:
        del record
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
