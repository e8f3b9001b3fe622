"""Training as a user does it: from a captured session to a model, through the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

EVER = ("--from", "2015-01-01", "--to", "2035-12-31")
TRAIN = ("explain", "train", "NSE", "--dataset", "day", "--folds", "2", "--rounds", "15", "--no-reports")


@pytest.fixture(scope="module")
def trained(in_folder: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A simulated session of both exchanges, a dataset of it, and a model trained on NSE's part."""
    run = in_folder(tmp_path_factory.mktemp("trained"))
    run("demo", "--date", "2026-07-24", "--interval", "120")
    run("dataset", "create", "day", "--table", "option_chain", "--table", "ml_features", *EVER)
    told = run(*TRAIN[:-1])
    assert told.stderr == ""
    (run.folder / "told.txt").write_text(told.stdout, encoding="utf-8")
    return run


@pytest.fixture
def copy(trained: Any, in_folder: Callable[[Path], Any], tmp_path: Path) -> Any:
    """That lake and its models, to do with as one likes."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    return in_folder(tmp_path / "copy")


def folder_of(run: Any) -> Path:
    (found,) = (p.parent for p in (run.folder / "models" / "NSE").glob("*/model.json"))
    return found


def test_the_output_names_model_folder_quality_and_warnings(trained: Any) -> None:
    told = (trained.folder / "told.txt").read_text(encoding="utf-8")
    folder = folder_of(trained)
    assert told.startswith(
        f"model {folder.name} of NSE: saved in models/NSE/{folder.name}\n".replace("/", "/")
    )
    assert "better than guessing by frequency: log loss" in told.casefold().replace("no better", "better")
    assert "warning: Sessions: 1, folds: 2." in told
    assert folder.name.startswith("2026-07-24-")
    assert f"reports in {Path('models', 'NSE', 'reports')}" in told.replace(
        f"{trained.folder.resolve()}{os.sep}", ""
    )


def test_reports_say_what_the_model_says(trained: Any) -> None:
    folder = folder_of(trained)
    info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    top = json.loads((folder.parent / "reports" / "shap_top_features.json").read_text(encoding="utf-8"))
    assert top["model_version"] == folder.name
    names = [entry["feature"] for entry in top["global"]]
    assert names == info["top_features"]["all"][: len(names)]
    assert (folder.parent / "reports" / "importance.png").stat().st_size > 1_000


def test_model_and_dataset_name_each_other(trained: Any) -> None:
    folder = folder_of(trained)
    (model,) = trained.json("explain", "models")
    dataset = trained.json("dataset", "show", "day")
    (linked,) = dataset["models"]
    assert model["dataset"] == "day"
    assert model["content_digest"] == dataset["content_digest"] == linked["dataset_digest"]
    assert model["model_version"] == linked["model_version"] == folder.name
    assert Path(linked["path"]) == folder.resolve()
    assert linked["logloss"] == model["logloss"]
    assert folder.name in trained("dataset", "show", "day").stdout
    assert folder.name in trained("explain", "models", "NSE").stdout
    assert trained.json("explain", "models", "bse") == []


def test_the_commands_of_the_card_make_the_same_model_again(copy: Any) -> None:
    folder = folder_of(copy)
    text = (folder / "model.txt").read_bytes()
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    commands = re.findall(r"^strikelake (.*)$", card, re.MULTILINE)
    shutil.rmtree(copy.folder / "models")
    for command in commands:
        copy(*command.split())
    assert len(commands) == 2
    assert (folder / "model.txt").read_bytes() == text
    # And once more: it is there.
    again = copy.json(*commands[-1].split(), "--no-reports")
    assert again["already_there"]
    assert again["model_version"] == folder.name


def test_a_lost_catalog_finds_the_models_again(copy: Any) -> None:
    copy("catalog", "sync")  # the models' folder is another one than it was
    before = copy.json("dataset", "show", "day")["models"]
    assert Path(before[0]["path"]) == folder_of(copy).resolve()
    (copy.folder / "data" / "catalog.db").unlink()
    copy("catalog", "sync")
    assert copy.json("dataset", "show", "day")["models"] == before
    shutil.rmtree(folder_of(copy))
    copy("catalog", "rebuild")
    assert copy.json("dataset", "show", "day")["models"] == []


def test_a_changed_row_trains_nothing(copy: Any) -> None:
    shutil.rmtree(copy.folder / "models")
    batch = copy.json("dataset", "show", "day")["batches"][0]
    place = copy.folder / "data" / "raw_stream" / batch["table_name"] / f"date={batch['date']}"
    file = next(
        file
        for file in sorted((place / f"exchange={batch['exchange']}").glob("*.parquet"))
        if batch["batch_id"] in pq.read_table(file, partitioning=None)["batch_id"].to_pylist()
    )
    rows = pq.read_table(file, partitioning=None)
    symbols = rows["symbol"].to_pylist()
    index = rows.schema.get_field_index("symbol")
    changed = rows.set_column(index, "symbol", [["OTHER", *symbols[1:]]])
    pq.write_table(changed, file)
    assert batch["batch_id"] in copy.error(*TRAIN)
    assert not (copy.folder / "models").exists()


def test_what_cannot_be_trained_on_is_told_in_a_line(trained: Any) -> None:
    assert "no dataset 'none'" in trained.error("explain", "train", "NSE", "--dataset", "none")
    wrong = trained("explain", "train", "NSE", "--dataset", "day", "--horizon", "15", code=2)
    assert "as in 15m" in wrong.stderr
    trained("explain", "train", "NYSE", "--dataset", "day", code=2)


def test_a_damaged_model_is_named_and_the_others_are_listed(copy: Any) -> None:
    bad = folder_of(copy).with_name("2026-01-01-000000000000")
    bad.mkdir()
    (bad / "model.json").write_text("{}", encoding="utf-8")
    done = copy("explain", "models", "--output", "json", code=3)
    assert [model["dataset"] for model in json.loads(done.stdout)] == ["day"]
    assert bad.name in done.stderr


def test_without_the_extra_a_command_says_which_one_it_needs(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['lightgbm'] = None; sys.argv = ['strikelake', 'explain', 'report', "
        "'--model', 'm.txt', '--data', 'd.csv']; from lake.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "strikelake: this needs lightgbm: pip install 'strikelake[explain]'\n"
