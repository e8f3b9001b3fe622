"""Finding adapters and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.sources import ADAPTERS, adapter, recording_files
from lake.errors import MalformedInputError, SettingsError


def test_the_adapters_go_by_these_names() -> None:
    names = "nse-json bse-json kite-poll nse-live-csv nse-v3-table nse-table-csv nse-website-csv"
    names += " upstox-log kite-ticks bhavcopy-fo bhavcopy-udiff candle-csv candle-json"
    assert list(ADAPTERS) == names.split()
    assert all(adapter(name).name == name for name in ADAPTERS)


@pytest.mark.parametrize(
    ("typed", "meant"), [("nse_json", "nse-json"), ("kite", "kite-poll"), ("BSE-JSON", "bse-json")]
)
def test_an_unknown_name_is_answered_with_the_known_ones_and_a_guess(typed: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean '{meant}'") as caught:
        adapter(typed)
    assert all(name in str(caught.value) for name in ADAPTERS)


def test_a_name_like_none_gets_no_guess() -> None:
    with pytest.raises(SettingsError) as caught:
        adapter("zzzzzz")
    assert "did you mean" not in str(caught.value)


def test_a_folder_is_searched_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in (
        "b/2.csv",
        "b/1.CSV.gz",
        "a.csv",
        "b/c/x.csv",
        "b/d.csv.zip",
        "e.zip",
        "b/notes.txt",
        "z.json",
        "gz",
        "b.csv/x.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [
        path.relative_to(tmp_path).as_posix() for path in recording_files(adapter("kite-poll"), tmp_path)
    ]
    assert found == ["a.csv", "b/1.CSV.gz", "b/2.csv", "b/c/x.csv", "b/d.csv.zip"]


def test_a_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.touch()
    assert recording_files(adapter("nse-json"), path) == [path]


def test_a_folder_without_recordings_has_none(tmp_path: Path) -> None:
    assert recording_files(adapter("nse-json"), tmp_path) == []


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(MalformedInputError, match="absent does not exist"):
        recording_files(adapter("nse-json"), tmp_path / "absent")
