"""A model's signal for the features of one moment, and why: what a live app asks.

Only LightGBM is loaded here; nothing of training, plots or tables is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from catalog.exchanges import canonical_symbol
from explain.contributions import softmax
from explain.model_folder import INFO_FILE, ModelInfo, find_model, load_booster, read_info
from explain.model_input import ModelInput, ModelRow
from explain.narratives import TopFeature, narrative
from lake.errors import ContractError, ModelNotReadableError, StaleModelError

logger = logging.getLogger(__name__)

Depth = Literal["exact", "context"]
Floats = npt.NDArray[np.float64]

MAX_MISSING = 0.5
"""Share of the model's importance that may be missing; with less, it answers from something else."""

MIN_TOP, MAX_TOP = 3, 5


@dataclass(frozen=True, slots=True)
class Signal:
    """What a model says of one symbol at one moment.

    Attributes:
        signal: The class that the model holds most likely: BUY, HOLD or SELL.
        confidence: Its probability.
        probabilities: Of each class; they sum to 1.
        event_time: Of the features, with zone.
        exchange: `NSE` or `BSE`.
        symbol: Underlying, None if it was not given.
        metadata: `regime` (by dimension), `model_version`, `dataset` (name and content_digest), `depth`
            (`exact` or `context`), `top_features` (each with name, value, z, magnitude, contribution; see
            `explain.narratives.TopFeature`), `expected` and `raw_score` (log-odds of the class: what every
            row starts from, and where the contributions of all features lead; None in context), `narrative`,
            `missing_features`, `unknown_features`, `stale` and `warnings` (sentences).
    """

    signal: str
    confidence: float
    probabilities: dict[str, float]
    event_time: datetime
    exchange: str
    symbol: str | None
    metadata: dict[str, Any]

    def to_record(self) -> dict[str, Any]:
        """The columns of the table `signals`, for `StreamTap.offer_signal`."""
        told = self.metadata
        return {
            "signal": self.signal,
            "confidence": self.confidence,
            "probabilities": dict(self.probabilities),
            "regime": dict(told["regime"]),
            "model_version": told["model_version"],
            "dataset": told["dataset"]["name"],
            "dataset_digest": told["dataset"]["content_digest"],
            "depth": told["depth"],
            "top_features": [dict(feature) for feature in told["top_features"]],
            "expected": told["expected"],
            "raw_score": told["raw_score"],
            "narrative": told["narrative"],
        }


