"""A table of chains that was loaded while it was being written comes in once, whatever the moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backfilled import NOT_JUDGED, check_books, stored
from page_specimens import NseTableSpecimen
from small_files import live_csv
from text_specimens import KiteSpecimen, KiteStocksSpecimen

from ingest.load import LoadSummary, load
from ingest.sources import ADAPTERS
from lake.settings import Settings

FORMATS: dict[str, Any] = {
    "kite-poll": KiteSpecimen(),
    "kite-poll-stocks": KiteStocksSpecimen(),
    "nse-table-csv": NseTableSpecimen(),
    "nse-live-csv": None,
}


class Recording:
    """A file that is loaded again and again as it grows."""

    def __init__(self, name: str, folder: Path) -> None:
        one = FORMATS[name]
        self.source = name if one is None else one.source
        self.path = folder / "files" / ("polls.csv" if one is None else one.file_name)
        self.path.parent.mkdir(parents=True)
        if one is None:
            self.content = live_csv(self.path, polls=3, strikes=4).read_bytes()
        else:
            lines = one.good().splitlines(keepends=True)
            middle = len(lines) // 2
            # Of many symbols the two in the middle are enough.
            self.content = b"".join([lines[0], *lines[max(1, middle - 8) : middle + 8]])
        self._folder = folder

    def lake(self, name: str) -> Path:
        return self._folder / name

    def load(self, lake: str, size: int | None = None) -> LoadSummary:
        self.path.write_bytes(self.content[:size])
        return load(Settings(root=self.lake(lake)), ADAPTERS[self.source], [self.path])

    def rows(self, lake: str) -> Any:
        return stored(self.lake(lake), "option_chain", but=NOT_JUDGED)

    def cuts(self) -> list[int]:
        """After each row, and early in the next."""
        ends = [at + 1 for at, byte in enumerate(self.content) if byte == ord("\n")]
        return [each for end in ends[1:-1] for each in (end, end + 12)]


@pytest.fixture(params=FORMATS)
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Recording:
    made = Recording(request.param, tmp_path)
    made.load("right")
    return made


def test_a_file_that_was_cut_anywhere_is_completed_by_loading_it_whole(recording: Recording) -> None:
    right = recording.rows("right")
    cuts = recording.cuts()
    for cut in cuts[:: len(cuts) // 10 | 1]:  # an odd step: of both kinds
        lake = f"cut at {cut}"
        first = recording.load(lake, cut)
        assert recording.rows(lake) <= right
        assert first.rows + recording.load(lake).rows == right.total()
        assert recording.rows(lake) == right
        assert recording.load(lake).rows == 0
    check_books(recording.lake(lake))


def test_a_file_that_grows_row_by_row_is_loaded_as_if_at_once(recording: Recording) -> None:
    for cut in [*recording.cuts()[::3], None]:
        recording.load("ours", cut)
    assert recording.rows("ours") == recording.rows("right")
    assert recording.load("ours").rows == 0
