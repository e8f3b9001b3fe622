"""Archived commits: every one kept as it was, and damage is told, not skipped."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from lake.commit_log import commits_after
from lake.errors import DamagedTableError
from lake.log_archive import (
    ArchivedCommit,
    archive_commits,
    archive_files,
    archive_gaps,
    archived_commit,
    archived_commits,
    archived_through,
    read_archive,
)


def commits(first: int, last: int) -> list[ArchivedCommit]:
    return [
        ArchivedCommit(v, 1000 + v, ({"commitInfo": {"n": v, "text": "\u2028 \u20b9"}},))
        for v in range(first, last + 1)
    ]


def versions_of(table: Path, after: int = -1) -> list[int]:
    return [c.version for c in archived_commits(table, after=after)]


def test_what_is_archived_comes_back_as_it_was(tmp_path: Path) -> None:
    archive_commits(tmp_path, commits(0, 9))
    archive_commits(tmp_path, commits(10, 14))
    assert list(archived_commits(tmp_path)) == commits(0, 14)
    assert versions_of(tmp_path, after=8) == list(range(9, 15))
    assert archived_commit(tmp_path, 12) == commits(12, 12)[0]
    assert archived_commit(tmp_path, 15) is None
    assert archived_through(tmp_path) == 14
    assert archived_through(tmp_path / "none") == -1


def test_files_that_overlap_are_read_once(tmp_path: Path) -> None:
    for first, last in ((0, 9), (0, 4), (5, 12), (13, 20), (15, 18)):
        archive_commits(tmp_path, commits(first, last))
    assert versions_of(tmp_path) == list(range(21))
    assert [(f.first, f.last) for f in archive_files(tmp_path)] == [(0, 9), (5, 12), (13, 20)]
    assert archived_commit(tmp_path, 11) == commits(11, 11)[0]
    assert archive_gaps(tmp_path, before=21) == []


def test_the_same_commits_make_the_same_bytes(tmp_path: Path) -> None:
    one = archive_commits(tmp_path, commits(0, 3)).path.read_bytes()
    assert archive_commits(tmp_path, commits(0, 3)).path.read_bytes() == one


@pytest.mark.parametrize("length", [0, 1, 10, 40, -9, -1])
def test_a_torn_archive_is_told(tmp_path: Path, length: int) -> None:
    archive_commits(tmp_path, commits(0, 5))
    file = archive_commits(tmp_path, commits(6, 9))
    file.path.write_bytes(file.path.read_bytes()[:length])
    with pytest.raises(DamagedTableError, match=file.path.name):
        read_archive(file)
    with pytest.raises(DamagedTableError, match=file.path.name):
        list(archived_commits(tmp_path))
    with pytest.raises(DamagedTableError, match=file.path.name):
        archived_commit(tmp_path, 7)
    assert archive_gaps(tmp_path, before=10) == [(6, 9)]
    assert archived_commit(tmp_path, 2) == commits(2, 2)[0]


def test_an_archive_that_lacks_commits_its_name_has_is_damaged(tmp_path: Path) -> None:
    file = archive_commits(tmp_path, commits(0, 5))
    lines = gzip.decompress(file.path.read_bytes()).split(b"\n")
    file.path.write_bytes(gzip.compress(b"\n".join([*lines[:2], *lines[3:]])))
    with pytest.raises(DamagedTableError, match="lacks"):
        read_archive(file)


def test_gaps_are_told(tmp_path: Path) -> None:
    archive_commits(tmp_path, commits(3, 5))
    archive_commits(tmp_path, commits(8, 9))
    assert archive_gaps(tmp_path, before=12) == [(0, 2), (6, 7), (10, 11)]
    assert archive_gaps(tmp_path, before=7) == [(0, 2), (6, 6)]
    assert archive_gaps(tmp_path, before=0) == []


def test_a_disk_that_fails_leaves_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lake.log_archive.write_durably", full)
    with pytest.raises(OSError, match="No space"):
        archive_commits(tmp_path, commits(0, 5))
    assert archive_files(tmp_path) == []


def test_a_hole_ends_what_is_read_in_order(writer: Any) -> None:
    archive_commits(writer.table, commits(1, 3))
    archive_commits(writer.table, commits(6, 8))
    assert [c.version for c in commits_after(writer.table, 0)] == [1, 2, 3]
