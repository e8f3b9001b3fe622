"""The live app's own features (`ml_features`) beside the rows of features, as they were known then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalog.contracts import ML_FEATURES
from explain.session_features import Hours
from lake.asof import AsOfColumn, asof_join
from lake.errors import ContractError
from lake.lookahead import audit_lookahead
from lake.session import Session
from lake.snapshot import quote

PREFIX = "app_"
"""What the names of the app's features begin with in a frame."""

TOLERANCE = timedelta(minutes=5)
"""How old a feature of the app may be; older ones are missing."""

_KEY = ("exchange", "symbol", "source")


def app_feature_names(session: Session) -> tuple[str, ...]:
    """Names of the app's features in `ml_features`, in the table's order; none if there is no such table."""
    if ML_FEATURES.table in session.unbound or ML_FEATURES.table not in session.snapshots:
        return ()
    columns = session.table(f"SELECT * FROM {ML_FEATURES.table} LIMIT 0").schema
    contract = set(ML_FEATURES.schema.names)
    return tuple(f.name for f in columns if f.name not in contract)


def join_app_features(session: Session, hours: Hours, rows: pa.Table) -> pa.Table:
    """Add a column `app_<name>` for each feature of the app: the newest known at each row's `known_time`.

    A row takes features of its own exchange, symbol, source and session. What was handed over as it happened
    counts only once it was received; recordings were known at once. The result is audited for look-ahead.

    Args:
        session: The lake.
        hours: The session that the rows are of.
        rows: As `sql/features/features.sql` has them.

    Raises:
        ContractError: The audit found a value that could not have been known.
    """
    names = app_feature_names(session)
    if not names or not rows.num_rows:
        return _without(rows, names)
    history = session.table(
        f"SELECT {', '.join(_KEY)}, event_time, received_time, batch_id, {', '.join(map(quote, names))}"
        f" FROM {ML_FEATURES.table} WHERE date = $date AND exchange = $exchange",
        {"date": hours.date, "exchange": hours.exchange},
    )
    if not history.num_rows:
        return _without(rows, names)
    terms: dict[str, Any] = {
        "by": _KEY,
        "as_of": "known_time",
        "columns": [AsOfColumn(name, TOLERANCE, PREFIX + name) for name in names],
        "tie_break": "batch_id",
    }
    is_live = rows.column("is_live")
    parts = []
    for live in (True, False):
        part = rows.filter(is_live if live else pc.invert(is_live))
        if part.num_rows:
            joined = asof_join(part, history, hide_unreceived=live, **terms)
            refuse_lookahead(joined, history, hide_unreceived=live, **terms)
            parts.append(joined)
    return pa.concat_tables(parts).sort_by([("event_time", "ascending"), ("symbol", "ascending")])


def refuse_lookahead(joined: pa.Table, history: pa.Table, **terms: Any) -> None:
    """Raise unless every joined value was known at its row's moment, and was the newest then.

    Args:
        joined: Rows with the joined columns.
        history: What they are from.
        terms: As for `lake.lookahead.audit_lookahead`.

    Raises:
        ContractError: One was not; the message names the first.
    """
    offences = audit_lookahead(joined, history, **terms)
    if offences.num_rows:
        first = offences.slice(0, 1).to_pylist()[0]
        raise ContractError(
            f"{offences.num_rows} values of the app's features could not have been known at their moment; "
            f"the first is {first['column']} at {first['as_of']}: {first['reason']}"
        )


def _without(rows: pa.Table, names: tuple[str, ...]) -> pa.Table:
    for name in names:
        rows = rows.append_column(PREFIX + name, pa.nulls(rows.num_rows, pa.float64()))
    return rows
