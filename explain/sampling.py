"""A sample of rows in which no stratum is missing, with the weights that undo what that distorts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MINIMUM = 10
"""Rows taken of each stratum, as far as it has them and the sample has room."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows chosen out of many.

    Attributes:
        indices: Numbers of the rows chosen, rising.
        weights: For each of them, how many rows it stands for: size of its stratum / rows chosen of it. A
            weighted mean is therefore an unbiased estimate of the mean over all rows, which the plain mean
            is not (Horvitz and Thompson, 1952).
        of_rows: How many there were.
        strata: What the strata were made of; without the last ones where they would have been too many.
        seed: Of the random choice.
    """

    indices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    of_rows: int
    strata: tuple[str, ...]
    seed: int

    @property
    def effective_rows(self) -> float:
        """How many equally weighted rows would be as precise (Kish, 1965): (sum w)^2 / sum w^2."""
        return float(self.weights.sum() ** 2 / np.square(self.weights).sum())


def stratified_sample(
    by: Mapping[str, npt.NDArray[np.generic]], rows: int, *, size: int, seed: int
) -> Sample:
    """Choose rows at random within strata: of each `MINIMUM` or more, the rest in proportion.

    Args:
        by: What tells strata apart, the most important first; each an array of one value a row.
        rows: How many rows there are.
        size: How many to choose; all if there are no more.
        seed: The same rows, size and seed give the same sample.
    """
    if rows <= size:
        every = np.arange(rows, dtype=np.int64)
        return Sample(every, np.ones(rows), rows, tuple(by), seed)
    names, codes, sizes = _strata(by, rows, size)
    taken = allocation(sizes, size)
    random = np.random.default_rng(seed)
    chosen = [
        random.choice(np.flatnonzero(codes == stratum), taken[stratum], replace=False)
        for stratum in range(len(sizes))
    ]
    indices = np.sort(np.concatenate(chosen)).astype(np.int64)
    return Sample(indices, (sizes / taken)[codes[indices]], rows, names, seed)


def allocation(sizes: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """How many rows to take of each stratum: `size` in all, none more than it has.

    Args:
        sizes: Rows of each stratum, none of them 0.
        size: No less than there are strata, no more than there are rows.
    """
    floor = max(1, min(MINIMUM, size // (2 * len(sizes))))
    taken = np.minimum(sizes, floor)
    rest = size - int(taken.sum())
    spare = sizes - taken
    share = spare * (rest / max(1, int(spare.sum())))
    whole = np.floor(share).astype(np.int64)
    # The largest remainders get what rounding down has left; a stable sort makes ties repeatable.
    order = np.argsort(whole - share, kind="stable")
    whole[order[: rest - int(whole.sum())]] += 1
    return np.asarray(taken + whole, dtype=np.int64)


def _strata(
    by: Mapping[str, npt.NDArray[np.generic]], rows: int, size: int
) -> tuple[tuple[str, ...], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Names used, the stratum of every row, and the sizes: at most one stratum for every two rows chosen."""
    codes = np.zeros(rows, dtype=np.int64)
    names: list[str] = []
    for name, values in by.items():
        inner = np.unique(values, return_inverse=True)[1]
        finer = np.unique(codes * (int(inner.max()) + 1) + inner, return_inverse=True)[1]
        if 2 * (int(finer.max()) + 1) > size:
            break
        codes = finer.astype(np.int64)
        names.append(name)
    return tuple(names), codes, np.bincount(codes).astype(np.int64)
