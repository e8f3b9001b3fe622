"""SIGKILL at every step of a retry: what was in quarantine comes in, once, by the next one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backfilled import NOT_JUDGED, check_books, stored
from candle_specimens import OptionCandleSpecimen, UdiffBhavcopySpecimen
from deltalake import DeltaTable
from small_files import live_csv, write_lots

from ingest.load import load
from ingest.retry import retry
from ingest.sources import ADAPTERS, csv_table, recorded_file
from ingest.sources.csv_table import Row
from lake.settings import Settings
from tests.durability.conftest import KILLED, Case, WriterDiedError

# Where it dies (see BOUNDARIES in writer.py), and at which passage: rows and notes are two tables.
STEPS = {
    "spool opened": (1,),
    "spooling": (1,),
    "spool transaction ending": (1,),
    "spooled": (1,),
    "data file written": (1, 2),
    "folders synced": (1, 2),
    "committed": (1, 2),
    "commit synced": (1, 2),
    "log synced": (1, 2),
    "mirroring": (1, 2),
    "mirrored": (1, 2),
    "clearing": (1, 2),
    "clear transaction ending": (1, 2),
    "cleared": (1, 2),
}
MATRIX = [(step, occurrence) for step, occurrences in STEPS.items() for occurrence in occurrences]
LEGS = 24


def kill_at(step: str, occurrence: int, workshop: Any, case: Case, *command: str) -> None:
    """Run a command, which dies at a passage of a step."""
    marker = case.folder / "marker"
    dying = workshop.writer(case)
    dying("die_at", step, occurrence, str(marker))
    with pytest.raises(WriterDiedError):
        dying("command_line", "--root", str(case.root), *command)
    assert dying.code == KILLED, dying.log_text()
    assert marker.read_text(encoding="utf-8") == step


def strikes(root: Path) -> Counter[tuple[Any, ...]]:
    table = DeltaTable(str(root / "raw_stream" / "option_chain")).to_pyarrow_table()
    return Counter((r["event_time"], r["strike"], r["option_type"]) for r in table.to_pylist())


@pytest.mark.parametrize(("step", "occurrence"), MATRIX)
def test_a_retry_killed_at_a_step_loses_and_doubles_nothing(
    workshop: Any, step: str, occurrence: int
) -> None:
    case = workshop.case()
    settings = Settings(root=case.root)
    path = live_csv(case.folder / "polls.csv", polls=3, strikes=4, symbol="NEWINDEX")
    load(settings, ADAPTERS["nse-live-csv"], [path])
    write_lots(case.root, "NEWINDEX", 60)
    kill_at(step, occurrence, workshop, case, "ingest", "quarantine", "retry")

    done = retry(settings)
    assert done.accepted in {0, LEGS}
    found = strikes(case.root)
    assert (len(found), found.total()) == (LEGS, LEGS)
    assert retry(settings).tried == 0
    assert load(settings, ADAPTERS["nse-live-csv"], [path]).rows == 0
    notes = DeltaTable(str(case.root / "raw_stream" / "quarantine_retries")).to_pyarrow_table().to_pylist()
    assert Counter(note["outcome"] for note in notes) == {"accepted": LEGS}
    with closing(sqlite3.connect(case.root / "spool" / "backfill.db")) as db:
        books = db.execute(
            "SELECT table_name, offered, spooled, committed, quarantined, dropped, difference"
            " FROM ledger_balance WHERE table_name <> 'feed_quality' ORDER BY 1"
        ).fetchall()
    assert books == [
        ("option_chain", 2 * LEGS, 0, LEGS, LEGS, 0, 0),
        ("quarantine_retries", LEGS, 0, LEGS, 0, 0, 0),
    ]


def refuse(patch: pytest.MonkeyPatch, number: int) -> None:
    """Have the reader of tables find a row damaged that is not."""
    read = csv_table.read_row
    count = 0

    def strict(line: str, header: Any) -> Row:
        nonlocal count
        count += 1
        # Candles are gone through twice.
        return Row(line, {}, ("ragged_row", "it seems")) if count == number else read(line, header)

    patch.setattr(csv_table, "read_row", strict)


@pytest.mark.parametrize(
    ("step", "occurrence"),
    [("spool transaction ending", 1), ("spooled", 1), ("committed", 1), ("committed", 2), ("cleared", 1)],
)
@pytest.mark.parametrize("kind", ["long line", "row of a bhavcopy", "row of candles"])
def test_a_line_comes_in_once_wherever_its_retry_is_killed(
    workshop: Any, kind: str, step: str, occurrence: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = workshop.case()
    settings, other = Settings(root=case.root), Settings(root=case.folder / "other")
    if kind == "long line":
        source, path = "nse-live-csv", live_csv(case.folder / "polls.csv", polls=2, strikes=2, more="-")
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([*lines[:3], f"{lines[3]}{'-' * 400}", *lines[4:]]), encoding="utf-8")
    else:
        one = UdiffBhavcopySpecimen() if kind == "row of a bhavcopy" else OptionCandleSpecimen()
        source, path = one.source, case.folder / Path(one.file_name).name
        path.write_bytes(one.good())
    table = "option_chain" if kind == "long line" else "candles"
    load(other, ADAPTERS[source], [path])
    right = stored(other.root, table, but=NOT_JUDGED)
    with monkeypatch.context() as patch:
        if kind == "long line":
            patch.setattr(recorded_file, "LINE_CHARACTERS", 300)
        else:
            refuse(patch, 3 if source.startswith("bhavcopy") else right.total() + 3)
        load(settings, ADAPTERS[source], [path])
    assert (right - stored(case.root, table, but=NOT_JUDGED)).total() == 1
    kill_at(step, occurrence, workshop, case, "ingest", "quarantine", "retry")
    done = retry(settings)
    assert (done.accepted in {0, 1}, done.failed) == (True, {})
    assert stored(case.root, table, but=NOT_JUDGED) == right
    assert retry(settings).tried == 0
    check_books(case.root)


@pytest.mark.parametrize(
    ("step", "occurrence"),
    [("spool transaction ending", 1), ("spooled", 1), ("committed", 1), ("cleared", 1)],
)
def test_a_cut_bhavcopy_is_completed_once_wherever_its_load_is_killed(
    workshop: Any, step: str, occurrence: int
) -> None:
    case = workshop.case()
    settings, other = Settings(root=case.root), Settings(root=case.folder / "other")
    one = UdiffBhavcopySpecimen()
    path = case.folder / "bhavcopy.csv"
    content = one.good()
    path.write_bytes(content)
    load(other, ADAPTERS[one.source], [path])
    path.write_bytes(content[: 2 * len(content) // 3])
    load(settings, ADAPTERS[one.source], [path])
    path.write_bytes(content)
    kill_at(step, occurrence, workshop, case, "ingest", "load", "--source", one.source, str(path))
    load(settings, ADAPTERS[one.source], [path])
    assert stored(case.root, "candles", but=NOT_JUDGED) == stored(other.root, "candles", but=NOT_JUDGED)
    check_books(case.root)
