"""Appending a micro-batch: exactly once, synced in order, and as other Delta readers expect it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake.append import append, write_log_checkpoint
from lake.commit_log import Commit, commit_file, read_commit, versions
from lake.digest import content_digest
from lake.durability import write_durably
from lake.errors import CommitStateUnknownError, SchemaMismatchError
from lake.table import CHECKPOINT_INTERVAL, Lake, TableSpec, open_table

MakeRows = Callable[..., pa.Table]
CommitRows = Callable[..., Commit | None]
Query = Callable[..., list[dict[str, Any]]]

_REPOSITORY = Path(__file__).parents[2]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="relies on POSIX file descriptors")


def landed(commit: Commit | None) -> Commit:
    assert commit is not None
    return commit


def ordered(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows by (station, event_time), columns by name: a form two readers can be compared in."""
    found: list[dict[str, Any]] = rows.select(sorted(rows.column_names)).to_pylist()
    return sorted(found, key=lambda row: (row["station"], row["event_time"]))


def data_files(table: Path) -> set[Path]:
    return set(table.rglob("*.parquet")) - set((table / "_delta_log").rglob("*"))


def test_rows_come_back_exactly_from_our_session_and_from_deltalake(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    rows = make_rows(50)

    made = landed(commit(rows, 1))

    assert (made.version, made.operation, made.rows) == (1, "WRITE", 50)
    assert ordered(DeltaTable(str(table)).to_pyarrow_table()) == ordered(rows)
    ours = query(lake, "SELECT * FROM readings ORDER BY event_time")
    assert ours == rows.to_pylist()


def test_a_batch_of_several_partitions_is_one_commit_with_a_file_each(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    parts = [
        make_rows(7, 0, station="B"),
        make_rows(5, 100, station="A"),
        make_rows(3, 200, station="A", day=date(2026, 1, 6)),
    ]
    rows = pa.concat_tables(parts).sort_by("celsius")

    made = landed(commit(rows, 1))

    assert [add["partitionValues"] for add in made.adds] == [
        {"date": "2026-01-05", "station": "A"},
        {"date": "2026-01-05", "station": "B"},
        {"date": "2026-01-06", "station": "A"},
    ]
    assert [json.loads(add["stats"])["numRecords"] for add in made.adds] == [5, 7, 3]
    assert ordered(DeltaTable(str(table)).to_pyarrow_table()) == ordered(rows)
    counts = query(lake, "SELECT date, station, count(*) AS n FROM readings GROUP BY ALL ORDER BY ALL")
    assert [row["n"] for row in counts] == [5, 7, 3]
    assert versions(table) == [0, 1]


def test_a_null_in_a_partition_column_is_refused_and_no_row_is_lost_silently(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    homeless = make_rows(2, 10).set_column(1, "station", pa.nulls(2, pa.string()))

    with pytest.raises(SchemaMismatchError, match="station is null in 2 rows"):
        commit(pa.concat_tables([make_rows(2), homeless]), 1)

    assert versions(table) == [0]
    assert data_files(table) == set()


@pytest.mark.parametrize("again", [7, 6, 0])
def test_a_sequence_the_log_has_passed_adds_nothing(
    table: Path, commit: CommitRows, make_rows: MakeRows, again: int
) -> None:
    commit(make_rows(3), 7)
    before = data_files(table)

    assert commit(make_rows(3, 50), again) is None

    assert versions(table) == [0, 1]
    assert data_files(table) == before
    assert open_table(table).transaction_version("app/1") == 7


def test_streams_of_one_table_do_not_know_of_each_others_sequences(
    lake: Lake, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(3), 9)

    made = landed(commit(make_rows(2, 100), 1, stream="app/2"))

    assert made.transactions == {"app/2": 1}
    assert query(lake, "SELECT sum(celsius) AS total FROM readings") == [{"total": 0 + 1 + 2 + 100 + 101}]


def test_a_table_that_several_create_at_once_is_created_once(tmp_path: Path, spec: TableSpec) -> None:
    for number in range(20):  # deltalake alone creates about every other one twice
        lake = Lake.at(tmp_path / str(number))
        with ThreadPoolExecutor(4) as executor:
            [path] = set(executor.map(lake.create, [spec] * 4))
        assert versions(path) == [0]


_WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from datetime import UTC, date, datetime, timedelta
from lake.append import append
from lake.errors import CommitConflictError
from lake.table import Lake, TableSpec

root, writer, commits = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
schema = pa.schema([("date", pa.date32()), ("station", pa.string()),
    ("event_time", pa.timestamp("us", tz="UTC")), ("sensor", pa.string()), ("celsius", pa.float64()),
    ("samples", pa.int64()), ("batch_id", pa.string())])
spec = TableSpec("readings", schema, ("date", "station"), ("event_time",), ("sensor", "batch_id"))
path = Lake.at(root).create(spec)
print("ready", flush=True)
sys.stdin.readline()
for sequence in range(1, commits + 1):
    number = writer * 1000 + sequence
    row = [date(2026, 1, 5), "A", datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=number), "s",
           float(number), number, "b"]
    rows = pa.table([[value] for value in row], schema=schema)
    while True:  # as the committer does: a conflict is tried again, and the log says whether it landed
        try:
            append(path, spec, rows, stream=f"writer/{writer}", sequence=sequence, metadata={})
            break
        except CommitConflictError:
            continue
"""


def test_three_processes_create_and_fill_one_table_and_every_row_is_there_once(
    tmp_path: Path, views: Path, query: Query
) -> None:
    root, commits = tmp_path / "shared", 8
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(root), str(writer), str(commits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        )
        for writer in range(3)
    ]
    for process in writers:
        assert process.stdout is not None
        process.stdout.readline()
    for process in writers:
        _, errors = process.communicate("go\n", timeout=60)
        assert process.returncode == 0, errors

    expected = [float(w * 1000 + s) for w in range(3) for s in range(1, commits + 1)]
    rows = query(Lake.at(root), "SELECT celsius FROM readings ORDER BY celsius")
    assert [row["celsius"] for row in rows] == expected
    handle = open_table(Lake.at(root).path("readings"))
    assert [handle.transaction_version(f"writer/{w}") for w in range(3)] == [commits] * 3


def test_new_float64_columns_widen_the_table_and_older_rows_have_null_there(
    lake: Lake, table: Path, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(2), 1)

    made = landed(commit(make_rows(2, 10, humidity=[0.5, None], wind=[1.0, 2.0]), 2))

    assert [read_commit(table, v).operation for v in versions(table)][2:] == ["ADD COLUMN", "WRITE"]
    assert made.version == 3
    rows = query(lake, "SELECT humidity, wind FROM readings ORDER BY event_time")
    assert rows == [
        {"humidity": None, "wind": None},
        {"humidity": None, "wind": None},
        {"humidity": 0.5, "wind": 1.0},
        {"humidity": None, "wind": 2.0},
    ]
    theirs = DeltaTable(str(table)).to_pyarrow_table().sort_by("event_time").column("humidity").to_pylist()
    assert theirs == [None, None, 0.5, None]


def test_a_batch_may_lack_columns_that_the_table_was_widened_by(
    lake: Lake, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(1, humidity=[0.5]), 1)
    commit(make_rows(1, 10), 2)

    assert query(lake, "SELECT humidity FROM readings ORDER BY event_time") == [
        {"humidity": 0.5},
        {"humidity": None},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.drop_columns(["samples", "sensor"]), "lacks sensor, samples"),
        (lambda r: r.append_column("wind", pa.array([1, 2])), "new column wind must be float64, not int64"),
        (lambda r: r.append_column("Celsius", pa.array([1.0, 2.0])), "'Celsius' is there as 'celsius'"),
        (lambda r: r.append_column("", pa.array([1.0, 2.0])), "no name"),
        (
            lambda r: r.append_column("rsi", pa.array([1.0, 2.0])).append_column("RSI", pa.array([1.0, 2.0])),
            "(?i)rsi",
        ),
        (
            lambda r: r.set_column(5, "samples", pa.array([1.5, 2.5])),
            "samples is int64 in the table, double in the batch",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name_and_leave_nothing(
    table: Path,
    commit: CommitRows,
    make_rows: MakeRows,
    change: Callable[[pa.Table], pa.Table],
    message: str,
) -> None:
    with pytest.raises(SchemaMismatchError, match=message):
        commit(change(make_rows(2)), 1)

    assert versions(table) == [0]
    assert data_files(table) == set()
    assert landed(commit(make_rows(2), 1)).version == 1


@pytest.mark.parametrize("name", ["put/call (oi)", "a.b", "Ärger'\"", "line\u2028break", "filename", "x=1"])
def test_a_feature_may_have_any_name_that_is_not_empty(
    lake: Lake, commit: CommitRows, make_rows: MakeRows, query: Query, name: str
) -> None:
    commit(make_rows(2, **{name: [1.5, None]}), 1)

    assert [row[name] for row in query(lake, "SELECT * FROM readings ORDER BY event_time")] == [1.5, None]


def test_a_full_disk_at_the_second_file_leaves_no_file_and_no_commit(
    table: Path, commit: CommitRows, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.concat_tables([make_rows(3, station="A"), make_rows(3, station="B")])
    real, calls = os.fsync, []

    def full_at_the_second(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        commit(rows, 1)
    monkeypatch.undo()

    assert len(calls) == 2
    assert data_files(table) == set()
    assert versions(table) == [0]
    assert landed(commit(rows, 1)).rows == 6


@posix_only
def test_a_disk_that_fills_up_while_a_file_is_written_leaves_no_part_of_it(tmp_path: Path) -> None:
    # A real limit of the system, not a patched call: what is still buffered fails again at closing.
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from lake.durability import write_durably\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "for size in (100_001, 1_000_000):\n"
        "    try:\n"
        "        write_durably(Path(sys.argv[1]), memoryview(bytes(size)))\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    target = tmp_path / "part.parquet"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
    )

    assert ended.stdout.split() == [str(errno.EFBIG)] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    target = tmp_path / "part.parquet"
    target.write_bytes(b"old")

    with pytest.raises(FileExistsError):
        write_durably(target, b"new")

    assert target.read_bytes() == b"old"


def test_file_statistics_equal_the_rows_of_the_file(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    rows = pa.concat_tables([make_rows(20, 3), make_rows(11, 40, station="B")])

    for add in landed(commit(rows, 1)).adds:
        stored = pq.read_table(table / add["path"], partitioning=None).to_pylist()
        statistics = json.loads(add["stats"])
        assert statistics["numRecords"] == len(stored)
        assert set(statistics["minValues"]) == {"event_time", "sensor", "celsius", "samples"}
        for name in ("sensor", "celsius", "samples"):
            values = [row[name] for row in stored if row[name] is not None]
            assert statistics["minValues"][name] == min(values)
            assert statistics["maxValues"][name] == max(values)
            assert statistics["nullCount"][name] == len(stored) - len(values)
        for bound, pick in (("minValues", min), ("maxValues", max)):
            text = statistics[bound]["event_time"]
            assert text.endswith("Z")
            assert datetime.fromisoformat(text) == pick(row["event_time"] for row in stored)


def test_a_column_of_nulls_has_a_null_count_and_no_bounds(commit: CommitRows, make_rows: MakeRows) -> None:
    rows = make_rows(3).set_column(3, "sensor", pa.nulls(3, pa.string()))

    statistics = json.loads(landed(commit(rows, 1)).adds[0]["stats"])

    assert statistics["nullCount"]["sensor"] == 3
    assert "sensor" not in statistics["minValues"]
    assert "sensor" not in statistics["maxValues"]


def test_a_commit_records_checksum_digest_bounds_and_the_callers_metadata(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    rows = pa.concat_tables([make_rows(4), make_rows(6, 10, station="B")])

    made = landed(commit(rows, 5, batch_id="app-000005", note="ä\u2028b"))

    assert (made.batch["batch_id"], made.batch["note"]) == ("app-000005", "ä\u2028b")
    assert set(made.batch["files"]) == {add["path"] for add in made.adds}
    for add in made.adds:
        content = (table / add["path"]).read_bytes()
        facts = made.batch["files"][add["path"]]
        part = rows.filter(pa.compute.equal(rows["station"], add["partitionValues"]["station"]))
        assert facts["sha256"] == hashlib.sha256(content).hexdigest()
        assert add["size"] == len(content)
        assert facts["content_digest"] == content_digest(part, ignore=["batch_id"])
        times = part["event_time"].to_pylist()
        assert datetime.fromisoformat(facts["first_event_time"]) == min(times)
        assert datetime.fromisoformat(facts["last_event_time"]) == max(times)


class _Disk:
    """Which files were synced, and which commits the log had at that moment."""

    def __init__(self, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[Path, int]] = []
        fsync_real = os.fsync

        def fsync(descriptor: int) -> None:
            fsync_real(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.synced.append((path, len(versions(table))))

        monkeypatch.setattr(os, "fsync", fsync)

    def when(self, path: Path) -> list[int]:
        """Commits in the log at each sync of a path."""
        return [commits for synced, commits in self.synced if synced == path.resolve()]

    def position(self, path: Path) -> int:
        return [synced for synced, _ in self.synced].index(path.resolve())


linux_only = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")


@linux_only
def test_data_files_and_folders_are_synced_before_the_commit_and_the_log_after_it(
    table: Path, commit: CommitRows, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk(table, monkeypatch)

    made = landed(commit(pa.concat_tables([make_rows(2), make_rows(2, station="B")]), 1))

    for add in made.adds:
        file = table / add["path"]
        assert disk.when(file) == [1], "the data file, while the log had only the creation"
        for folder in (file.parent, file.parent.parent, table):
            assert set(disk.when(folder)) == {1}
            assert disk.position(folder) > disk.position(file), "a name can be synced once it is there"
    assert disk.when(commit_file(table, 1)) == [2]
    assert disk.when(table / "_delta_log") == [2]
    assert disk.position(table / "_delta_log") > disk.position(commit_file(table, 1))


@linux_only
def test_a_commit_whose_writer_died_before_syncing_it_is_synced_when_it_is_recognised(
    table: Path, commit: CommitRows, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the spool would forget rows that a power cut can still take from the log. Written anew, as the sync
    # may have been tried and have failed: then another one proves nothing.
    commit(make_rows(2), 1)
    commit(make_rows(2, 10), 1, stream="app/2")
    before = {version: commit_file(table, version).read_bytes() for version in versions(table)}
    disk = _Disk(table, monkeypatch)

    assert commit(make_rows(2), 1) is None

    for version, content in before.items():
        name = commit_file(table, version).name
        drafts = [i for i, (path, _) in enumerate(disk.synced) if path.name.startswith(f".{name}.")]
        assert len(drafts) == 1, version
        log = (table / "_delta_log").resolve()
        assert log in [path for path, _ in disk.synced[drafts[0] :]]
        assert commit_file(table, version).read_bytes() == content
    assert sorted(p.name for p in (table / "_delta_log").iterdir()) == [f"{v:020d}.json" for v in before]


@linux_only
def test_a_commit_that_cannot_be_synced_is_reported_as_unknown_and_not_as_failed(
    table: Path, commit: CommitRows, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def failing_for_the_log(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing_for_the_log)
    with pytest.raises(CommitStateUnknownError, match="version 1 is committed but not synced"):
        commit(make_rows(2), 1)
    monkeypatch.undo()

    assert len(data_files(table)) == 1
    assert commit(make_rows(2), 1) is None


def test_every_hundredth_commit_brings_a_log_checkpoint_and_older_handles_stay_usable(
    lake: Lake, table: Path, spec: TableSpec, make_rows: MakeRows, query: Query
) -> None:
    old = open_table(table)
    log = table / "_delta_log"
    for sequence in range(1, CHECKPOINT_INTERVAL):
        append(table, spec, make_rows(1, sequence), stream="app/1", sequence=sequence, metadata={})
    assert list(log.glob("*.checkpoint*")) == []

    append(table, spec, make_rows(1, 100), stream="app/2", sequence=1, metadata={}, handle=old)

    assert json.loads((log / "_last_checkpoint").read_text(encoding="utf-8"))["version"] == 100
    assert [path.name for path in log.glob("*.checkpoint*")] == [f"{100:020d}.checkpoint.parquet"]
    for version in range(100):
        commit_file(table, version).unlink()
    assert DeltaTable(str(table)).to_pyarrow_table().num_rows == 100, "the checkpoint alone carries the table"
    assert query(lake, "SELECT sum(celsius) AS total FROM readings") == [{"total": sum(range(1, 101))}]
    assert append(table, spec, make_rows(1), stream="app/2", sequence=1, metadata={}) is None


def test_a_checkpoint_that_fails_does_not_fail_the_commit(
    table: Path, spec: TableSpec, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def no_space(self: DeltaTable) -> None:
        raise DeltaError("no space left on device")

    monkeypatch.setattr(DeltaTable, "create_checkpoint", no_space)
    monkeypatch.setattr("lake.append.CHECKPOINT_INTERVAL", 1)

    assert landed(append(table, spec, make_rows(1), stream="app/1", sequence=1, metadata={})).version == 1

    assert "log checkpoint failed" in caplog.messages


def test_a_log_checkpoint_can_be_written_at_any_version(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    commit(make_rows(2), 1)

    write_log_checkpoint(table)

    assert (table / "_delta_log" / f"{1:020d}.checkpoint.parquet").is_file()


def test_the_table_is_append_only_for_every_delta_writer(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    commit(make_rows(2), 1)
    handle = DeltaTable(str(table))

    assert handle.metadata().configuration["delta.appendOnly"] == "true"
    with pytest.raises(DeltaError):
        handle.delete("celsius = 1")
    assert DeltaTable(str(table)).to_pyarrow_table().num_rows == 2


def test_an_empty_batch_moves_the_sequence_and_adds_no_file(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    made = landed(commit(make_rows(0), 4))

    assert (made.adds, made.transactions) == ((), {"app/1": 4})
    assert data_files(table) == set()


def test_times_of_commits_are_close_to_now(commit: CommitRows, make_rows: MakeRows) -> None:
    before = datetime.now(UTC)
    made = landed(commit(make_rows(1), 1))

    assert abs((made.time - before).total_seconds()) < 30
