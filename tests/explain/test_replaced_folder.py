"""A folder is replaced as one, whatever dies when, and nothing that is not of the set is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from explain.replaced_folder import replaced_folder
from lake.errors import ReportsInUseError
from lake.process_lock import ProcessLock

PATTERNS = ("summary.json", "beeswarm_*.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a first set of two files."""
    made = tmp_path / "NSE" / "reports"
    replace(made, "first", "summary.json", "beeswarm_BUY.png")
    return made


def replace(folder: Path, text: str, *names: str) -> None:
    with replaced_folder(folder, PATTERNS) as draft:
        for name in names:
            (draft / name).write_text(text, encoding="utf-8")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.parent.iterdir()}


def test_a_new_set_takes_the_place_of_the_old_one(folder: Path) -> None:
    replace(folder, "second", "summary.json", "beeswarm_SELL.png")
    assert content(folder) == {"summary.json": "second", "beeswarm_SELL.png": "second"}
    assert beside(folder) == {"reports", ".reports.lock"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_changes_nothing(folder: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with replaced_folder(folder, PATTERNS) as draft:
            (draft / "summary.json").write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        fail()
    assert content(folder) == {"summary.json": "first", "beeswarm_BUY.png": "first"}
    assert beside(folder) == {"reports", ".reports.lock"}


def test_a_new_folder_that_cannot_be_moved_in_puts_the_old_one_back(folder: Path) -> None:
    def lose_the_draft() -> None:
        with replaced_folder(folder, PATTERNS) as draft:
            draft.rename(draft.with_name("elsewhere"))

    with pytest.raises(FileNotFoundError):
        lose_the_draft()
    assert content(folder) == {"summary.json": "first", "beeswarm_BUY.png": "first"}


def test_a_crash_between_the_two_renames_is_undone_by_the_next_run(folder: Path) -> None:
    folder.rename(folder.with_name(".reports.old"))
    left = folder.with_name(".reports.0123.new")
    left.mkdir()
    (left / "summary.json").write_text("never moved in", encoding="utf-8")
    with replaced_folder(folder, PATTERNS):
        assert content(folder) == {"summary.json": "first", "beeswarm_BUY.png": "first"}
    assert beside(folder) == {"reports", ".reports.lock"}


def test_a_crash_after_the_swap_is_finished_by_the_next_run(folder: Path) -> None:
    old = folder.with_name(".reports.old")
    folder.rename(old)
    (old / "attribution_drift.json").write_text("of another command", encoding="utf-8")
    folder.mkdir()
    replace(folder, "second", "summary.json")
    assert content(folder) == {"summary.json": "second", "attribution_drift.json": "of another command"}
    assert beside(folder) == {"reports", ".reports.lock"}


def test_other_files_stay_and_the_set_s_own_go(folder: Path) -> None:
    (folder / "attribution_drift.json").write_text("of another command", encoding="utf-8")
    replace(folder, "second", "summary.json")
    assert content(folder) == {"summary.json": "second", "attribution_drift.json": "of another command"}


def test_only_one_process_at_a_time_replaces_it(folder: Path) -> None:
    lock = ProcessLock(folder.with_name(".reports.lock"), role="writer of reports")
    with pytest.raises(ReportsInUseError, match="wait for it"):
        replace(folder, "second", "summary.json")
    lock.release()
    assert content(folder)["summary.json"] == "first"


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "main.py").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match=r"it holds main\.py"):
        replace(project, "second", "summary.json")
    with pytest.raises(OSError, match="is a file"):
        replace(project / "main.py", "second", "summary.json")
    with pytest.raises(OSError, match=r"main\.py"):
        replace(project / "main.py" / "reports", "second", "summary.json")
    assert content(project) == {"main.py": ""}


def test_the_folder_one_is_in_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(OSError, match="the folder you are in"):
        replace(Path(), "second", "summary.json")
