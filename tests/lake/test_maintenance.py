"""Maintenance: every version that is in the log can be read in full, and the archive forgets nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake import maintenance
from lake.commit_log import commit_file, commits_after, read_commit, version_at, versions
from lake.errors import VersionNotFoundError
from lake.log_archive import archived_through
from lake.log_cleanup import clean_log
from lake.maintenance import keep_append_only, maintain, planned
from lake.table import Lake, TableSpec, open_table

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def always(partition: Mapping[str, str]) -> bool:
    return True


def never(partition: Mapping[str, str]) -> bool:
    return False


@pytest.fixture
def run(lake: Lake, spec: TableSpec) -> Callable[..., Any]:
    def once(**options: Any) -> Any:
        (done,) = maintain(lake, {spec.name: spec}, options.pop("finished", always), **options)
        assert done.problems == ()
        return done

    return once


def rows_at(table: Path, version: int) -> list[float]:
    return sorted(DeltaTable(str(table), version=version).to_pyarrow_table()["celsius"].to_pylist())


@settings(
    max_examples=12, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    steps=st.lists(
        st.sampled_from(["write"] * 3 + ["widen", "maintain now", "maintain earlier", "checkpoint"]),
        min_size=8, max_size=30,
    )
)  # fmt: skip
def test_every_version_that_is_still_in_the_log_can_be_read_in_full(
    new_writer: Any, steps: list[str], tmp_path_factory: pytest.TempPathFactory, spec: TableSpec
) -> None:
    writer = new_writer(f"w{tmp_path_factory.mktemp('example').name[-3:].strip('-')}")
    writer.lake = Lake.at(tmp_path_factory.mktemp("lake"))
    table = writer.lake.create(spec)
    rows = {0: 0}
    for place, step in enumerate(steps):
        moment = datetime.now(UTC)
        if step == "write":
            writer.write(1 + place % 3)
        elif step == "widen":
            writer.write(1, **{f"feature_{place}": [1.0]})
        elif step == "checkpoint":
            maintenance.write_log_checkpoint(table)
        else:
            now = LATER if step == "maintain now" else moment - timedelta(seconds=0.02)
            (done,) = maintain(writer.lake, {spec.name: spec}, always, retention=timedelta(0), now=now)
            assert done.problems == ()
        newest = open_table(table).version()
        for version in range(max(rows) + 1, newest + 1):
            # Versions between are of added columns, or of a compaction.
            rows[version] = (
                writer.put_rows if version == newest or step.startswith("m") else rows[version - 1]
            )
        for version in versions(table):
            assert rows_at(table, version) == [float(n) for n in range(rows[version])], (step, version)
        assert [c.version for c in commits_after(table, -1)] == list(range(newest + 1))
    assert writer.all_rows_once()


def test_commits_leave_the_log_at_their_age_and_their_files_with_them(
    writer: Any, run: Callable[..., Any]
) -> None:
    for _ in range(11):
        writer.write(2)
    done = run()
    assert (len(done.compacted), done.checkpoint, done.archived_commits, done.deleted_files) == (1, 12, 0, 0)
    assert rows_at(writer.table, 5) == [float(n) for n in range(10)]
    for _ in range(11):
        writer.write(2)

    done = run(now=datetime.now(UTC) + timedelta(days=7, minutes=1))

    assert done.archived_commits == 24
    assert done.deleted_files == 11
    assert done.freed_bytes > 0
    assert archived_through(writer.table) == 23
    assert versions(writer.table) == [24]
    assert writer.all_rows_once()
    assert [c.version for c in commits_after(writer.table, -1)] == list(range(25))
    with pytest.raises(VersionNotFoundError):
        open_table(writer.table, 5)


def test_what_would_be_done_is_told_and_nothing_is_changed(
    writer: Any, lake: Lake, spec: TableSpec, run: Callable[..., Any]
) -> None:
    for _ in range(11):
        writer.write(2)
    run()
    for _ in range(11):
        writer.write(2)
    maintenance.write_log_checkpoint(writer.table)
    before = {p: p.stat().st_mtime_ns for p in writer.table.rglob("*")}
    (plan,) = planned(lake, {spec.name: spec}, always, now=LATER)
    assert {p: p.stat().st_mtime_ns for p in writer.table.rglob("*")} == before
    assert (plan.compacted_files, plan.partitions, plan.archived_commits, plan.deleted_files) == (
        12,
        1,
        23,
        11,
    )
    (done,) = maintain(lake, {spec.name: spec}, never, now=LATER)
    assert (done.archived_commits, done.deleted_files) == (23, 11)
    assert done.freed_bytes == plan.freed_bytes


def test_leftovers_of_crashes_go_after_a_day_and_lost_batches_are_told(
    writer: Any, lake: Lake, spec: TableSpec, run: Callable[..., Any]
) -> None:
    for _ in range(3):
        writer.write(2)
    source = writer.table / read_commit(writer.table, 1).adds[0]["path"]
    old, young = source.with_name("old.parquet"), source.with_name("young.parquet")
    shutil.copy(source, old)
    shutil.copy(source, young)
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))

    assert run(finished=never).deleted_files == 1

    assert (old.exists(), young.exists()) == (False, True)
    lost = writer.table / read_commit(writer.table, 3).adds[0]["path"]
    os.utime(lost, (two_days_ago, two_days_ago))
    commit_file(writer.table, 3).unlink()
    (done,) = maintain(lake, {spec.name: spec}, never)
    (problem,) = done.problems
    assert "doctor" in problem
    assert lost.exists()


def test_a_clock_set_back_breaks_neither_clean_up_nor_time_travel(
    writer: Any, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        writer.write(1)
    table = writer.table
    path = commit_file(table, 4)
    hour_ahead = int((read_commit(table, 4).time + timedelta(hours=1)).timestamp() * 1000)
    text = path.read_text(encoding="utf-8")
    stamp = f'"timestamp":{int(read_commit(table, 4).time.timestamp() * 1000)}'
    assert stamp in text
    path.write_text(text.replace(stamp, f'"timestamp":{hour_ahead}'), encoding="utf-8")
    for _ in range(12):
        writer.write(1)  # the clock has been set back
    times = [c.time for c in commits_after(table, -1)]
    assert times == sorted(times)
    assert version_at(table, times[3]) == 3
    assert version_at(table, times[4]) == 16
    run(finished=never)
    assert run(retention=timedelta(0), finished=never).archived_commits == 0, (
        "made in the future, so it stays"
    )
    assert run(retention=timedelta(0), finished=never, now=LATER).archived_commits == 16
    assert writer.all_rows_once()


def test_a_log_checkpoint_that_cannot_be_read_never_lets_commits_go(writer: Any) -> None:
    for _ in range(4):
        writer.write(1)
    maintenance.write_log_checkpoint(writer.table)
    (checkpoint,) = (writer.table / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-30])
    assert clean_log(writer.table, before=LATER).commits == 0
    assert versions(writer.table) == list(range(5))


def test_a_table_that_is_damaged_does_not_keep_the_others_waiting(
    writer: Any, lake: Lake, spec: TableSpec
) -> None:
    other = TableSpec(**{**{n: getattr(spec, n) for n in spec.__slots__}, "name": "a_first"})
    lake.create(other)
    commit_file(lake.path("a_first"), 0).write_bytes(b"{")
    writer.write(1)
    writer.write(1)
    broken, done = maintain(lake, {"readings": spec, "a_first": other}, always)
    assert (broken.table, len(broken.problems), len(done.compacted)) == ("a_first", 1, 1)
    assert maintenance.files_to_compact(lake, {"readings": spec, "a_first": other}, always) == 0


def test_append_only_is_set_again(writer: Any) -> None:
    assert keep_append_only(writer.table) is False
    open_table(writer.table).alter.set_table_properties({"delta.appendOnly": "false"})
    assert keep_append_only(writer.table) is True
    assert keep_append_only(writer.table) is False
