"""Dropping partitions: what was meant goes, nothing else, and an interruption is finished or undone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake import drop
from lake.append import append
from lake.commit_log import commits_after
from lake.compaction import compact
from lake.drop import DROP, doomed_files, drop_partitions
from lake.errors import CommitConflictError, StreamInUseError
from lake.maintenance import maintain, maintenance_lock
from lake.table import Lake, TableSpec, open_table

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


def monday(partition: Mapping[str, str]) -> bool:
    return partition["date"] == "2026-01-05"


def days(table: Path) -> dict[date, int]:
    rows = DeltaTable(str(table)).to_pyarrow_table()["date"].to_pylist()
    return {day: rows.count(day) for day in sorted(set(rows))}


def append_only(table: Path) -> bool:
    return open_table(table).metadata().configuration["delta.appendOnly"] == "true"


@pytest.fixture
def filled(writer: Any) -> Path:
    for _ in range(2):
        writer.write(3, day=MONDAY)
        writer.write(4, day=TUESDAY)
    table: Path = writer.table
    return table


def test_rows_and_files_of_the_partitions_go_and_the_rest_stays(filled: Path) -> None:
    told = doomed_files(filled, monday)
    done = drop_partitions(filled, monday)
    assert (done.partitions, done.files, done.rows) == (1, 2, 6)
    assert done.bytes == sum(f.size_bytes for f in told)
    assert days(filled) == {TUESDAY: 8}
    assert not (filled / "date=2026-01-05").exists()
    assert append_only(filled)
    assert DROP in [c.operation for c in commits_after(filled, -1)]
    again = drop_partitions(filled, monday)
    assert (again.files, again.rows) == (0, 0)
    assert open_table(filled).version() == 7, "nothing to drop makes no commit"


def test_compacted_partitions_can_be_dropped(filled: Path, spec: TableSpec, lake: Lake) -> None:
    list(compact(filled, spec, lambda _: True))
    assert drop_partitions(filled, monday).rows == 6
    (done,) = maintain(lake, {spec.name: spec}, lambda _: True)
    assert done.problems == ()
    assert days(filled) == {TUESDAY: 8}


def test_rows_that_come_in_while_it_works_stay(
    filled: Path, spec: TableSpec, make_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = drop.change_files

    def late(*given: Any, **named: Any) -> None:
        append(filled, spec, make_rows(2, 500), stream="late/1", sequence=1, metadata={"batch_id": "late"})
        real(*given, **named)

    monkeypatch.setattr(drop, "change_files", late)
    drop_partitions(filled, monday)
    assert days(filled) == {MONDAY: 2, TUESDAY: 8}
    dropped = next(c for c in commits_after(filled, -1) if c.operation == DROP)
    brought = next(c for c in commits_after(filled, -1) if c.batch.get("batch_id") == "late")
    assert dropped.batch["through_version"] < brought.version < dropped.version


@pytest.mark.parametrize(
    "step", ["_commit", "change_files", "sync_log", "write_log_checkpoint", "delete_data_file"]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_after_an_interruption_the_table_is_append_only_and_the_drop_can_be_done_again(
    filled: Path, lake: Lake, spec: TableSpec, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(drop, step)

    def die(*given: Any, **named: Any) -> None:
        if when == "after":
            real(*given, **named)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(drop, step, die)
        patch.setattr(drop, "keep_append_only", lambda _: None)  # as if the power went
        with pytest.raises(SystemExit):
            drop_partitions(filled, monday)
    assert not append_only(filled) or step in {"write_log_checkpoint", "delete_data_file"}
    (done,) = maintain(lake, {spec.name: spec}, lambda _: False)
    assert done.problems == ()
    assert append_only(filled)
    drop_partitions(filled, monday)
    assert days(filled) == {TUESDAY: 8}
    assert append_only(filled)


def test_a_drop_that_fails_leaves_the_table_append_only(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DeltaError("no")

    monkeypatch.setattr(drop, "change_files", fail)
    with pytest.raises(Exception, match="not dropped: no"):
        drop_partitions(filled, monday)
    assert append_only(filled)
    assert days(filled) == {MONDAY: 6, TUESDAY: 8}


def test_maintenance_and_a_drop_exclude_each_other(filled: Path) -> None:
    with maintenance_lock(filled), pytest.raises(StreamInUseError):
        drop_partitions(filled, monday)
    assert days(filled) == {MONDAY: 6, TUESDAY: 8}


def test_beside_a_writing_process_only_what_was_meant_goes(
    filled: Path, spec: TableSpec, make_rows: Any
) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from lake.drop import drop_partitions
        for _ in range(15):
            drop_partitions(Path(sys.argv[1]), lambda p: p["date"] == "2026-01-05")
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(filled)], cwd=Path(__file__).parents[2]
    ) as dropper:
        for n in range(30):
            rows = pa.concat_tables([make_rows(1, 10 * n), make_rows(2, 10 * n, day=TUESDAY)])
            while True:
                try:
                    append(filled, spec, rows, stream="w/1", sequence=n + 1, metadata={"batch_id": f"b{n}"})
                except (CommitConflictError, FileNotFoundError):
                    continue  # as the committer does with its next flush
                break
    assert dropper.returncode == 0
    drop_partitions(filled, monday)
    assert days(filled) == {TUESDAY: 8 + 60}
