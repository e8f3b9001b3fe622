"""Every notebook runs, on simulated sessions and on a recording, and keeps the outputs of its cells."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from notebooks.run import digest_of_cells, executed

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LAKES = ("simulated", "recorded")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Proactor event loop:RuntimeWarning"),
    # ipykernel's own: the kernel is asked for over localhost, as Jupyter does.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client"),
]


def strikelake(root: Path, *call: str) -> None:
    command = [str(Path(sys.executable).with_name("strikelake")), "--root", str(root), *call]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lakes")
    simulated, recorded = folder / "simulated", folder / "recorded"
    strikelake(simulated, "demo", "--sessions", "2")
    recording = samples / "nse_live_derivatives_csv"
    strikelake(recorded, "ingest", "load", "--source", "nse-live-csv", str(recording))
    return {"simulated": simulated, "recorded": recorded}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The notebooks in a folder of their own: none of them may write into the project."""
    shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "notebooks"


@pytest.mark.parametrize("lake", LAKES)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(
    notebook: Path, lake: str, lakes: dict[str, Path], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
    monkeypatch.setenv("STRIKELAKE_ROOT", str(lakes[lake]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), str(copy)]))
    before = sorted(path.name for path in lakes[lake].iterdir())

    document = executed(copy / notebook.name, copy)

    outputs = [output for cell in document.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})], "no plot"
    # Nothing was made beside the lake's own folders.
    assert sorted(path.name for path in lakes[lake].iterdir()) == before


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_outputs_that_are_kept_are_whole_and_of_no_machine(notebook: Path) -> None:
    document = nbformat.read(notebook, as_version=4)
    nbformat.validate(document)
    cells = [cell for cell in document.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kept = document.metadata["strikelake"]["outputs_of"]
    assert kept == digest_of_cells(document), "outputs of older cells: python notebooks/run.py"
    assert not [output for output in outputs if output.output_type == "error"]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) >= 2
    text = notebook.read_text(encoding="utf-8")
    for trace in ("Traceback", "/home/", "/tmp", "C:\\\\Users", "/root"):  # noqa: S108 - looked for, not used
        assert trace not in text


def test_a_cell_that_was_changed_after_it_ran_is_noticed() -> None:
    document = nbformat.read(NOTEBOOKS[0], as_version=4)
    before = digest_of_cells(document)
    next(cell for cell in document.cells if cell.cell_type == "code").source += "\n# changed"
    assert digest_of_cells(document) != before


def test_without_a_lake_a_notebook_says_how_to_make_one(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbclient.exceptions import CellExecutionError

    monkeypatch.setenv("STRIKELAKE_ROOT", str(tmp_path / "nothing"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), str(copy)]))
    with pytest.raises(CellExecutionError, match="strikelake demo"):
        executed(copy / NOTEBOOKS[0].name, copy)
