"""The model in use, as far as drift is concerned: its dataset, its features, and where its profile is.

`model.json` is read as plain JSON: the file is the interface between the rooms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from catalog.calendar import SessionCalendar
from lake.errors import MalformedInputError, ModelNotFoundError, ModelNotReadableError, NotEnoughDataError
from monitors.drift_profile import DriftProfile, build_profile, read_profile, write_profile

INFO_FILE, PROFILE_FILE = "model.json", "drift_profile.json"


@dataclass(frozen=True, slots=True)
class ModelReference:
    """What a model's `model.json` says of its reference.

    Attributes:
        folder: The model's folder; the profile is beside `model.json`.
        exchange: `NSE` or `BSE`.
        model_version: Its version.
        created_at: When it was made.
        dataset: Name of its training dataset.
        dataset_digest: The dataset's content digest.
        symbols: Underlyings it was trained on; none for all.
        features: Its inputs, in order.
    """

    folder: Path
    exchange: str
    model_version: str
    created_at: datetime
    dataset: str
    dataset_digest: str
    symbols: tuple[str, ...]
    features: tuple[str, ...]

    @property
    def profile_file(self) -> Path:
        """Where the drift profile is, or will be."""
        return self.folder / PROFILE_FILE


def model_in_use(models: Path, exchange: str) -> ModelReference:
    """The model of an exchange that was made last.

    Raises:
        ModelNotFoundError: There is none.
        ModelNotReadableError: A `model.json` is not what it should be.
    """
    found = [read_reference(file.parent) for file in sorted((models / exchange).glob(f"*/{INFO_FILE}"))]
    if not found:
        raise ModelNotFoundError(f"no model of {exchange} in {models}: run 'strikelake explain train'")
    return max(found, key=lambda model: (model.created_at, model.model_version))


def read_reference(folder: Path) -> ModelReference:
    """What one model's `model.json` says.

    Raises:
        ModelNotReadableError: It cannot be read, or lacks what is needed.
    """
    file = folder / INFO_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return ModelReference(
            folder=folder,
            exchange=str(values["exchange"]),
            model_version=str(values["model_version"]),
            created_at=datetime.fromisoformat(values["created_at"]),
            dataset=str(values["dataset"]["name"]),
            dataset_digest=str(values["dataset"]["content_digest"]),
            symbols=tuple(map(str, values["symbols"])),
            features=tuple(str(feature["name"]) for feature in values["features"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelNotReadableError(f"{file} is no model.json of ours: {error!r}") from error


def feature_counts(models: Path, exchange: str, versions: Collection[str]) -> dict[str, int]:
    """How many features each of some models has, of those whose folder is still there and can be read."""
    found = {}
    # Looked up among what is there: a version comes from a table, and never becomes a path.
    for file in (models / exchange).glob(f"*/{INFO_FILE}"):
        if file.parent.name in versions:
            with suppress(ModelNotReadableError):
                found[file.parent.name] = len(read_reference(file.parent).features)
    return found


def profile_of(
    model: ModelReference, training_rows: Callable[[], pa.Table], calendar: SessionCalendar
) -> DriftProfile:
    """The model's drift profile, made and kept the first time it is asked for.

    A profile that cannot be read, is of another dataset or of other features is made again.

    Args:
        model: The model.
        training_rows: Gives the feature rows of its dataset: event_time, date, exchange, symbol, features.
            Take all rows and not those with a label only: live rows have none yet.
        calendar: When sessions open and close.

    Raises:
        NotEnoughDataError: The dataset gives no row within a session.
        OSError: The disk is full or failed.
    """
    try:
        profile = read_profile(model.profile_file, dataset_digest=model.dataset_digest)
        if profile.features == model.features and profile.exchange == model.exchange:
            return profile
    except (NotEnoughDataError, MalformedInputError):
        pass
    rows = training_rows()
    if model.symbols:
        rows = rows.filter(pc.is_in(rows.column("symbol"), pa.array(model.symbols)))
    profile = build_profile(
        rows, model.exchange, dataset=model.dataset, dataset_digest=model.dataset_digest, calendar=calendar,
        features=model.features,
    )  # fmt: skip
    write_profile(profile, model.profile_file)
    return profile
