"""A model on disk: `model.txt` (LightGBM's text form) and `model.json`, which says all about it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explain.regimes import Dimension
from lake.durability import fsync_directory, write_durably
from lake.errors import ModelNotFoundError, ModelNotReadableError

if TYPE_CHECKING:
    import lightgbm as lgb

MODEL_FILE = "model.txt"
INFO_FILE = "model.json"
CARD_FILE = "MODEL_CARD.md"
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """A feature as it was in training.

    Attributes:
        name: Its column.
        mean: Over the rows that have it; None if none has.
        std: Standard deviation, likewise.
        quantiles: At `QUANTILES`; empty if no row has it.
        missing_share: Share of rows that lack it.
        importance: Mean absolute contribution, normalised to a sum of one over the features.
    """

    name: str
    mean: float | None
    std: float | None
    quantiles: tuple[float, ...]
    missing_share: float
    importance: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What `model.json` holds.

    Attributes:
        model_version: `<last date of the dataset>-<first 12 digits of model_sha256>`.
        model_sha256: Of `model.txt`; a file that differs is not loaded.
        exchange: `NSE` or `BSE`.
        symbols: Underlyings it was trained on.
        created_at: When, with zone.
        dataset: Name, content_digest, row_count, versions, first_date and last_date of the rows trained on,
            query (whether it has one), frame_digest (of features and labels made of it).
        classes: In the order of the model's outputs.
        features: In the order of the model's inputs.
        regimes: Cut points.
        top_features: By regime (`vix=high`), with `all` for all rows: the features by falling mean absolute
            contribution.
        label: horizon_s and threshold.
        parameters: LightGBM's, with `num_iterations` and the seed.
        folds: For each walk-forward fold: rows, dates, metrics, and those of naive baselines.
        software: Versions of the packages.
        metrics: Of all folds' test rows together, and what they say about the data.
        warnings: What a reader has to know, in sentences.
    """

    model_version: str
    model_sha256: str
    exchange: str
    symbols: tuple[str, ...]
    created_at: datetime
    dataset: dict[str, Any]
    classes: tuple[str, ...]
    features: tuple[FeatureInfo, ...]
    regimes: tuple[Dimension, ...]
    top_features: dict[str, tuple[str, ...]]
    label: dict[str, float]
    parameters: dict[str, Any]
    folds: tuple[dict[str, Any], ...]
    software: dict[str, str]
    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names in the order of the model's inputs."""
        return tuple(feature.name for feature in self.features)

    def to_json(self) -> str:
        """The text of `model.json`."""
        values = asdict(self) | {"created_at": self.created_at.isoformat()}
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def model_version(last_date: str, text: bytes) -> str:
    """Version of a model: the same rows and terms give the same.

    Args:
        last_date: Last session date it was trained on, `2026-07-24`.
        text: Content of `model.txt`.
    """
    return f"{last_date}-{hashlib.sha256(text).hexdigest()[:12]}"


def write_model(models: Path, info: ModelInfo, text: bytes, card: str) -> tuple[Path, bool]:
    """Write the folder of a model, whole or not at all; one that is there already is kept.

    Args:
        models: Folder of all models.
        info: `model.json`.
        text: `model.txt`.
        card: `MODEL_CARD.md`.

    Returns:
        The folder, and whether this model was there already.

    Raises:
        ModelNotReadableError: The folder is there, and its files are not this model.
        OSError: The disk is full or failed; nothing is left.
    """
    folder = models / info.exchange / info.model_version
    if _is_there(folder, text):
        return folder, True
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The dot hides it from whoever lists models.
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    files = {MODEL_FILE: text, CARD_FILE: card.encode(), INFO_FILE: info.to_json().encode()}
    try:
        draft.mkdir()
        for name, data in files.items():
            write_durably(draft / name, data)
        fsync_directory(draft)
        try:
            os.rename(draft, folder)  # noqa: PTH104 - fails if another process was quicker
        except OSError:
            if not _is_there(folder, text):
                raise
            return folder, True
        fsync_directory(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder, False


def _is_there(folder: Path, text: bytes) -> bool:
    if not folder.exists():
        return False
    info = read_info(folder)
    load_booster(folder, info)
    if (folder / MODEL_FILE).read_bytes() != text:
        raise ModelNotReadableError(f"{folder} holds another model than its name says: move it away")
    return True


def model_folders(models: Path, exchange: str) -> list[Path]:
    """Folders of the models of an exchange, by name."""
    found = (path.parent for path in (models / exchange).glob(f"*/{INFO_FILE}"))
    return sorted(folder for folder in found if not folder.name.startswith("."))


def find_model(models: Path, exchange: str, version: str | None = None) -> Path:
    """The folder of one model, by default the one that was made last.

    Raises:
        ModelNotFoundError: There is none.
        ModelNotReadableError: A `model.json` is not what it should be.
    """
    found = model_folders(models, exchange)
    if version is not None:
        chosen = [path for path in found if path.name == version]
    else:
        chosen = sorted(found, key=lambda path: (read_info(path).created_at, path.name))[-1:]
    if not chosen:
        which = f"version {version} " if version else ""
        known = ", ".join(path.name for path in found) or "none yet"
        raise ModelNotFoundError(
            f"no model {which}of {exchange} in {models} (models: {known}): run 'strikelake explain train'"
        )
    return chosen[0]


def read_info(folder: Path) -> ModelInfo:
    """What a model's `model.json` says.

    Raises:
        ModelNotFoundError: There is no such file.
        ModelNotReadableError: It is not what it should be.
    """
    file = folder / INFO_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return ModelInfo(
            **values
            | {
                "created_at": datetime.fromisoformat(values["created_at"]),
                "symbols": tuple(values["symbols"]),
                "classes": tuple(values["classes"]),
                "features": tuple(
                    FeatureInfo(**f | {"quantiles": tuple(f["quantiles"])}) for f in values["features"]
                ),
                "regimes": tuple(
                    Dimension(**d | {"cuts": tuple(d["cuts"]), "names": tuple(d["names"])})
                    for d in values["regimes"]
                ),
                "top_features": {name: tuple(order) for name, order in values["top_features"].items()},
                "folds": tuple(values["folds"]),
                "warnings": tuple(values.get("warnings", ())),
            }
        )
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"no model in {folder}: it has no {INFO_FILE}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelNotReadableError(f"{file} is no model.json of ours: {error!r}") from error


def load_booster(folder: Path, info: ModelInfo) -> lgb.Booster:
    """The model itself.

    Raises:
        ModelNotFoundError: There is no `model.txt`.
        ModelNotReadableError: It is not the file that `model.json` was written for.
    """
    import lightgbm as lgb

    file = folder / MODEL_FILE
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ModelNotFoundError(f"no model in {folder}: {error}") from error
    found = hashlib.sha256(text).hexdigest()
    if found != info.model_sha256:
        raise ModelNotReadableError(
            f"{file} is not the model that {INFO_FILE} describes: its SHA-256 is {found}, not "
            f"{info.model_sha256}"
        )
    try:
        return lgb.Booster(model_str=text.decode())
    except (lgb.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelNotReadableError(f"{file} cannot be read: {error}") from error
