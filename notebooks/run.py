"""Run the notebooks, and keep their outputs: `python notebooks/run.py [NOTEBOOK ...]`.

They read the lake that `strikelake` reads in the folder of the project; see `lake_at_hand`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
SECONDS_A_CELL = 300


def executed(notebook: Path, folder: Path = FOLDER) -> nbformat.NotebookNode:
    """A notebook with fresh outputs; nothing of this machine or this moment is in it.

    Args:
        notebook: The file.
        folder: The kernel's working folder, which has the notebooks' module.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed; the message has its traceback.
    """
    document = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        document, timeout=SECONDS_A_CELL, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        record_timing=False, coalesce_streams=True,
    )  # fmt: skip
    client.execute()
    document.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "strikelake": {"outputs_of": digest_of_cells(document)},
        }
    )
    return document


def digest_of_cells(document: nbformat.NotebookNode) -> str:
    """SHA-256 of the code cells in order: kept beside the outputs, it tells those of older cells."""
    sources = [cell.source for cell in document.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def main() -> None:
    """Run all that are named, or all there are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    given = parser.parse_args()
    for notebook in given.notebooks or sorted(FOLDER.glob("*.ipynb")):
        document = executed(notebook)
        nbformat.write(document, notebook)
        print(f"{notebook.name}: {sum(c.cell_type == 'code' for c in document.cells)} cells")


if __name__ == "__main__":
    main()
