"""Black-76 values of European options on a forward, vectorised, equal to the last bit on every machine.

`numpy.exp` and `numpy.log` round differently from one processor's vector unit to the next, so data
simulated with them would differ from machine to machine. The functions here use only operations that
IEEE 754 rounds correctly (+ - * / and the square root) and exact ones (rint, frexp, ldexp), each a
ufunc call of its own that no compiler can fuse. They need no scipy. Arguments must be finite.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ingest.simulator.arrays import FloatArray

# ln 2 in two parts: the first has few enough bits that its product with an exponent is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_EXP_LIMIT = 700.0
_EXP_TERMS = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
_ATANH_TERMS = tuple(1.0 / (2 * n + 1) for n in range(11, -1, -1))

# Hart (1968), algorithm 5666, as given by West (2005); highest power first.
_HART_NUMERATOR = (
    3.52624965998911e-02,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
_HART_DENOMINATOR = (
    8.83883476483184e-02,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)
_HART_LIMIT = 7.07106781186547

# Acklam (2003); highest power first.
_PPF_CENTRE_NUMERATOR = (
    -3.969683028665376e01,
    2.209460984245205e02,
    -2.759285104469687e02,
    1.383577518672690e02,
    -3.066479806614716e01,
    2.506628277459239e00,
)
_PPF_CENTRE_DENOMINATOR = (
    -5.447609879822406e01,
    1.615858368580409e02,
    -1.556989798598866e02,
    6.680131188771972e01,
    -1.328068155288572e01,
    1.0,
)
_PPF_TAIL_NUMERATOR = (
    -7.784894002430293e-03,
    -3.223964580411365e-01,
    -2.400758277161838e00,
    -2.549732539343734e00,
    4.374664141464968e00,
    2.938163982698783e00,
)
_PPF_TAIL_DENOMINATOR = (
    7.784695709041462e-03,
    3.224671290700398e-01,
    2.445134137142996e00,
    3.754408661907416e00,
    1.0,
)
_PPF_TAIL = 0.02425


def _polynomial(terms: tuple[float, ...], x: FloatArray) -> FloatArray:
    """Horner's scheme, highest power first, in place: the arrays are small and most of the cost is calls."""
    total = x * terms[0]
    total += terms[1]
    for term in terms[2:]:
        total *= x
        total += term
    return total


def exp(x: npt.ArrayLike) -> FloatArray:
    """Exponential function; relative error below 1e-15.

    Reduction to |r| <= ln(2) / 2 and the Taylor series of degree 13.

    Args:
        x: Finite; values beyond +-700 are taken as +-700.
    """
    clipped = np.minimum(np.maximum(np.asarray(x, dtype=np.float64), -_EXP_LIMIT), _EXP_LIMIT)
    power = np.rint(clipped * (1.0 / math.log(2.0)))
    rest = (clipped - power * _LN2_HIGH) - power * _LN2_LOW
    return np.ldexp(_polynomial(_EXP_TERMS, rest), power.astype(np.int32))


def log(x: npt.ArrayLike) -> FloatArray:
    """Natural logarithm; error below 1e-15, relative where the result is not near 0.

    ln m = 2 artanh((m - 1) / (m + 1)) for a mantissa m between sqrt(1/2) and sqrt(2).

    Args:
        x: Finite and positive.
    """
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    power = (exponent - low).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    return power * _LN2_HIGH + (2.0 * ratio * _polynomial(_ATANH_TERMS, ratio * ratio) + power * _LN2_LOW)


def norm_cdf(x: npt.ArrayLike) -> FloatArray:
    """Probability that a standard normal variate is below x; absolute error below 1e-14.

    Hart, "Computer Approximations" (1968), algorithm 5666, with a continued fraction in the tails,
    after G. West, "Better approximations to cumulative normal functions", Wilmott (2005).
    """
    value = np.asarray(x, dtype=np.float64)
    distance = np.minimum(np.abs(value), 40.0)
    density = exp(-0.5 * (distance * distance))
    tail = density * _polynomial(_HART_NUMERATOR, distance) / _polynomial(_HART_DENOMINATOR, distance)
    far = distance >= _HART_LIMIT
    if far.any():
        fraction = distance + 0.65
        for numerator in (4.0, 3.0, 2.0, 1.0):
            fraction = distance + numerator / fraction
        tail = np.where(far, density / fraction / 2.506628274631, tail)
    return np.where(value > 0.0, 1.0 - tail, tail)


