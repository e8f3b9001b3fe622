"""Statistics that tell drift from chance in autocorrelated intraday data: numpy in, numpy out.

Rows of one session resemble one another, so the sample is the session: a statistic of a live window is
compared with the same statistic of the same stretch of each reference session, by Student's prediction
interval for one more observation. How strongly rows hang together within a session, and whether they are
normal, then does not matter; that sessions resemble the one before is taken into account.
`benchmarks/drift_false_alarms.py` measures what that yields.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SMOOTHING = 0.5
"""Added to every count of a PSI: Jeffreys' prior, so that an empty bin is finite."""

_MAX_PHI = 0.999


@dataclass(frozen=True, slots=True)
class Spread:
    """How a statistic varies from one reference session to the next; arrays of the same shape, or numbers.

    Attributes:
        mean: Over the sessions.
        std: Standard deviation of one session, with what resemblance between sessions hides added.
        sessions: Effective number of sessions.
    """

    mean: Floats
    std: Floats
    sessions: Floats


def population_stability_index(current: Floats, reference: Floats) -> Floats:
    """PSI of counts over the last axis: sum of (p - q) ln(p / q), a symmetric Kullback-Leibler divergence.

    Args:
        current: Counts of the window, (..., bins).
        reference: Counts of the reference, (..., bins); `SMOOTHING` is added to both.
    """
    p, q = _shares(current), _shares(reference)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def _shares(counts: Floats) -> Floats:
    smooth = counts + SMOOTHING
    return np.asarray(smooth / smooth.sum(axis=-1, keepdims=True))


