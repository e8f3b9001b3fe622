"""Lots and days of expiry that a user adds while something runs count at once; bad ones change nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from edited_table import Clock, write

from catalog.calendar import SessionCalendar
from catalog.editable_table import EditableTable
from catalog.expiries import ExpiryDays
from catalog.lots import LotSizes
from lake.errors import SettingsError

LOTS = "exchange,symbol,valid_from,lot_size\n"
DAYS = "exchange,symbol,cycle,valid_from,weekday\n"
DECEMBER, NEW_YEAR = date(2026, 12, 1), date(2027, 1, 26)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_lot_size_that_appears_changes_and_goes_is_followed(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "lot_sizes.csv"
    lots = LotSizes(path, clock)

    def seen() -> tuple[int | None, int | None]:
        clock.now += 1.0
        return tuple(lots.lot_size("NSE", symbol, DECEMBER, NEW_YEAR) for symbol in ("RELIANCE", "NIFTY"))  # type: ignore[return-value]

    shipped = seen()
    assert shipped[0] is None
    write(path, LOTS + "NSE,RELIANCE,2026-11-30,500\n")
    assert seen() == (500, shipped[1])
    write(path, LOTS + "NSE,RELIANCE,2026-11-30,250\nNSE,NIFTY,2026-11-30,70\n")
    assert seen() == (250, 70)
    path.unlink()
    assert seen() == shipped


def test_a_day_of_expiry_that_appears_and_goes_is_followed(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "expiry_days.csv"
    days, calendar = ExpiryDays(path, clock), SessionCalendar()

    def seen() -> list[date]:
        clock.now += 1.0
        return days.expiries(calendar, "NSE", "NIFTY", date(2026, 12, 7), date(2026, 12, 12))

    assert seen() == [date(2026, 12, 8)]
    write(path, DAYS + "NSE,NIFTY,weekly,2026-12-01,Thursday\nNSE,NOSUCHINDEX,monthly,2026-12-01,Friday\n")
    assert seen() == [date(2026, 12, 10)]
    assert "NOSUCHINDEX" in days.symbols("NSE")
    assert days.month_expiry(calendar, "NSE", "NOSUCHINDEX", 2026, 12) == date(2026, 12, 24)
    path.unlink()
    assert seen() == [date(2026, 12, 8)]
    assert "NOSUCHINDEX" not in days.symbols("NSE")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("lot_sizes.csv", LOTS + "NSE,RELIANCE,2026-11-30,500\n", "NSE,RELIANCE,2026-12-01,many\n"),
        ("expiry_days.csv", DAYS + "NSE,NOSUCHINDEX,monthly,2026-12-01,Friday\n", "NSE,NIFTY,daily,,\n"),
    ],
)
def test_a_bad_line_keeps_what_was_said_before_and_is_told_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, name: str, good: str, bad: str
) -> None:
    path = tmp_path / name
    write(path, good)
    seen: Callable[[], Any]
    if name == "lot_sizes.csv":
        lots = LotSizes(path, clock)
        seen, said = lambda: lots.lot_size("NSE", "RELIANCE", DECEMBER, NEW_YEAR), 500
    else:
        days = ExpiryDays(path, clock)
        seen, said = lambda: days.symbols("NSE").count("NOSUCHINDEX"), 1
    write(path, good + bad)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock.now += 1.0
            assert seen() == said
    [told] = caplog.records
    assert "not valid" in told.message
    assert f"{name}, line 3" in str(told.__dict__["error"])
    write(path, good.splitlines()[0])
    clock.now += 1.0
    assert seen() in {None, 0}


# What holds for every table.


def test_the_disk_is_not_asked_more_than_once_a_second_nor_read_unless_it_changed(
    tmp_path: Path, clock: Clock
) -> None:
    path, reads = tmp_path / "table.csv", iter(range(1, 100))
    table = EditableTable(lambda _: next(reads), path, clock)
    for _ in range(50):
        clock.now += 0.25
        assert table.newest() == 1
    write(path, "changed")
    clock.now += 1.0
    assert [table.newest() for _ in range(50)] == [2] * 50
    assert table.version == 1


def test_without_a_file_of_the_users_the_clock_is_not_asked(clock: Clock) -> None:
    table = EditableTable(lambda _: "shipped", None, clock)
    table._clock = None  # type: ignore[assignment]  # calling it would raise
    assert table.newest() == "shipped"


def test_a_file_that_is_locked_is_read_once_it_can_be_and_told_of_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path, locked = tmp_path / "table.csv", False

    def read(extra: Path | None) -> str:
        if locked:
            # As `read_lines` tells it; on Windows an editor may keep a file to itself while it is open.
            raise SettingsError(f"{extra}: cannot be read") from PermissionError(13, "in use")
        return path.read_text(encoding="utf-8")

    write(path, "before")
    table = EditableTable(read, path, clock)
    write(path, "after")
    locked = True
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock.now += 1.0
            assert table.newest() == "before"
    assert len(caplog.records) == 1
    locked = False
    clock.now += 1.0
    assert table.newest() == "after"


def test_threads_that_ask_while_it_is_read_have_what_was_said_before(tmp_path: Path, clock: Clock) -> None:
    path, reading, go_on = tmp_path / "table.csv", threading.Event(), threading.Event()
    path.write_text("1", encoding="utf-8")

    def read(extra: Path | None) -> str:
        if clock.now:
            reading.set()
            assert go_on.wait(60)
        return path.read_text(encoding="utf-8")

    table = EditableTable(read, path, clock)
    write(path, "22")
    clock.now = 1.0
    reader = threading.Thread(target=table.newest)
    reader.start()
    assert reading.wait(60)
    assert table.newest() == "1"
    go_on.set()
    reader.join()
    assert table.newest() == "22"
