"""Features and labels of one session: the files of `sql/features/`, run one after the other.

Each file is one step. Its rows are kept in memory and stand under the file's name for the steps after it, so
no step is computed twice; legs are read twice, to see which chains there are, and for their figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from explain.frame import LabelTerms
from lake.queries import QUERIES, load_query
from lake.session import Session

FOLDER = QUERIES / "features"

SPAN = timedelta(minutes=30)
"""How far back a row of features looks at most: fifteen minutes, half as long again, and some more."""

_SYMBOLS = "feature_symbols"
_CHAINS = "feature_chains"
_STEPS = ("feature_strikes", "feature_figures", "feature_rows", "feature_changes", "feature_volatility")
_FEATURES, _LABELS = "features", "labels"
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Hours:
    """One session of one exchange.

    Attributes:
        exchange: `NSE` or `BSE`.
        date: Session date.
        open: When it opens, aware.
        close: When it closes, aware.
    """

    exchange: str
    date: date
    open: datetime
    close: datetime


def session_features(
    session: Session, hours: Hours, *, symbols: Sequence[str] = (), at: datetime | None = None
) -> pa.Table:
    """Every row of features of one session, as `sql/features/features.sql` has it.

    Args:
        session: The lake.
        hours: Which session.
        symbols: Underlyings; none for all there are.
        at: Only what was known then.
    """
    with _Steps(session, hours, symbols, at) as steps:
        return steps.features()


def newest_features(session: Session, hours: Hours, symbol: str, at: datetime) -> pa.Table:
    """The newest row of features of one symbol that was known at a moment; none if there is none.

    It is the last row that `session_features` would give; only what it looks back at is read.
    """
    with _Steps(session, hours, [symbol], at) as steps:
        steps.keep_newest()
        rows = steps.features()
        return rows.slice(max(rows.num_rows - 1, 0))


def labelled_features(
    session: Session, hours: Hours, terms: LabelTerms, *, symbols: Sequence[str] = ()
) -> pa.Table:
    """The rows of features of one session that have a label, with `forward_return` and `label`."""
    with _Steps(session, hours, symbols, None) as steps:
        return steps.labelled(terms)


class _Steps:
    """The steps so far, registered by name; what they left in the session is gone at the end."""

    def __init__(self, session: Session, hours: Hours, symbols: Sequence[str], at: datetime | None) -> None:
        self._session = session
        self._names: list[str] = []
        self._parameters: dict[str, Any] = {
            "exchange": hours.exchange,
            "date": hours.date,
            "open": hours.open,
            "close": hours.close,
            "known_by": _NEVER if at is None else at,
        }
        self._wanted = tuple(symbols)
        self.chains = pa.table({})

    def __enter__(self) -> _Steps:
        try:
            self._keep(_SYMBOLS, self._symbols())
            self.chains = self._run(_CHAINS)
            self._keep(_CHAINS, self.chains)
        except BaseException:
            self._forget()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def keep_newest(self) -> None:
        """Leave out the chains that the newest row of features does not look at."""
        near = self.chains.filter(self.chains.column("is_near"))
        if near.num_rows:
            times = self.chains.column("event_time")
            newest = pc.max(near.column("event_time"))
            self.chains = self.chains.filter(pc.greater_equal(times, pc.subtract(newest, pa.scalar(SPAN))))
            self._keep(_CHAINS, self.chains)

    def features(self) -> pa.Table:
        for name in _STEPS:
            self._keep(name, self._run(name))
        return self._run(_FEATURES)

    def labelled(self, terms: LabelTerms) -> pa.Table:
        self._keep(_FEATURES, self.features())
        self._parameters |= {
            "horizon_us": terms.horizon // timedelta(microseconds=1),
            "threshold": terms.threshold,
        }
        self._keep(_LABELS, self._run(_LABELS))
        return self._session.table(
            f"SELECT {_FEATURES}.*, forward_return, label FROM {_FEATURES} INNER JOIN {_LABELS} USING (chain)"
            " ORDER BY event_time, symbol"
        )

    def _symbols(self) -> pa.Table:
        if self._wanted:
            return pa.table({"symbol": pa.array(self._wanted, pa.string())})
        return self._session.table(
            "SELECT DISTINCT symbol FROM option_chain WHERE date = $date AND exchange = $exchange",
            {name: self._parameters[name] for name in ("date", "exchange")},
        )

    def _run(self, name: str) -> pa.Table:
        query = load_query(FOLDER / f"{name}.sql")
        return self._session.table(query.sql, {n: self._parameters[n] for n in query.parameters})

    def _keep(self, name: str, rows: pa.Table) -> None:
        self._session.connection.register(name, rows)
        self._names.append(name)

    def _forget(self) -> None:
        for name in set(self._names):
            self._session.connection.unregister(name)
        self._names = []
