"""What the drift check flags when nothing drifts, and what it finds when something does.

    python -m benchmarks.drift_false_alarms [--sessions 400] [--reference 20] [--seed 1]

Features are AR(1) of mean 0 and variance 1, a value a minute, 375 a session; a profile is made of `reference`
sessions and then 10 live sessions are checked window by window, as `monitors.drift` does it on a lake, until
`sessions` are done. Where nothing drifts:

    windows     windows flagged
    two hours   stretches of two hours with a flagged window: the price at which the next columns are bought

Where a feature is moved up by half a standard deviation for good, at a minute drawn at random (step) or
before the open:

    found       within two hours, by any window that ends within them
    best        what no test can exceed whose stretches of two hours are flagged as often: that of Neyman and
                Pearson, which knows the model and the size and lacks only the sign; and where the step is
    best*       the same without knowing the minute, on average over minutes
    sessions    sessions until `level_of_sessions` finds it in nine of ten cases, at 5% each; how often it
                flags without drift

The lines below the first three are features that are not what the statistics assume.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from scipy.signal import lfilter
from scipy.special import logsumexp, ndtr, ndtri

from catalog.calendar import SessionCalendar
from monitors.drift import DriftScore, check_drift, check_sessions
from monitors.drift_breaches import FAMILY_ALPHA, IN_A_ROW, find_breaches
from monitors.drift_grid import CELLS, SLOT_CELLS, SLOTS, window_times
from monitors.drift_profile import DriftProfile, build_profile
from monitors.drift_tests import Floats

EXCHANGE, SYMBOL = "NSE", "NIFTY"
TWO_HOURS = 120
SHIFT = 0.5
LIVE = 10
FIRST = date(2024, 1, 1)
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Onsets = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
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


class Trial:
    """Features of one kind with a profile of theirs, and live sessions after it."""

    def __init__(
        self, stream: Stream, rng: np.random.Generator, calendar: SessionCalendar, *, features: int,
        reference: int, live: int = LIVE,
    ) -> None:  # fmt: skip
        self.calendar = calendar
        self.days = session_dates(calendar, reference + live)[reference:]
        drawn = {f"f{n}": stream(rng, reference + live) for n in range(features)}
        past = {name: values[:reference] for name, values in drawn.items()}
        self.live = {name: values[reference:] for name, values in drawn.items()}
        self.std = {name: float(values.std()) for name, values in past.items()}
        self.profile: DriftProfile = build_profile(
            as_rows(past, session_dates(calendar, reference), calendar), EXCHANGE, dataset="d",
            dataset_digest="d", calendar=calendar, now=datetime(2024, 1, 1, tzinfo=UTC),
        )  # fmt: skip

    def rows(self, onsets: Onsets | None = None) -> pa.Table:
        """Live rows, in each session raised by half a standard deviation from its onset on."""
        if onsets is None:
            return as_rows(self.live, self.days, self.calendar)
        raised = {
            name: values + SHIFT * self.std[name] * (np.arange(CELLS) >= onsets[n][:, None])
            for n, (name, values) in enumerate(self.live.items())
        }
        return as_rows(raised, self.days, self.calendar)

    def windows(self, rows: pa.Table) -> list[list[DriftScore]]:
        """The scores of every window, in the order of time."""
        found = []
        for place, day in enumerate(self.days):
            session = self.calendar.session(EXCHANGE, day)
            assert session is not None
            today = rows.slice(place * CELLS, CELLS)
            for number in range(1, SLOTS + 1):
                end = window_times(session, number)[1]
                found.append(check_drift(self.profile, today, self.calendar, at=end))
        return found

    def flagged(self, windows: list[list[DriftScore]]) -> Flags:
        """(features, sessions, windows): whether any method flagged it."""
        flags = np.zeros((len(self.live), len(self.days) * SLOTS), dtype=np.bool_)
        for number, scores in enumerate(windows):
            for score in scores:
                flags[int(score.feature[1:]), number] |= score.drifted
        return flags.reshape(len(self.live), len(self.days), SLOTS)


def within_two_hours(flags: Flags, onsets: Onsets) -> Flags:
    """(features, sessions): whether a window was flagged that ended within two hours of the onset."""
    ends = (np.arange(SLOTS) + 1) * SLOT_CELLS
    since = ends - onsets[..., None]
    return np.asarray((flags & (since > 0) & (since <= TWO_HOURS)).any(axis=-1))


def any_of_two_hours(flags: Flags) -> Flags:
    """For stretches of two hours beside one another: whether a window that ended in them was flagged."""
    ends = TWO_HOURS // SLOT_CELLS
    parts = [flags[..., start : start + ends].any(axis=-1) for start in range(0, SLOTS - ends + 1, ends)]
    return np.stack(parts, axis=-1)


def information(phi: float, *, step: bool) -> float:
    """Squared standard errors that two hours of an AR(1) hold of a shift, whose minute is known."""
    if step:
        return SHIFT**2 * (1 + (TWO_HOURS - 1) * (1 - phi) ** 2) / (1 - phi**2)
    return SHIFT**2 * (1 + (TWO_HOURS - 1) * (1 - phi) / (1 + phi))


def best_power(phi: float, alpha: float, *, step: bool) -> float:
    """Power of the most powerful test that does not know the sign: the normal one of two sides."""
    size, limit = np.sqrt(information(phi, step=step)), -ndtri(alpha / 2)
    return float(ndtr(size - limit) + ndtr(-size - limit))


def best_power_of_unknown_minute(
    phi: float, alpha: float, rng: np.random.Generator, runs: int = 4000
) -> float:
    """Average power of the most powerful test where the step is at any of 120 minutes, each as likely.

    The likelihood ratio averaged over minute and sign (Neyman and Pearson, for the mixture), over four hours
    with the step in the first two of them; its threshold from `runs` draws without, power from as many with.
    """
    after, onset = (1 - phi) / np.sqrt(1 - phi**2), 1 / np.sqrt(1 - phi**2)
    shape = np.where(np.arange(2 * TWO_HOURS)[None, :] > np.arange(TWO_HOURS)[:, None], after, 0.0)
    shape[np.arange(TWO_HOURS), np.arange(TWO_HOURS)] = onset
    shape *= SHIFT
    half = (shape**2).sum(axis=1) / 2

    def ratio(innovations: Floats) -> Floats:
        evidence = innovations @ shape.T
        return np.asarray(logsumexp(np.logaddexp(evidence, -evidence) - half, axis=1))

    noise = rng.normal(size=(2 * runs, 2 * TWO_HOURS))
    limit = np.quantile(ratio(noise[:runs]), 1 - alpha)
    moved = noise[runs:] + shape[rng.integers(0, TWO_HOURS, runs)]
    return float((ratio(moved) > limit).mean())


def sessions_until_found(
    stream: Stream, rng: np.random.Generator, calendar: SessionCalendar, *, features: int, reference: int
) -> tuple[str, float]:
    """Sessions that `level_of_sessions` needs for nine of ten, and how often it flags without a shift."""
    most = 40
    trial = Trial(stream, rng, calendar, features=features, reference=reference, live=most)
    moved = trial.rows(np.zeros((features, most), dtype=np.int64))
    needed, false = f"> {most}", []
    for count in (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40):
        still = check_sessions(trial.profile, trial.rows().slice(0, count * CELLS), calendar, sessions=count)
        false.append(np.mean([score.drifted for score in still]))
        scores = check_sessions(trial.profile, moved.slice(0, count * CELLS), calendar, sessions=count)
        if np.mean([score.drifted for score in scores]) >= 0.9:
            needed = str(count)
            break
    return needed, float(np.mean(false))


def line(
    name: str, phi: float | None, stream: Stream, calendar: SessionCalendar, *, sessions: int, reference: int,
    seed: int,
) -> str:  # fmt: skip
    """One line of the table."""
    rng = np.random.default_rng(seed)
    features = max(1, sessions // LIVE)
    trial = Trial(stream, rng, calendar, features=features, reference=reference)
    flags = trial.flagged(trial.windows(trial.rows()))
    false, stretches = float(flags.mean()), float(any_of_two_hours(flags).mean())
    cells = [f"{name:24}", f"{false:8.1%}", f"{stretches:9.1%}"]
    for step in (True, False):
        onsets = (
            rng.integers(30, CELLS - TWO_HOURS, (features, LIVE)) if step else np.zeros((features, LIVE), int)
        )
        found = within_two_hours(trial.flagged(trial.windows(trial.rows(onsets))), onsets)
        cells.append(f"{found.mean():10.1%}")
        if phi is None:
            cells += [f"{'':>7}"] * (2 if step else 1)
            continue
        if step:
            cells.append(f"{best_power_of_unknown_minute(phi, stretches, rng):7.1%}")
        cells.append(f"{best_power(phi, stretches, step=step):7.1%}")
    needed, of_sessions = sessions_until_found(stream, rng, calendar, features=features, reference=reference)
    return " ".join([*cells, f"{needed:>9}", f"{of_sessions:8.1%}"])


def breaches(calendar: SessionCalendar, *, reference: int, seed: int) -> str:
    """How often breaches are found in weeks without drift: 30 features of three kinds."""
    rng = np.random.default_rng(seed)
    live, total, fired = 20, 0, 0
    for phi in (0.0, 0.9, 0.99):
        trial = Trial(ar1(phi), rng, calendar, features=30, reference=reference, live=live)
        windows = trial.windows(trial.rows())
        for last in range(IN_A_ROW, len(windows) + 1):
            total += 1
            fired += bool(find_breaches([s for w in windows[last - IN_A_ROW : last] for s in w]))
    return (
        f"breaches without drift ({IN_A_ROW} windows in a row, {FAMILY_ALPHA} for all 30 features of a "
        f"window): {fired} of {total} windows in {3 * live} sessions"
    )


HEAD = """
                            no drift          a step of 0.5 std      shifted from the open   by session
                          windows two hours      found  best*   best     found    best   sessions  no drift
""".strip("\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--reference", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    calendar = SessionCalendar.load()
    print(HEAD)
    for name, (phi, stream) in STREAMS.items():
        print(
            line(
                name,
                phi,
                stream,
                calendar,
                sessions=given.sessions,
                reference=given.reference,
                seed=given.seed,
            ),
            flush=True,
        )
    print(breaches(calendar, reference=given.reference, seed=given.seed))


if __name__ == "__main__":
    main()
