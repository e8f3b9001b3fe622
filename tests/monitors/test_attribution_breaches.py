"""Attribution drift as the monitors judge it: scipy's t-test of sessions, within a bound for all features."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from catalog.calendar import SessionCalendar
from catalog.contracts import ATTRIBUTION
from lake.append import append
from lake.session import Session
from lake.table import Lake
from monitors.attribution_breaches import attribution_breaches, attribution_scores
from monitors.drift import DriftScore
from monitors.drift_breaches import FAMILY_ALPHA

MODEL, FIRST = "20260116-abc", date(2026, 1, 5)
FEATURES, CLASSES = ("pcr_oi", "trend", "vix"), ("BUY", "HOLD", "SELL")
Means = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def draw(training: int, recent: int, *, moved: float = 0.0) -> Means:
    """By feature and class the means of the training sessions, and of those after; BUY of `vix` may move."""
    rng = np.random.default_rng(3)
    return {
        (feature, name): (
            rng.normal(scale=0.1, size=training),
            rng.normal(scale=0.1, size=recent) + moved * ((feature, name) == ("vix", "BUY")),
        )
        for feature in FEATURES
        for name in CLASSES
    }


def recorded(root: Path, means: Means, calendar: SessionCalendar) -> Lake:
    """A lake whose table `attribution` holds them, a row a session, feature and class."""
    lake = Lake.at(root)
    path = lake.create(ATTRIBUTION.spec)
    days = [s.date for s in calendar.sessions("NSE", FIRST, FIRST + timedelta(days=60))]
    rows = []
    for (feature, name), (training, recent) in means.items():
        for number, mean in enumerate([*training, *recent]):
            session = calendar.session("NSE", days[number])
            assert session is not None
            rows.append(
                {
                    "date": days[number],
                    "exchange": "NSE",
                    "event_time": session.close.astimezone(UTC),
                    "model_version": MODEL,
                    "sample": "training" if number < len(training) else "session",
                    "feature": feature,
                    "class": name,
                    "mean": float(mean),
                    "mean_absolute": abs(float(mean)),
                    "std": 0.1,
                    "row_count": 600,
                    "batch_id": "b",
                }
            )
    table = pa.Table.from_pylist(rows, schema=ATTRIBUTION.schema)
    append(path, ATTRIBUTION.spec, table, stream="test", sequence=1, metadata={"batch_id": "b"})
    return lake


def judged(lake: Lake, calendar: SessionCalendar) -> list[DriftScore]:
    with Session(lake) as session:
        return attribution_scores(session, "NSE", MODEL, "jan", calendar)


@pytest.mark.parametrize("recent", [1, 3, 5, 8])
def test_scores_are_those_of_a_t_test_of_the_newest_sessions_five_at_most(
    recent: int, calendar: SessionCalendar, tmp_path: Path
) -> None:
    means = draw(12, recent, moved=1.0)

    scores = judged(recorded(tmp_path, means, calendar), calendar)

    assert len(scores) == 9
    for score in scores:
        training, after = means[score.feature, score.method.removeprefix("attribution_")]
        known = stats.ttest_ind(after[-5:], training)
        assert score.score == pytest.approx(float(known.statistic))
        assert score.p_value == pytest.approx(float(known.pvalue))
        assert score.drifted == (float(known.pvalue) * 9 <= FAMILY_ALPHA)


def test_a_contribution_that_moved_is_a_breach_of_its_feature_and_of_no_other(
    calendar: SessionCalendar, tmp_path: Path
) -> None:
    scores = judged(recorded(tmp_path, draw(12, 5, moved=1.0), calendar), calendar)

    (breach,) = attribution_breaches(scores)
    assert (breach.feature, breach.symbol, breach.methods) == ("vix", "*", ("attribution_BUY",))
    session = calendar.session("NSE", breach.scores[0].date)
    assert session is not None
    assert breach.scores[0].window_end == session.close
    assert breach.excess > 1


def test_contributions_that_stay_are_no_breach(calendar: SessionCalendar, tmp_path: Path) -> None:
    assert not attribution_breaches(judged(recorded(tmp_path, draw(12, 5), calendar), calendar))


def test_of_two_training_sessions_no_spread_is_known_and_nothing_is_judged(
    calendar: SessionCalendar, tmp_path: Path
) -> None:
    scores = judged(recorded(tmp_path, draw(2, 5, moved=9.0), calendar), calendar)

    assert {score.verdict for score in scores} == {"reference_too_short"}
    assert all(score.score is None and score.threshold is None for score in scores)
    assert not attribution_breaches(scores)


def test_another_model_has_no_scores_of_this_one(calendar: SessionCalendar, tmp_path: Path) -> None:
    lake = recorded(tmp_path, draw(12, 5, moved=1.0), calendar)

    with Session(lake) as session:
        assert attribution_scores(session, "NSE", "another", "jan", calendar) == []
        assert attribution_scores(session, "BSE", MODEL, "jan", calendar) == []
