"""When updates happen, and how a session's liveliness is spread over it."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import numpy as np
import pytest

from catalog.calendar import Session
from catalog.reference import ReferenceData
from ingest.simulator.timetable import activity, timetable


@pytest.fixture(scope="module")
def friday(reference: ReferenceData) -> Session:
    session = reference.calendar.session("NSE", date(2026, 7, 10))
    assert session is not None
    return session


def test_activity_has_a_root_mean_square_of_one() -> None:
    progress = np.linspace(0.0, 1.0, 100_001)
    assert math.sqrt(np.trapezoid(activity(progress) ** 2, progress)) == pytest.approx(1.0, abs=1e-8)


def test_activity_is_that_measured_at_open_noon_and_close() -> None:
    measured = {1.5 / 375: 1.75, 225 / 375: 0.76, 373.5 / 375: 0.95}
    found = activity(np.array(list(measured)))
    assert found.tolist() == pytest.approx(list(measured.values()), rel=0.15)


@pytest.mark.parametrize("interval_s", [60.0, 375 * 60 / 7, 7.3, 22_500.0])
def test_steps_add_up_to_the_time_between_first_and_last_update(friday: Session, interval_s: float) -> None:
    table = timetable(friday, interval_s)
    assert table.times[0] == datetime(2026, 7, 10, 3, 45, tzinfo=UTC)
    assert table.times[-1] <= datetime(2026, 7, 10, 10, 0, tzinfo=UTC)
    assert len(table.step_s) == len(table.activity) == len(table.volatility_weight) == len(table.times) - 1
    assert table.step_s.sum() == pytest.approx((table.times[-1] - table.times[0]).total_seconds())
    assert table.interval_s == pytest.approx(interval_s, abs=1e-6)


def test_variances_of_the_steps_add_up_to_that_of_the_session(friday: Session) -> None:
    assert (timetable(friday, 60.0).volatility_weight ** 2).sum() == pytest.approx(1.0, abs=1e-3)


def test_an_interval_longer_than_the_session_leaves_the_open_alone(friday: Session) -> None:
    table = timetable(friday, 22_501.0)
    assert len(table.times) == 1
    assert table.interval_s == 0.0
