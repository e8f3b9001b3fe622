"""SIGKILL at every step of a retry: what was in quarantine comes in, once, by the next one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from small_files import live_csv, write_lots

from ingest.load import load
from ingest.retry import retry
from ingest.sources import ADAPTERS
from lake.settings import Settings
from tests.durability.conftest import KILLED, WriterDiedError

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
    marker = case.folder / "marker"
    dying = workshop.writer(case)
    dying("die_at", step, occurrence, str(marker))
    with pytest.raises(WriterDiedError):
        dying("command_line", "--root", str(case.root), "ingest", "quarantine", "retry")
    assert dying.code == KILLED, dying.log_text()
    assert marker.read_text(encoding="utf-8") == step

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
