"""The reference that live features are compared with, made once from the rows that a model was trained on.

Of every window of `monitors.drift_grid` it knows how the statistics of `monitors.drift_tests` vary from one
session to the next.

Values become normal scores: the rank of a value among the reference's, as a quantile of the normal
distribution. A single outlier then moves nothing, and every feature has the same scale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog.calendar import SessionCalendar
from lake.durability import replace_durably
from lake.errors import MalformedInputError, NotEnoughDataError
from monitors.drift_grid import SLOT_CELLS, SLOTS, feature_columns, lay_out, missing_share, window_slots
from monitors.drift_tests import (
    Floats,
    Spread,
    effective_sample_size,
    lag_one,
    population_stability_index,
    spread_of,
    step_statistic,
)

FORMAT = 1

BINS = 10
CATEGORIES = 10
"""A feature of at most as many different values is one of categories: each is a bin of its own."""

LEAST_SESSIONS = 5
"""Sessions below which chance cannot be told from drift."""

_KNOTS = 41
PSI_FLOOR = 0.02
"""Added before the logarithm of a PSI: below it the logarithm would magnify what is nothing."""

LEAST_LEVEL, LEAST_LOG = 0.05, 0.1
"""Smallest spreads between sessions: of a mean of normal scores, of a logarithm of a statistic."""


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """What one feature of one symbol was like in the reference.

    Attributes:
        kind: `number`, `categories`, `constant` or `empty` (no finite value at all).
        knots: Values, increasing, whose normal scores are known; in between they are interpolated.
        scores: Normal scores of the knots.
        edges: Upper edges of all bins but the last.
        categories: The values there were; empty for a number.
        phi: Autoregression coefficient from one cell to the next, of scores without the mean of their time.
        effective_rows: Independent rows that a session is worth.
        course: Mean score by slot.
        rows: By window, the median over sessions of the rows that have a value.
        shares: Counts by window and bin, of all sessions.
        level: By window, mean, std and effective sessions of the mean score.
        psi: Likewise of log(PSI + `PSI_FLOOR`) of a session against the others.
        step: Likewise of log(step statistic).
        session_level: The three of the mean score of a whole session.
        missing: By window, the largest share of rows without a finite value in any session.
        infinite: True if there were infinite values.
        constant: Share of the sessions' windows with a single value.
        sessions: Sessions with values.
    """

    kind: str
    knots: Floats
    scores: Floats
    edges: Floats
    categories: Floats
    phi: float
    effective_rows: float
    course: Floats
    rows: Floats
    shares: Floats
    level: Floats
    psi: Floats
    step: Floats
    session_level: Floats
    missing: Floats
    infinite: bool
    constant: float
    sessions: int


@dataclass(frozen=True, slots=True)
class DriftProfile:
    """The reference of one exchange.

    Attributes:
        exchange: `NSE` or `BSE`.
        dataset: Name of the training dataset.
        dataset_digest: Its content digest: another dataset of the same name is another reference.
        created_at: When it was made, with zone.
        sessions: Dates, in order.
        features: Names, in the order of the columns.
        symbols: By symbol, by feature.
    """

    exchange: str
    dataset: str
    dataset_digest: str
    created_at: datetime
    sessions: tuple[date, ...]
    features: tuple[str, ...]
    symbols: dict[str, dict[str, FeatureProfile]]

    def to_json(self) -> str:
        """The text of the file; it holds no NaN."""
        values = asdict(self) | {
            "format": FORMAT,
            "created_at": self.created_at.isoformat(),
            "sessions": [str(day) for day in self.sessions],
        }
        values["symbols"] = {
            symbol: {name: _plain(profile) for name, profile in features.items()}
            for symbol, features in self.symbols.items()
        }
        return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def normal_scores(values: Floats, profile: FeatureProfile) -> Floats:
    """Normal scores of values; NaN stays NaN, values beyond the reference's have the outermost score."""
    return np.asarray(np.interp(values, profile.knots, profile.scores))


def bin_counts(values: Floats, edges: Floats) -> Floats:
    """Counts by bin over the last axis; a value equal to an upper edge is in its bin. NaN is not counted."""
    bins = np.searchsorted(edges, values)
    known = np.isfinite(values)
    counts = [((bins == number) & known).sum(axis=-1) for number in range(len(edges) + 1)]
    return np.stack(counts, axis=-1).astype(np.float64)


def without_course(scores: Floats, course: Floats) -> Floats:
    """Scores less the mean of their time of the session, so that a daily pattern is no step."""
    middles = (np.arange(SLOTS) + 0.5) * SLOT_CELLS
    return np.asarray(scores - np.interp(np.arange(scores.shape[-1]) + 0.5, middles, course))


