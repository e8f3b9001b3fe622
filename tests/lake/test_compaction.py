"""Compaction changes files, never rows: whatever is damaged, races or dies meanwhile."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from lake import compaction
from lake.append import append
from lake.commit_log import commits_after, read_commit
from lake.compaction import COMPACTION, active_files, compact, small_files
from lake.data_file import NOT_CONTENT
from lake.digest import content_digest
from lake.errors import CommitConflictError, DamagedTableError, StreamInUseError
from lake.file_changes import change_files, removal
from lake.maintenance import maintain, maintenance_lock
from lake.table import Lake, TableSpec, open_table

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


def always(partition: Mapping[str, str]) -> bool:
    return True


def numbers(table: Path) -> list[float]:
    return sorted(DeltaTable(str(table)).to_pyarrow_table()["celsius"].to_pylist())


def digest(table: Path) -> str:
    return content_digest(DeltaTable(str(table)).to_pyarrow_table(), ignore=NOT_CONTENT)


@pytest.fixture
def sorted_spec(spec: TableSpec) -> TableSpec:
    return TableSpec(**{**{n: getattr(spec, n) for n in spec.__slots__}, "sort_by": ("event_time", "sensor")})


def test_a_finished_partition_becomes_one_sorted_file_with_the_same_rows(
    writer: Any, sorted_spec: TableSpec
) -> None:
    for _ in range(4):
        writer.write(5)
        writer.write(3, day=TUESDAY)
    before = digest(writer.table)

    (done,) = compact(writer.table, sorted_spec, lambda p: p["date"] == "2026-01-05")

    assert (done.files_before, done.files_after, done.rows) == (4, 1, 20)
    assert digest(writer.table) == before
    assert writer.all_rows_once()
    monday = [f for f in active_files(open_table(writer.table)) if f.partition["date"] == "2026-01-05"]
    assert len(monday) == 1
    times = pq.read_table(writer.table / monday[0].path, partitioning=None)["event_time"].to_pylist()
    assert times == sorted(times)
    commit = read_commit(writer.table, done.version)
    assert commit.operation == COMPACTION
    assert [a["dataChange"] for a in (*commit.adds, *commit.removes)] == [False] * 5
    assert list(compact(writer.table, sorted_spec, lambda p: p["date"] == "2026-01-05")) == []


def test_every_row_keeps_its_batch_and_late_rows_are_taken_in_the_next_time(
    writer: Any, spec: TableSpec
) -> None:
    writer.write(3)
    writer.write(4)
    batches = DeltaTable(str(writer.table)).to_pyarrow_table().sort_by("celsius")["batch_id"].to_pylist()
    list(compact(writer.table, spec, always))
    after = DeltaTable(str(writer.table)).to_pyarrow_table().sort_by("celsius")["batch_id"].to_pylist()
    assert after == batches
    writer.write(2)
    (again,) = compact(writer.table, spec, always)
    assert again.files_before == 2
    assert writer.all_rows_once()


def test_widened_files_and_narrow_ones_become_one(writer: Any, spec: TableSpec) -> None:
    writer.write(3)
    writer.write(2, wind=[1.0, None])
    writer.write(2, rain=[3.0, 4.0])
    writer.write(1, wind=[2.0])
    before = DeltaTable(str(writer.table)).to_pyarrow_table().sort_by("celsius").to_pylist()

    list(compact(writer.table, spec, always))

    assert len(DeltaTable(str(writer.table)).file_uris()) == 1
    assert DeltaTable(str(writer.table)).to_pyarrow_table().sort_by("celsius").to_pylist() == before


def test_columns_that_none_of_the_files_has_are_not_written(writer: Any, spec: TableSpec) -> None:
    writer.write(2)
    writer.write(2)
    writer.write(2, wind=[1.0, 2.0], day=TUESDAY)
    list(compact(writer.table, spec, always))
    (monday,) = [f for f in active_files(open_table(writer.table)) if f.partition["date"] == "2026-01-05"]
    assert "wind" not in pq.read_schema(writer.table / monday.path).names


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR2")),
        lambda path: pq.write_table(pq.read_table(path, partitioning=None), path),
    ],
    ids=["gone", "cut", "garbage", "rewritten"],
)
def test_a_damaged_file_is_named_and_not_compacted_away_and_other_days_go_on(
    writer: Any, spec: TableSpec, damage: Callable[[Path], object]
) -> None:
    for day in (MONDAY, TUESDAY):
        writer.write(2, day=day)
        writer.write(3, day=day)
    path = writer.table / read_commit(writer.table, 1).adds[0]["path"]
    damage(path)
    running = compact(writer.table, spec, always)

    assert next(running).partition["date"] == "2026-01-06"
    with pytest.raises(DamagedTableError, match=path.name):
        next(running)

    files = active_files(open_table(writer.table))
    assert [f.partition["date"] for f in files].count("2026-01-05") == 2


def test_a_row_that_is_not_the_one_committed_is_noticed_though_all_checksums_agree(
    writer: Any, spec: TableSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(3)
    writer.write(3)
    read = compaction._sorted_rows

    def wrong(*given: Any) -> pa.Table:
        rows = read(*given)
        place = rows.column_names.index("celsius")
        return rows.set_column(place, "celsius", pa.array([9.0] * rows.num_rows))

    monkeypatch.setattr(compaction, "_sorted_rows", wrong)
    with pytest.raises(DamagedTableError, match="not those that were"):
        list(compact(writer.table, spec, always))
    assert writer.all_rows_once()


def test_of_two_compactions_of_one_snapshot_the_second_is_refused_and_leaves_nothing(
    writer: Any, spec: TableSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        writer.write(3)
    read, files = compaction._sorted_rows, set()

    def overtaken(*given: Any) -> pa.Table:
        monkeypatch.setattr(compaction, "_sorted_rows", read)
        list(compact(writer.table, spec, always))
        files.update(writer.table.glob("date=*/*/*.parquet"))
        return read(*given)

    monkeypatch.setattr(compaction, "_sorted_rows", overtaken)
    with pytest.raises(CommitConflictError):
        list(compact(writer.table, spec, always))

    assert writer.all_rows_once()
    assert set(writer.table.glob("date=*/*/*.parquet")) == files


def test_rows_are_never_doubled_when_another_tool_optimizes_the_same_files_first(
    writer: Any, spec: TableSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        writer.write(3)
    commit = compaction._commit

    def overtaken(*given: Any) -> None:
        monkeypatch.setattr(compaction, "_commit", commit)
        DeltaTable(str(writer.table)).optimize.compact()
        commit(*given)

    monkeypatch.setattr(compaction, "_commit", overtaken)
    with pytest.raises(CommitConflictError, match="another tool"):
        list(compact(writer.table, spec, always))
    assert writer.all_rows_once()


def test_rows_are_not_compacted_twice_when_another_tool_optimizes_from_a_snapshot_before_ours(
    writer: Any, lake: Lake, spec: TableSpec
) -> None:
    """Deltalake lets both through; the next maintenance takes one of them out again."""
    for _ in range(3):
        writer.write(3)
    early = DeltaTable(str(writer.table))
    list(compact(writer.table, spec, always))
    early.optimize.compact()
    assert len(numbers(writer.table)) == 18, "deltalake has learnt to refuse: this test can go"

    (done,) = maintain(lake, {spec.name: spec}, always)

    assert writer.all_rows_once()
    assert done.problems == ()
    maintain(lake, {spec.name: spec}, always)
    writer.write(2)
    assert writer.all_rows_once()


def test_two_maintenances_at_once_are_one_too_many(writer: Any, lake: Lake, spec: TableSpec) -> None:
    with (
        maintenance_lock(writer.table),
        pytest.raises(StreamInUseError, match="wait until it is done"),
    ):
        maintain(lake, {spec.name: spec}, always)
    maintain(lake, {spec.name: spec}, always)


def test_a_disk_that_fails_leaves_rows_and_files_as_they_were(
    writer: Any, spec: TableSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(3)
    writer.write(3)
    files = set(writer.table.rglob("*"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("lake.data_file.write_durably", "lake.compaction._commit"):
        with monkeypatch.context() as patch:
            patch.setattr(name, full)
            with pytest.raises(OSError, match="No space"):
                list(compact(writer.table, spec, always))
        assert writer.all_rows_once()
        assert set(writer.table.rglob("*")) == files


def test_partitions_larger_than_a_file_are_parted(
    writer: Any, spec: TableSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROWS_A_FILE", 10)
    for _ in range(9):
        writer.write(4)
    done = list(compact(writer.table, spec, always))
    assert [one.rows for one in done] == [8, 8, 8, 8]
    assert writer.all_rows_once()
    assert small_files(active_files(open_table(writer.table)), always) == {}


CHILD = """
    import sys
    from pathlib import Path
    import pyarrow as pa
    from lake.table import Lake, TableSpec
    from lake.maintenance import maintain
    from lake.append import append
    from datetime import UTC, date, datetime, timedelta

    SCHEMA = pa.schema([("date", pa.date32()), ("station", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")), ("sensor", pa.string()), ("celsius", pa.float64()),
        ("samples", pa.int64()), ("batch_id", pa.string())])
    spec = TableSpec("readings", SCHEMA, ("date", "station"), ("event_time", "celsius"), ("sensor",))
    lake = Lake.at(sys.argv[1])
"""
MAINTAINER = (
    CHILD
    + """
    for _ in range(int(sys.argv[2])):
        (done,) = maintain(lake, {"readings": spec}, lambda p: True, retention=timedelta(0))
        print("done", done.problems, flush=True)
"""
)
APPENDER = (
    CHILD
    + """
    start = int(sys.argv[2])
    for n in range(int(sys.argv[3])):
        numbers = range(start + 2 * n, start + 2 * n + 2)
        moment = datetime(2026, 1, 5, tzinfo=UTC)
        rows = pa.table({"date": [date(2026, 1, 5)] * 2, "station": ["A"] * 2, "event_time": [moment] * 2,
            "sensor": ["s"] * 2, "celsius": [float(i) for i in numbers], "samples": list(numbers),
            "batch_id": [f"far-{n}"] * 2}, schema=SCHEMA)
        append(lake.path("readings"), spec, rows, stream="far/1", sequence=n + 1,
               metadata={"batch_id": f"far-{n}"})
        print(n, flush=True)
"""
)


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def test_maintenance_beside_a_writing_process_loses_and_doubles_nothing(writer: Any, lake: Lake) -> None:
    for _ in range(5):
        writer.write(2)
    with child(APPENDER, lake.root, 10, 60) as appender, child(MAINTAINER, lake.root, 12) as maintainer:
        told = maintainer.communicate()[0].splitlines()
        appender.communicate()
    assert (appender.returncode, maintainer.returncode) == (0, 0)
    assert told == ["done ()"] * 12
    assert numbers(lake.path("readings")) == [float(n) for n in range(130)]


def test_killed_at_any_moment_and_run_again_every_row_is_there_once(
    writer: Any, lake: Lake, spec: TableSpec
) -> None:
    choose = random.Random(5)  # noqa: S311 - seeded
    for _ in range(8):
        for _ in range(6):
            writer.write(2)
        with child(MAINTAINER, lake.root, 10_000) as maintainer:
            assert maintainer.stdout is not None
            maintainer.stdout.readline()
            time.sleep(choose.uniform(0, 0.05))
            for _ in range(3):
                writer.write(1)
            time.sleep(choose.uniform(0, 0.05))
            maintainer.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        assert writer.all_rows_once()
        (done,) = maintain(lake, {spec.name: spec}, always)
        assert done.problems == ()
        assert writer.all_rows_once()
    assert [c.version for c in commits_after(writer.table, -1)] == list(
        range(open_table(writer.table).version() + 1)
    )


@pytest.mark.parametrize(
    "step",
    [
        "lake.compaction.write_data_file", "lake.compaction._commit", "lake.compaction._landed",
        "lake.compaction.sync_log", "lake.compaction._undo_if_doubled",
        "lake.maintenance.write_log_checkpoint", "lake.maintenance.undo_doubled",
        "lake.maintenance.clean_log", "lake.log_cleanup.archive_commits", "lake.log_cleanup.delete_data_file",
        "lake.log_cleanup.fsync_directory",
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_at_each_step_is_finished_by_the_next_run(
    writer: Any, lake: Lake, spec: TableSpec, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        writer.write(2)
    if step == "lake.log_cleanup.delete_data_file":  # a compaction leaves the log with the next checkpoint
        maintain(lake, {spec.name: spec}, always)
        for _ in range(12):
            writer.write(2)
    module, name = step.rsplit(".", 1)
    real = getattr(sys.modules[module], name)

    def die(*given: Any, **named: Any) -> None:
        if when == "after":
            real(*given, **named)
        raise SystemExit

    now = read_commit(writer.table, 12).time.replace(year=2099)
    with monkeypatch.context() as patch:
        patch.setattr(step, die)
        with pytest.raises(SystemExit):
            maintain(lake, {spec.name: spec}, always, now=now)
    assert writer.all_rows_once()
    for _ in range(2):
        (done,) = maintain(lake, {spec.name: spec}, always, now=now)
        assert done.problems == ()
    assert writer.all_rows_once()
    assert [c.version for c in commits_after(writer.table, -1)][:13] == list(range(13))
    writer.write(1)
    assert writer.all_rows_once()


def test_a_second_stream_is_not_disturbed(writer: Any, spec: TableSpec, make_rows: Any) -> None:
    writer.write(2)
    rows = make_rows(2, 2)
    append(writer.table, spec, rows, stream="other/1", sequence=7, metadata={"batch_id": "o"})
    list(compact(writer.table, spec, always))
    handle = open_table(writer.table)
    assert handle.transaction_version("other/1") == 7
    assert handle.transaction_version(writer.spool.stream) == 1
    assert numbers(writer.table) == [0.0, 1.0, 2.0, 3.0]


def test_overlapping_compactions_of_other_tools_are_undone_to_the_files_before(
    writer: Any, lake: Lake, spec: TableSpec
) -> None:
    """Ours took files 1 to 3, the other 2 to 4: neither has all rows, so both go."""
    for _ in range(4):
        writer.write(2)
    early = open_table(writer.table)
    first, *_, last = active_files(early)
    for left_out in (last, first):
        files = [f for f in active_files(early) if f != left_out]
        rows = pa.concat_tables(
            [
                pq.read_table(writer.table / f.path, partitioning=None)
                .append_column("date", pa.array([MONDAY] * f.rows))
                .append_column("station", pa.array(["A"] * f.rows))
                for f in files
            ]
        )
        made = compaction.write_data_file(
            writer.table, spec, dict(first.partition), rows.drop_columns(["date", "station"])
        )
        add = AddAction(made.path, made.size_bytes, made.partition, 1, False, json.dumps(made.statistics))
        gone = [removal(f.path, f.size_bytes, f.partition, 1) for f in files]
        change_files(open_table(writer.table, early.version()), [add, *gone], {}, task="x")
    assert len(numbers(writer.table)) == 12

    maintain(lake, {spec.name: spec}, lambda _: False)

    assert writer.all_rows_once()
    assert len(active_files(open_table(writer.table))) == 4
