"""The catalog knows which model was trained on which dataset, and can be told again by the folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from catalog_databases import Database

from catalog.database import open_database, opened_database, transaction
from catalog.model_runs import COLUMNS, models_of, record_model, sync_models
from catalog.models import ModelRun
from lake.errors import CatalogUnavailableError, ModelNotReadableError

DIGEST = "0123456789abcdef0123456789abcdef"


def model(models: Path, version: str, **changes: Any) -> Path:
    """A folder as training writes it, as far as the catalog reads it."""
    values: dict[str, Any] = {
        "model_version": version,
        "model_sha256": "ab" * 32,
        "exchange": "NSE",
        "created_at": "2026-07-25T10:00:00.123456+00:00",
        "dataset": {"name": "july", "content_digest": DIGEST},
        "parameters": {"seed": 7},
        "metrics": {"rows": 4321, "logloss": 1.0521, "baseline_logloss": 1.0983},
    } | changes
    folder = models / str(values["exchange"]) / version
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


def everything(engine: sa.Engine) -> list[dict[str, Any]]:
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(ModelRun.__table__).order_by(ModelRun.model_version))
        return [dict(row) for row in rows.mappings()]


def test_a_model_is_found_by_its_dataset(database: Database, tmp_path: Path) -> None:
    folder = model(tmp_path / "models", "2026-07-24-aaaaaaaaaaaa")
    other = model(
        tmp_path / "models", "2026-07-24-bbbbbbbbbbbb", dataset={"name": "july", "content_digest": "f"}
    )
    with opened_database(database.url) as engine:
        record_model(engine, folder)
        record_model(engine, other)
        (found,) = models_of(engine, "july", DIGEST)
        assert models_of(engine, "june", DIGEST) == []
    assert tuple(found) == COLUMNS
    assert found["created_at"].isoformat() == "2026-07-25T10:00:00.123456+00:00"
    assert found | {"created_at": None} == {
        "model_version": "2026-07-24-aaaaaaaaaaaa", "exchange": "NSE", "dataset": "july",
        "dataset_digest": DIGEST, "created_at": None, "model_sha256": "ab" * 32, "row_count": 4321, "seed": 7,
        "logloss": 1.0521, "baseline_logloss": 1.0983, "path": str(folder.resolve()),
    }  # fmt: skip


def test_to_record_a_model_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    folder = model(tmp_path / "models", "2026-07-24-aaaaaaaaaaaa")
    with opened_database(database.url) as engine:
        record_model(engine, folder)
        before = everything(engine)
        record_model(engine, folder)
        assert everything(engine) == before
        assert len(before) == 1


def test_a_lost_catalog_is_made_again_from_the_folders(database: Database, tmp_path: Path) -> None:
    models = tmp_path / "models"
    folders = [
        model(models, "2026-07-24-aaaaaaaaaaaa"),
        model(models, "2026-07-24-bbbbbbbbbbbb", exchange="BSE"),
    ]
    with opened_database(database.url) as engine:
        for folder in folders:
            record_model(engine, folder)
        before = everything(engine)
    database.delete()
    with opened_database(database.url) as engine:
        assert everything(engine) == []
        sync_models(models, engine)
        assert everything(engine) == before
        sync_models(models, engine)
        assert everything(engine) == before


def test_a_model_that_is_gone_goes_and_one_that_is_elsewhere_stays(
    database: Database, tmp_path: Path
) -> None:
    here, there = tmp_path / "models", tmp_path / "other machine"
    gone = model(here, "2026-07-24-aaaaaaaaaaaa")
    kept = model(here, "2026-07-24-bbbbbbbbbbbb")
    away = model(there, "2026-07-24-cccccccccccc")
    with opened_database(database.url) as engine:
        for folder in (gone, kept, away):
            record_model(engine, folder)
        shutil.rmtree(gone)
        shutil.rmtree(away)
        sync_models(here, engine)
        assert [row["model_version"] for row in everything(engine)] == [kept.name, away.name]
        sync_models(tmp_path / "no models", engine)
        assert len(everything(engine)) == 2


def test_a_draft_of_a_crash_and_other_files_are_no_models(database: Database, tmp_path: Path) -> None:
    models = tmp_path / "models"
    model(models, ".2026-07-24-aaaaaaaaaaaa.0123.tmp")
    (models / "NSE" / "reports").mkdir()
    with opened_database(database.url) as engine:
        sync_models(models, engine)
        assert everything(engine) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_version": "x", "dataset": 3}'])
def test_a_file_that_is_no_model_is_named_and_the_others_are_synced(
    database: Database, tmp_path: Path, text: str
) -> None:
    models = tmp_path / "models"
    bad = model(models, "2026-07-24-aaaaaaaaaaaa")
    good = model(models, "2026-07-24-bbbbbbbbbbbb")
    with opened_database(database.url) as engine:
        record_model(engine, bad)
        (bad / "model.json").write_text(text, encoding="utf-8")
        with pytest.raises(ModelNotReadableError, match="aaaaaaaaaaaa"):
            sync_models(models, engine)
        assert [row["model_version"] for row in everything(engine)] == [bad.name, good.name]
        with pytest.raises(ModelNotReadableError, match=r"is no model\.json of ours"):
            record_model(engine, bad)


def test_a_catalog_that_does_not_answer_is_told(tmp_path: Path) -> None:
    folder = model(tmp_path / "models", "2026-07-24-aaaaaaaaaaaa")
    engine = open_database(f"sqlite:///{(tmp_path / 'catalog.db').as_posix()}")
    with transaction(engine) as connection:
        connection.execute(sa.text("DROP TABLE model_runs"))
    with pytest.raises(CatalogUnavailableError, match="model_runs"):
        record_model(engine, folder)
    engine.dispose()