class SignalGenerator:
    """Makes signals of one model. Deterministic, and safe to use from several threads.

    Attributes:
        info: What `model.json` says of the model.
    """

    def __init__(
        self,
        model_dir: Path | str,
        *,
        depth: Depth = "exact",
        explain_hold: bool = True,
        top: int = MAX_TOP,
        max_age_days: int = 30,
        on_stale: Literal["flag", "raise"] = "flag",
        allow_missing: bool = False,
    ) -> None:
        """Load a model.

        Args:
            model_dir: Folder of a model, or `models/<EXCHANGE>` for the one that was made last.
            depth: `exact`: the contributions to this very signal, which give the probabilities as well; a
                few milliseconds, so off the hot path. `context`: the features that mattered most in training,
                in this regime if it is known, with their values now. Quick, but no explanation: such a
                ranking shares about 63 % of a signal's true five.
            explain_hold: False to give HOLD its context only: a plain prediction comes first then, which
                costs the other classes that much more.
            top: Features told, 3 to 5.
            max_age_days: Days from the last session of the training rows, after which a model is stale.
            on_stale: What then: `flag` says so in the metadata and, once, in the log; `raise` refuses.
            allow_missing: Answer also if features of more than half of the model's importance are missing.

        Raises:
            ModelNotFoundError: There is no model.
            ModelNotReadableError: Its files are damaged, do not belong together, or it is no classifier.
            ValueError: `top` is not from 3 to 5, or `depth` or `on_stale` is none of the words above.
        """
        if not MIN_TOP <= top <= MAX_TOP:
            raise ValueError(f"top is from {MIN_TOP} to {MAX_TOP}, not {top}")
        if depth not in {"exact", "context"} or on_stale not in {"flag", "raise"}:
            raise ValueError(f"depth is exact or context, on_stale is flag or raise: {depth!r}, {on_stale!r}")
        folder = Path(model_dir)
        if not (folder / INFO_FILE).exists():
            folder = find_model(folder.parent, folder.name)
        self.info: ModelInfo = read_info(folder)
        self._booster = load_booster(folder, self.info)
        self._check_shape(folder)
        self._names = self.info.feature_names
        self._input = ModelInput(self._names)
        self._place = {name: place for place, name in enumerate(self._names)}
        self._regimes = [(d, self._place.get(d.feature)) for d in self.info.regimes]
        self._dataset = {key: self.info.dataset[key] for key in ("name", "content_digest")}
        self._last_date = date.fromisoformat(str(self.info.dataset["last_date"]))
        self._depth, self._explain_hold, self._top = depth, explain_hold, top
        self._max_age_days, self._on_stale, self._allow_missing = max_age_days, on_stale, allow_missing
        self._told_stale = False

    def generate_signal(
        self,
        features: Mapping[str, Any],
        *,
        event_time: datetime | None = None,
        symbol: str | None = None,
    ) -> Signal:
        """The signal for one row of features.

        Features that the model has and the row lacks (or has as None or NaN) are missing to the model and
        named in the metadata; names it does not know are ignored and named. Their order does not matter.

        Args:
            features: Numbers by name, as `explain.features.features_at` gives them.
            event_time: When they were so, with zone; now by default.
            symbol: Underlying. One the model was not trained on is flagged.

        Raises:
            ContractError: A feature is text, infinite or no number; there are no names; too much is missing
                (see `allow_missing`); or the time has no zone.
            StaleModelError: The model is stale, and `on_stale` is `raise`.
        """
        moment = event_time if event_time is not None else datetime.now(UTC)
        if moment.tzinfo is None:
            raise ContractError(f"event_time {moment} has no zone")
        symbol = None if symbol is None else canonical_symbol(symbol)
        row = self._input.row(features)
        warnings = self._warnings(row, moment, symbol)
        contributions, shares = self._ask(row.matrix)
        chosen = shares.index(max(shares))
        names = self.info.classes
        probabilities = dict(zip(names, shares, strict=True))
        regime = {
            d.name: d.of(None if place is None else row.matrix.item(place)) for d, place in self._regimes
        }
        if contributions is None:
            top = self._context(row.matrix, regime)
        else:
            top = self._explanation(row.matrix, contributions[chosen])
        return Signal(
            signal=names[chosen],
            confidence=shares[chosen],
            probabilities=probabilities,
            event_time=moment,
            exchange=self.info.exchange,
            symbol=symbol,
            metadata={
                "regime": regime,
                "model_version": self.info.model_version,
                "dataset": dict(self._dataset),
                "depth": "context" if contributions is None else "exact",
                "top_features": [
                    {
                        "name": f.name, "value": f.value, "z": f.z,
                        "magnitude": f.magnitude, "contribution": f.contribution,
                    }
                    for f in top
                ],
                "expected": None if contributions is None else contributions.item(chosen, -1),
                "raw_score": None if contributions is None else float(contributions[chosen].sum()),
                "narrative": narrative(
                    names[chosen], probabilities, top, explained=contributions is not None
                ),
                "missing_features": row.missing,
                "unknown_features": row.unknown,
                "stale": self._age(moment) > self._max_age_days,
                "warnings": warnings,
            },
        )  # fmt: skip

    def _ask(self, matrix: Floats) -> tuple[Floats | None, list[float]]:
        """Contributions by class, with the expected score last, if they are wanted; and the probabilities."""
        if self._depth == "context" or not self._explain_hold:
            shares: list[float] = np.asarray(self._booster.predict(matrix, num_threads=1))[0].tolist()
            if self._depth == "context" or self.info.classes[shares.index(max(shares))] == "HOLD":
                return None, shares
        found = np.asarray(self._booster.predict(matrix, pred_contrib=True, num_threads=1))
        by_class: Floats = found.reshape(len(self.info.classes), -1)
        return by_class, softmax(by_class.sum(axis=1)).tolist()

    def _explanation(self, matrix: Floats, contributions: Floats) -> list[TopFeature]:
        """The features with the largest contributions to one class, the expected score left out."""
        sizes = np.abs(contributions[:-1])
        total = sizes.sum()
        shares = sizes / total if total else sizes
        places = np.argsort(-sizes, kind="stable")[: self._top].tolist()
        return [
            self._feature(place, matrix, shares.item(place), contributions.item(place)) for place in places
        ]

    def _context(self, matrix: Floats, regime: Mapping[str, str]) -> list[TopFeature]:
        rankings = self.info.top_features
        known = (f"{name}={value}" for name, value in regime.items())
        ranking = next((rankings[name] for name in known if name in rankings), rankings["all"])
        places = [self._place[name] for name in ranking[: self._top]]
        return [self._feature(place, matrix, self.info.features[place].importance, None) for place in places]

    def _feature(
        self, place: int, matrix: Floats, magnitude: float, contribution: float | None
    ) -> TopFeature:
        feature = self.info.features[place]
        value = matrix.item(place)
        if value != value:  # noqa: PLR0124 - NaN
            return TopFeature(feature.name, None, None, magnitude, contribution)
        z = (value - feature.mean) / feature.std if feature.std and feature.mean is not None else None
        return TopFeature(feature.name, value, z, magnitude, contribution)

    def _warnings(self, row: ModelRow, moment: datetime, symbol: str | None) -> list[str]:
        told = []
        if row.missing:
            share = sum(self.info.features[self._place[name]].importance for name in row.missing)
            if share > MAX_MISSING and not self._allow_missing:
                raise ContractError(
                    f"{len(row.missing)} of {len(self.info.features)} features are missing, with {share:.0%} "
                    f"of the model's importance: {_some(row.missing)}; allow_missing=True answers anyway"
                )
            told.append(f"missing, with {share:.0%} of the model's importance: {_some(row.missing)}")
        if row.unknown:
            told.append(f"not features of the model, and ignored: {_some(row.unknown)}")
        if symbol is not None and symbol not in self.info.symbols:
            told.append(f"the model was not trained on {symbol}, but on {', '.join(self.info.symbols)}")
        age = self._age(moment)
        if age > self._max_age_days:
            stale = f"model {self.info.model_version} is stale: its newest session is {age} days old"
            if self._on_stale == "raise":
                raise StaleModelError(f"{stale}; train a new one, or raise max_age_days")
            if not self._told_stale:
                self._told_stale = True
                logger.warning(
                    "stale model",
                    extra={"action": "signal", "model_version": self.info.model_version, "age_days": age},
                )
            told.append(stale)
        return told

    def _age(self, moment: datetime) -> int:
        return (moment.date() - self._last_date).days

    def _check_shape(self, folder: Path) -> None:
        """Refuse a model whose inputs or outputs are not those that model.json names."""
        inputs, outputs = self._booster.num_feature(), self._booster.num_model_per_iteration()
        if inputs != len(self.info.features) or outputs != len(self.info.classes):
            raise ModelNotReadableError(
                f"{folder}: the model has {inputs} inputs and {outputs} outputs, {INFO_FILE} names "
                f"{len(self.info.features)} and {len(self.info.classes)}"
            )


def _some(names: tuple[str, ...], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
