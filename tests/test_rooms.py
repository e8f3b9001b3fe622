"""The rooms import one another in one direction only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "lake": {"lake"},
    "catalog": {"lake", "catalog"},
    "ingest": {"lake", "catalog", "ingest"},
    "explain": {"lake", "catalog", "explain"},
    "monitors": {"lake", "catalog", "monitors"},
}
HEAVY = ("lightgbm", "shap", "evidently", "apprise", "sklearn", "matplotlib")


def imported(file: Path) -> set[str]:
    """First parts of everything a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_stands_left_of_it(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        assert imported(file) & set(MAY_IMPORT) <= MAY_IMPORT[room], file


def test_an_app_that_embeds_the_tap_needs_no_machine_learning() -> None:
    for room in ("lake", "catalog", "ingest"):
        for file in (ROOT / room).rglob("*.py"):
            assert not imported(file) & set(HEAVY), file


def test_there_is_no_python_in_sql() -> None:
    assert list((ROOT / "sql").rglob("*.sql"))
    assert not list((ROOT / "sql").rglob("*.py"))


def test_no_module_of_the_project_has_the_name_of_a_standard_one() -> None:
    assert not set(MAY_IMPORT) & set(sys.stdlib_module_names)