def norm_ppf(p: npt.ArrayLike) -> FloatArray:
    """The x below which a standard normal variate lies with probability p; relative error below 1.2e-9.

    P. J. Acklam, "An algorithm for computing the inverse normal cumulative distribution function" (2003).

    Args:
        p: Strictly between 0 and 1.
    """
    probability = np.asarray(p, dtype=np.float64)
    offset = probability - 0.5
    square = offset * offset
    result: FloatArray = (
        offset * _polynomial(_PPF_CENTRE_NUMERATOR, square) / _polynomial(_PPF_CENTRE_DENOMINATOR, square)
    )
    smaller = np.minimum(probability, 1.0 - probability)
    far = smaller < _PPF_TAIL
    if far.any():
        root = np.sqrt(-2.0 * log(smaller[far]))
        tail = _polynomial(_PPF_TAIL_NUMERATOR, root) / _polynomial(_PPF_TAIL_DENOMINATOR, root)
        result[far] = np.where(offset[far] < 0.0, tail, -tail)
    return result


def _d1_d2(
    forward: npt.ArrayLike, strike: npt.ArrayLike, years: npt.ArrayLike, volatility: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """The two arguments of Black's formula; without time or volatility left, the side of the strike."""
    forward = np.asarray(forward, dtype=np.float64)
    strike = np.asarray(strike, dtype=np.float64)
    deviation = np.asarray(volatility, dtype=np.float64) * np.sqrt(np.asarray(years, dtype=np.float64))
    # Dividing by less would overflow; nothing is left to chance long before.
    certain = deviation <= 1e-200
    # At 40 standard deviations norm_cdf is exactly 0 or 1, which makes the price the intrinsic value.
    side = 40.0 * np.sign(forward - strike)
    d1 = log(forward / strike) / np.where(certain, 1.0, deviation) + 0.5 * deviation
    return np.where(certain, side, d1), np.where(certain, side, d1 - deviation)


def price(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    *,
    side: npt.ArrayLike,
    discount: npt.ArrayLike = 1.0,
) -> FloatArray:
    """Present value of an option, never negative; the arguments broadcast against one another.

    F. Black, "The pricing of commodity contracts", Journal of Financial Economics 3 (1976):
    discount * side * (F N(side d1) - K N(side d2)).

    Args:
        forward: Forward price for the expiry, rupees, positive.
        strike: Rupees, positive.
        years: Time to expiry, not negative; 0 gives the intrinsic value.
        volatility: Annualised fraction, not negative.
        side: +1 for a call, -1 for a put.
        discount: Present value of one rupee paid at expiry.
    """
    side = np.asarray(side, dtype=np.float64)
    d1, d2 = _d1_d2(forward, strike, years, volatility)
    received, paid = norm_cdf(np.stack((side * d1, side * d2)))
    value = side * (np.asarray(forward) * received - np.asarray(strike) * paid)
    result: FloatArray = np.asarray(discount) * np.maximum(value, 0.0)
    return result


def delta(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    *,
    side: npt.ArrayLike,
    discount: npt.ArrayLike = 1.0,
) -> FloatArray:
    """Change of the price for a rupee of the forward; arguments as in `price`."""
    side = np.asarray(side, dtype=np.float64)
    d1, _ = _d1_d2(forward, strike, years, volatility)
    result: FloatArray = np.asarray(discount) * side * norm_cdf(side * d1)
    return result


def vega(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    *,
    discount: npt.ArrayLike = 1.0,
) -> FloatArray:
    """Change of the price for 1.00 of volatility, the same for call and put; arguments as in `price`."""
    d1, _ = _d1_d2(forward, strike, years, volatility)
    density = exp(-0.5 * (d1 * d1)) * (1.0 / math.sqrt(2.0 * math.pi))
    root_years = np.sqrt(np.asarray(years, dtype=np.float64))
    result: FloatArray = np.asarray(discount) * np.asarray(forward) * density * root_years
    return result
