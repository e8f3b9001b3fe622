"""Training frames of which it is known what there is to learn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from explain.frame import CLASSES, LabelTerms, TrainingFrame

MONDAY = date(2026, 1, 5)
FEATURES = ("vix", "trend", "days_to_expiry", "return_3m", "pcr_oi_change_5m", "noise_1", "noise_2", "seldom")


def session_times(day: date, every_s: int) -> list[datetime]:
    """From 09:15 to 15:15 in India: the last moments that can have a label of 15 minutes."""
    opening = datetime(day.year, day.month, day.day, 3, 45, tzinfo=UTC)
    return [opening + timedelta(seconds=s) for s in range(0, 6 * 3600, every_s)]


def frame(
    *,
    sessions: int = 6,
    every_s: int = 240,
    symbols: Sequence[str] = ("BANKNIFTY", "NIFTY"),
    signal: float = 2.0,
    seed: int = 1,
    terms: LabelTerms | None = None,
) -> TrainingFrame:
    """Sessions of several underlyings; `return_3m` and `pcr_oi_change_5m` decide the label, with noise.

    Args:
        sessions: How many, a week apart from each other at most.
        every_s: Seconds between two rows of an underlying.
        symbols: Underlyings.
        signal: How much the two features count against noise of standard deviation one; 0 for not at all.
        seed: The same seed gives the same frame.
        terms: What the labels are said to be.
    """
    random = np.random.default_rng(seed)
    days = [MONDAY + timedelta(days=n + 2 * (n // 5)) for n in range(sessions)]
    keys = [(time, day, symbol) for day in days for time in session_times(day, every_s) for symbol in symbols]
    count = len(keys)
    values = {name: random.normal(size=count) for name in FEATURES}
    values["vix"] = 14 + np.cumsum(random.normal(size=count)) / 20
    values["days_to_expiry"] = np.array([float((3 - day.weekday()) % 7) for _, day, _ in keys])
    values["seldom"][random.random(count) < 0.7] = np.nan
    score = signal * (values["return_3m"] + 0.5 * values["pcr_oi_change_5m"]) + random.normal(size=count)
    numbers = np.where(score > 1, 0, np.where(score < -1, 2, 1))
    table = pa.table(
        {
            "event_time": pa.array([time for time, _, _ in keys], pa.timestamp("us", "UTC")),
            "date": pa.array([day for _, day, _ in keys], pa.date32()),
            "exchange": ["NSE"] * count,
            "symbol": [symbol for _, _, symbol in keys],
            **{name: pa.array(column, pa.float64(), from_pandas=True) for name, column in values.items()},
            "forward_return": score / 1000,
            "label": [CLASSES[number] for number in numbers],
        }
    )
    return TrainingFrame(table, FEATURES, terms or LabelTerms())


def with_labels(given: TrainingFrame, labels: Sequence[str]) -> TrainingFrame:
    """The same rows with other labels."""
    index = given.rows.schema.get_field_index("label")
    rows = given.rows.set_column(index, "label", pa.array(list(labels), pa.string()))
    return TrainingFrame(rows, given.features, given.terms)
