"""A catalog that is locked, gone or read-only: commits go on, and the mirror catches up."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.durability.power_cut import CREATE, OPEN, SYNC, WRITE


@pytest.fixture
def capturing(workshop: Any) -> tuple[Any, Any]:
    """A case, and a writer that has mirrored two updates and has no patience with a locked catalog."""
    case = workshop.case(features=True, rejects=True)
    writer = workshop.writer(case)
    start(case, writer)
    return case, writer


def start(case: Any, writer: Any) -> None:
    writer("wait_for_the_catalog", 0.05)
    writer("open_tap", **case.settings())
    case.offer(writer, 2)
    assert writer("flush")


def go_on_without(case: Any, writer: Any) -> None:
    """Rows are committed and cleared, and the log says why the mirror is behind."""
    case.offer(writer, 2)
    assert writer("flush")
    writer.wait_for_log("ERROR mirror is behind")
    with closing(sqlite3.connect(case.root / "spool" / "live.db")) as db:
        assert db.execute("SELECT COUNT(*) FROM entries").fetchone() == (0,)


def test_a_locked_catalog_delays_the_mirror_only(capturing: tuple[Any, Any]) -> None:
    case, writer = capturing
    with closing(sqlite3.connect(case.root / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        go_on_without(case, writer)
        go_on_without(case, writer)
    assert "database is locked" in writer.log_text()
    # Nothing new is needed: the next flush catches up.
    assert writer("flush")
    case.check()


def test_a_catalog_that_was_locked_until_the_writer_died_is_followed_by_the_next(
    capturing: tuple[Any, Any],
) -> None:
    case, writer = capturing
    with closing(sqlite3.connect(case.root / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        go_on_without(case, writer)
        writer.kill()
    case.finish()
    case.check()


def test_a_catalog_deleted_under_a_running_writer_is_made_again(capturing: tuple[Any, Any]) -> None:
    case, writer = capturing
    (case.root / "catalog.db").unlink()
    for _ in range(2):
        case.offer(writer, 2)
        assert writer("flush")
    case.check()


def test_a_catalog_deleted_between_two_starts_is_made_again(capturing: tuple[Any, Any]) -> None:
    case, writer = capturing
    writer.kill()
    (case.root / "catalog.db").unlink()
    case.finish()
    case.check()


def test_a_folder_in_the_catalogs_place_delays_the_mirror_only(workshop: Any) -> None:
    case = workshop.case()
    blocked = case.root / "catalog.db"
    blocked.mkdir(parents=True)
    writer = workshop.writer(case)
    start(case, writer)
    go_on_without(case, writer)
    blocked.rmdir()
    assert writer("flush")
    case.check()


def test_a_read_only_catalog_delays_the_mirror_only(workshop: Any) -> None:
    case = workshop.case(features=True)
    first = workshop.writer(case)
    start(case, first)
    first.kill()
    readable = f"sqlite:///file:{(case.root / 'catalog.db').as_posix()}?mode=ro&uri=true"
    second = workshop.writer(case)
    second("open_tap", **case.settings(catalog_url=readable))
    go_on_without(case, second)
    assert "readonly" in second.log_text()
    second.kill()
    case.finish()
    case.check()


@pytest.mark.parametrize(
    ("kinds", "error"),
    [(OPEN | CREATE, errno.EROFS), (OPEN, errno.EACCES), (WRITE, errno.ENOSPC), (SYNC, errno.EIO)],
    ids=["read-only disk", "no permission", "full disk", "failing disk"],
)
def test_a_catalog_whose_file_cannot_be_written_delays_the_mirror_only(
    faulty: Any, kinds: int, error: int
) -> None:
    case = faulty.case(features=True, rejects=True)
    writer = faulty.writer(case)
    writer("fail", kinds, error, "*/catalog.db*")
    writer("open_tap", **case.settings())
    case.offer(writer, 2)
    assert writer("flush")
    go_on_without(case, writer)
    assert writer("heal") > 0
    assert writer("flush")
    case.check()
    case.offer(writer, 2)
    assert writer("flush")
    writer("fail", kinds, error, "*/catalog.db*")
    case.offer(writer, 2)
    assert writer("flush")
    writer.kill()
    case.finish()
    case.check()
