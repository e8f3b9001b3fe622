"""A lake made by real commits, damaged through the file system alone, mended by the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from deltalake import DeltaTable

from catalog.contracts import CAPTURED
from ingest.tap import StreamTap
from lake.settings import Settings

BREACH = 3
INDIA = ZoneInfo("Asia/Kolkata")
COUNT = "SELECT count(*) AS rows, count(DISTINCT strike) AS strikes FROM option_chain"


class Market:
    """Offers chains whose strikes tell all rows apart, and counts what deltalake and SQL read back."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.folder: Path = run.folder / "data"
        self.offered = 0

    @property
    def chain(self) -> Path:
        return self.folder / "raw_stream" / "option_chain"

    def commit(self, times: int = 1) -> None:
        for _ in range(times):
            self.spool()
            self.run("ingest", "commit", "--once")

    def spool(self) -> None:
        tap = StreamTap(Settings(root=self.folder, committer="process"))
        legs = [{"strike": self.offered + n + 1, "ltp": 1.5, "oi": 75} for n in range(4)]
        tap.offer("NSE", legs, [], symbol="NIFTY", expiry="2026-12-29", features={"rsi": 1.0 + self.offered})
        self.offered += 4
        assert tap.flush()
        assert tap.close()

    def log(self, version: int) -> Path:
        return self.chain / "_delta_log" / f"{version:020d}.json"

    def newest(self) -> int:
        return max(int(p.stem) for p in (self.chain / "_delta_log").glob("*.json") if p.stem.isdigit())

    def data_files(self) -> list[Path]:
        return sorted(self.chain.glob("date=*/*/*.parquet"), key=lambda p: p.stat().st_mtime_ns)

    def all_rows_once(self) -> None:
        strikes = DeltaTable(str(self.chain)).to_pyarrow_table()["strike"].to_pylist()
        assert sorted(strikes) == [float(n + 1) for n in range(self.offered)]
        assert self.run.json("sql", COUNT) == [{"rows": self.offered, "strikes": self.offered}]

    def stays_open(self) -> None:
        """Make today a session until midnight: after the close its small files would be a finding, too."""
        today = datetime.now(INDIA).date()
        lines = [f"*,{today + timedelta(days=later)},special,00:01,23:59,test" for later in (0, 1)]
        text = "\n".join(["exchange,date,kind,open,close,note", *lines, ""])
        (self.folder / "calendar.csv").write_text(text, encoding="utf-8")

    def doctor(self, *options: str, code: int = 0) -> list[dict[str, Any]]:
        told = self.run("lake", "doctor", "--output", "json", *options, code=code).stdout
        found: list[dict[str, Any]] = json.loads(told)
        return found

    def healed(self, *kinds: str) -> None:
        """The doctor names it, mends it, says so, and finds nothing afterwards; all rows are there once."""
        found = self.doctor(code=BREACH)
        assert set(kinds) <= {f["kind"] for f in found}, found
        assert not any(f["repaired"] for f in found)
        told = self.run("lake", "doctor", "--repair").stdout
        assert "[mended]" in told
        assert " 0 left" in told
        assert all(
            len(line) <= 80 or "part-" in line or str(self.folder) in line for line in told.splitlines()
        )
        self.all_rows_once()
        assert self.run("lake", "doctor", "--repair").stdout == "nothing is wrong\n"
        self.run("catalog", "verify")


