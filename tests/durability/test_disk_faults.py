"""A disk that is full or failing: a clear error, nothing lost, and the process goes on once it is well."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.durability.conftest import Case, WriterError
from tests.durability.power_cut import (
    CREATE,
    CUTS,
    LINK,
    MKDIR,
    OPEN,
    RENAME,
    SYNC,
    TRUNCATE,
    WRITE,
    Disk,
    put_back,
    read_journal,
)

DISKS = {"full": (errno.ENOSPC, "No space left on device"), "failing": (errno.EIO, "Input/output error")}
COMMIT_FAULTS = {
    "data file written": (WRITE, "*/option_chain/*.parquet"),
    "data file opened": (OPEN, "*/option_chain/*.parquet"),
    "data file synced": (SYNC, "*/option_chain/*.parquet"),
    "partition folder made": (MKDIR, "*/option_chain/date=*"),
    "partition folder synced": (SYNC, "*/option_chain/date=*/exchange=NSE"),
    "log file written": (WRITE, "*/option_chain/_delta_log/*"),
    "log file created": (CREATE, "*/option_chain/_delta_log/*"),
    "log file named": (LINK | RENAME, "*/option_chain/_delta_log/*"),
    "log file synced": (SYNC, "*/option_chain/_delta_log/*.json"),
    "log folder synced": (SYNC, "*/option_chain/_delta_log"),
    "log checkpoint written": (WRITE | LINK | RENAME, "*/option_chain/_delta_log/*checkpoint*"),
    "new columns written": (WRITE | CREATE, "*/ml_features/_delta_log/*"),
}
HARMLESS = {"log checkpoint written"}
SPOOL_FAULTS = {
    "wal written": (WRITE, "*/spool/live.db-wal"),
    "wal synced": (SYNC, "*/spool/live.db-wal"),
    "everything written": (WRITE | CREATE | TRUNCATE | SYNC, "*/spool/*"),
}
# SQLite says what its codes mean in words of its own.
SPOOL_WORDS = {"full": "database or disk is full|disk I/O error", "failing": "disk I/O error"}


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("fault", COMMIT_FAULTS)
def test_a_commit_that_fails_is_done_once_the_disk_is_well(faulty: Any, fault: str, disk: str) -> None:
    """By the process that it failed in; another start finds nothing left to do."""
    case = faulty.case(features=True, rejects=True)
    writer = faulty.writer(case)
    writer("checkpoint_every", 2)
    writer("open_tap", **case.settings())
    case.offer(writer, 2)
    assert writer("flush")
    error, words = DISKS[disk]
    kinds, pattern = COMMIT_FAULTS[fault]
    writer("fail", kinds, error, pattern)
    # Another day: its partition folders are not there yet.
    case.day = "2026-11-23"
    for _ in range(2):
        case.offer(writer, 3)
        assert writer("flush") is (fault in HARMLESS)
    assert writer("heal") > 0, "the fault was never met"
    writer.wait_for_log("ERROR commit failed|WARNING log checkpoint failed")
    assert words in writer.log_text()
    assert "Traceback" not in writer.log_text()
    case.offer(writer, 2)
    assert writer("flush"), writer.log_text()
    case.check()
    writer.kill()
    case.finish()
    case.check()


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("fault", ["data file written", "log file written", "log file synced"])
def test_a_start_amid_a_fault_and_another_after_it_lose_and_double_nothing(
    faulty: Any, fault: str, disk: str
) -> None:
    """The commits fail in three processes in a row before the disk is well."""
    case = faulty.case(features=True)
    kinds, pattern = COMMIT_FAULTS[fault]
    for start in range(3):
        writer = faulty.writer(case)
        if start:
            writer("fail", kinds, DISKS[disk][0], pattern)
        writer("open_tap", **case.settings())
        case.offer(writer, 2)
        assert writer("flush") is (start == 0)
        writer.kill()
    case.finish()
    case.check()


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("fault", SPOOL_FAULTS)
def test_updates_wait_in_memory_while_the_spool_cannot_be_written(faulty: Any, fault: str, disk: str) -> None:
    """Nothing is acknowledged meanwhile; once the disk is well they are spooled, by themselves and once."""
    case = faulty.case(features=True, rejects=True)
    writer = faulty.writer(case)
    writer("open_tap", **case.settings())
    case.offer(writer, 2)
    kinds, pattern = SPOOL_FAULTS[fault]
    writer("fail", kinds, DISKS[disk][0], pattern)
    waiting = [case.next_update() for _ in range(3)]
    assert writer("offer", *waiting, wait=False) == 2
    assert not writer("flush", 5.0)
    assert writer("spooled") == 2
    assert writer("heal") > 0, "the fault was never met"
    writer.wait_for_log(f"ERROR spool failed .*({SPOOL_WORDS[disk]})")
    assert "Traceback" not in writer.log_text()
    case.offer(writer, 1)
    case.acknowledged += [2, 3, 4]
    assert writer("flush"), writer.log_text()
    case.check()
    writer.kill()
    case.finish()
    case.check()


@pytest.mark.parametrize("disk", DISKS)
def test_rows_that_were_committed_but_could_not_be_cleared_are_not_committed_again(
    faulty: Any, disk: str
) -> None:
    case = faulty.case(features=True, rejects=True)
    tap, committer = faulty.writer(case), faulty.writer(case)
    tap("open_tap", **case.settings(committer="process"))
    committer("open_committer", **case.settings())
    case.offer(tap, 3)
    committer("fail", WRITE | SYNC, DISKS[disk][0], "*/spool/*")
    for _ in range(2):
        with pytest.raises(WriterError, match=f"SpoolUnavailableError: .*({SPOOL_WORDS[disk]})"):
            committer("commit")
    assert committer("heal") > 0
    case.offer(tap, 1)
    committer("commit")
    case.check()


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("pattern", ["*/spool/live.db", "*/spool/live.tap.lock", "*/spool/live.db-wal"])
def test_a_tap_that_cannot_make_its_spool_says_so_and_leaves_nothing_behind(
    faulty: Any, pattern: str, disk: str
) -> None:
    case = faulty.case()
    writer = faulty.writer(case)
    writer("fail", WRITE | CREATE | OPEN, DISKS[disk][0], pattern)
    with pytest.raises(WriterError, match=r"SpoolUnavailableError: (spool|lock) .*live"):
        writer("open_tap", **case.settings())
    writer("heal")
    writer("open_tap", **case.settings())
    case.offer(writer, 2)
    assert writer("flush")
    case.check()


@pytest.mark.parametrize("disk", DISKS)
def test_a_spool_that_cannot_move_its_log_into_its_file_keeps_all(faulty: Any, disk: str) -> None:
    """SQLite does so after every thousand pages, hence the many legs; it may fail as often as it likes."""
    case = faulty.case()
    writer = faulty.writer(case)
    writer("open_tap", **case.settings(committer="process"))
    writer("fail", WRITE | SYNC, DISKS[disk][0], "*/spool/live.db")
    legs = [{"strike": float(i + 1), "ltp": i * 0.37 % 91, "iv": i * 0.00731 % 1} for i in range(20_000)]
    chain = {"exchange": "NSE", "symbol": "NIFTY", "puts": [], "expiry": "2026-12-29"}
    for first in range(8):
        moved = [dict(leg, strike=leg["strike"] + 100_000 * first) for leg in legs]
        assert writer("offer", dict(chain, calls=moved)) == first + 1
    assert writer("heal") > 0, "the fault was never met"
    writer.kill()
    with closing(sqlite3.connect(case.root / "spool" / "live.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute(
            "SELECT offered, spooled, difference FROM ledger_balance WHERE table_name = 'option_chain'"
        ).fetchall() == [(160_000, 160_000, 0)]


def test_a_failed_commit_is_told_in_one_plain_line(faulty: Any) -> None:
    """By the command as in the log: what deltalake says has several lines, and colours."""
    case = faulty.case()
    writer = faulty.writer(case)
    writer("open_tap", **case.settings(committer="process"))
    case.offer(writer, 1)
    writer("close")
    writer("fail", CREATE, errno.ENOSPC, "*/option_chain/_delta_log/*1.json*")
    code, out, err = writer("command_line", "--root", str(case.root), "ingest", "commit", "--once")
    assert (code, out) == (1, "")
    assert "No space left on device" in err
    assert "option_chain" in err
    assert err.count("\n") == 1, err
    assert "\x1b" not in err


def test_a_sync_that_failed_once_is_not_believed_the_second_time(faulty: Any, tmp_path: Any) -> None:
    """After a failed fsync Linux forgets the unwritten pages: the next fsync succeeds and saves nothing."""
    case = faulty.case()
    writer = faulty.writer(case)
    writer("keep_journal", str(tmp_path / "journal"), str(case.folder / "acknowledged"))
    writer("open_tap", **case.settings())
    case.offer(writer, 2)
    assert writer("flush")
    writer("fail", SYNC, errno.EIO, "*/option_chain/_delta_log/*.json", times=1)
    case.offer(writer, 2)
    assert not writer("flush")
    assert writer("heal") == 1
    case.offer(writer, 2)
    assert writer("flush")
    writer.kill()
    disk = Disk(case.folder)
    for call in read_journal(tmp_path / "journal"):
        disk.follow(call)
    for name, cut in CUTS.items():
        folder = tmp_path / name
        folder.mkdir()
        put_back(disk.after(cut), folder)
        after = Case(folder, offered=case.offered, acknowledged=list(case.acknowledged))
        after.finish()
        after.check()
