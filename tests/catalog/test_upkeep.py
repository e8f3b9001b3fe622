"""When a session is finished: by the calendar, in the exchange's own time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from catalog import batches as mirror
from catalog.calendar import SessionCalendar
from catalog.contracts import CONTRACTS, OPTION_CHAIN
from catalog.database import open_database
from catalog.reference import ReferenceData
from catalog.upkeep import AFTER_CLOSE, finished_sessions, maintain_lake, newest_finished
from lake.append import append
from lake.drop import drop_partitions
from lake.table import Lake, open_table

MONDAY = date(2026, 1, 5)
CLOSE = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)  # 15:30 in India


@pytest.fixture(scope="module")
def calendar() -> SessionCalendar:
    return ReferenceData.load().calendar


def partition(day: str, exchange: str = "NSE") -> dict[str, str]:
    return {"date": day, "exchange": exchange}


def test_a_session_is_finished_a_quarter_of_an_hour_after_its_close(calendar: SessionCalendar) -> None:
    session = calendar.session("NSE", MONDAY)
    assert session is not None
    assert session.close == CLOSE
    for moment, expected in (
        (session.open, False), (CLOSE, False), (CLOSE + AFTER_CLOSE - timedelta(seconds=1), False),
        (CLOSE + AFTER_CLOSE, True), (CLOSE + timedelta(days=400), True),
    ):  # fmt: skip
        finished = finished_sessions(calendar, moment)
        assert finished(partition("2026-01-05")) is expected, moment
        assert finished(partition("2026-01-05", "BSE")) is expected, moment
        assert finished(partition("2026-01-02"))
        assert not finished(partition("2026-01-06")) or moment > CLOSE + timedelta(days=1)


def test_a_date_without_a_session_is_over_the_day_after_in_india(calendar: SessionCalendar) -> None:
    sunday = partition("2026-01-04")
    assert not finished_sessions(calendar, datetime(2026, 1, 4, 18, 29, tzinfo=UTC))(sunday)
    assert finished_sessions(calendar, datetime(2026, 1, 4, 18, 31, tzinfo=UTC))(sunday)


def test_rows_of_no_exchange_are_over_the_day_after(calendar: SessionCalendar) -> None:
    for exchange in ("", "MCX", "__HIVE_DEFAULT_PARTITION__"):
        finished = finished_sessions(calendar, datetime(2026, 1, 6, 0, 1, tzinfo=UTC))
        assert finished(partition("2026-01-05", exchange))
        assert not finished(partition("2026-01-06", exchange))


def test_a_clock_before_all_sessions_finishes_nothing(calendar: SessionCalendar) -> None:
    assert not finished_sessions(calendar, datetime(1970, 1, 2, tzinfo=UTC))(partition("2026-01-05"))


def test_the_newest_finished_session_is_told_in_quiet_times_only(calendar: SessionCalendar) -> None:
    session = calendar.session("NSE", MONDAY)
    assert session is not None
    assert newest_finished(calendar, session.open) is None
    assert newest_finished(calendar, CLOSE) is None
    assert newest_finished(calendar, CLOSE + AFTER_CLOSE - timedelta(seconds=1)) is None
    assert newest_finished(calendar, CLOSE + AFTER_CLOSE) == CLOSE
    tuesday = calendar.session("NSE", date(2026, 1, 6))
    assert tuesday is not None
    assert newest_finished(calendar, tuesday.open - AFTER_CLOSE - timedelta(seconds=1)) == CLOSE
    assert newest_finished(calendar, tuesday.open - AFTER_CLOSE) is None
    saturday = datetime(2026, 1, 10, 6, tzinfo=UTC)
    friday = newest_finished(calendar, saturday)
    assert friday is not None
    assert friday.date() == date(2026, 1, 9)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.at(tmp_path / "my lake")
    for contract in CONTRACTS.values():
        lake.create(contract.spec)
    return lake


def write(lake: Lake, sequence: int, day: date = MONDAY) -> None:
    schema = OPTION_CHAIN.schema
    moment = datetime(day.year, day.month, day.day, 4, sequence % 60, tzinfo=UTC)
    given = {
        "date": day, "exchange": "NSE", "event_time": moment, "received_time": moment, "symbol": "NIFTY",
        "expiry": date(2026, 1, 27), "strike": float(sequence), "option_type": "CE", "source": "live",
        "dq_flags": 0, "batch_id": f"b-{sequence}",
    }  # fmt: skip
    rows = pa.table([pa.array([given.get(f.name)], f.type) for f in schema], schema=schema)
    numbers = {"batch_id": f"b-{sequence}", "app_id": "app", "seq_first": sequence, "seq_last": sequence}
    append(
        lake.path("option_chain"),
        OPTION_CHAIN.spec,
        rows,
        stream="app/1",
        sequence=sequence,
        metadata=numbers,
    )


def test_only_finished_sessions_are_compacted(lake: Lake, calendar: SessionCalendar) -> None:
    for sequence in range(1, 5):
        write(lake, 3 * sequence)
        write(lake, 3 * sequence + 1, date(2026, 1, 6))
        write(lake, 3 * sequence + 2)
    now = datetime(2026, 1, 6, 5, 0, tzinfo=UTC)
    done = {one.table: one for one in maintain_lake(lake, calendar, now=now)}
    assert set(done) == set(CONTRACTS)
    (one,) = done["option_chain"].compacted
    assert (one.partition["date"], one.files_before) == ("2026-01-05", 8)
    assert len(open_table(lake.path("option_chain")).file_uris()) == 5


def rows_of_the_mirror(lake: Lake, *, rebuild: bool) -> list[dict[str, object]]:
    engine = open_database(f"sqlite:///{(lake.root / 'catalog.db').as_posix()}")
    if rebuild:
        mirror.rebuild(lake, engine)
    else:
        mirror.sync(lake, engine)
    found = [{k: v for k, v in row.items() if k != "id"} for row in mirror.batches(engine)]
    engine.dispose()
    return sorted(found, key=lambda row: str(row["parquet_path"]))


def test_the_mirror_made_again_after_years_of_upkeep_is_the_same(
    lake: Lake, calendar: SessionCalendar
) -> None:
    followed = []
    for sequence in range(1, 40):
        write(lake, sequence, date(2026, 1, 5) if sequence < 20 else date(2026, 1, 6))
        if sequence % 12 == 0:
            followed = rows_of_the_mirror(lake, rebuild=False)
            later = datetime.now(UTC) + timedelta(days=30)
            done = {one.table: one for one in maintain_lake(lake, calendar, now=later)}
            assert [one.problems for one in done.values()] == [()] * len(done)
    followed = rows_of_the_mirror(lake, rebuild=False)
    assert done["option_chain"].archived_commits > 0
    assert done["option_chain"].deleted_files > 0
    assert len(followed) == 39
    assert rows_of_the_mirror(lake, rebuild=True) == followed


def test_what_was_dropped_is_told_the_same_by_a_mirror_that_followed_and_one_made_again(
    lake: Lake, calendar: SessionCalendar
) -> None:
    for sequence in range(1, 6):
        write(lake, sequence)
    write(lake, 6, date(2026, 1, 6))
    rows_of_the_mirror(lake, rebuild=False)
    write(lake, 7)  # not mirrored yet when it is dropped
    drop_partitions(lake.path("option_chain"), lambda p: p["date"] < "2026-01-06")
    write(lake, 8)  # late rows of a day that was dropped

    followed = rows_of_the_mirror(lake, rebuild=False)

    states = {row["batch_id"]: row["state"] for row in followed}
    assert states == {f"b-{n}": "committed" if n in {6, 8} else "dropped" for n in range(1, 9)}
    assert rows_of_the_mirror(lake, rebuild=True) == followed
    maintain_lake(lake, calendar, now=datetime.now(UTC) + timedelta(days=30))
    assert rows_of_the_mirror(lake, rebuild=True) == followed