@pytest.fixture(scope="module")
def pristine(in_folder: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Market:
    market = Market(in_folder(tmp_path_factory.mktemp("care")))
    market.commit(4)
    return market


@pytest.fixture
def market(pristine: Market, in_folder: Callable[[Path], Any], tmp_path: Path) -> Market:
    """A copy: file times and all."""
    shutil.copytree(pristine.folder, tmp_path / "data", copy_function=shutil.copy2)
    copy = Market(in_folder(tmp_path))
    copy.offered = pristine.offered
    return copy


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def test_of_a_sound_lake_the_doctor_has_nothing_to_say(market: Market) -> None:
    assert market.doctor() == []
    assert market.run("lake", "doctor").stdout == "nothing is wrong\n"


@pytest.mark.parametrize("version", [2, 4], ids=["middle", "newest"])
@pytest.mark.parametrize(
    ("kind", "damage"),
    [("empty_commit", lambda path: path.write_bytes(b"")), ("torn_commit", cut)],
    ids=["empty", "torn"],
)
def test_a_damaged_commit_is_named_and_mended(
    market: Market, kind: str, damage: Callable[[Path], object], version: int
) -> None:
    damage(market.log(version))
    market.healed(kind)


def test_a_missing_middle_commit_is_named_and_mended(market: Market) -> None:
    market.log(2).unlink()
    market.healed("missing_commit")
    market.commit()
    market.all_rows_once()


def test_the_newest_commit_gone_is_named_and_mended(market: Market) -> None:
    market.log(4).unlink()
    market.healed("lost_batch", "catalog_differs")


def test_a_writer_that_starts_on_a_torn_log_mends_it_without_the_doctor(market: Market) -> None:
    cut(market.log(4))
    market.commit()
    market.all_rows_once()
    assert market.doctor() == []


def test_a_damaged_data_file_is_named_and_said_to_be_left(market: Market) -> None:
    files = market.data_files()
    cut(files[1])
    files[2].unlink()
    before = set(market.folder.rglob("*.parquet"))
    for options in ((), ("--repair",), ("--repair",)):
        found = market.doctor(*options, code=BREACH)
        assert {(f["kind"], Path(f["subject"]).name, f["repaired"]) for f in found} == {
            ("file_size", files[1].name, False),
            ("missing_file", files[2].name, False),
        }
    assert set(market.folder.rglob("*.parquet")) == before
    assert "[left]" in market.run("lake", "doctor", "--repair", code=BREACH).stdout


def test_the_catalog_deleted_is_made_again(market: Market) -> None:
    for path in market.folder.glob("catalog.db*"):
        path.unlink()
    market.healed("catalog_behind")


def test_maintenance_of_a_lake_in_use_keeps_rows_and_history(market: Market) -> None:
    market.commit(8)
    batches = market.run.json("catalog", "batches", "--table", "option_chain")
    told = market.run("lake", "maintain", "--dry-run", "--keep-days", "0")
    assert "nothing was changed" in told.stderr
    for _ in range(2):
        rows = market.run.json("lake", "maintain", "--keep-days", "0")
        assert {row["table"] for row in rows} == set(CAPTURED)
        assert [row["problems"] for row in rows] == [[]] * len(CAPTURED)
    assert sum(row["archived_commits"] for row in rows) >= 0
    assert "nothing to do" in market.run("lake", "maintain", "--keep-days", "0").stdout
    assert market.doctor() == []
    market.all_rows_once()
    market.run("catalog", "rebuild")
    again = market.run.json("catalog", "batches", "--table", "option_chain")
    assert [{**b, "id": 0} for b in again] == [{**b, "id": 0} for b in batches]
    assert market.doctor() == []
    market.commit()
    market.all_rows_once()


def test_a_problem_of_maintenance_is_one_line_and_exit_code_1(market: Market) -> None:
    market.log(0).write_bytes(b"{")
    done = market.run("lake", "maintain", code=1)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("strikelake: ")
    assert "doctor" in line
    assert "ml_features" in done.stdout


def test_old_sessions_are_dropped_for_good(market: Market) -> None:
    (day,) = {p.parent.parent.name.removeprefix("date=") for p in market.data_files()}
    after = f"{int(day[:4]) + 1}-01-01"
    assert market.run.json("lake", "drop-before", day) == [
        {"table": name, "sessions": 0, "files": 0, "rows": 0, "size_bytes": 0}
        for name in (
            "candles",
            "feed_quality",
            "ml_features",
            "option_chain",
            "quarantine",
            "quarantine_retries",
            "signals",
        )
    ]
    told = market.run(
        "lake", "drop-before", after, "--dry-run", "--table", "option_chain", "--output", "json"
    )
    assert json.loads(told.stdout)[0]["rows"] == market.offered
    market.all_rows_once()
    market.run("lake", "drop-before", after, "--table", "option_chain")
    assert market.run.json("sql", COUNT) == [{"rows": 0, "strikes": 0}]
    assert market.data_files() == []
    assert {b["state"] for b in market.run.json("catalog", "batches", "--table", "option_chain")} == {
        "dropped"
    }
    assert market.doctor() == []
    assert market.run("lake", "drop-before", "soon", code=2).stdout == ""


def test_where_there_is_no_lake_the_commands_say_so(strikelake: Any) -> None:
    for command in (("doctor",), ("doctor", "--repair"), ("maintain",), ("drop-before", "2026-01-01")):
        assert "strikelake demo" in strikelake.error("lake", *command)


WRITER = """
    import sys, time
    from ingest.tap import StreamTap
    from lake.settings import Settings
    tap = StreamTap(Settings(root=sys.argv[1], raw_stream_spool_seconds=0.005, raw_stream_flush_seconds=0.02))
    offered = int(sys.argv[2])
    print("running", flush=True)
    deadline = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < deadline:
        offered += 1
        tap.offer("NSE", [{"strike": offered}], [], symbol="NIFTY", expiry="2026-12-29")
        time.sleep(0.005)
    assert tap.close()
    print(offered, flush=True)
"""


def test_a_running_writer_is_never_harmed_by_repair_or_maintenance(market: Market) -> None:
    market.stays_open()
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(market.folder), str(market.offered), "12"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdout.readline() == "running\n"
        time.sleep(1)
        while writer.poll() is None:
            assert market.doctor("--repair") == []
            market.run("lake", "maintain", "--keep-days", "0")
        market.offered = int(writer.stdout.readline())
    assert writer.returncode == 0
    market.all_rows_once()
    assert market.doctor() == []


def test_a_writer_killed_at_any_moment_leaves_nothing_that_repair_cannot_tell(market: Market) -> None:
    market.stays_open()
    for pause in (0.4, 0.9, 1.5):
        command = [
            sys.executable, "-c", textwrap.dedent(WRITER), str(market.folder), str(market.offered), "60"
        ]  # fmt: skip
        with subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, encoding="utf-8",
        ) as writer:  # fmt: skip
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(pause)
            writer.kill()
        told = market.run("lake", "doctor", "--repair", "--output", "json").stdout
        assert {f["kind"] for f in json.loads(told)} <= {"orphan_file", "spool_committed", "catalog_behind"}
        assert market.doctor() == []
        market.run("ingest", "commit", "--once")
        strikes = DeltaTable(str(market.chain)).to_pyarrow_table()["strike"].to_pylist()
        market.offered = len(strikes)
        market.all_rows_once()
    assert market.doctor() == []


def test_a_commit_torn_beside_a_running_writer_is_mended_beside_it(market: Market) -> None:
    market.stays_open()
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(market.folder), str(market.offered), "5"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, encoding="utf-8",
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(1)
        cut(market.log(2))
        # The writer may be faster: it mends a log that it cannot open.
        assert {f["kind"] for f in market.doctor("--repair")} <= {"torn_commit", "lost_batch"}
        market.offered = int(writer.stdout.readline())
    assert writer.returncode == 0
    market.all_rows_once()
    assert market.doctor() == []
