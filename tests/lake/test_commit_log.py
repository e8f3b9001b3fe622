"""Reading single commits of a Delta log, and finding the version of a moment."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lake.commit_log import Commit, commit_file, commits_after, read_commit, version_at, versions
from lake.errors import DamagedTableError, VersionNotFoundError
from lake.table import Lake

MakeRows = Callable[..., pa.Table]
CommitRows = Callable[..., Commit | None]

MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def history(table: Path, commit: CommitRows, make_rows: MakeRows) -> list[Commit]:
    """The creation and five appends, no two in one millisecond."""
    for sequence in range(1, 6):
        time.sleep(0.003)
        commit(make_rows(sequence), sequence, batch_id=f"app-{sequence}")
    return [read_commit(table, version) for version in versions(table)]


def test_a_commit_says_what_deltalakes_own_history_says(table: Path, history: list[Commit]) -> None:
    theirs = sorted(DeltaTable(str(table)).history(), key=lambda entry: entry["version"])

    assert [c.version for c in history] == [entry["version"] for entry in theirs] == list(range(6))
    assert [c.operation for c in history] == [entry["operation"] for entry in theirs]
    assert [int(c.time.timestamp() * 1000) for c in history] == [entry["timestamp"] for entry in theirs]
    assert [c.rows for c in history] == [0, 1, 2, 3, 4, 5]
    assert [c.batch.get("batch_id") for c in history] == [None] + [f"app-{n}" for n in range(1, 6)]
    assert [dict(c.transactions) for c in history] == [{}] + [{"app/1": n} for n in range(1, 6)]


def test_commits_after_a_version_are_those_newer_than_it_oldest_first(
    table: Path, history: list[Commit]
) -> None:
    assert [c.version for c in commits_after(table, 2)] == [3, 4, 5]
    assert [c.version for c in commits_after(table, -1)] == [0, 1, 2, 3, 4, 5]
    assert list(commits_after(table, 5)) == []


def test_the_version_of_a_moment_is_the_newest_committed_by_then(table: Path, history: list[Commit]) -> None:
    moments = [c.time + step for c in history for step in (-MILLISECOND, timedelta(0), MILLISECOND)]
    for moment in [*moments, history[-1].time + timedelta(days=1)]:
        committed = [c.version for c in history if c.time <= moment]
        if committed:
            assert version_at(table, moment) == max(committed)
        else:
            with pytest.raises(VersionNotFoundError, match=history[0].time.isoformat()[:19]):
                version_at(table, moment)


def test_a_copied_lake_has_the_same_version_at_the_same_moment(
    table: Path, history: list[Commit], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(table, copy)
    for path in copy.rglob("*"):
        os.utime(path, (0, 0))

    assert [version_at(copy, c.time) for c in history] == [version_at(table, c.time) for c in history]
    assert [version_at(copy, c.time) for c in history] == [0, 1, 2, 3, 4, 5]


def test_a_version_whose_log_was_cleaned_up_is_not_found(table: Path, history: list[Commit]) -> None:
    for version in range(3):
        commit_file(table, version).unlink()

    assert versions(table) == [3, 4, 5]
    assert version_at(table, history[4].time) == 4
    with pytest.raises(VersionNotFoundError, match="no commit 2"):
        read_commit(table, 2)
    with pytest.raises(VersionNotFoundError, match="the oldest in its log"):
        version_at(table, history[3].time - MILLISECOND)


def test_a_table_without_a_log_has_no_version_at_any_time(tmp_path: Path) -> None:
    with pytest.raises(VersionNotFoundError, match="never"):
        version_at(tmp_path, datetime.now(UTC))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"\0" * 512,
        b'{"commitInfo": {"timest',
        b'{"commitInfo": {"timestamp": 1}}\n{"add": {"pa',
        b"\xff\xfe\x00",
        b"17\n",
        b"[]\n",
    ],
    ids=["empty", "blank", "zeros", "torn", "torn-second-line", "not-utf-8", "a-number", "a-list"],
)
def test_a_commit_file_that_a_power_cut_spoilt_is_named(
    table: Path, history: list[Commit], content: bytes
) -> None:
    commit_file(table, 3).write_bytes(content)

    with pytest.raises(DamagedTableError, match="commit 3 of readings"):
        read_commit(table, 3)
    with pytest.raises(DamagedTableError, match="commit 3 of readings"):
        list(commits_after(table, 2))
    assert [c.version for c in commits_after(table, 3)] == [4, 5]


def test_characters_that_only_python_takes_for_line_ends_do_not_tear_a_commit(
    table: Path, commit: CommitRows, make_rows: MakeRows
) -> None:
    text = "a\u2028b\u2029c\x85d\x1ce"

    made = commit(make_rows(1), 1, batch_id=text)

    assert made is not None
    assert read_commit(table, 1).batch["batch_id"] == text


def test_a_commit_without_a_time_of_its_own_has_the_time_of_its_file(
    table: Path, history: list[Commit]
) -> None:
    path = commit_file(table, 2)
    actions = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    kept = [action for action in actions if "commitInfo" not in action]
    path.write_text("\n".join(json.dumps(action) for action in kept), encoding="utf-8")
    os.utime(path, (1_700_000_000, 1_700_000_000))

    found = read_commit(table, 2)

    assert found.time == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (found.rows, found.batch, found.operation) == (2, {}, "")


def test_other_files_in_the_log_are_no_versions(lake: Lake, table: Path) -> None:
    log = table / "_delta_log"
    for name in (
        "_last_checkpoint",
        "00000000000000000001.checkpoint.parquet",
        "1.json",
        "_commit_x.json.tmp",
    ):
        (log / name).write_text("{}", encoding="utf-8")

    assert versions(table) == [0]
