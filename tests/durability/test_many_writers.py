"""Writers beside each other: many streams into one table, and never two of one stream."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import Any

import pytest
from deltalake import DeltaTable

from catalog.contracts import CONTRACTS
from catalog.reference import ReferenceData
from ingest.committer import Committer
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.feed_quality import FeedQuality
from lake.append import append
from lake.errors import CommitConflictError
from lake.settings import Settings
from lake.spool import Spool
from lake.table import open_table
from tests.durability.conftest import (
    KILLED,
    PATIENCE_S,
    WriterError,
    check_catalog,
    check_ledger,
    expected_rows,
    rows_by_table,
)

WRITERS = 4
COMMITS = 20


def test_writers_of_different_app_ids_lose_and_double_nothing_on_one_table(workshop: Any) -> None:
    """Four processes commit at once, twenty times each; two are killed amid it and restarted."""
    cases = [workshop.case(features=True, app_id=f"app-{number}") for number in range(WRITERS)]
    root = cases[0].folder
    first = 0
    writers = []
    for case in cases:
        case.folder, case.offered = root, first
        first += 1000
        writers.append(workshop.writer(case))
    for case, writer in zip(cases, writers, strict=True):
        writer("open_tap", **case.settings())
    for number in range(COMMITS):
        if number == COMMITS // 2:
            for one in (0, 1):
                writers[one].kill()
                writers[one] = workshop.writer(cases[one])
                writers[one]("open_tap", **cases[one].settings())
        for case, writer in zip(cases, writers, strict=True):
            case.offer(writer)
        left = writers
        deadline = time.monotonic() + PATIENCE_S
        while left:
            assert time.monotonic() < deadline, [writer.log_text() for writer in left]
            for writer in left:
                writer.send("flush")
            # Who adds columns while another does is refused, and has to flush again.
            left = [writer for writer, done in [(w, w.answer()) for w in left] if not done]
    for writer in writers:
        assert writer("close")
        for line in writer.log_text().splitlines():
            assert not line.startswith("ERROR") or "Metadata changed since last commit" in line, line
    found = rows_by_table(cases[0].root)
    wanted = expected_rows([n for case in cases for n in case.acknowledged], features=True, rejects=False)
    assert found == wanted
    check_ledger(cases[0].root, found, [case.app_id for case in cases])
    check_catalog(cases[0].root)


def test_a_second_tap_and_a_second_committer_of_an_app_id_are_refused(workshop: Any) -> None:
    """With an error that says who is in the way and what to do; the first goes on."""
    case = workshop.case()
    first, second = workshop.writer(case), workshop.writer(case)
    first("open_tap", **case.settings())
    case.offer(first, 2)
    assert first("flush")
    with pytest.raises(WriterError, match=r"StreamInUseError: .*tap of app id 'live'.*another app id"):
        second("open_tap", **case.settings())
    with pytest.raises(WriterError, match=r"StreamInUseError: .*committer of app id 'live'.*another app id"):
        second("open_committer", **case.settings())
    code, out, err = second("command_line", "--root", str(case.root), "ingest", "commit", "--once")
    assert (code, out) == (1, "")
    assert err.startswith("strikelake: another process already is the committer of app id 'live'")
    assert err.count("\n") == 1
    case.offer(first, 2)
    assert first("flush")
    first.kill()
    # The dead hold no lock.
    second("open_tap", **case.settings())
    case.offer(second, 2)
    assert second("flush")
    case.check()


def test_the_commit_command_killed_at_any_moment_loses_and_doubles_nothing(workshop: Any) -> None:
    """The command itself, as a user runs it beside the app; killed from outside at random moments."""
    moments = random.Random(11)  # noqa: S311 - any moments do, but the same ones in every run
    case = workshop.case(features=True, rejects=True)
    tap = workshop.writer(case)
    tap("open_tap", **case.settings(committer="process"))
    command = [sys.executable, "-c", "from lake.cli import main; main()", "--root", str(case.root)]
    for _ in range(3):
        case.offer(tap, 4)
        commit = subprocess.Popen(
            [*command, "ingest", "commit", "--every", "0.1"], stdout=subprocess.PIPE, text=True
        )
        assert commit.stdout is not None
        assert "rows, version" in commit.stdout.readline()
        case.offer(tap, 2)
        time.sleep(moments.uniform(0, 0.3))
        commit.kill()
        commit.stdout.close()
        assert commit.wait(PATIENCE_S) == KILLED
    tap.kill()
    case.finish()
    case.check()


def test_an_old_handle_cannot_commit_the_rows_of_its_stream_again(workshop: Any) -> None:
    """As if a second committer had got past the lock: it read the table before the first one committed."""
    case = workshop.case()
    settings = Settings(**case.settings())
    spool = Spool(case.root / "spool" / "live.db")
    given = ChainUpdate(received_ns=time.time_ns(), **case.next_update())
    reference = ReferenceData.load()
    done = convert([given], reference, quality=FeedQuality(reference.calendar, live=True))
    spool.put(done.entries, offered=done.offered)
    case.acknowledged.append(0)
    committer = Committer(settings)
    path = settings.lake.path("option_chain")
    stale = open_table(path)
    waiting = spool.waiting("option_chain")
    assert waiting is not None
    committer.flush()
    rows = waiting.rows.append_column("batch_id", [["late"] * waiting.rows.num_rows])
    late = {"stream": spool.stream, "sequence": waiting.last, "metadata": {"batch_id": "late"}}
    contract = CONTRACTS["option_chain"]
    with pytest.raises(CommitConflictError):
        append(path, contract.spec, rows, handle=stale, **late)
    # With a fresh handle it sees that there is nothing to do.
    assert append(path, contract.spec, rows, **late) is None
    assert sorted(file.name for file in path.rglob("*.parquet")) == sorted(
        file.rpartition("/")[2] for file in DeltaTable(str(path)).file_uris()
    ), "the refused file is removed"
    committer.close()
    spool.close()
    case.check()


@pytest.mark.parametrize("seconds", [1, 3600, 40 * 86_400])
def test_a_clock_that_steps_back_doubles_and_holds_up_nothing(faulty: Any, seconds: int) -> None:
    """For Python, SQLite and deltalake alike, between spooling and committing and between two commits."""
    case = faulty.case(features=True, rejects=True)
    case.day = None  # an event long after its receipt would be a reject
    writer = faulty.writer(case)
    writer("checkpoint_every", 3)
    writer("open_tap", **case.settings())
    for step in range(4):
        case.offer(writer, 2)
        if step % 2:
            writer("set_clock_back", seconds * step)
        assert writer("flush")
    case.check()
    writer.kill()
    case.finish()
    case.check()


def test_a_flush_after_the_clock_stepped_back_commits_all_that_is_spooled(faulty: Any) -> None:
    """Also when that is more than one micro-batch."""
    case = faulty.case()
    writer = faulty.writer(case)
    writer("limit_micro_batches", 3)
    writer("open_tap", **case.settings())
    case.offer(writer, 4)
    writer("set_clock_back", 3600)
    assert writer("flush")
    case.check()
