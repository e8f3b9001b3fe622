"""Figures of one chain against a count by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.simulator.figures import max_pain

open_interest = st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=40)


@given(open_interest)
def test_at_max_pain_the_buyers_are_paid_least(oi: list[tuple[int, int]]) -> None:
    strikes = [24_000 + 50 * index for index in range(len(oi))]

    def paid(settled: int) -> int:
        return sum(
            call * max(settled - strike, 0) + put * max(strike - settled, 0)
            for strike, (call, put) in zip(strikes, oi, strict=True)
        )

    assert max_pain(np.array(strikes), np.array(oi).T) == min(strikes, key=paid)
