"""From flagged windows to breaches: what was flagged again and again, for all the features that were asked.

One window in twenty of every feature is flagged by chance, and a lake has hundreds of features: an alert on
each would never be silent. A breach asks for more: the same method flags the same feature in `IN_A_ROW`
windows, one after the other, each time beyond what chance gives to any of all the scores of that window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from monitors.drift import EVIDENTLY, SESSIONS, STATISTICS, DriftScore

IN_A_ROW = 3
"""Windows in a row, 25 minutes apart, that must agree."""

FAMILY_ALPHA = 0.001
"""Chance that any of a window's scores is beyond its bound though nothing drifted (Bonferroni)."""


@dataclass(frozen=True, slots=True)
class DriftBreach:
    """A feature that has drifted, with what shows it.

    Attributes:
        exchange: `NSE` or `BSE`.
        symbol: Underlying.
        feature: Name.
        methods: Those that agree, the worst first.
        since: Start of the first of the windows in a row.
        scores: Of the newest window, in the order of `methods`.
        dataset: The reference.
    """

    exchange: str
    symbol: str
    feature: str
    methods: tuple[str, ...]
    since: datetime
    scores: tuple[DriftScore, ...]
    dataset: str

    @property
    def excess(self) -> float:
        """How many times beyond its threshold the worst score is."""
        return max(_excess(score) for score in self.scores)


def find_breaches(
    history: Iterable[DriftScore], *, in_a_row: int = IN_A_ROW, family_alpha: float = FAMILY_ALPHA
) -> list[DriftBreach]:
    """The breaches as of the newest window, worst first.

    Args:
        history: Scores of one exchange and dataset: of the newest windows at least, in any order; see
            `monitors.drift_record.recent_scores`.
        in_a_row: Windows that must agree.
        family_alpha: Chance that a window without drift has any score beyond its bound.

    Returns:
        One breach a symbol and feature. Windows without a score of a feature (too few rows) end its row.
        Levels must agree in sign. Evidently's scores have no part in it: they are there to be looked at.
        `level_of_sessions` counts alone: it has its sessions in a row within.
    """
    known = sorted((s for s in history if not s.method.startswith(EVIDENTLY)), key=_window)
    newest = [list(scores) for _, scores in groupby((s for s in known if s.method != SESSIONS), key=_window)]
    agreeing: dict[tuple[str, str], list[DriftScore]] = {}
    since: dict[tuple[str, str], datetime] = {}
    if len(newest) >= in_a_row:
        rows = [_beyond(window, family_alpha) for window in newest[-in_a_row:]]
        for key in set.intersection(*(set(row) for row in rows)):
            if len({_sign(row[key]) for row in rows}) == 1:
                score = rows[-1][key]
                agreeing.setdefault((score.symbol, score.feature), []).append(score)
                since[score.symbol, score.feature] = rows[0][key].window_start
    of_sessions = [list(scores) for _, scores in groupby((s for s in known if s.method == SESSIONS), _window)]
    for score in _beyond(of_sessions[-1], family_alpha).values() if of_sessions else ():
        agreeing.setdefault((score.symbol, score.feature), []).append(score)
        since.setdefault((score.symbol, score.feature), score.window_start)
    return order_breaches((scores, since[key]) for key, scores in agreeing.items())


def order_breaches(found: Iterable[tuple[list[DriftScore], datetime]]) -> list[DriftBreach]:
    """Breaches of the scores that agree on one feature each, and since when they do; worst first."""
    breaches = [_breach(scores, since) for scores, since in found]
    return sorted(breaches, key=lambda b: (-b.excess, b.symbol, b.feature))


def worst_features(breaches: Sequence[DriftBreach], *, count: int = 5) -> str:
    """One line on the worst features for an alert, e.g. `NIFTY vix (level 9.1 > 3.2), ...`."""
    told = []
    for breach in breaches[:count]:
        score = breach.scores[0]
        value = "" if score.score is None else f" {score.score:.3g}"
        limit = "" if score.threshold is None else f" > {score.threshold:.3g}"
        what = score.verdict if score.method in {"column", "missing"} else score.method
        told.append(f"{breach.symbol} {breach.feature} ({what}{value}{limit})")
    more = f" and {len(breaches) - count} more" if len(breaches) > count else ""
    return ", ".join(told) + more


def _window(score: DriftScore) -> tuple[datetime, datetime]:
    return score.window_end, score.window_start


def _beyond(window: Sequence[DriftScore], alpha: float) -> dict[tuple[str, str, str], DriftScore]:
    """The scores of a window that chance does not explain, by symbol, feature and method."""
    asked = sum(score.p_value is not None for score in window)
    return {
        (s.symbol, s.feature, s.method): s
        for s in window
        if s.drifted and (s.p_value is None or s.p_value * asked <= alpha)
    }


def _sign(score: DriftScore) -> bool:
    return score.method == STATISTICS[0] and (score.score or 0.0) < 0


def _excess(score: DriftScore) -> float:
    if score.p_value is None or not score.threshold or score.score is None:
        return float("inf")
    return abs(score.score) / score.threshold


def _breach(scores: list[DriftScore], since: datetime) -> DriftBreach:
    ordered = sorted(scores, key=lambda score: (-_excess(score), score.method))
    first = ordered[0]
    return DriftBreach(
        first.exchange, first.symbol, first.feature, tuple(s.method for s in ordered), since, tuple(ordered),
        first.dataset,
    )  # fmt: skip
