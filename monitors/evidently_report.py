"""Evidently's report of live features against the training dataset: something to look at, and its scores.

Evidently is imported here and nowhere else, when a report is made. Its own thresholds know nothing of
autocorrelation (on features without drift they flag two thirds and more), so each feature gets one from how
far the reference's own sessions are from one another.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.durability import replace_durably
from lake.errors import NotEnoughDataError, SchemaMismatchError
from monitors.drift import ALL_SYMBOLS, ALPHA, EVIDENTLY, DriftScore
from monitors.drift_grid import KEYS, as_floats, feature_columns
from monitors.drift_profile import LEAST_LOG, LEAST_SESSIONS
from monitors.drift_tests import Floats, critical_t, spread_of

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 1000
"""Rows a side: of 10 rows of the very same data Evidently flags every feature."""

MOST_ROWS = 20_000
"""Rows a side that are looked at, evenly chosen: a million rows take five minutes and 2.9 GB."""

METHOD = "wasserstein"
"""Wasserstein distance over the reference's standard deviation. Evidently's psi, jensenshannon and hellinger
have bins of equal width, in which one outlier hides a shift."""

DAILY_KEPT, FIRED_KEPT = 10, 20
"""Reports kept of an exchange: of 6.5 MB each, 200 MB in all."""

_FLOOR = 0.01

MINOR_DISTANCE = 0.1
"""Standard deviations below which a distance is no drift, however alike the reference's sessions are:
Evidently's own threshold."""

_STALE_S = 86_400.0

Occasion = Literal["daily", "drift"]


@dataclass(frozen=True, slots=True)
class EvidentlyReport:
    """What came of a report.

    Attributes:
        scores: One a feature that could be compared, with symbol `*` or the one that was asked for.
        left_out: Features that Evidently cannot compare, with the reason.
        html: The report.
    """

    scores: tuple[DriftScore, ...]
    left_out: Mapping[str, str]
    html: Path


def report_drift(
    reference: pa.Table,
    live: pa.Table,
    folder: Path,
    *,
    exchange: str,
    dataset: str,
    occasion: Occasion,
    symbol: str | None = None,
    features: Sequence[str] | None = None,
    alpha: float = ALPHA,
    now: datetime | None = None,
) -> EvidentlyReport:
    """Compare live rows with the training dataset's, and keep the HTML.

    Args:
        reference: Rows the model was trained on: event_time, date, exchange, symbol, features.
        live: Rows to compare, at least `LEAST_ROWS`: the session, or the last ones.
        folder: For HTML; of `daily` one a session date, of `drift` one a report. What is beyond
            `DAILY_KEPT` and `FIRED_KEPT` of the exchange is removed, the oldest first.
        exchange: Whose rows are compared.
        dataset: Name of the training dataset.
        occasion: Why it is made.
        symbol: Only this underlying; by default all that both sides have, together.
        features: Columns; by default all numbers of the reference.
        alpha: Chance that a feature is flagged by chance.
        now: The moment it is.

    Raises:
        NotEnoughDataError: A side has fewer than `LEAST_ROWS` rows, or no feature can be compared.
        SchemaMismatchError: A key column is missing.
        OSError: The disk is full or failed; no part of a report is left.
    """
    names = tuple(features) if features is not None else feature_columns(reference)
    past, current = _comparable_rows(reference, live, exchange, symbol)
    for side, rows in (("the training dataset", past), ("the live side", current)):
        if rows.num_rows < LEAST_ROWS:
            raise NotEnoughDataError(
                f"Evidently's report needs {LEAST_ROWS:,} rows of {exchange} a side; {side} has "
                f"{rows.num_rows:,}"
            )
    sides = {name: (_column(past, name), _column(current, name)) for name in names}
    left_out = {name: why for name, (a, b) in sides.items() if (why := _why_not(a, b))}
    left_out |= {name: "not in the training dataset" for name in feature_columns(live) if name not in names}
    sides = {name: columns for name, columns in sides.items() if name not in left_out}
    if not sides:
        raise NotEnoughDataError(f"no feature of {exchange} can be compared: {left_out}")
    sessions = past.column("date").to_numpy(zero_copy_only=False)
    limits = {name: threshold(a, sessions, alpha=alpha) for name, (a, _) in sides.items()}
    distances, html = _run(sides, limits)

    window = _Window.of(current)
    scores = tuple(
        DriftScore(
            window_start=window.start, window_end=window.end, date=window.date, exchange=exchange,
            symbol=symbol or ALL_SYMBOLS, feature=name, method=EVIDENTLY + METHOD, score=distances[name],
            threshold=None if math.isinf(limits[name]) else limits[name], p_value=None, effective_n=None,
            drifted=(distances[name] or 0.0) > limits[name],
            verdict=_verdict(distances[name], limits[name]),
            row_count=int(np.isfinite(current_side).sum()), dataset=dataset,
        )
        for name, (_, current_side) in sides.items()
    )  # fmt: skip
    file = report_file(folder, exchange, occasion, window.date, now or datetime.now(UTC), symbol)
    replace_durably(file, html.encode())
    prune(folder / exchange)
    return EvidentlyReport(scores, left_out, file)


