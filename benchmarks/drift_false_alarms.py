"""What the drift check flags when nothing drifts, and what it finds when something does.

    python -m benchmarks.drift_false_alarms [--sessions 400] [--reference 20] [--seed 1]

Features are AR(1) of mean 0 and variance 1, a value a minute, 375 a session; a profile is made of `reference`
sessions and then 10 live sessions are checked window by window, as `monitors.drift` does it on a lake, until
`sessions` are done. Where nothing drifts:

    windows     windows flagged
    two hours   stretches of two hours with a flagged window: the price at which the next columns are bought

Where a feature is moved up by half a standard deviation for good, at a minute drawn at random (step) or
before the open (open):

    found       within two hours, by any window that ends within them
    best        what no test can exceed whose stretches of two hours are flagged as often as ours: a test of
                Neyman and Pearson that knows the model, the minute and the size, and lacks only the sign
    sessions    sessions until `level_of_sessions` finds it in nine of ten cases, at 5% each

The lines below the first three are features that are not what the statistics assume.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri

from catalog.calendar import SessionCalendar
from monitors.drift import check_drift, check_sessions
from monitors.drift_grid import CELLS, SLOTS, window_times
from monitors.drift_profile import build_profile
from monitors.drift_tests import Floats

EXCHANGE, SYMBOL = "NSE", "NIFTY"
TWO_HOURS = 120
SHIFT = 0.5
LIVE = 10
FIRST = date(2024, 1, 1)
Stream = Callable[[np.random.Generator, int], Floats]
"""Draws the sessions of one feature: (sessions, cells)."""


def ar1(phi: float, *, continuous: bool = False) -> Stream:
    """Stationary AR(1); each session begins anew, or where the one before ended."""

    def draw(rng: np.random.Generator, sessions: int) -> Floats:
        shape = (1, sessions * CELLS) if continuous else (sessions, CELLS)
        noise = rng.normal(size=shape) * np.sqrt(1 - phi**2)
        noise[:, 0] /= np.sqrt(1 - phi**2)
        return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=1)).reshape(sessions, CELLS)

    return draw


def heavy(rng: np.random.Generator, sessions: int) -> Floats:
    """Log-normal with tails that make means useless: exp(2 x AR(1))."""
    return np.exp(2 * ar1(0.9)(rng, sessions))


def with_days(rng: np.random.Generator, sessions: int) -> Floats:
    """Half of the variance is a level of the day, which resembles that of the day before (0.5)."""
    days = lfilter([1.0], [1.0, -0.5], rng.normal(size=sessions + 20))[20:] * np.sqrt(0.75)
    return np.asarray((ar1(0.5)(rng, sessions) + days[:, None]) / np.sqrt(2))


def bursts(rng: np.random.Generator, sessions: int) -> Floats:
    """White noise whose volatility changes slowly and has a U over the day."""
    course = 0.7 + 1.2 * np.linspace(-1, 1, CELLS) ** 2
    return np.asarray(rng.normal(size=(sessions, CELLS)) * np.exp(0.5 * ar1(0.98)(rng, sessions)) * course)


STREAMS: dict[str, tuple[float | None, Stream]] = {
    "phi 0": (0.0, ar1(0.0)),
    "phi 0.9": (0.9, ar1(0.9)),
    "phi 0.99": (0.99, ar1(0.99)),
    "phi 0.99, overnight too": (0.99, ar1(0.99, continuous=True)),
    "heavy tails": (None, heavy),
    "level of the day": (None, with_days),
    "bursts": (None, bursts),
}


@dataclass
class Counts:
    """Yes and all, of questions by name."""

    yes: dict[str, float]
    all: dict[str, float]

    def add(self, name: str, answers: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
        self.yes[name] = self.yes.get(name, 0) + int(answers.sum())
        self.all[name] = self.all.get(name, 0) + answers.size

    def share(self, name: str) -> float:
        return self.yes[name] / self.all[name]


def session_dates(calendar: SessionCalendar, count: int) -> list[date]:
    """The first sessions of regular length."""
    found = calendar.sessions(EXCHANGE, FIRST, FIRST + timedelta(days=2 * count + 30))
    return [s.date for s in found if s.close - s.open == timedelta(minutes=CELLS)][:count]


def as_rows(columns: dict[str, Floats], days: list[date], calendar: SessionCalendar) -> pa.Table:
    """Sessions as rows of features, a row a minute."""
    opens = [calendar.session(EXCHANGE, day) for day in days]
    first = np.array([s.open.astimezone(UTC).timestamp() for s in opens if s is not None])
    times = (first[:, None] + 60 * np.arange(CELLS)).ravel() * 1e6
    rows = len(times)
    return pa.table(
        {
            "event_time": pa.array(times.astype(np.int64)).cast(pa.timestamp("us", tz="UTC")),
            "date": pa.array(np.repeat(np.array(days, dtype="datetime64[D]"), CELLS)),
            "exchange": pa.array([EXCHANGE] * rows),
            "symbol": pa.array([SYMBOL] * rows),
            **{name: pa.array(values.ravel()) for name, values in columns.items()},
        }
    )


def flags(
    stream: Stream,
    rng: np.random.Generator,
    calendar: SessionCalendar,
    *,
    features: int,
    reference: int,
    onsets: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None = None,
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.bool_]], dict[str, list[bool]]]:
    """Which windows are flagged, (features, live sessions, windows); and which methods, pooled.

    Args:
        stream: The kind of feature; each of `features` is another draw with its own reference.
        rng: Source of chance.
        calendar: Regular sessions.
        features: How many.
        reference: Sessions of the reference.
        onsets: (features, live sessions): from which minute on values are raised by half a standard
            deviation; the sessions are then apart from one another.
    """
    days = session_dates(calendar, reference + LIVE)
    drawn = {f"f{n}": stream(rng, reference + LIVE) for n in range(features)}
    past = {name: values[:reference] for name, values in drawn.items()}
    live = {name: values[reference:].copy() for name, values in drawn.items()}
    if onsets is not None:
        for n, (name, values) in enumerate(live.items()):
            values += SHIFT * past[name].std() * (np.arange(CELLS) >= onsets[n][:, None])
    profile = build_profile(
        as_rows(past, days[:reference], calendar),
        EXCHANGE,
        dataset="d",
        dataset_digest="d",
        calendar=calendar,
        now=datetime(2024, 1, 1, tzinfo=UTC),
    )
    rows = as_rows(live, days[reference:], calendar)
    found = np.zeros((features, LIVE, SLOTS), dtype=np.bool_)
    by_method: dict[str, list[bool]] = {}
    for place, day in enumerate(days[reference:]):
        session = calendar.session(EXCHANGE, day)
        assert session is not None
        today = rows.slice(place * CELLS, CELLS)
        for number in range(1, SLOTS + 1):
            for score in check_drift(profile, today, calendar, at=window_times(session, number)[1]):
                found[int(score.feature[1:]), place, number - 1] |= score.drifted
                by_method.setdefault(score.method, []).append(score.drifted)
    return found, by_method
