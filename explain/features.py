"""Features and labels of a lake or a dataset: what models are trained on and signals are made of.

The definitions are in `sql/features/`; here sessions are put together, one at a time, and the live app's own
features are joined to them. A row of features holds what was known at its moment and nothing else: the same
row comes out of a frame, of `feature_rows` as of any later moment, and of `features_at`, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from catalog.contracts import OPTION_CHAIN
from catalog.exchanges import EXCHANGES
from catalog.reference import ReferenceData
from explain.app_features import join_app_features
from explain.frame import KEYS, LabelTerms, TrainingFrame
from explain.session_features import Hours, labelled_features, newest_features, session_features
from lake.errors import NotEnoughDataError, QueryError
from lake.point_in_time import UTC_MICROSECONDS
from lake.session import Session

_NO_FEATURES = frozenset({*KEYS, "source", "known_time", "is_live", "chain", "forward_return", "label"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """The features of one symbol at one moment.

    Attributes:
        event_time: Of the chain that they are made of, UTC.
        exchange: `NSE` or `BSE`.
        symbol: Underlying.
        values: By name, in the order of a frame's columns; None is missing.
    """

    event_time: datetime
    exchange: str
    symbol: str
    values: dict[str, float | None]


def build_frame(
    session: Session,
    exchange: str,
    *,
    terms: LabelTerms | None = None,
    symbols: Sequence[str] = (),
    dates: Collection[date] = (),
    progress: Callable[[date], None] | None = None,
) -> TrainingFrame:
    """Features and labels of the sessions that are bound, audited for look-ahead.

    Args:
        session: A lake, or a dataset opened by `catalog.datasets.open_session`.
        exchange: `NSE` or `BSE`.
        terms: What counts as a move; by default `LabelTerms()`.
        symbols: Underlyings; none for all there are.
        dates: Session dates; none for all there are.
        progress: Called with each session date that is done.

    Raises:
        NotEnoughDataError: No row has a label.
        ContractError: The look-ahead audit found a value that could not have been known.
        QueryError: The session has no `option_chain`, or the terms make no sense.
    """
    terms = terms or LabelTerms()
    _check_terms(terms)
    parts: list[pa.Table] = []
    count = 0
    for hours in _sessions(session, exchange):
        if dates and hours.date not in dates:
            continue
        rows = labelled_features(session, hours, terms, symbols=symbols)
        parts.append(_frame_columns(join_app_features(session, hours, rows)))
        count += 1
        if progress:
            progress(hours.date)
    if not any(part.num_rows for part in parts):
        raise NotEnoughDataError(_why_empty(session, exchange, symbols, terms, count))
    rows = pa.concat_tables(parts).combine_chunks()
    return TrainingFrame(rows, feature_names(rows), terms)


def feature_rows(
    session: Session, exchange: str, *, symbols: Sequence[str] = (), at: datetime | None = None
) -> pa.Table:
    """All rows of features, also those without a label: `KEYS`, then one float64 column a feature.

    Args:
        session: A lake or a dataset.
        exchange: `NSE` or `BSE`.
        symbols: Underlyings; none for all there are.
        at: A moment with zone: only the rows that were known then. They are those that come without it.

    Returns:
        Sorted by event time, then symbol; missing is null.

    Raises:
        ContractError: The look-ahead audit found a value that could not have been known.
        QueryError: The session has no `option_chain`, or `at` has no zone.
    """
    _check_zone(at)
    parts = []
    for hours in _sessions(session, exchange, until=at):
        rows = session_features(session, hours, symbols=symbols, at=at)
        parts.append(_frame_columns(join_app_features(session, hours, rows)))
    if not parts:
        # A session that never was gives the columns.
        nothing = session_features(session, Hours(exchange, _EPOCH.date(), _EPOCH, _EPOCH))
        hours = Hours(exchange, _EPOCH.date(), _EPOCH, _EPOCH)
        parts.append(_frame_columns(join_app_features(session, hours, nothing)))
    return pa.concat_tables(parts).combine_chunks()


def features_at(session: Session, exchange: str, symbol: str, at: datetime) -> FeatureRow:
    """The newest row of features of a symbol that was known at a moment, however old it is.

    Args:
        session: A lake or a dataset; with `live=True` rows count a moment after they were handed over.
        exchange: `NSE` or `BSE`.
        symbol: Underlying.
        at: A moment with zone.

    Raises:
        NotEnoughDataError: There is none.
        ContractError: The look-ahead audit found a value that could not have been known.
        QueryError: The session has no `option_chain`, or `at` has no zone.
    """
    _check_zone(at)
    for hours in reversed(list(_sessions(session, exchange, until=at))):
        rows = newest_features(session, hours, symbol, at)
        if rows.num_rows:
            row = _frame_columns(join_app_features(session, hours, rows))
            values = row.to_pylist()[0]
            return FeatureRow(
                values["event_time"], exchange, symbol, {name: values[name] for name in feature_names(row)}
            )
    raise NotEnoughDataError(
        f"no chain of {symbol} in a session of {exchange} was known at {at:%Y-%m-%d %H:%M:%S %Z}"
    )


def feature_names(rows: pa.Table) -> tuple[str, ...]:
    """Names of the columns of a frame's rows that are features, in their order."""
    return tuple(name for name in rows.column_names if name not in _NO_FEATURES)


