"""What the section Model shows: importance, SHAP rankings and the last signals, ready for templates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

from lake.session import Session
from monitors.dashboard.model_reports import Importance, Ranked, Summary, TopFeatures
from monitors.dashboard.queries import dashboard_query

SHOWN = 15
"""Features of a ranking that are shown."""

SIGNALS = 20

EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Weight:
    """A feature of the importance: shares of gain and of splits, 0 to 1."""

    feature: str
    gain: float
    split: float


@dataclass(frozen=True, slots=True)
class RegimeTable:
    """Rankings of the regimes of one dimension beside each other.

    Attributes:
        name: The dimension: vix, trend, expiry.
        regimes: Names, with the rows of each, and why it is not ranked.
        rows: A feature, and of each regime its rank and share; None where it is not among the top.
    """

    name: str
    regimes: Sequence[tuple[str, int, str]]
    rows: Sequence[tuple[str, Sequence[tuple[int, float] | None]]]


@dataclass(frozen=True, slots=True)
class Box:
    """Quantiles of a feature's contributions to one output, with places on a scale of -50 to 50."""

    feature: str
    low: float
    first: float
    middle: float
    third: float
    high: float
    scale: float

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        return round(48 * value / self.scale, 3) if self.scale else 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A feature's part in a signal.

    Attributes:
        name: The feature.
        value: Its value then, None if there was none.
        z: How far from its mean, in standard deviations of training.
        contribution: Signed, in log-odds; None in context.
        magnitude: Share of the whole, 0 to 1.
        width: Of 50, for drawing alone.
        step: Where it begins and ends, 0 to 100, for drawing it as a step of the waterfall; None without one.
    """

    name: str
    value: float | None
    z: float | None
    contribution: float | None
    magnitude: float | None
    width: float
    step: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From the score that every row starts from to that of this row, in log-odds; places from 0 to 100.

    Attributes:
        expected: What every row starts from.
        rest: What all features that are not named add together.
        raw_score: Where it ends.
        expected_at: Place of `expected`.
        rest_step: Where `rest` begins and ends.
        raw_score_at: Place of `raw_score`.
    """

    expected: float
    rest: float
    raw_score: float
    expected_at: float
    rest_step: tuple[float, float]
    raw_score_at: float


@dataclass(frozen=True, slots=True)
class SignalCard:
    """A signal, and why.

    Attributes:
        event_time: Of which moment.
        row: Columns of the table.
        is_exact: Whether the bars are contributions to this very signal, and not what matters in general.
        bars: Its top features.
        waterfall: What is around them; None where the table does not say it.
        probabilities: Of each class.
        regime: State of the market, in words.
    """

    event_time: datetime
    row: Mapping[str, Any]
    is_exact: bool
    bars: Sequence[Bar]
    waterfall: Waterfall | None
    probabilities: Sequence[tuple[str, float]]
    regime: str


def weights(report: Importance, shown: int = SHOWN) -> list[Weight]:
    """The features with the largest gain."""
    names = sorted(report.gain, key=lambda name: (-report.gain[name], name))[:shown]
    return [Weight(name, report.gain[name], report.split.get(name, 0.0)) for name in names]


def regime_tables(report: TopFeatures) -> list[RegimeTable]:
    """Rankings by regime, a table a dimension."""
    dimensions: dict[str, list[str]] = {}
    for key in report.by_regime:
        dimensions.setdefault(key.partition("=")[0], []).append(key)
    return [_regime_table(name, keys, report) for name, keys in dimensions.items()]


def _regime_table(name: str, keys: list[str], report: TopFeatures) -> RegimeTable:
    rankings = [report.by_regime[key] for key in keys]
    ranks = [
        {one.feature: (place, one.share) for place, one in enumerate(ranking.top, 1)} for ranking in rankings
    ]
    features = {one.feature for ranking in rankings for one in ranking.top}
    # By the best rank anywhere: what leads in one regime alone must not be at the end.
    order = sorted(features, key=lambda one: (min(rank[one][0] for rank in ranks if one in rank), one))
    regimes = [
        (key.partition("=")[2], ranking.rows, "" if ranking.ranked else ranking.reason or "too few rows")
        for key, ranking in zip(keys, rankings, strict=True)
    ]
    rows = [(feature, [rank.get(feature) for rank in ranks]) for feature in order[:SHOWN]]
    return RegimeTable(name, regimes, rows)


def boxes(report: Summary, output: str, shown: int = SHOWN) -> list[Box]:
    """Spread of the contributions to one output, the largest first; all on one scale."""
    spreads = {name: by[output] for name, by in report.features.items() if output in by}
    names = sorted(spreads, key=lambda name: (-spreads[name].mean_abs, name))[:shown]
    found = {name: spreads[name].quantiles for name in names}
    scale = max((abs(end) for one in found.values() for end in (one.q05, one.q95)), default=0.0)
    return [Box(name, q.q05, q.q25, q.q50, q.q75, q.q95, scale) for name, q in found.items()]


def largest(ranking: Sequence[Ranked]) -> float:
    """The largest share, which a bar over the whole width stands for."""
    return max((one.share for one in ranking), default=0.0)


def last_signals(session: Session, exchange: str, last: int = SIGNALS) -> list[SignalCard]:
    """The last signals of an exchange, newest first; none where no signal was ever recorded."""
    if "signals" not in session.snapshots:
        return []
    given = {"exchange": exchange, "last": last}
    return [_card(row) for row in session.table(dashboard_query("last_signals").sql, given).to_pylist()]


def _card(row: Mapping[str, Any]) -> SignalCard:
    is_exact = row["depth"] == EXACT
    features = row["top_features"] or []
    # Of context there may be no sign, whatever stands in the table.
    parts = [one["contribution"] if is_exact else None for one in features]
    waterfall, steps = _waterfall(row.get("expected"), row.get("raw_score"), parts)
    most = max((abs(part) for part in parts if part is not None), default=0.0)
    bars = [
        Bar(
            one["name"], one["value"], one["z"], part, one["magnitude"],
            round(48 * abs(part) / most, 3) if part and most else 0.0, step,
        )
        for one, part, step in zip(features, parts, steps, strict=True)
    ]  # fmt: skip
    given = (row["probabilities"] or {}).items()
    regime = ", ".join(_regime(name, value) for name, value in (row["regime"] or {}).items() if value)
    return SignalCard(
        row["event_time"], row, is_exact, bars, waterfall,
        [(name, p) for name, p in given if p is not None], regime,
    )  # fmt: skip


def _regime(name: str, value: str) -> str:
    """A state in words: `vix low`, `expiry day`."""
    words = value.replace("_", " ")
    return words if words.startswith(f"{name} ") else f"{name} {words}"


Step = tuple[float, float]


def _waterfall(
    expected: float | None, raw_score: float | None, parts: Sequence[float | None]
) -> tuple[Waterfall | None, Sequence[Step | None]]:
    """The waterfall of a signal and the steps of its named features; none where a part of it is missing."""
    known = [part for part in parts if part is not None]
    if expected is None or raw_score is None or not parts or len(known) < len(parts):
        return None, [None] * len(parts)
    sums = list(accumulate(known, initial=expected))
    ends = [*sums, raw_score]
    low, high = min(ends), max(ends)

    def place(value: float) -> float:
        return round(2 + 96 * (value - low) / (high - low), 3) if high > low else 50.0

    rest = raw_score - expected - math.fsum(known)
    made = Waterfall(
        expected, rest, raw_score, place(expected), (place(sums[-1]), place(raw_score)), place(raw_score)
    )
    return made, [(place(start), place(end)) for start, end in pairwise(sums)]
