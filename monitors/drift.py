"""The cheap drift pass: live features against the reference profile of the model's training dataset.

Every 25 minutes of a session a window ends. Of each symbol and feature its last 100 minutes are compared with
the same 100 minutes of the reference sessions, by three statistics that share one chance of a false alarm:

    level     the mean normal score: a shift
    psi       the population stability index over deciles or categories: another shape
    step      a lasting step against the feature's own course: a jump of a slow feature

and by rules that leave nothing to chance: columns that are missing, all-NaN, infinite, constant, out of
range, too often missing, or of unseen categories.

A window that is flagged is no breach yet: see `monitors.drift_breaches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.calendar import SessionCalendar
from monitors.drift_grid import (
    CELLS,
    SLOTS,
    WINDOW_SLOTS,
    Grid,
    feature_columns,
    lay_out,
    missing_share,
    window_slots,
    window_times,
)
from monitors.drift_profile import (
    LEAST_SESSIONS,
    PSI_FLOOR,
    DriftProfile,
    FeatureProfile,
    bin_counts,
    log_psi,
    log_step,
    mean_of,
    normal_scores,
    spread_from,
    without_course,
)
from monitors.drift_tests import (
    Floats,
    Spread,
    critical_t,
    population_stability_index,
    prediction_p_value,
    prediction_t,
    step_statistic,
)

ALPHA = 0.05
"""Chance that a window of one feature is flagged though nothing drifted; each statistic has a third of it."""

MINOR_PSI = 0.1
"""A PSI below is no drift, however sure it is: the usual rule of credit scoring."""

MINOR_STEP = 3.0
"""Standard errors below which a step is none, however quiet the reference was."""

MORE_MISSING = 0.1
"""How much more may be missing than in the worst reference session, as a share of the rows."""

UNSEEN_SHARE = OUT_OF_RANGE_SHARE = 0.05
"""Share of rows that may be of unseen categories, or out of range, before it is drift."""

STATISTICS = ("level", "psi", "step")
SESSIONS = "level_of_sessions"
EVIDENTLY = "evidently_"
"""Prefix of the methods of Evidently's reports."""

ALL_SYMBOLS = "*"
"""Symbol of a score that is of all underlyings together."""


@dataclass(frozen=True, slots=True)
class DriftScore:
    """What one method says of one window of one feature.

    Attributes:
        window_start: UTC.
        window_end: UTC.
        date: Session date, that of the last session of several.
        exchange: `NSE` or `BSE`.
        symbol: Underlying.
        feature: Name.
        method: `level`, `psi`, `step`, `level_of_sessions`, `missing`, `unseen`, `out_of_range`,
            `infinite`, `constant`, `column`, or `evidently_...`.
        score: Of `level` Student's t with its sign, of `psi` the PSI, of `step` standard errors, of the
            others a share of rows; None where it could not be computed, see `verdict`.
        threshold: What the score, without its sign, must exceed to be flagged; None if nothing can.
        p_value: Chance of such a score without drift; None where it is a rule and not a statistic.
        effective_n: Independent rows that the window is worth; None where that plays no part.
        drifted: True if flagged.
        verdict: `ok`, `drift`, or why there is no score: `too_few_rows`, `reference_too_short`,
            `reference_empty`; of `column`: `missing_column`, `new_column`, `new_values`; of `missing` also
            `all_missing`.
        row_count: Rows of the window that have a value.
        dataset: The reference.
    """

    window_start: datetime
    window_end: datetime
    date: date
    exchange: str
    symbol: str
    feature: str
    method: str
    score: float | None
    threshold: float | None
    p_value: float | None
    effective_n: float | None
    drifted: bool
    verdict: str
    row_count: int
    dataset: str


