"""Migrations go forward from every revision there ever was, and lose nothing of what is in the tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from catalog_databases import Database

from catalog.database import migrations, open_database, transaction
from catalog.models import Base

_SCRIPTS = ScriptDirectory.from_config(migrations())
_REVISIONS = [script.revision for script in reversed(list(_SCRIPTS.walk_revisions()))]

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    """A database that has no schema yet."""
    open_database(database.url).dispose()  # makes the folder; what it made is taken back
    engine = open_database(database.url)
    with transaction(engine) as connection:
        _run(connection, command.downgrade, "base")
    yield engine
    engine.dispose()


def _run(connection: sa.Connection, what: Any, revision: str) -> None:
    config = migrations()
    config.attributes["connection"] = connection
    what(config, revision)


def plausible(column: sa.Column[Any], number: int) -> Any:
    """A value of a column's type, another for each number."""
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return bool(number % 2)
    if isinstance(kind, sa.Integer):
        return number
    if isinstance(kind, sa.Numeric | sa.Float):
        return number + 0.5
    if isinstance(kind, sa.DateTime):
        moment = datetime(2026, 1, 5, 3, 45, 0, 123456, tzinfo=UTC) + timedelta(days=number)
        return moment if kind.timezone else moment.replace(tzinfo=None)
    if isinstance(kind, sa.Date):
        return date(2026, 1, 5) + timedelta(days=number)
    if isinstance(kind, sa.LargeBinary):
        return bytes([number])
    if isinstance(kind, sa.JSON):
        return {"number": number, "text": "é"}
    if isinstance(kind, sa.String):
        return f"é {number}"[: kind.length]
    raise AssertionError(f"{column}: give it a plausible value of {kind!r} here")


def tables_of(connection: sa.Connection) -> list[sa.Table]:
    """The tables as the database has them, those that others refer to first."""
    known = sa.MetaData()
    known.reflect(connection)
    return [table for table in known.sorted_tables if table.name != "alembic_version"]


def fill(connection: sa.Connection, count: int = 3) -> None:
    """Rows in every table; the n-th of one refers to the n-th of another."""
    for table in tables_of(connection):
        rows = [
            {column.name: plausible(column, number) for column in table.columns}
            for number in range(1, count + 1)
        ]
        # The last has only what must be there.
        for column in table.columns:
            if column.nullable:
                rows[-1][column.name] = None
        connection.execute(table.insert(), rows)


def contents(connection: sa.Connection) -> Rows:
    """Every row of every table, in the order of its primary key."""
    return {
        table.name: [
            dict(row)
            for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
        ]
        for table in tables_of(connection)
    }


def lost(before: Rows, after: Rows) -> list[str]:
    """What is not as it was; a migration may add tables, columns and rows."""
    found = []
    for table, rows in before.items():
        for row in rows:
            same = (row.items() <= other.items() for other in after.get(table, []))
            if not any(same):
                found.append(f"{table}: {row}")
    return found


@pytest.mark.parametrize("revision", _REVISIONS)
def test_an_upgrade_from_any_revision_keeps_every_row(
    engine: sa.Engine, database: Database, revision: str
) -> None:
    with transaction(engine) as connection:
        _run(connection, command.upgrade, revision)
        fill(connection)
        before = contents(connection)
    assert before
    assert all(len(rows) == 3 for rows in before.values())

    open_database(database.url).dispose()

    with transaction(engine) as connection:
        assert MigrationContext.configure(connection).get_current_revision() == _REVISIONS[-1]
        assert lost(before, contents(connection)) == []
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_row_that_changed_or_went_would_be_noticed(engine: sa.Engine) -> None:
    with transaction(engine) as connection:
        _run(connection, command.upgrade, "head")
        fill(connection)
        before = contents(connection)
        connection.execute(sa.text("UPDATE mirror_cursors SET table_version = 99 WHERE table_version = 1"))
        connection.execute(sa.text("DELETE FROM ml_feature_batches WHERE id = 2"))
        found = lost(before, contents(connection))
    assert sorted(text.partition(":")[0] for text in found) == ["mirror_cursors", "ml_feature_batches"]


def test_there_is_one_newest_revision_and_they_are_numbered_in_order() -> None:
    assert len(_SCRIPTS.get_heads()) == 1
    assert sorted(_REVISIONS) == _REVISIONS
