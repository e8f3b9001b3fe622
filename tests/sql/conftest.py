"""An `option_chain` for the views to read, made of plain rows or of real recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from catalog.contracts import ATTRIBUTION, CANDLES, FEED_QUALITY, OPTION_CHAIN
from ingest.events import ChainUpdate
from lake.queries import QUERIES, load_folder

INDIA = timezone(timedelta(hours=5, minutes=30))

Row = Mapping[str, Any]
Session = Callable[..., duckdb.DuckDBPyConnection]


def _complete(row: Row) -> dict[str, Any]:
    """Fill in what a test leaves out: a call of a NIFTY chain received a second after it happened."""
    event_time = row.get("event_time", datetime(2026, 1, 30, 10, 0, tzinfo=INDIA))
    complete = {
        "date": event_time.astimezone(INDIA).date(),
        "exchange": "NSE",
        "event_time": event_time,
        "received_time": event_time + timedelta(seconds=1),
        "symbol": "NIFTY",
        "expiry": date(2026, 2, 3),
        "strike": 25000.0,
        "option_type": "CE",
        "source": "live",
        "dq_flags": 0,
        "batch_id": "batch-1",
        **row,
    }
    unknown = complete.keys() - set(OPTION_CHAIN.schema.names)
    assert not unknown, f"no columns of option_chain: {unknown}"
    return complete


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    """Open a DuckDB session over rows of the tables that views read, with every view of the project."""
    opened = []

    def open_session(
        rows: Iterable[Row],
        *,
        attribution: Iterable[Row] = (),
        feed_quality: Iterable[Row] = (),
        candles: Iterable[Row] = (),
        time_zone: str = "Asia/Kolkata",
    ) -> duckdb.DuckDBPyConnection:
        table = pa.Table.from_pylist([_complete(row) for row in rows], schema=OPTION_CHAIN.schema)
        connection = duckdb.connect()
        opened.append(connection)
        connection.execute(f"SET TimeZone = '{time_zone}'")
        connection.execute("SET threads = 1")
        connection.register("rows", table)
        connection.execute("CREATE TABLE option_chain AS SELECT * FROM rows")
        attributed = pa.Table.from_pylist(list(attribution), schema=ATTRIBUTION.schema)
        connection.register("attributed", attributed)
        connection.execute("CREATE TABLE attribution AS SELECT * FROM attributed")
        judged = pa.Table.from_pylist(list(feed_quality), schema=FEED_QUALITY.schema)
        connection.register("judged", judged)
        connection.execute("CREATE TABLE feed_quality AS SELECT * FROM judged")
        barred = pa.Table.from_pylist(list(candles), schema=CANDLES.schema)
        connection.register("barred", barred)
        connection.execute("CREATE TABLE candles AS SELECT * FROM barred")
        tables = {"option_chain", "attribution", "feed_quality", "candles"}
        for query in load_folder(QUERIES / "views", known=tables):
            connection.execute(f"CREATE VIEW {query.name} AS {query.sql}")
        return connection

    yield open_session
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def fetch() -> Callable[[duckdb.DuckDBPyConnection, str], list[dict[str, Any]]]:
    """Run a query; every row as a mapping, times in UTC."""

    def rows_of(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
        table = connection.sql(sql).to_arrow_table()
        for index, column in enumerate(table.schema):
            if pa.types.is_timestamp(column.type):
                utc = table.column(index).cast(pa.timestamp("us", tz="UTC"))
                table = table.set_column(index, column.name, utc)
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    return rows_of


@pytest.fixture(scope="session")
def rows_of_chain() -> Callable[[ChainUpdate], list[dict[str, Any]]]:
    """Turn what an adapter yields into rows, without the code that does so in production."""

    def rows_of(update: ChainUpdate, batch_id: str = "batch-1") -> list[dict[str, Any]]:
        assert isinstance(update.event_time, datetime)
        received = datetime.fromtimestamp(update.received_ns / 1e9, tz=UTC)
        event_time = update.event_time
        if event_time.tzinfo is None:
            event_time = event_time.replace(tzinfo=INDIA)
        chain = {
            **(update.context or {}),
            "exchange": update.exchange,
            "symbol": update.symbol,
            "event_time": event_time,
            "received_time": received,
            "source": update.source,
            "batch_id": batch_id,
        }
        rows = []
        for option_type, legs in (("CE", update.calls), ("PE", update.puts)):
            for leg in legs:
                values = {key: value for key, value in leg.items() if value is not None}
                rows.append({**chain, "expiry": update.expiry, "option_type": option_type, **values})
        return rows

    return rows_of