def check_drift(
    profile: DriftProfile,
    rows: pa.Table,
    calendar: SessionCalendar,
    *,
    at: datetime | None = None,
    alpha: float = ALPHA,
) -> list[DriftScore]:
    """Score the newest window that has ended.

    Args:
        profile: The reference.
        rows: Live features: event_time, date, exchange, symbol and one column a feature, of the session so
            far; rows of other sessions, exchanges and symbols the profile does not have are left out.
        calendar: When sessions open and close.
        at: The moment it is, with zone; by default that of the newest row.
        alpha: Chance that a window of a feature is flagged by chance.

    Returns:
        For each symbol of the profile and feature one score a method that applies; nothing if no window of
        the session of that date has ended. A symbol without any row in the window has `too_few_rows` for
        every feature: whether that is a breach is up to the rules for feeds.

    Raises:
        SchemaMismatchError: A key column is missing.
    """
    if at is None:
        newest = pc.max(rows.filter(pc.equal(rows.column("exchange"), profile.exchange)).column("event_time"))
        if not newest.is_valid:
            return []
        at = newest.cast(pa.timestamp("us", tz="UTC")).as_py()
    session = calendar.session(profile.exchange, calendar.session_date(profile.exchange, at))
    if session is None:
        return []
    number = min(int((at - session.open) / (session.close - session.open) * SLOTS), SLOTS)
    if number < 1:
        return []
    start, end = window_times(session, number)
    today = rows.filter(pc.equal(rows.column("date"), pa.scalar(session.date, pa.date32())))
    grids = dict(lay_out(today, profile.exchange, (*profile.features, *_new(profile, rows)), calendar))
    found: list[DriftScore] = []
    for symbol, features in profile.symbols.items():
        window = _Window(start, end, session.date, profile, symbol, number, alpha)
        found += window.scores(grids.get(symbol, _EMPTY), features, set(rows.column_names))
    return found


def check_sessions(
    profile: DriftProfile,
    rows: pa.Table,
    calendar: SessionCalendar,
    *,
    sessions: int = 5,
    alpha: float = ALPHA,
) -> list[DriftScore]:
    """Score the mean level of the last whole sessions: what is too small a shift for one of them.

    Args:
        profile: The reference.
        rows: Live features of those sessions, as for `check_drift`.
        calendar: When sessions open and close.
        sessions: How many of the newest sessions in `rows` count.
        alpha: Chance that a feature is flagged by chance.

    Returns:
        One score a symbol and feature, `level_of_sessions`; a feature that lacks in half of the rows of its
        sessions, or has no reference, is left out.
    """
    found = []
    for symbol, grid in lay_out(rows, profile.exchange, profile.features, calendar):
        last = grid.sessions[-sessions:]
        first, final = (calendar.session(profile.exchange, day) for day in (last[0], last[-1]))
        if first is None or final is None:
            continue
        window = _Window(
            window_times(first, 1)[0], window_times(final, SLOTS)[1], last[-1], profile, symbol, SLOTS, alpha
        )
        for name, feature in profile.symbols.get(symbol, {}).items():
            if name in grid.values and _has_spread(feature):
                score = window.level_of_sessions(name, feature, grid.values[name][-sessions:])
                if score is not None:
                    found.append(score)
    return found


_EMPTY = Grid((), np.zeros((0, CELLS), dtype=np.bool_), {}, {})