def wasserstein_distance(current: Floats, reference: Floats) -> float:
    """Area between two distribution functions, over the standard deviation of the reference.

    As Evidently computes it (`scipy.stats.wasserstein_distance` over the population's std, at least 0.001).

    Args:
        current: Values, without NaN.
        reference: Values, without NaN.
    """
    everything = np.sort(np.concatenate([current, reference]))
    steps = np.diff(everything)
    below_current = np.searchsorted(np.sort(current), everything[:-1], side="right") / len(current)
    below_reference = np.searchsorted(np.sort(reference), everything[:-1], side="right") / len(reference)
    area = float((np.abs(below_current - below_reference) * steps).sum())
    return area / max(float(reference.std()), 0.001)


def threshold(values: Floats, sessions: np.ndarray[Any, Any], *, alpha: float = ALPHA) -> float:
    """The distance that one more session exceeds with a chance of alpha, by each session left out in turn.

    More than one live session is nearer to the reference, so the threshold is on the safe side.

    Args:
        values: A feature of the reference, NaN where there is none.
        sessions: Of each value the session.
        alpha: Chance of a false alarm.

    Returns:
        Infinite with fewer than `LEAST_SESSIONS` sessions: nothing can be flagged then.
    """
    known = np.isfinite(values)
    values, sessions = values[known], sessions[known]
    found = []
    for session in np.unique(sessions):
        one = sessions == session
        if one.any() and not one.all():
            found.append(math.log(wasserstein_distance(values[one], values[~one]) + _FLOOR))
    if len(found) < LEAST_SESSIONS:
        return math.inf
    spread = spread_of(np.array(found), least=LEAST_LOG)
    scale = float(spread.std) * math.sqrt(1 + 1 / float(spread.sessions))
    limit = math.exp(float(spread.mean) + float(critical_t(alpha, spread, two_sided=False)) * scale) - _FLOOR
    return max(limit, MINOR_DISTANCE)


def prune(folder: Path, *, daily: int = DAILY_KEPT, fired: int = FIRED_KEPT) -> list[Path]:
    """Remove the oldest reports beyond the numbers kept, and what a killed run left half-written.

    Args:
        folder: The reports of one exchange.
        daily: Daily ones kept.
        fired: Kept of those made when drift fired.

    Returns:
        What was removed.
    """
    stale = time.time() - _STALE_S
    removed = [draft for draft in folder.glob(".*.tmp") if draft.stat().st_mtime < stale]
    for pattern, kept in (("daily-*.html", daily), ("drift-*.html", fired)):
        # The date and time in the name put them in order.
        removed += sorted(folder.glob(pattern))[: -kept or None]
    for file in removed:
        file.unlink(missing_ok=True)
    return removed


@dataclass(frozen=True, slots=True)
class _Window:
    start: datetime
    end: datetime
    date: date

    @classmethod
    def of(cls, rows: pa.Table) -> _Window:
        span = pc.min_max(rows.column("event_time").cast(pa.timestamp("us", tz="UTC"))).as_py()
        return cls(span["min"], span["max"], pc.max(rows.column("date")).as_py())


