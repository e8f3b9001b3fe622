"""Features by name -> the row that a model reads; what is missing, unknown or unusable is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from lake.errors import ContractError

_PLAIN = frozenset({float, int, bool, type(None), np.float64})
"""Types that numpy turns into float64 as they mean it: None is NaN. (It would read text as well.)"""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row for a model.

    Attributes:
        matrix: (1, features), float64; NaN is missing.
        missing: Features of the model that were not given, or given as None or NaN; in the model's order.
        unknown: Names that were given and are no features of the model, sorted.
    """

    matrix: npt.NDArray[np.float64]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


class ModelInput:
    """Puts features by name into the order of a model. Safe to use from several threads."""

    def __init__(self, features: Sequence[str]) -> None:
        """Names in the order of the model's inputs."""
        self._names = tuple(features)
        self._known = frozenset(features)
        # The quick way where nothing is missing; of one name alone it gives no tuple.
        get = itemgetter(*self._names)
        self._all = get if len(self._names) > 1 else lambda given: (get(given),)

    def row(self, features: Mapping[str, Any]) -> ModelRow:
        """The row of one mapping, in whatever order its names are.

        Args:
            features: Numbers by name: floats, integers, booleans, decimals, numpy scalars; None and NaN are
                missing.

        Raises:
            ContractError: This is no mapping by name, or a value is text, infinite or no number.
        """
        if not isinstance(features, Mapping):
            raise ContractError(
                f"features are a mapping from name to number, not a {type(features).__name__}: "
                "without names their order cannot be checked"
            )
        try:
            # Other mappings may make up what they lack, as a defaultdict does.
            values = list(self._all(features)) if type(features) is dict else self._found(features)
        except KeyError:
            values = self._found(features)
        if not set(map(type, values)) <= _PLAIN:
            values = [_number(name, value) for name, value in zip(self._names, values, strict=True)]
        try:
            matrix = np.array([values], dtype=np.float64)
        except OverflowError:
            matrix = np.array([[_number(n, v) for n, v in zip(self._names, values, strict=True)]])
        if not np.isfinite(matrix).all():
            infinite = np.flatnonzero(np.isinf(matrix[0]))
            if len(infinite):
                name = self._names[infinite[0]]
                raise ContractError(
                    f"feature {name} is {matrix[0, infinite[0]]}: features are finite numbers"
                )
            missing = tuple(self._names[place] for place in np.flatnonzero(np.isnan(matrix[0])))
        else:
            missing = ()
        unknown = features.keys() - self._known if len(features) + len(missing) > len(self._names) else ()
        return ModelRow(matrix, missing, tuple(sorted(map(str, unknown))))

    def _found(self, features: Mapping[str, Any]) -> list[Any]:
        return [features.get(name) for name in self._names]


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, Real | Decimal | np.bool_):
        try:
            return float(value)
        except (OverflowError, ValueError) as error:
            raise ContractError(f"feature {name} is {value!r}: {error}") from error
    raise ContractError(f"feature {name} is {value!r}, a {type(value).__name__}: features are numbers")
