"""Versions whose commits have left the log still show the rows they had."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.commit_log import Commit, read_commit, version_at, versions
from lake.drop import drop_partitions
from lake.errors import VersionNotFoundError
from lake.maintenance import maintain
from lake.table import Lake, TableSpec

MakeRows = Callable[..., pa.Table]
CommitRows = Callable[..., Commit | None]
Query = Callable[..., list[dict[str, Any]]]

SUM = "SELECT count(*) AS n, sum(celsius) AS total FROM readings"


@pytest.fixture
def old_lake(lake: Lake, spec: TableSpec, commit: CommitRows, make_rows: MakeRows) -> Lake:
    """Twenty commits of ten rows, then a clean-up of the log as of a month later."""
    for number in range(20):
        commit(make_rows(10, number * 10, batch_id=f"b{number}"), number + 1, batch_id=f"b{number}")
    for _ in range(2):
        (done,) = maintain(
            lake, {spec.name: spec}, lambda _: True, now=datetime.now(UTC) + timedelta(days=30)
        )
        assert not done.problems
    return lake


def test_a_version_that_left_the_log_shows_the_rows_it_had(old_lake: Lake, query: Query) -> None:
    table = old_lake.path("readings")
    assert min(versions(table)) > 20, "the commits are gone from the log"
    for version in (0, 1, 7, 20):
        rows = version * 10
        (found,) = query(old_lake, SUM, at=version)
        assert found == {"n": rows, "total": sum(range(rows)) if rows else None}, version


def test_so_does_a_moment(old_lake: Lake, query: Query) -> None:
    table = old_lake.path("readings")
    for version in (1, 13, 20):
        moment = read_commit(table, version).time
        at = version_at(table, moment)
        assert read_commit(table, at).time <= moment
        (found,) = query(old_lake, SUM, at=moment)
        assert found["n"] == at * 10


def test_a_moment_before_the_table_was_there_is_refused(old_lake: Lake, query: Query) -> None:
    with pytest.raises(VersionNotFoundError, match="no version at or before 2020"):
        query(old_lake, SUM, at=datetime(2020, 1, 1, tzinfo=UTC))


def test_rows_that_came_later_into_the_same_files_are_not_shown(
    old_lake: Lake, spec: TableSpec, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(5, 1000, batch_id="late"), 21, batch_id="late")
    maintain(old_lake, {spec.name: spec}, lambda _: True)
    assert query(old_lake, SUM, at=20)[0]["n"] == 200
    assert query(old_lake, SUM)[0]["n"] == 205


def test_a_version_whose_rows_were_dropped_is_refused_and_says_so(old_lake: Lake, query: Query) -> None:
    table: Path = old_lake.path("readings")
    drop_partitions(table, lambda partition: partition["date"] == str(date(2026, 1, 5)))
    with pytest.raises(VersionNotFoundError, match="2026-01-05/A was dropped since"):
        query(old_lake, SUM, at=7)


def test_rows_of_another_tool_make_a_version_unreadable_rather_than_wrong(
    old_lake: Lake, spec: TableSpec, commit: CommitRows, make_rows: MakeRows, query: Query
) -> None:
    commit(make_rows(5, 1000), 21)  # a commit that names no batch
    commit(make_rows(5, 2000, batch_id="b22"), 22, batch_id="b22")
    newest = versions(old_lake.path("readings"))[-1]
    for _ in range(2):
        commit(make_rows(5, 3000, batch_id="b23"), 23, batch_id="b23")
        for number in range(24, 40):
            commit(make_rows(1, 4000 + number, batch_id=f"b{number}"), number, batch_id=f"b{number}")
        maintain(old_lake, {spec.name: spec}, lambda _: True, now=datetime.now(UTC) + timedelta(days=60))
    with pytest.raises(VersionNotFoundError, match="committed by another tool"):
        query(old_lake, SUM, at=newest)
    assert query(old_lake, SUM, at=20)[0]["n"] == 200
