"""Features of updates -> Arrow rows of `ml_features`, one float64 column a feature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.contracts import ML_FEATURES
from catalog.exchanges import canonical_symbol
from ingest.events import FEATURE_TABLE, ChainUpdate, Reject
from ingest.live_values import moment_of, number, shown

MAX_FEATURES = 2_000
"""Features in one update; more are a mistake (a key made from a value) and would widen the table for ever."""

_SCHEMA = pa.schema([f for f in ML_FEATURES.schema if f.name != "batch_id"])
_RESERVED = frozenset(name.casefold() for name in ML_FEATURES.schema.names)
# Delta refuses the first row of characters in a column name; the others would need quoting everywhere.
_BAD_IN_NAMES = frozenset(" ,;{}()\n\t=" + "\"'`:/\\%")
_MAX_NAME = 200


class FeatureRows:
    """Collects features of one exchange; updates with equal names share one block."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._values: dict[tuple[str, ...], list[Any]] = {}
        self._keys: dict[tuple[str, ...], list[tuple[ChainUpdate, datetime, date]]] = {}

    def add(self, update: ChainUpdate, moment: datetime, day: date) -> Reject | None:
        """Collect the features of one update; the reject if they cannot be a row."""
        features = update.features
        if not isinstance(features, Mapping):
            return Reject(
                "bad_features",
                f"features are a {type(features).__name__}, not a mapping",
                features,
                FEATURE_TABLE,
            )
        names = tuple(features)
        problem = _names_problem(names)
        if problem:
            return Reject(*problem, dict(features), FEATURE_TABLE)
        values: Any = list(features.values())
        try:
            values = np.array(values, dtype=np.float64)
        except Exception:  # noqa: BLE001 - `__float__` of the app's object may raise anything
            values = None
        if values is None or values.ndim != 1:
            values = np.empty(len(names))
            for index, name in enumerate(names):
                try:
                    values[index] = number(features[name])
                except ValueError as error:
                    return Reject("bad_number", f"{name}: {error}", dict(features), FEATURE_TABLE)
        for index in np.flatnonzero(np.isinf(values)).tolist():
            detail = f"{names[index]}: {values[index]} breaks: must be finite"
            return Reject("contract", detail, dict(features), FEATURE_TABLE)
        self._values.setdefault(names, []).append(values)
        self._keys.setdefault(names, []).append((update, moment, day))
        return None

    def finish(self) -> pa.Table | None:
        """Rows of everything collected; a feature that an update lacks is null."""
        tables = [self._block(names, keys) for names, keys in self._keys.items()]
        return pa.concat_tables(tables, promote_options="default") if tables else None

    def _block(self, names: tuple[str, ...], keys: list[tuple[ChainUpdate, datetime, date]]) -> pa.Table:
        columns = [
            pa.array([day for _, _, day in keys], pa.date32()),
            pa.repeat(self._exchange, len(keys)),
            pa.array([moment for _, moment, _ in keys], pa.timestamp("us", tz="UTC")),
            pa.array([moment_of(update.received_ns) for update, _, _ in keys], pa.timestamp("us", tz="UTC")),
            pa.array([canonical_symbol(update.symbol) for update, _, _ in keys], pa.string()),
            pa.array([str(update.source) for update, _, _ in keys], pa.string()),
        ]
        matrix = np.array(self._values[names])
        columns += [pa.array(matrix[:, index], from_pandas=True) for index in range(len(names))]
        return pa.Table.from_arrays(columns, names=[*_SCHEMA.names, *names])


@lru_cache(maxsize=256)
def _names_problem(names: tuple[Any, ...]) -> tuple[str, str] | None:
    """Reason and detail of what is wrong with feature names."""
    if len(names) > MAX_FEATURES:
        return "too_many_features", f"{len(names)} features; at most {MAX_FEATURES} are kept"
    folded: set[str] = set()
    for name in names:
        plain = isinstance(name, str) and name.isprintable() and not _BAD_IN_NAMES & set(name)
        if not plain or not 0 < len(name) <= _MAX_NAME:
            return "bad_feature_name", f"{shown(name)} cannot be a column name"
        low = name.casefold()
        if low in _RESERVED:
            return "bad_feature_name", f"{name!r} is a column of the table already"
        if low in folded:
            return "bad_feature_name", f"{name!r} is there twice but for upper and lower case"
        folded.add(low)
    return None
