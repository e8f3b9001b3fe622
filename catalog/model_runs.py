"""Which model was trained on which dataset: a mirror of the `model.json` in the models' folders.

Nothing is only here: losing the catalog loses no model, `catalog sync` reads the folders again. What the
files are for is the business of whoever trains; here they are JSON that names a model, a dataset and figures.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select

from catalog.database import transaction, write_alone
from catalog.models import ModelRun
from lake.errors import ModelNotReadableError

_INFO = "model.json"
COLUMNS = tuple(column.name for column in ModelRun.__table__.columns)


def record_model(engine: Engine, folder: Path) -> None:
    """Make the catalog know a model, as its `model.json` says; what it knew of that version is replaced.

    Raises:
        ModelNotReadableError: The file is gone, or is not what it should be.
        CatalogUnavailableError: The catalog does not answer.
    """
    run = _read(folder)
    with transaction(engine) as connection:
        write_alone(connection)
        _replace(connection, run)


def sync_models(models: Path, engine: Engine) -> None:
    """Make the catalog's rows those of the folders `<models>/<EXCHANGE>/<model_version>/`.

    A row of a folder below `models` that is gone goes, too; rows of models that are elsewhere stay.

    Raises:
        CatalogUnavailableError: The catalog does not answer.
        ModelNotReadableError: A `model.json` is not what it should be; the others are brought up to date all
            the same, and what the catalog knows of that one stays.
    """
    runs, problems = [], []
    folders = sorted(file.parent for file in models.glob(f"*/*/{_INFO}"))
    folders = [folder for folder in folders if not folder.name.startswith(".")]
    for folder in folders:
        try:
            runs.append(_read(folder))
        except ModelNotReadableError as error:
            problems.append(str(error))
    here = models.resolve()
    present = {_place(folder) for folder in folders}
    with transaction(engine) as connection:
        write_alone(connection)
        for version, path in connection.execute(select(ModelRun.model_version, ModelRun.path)).all():
            if Path(path).is_relative_to(here) and path not in present:
                connection.execute(delete(ModelRun).where(ModelRun.model_version == version))
        for run in runs:
            _replace(connection, run)
    if problems:
        raise ModelNotReadableError("; ".join(problems))


def models_of(engine: Engine, dataset: str, content_digest: str) -> list[dict[str, Any]]:
    """Models trained on a dataset, oldest first, by `COLUMNS`.

    Args:
        engine: The catalog.
        dataset: Name of the dataset.
        content_digest: Its digest: names can be used again.

    Raises:
        CatalogUnavailableError: The catalog does not answer.
    """
    query = (
        select(ModelRun.__table__)
        .where(ModelRun.dataset == dataset, ModelRun.dataset_digest == content_digest)
        .order_by(ModelRun.created_at, ModelRun.model_version)
    )
    with transaction(engine) as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _read(folder: Path) -> dict[str, Any]:
    file = folder / _INFO
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return {
            "model_version": str(values["model_version"]),
            "exchange": str(values["exchange"]),
            "dataset": str(values["dataset"]["name"]),
            "dataset_digest": str(values["dataset"]["content_digest"]),
            "created_at": datetime.fromisoformat(values["created_at"]),
            "model_sha256": str(values["model_sha256"]),
            "row_count": int(values["metrics"]["rows"]),
            "seed": int(values["parameters"]["seed"]),
            "logloss": float(values["metrics"]["logloss"]),
            "baseline_logloss": float(values["metrics"]["baseline_logloss"]),
            "path": _place(folder),
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelNotReadableError(f"{file} is no model.json of ours: {error!r}") from error


def _place(folder: Path) -> str:
    # The catalog may be read from another folder than the one that a relative path begins in.
    return str(folder.resolve())


def _replace(connection: Connection, run: dict[str, Any]) -> None:
    connection.execute(delete(ModelRun).where(ModelRun.model_version == run["model_version"]))
    connection.execute(insert(ModelRun).values(**run))