def _comparable_rows(
    reference: pa.Table, live: pa.Table, exchange: str, symbol: str | None
) -> tuple[pa.Table, pa.Table]:
    """Rows of the underlyings that both sides have, evenly thinned, in the order of time."""
    for rows in (reference, live):
        lacking = [name for name in KEYS if name not in rows.column_names]
        if lacking:
            raise SchemaMismatchError(f"rows of features lack {', '.join(lacking)}")
    sides = [rows.filter(pc.equal(rows.column("exchange"), exchange)) for rows in (reference, live)]
    common = [symbol] if symbol is not None else sides[0].column("symbol").unique()
    for rows in sides:
        common = pc.filter(pa.array(common), pc.is_in(pa.array(common), rows.column("symbol").unique()))
    return _thinned(sides[0], common), _thinned(sides[1], common)


def _thinned(rows: pa.Table, symbols: pa.Array) -> pa.Table:
    rows = rows.filter(pc.is_in(rows.column("symbol"), symbols)).sort_by("event_time")
    if rows.num_rows <= MOST_ROWS:
        return rows
    return rows.take(np.linspace(0, rows.num_rows - 1, MOST_ROWS).astype(np.int64))


def _column(rows: pa.Table, name: str) -> Floats:
    """Values as float64, which is what Evidently takes without crashing; infinite ones are NaN."""
    if name not in rows.column_names:
        return np.full(rows.num_rows, np.nan)
    values = as_floats(rows.column(name))
    return np.where(np.isfinite(values), values, np.nan)


def _why_not(reference: Floats, live: Floats) -> str:
    for side, values in (("the training dataset", reference), ("the live rows", live)):
        if not np.isfinite(values).any():
            return f"no finite value in {side}"
    if np.nanmin(reference) == np.nanmax(reference):
        return "constant in the training dataset"
    return ""


def _verdict(distance: float | None, limit: float) -> str:
    if distance is None:
        return "no_score"
    if math.isinf(limit):
        return "reference_too_short"
    return "drift" if distance > limit else "ok"


def _run(
    sides: Mapping[str, tuple[Floats, Floats]], limits: Mapping[str, float]
) -> tuple[dict[str, float | None], str]:
    """Evidently's distance of each feature, and its page."""
    # Read by Evidently when it is imported.
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        # Its own imports use what numpy and litestar have deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset
    import pandas as pd

    definition = DataDefinition(numerical_columns=list(sides))

    def dataset(side: int) -> Dataset:
        frame: pd.DataFrame = pd.DataFrame({name: columns[side] for name, columns in sides.items()})
        return Dataset.from_pandas(frame, data_definition=definition)

    # Evidently takes no infinity into a page.
    shown = {name: limit if math.isfinite(limit) else 1e9 for name, limit in limits.items()}
    preset = DataDriftPreset(num_method=METHOD, per_column_threshold=shown)
    report = Report([preset], include_tests=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        snapshot = report.run(dataset(1), dataset(0))
        html = snapshot.get_html_str(as_iframe=False)
    distances: dict[str, float | None] = {}
    for metric in snapshot.dict()["metrics"]:
        column = metric["config"].get("column")
        if column is not None:
            value = float(metric["value"])
            distances[column] = value if math.isfinite(value) else None
    return distances, html


def report_file(
    folder: Path, exchange: str, occasion: Occasion, day: date, now: datetime, symbol: str | None = None
) -> Path:
    """Where a report is kept: `<exchange>/daily-<date>.html`, `<exchange>/drift-<date>T<time>Z.html`."""
    whose = f"-{symbol}" if symbol else ""
    when = f"{day}" if occasion == "daily" else f"{day}T{now.astimezone(UTC):%H%M%S}Z"
    return folder / exchange / f"{occasion}-{when}{whose}.html"


def newest_report(folder: Path, exchange: str, occasion: Occasion) -> Path | None:
    """The newest report there is, None if there is none."""
    return max((folder / exchange).glob(f"{occasion}-*.html"), default=None)
