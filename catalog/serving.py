"""The serving tables: what Grafana, Metabase or Superset get of the lake, flat and small.

Each is a statement of `sql/serving/` over one session of one exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from catalog.contracts import CONTRACTS
from lake.queries import QUERIES, Query, load_query
from lake.session import Session

SERVING = QUERIES / "serving"
_UTC = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class ServingTable:
    """One serving table.

    Attributes:
        name: Its name in the target.
        source: The Delta table whose log says what is new.
        time: The column that dashboards filter by.
        by_session: True if rows of a session depend on one another, so that a new batch makes those of its
            session anew; else each row belongs to the batch of its `batch_id`.
        needs_features: True if there is nothing to say of a source that has no columns but those of its
            contract.
    """

    name: str
    source: str
    time: str
    by_session: bool = False
    needs_features: bool = False

    @property
    def query(self) -> Query:
        """Its statement, with `$date` and `$exchange`."""
        return _query(self.name)


SERVING_TABLES: Sequence[ServingTable] = (
    ServingTable("paper_trading_metrics", "paper_trading_metrics", "event_time"),
    ServingTable("health_metrics", "health_metrics", "event_time"),
    ServingTable("drift_scores", "drift_scores", "window_end"),
    ServingTable("attribution", "attribution", "event_time"),
    ServingTable("signals", "signals", "event_time"),
    ServingTable("feature_summary", "ml_features", "last_event_time", by_session=True, needs_features=True),
    ServingTable("batch_quality", "option_chain", "last_event_time", by_session=True),
    ServingTable("feed_quality", "feed_quality", "event_time"),
)


@cache
def _query(name: str) -> Query:
    return load_query(SERVING / f"serving_{name}.sql")


def is_served(session: Session, table: ServingTable) -> bool:
    """Whether the lake has something to say in a serving table."""
    snapshot = session.snapshots.get(table.source)
    if snapshot is None:
        return False
    return not table.needs_features or set(snapshot.schema.names) > set(CONTRACTS[table.source].schema.names)


def read_rows(
    session: Session, table: ServingTable, day: date, exchange: str, batches: Sequence[str] | None = None
) -> pa.Table:
    """Rows of one session of one exchange, of all batches or some.

    Returns:
        Flat columns; times UTC, microseconds; numbers that are not finite are null.

    Raises:
        QueryError: The statement failed.
        DamagedTableError: The table cannot be read.
    """
    sql, parameters = table.query.sql, {"date": day, "exchange": exchange}
    if batches is not None:
        sql = f"SELECT * FROM (\n{sql}\n) AS served WHERE list_contains($batches, batch_id)"
        parameters |= {"batches": list(batches)}
    return _plain(session.table(sql, parameters))


def columns_of(session: Session, table: ServingTable) -> pa.Schema:
    """Columns of a serving table as the lake has them now."""
    # No session is on that day.
    return read_rows(session, table, date(1970, 1, 1), "").schema


def _plain(rows: pa.Table) -> pa.Table:
    for number, field in enumerate(rows.schema):
        column = rows.column(number)
        if pa.types.is_timestamp(field.type):
            column = column.cast(_UTC)
        elif pa.types.is_floating(field.type):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, field.type))
        else:
            continue
        rows = rows.set_column(number, field.name, column)
    return rows