def build_profile(
    rows: pa.Table,
    exchange: str,
    *,
    dataset: str,
    dataset_digest: str,
    calendar: SessionCalendar,
    features: Sequence[str] | None = None,
    now: datetime | None = None,
) -> DriftProfile:
    """Make the reference from the rows that a model was trained on.

    Args:
        rows: `KEYS` and features; one row an update, of any order.
        exchange: Whose rows are meant.
        dataset: Name of the training dataset.
        dataset_digest: Its content digest.
        calendar: When sessions open and close.
        features: Columns; by default all that are numbers. One that the rows lack is profiled as empty.
        now: The moment it is.

    Raises:
        NotEnoughDataError: No row is in a session of the exchange.
        SchemaMismatchError: A key is missing.
    """
    names = tuple(features) if features is not None else feature_columns(rows)
    symbols: dict[str, dict[str, FeatureProfile]] = {}
    sessions: tuple[date, ...] = ()
    for symbol, grid in lay_out(rows, exchange, names, calendar):
        sessions = grid.sessions
        nothing = np.full(grid.present.shape, np.nan)
        symbols[symbol] = {
            name: _profile(grid.values.get(name, nothing), grid.present, grid.infinite.get(name))
            for name in names
        }
    if not symbols:
        raise NotEnoughDataError(f"no row of {exchange} in dataset {dataset} is in a session of its calendar")
    return DriftProfile(exchange, dataset, dataset_digest, now or datetime.now(UTC), sessions, names, symbols)


def _profile(
    values: Floats, present: npt.NDArray[np.bool_], infinite: npt.NDArray[np.bool_] | None
) -> FeatureProfile:
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    kind = {0: "empty", 1: "constant"}.get(len(distinct), "number")
    if kind == "number" and len(distinct) <= CATEGORIES:
        kind = "categories"
    few = kind in {"constant", "categories"}
    knots, scores = _scale(known)
    edges = (distinct[1:] + distinct[:-1]) / 2 if few else _deciles(known)
    draft = FeatureProfile(
        kind=kind, knots=knots, scores=scores, edges=edges, categories=distinct if few else np.empty(0),
        phi=0.0, effective_rows=0.0, course=np.zeros(SLOTS), rows=np.zeros(SLOTS),
        shares=np.zeros((SLOTS, len(edges) + 1)), level=np.zeros((SLOTS, 3)), psi=np.zeros((SLOTS, 3)),
        step=np.zeros((SLOTS, 3)), session_level=np.zeros(3), missing=_missing(values, present),
        infinite=bool(infinite is not None and infinite.any()), constant=0.0,
        sessions=int(np.isfinite(values).any(axis=1).sum()),
    )  # fmt: skip
    return draft if kind == "empty" else _with_statistics(draft, values)


def _with_statistics(draft: FeatureProfile, values: Floats) -> FeatureProfile:
    scores = normal_scores(values, draft)
    by_slot = scores.reshape(len(scores), SLOTS, SLOT_CELLS)
    course = mean_of(by_slot.transpose(1, 0, 2).reshape(SLOTS, -1))
    if np.isnan(course).any():
        course = np.where(np.isnan(course), np.nanmean(course), course)
    centred = without_course(scores, course)
    phi = lag_one(centred)
    rows, shares, constant, spreads = np.zeros(SLOTS), [], [], []
    for number in range(1, SLOTS + 1):
        cells = window_slots(number)
        part = values[:, cells]
        count = np.isfinite(part).sum(axis=1)
        rows[number - 1] = np.median(count[count > 0]) if count.any() else 0
        usable = (count > 0) & (count >= rows[number - 1] / 2)
        constant.append(_range(part[usable]) == 0)
        counts = bin_counts(part, draft.edges)
        shares.append(counts.sum(axis=0))
        statistics = (
            mean_of(scores[:, cells]),
            log_psi(population_stability_index(counts, counts.sum(axis=0) - counts)),
            log_step(step_statistic(centred[:, : cells.stop], np.array(phi), cells.start)),
        )
        least = (LEAST_LEVEL, LEAST_LOG, LEAST_LOG)
        spreads.append(
            [
                _triple(spread_of(np.where(usable, statistic, np.nan), least=floor))
                for statistic, floor in zip(statistics, least, strict=True)
            ]
        )
    by_window = np.array(spreads)
    level = spread_of(mean_of(scores), least=LEAST_LEVEL)
    return FeatureProfile(
        kind=draft.kind, knots=draft.knots, scores=draft.scores, edges=draft.edges,
        categories=draft.categories, phi=phi,
        effective_rows=effective_sample_size(scores) / max(1, draft.sessions),
        course=course, rows=rows, shares=np.array(shares), level=by_window[:, 0], psi=by_window[:, 1],
        step=by_window[:, 2], session_level=_triple(level), missing=draft.missing, infinite=draft.infinite,
        constant=float(np.concatenate(constant).mean()) if constant else 0.0,
        sessions=draft.sessions,
    )  # fmt: skip


