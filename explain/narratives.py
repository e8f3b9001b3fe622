"""Why a model said what it said, in a trader's words; never more than the attributions say.

At most three reasons, the most influential first. Each is a phrase with direction and size, and `for` or
`against` by the sign of the feature's contribution to the class that is predicted:

    3m call OI +10.0% (for); VIX 18.2, high (for); 15m return +0.40% (against): the model leans bearish,
    SELL 62%.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REASONS = 3
"""Reasons told at most; the list of top features has more."""

EVEN = 1.25
"""A class below so many times the share of an even guess (0.42 of three) is no lean to speak of."""

STANDS_OUT = 0.1
"""Share of all contributions, in absolute size, that the strongest must have to be called a reason."""

WEIGHS_LOG_ODDS = 0.04
"""And its size in itself. A probability is the logistic function of its class's score, the others held:
a step c of the score moves it by tanh(c / 4) at most, and this one by less than the percentage point that is
told. Without it the largest of ten contributions to a row that says nothing would stand out."""

USUAL = 0.5
"""Within so many standard deviations of training a level is called usual."""

LEANS = {"BUY": "leans bullish", "SELL": "leans bearish", "HOLD": "sees no clear move"}


@dataclass(frozen=True, slots=True)
class TopFeature:
    """One of the features a signal is told by.

    Attributes:
        name: The feature.
        value: As given; None if it was missing.
        z: Standard deviations of training from the mean of training; None where there is no such thing.
        magnitude: Share of the absolute contributions of all features, 0 to 1; of a context, the feature's
            share of importance in training.
        contribution: To the raw score (log-odds) of the predicted class; None in a context, which has none.
    """

    name: str
    value: float | None
    z: float | None
    magnitude: float
    contribution: float | None


def narrative(
    signal: str, probabilities: Mapping[str, float], reasons: Sequence[TopFeature], *, explained: bool
) -> str:
    """One sentence on a signal.

    Args:
        signal: The class that was predicted.
        probabilities: Of each class.
        reasons: Most influential first.
        explained: Whether the reasons have contributions to this signal; without, nothing is given as one.
    """
    lean = _lean(signal, probabilities)
    told = [reason for reason in reasons[:REASONS] if not explained or reason.contribution]
    if not explained:
        values = "; ".join(phrase(reason) for reason in told)
        return f"{_capital(lean)}. Context, not an explanation: {values}." if values else f"{_capital(lean)}."
    if not told:
        return f"No feature speaks for or against it: {lean}, as often as in training."
    phrases = "; ".join(f"{phrase(r)} ({'for' if (r.contribution or 0) > 0 else 'against'})" for r in told)
    pulls = math.fsum(reason.contribution or 0.0 for reason in reasons)
    is_faint = told[0].magnitude < STANDS_OUT or abs(told[0].contribution or 0.0) < WEIGHS_LOG_ODDS
    if is_faint or pulls <= 0:
        return f"No single reason stands out; {phrases}: {lean}."
    return f"{_capital(phrases)}: {lean}."


def phrase(feature: TopFeature) -> str:
    """A feature's name and value in words: `3m call OI +10.0%`."""
    words = _WORDS.get(feature.name)
    label, told = words or (feature.name.replace("_", " "), _plain)
    if feature.value is None:
        return f"{label} missing"
    value = told(feature.value)
    level = "" if told in _CHANGES or feature.z is None else f", {_level(feature.z)}"
    return f"{label} {value}{level}"


def _lean(signal: str, probabilities: Mapping[str, float]) -> str:
    share = probabilities[signal]
    lean = LEANS.get(signal, f"leans to {signal}")
    if share < EVEN / len(probabilities):
        lean = "is undecided" if signal == "HOLD" else f"barely {lean}"
    return f"the model {lean}, {signal} {share:.0%}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _level(z: float) -> str:
    if abs(z) < USUAL:
        return "usual"
    return "high" if z > 0 else "low"


def _percent(value: float) -> str:
    return _signed(100 * value, 1, "%")


def _fine_percent(value: float) -> str:
    return _signed(100 * value, 2, "%")


def _points(value: float) -> str:
    return _signed(value, 2, " points")


def _vol_points(value: float) -> str:
    return _signed(100 * value, 1, " vol points")


def _difference(value: float) -> str:
    return _signed(value, 2, "")


def _signed(value: float, digits: int, unit: str) -> str:
    """With its sign; what rounds to nothing is flat, so that no sign is told of it."""
    rounded = round(value, digits)
    return f"{rounded:+,.{digits}f}{unit}" if rounded else "flat"


def _volatility(value: float) -> str:
    return f"{100 * value:.1f}%"


def _share_of(value: float) -> str:
    return f"{100 * value:.0f}%"


def _number(value: float) -> str:
    return f"{value:.2f}"


def _level_points(value: float) -> str:
    return f"{value:.1f}"


def _minutes(value: float) -> str:
    return f"{value:.0f} min"


def _sigmas(value: float) -> str:
    return _signed(value, 1, " expected moves")


def _plain(value: float) -> str:
    return f"{value:.4g}"


_CHANGES: frozenset[Callable[[float], str]] = frozenset(
    {_percent, _fine_percent, _points, _vol_points, _difference, _sigmas}
)
"""Forms that tell the direction themselves; the others say whether the level is high or low."""

_SPANS = ("3m", "5m", "15m")
_WORDS: dict[str, tuple[str, Callable[[float], str]]] = {
    **{f"return_{span}": (f"{span} return", _fine_percent) for span in _SPANS},
    **{f"call_oi_change_{span}": (f"{span} call OI", _percent) for span in _SPANS},
    **{f"put_oi_change_{span}": (f"{span} put OI", _percent) for span in _SPANS},
    **{f"call_volume_change_{span}": (f"{span} call volume, of OI,", _share_of) for span in _SPANS},
    **{f"put_volume_change_{span}": (f"{span} put volume, of OI,", _share_of) for span in _SPANS},
    **{f"pcr_oi_change_{span}": (f"{span} change of PCR", _difference) for span in _SPANS},
    "pcr_oi": ("PCR by OI", _number),
    "pcr_volume": ("PCR by volume", _number),
    "atm_iv": ("ATM IV", _volatility),
    "atm_iv_change_15m": ("15m ATM IV", _vol_points),
    "iv_skew": ("put skew", _vol_points),
    "iv_term_slope": ("IV term slope", _vol_points),
    "max_pain_distance": ("max pain to spot", _fine_percent),
    "vix": ("VIX", _level_points),
    "vix_change_15m": ("15m VIX", _points),
    "call_oi_concentration": ("call OI concentration", _number),
    "put_oi_concentration": ("put OI concentration", _number),
    "realised_volatility_15m": ("15m realised volatility", _volatility),
    "trend": ("15m trend", _sigmas),
    "days_to_expiry": ("days to expiry", _level_points),
    "session_elapsed": ("session elapsed", _share_of),
    "minutes_to_close": ("to the close", _minutes),
}
"""What a feature is called, and how its value is told. Others are called by their name, in words."""
