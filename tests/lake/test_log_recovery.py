"""A damaged log is made readable again, and every row is there exactly once: deltalake counts them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from lake.append import write_log_checkpoint
from lake.commit_log import checkpoint_version, commit_file, commits_after, read_commit, versions
from lake.compaction import compact
from lake.data_file import write_data_file
from lake.errors import DamagedTableError, SpoolUnavailableError
from lake.log_cleanup import clean_log
from lake.log_damage import log_damage
from lake.log_recovery import commit_lost, recover_log
from lake.maintenance import maintain
from lake.orphans import Verdict, find_orphans
from lake.table import Lake, TableSpec, open_table

Damage = Callable[[Path], None]


def _garbage(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(300))  # noqa: S311 - seeded


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b"") and None,
    "half": _half,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)) and None,
    "blank lines": lambda path: path.write_bytes(b"\n\n") and None,
    "garbage": _garbage,
    "not actions": lambda path: path.write_bytes(b"[1]\n2\n") and None,
    "gone": lambda path: path.unlink(),
}
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())


def history(table: Path) -> list[dict[str, Any]]:
    """What the mirror takes from each commit: all that must be the same after a recovery."""
    return [
        {
            "version": commit.version,
            "transactions": dict(commit.transactions),
            "record": {
                k: v for k, v in commit.batch.items() if k not in {"operation", "recovered", "not_before_ms"}
            },
            "files": sorted((add["path"], add["size"], add["dataChange"]) for add in commit.adds),
            "rows": commit.rows,
        }
        for commit in commits_after(table, -1)
    ]


@damages
@pytest.mark.parametrize("version", [1, 3, 5], ids=["first", "middle", "newest"])
@pytest.mark.parametrize("checkpoint", [None, 2, 4, 5], ids=["never", "before", "between", "after"])
def test_a_lost_commit_comes_back_as_it_was_though_its_rows_have_left_the_spool(
    writer: Any, damage: Damage, version: int, checkpoint: int | None
) -> None:
    for number in range(1, 6):
        writer.write(number)
        if checkpoint == number:
            write_log_checkpoint(writer.table)
    if version == 5 and checkpoint != 5 and damage is DAMAGES["gone"]:
        pytest.skip("a log does not tell that its newest commit is gone: see the lost batches below")
    before = history(writer.table)

    damage(commit_file(writer.table, version))
    (found,) = recover_log(writer.lake, writer.table, whole=True)

    assert found.version == version
    assert history(writer.table) == before
    assert writer.all_rows_once()
    assert log_damage(writer.table) == []
    assert recover_log(writer.lake, writer.table, whole=True) == []
    writer.write(2)
    assert writer.all_rows_once()


@damages
@pytest.mark.parametrize("version", [1, 2], ids=["older", "newest"])
def test_rows_that_still_wait_in_the_spool_are_committed_from_there(
    writer: Any, damage: Damage, version: int
) -> None:
    writer.write(3)
    writer.put(4)
    writer.commit(clear=False)  # and dies

    damage(commit_file(writer.table, version))
    recover_log(writer.lake, writer.table)
    writer.commit()

    assert writer.all_rows_once()
    assert open_table(writer.table).transaction_version(writer.spool.stream) == 2


def test_wherever_the_newest_commit_is_cut_no_row_is_lost_or_doubled(writer: Any) -> None:
    writer.write(3)
    writer.write(4)
    path = commit_file(writer.table, 2)
    content = path.read_bytes()
    before = history(writer.table)

    for length in range(0, len(content) - 1, 41):
        path.write_bytes(content[:length])
        recover_log(writer.lake, writer.table)
        assert writer.all_rows_once(), f"cut after {length} bytes"
        if len(history(writer.table)) == len(before):
            assert history(writer.table)[0] == before[0]


@pytest.mark.parametrize("damaged", [(1, 2), (2, 4), (3, 4), (1, 2, 3, 4)])
@damages
def test_several_lost_commits_come_back_each_in_its_place(
    writer: Any, damaged: tuple[int, ...], damage: Damage
) -> None:
    for number in range(1, 6):
        writer.write(number)
    before = history(writer.table)

    for version in damaged:
        damage(commit_file(writer.table, version))
    recover_log(writer.lake, writer.table)

    assert history(writer.table) == before
    assert writer.all_rows_once()


def test_streams_that_take_turns_get_their_own_batches_back(new_writer: Any) -> None:
    one, two = new_writer("one"), new_writer("two")
    for _ in range(3):
        one.write(2)
        two.write(3)
    before = history(one.table)

    for version in (2, 3, 4, 6):
        commit_file(one.table, version).write_bytes(b"")
    recover_log(one.lake, one.table)

    assert history(one.table) == before
    for writer, sequence in ((one, 3), (two, 3)):
        assert open_table(one.table).transaction_version(writer.spool.stream) == sequence


def test_a_copy_of_a_lake_whose_file_times_say_nothing_never_turns_a_stream_back(writer: Any) -> None:
    for number in range(1, 6):
        writer.write(number)
    for place, path in enumerate(sorted(writer.table.glob("date=*/*/*.parquet"))):
        os.utime(path, (1e9 - place, 1e9 - place))

    for version in (2, 3, 5):
        commit_file(writer.table, version).write_bytes(b"")
    recover_log(writer.lake, writer.table)

    assert writer.all_rows_once()
    assert open_table(writer.table).transaction_version(writer.spool.stream) == 5


def test_the_files_of_a_batch_of_several_partitions_come_back_in_one_commit(writer: Any) -> None:
    writer.put(3)
    writer.put(4, station="B")
    writer.put(5, day=date(2026, 1, 6))
    writer.commit()
    before = history(writer.table)
    assert len(before[1]["files"]) == 3

    _half(commit_file(writer.table, 1))
    recover_log(writer.lake, writer.table)

    assert history(writer.table) == before
    assert writer.all_rows_once()


def test_what_was_damaged_is_kept_beside_the_log(writer: Any) -> None:
    writer.write(3)
    _garbage(commit_file(writer.table, 1))
    content = commit_file(writer.table, 1).read_bytes()

    recover_log(writer.lake, writer.table)

    (kept,) = (writer.table / "_strikelake" / "damaged").iterdir()
    assert kept.read_bytes() == content


def test_a_spool_that_cannot_be_read_stops_the_recovery_before_anything_is_changed(writer: Any) -> None:
    writer.write(3)
    commit_file(writer.table, 1).write_bytes(b"")
    (writer.lake.spools / "other.db").write_bytes(b"no database" * 100)

    with pytest.raises(SpoolUnavailableError, match="other"):
        recover_log(writer.lake, writer.table)

    assert commit_file(writer.table, 1).read_bytes() == b""
    (writer.lake.spools / "other.db").unlink()
    recover_log(writer.lake, writer.table)
    assert writer.all_rows_once()


def test_a_batch_whose_spool_was_deleted_stays_on_the_disk_and_is_told(writer: Any) -> None:
    writer.write(3)
    commit_file(writer.table, 1).write_bytes(b"")
    writer.spool.close()
    for path in writer.lake.spools.iterdir():
        path.unlink()

    recover_log(writer.lake, writer.table)

    (orphan,) = find_orphans(writer.lake, writer.table)
    assert (orphan.verdict, (writer.table / orphan.path).exists()) == (Verdict.UNKNOWN, True)
    assert "spool" in orphan.why


@pytest.mark.parametrize("more", [0, 2])
@damages
def test_a_failed_attempt_whose_rows_a_lost_commit_had_as_well_is_not_brought_back(
    writer: Any, damage: Damage, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer died between data file and commit; the next batch had those rows and perhaps two more."""
    writer.write(3)
    writer.put(2)
    with monkeypatch.context() as patch:
        patch.setattr("lake.append._commit", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            writer.commit()
    if more:
        writer.put(more)
    writer.commit()
    writer.write(1)
    assert writer.all_rows_once()
    before = history(writer.table)

    damage(commit_file(writer.table, 2))
    recover_log(writer.lake, writer.table)

    assert history(writer.table) == before
    assert writer.all_rows_once()
    (left,) = find_orphans(writer.lake, writer.table)
    assert left.verdict is Verdict.LEFTOVER


@damages
def test_columns_that_a_lost_commit_added_are_added_again(writer: Any, damage: Damage) -> None:
    writer.write(2)
    writer.write(3, wind=[1.0, 2.0, 3.0])  # version 2 adds the column, 3 the rows
    writer.write(1, wind=[4.0])
    assert read_commit(writer.table, 2).operation == "ADD COLUMN"

    damage(commit_file(writer.table, 2))
    recover_log(writer.lake, writer.table)

    rows = DeltaTable(str(writer.table)).to_pyarrow_table()
    assert sorted(v for v in rows.column("wind").to_pylist() if v is not None) == [1.0, 2.0, 3.0, 4.0]
    assert writer.all_rows_once()
    assert recover_log(writer.lake, writer.table) == []
    writer.write(1, wind=[5.0])
    assert writer.all_rows_once()


@damages
@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_commit_that_created_a_table_is_made_again_from_its_layout(
    writer: Any, damage: Damage, checkpoint: bool
) -> None:
    writer.write(2, wind=[1.0, 2.0])
    writer.write(3)
    if checkpoint:
        write_log_checkpoint(writer.table)

    damage(commit_file(writer.table, 0))
    with pytest.raises(DamagedTableError, match="version 0"):
        recover_log(writer.lake, writer.table, whole=True)
    recover_log(writer.lake, writer.table, spec=writer.spec, whole=True)

    handle = open_table(writer.table)
    assert handle.metadata().partition_columns == ["date", "station"]
    assert handle.metadata().configuration["delta.appendOnly"] == "true"
    assert "wind" in DeltaTable(str(writer.table)).to_pyarrow_table().column_names
    assert writer.all_rows_once()
    writer.write(2)
    assert writer.all_rows_once()
    assert log_damage(writer.table) == []


def test_a_table_of_which_only_an_empty_creation_is_there_can_be_written(writer: Any) -> None:
    commit_file(writer.table, 0).write_bytes(b"")

    recover_log(writer.lake, writer.table, spec=writer.spec)

    writer.write(3)
    assert writer.all_rows_once()


@pytest.mark.parametrize("damage", [n for n in DAMAGES if n not in {"blank lines", "not actions"}])
@pytest.mark.parametrize("hint", ["kept", "gone", "empty"])
def test_a_log_checkpoint_that_cannot_be_read_is_removed(writer: Any, damage: str, hint: str) -> None:
    for _ in range(3):
        writer.write(2)
    write_log_checkpoint(writer.table)
    writer.write(2)
    (checkpoint,) = (writer.table / "_delta_log").glob("*.checkpoint.parquet")
    last = writer.table / "_delta_log" / "_last_checkpoint"

    DAMAGES[damage](checkpoint)
    {"kept": lambda: None, "gone": last.unlink, "empty": lambda: last.write_bytes(b"")}[hint]()
    recover_log(writer.lake, writer.table)

    assert writer.all_rows_once()
    writer.write(2)
    assert writer.all_rows_once()
    write_log_checkpoint(writer.table)
    assert writer.all_rows_once()


@pytest.mark.parametrize("content", [b"", b'{"vers', b"[]", b'{"version":77,"size":1}', b"\xff\xfe"])
def test_a_torn_last_checkpoint_does_not_matter(writer: Any, content: bytes) -> None:
    writer.write(2)
    write_log_checkpoint(writer.table)
    writer.write(2)
    (writer.table / "_delta_log" / "_last_checkpoint").write_bytes(content)

    recover_log(writer.lake, writer.table)

    assert writer.all_rows_once()


def test_archived_commits_come_back_when_the_only_log_checkpoint_is_torn(writer: Any) -> None:
    for _ in range(4):
        writer.write(2)
    write_log_checkpoint(writer.table)
    writer.write(2)
    before = history(writer.table)
    clean_log(writer.table, before=read_commit(writer.table, 5).time)
    assert versions(writer.table)[0] == 4
    (checkpoint,) = (writer.table / "_delta_log").glob("*.checkpoint.parquet")
    _half(checkpoint)

    recover_log(writer.lake, writer.table)

    assert writer.all_rows_once()
    assert history(writer.table) == before
    assert checkpoint_version(writer.table) == -1


def test_a_commit_that_appears_where_one_seemed_to_be_missing_is_left_alone(
    writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that others write into may be listed without its newest names."""
    writer.write(2)
    writer.write(2)
    writer.write(2)
    monkeypatch.setattr("lake.log_damage.versions", lambda _: [0, 1, 3])
    assert log_damage(writer.table) == []
    monkeypatch.undo()

    path = commit_file(writer.table, 2)
    content = path.read_bytes()
    path.unlink()
    orphans = find_orphans

    def slow(lake: Lake, table: Path) -> Any:
        found = orphans(lake, table)
        path.write_bytes(content)
        return found

    monkeypatch.setattr("lake.log_recovery.find_orphans", slow)
    recover_log(writer.lake, writer.table)
    assert path.read_bytes() == content
    assert writer.all_rows_once()


def test_a_newest_commit_that_vanished_is_committed_again_though_its_number_was_used_meanwhile(
    writer: Any,
) -> None:
    writer.write(3)
    writer.write(4)
    commit_file(writer.table, 2).unlink()
    assert recover_log(writer.lake, writer.table) == []
    writer.write(5)
    assert versions(writer.table) == [0, 1, 2]

    lost = [o for o in find_orphans(writer.lake, writer.table) if o.verdict is Verdict.LOST]
    assert commit_lost(writer.table, lost) == [3]

    assert writer.all_rows_once()
    assert open_table(writer.table).transaction_version(writer.spool.stream) == 3, "not turned back"
    assert find_orphans(writer.lake, writer.table) == []
    writer.write(1)
    assert writer.all_rows_once()


def test_of_a_log_that_other_tools_cleaned_nothing_is_brought_back_by_guess(
    writer: Any, spec: TableSpec
) -> None:
    for _ in range(4):
        writer.write(2)
    write_log_checkpoint(writer.table)
    for version in range(3):
        commit_file(writer.table, version).unlink()
    commit_file(writer.table, 3).write_bytes(b"")

    recover_log(writer.lake, writer.table, whole=True)

    assert writer.all_rows_once()


def test_an_archive_that_cannot_be_read_makes_nothing_look_lost(writer: Any) -> None:
    for _ in range(4):
        writer.write(2)
    write_log_checkpoint(writer.table)
    clean_log(writer.table, before=read_commit(writer.table, 4).time.replace(year=2100))
    # A file that went out of the table in those days, and that somebody had open when it was to be deleted.
    rows = DeltaTable(str(writer.table)).to_pyarrow_table().sort_by("celsius").slice(0, 2)
    write_data_file(
        writer.table, writer.spec, {"date": "2026-01-07", "station": "A"},
        rows.drop_columns(["date", "station"]), note={"seq_first": 1, "seq_last": 1},
    )  # fmt: skip
    (archive,) = (writer.table / "_strikelake").glob("commits-*.gz")
    archive.write_bytes(archive.read_bytes()[:50])

    (orphan,) = find_orphans(writer.lake, writer.table)

    assert orphan.verdict is Verdict.UNKNOWN
    assert "cannot be read" in orphan.why


@damages
@pytest.mark.parametrize("version", [3, 5], ids=["first compaction", "second compaction"])
@pytest.mark.parametrize("checkpoint", [None, 4, 5])
def test_a_lost_compaction_brings_nothing_back_twice(
    writer: Any, damage: Damage, version: int, checkpoint: int | None
) -> None:
    writer.write(2)
    writer.write(3)
    list(compact(writer.table, writer.spec, lambda _: True))
    writer.write(1)  # late rows
    if checkpoint == 4:
        write_log_checkpoint(writer.table)
    list(compact(writer.table, writer.spec, lambda _: True))
    if checkpoint == 5:
        write_log_checkpoint(writer.table)
    batches = [h for h in history(writer.table) if h["version"] in {1, 2, 4}]

    damage(commit_file(writer.table, version))
    recover_log(writer.lake, writer.table, whole=True)

    assert writer.all_rows_once()
    assert [h for h in history(writer.table) if h["version"] in {1, 2, 4}] == batches
    (writer.table / "_delta_log" / "_last_checkpoint").unlink(missing_ok=True)
    for path in (writer.table / "_delta_log").glob("*.checkpoint.parquet"):
        path.unlink()
    assert writer.all_rows_once(), "also without the log checkpoint"
    maintain(writer.lake, {writer.spec.name: writer.spec}, lambda _: True)
    assert writer.all_rows_once()


@damages
def test_a_commit_that_the_archive_has_is_taken_from_there(writer: Any, damage: Damage) -> None:
    """A clean-up was interrupted between archiving and deleting."""
    for _ in range(3):
        writer.write(2)
    write_log_checkpoint(writer.table)
    before = history(writer.table)
    contents = {v: commit_file(writer.table, v).read_bytes() for v in range(3)}
    clean_log(writer.table, before=read_commit(writer.table, 3).time.replace(year=2100))
    for version, content in contents.items():
        commit_file(writer.table, version).write_bytes(content)

    damage(commit_file(writer.table, 1))
    recover_log(writer.lake, writer.table, whole=True)

    assert history(writer.table) == before
    assert writer.all_rows_once()


@damages
def test_a_log_cleaned_down_to_one_commit_is_not_taken_for_a_table_that_was_never_made(
    writer: Any, damage: Damage
) -> None:
    for _ in range(3):
        writer.write(2)
    write_log_checkpoint(writer.table)
    clean_log(writer.table, before=read_commit(writer.table, 3).time.replace(year=2100))
    assert versions(writer.table) == [3]
    before = history(writer.table)

    damage(commit_file(writer.table, 3))
    writer.lake.create(writer.spec)
    recover_log(writer.lake, writer.table, spec=writer.spec)

    assert writer.all_rows_once()
    assert history(writer.table) == before
    writer.write(1)
    assert writer.all_rows_once()