def log_psi(index: Floats) -> Floats:
    """log(PSI + `PSI_FLOOR`): nearly normal, where PSI itself is far from it."""
    return np.asarray(np.log(index + PSI_FLOOR))


def log_step(statistic: Floats) -> Floats:
    """Logarithm of a step statistic; below 1 there is no step to speak of."""
    return np.asarray(np.log(np.maximum(statistic, 1.0)))


def _scale(known: Floats) -> tuple[Floats, Floats]:
    """Values and their normal scores; values that are several quantiles at once have the mean of theirs."""
    from scipy.special import ndtri

    if not known.size:
        return np.zeros(1), np.zeros(1)
    shares = np.linspace(0, 1, _KNOTS)
    scores = ndtri(np.clip(shares, 0.25 / (_KNOTS - 1), 1 - 0.25 / (_KNOTS - 1)))
    knots, group = np.unique(np.quantile(known, shares), return_inverse=True)
    return knots, np.asarray(np.bincount(group, scores) / np.bincount(group), dtype=np.float64)


def _deciles(known: Floats) -> Floats:
    if not known.size:
        return np.empty(0)
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    return np.asarray(edges[edges < known.max()], dtype=np.float64)


def _missing(values: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    worst = np.zeros(SLOTS)
    for number in range(1, SLOTS + 1):
        cells = window_slots(number)
        worst[number - 1] = missing_share(values[:, cells], present[:, cells]).max(initial=0.0)
    return worst


def mean_of(values: Floats) -> Floats:
    """Mean over the last axis of what is no NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _range(values: Floats) -> Floats:
    known = np.isfinite(values)
    high, low = np.where(known, values, -np.inf).max(axis=-1), np.where(known, values, np.inf).min(axis=-1)
    return np.asarray(high - low)


def _triple(spread: Spread) -> Floats:
    return np.array([spread.mean, spread.std, spread.sessions], dtype=np.float64)


def spread_from(triple: Floats) -> Spread:
    """A `Spread` from the last axis of what a profile stores."""
    return Spread(triple[..., 0], triple[..., 1], triple[..., 2])


def _plain(profile: FeatureProfile) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in ((name, getattr(profile, name)) for name in FeatureProfile.__slots__)
    }


def write_profile(profile: DriftProfile, file: Path) -> None:
    """Write a profile in place of the one that is there; whole, or the old one stays.

    Raises:
        OSError: The disk is full or failed.
    """
    replace_durably(file, profile.to_json().encode())


def read_profile(file: Path, *, dataset_digest: str) -> DriftProfile:
    """Read a profile of a dataset.

    Raises:
        NotEnoughDataError: There is no profile yet.
        MalformedInputError: The file is not a profile of this format, or was made from another dataset.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        profile = DriftProfile(
            **_of_format(values)
            | {
                "created_at": datetime.fromisoformat(values["created_at"]),
                "sessions": tuple(date.fromisoformat(day) for day in values["sessions"]),
                "features": tuple(values["features"]),
                "symbols": {
                    symbol: {name: _feature(stored) for name, stored in features.items()}
                    for symbol, features in values["symbols"].items()
                },
            }
        )
    except FileNotFoundError as error:
        raise NotEnoughDataError(f"no drift profile at {file}: make it from the training dataset") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedInputError(f"{file} is no drift profile of ours: {error!r}; make it again") from error
    if profile.dataset_digest != dataset_digest:
        raise MalformedInputError(
            f"{file} was made from dataset {profile.dataset} with digest {profile.dataset_digest}, the "
            f"model's has {dataset_digest}: make the profile again"
        )
    return profile


def _of_format(values: dict[str, Any]) -> dict[str, Any]:
    if values.pop("format") != FORMAT:
        raise ValueError(f"format is not {FORMAT}")
    return values


def _feature(stored: dict[str, Any]) -> FeatureProfile:
    values: dict[str, Any] = {
        name: np.array(value, dtype=np.float64) if isinstance(value, list) else value
        for name, value in stored.items()
    }
    return FeatureProfile(**values)