def integrated_autocorrelation_time(rows: Floats) -> float:
    """How many rows say as much as one independent row; at least 1.

    1 + 2 x the sum of the autocorrelations, up to the first pair of lags whose sum is not positive (Geyer,
    "Practical Markov chain Monte Carlo", 1992). Lags never cross from one session into the next; the mean is
    that of all sessions, since the level of a session is part of what varies.

    Args:
        rows: (sessions, time), NaN where there is none.
    """
    known = np.isfinite(rows)
    centred = np.where(known, rows - np.nanmean(rows), 0.0)
    size = 1 << (2 * rows.shape[1] - 1).bit_length()
    products, pairs = (
        np.fft.irfft((np.abs(np.fft.rfft(part, size, axis=1)) ** 2).sum(axis=0), size)[: rows.shape[1]]
        for part in (centred, known.astype(np.float64))
    )
    if not products[0] > 0:
        return 1.0
    enough = np.round(pairs) >= max(1.0, 0.05 * pairs[0])
    correlation = np.where(enough, products / np.maximum(np.round(pairs), 1), 0.0)
    correlation /= correlation[0]
    even = correlation[: len(correlation) // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = int(np.argmax(even <= 0)) if (even <= 0).any() else len(even)
    return max(1.0, float(2 * even[:stop].sum() - 1))


def effective_sample_size(rows: Floats) -> float:
    """Independent rows that would tell the mean as precisely: rows / integrated autocorrelation time."""
    return float(np.isfinite(rows).sum()) / integrated_autocorrelation_time(rows)


def lag_one(rows: Floats) -> float:
    """Autoregression coefficient of one step, 0 to 0.999, from neighbouring rows of (sessions, time).

    Where rows come every g steps only, it is the g-th root of their coefficient: what an AR(1) of one step
    would show.
    """
    past, gap = previous(rows)
    usable = gap > 0
    if not usable.any():
        return 0.0
    step = int(np.median(gap[usable]))
    usable &= gap == step
    x, y = past[usable], rows[usable]
    slope = float((x * y).sum() / max(float((x * x).sum()), 1e-300))
    return min(float(max(slope, 0.0) ** (1 / step)), _MAX_PHI)


def previous(rows: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """For each value the one before it on the last axis, NaN skipped, and how many steps before.

    Returns:
        Values, NaN where there is none; steps, 0 there and where the value itself is NaN.
    """
    known = np.isfinite(rows)
    place = np.broadcast_to(np.arange(rows.shape[-1]), rows.shape)
    last = np.maximum.accumulate(np.where(known, place, -1), axis=-1)
    before = np.concatenate([np.full((*rows.shape[:-1], 1), -1), last[..., :-1]], axis=-1)
    usable = known & (before >= 0)
    values = np.take_along_axis(rows, np.maximum(before, 0), axis=-1)
    return np.where(usable, values, np.nan), np.where(usable, place - before, 0)


def step_statistic(rows: Floats, phi: Floats, first: int) -> Floats:
    """The largest standardised evidence that the level changed at some row of a window, and stayed changed.

    The generalised likelihood ratio of a lasting step in an AR(1): at phi = 0 that of a shifted mean, at
    phi near 1 that of a jump, which the marginal distribution of two hours cannot show. With innovations
    e_t = (x_t - phi^g x_(t-g)) / sqrt(1 - phi^2g) a step of d at k moves the mean of e_k by
    d / sqrt(1 - phi^2g) and of every later one by (1 - phi^g) times as much; g is the number of steps since
    the row before.

    Args:
        rows: (..., time) from the start of the session; mean 0 and variance 1, NaN where there is none.
        phi: Coefficient of one step, broadcast over the last axis: (..., 1).
        first: Index of the window's first row; it ends where `rows` end.
    """
    past, gap = previous(rows)
    known = np.isfinite(rows)
    kept = np.where(gap > 0, phi ** np.maximum(gap, 1), 0.0)
    onset = np.where(known, 1 / np.sqrt(1 - kept**2), 0.0)
    after = onset * (1 - kept)
    innovation = np.where(known, rows - kept * np.nan_to_num(past), 0.0) * onset
    onset, after, innovation = onset[..., first:], after[..., first:], innovation[..., first:]
    later = _sum_after(after * innovation)
    weight = onset**2 + _sum_after(after**2)
    evidence = np.abs(onset * innovation + later) / np.sqrt(np.maximum(weight, 1e-300))
    return np.asarray(np.where(onset > 0, evidence, 0.0).max(axis=-1, initial=0.0))


def _sum_after(values: Floats) -> Floats:
    """Sum of what comes after each place of the last axis."""
    return np.cumsum(values[..., ::-1], axis=-1)[..., ::-1] - values


def spread_of(values: Floats, *, least: float) -> Spread:
    """How a statistic varies over the sessions of the first axis.

    The resemblance of sessions that follow one another is taken for that of an AR(1), its coefficient
    corrected for the bias of short series (Kendall, "Note on bias in the estimation of autocorrelation",
    1954). It lowers the number of sessions and raises the spread.

    Args:
        values: (sessions, ...) in the order of time, NaN where a session has none.
        least: Smallest standard deviation that is believed: differences below it are of no consequence.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean = total / np.maximum(count, 1)
    centred = np.where(known, values - mean, 0.0)
    squares = (centred**2).sum(axis=0)
    products = (centred[1:] * centred[:-1]).sum(axis=0)
    raw = products / np.maximum(squares, 1e-300)
    size = np.maximum(count, 4)
    resemblance = np.clip((raw + 1 / size) / (1 - 3 / size), 0.0, 0.95)
    sessions = np.maximum(count * (1 - resemblance) / (1 + resemblance), np.minimum(count, 1))
    hidden = np.maximum(1 - 1 / np.maximum(sessions, 1) + 1 / np.maximum(count, 1), 0.05)
    variance = squares / np.maximum(count - 1, 1) / hidden
    return Spread(mean, np.maximum(np.sqrt(variance), least), sessions.astype(np.float64))


def prediction_t(value: Floats, spread: Spread, *, windows: float = 1.0) -> Floats:
    """How far one more observation is from the reference, in standard errors of that difference.

    Args:
        value: The statistic of the live window, or the mean of those of several sessions.
        spread: Of the reference.
        windows: How many independent sessions `value` is the mean of.
    """
    scale = spread.std * np.sqrt(1 / windows + 1 / np.maximum(spread.sessions, 1))
    return np.asarray((value - spread.mean) / scale)


def prediction_p_value(t: Floats, spread: Spread, *, two_sided: bool) -> Floats:
    """Chance of a `prediction_t` at least that far out, by Student's t of effective sessions - 1."""
    from scipy.special import stdtr

    freedom = np.maximum(spread.sessions - 1, 1.0)
    chance = 2 * stdtr(freedom, -np.abs(t)) if two_sided else stdtr(freedom, -t)
    return np.asarray(chance, dtype=np.float64)


def critical_t(alpha: float, spread: Spread, *, two_sided: bool) -> Floats:
    """The `prediction_t` whose p-value is alpha."""
    from scipy.special import stdtrit

    freedom = np.maximum(spread.sessions - 1, 1.0)
    return np.asarray(stdtrit(freedom, 1 - (alpha / 2 if two_sided else alpha)), dtype=np.float64)