@dataclass(frozen=True, slots=True)
class _Window:
    start: datetime
    end: datetime
    date: date
    profile: DriftProfile
    symbol: str
    number: int
    alpha: float

    def scores(
        self, grid: Grid, features: dict[str, FeatureProfile], columns: set[str]
    ) -> Iterator[DriftScore]:
        cells = window_slots(self.number)
        present = grid.present[-1] if grid.sessions else np.zeros(CELLS, dtype=np.bool_)
        measurable: list[str] = []
        for name, feature in features.items():
            if name not in columns:
                yield self._score(name, "column", 1.0, 0.0, drifted=True, verdict="missing_column")
                continue
            if not present[cells].any():
                yield self._without(name, "too_few_rows", 0)
                continue
            values, infinite = grid.values[name][-1], grid.infinite[name][-1][cells]
            count = int(np.isfinite(values[cells]).sum())
            yield from self._rules(name, feature, values[cells], present[cells], infinite)
            if feature.kind == "empty":
                if count:
                    yield self._score(name, "column", 1.0, 0.0, count, drifted=True, verdict="new_values")
            elif feature.kind == "constant":
                continue
            elif count < max(5.0, feature.rows[self.number - 1] / 2):
                yield self._without(name, "too_few_rows", count)
            elif not _has_spread(feature):
                yield self._without(name, "reference_too_short", count)
            else:
                measurable.append(name)
        if measurable:
            yield from self._statistics({name: features[name] for name in measurable}, grid)
        for name in _new_in(grid, features):
            yield self._score(name, "column", 0.0, None, drifted=False, verdict="new_column")

    def _rules(
        self,
        name: str,
        feature: FeatureProfile,
        values: Floats,
        present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
        infinite: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    ) -> Iterator[DriftScore]:
        """Rules that need no statistic; each with a threshold of its own."""
        known = values[np.isfinite(values)]
        count = len(known)
        share = float(missing_share(values, present))
        limit = min(float(feature.missing[self.number - 1]) + MORE_MISSING, 1.0)
        yield self._score(
            name, "missing", share, limit, count, drifted=share > limit,
            verdict="all_missing" if not count else "",
        )  # fmt: skip
        if infinite.any():
            bad = float(infinite.sum() / present.sum())
            limit = 1.0 if feature.infinite else 0.0
            yield self._score(name, "infinite", bad, limit, count, drifted=bad > limit)
        if not count or feature.kind == "empty":
            return
        if feature.kind == "number":
            low, high = feature.knots[0], feature.knots[-1]
            beyond = (known > high + (high - low)) | (known < low - (high - low))
            share = float(beyond.mean())
            yield self._score(
                name, "out_of_range", share, OUT_OF_RANGE_SHARE, count, drifted=share > OUT_OF_RANGE_SHARE
            )
            if known.min() == known.max() and count >= max(5.0, feature.rows[self.number - 1] / 2):
                # Where windows of the reference were constant now and then, so may this one be.
                limit = 1.0 if feature.constant else 0.0
                yield self._score(name, "constant", 1.0, limit, count, drifted=not feature.constant)
        else:
            share = float((~np.isin(known, feature.categories)).mean())
            yield self._score(name, "unseen", share, UNSEEN_SHARE, count, drifted=share > UNSEEN_SHARE)

    def _statistics(self, features: dict[str, FeatureProfile], grid: Grid) -> Iterator[DriftScore]:
        """The three statistics, of all features at once."""
        cells, place = window_slots(self.number), self.number - 1
        names, profiles = list(features), list(features.values())
        values = np.stack([grid.values[name][-1] for name in names])
        scores = np.stack([normal_scores(row, p) for row, p in zip(values, profiles, strict=True)])
        count = np.isfinite(values[:, cells]).sum(axis=1)
        # Fewer rows than the reference had make every mean and every share less certain.
        fewer = np.minimum(1.0, count / np.maximum([p.rows[place] for p in profiles], 1.0))

        level = spread_from(np.array([p.level[place] for p in profiles]))
        t_level = prediction_t(mean_of(scores[:, cells]), level) * np.sqrt(fewer)

        live = [bin_counts(row[cells], p.edges) for row, p in zip(values, profiles, strict=True)]
        reference = [p.shares[place] for p in profiles]
        index = np.array(
            [float(population_stability_index(a, b)) for a, b in zip(live, reference, strict=True)]
        )
        index *= fewer
        psi = spread_from(np.array([p.psi[place] for p in profiles]))
        t_psi = prediction_t(log_psi(index), psi)

        centred = np.stack([without_course(s, p.course) for s, p in zip(scores, profiles, strict=True)])
        phi = np.array([[p.phi] for p in profiles])
        evidence = step_statistic(centred[:, : cells.stop], phi, cells.start)
        step = spread_from(np.array([p.step[place] for p in profiles]))
        t_step = prediction_t(log_step(evidence), step)

        share = self.alpha / len(STATISTICS)
        limit_level = critical_t(share, level, two_sided=True)
        limit_psi = np.exp(_limit(psi, share)) - PSI_FLOOR
        limit_step = np.maximum(np.exp(_limit(step, share)), MINOR_STEP)
        limit_psi = np.maximum(limit_psi, MINOR_PSI)
        p_values = (
            prediction_p_value(t_level, level, two_sided=True),
            prediction_p_value(t_psi, psi, two_sided=False),
            prediction_p_value(t_step, step, two_sided=False),
        )
        found = ((t_level, limit_level), (index, limit_psi), (evidence, limit_step))
        worth = np.minimum(count, 1 / level.std**2)
        for number, name in enumerate(names):
            for method, (score, limit), p_value in zip(STATISTICS, found, p_values, strict=True):
                yield self._score(
                    name, method, float(score[number]), float(limit[number]), int(count[number]),
                    p_value=float(p_value[number]), effective_n=float(worth[number]),
                    drifted=bool(abs(score[number]) > limit[number]),
                )  # fmt: skip

    def level_of_sessions(self, name: str, feature: FeatureProfile, values: Floats) -> DriftScore | None:
        usual = feature.rows[SLOTS - 1] * SLOTS / WINDOW_SLOTS
        enough = np.isfinite(values).sum(axis=1) >= usual / 2
        if not enough.any():
            return None
        means = mean_of(normal_scores(values[enough], feature))
        spread = spread_from(feature.session_level)
        # Sessions that resemble one another are worth fewer.
        windows = max(1.0, len(means) * float(spread.sessions) / len(self.profile.sessions))
        t = prediction_t(means.mean(), spread, windows=windows)
        limit = critical_t(self.alpha, spread, two_sided=True)
        return self._score(
            name, SESSIONS, float(t), float(limit), int(np.isfinite(values).sum()),
            p_value=float(prediction_p_value(t, spread, two_sided=True)), effective_n=windows,
            drifted=bool(abs(t) > limit),
        )  # fmt: skip

    def _without(self, name: str, verdict: str, rows: int) -> DriftScore:
        return self._score(name, "level", None, None, rows, drifted=False, verdict=verdict)

    def _score(
        self,
        name: str,
        method: str,
        score: float | None,
        threshold: float | None,
        rows: int = 0,
        *,
        drifted: bool,
        verdict: str = "",
        p_value: float | None = None,
        effective_n: float | None = None,
    ) -> DriftScore:
        return DriftScore(
            window_start=self.start, window_end=self.end, date=self.date, exchange=self.profile.exchange,
            symbol=self.symbol, feature=name, method=method, score=score, threshold=threshold,
            p_value=p_value, effective_n=effective_n, drifted=drifted,
            verdict=verdict or ("drift" if drifted else "ok"), row_count=rows, dataset=self.profile.dataset,
        )  # fmt: skip


def _limit(spread: Spread, alpha: float) -> Floats:
    """The value that one more observation exceeds with a chance of alpha."""
    scale = spread.std * np.sqrt(1 + 1 / np.maximum(spread.sessions, 1))
    return np.asarray(spread.mean + critical_t(alpha, spread, two_sided=False) * scale)


def _has_spread(feature: FeatureProfile) -> bool:
    return feature.kind in {"number", "categories"} and feature.sessions >= LEAST_SESSIONS


def _new(profile: DriftProfile, rows: pa.Table) -> Sequence[str]:
    return [name for name in feature_columns(rows) if name not in profile.features]


def _new_in(grid: Grid, features: dict[str, FeatureProfile]) -> Sequence[str]:
    return [name for name in grid.values if name not in features]
