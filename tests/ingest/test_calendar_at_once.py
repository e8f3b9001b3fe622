"""A session that a user adds while the recorder runs: its feed is judged, fresh and missed from then on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path

import pytest
from edited_table import Clock
from quality_readers import flagged, judged

from catalog.calendar import SessionCalendar
from catalog.dq_flags import DqFlag
from catalog.lots import LotSizes
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.feed_quality import FeedQuality
from ingest.quality_silence import SilenceWatch
from ingest.simulator import simulate_session

SUNDAY = date(2026, 11, 8)
LINE = "exchange,date,kind,open,close,note\nNSE,2026-11-08,muhurat,18:00,19:00,Samvat 2083\n"


def updates_of_that_hour(folder: Path) -> Iterator[ChainUpdate]:
    """A simulated hour on the Sunday, by a calendar that knew of it from the start."""
    folder.mkdir()
    (folder / "calendar.csv").write_text(LINE, encoding="utf-8")
    reference = ReferenceData.load(folder)
    return simulate_session(
        SUNDAY, reference, seed=5, symbols=("NIFTY",), interval_s=60, strikes=6, expiries=1
    )


def test_a_feed_is_fresh_once_a_line_makes_its_day_a_session(tmp_path: Path) -> None:
    # From its tenth minute on every contract has traded.
    updates = islice(updates_of_that_hour(tmp_path / "other"), 10, None)
    path, clock = tmp_path / "calendar.csv", Clock()
    calendar = SessionCalendar(path, clock)
    reference = ReferenceData(calendar, LotSizes.load())
    quality = FeedQuality(calendar, live=True)

    def early() -> int:
        rows = judged([next(updates)], reference, quality=quality)
        return len(flagged(rows, DqFlag.PRE_OPEN_TOTALS))

    for _ in range(4):
        assert early()
    assert not quality.freshness.is_fresh("NSE", math.inf)
    path.write_text(LINE, encoding="utf-8")
    clock.now += 1.0
    for _ in range(3):
        assert not early()
    assert quality.freshness.is_fresh("NSE", math.inf)


@pytest.mark.parametrize("added", [True, False])
def test_a_silent_feed_is_missed_once_a_line_makes_its_day_a_session(tmp_path: Path, added: bool) -> None:
    path, clock = tmp_path / "calendar.csv", Clock()
    watch = SilenceWatch(SessionCalendar(path, clock))
    # 18:01 to 18:40 in India; the feed spoke once, at 18:01.
    minutes = [datetime(2026, 11, 8, 12, minute, tzinfo=UTC) for minute in range(31, 60)]
    watch.heard("NSE", "a source", "NIFTY", int(minutes[0].timestamp() * 1e6), SUNDAY)

    def missed(moments: list[datetime]) -> int:
        return sum(len(watch.look(int(at.timestamp() * 1e6), {}, 0.0)) for at in moments)

    assert missed(minutes[:10]) == 0
    if added:
        path.write_text(LINE, encoding="utf-8")
        clock.now += 1.0
    assert (missed(minutes[10:]) > 0) is added