def _sessions(session: Session, exchange: str, *, until: datetime | None = None) -> Iterator[Hours]:
    """The sessions that the lake has chains of, oldest first; dates without a session are left out."""
    if exchange not in EXCHANGES:
        raise QueryError(f"{exchange!r} is no exchange; known: {', '.join(EXCHANGES)}")
    calendar = ReferenceData.load(session.lake.root).calendar
    last = None if until is None else calendar.session_date(exchange, until)
    for day in _dates(session, exchange):
        hours = calendar.session(exchange, day)
        if hours is not None and (last is None or day <= last):
            yield Hours(exchange, day, hours.open.astimezone(UTC), hours.close.astimezone(UTC))


def _dates(session: Session, exchange: str) -> list[date]:
    found = session.table(
        f"SELECT date FROM {OPTION_CHAIN.table}_partitions WHERE exchange = $exchange ORDER BY date",
        {"exchange": exchange},
    )
    dates: list[date] = found.column("date").to_pylist()
    return dates


def _frame_columns(rows: pa.Table) -> pa.Table:
    """Keys, features as float64, and what a label adds; times in UTC."""
    columns: dict[str, pa.ChunkedArray] = {
        "event_time": rows.column("event_time").cast(UTC_MICROSECONDS),
        "date": rows.column("date"),
        "exchange": rows.column("exchange"),
        "symbol": rows.column("symbol"),
    }
    columns |= {name: rows.column(name).cast(pa.float64()) for name in feature_names(rows)}
    columns |= {name: rows.column(name) for name in ("forward_return", "label") if name in rows.column_names}
    return pa.table(columns)


def _check_zone(at: datetime | None) -> None:
    if at is not None and at.tzinfo is None:
        raise QueryError(f"the moment {at} has no zone")


def _check_terms(terms: LabelTerms) -> None:
    if terms.horizon <= timedelta(0):
        raise QueryError(f"the horizon of a label must be positive, not {terms.horizon}")
    if not terms.threshold >= 0:
        raise QueryError(f"the threshold of a label must not be negative, not {terms.threshold}")


def _why_empty(
    session: Session, exchange: str, symbols: Sequence[str], terms: LabelTerms, sessions: int
) -> str:
    stored = _dates(session, exchange)
    what = f"{', '.join(symbols)} of {exchange}" if symbols else exchange
    if not stored:
        return f"no chains of {exchange}: nothing to make features of"
    if not sessions:
        return f"no session of {exchange} on {_listed(stored)}: add it to calendar.csv if there was one"
    return (
        f"no label for {what} in {sessions} sessions: a row needs prices of the underlying for fifteen "
        f"minutes before it and for {terms.horizon} after it, within the session"
    )


def _listed(dates: list[date]) -> str:
    shown = ", ".join(map(str, dates[:3]))
    return shown if len(dates) <= 3 else f"{shown} and {len(dates) - 3} more dates"
