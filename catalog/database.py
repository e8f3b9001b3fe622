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
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from lake.errors import CatalogUnavailableError, SettingsError

_MIGRATIONS = Path(__file__).with_name("migrations")


def open_database(url: str) -> Engine:
    """Connect, creating or migrating the schema where needed.

    Args:
        url: SQLAlchemy URL, e.g. `sqlite:///data/catalog.db`.

    Raises:
        SettingsError: The URL is not valid or names a driver that is not installed.
        CatalogUnavailableError: The database does not answer, is locked or read-only, or its schema is
            that of another release.
    """
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database and not parsed.database.startswith("file:"):
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": 30} if sqlite else {})
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise SettingsError(f"catalog_url: {error}") from error
    except OSError as error:
        raise CatalogUnavailableError(f"catalog {url}: {error}") from error
    if sqlite:
        _begin_immediately(engine)
    try:
        with transaction(engine) as connection:
            _migrate(connection)
    except BaseException as error:
        engine.dispose()
        if isinstance(error, CommandError):
            where = parsed.render_as_string(hide_password=True)
            raise CatalogUnavailableError(
                f"catalog {where} was made by another release of strikelake: {error}"
            ) from error
        raise
    return engine


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
        where = engine.url.render_as_string(hide_password=True)
        cause = getattr(error, "orig", None) or error
        raise CatalogUnavailableError(f"catalog {where}: {cause}") from error


def migrations() -> Config:
    """Alembic's configuration, without an ini file."""
    config = Config()
    config.set_main_option("script_location", _MIGRATIONS.as_posix().replace("%", "%%"))
    return config


def _migrate(connection: Connection) -> None:
    config = migrations()
    head = ScriptDirectory.from_config(config).get_current_head()
    if MigrationContext.configure(connection).get_current_revision() != head:
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
