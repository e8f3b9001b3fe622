"""A stratified sample forgets no stratum, and its weights undo the distortion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explain.sampling import MINIMUM, allocation, stratified_sample

CLASSES = np.repeat([0, 1, 2], [9_000, 900, 100])


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=60), st.floats(0, 1))
def test_an_allocation_takes_the_whole_size_and_no_more_than_there_is(sizes: list[int], part: float) -> None:
    size = len(sizes) + int(part * (sum(sizes) - len(sizes)))
    taken = allocation(np.array(sizes), size)
    assert taken.sum() == size
    assert (taken >= 1).all()
    assert (taken <= sizes).all()


def test_of_few_rows_all_are_taken() -> None:
    sample = stratified_sample({"class": CLASSES}, len(CLASSES), size=len(CLASSES), seed=1)
    np.testing.assert_array_equal(sample.indices, np.arange(len(CLASSES)))
    assert (sample.weights == 1).all()
    assert sample.effective_rows == pytest.approx(len(CLASSES))


def test_every_stratum_has_its_minimum_and_the_rest_is_in_proportion() -> None:
    sample = stratified_sample({"class": CLASSES}, len(CLASSES), size=500, seed=1)
    taken = np.bincount(CLASSES[sample.indices])
    assert taken.sum() == len(set(sample.indices)) == 500
    assert (taken >= MINIMUM).all()
    assert taken[0] / taken[1] == pytest.approx(10, rel=0.3)


def test_weights_stand_for_the_rows_of_each_stratum() -> None:
    sample = stratified_sample({"class": CLASSES}, len(CLASSES), size=100, seed=1)
    found = np.bincount(CLASSES[sample.indices], weights=sample.weights)
    np.testing.assert_allclose(found, [9_000, 900, 100])


def test_weighted_means_are_unbiased_where_plain_ones_are_not() -> None:
    values = CLASSES**2 + np.random.default_rng(0).normal(size=len(CLASSES))
    samples = [stratified_sample({"class": CLASSES}, len(CLASSES), size=60, seed=s) for s in range(300)]
    weighted = np.mean([np.average(values[s.indices], weights=s.weights) for s in samples])
    plain = np.mean([values[s.indices].mean() for s in samples])
    assert weighted == pytest.approx(values.mean(), abs=0.03)
    assert abs(plain - values.mean()) > 0.3


def test_the_seed_decides_and_nothing_else() -> None:
    def one(seed: int) -> list[int]:
        return stratified_sample({"class": CLASSES}, len(CLASSES), size=60, seed=seed).indices.tolist()

    assert one(1) == one(1) != one(2)


def test_strata_that_would_be_too_many_are_made_coarser_and_said_so() -> None:
    each = np.arange(len(CLASSES))
    sample = stratified_sample({"class": CLASSES, "row": each}, len(CLASSES), size=100, seed=1)
    assert sample.strata == ("class",)
    assert len(sample.indices) == 100
