"""Black-76 against the standard library, textbook values and the laws every option price keeps."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator import black76

FORWARDS = st.floats(1_000.0, 100_000.0)
LOG_MONEYNESS = st.floats(-0.5, 0.5)
YEARS = st.floats(1e-6, 2.0)
VOLATILITIES = st.floats(0.01, 1.5)


def scalar_price(forward: float, strike: float, years: float, volatility: float, side: int) -> float:
    deviation = volatility * math.sqrt(years)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    n1, n2 = (0.5 * math.erfc(-side * d / math.sqrt(2)) for d in (d1, d1 - deviation))
    return side * (forward * n1 - strike * n2)


def test_exp_is_that_of_the_standard_library() -> None:
    x = np.concatenate((np.linspace(-5, 5, 20_001), np.linspace(-690, 690, 20_001)))
    assert black76.exp(x) == pytest.approx([math.exp(v) for v in x.tolist()], rel=1e-15)


def test_exp_of_zero_is_exactly_one() -> None:
    assert black76.exp(0.0) == 1.0


def test_log_is_that_of_the_standard_library() -> None:
    x = np.concatenate((np.linspace(1e-6, 3, 20_001), np.logspace(-300, 300, 20_001)))
    assert black76.log(x) == pytest.approx([math.log(v) for v in x.tolist()], rel=1e-15, abs=1e-15)


def test_normal_distribution_function_agrees_with_erf() -> None:
    x = np.concatenate((np.linspace(-9, 9, 40_001), [-60.0, -40.0, 40.0, 60.0]))
    expected = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()])
    assert np.max(np.abs(black76.norm_cdf(x) - expected)) < 1e-14


def test_normal_quantiles_agree_with_the_standard_library() -> None:
    p = np.concatenate((np.linspace(1e-4, 1 - 1e-4, 20_001), np.logspace(-15, -3, 1_001)))
    expected = np.array([statistics.NormalDist().inv_cdf(v) for v in p.tolist()])
    assert np.max(np.abs(black76.norm_ppf(p) - expected) / np.maximum(np.abs(expected), 1e-3)) < 1.2e-9


def test_price_agrees_with_a_textbook_example() -> None:
    # Hull, "Options, Futures, and Other Derivatives": European put on a future, F = K = 20, r = 9 %,
    # four months, 25 % volatility; worth 1.12.
    value = black76.price(20.0, 20.0, 4 / 12, 0.25, side=-1, discount=math.exp(-0.09 * 4 / 12))
    assert float(value) == pytest.approx(1.12, abs=0.005)


@given(FORWARDS, LOG_MONEYNESS, YEARS, VOLATILITIES, st.sampled_from([1, -1]))
def test_price_agrees_with_the_scalar_formula(
    forward: float, log_moneyness: float, years: float, volatility: float, side: int
) -> None:
    strike = forward * math.exp(log_moneyness)
    expected = max(scalar_price(forward, strike, years, volatility, side), 0.0)
    assert float(black76.price(forward, strike, years, volatility, side=side)) == pytest.approx(
        expected, rel=1e-9, abs=1e-9 * forward
    )


@given(FORWARDS, LOG_MONEYNESS, YEARS, VOLATILITIES, st.floats(0.8, 1.0))
def test_call_less_put_is_the_discounted_forward_less_the_strike(
    forward: float, log_moneyness: float, years: float, volatility: float, discount: float
) -> None:
    strike = forward * math.exp(log_moneyness)
    call, put = black76.price(
        forward, strike, years, volatility, side=np.array([1.0, -1.0]), discount=discount
    )
    assert float(call - put) == pytest.approx(discount * (forward - strike), abs=1e-10 * forward)


@given(FORWARDS, LOG_MONEYNESS, st.floats(0.0, 2.0), st.floats(0.0, 1.5))
def test_price_lies_between_intrinsic_value_and_what_is_received(
    forward: float, log_moneyness: float, years: float, volatility: float
) -> None:
    strike = forward * math.exp(log_moneyness)
    call, put = black76.price(forward, strike, years, volatility, side=np.array([1.0, -1.0])).tolist()
    slack = 1e-9 * forward
    assert max(forward - strike, 0.0) - slack <= call <= forward + slack
    assert max(strike - forward, 0.0) - slack <= put <= strike + slack
    assert call >= 0.0
    assert put >= 0.0


@pytest.mark.parametrize(("years", "volatility"), [(0.0, 0.2), (0.5, 0.0), (0.0, 0.0)])
def test_without_time_or_volatility_the_price_is_exactly_the_intrinsic_value(
    years: float, volatility: float
) -> None:
    strikes = np.array([24_000.0, 25_000.0, 26_000.0])
    assert black76.price(25_000.0, strikes, years, volatility, side=1).tolist() == [1_000.0, 0.0, 0.0]
    assert black76.price(25_000.0, strikes, years, volatility, side=-1).tolist() == [0.0, 0.0, 1_000.0]


@settings(max_examples=50)
@given(st.floats(-0.1, 0.1), st.floats(0.01, 1.0), st.floats(0.05, 0.6), st.sampled_from([1, -1]))
def test_delta_and_vega_are_the_slopes_of_the_price(
    log_moneyness: float, years: float, volatility: float, side: int
) -> None:
    forward, strike, discount = 25_000.0, 25_000.0 * math.exp(log_moneyness), 0.97

    def value(at_forward: float, at_volatility: float) -> float:
        return discount * scalar_price(at_forward, strike, years, at_volatility, side)

    by_forward = (value(forward + 0.5, volatility) - value(forward - 0.5, volatility)) / 1.0
    by_volatility = (value(forward, volatility + 1e-4) - value(forward, volatility - 1e-4)) / 2e-4
    assert float(
        black76.delta(forward, strike, years, volatility, side=side, discount=discount)
    ) == pytest.approx(by_forward, abs=1e-5)
    assert float(black76.vega(forward, strike, years, volatility, discount=discount)) == pytest.approx(
        by_volatility, rel=1e-3, abs=1e-2
    )


def test_arguments_broadcast_to_one_chain() -> None:
    values = black76.price(
        np.full(5, 25_000.0), np.linspace(24_800, 25_200, 5), 0.01, 0.12, side=np.array([[1.0], [-1.0]])
    )
    assert values.shape == (2, 5)
    assert (np.diff(values[0]) < 0).all()
    assert (np.diff(values[1]) > 0).all()


_DIGEST = """
import hashlib
import numpy as np
from ingest.simulator import black76 as b
x = np.linspace(-30, 30, 9_999)
values = [b.exp(x), b.log(np.abs(x) + 0.1), b.norm_cdf(x), b.norm_ppf((x + 31) / 62),
          b.price(25_000.0, 25_000.0 + 100 * x, 0.02, 0.13, side=-1)]
print(hashlib.sha256(b"".join(v.tobytes() for v in values)).hexdigest())
"""


def test_results_do_not_depend_on_the_vector_instructions_of_the_processor() -> None:
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("numpy uses no vector extension here that could be switched off")
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            cwd=Path(__file__).parents[3],
            env=os.environ | extra,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for extra in ({}, {"NPY_DISABLE_CPU_FEATURES": " ".join(found)})
    }
    assert len(digests) == 1
