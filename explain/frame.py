"""What a model is trained on: one row a chain update, features known at that moment, and what came after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog.features import KEYS

__all__ = ["CLASSES", "KEYS", "LabelTerms", "TrainingFrame", "feature_matrix"]

CLASSES = ("BUY", "HOLD", "SELL")
"""Classes in the order of the model's outputs: alphabetical, as LightGBM's `classes_` are."""


@dataclass(frozen=True, slots=True)
class LabelTerms:
    """What counts as a move.

    The forward return is the log return of the underlying over the horizon. BUY where it is above
    `threshold` x the move that the realised volatility before the moment leads one to expect over the
    horizon, SELL where it is below minus that, HOLD in between.

    Attributes:
        horizon: How far the label looks ahead; never across the end of a session.
        threshold: In expected moves.
    """

    horizon: timedelta = timedelta(minutes=15)
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class TrainingFrame:
    """Features and labels of one exchange, in the order of time.

    Attributes:
        rows: `KEYS`, then one float64 column a feature, then `forward_return` and `label`; sorted by event
            time, then symbol. No label is null.
        features: Names of the feature columns, in their order.
        terms: How the labels were made.
    """

    rows: pa.Table
    features: tuple[str, ...]
    terms: LabelTerms

    def matrix(self) -> npt.NDArray[np.float64]:
        """The features as an array of (rows, features); null is NaN."""
        return feature_matrix(self.rows, self.features)

    def classes(self) -> npt.NDArray[np.int64]:
        """For each row the number of its label in `CLASSES`."""
        codes = pc.index_in(self.rows.column("label"), pa.array(CLASSES))
        return np.asarray(codes.combine_chunks().to_numpy(zero_copy_only=False), dtype=np.int64)


def feature_matrix(rows: pa.Table, features: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Columns of a table as an array of (rows, features), float64; null is NaN."""
    matrix = np.empty((rows.num_rows, len(features)))
    for index, name in enumerate(features):
        matrix[:, index] = rows.column(name).cast(pa.float64()).to_numpy()
    return matrix
