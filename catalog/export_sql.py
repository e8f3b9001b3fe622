"""PostgreSQL or SQLite as the target of an export, for Grafana, Metabase and Superset.

Times are `timestamptz` in PostgreSQL and text like `2026-10-26T06:30:00.000000Z` in SQLite, which has no type
for them. SQLite's journal is the plain one: between two exports all of a database is in its one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeDecorator, TypeEngine

from catalog.database import connect, shown
from catalog.export import Mark, Partition, Writer
from catalog.serving import ServingTable
from lake.errors import DamagedTableError, ExportUnavailableError, SettingsError

MARKS = "strikelake_export"

_ROWS_AT_ONCE = 5_000
_LOCK_TIMEOUT_S = 30
_EXPORTS = 0x5354524B4C45
"""The key of PostgreSQL's advisory lock of all exports."""


class UtcTime(TypeDecorator[datetime]):
    """A moment: `timestamptz`, or ISO 8601 text in UTC where there is no such type."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> TypeEngine[Any]:
        """Text in SQLite."""
        kind: TypeEngine[Any] = Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        found: TypeEngine[Any] = dialect.type_descriptor(kind)
        return found

    def process_bind_param(self, value: datetime | None, dialect: Any) -> Any:
        """The moment as it is stored."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_TYPES: Mapping[pa.DataType, TypeEngine[Any]] = {
    pa.string(): Text(),
    pa.large_string(): Text(),
    pa.float64(): Double(),
    pa.int64(): BigInteger(),
    pa.int32(): Integer(),
    pa.bool_(): Boolean(),
    pa.date32(): Date(),
    pa.timestamp("us", tz="UTC"): UtcTime(),
}

_MARKS = Table(
    MARKS, MetaData(),
    Column("table_name", Text(), primary_key=True),
    Column("source_id", Text(), nullable=False),
    Column("source_version", BigInteger(), nullable=False),
    Column("commit_ms", BigInteger(), nullable=False),
    Column("exported_at", UtcTime(), nullable=False),
)  # fmt: skip


class SqlTarget:
    """A database by its SQLAlchemy URL; close it when done."""

    def __init__(self, url: str, *, setting: str = "export_url") -> None:
        """Connect lazily.

        Args:
            url: E.g. `postgresql://user:password@host/database` or `sqlite:///serving.db`.
            setting: What messages call it, since it may hold a password.

        Raises:
            SettingsError: The URL is not valid or names a driver that is not installed.
            ExportUnavailableError: Its folder cannot be made.
        """
        try:
            self._engine: Engine = connect(url, setting=setting)
        except OSError as error:
            raise ExportUnavailableError(f"export: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def marks(self) -> Mapping[str, Mark]:
        """As `Target` says."""
        with self._mapped(), self._engine.connect() as connection:
            if not inspect(connection).has_table(MARKS):
                return {}
            return {row.table_name: _mark(row) for row in connection.execute(select(_MARKS))}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """As `Target` says."""
        yield

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """As `Target` says: it waits for other exports."""
        with self._mapped(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # In SQLite, the transaction itself is the lock.
                connection.execute(
                    text("SELECT set_config('lock_timeout', :wait, true), pg_advisory_xact_lock(:key)"),
                    {"wait": f"{_LOCK_TIMEOUT_S}s", "key": _EXPORTS},
                )
            _MARKS.create(connection, checkfirst=True)
            yield _Writer(connection, shown(self._engine.url))

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            # Not the statement: it would be thousands of rows long.
            cause = getattr(error, "orig", None) or error
            told = " ".join(str(cause).split())
            raise ExportUnavailableError(f"export to {shown(self._engine.url)}: {told}") from error


class _Writer:
    def __init__(self, connection: Connection, shown_url: str) -> None:
        self._connection = connection
        self._shown = shown_url
        self._tables: dict[str, Table] = {}

    def mark(self, table: str) -> Mark | None:
        row = self._connection.execute(select(_MARKS).where(_MARKS.c.table_name == table)).first()
        return None if row is None else _mark(row)

    def prepare(self, table: ServingTable, columns: pa.Schema) -> bool:
        made = _table(table, columns)
        self._tables[table.name] = made
        inspector = inspect(self._connection)
        if not inspector.has_table(table.name):
            made.create(self._connection)
            # Rows that were there went with the table.
            self._connection.execute(delete(_MARKS).where(_MARKS.c.table_name == table.name))
            return False
        if self.mark(table.name) is None:
            raise SettingsError(
                f"{self._shown} has a table {table.name} that no export made: use another database or schema"
            )
        there = {column["name"] for column in inspector.get_columns(table.name)}
        lacking = [column for column in made.columns if column.name not in there]
        preparer, dialect = self._connection.dialect.identifier_preparer, self._connection.dialect
        for column in lacking:
            kind = column.type.compile(dialect=dialect)
            self._connection.execute(
                text(
                    f"ALTER TABLE {preparer.format_table(made)} ADD COLUMN "
                    f"{preparer.format_column(column)} {kind}"
                )
            )
        return not lacking

    def clear(self, table: str) -> None:
        self._connection.execute(delete(self._tables[table]))

    def delete(self, table: str, partition: Partition, batches: Sequence[str] | None) -> None:
        made = self._tables[table]
        doomed = delete(made).where(made.c.date == partition[0], made.c.exchange == partition[1])
        if batches is None:
            self._connection.execute(doomed)
            return
        for first in range(0, len(batches), _ROWS_AT_ONCE):
            some = batches[first : first + _ROWS_AT_ONCE]
            self._connection.execute(doomed.where(made.c.batch_id.in_(some)))

    def delete_since(self, table: str, column: str, since: datetime) -> None:
        made = self._tables[table]
        self._connection.execute(delete(made).where(made.c[column] >= since))

    def insert(self, table: str, rows: pa.Table) -> None:
        made = self._tables[table]
        # PostgreSQL has no text with a NUL in it.
        clean = self._connection.dialect.name == "postgresql"
        for batch in rows.to_batches(max_chunksize=_ROWS_AT_ONCE):
            values = batch.to_pylist()
            if clean:
                values = [{name: _without_nul(value) for name, value in row.items()} for row in values]
            if values:
                self._connection.execute(insert(made), values)

    def set_mark(self, table: str, mark: Mark) -> None:
        self._connection.execute(delete(_MARKS).where(_MARKS.c.table_name == table))
        self._connection.execute(
            insert(_MARKS).values(
                table_name=table, source_id=mark.source_id, source_version=mark.version,
                commit_ms=mark.commit_ms, exported_at=datetime.now(UTC),
            )
        )  # fmt: skip


def _table(table: ServingTable, columns: pa.Schema) -> Table:
    made = Table(table.name, MetaData(), *(Column(field.name, _type(field)) for field in columns))
    Index(f"ix_{table.name}_{table.time}", made.c[table.time])
    Index(f"ix_{table.name}_exchange_{table.time}", made.c.exchange, made.c[table.time])
    Index(f"ix_{table.name}_date_exchange", made.c.date, made.c.exchange)
    return made


def _type(field: pa.Field) -> TypeEngine[Any]:
    try:
        return _TYPES[field.type]
    except KeyError:
        raise DamagedTableError(
            f"the column {field.name} has the type {field.type}, which is not flat"
        ) from None


def _mark(row: Any) -> Mark:
    return Mark(row.source_id, row.source_version, row.commit_ms)


def _without_nul(value: Any) -> Any:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
