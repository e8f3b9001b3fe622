"""What data files without a commit are: judged by log, archive, spool and their own footers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake import append as append_module
from lake.commit_log import commit_file, read_commit
from lake.compaction import compact
from lake.errors import SpoolUnavailableError
from lake.log_cleanup import clean_log
from lake.orphans import Recorded, Verdict, find_orphans
from lake.table import TableSpec

Judge = Callable[[], list[tuple[Verdict, str]]]


def verdicts(writer: Any) -> list[Verdict]:
    return [orphan.verdict for orphan in find_orphans(writer.lake, writer.table)]


def fail_to_commit(writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that dies between its data file and its commit."""

    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(append_module, "_commit", die)
        with pytest.raises(SystemExit):
            writer.commit()


def test_a_table_whose_files_are_all_named_has_none(writer: Any, spec: TableSpec) -> None:
    assert verdicts(writer) == []
    writer.write(3)
    writer.write(3)
    list(compact(writer.table, spec, lambda _: True))
    assert verdicts(writer) == []


def test_an_attempt_waits_then_is_a_leftover(writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write(1)
    writer.put(3)
    fail_to_commit(writer, monkeypatch)
    assert verdicts(writer) == [Verdict.WAITING]
    writer.put(2)
    fail_to_commit(writer, monkeypatch)
    assert verdicts(writer) == [Verdict.WAITING] * 2
    writer.commit()
    assert verdicts(writer) == [Verdict.LEFTOVER] * 2


def test_an_attempt_and_its_successor_that_are_both_in_no_commit_are_one_lost_batch(
    writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.put(3)
    fail_to_commit(writer, monkeypatch)
    writer.put(2)
    writer.commit()
    commit_file(writer.table, 1).unlink()
    found = find_orphans(writer.lake, writer.table)
    assert sorted((o.batch_id, o.verdict) for o in found) == [
        (writer.spool.batch_id(1), Verdict.LEFTOVER),
        (writer.spool.batch_id(2), Verdict.LOST),
    ]


def test_a_longer_attempt_of_which_a_part_was_committed_is_not_judged(
    writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.put(3)
    writer.commit(clear=False)
    writer.put(2)
    path = writer.table / read_commit(writer.table, 1).adds[0]["path"]
    rows = pq.read_table(path, partitioning=None)
    batch_id = writer.spool.batch_id(2)
    longer = rows.set_column(rows.column_names.index("batch_id"), "batch_id", pa.repeat(batch_id, 3))
    append_module.write_data_file(
        writer.table, writer.spec, {"date": "2026-01-05", "station": "A"}, longer, note={"seq_first": 1}
    )
    assert verdicts(writer) == [Verdict.WAITING]
    writer.spool.clear("readings", 2)
    (orphan,) = find_orphans(writer.lake, writer.table)
    assert (orphan.verdict, orphan.why) == (
        Verdict.UNKNOWN, "a part of its rows was committed with other batches",
    )  # fmt: skip


def test_files_of_others_are_not_judged(writer: Any) -> None:
    writer.write(1)
    folder = (writer.table / read_commit(writer.table, 1).adds[0]["path"]).parent
    pq.write_table(pa.table({"a": [1]}), folder / "a.parquet")
    pq.write_table(pa.table({"batch_id": ["of another tool"]}), folder / "b.parquet")
    pq.write_table(pa.table({"batch_id": pa.array([None], pa.string())}), folder / "c.parquet")
    pq.write_table(pa.table({"batch_id": ["else-0123abcd-000000000001"]}), folder / "d.parquet")
    (folder / "e.parquet").write_bytes(b"")
    assert verdicts(writer) == [Verdict.UNKNOWN] * 5


def test_a_copy_of_a_file_is_a_leftover_also_when_its_commit_is_archived(writer: Any) -> None:
    writer.write(3)
    writer.write(3)
    append_module.write_log_checkpoint(writer.table)
    path = writer.table / read_commit(writer.table, 1).adds[0]["path"]
    shutil.copy(path, path.with_name("copy.parquet"))
    assert verdicts(writer) == [Verdict.LEFTOVER]
    clean_log(writer.table, before=read_commit(writer.table, 2).time.replace(year=2100))
    assert not commit_file(writer.table, 1).exists()
    assert verdicts(writer) == [Verdict.LEFTOVER]


def test_rows_that_are_in_the_table_are_not_lost_though_their_commit_is_unknown(writer: Any) -> None:
    """Cleaned up by another tool after 30 days: neither log nor archive has it."""
    writer.write(3)
    writer.write(3)
    append_module.write_log_checkpoint(writer.table)
    path = writer.table / read_commit(writer.table, 1).adds[0]["path"]
    shutil.copy(path, path.with_name("copy.parquet"))
    for version in (0, 1):
        commit_file(writer.table, version).unlink()
    assert verdicts(writer) == [Verdict.LEFTOVER]


def test_without_every_spool_nothing_is_judged(writer: Any, tmp_path: Path) -> None:
    writer.write(3)
    commit_file(writer.table, 1).unlink()
    (writer.lake.spools / "torn.db").write_bytes(b"torn" * 1000)
    with pytest.raises(SpoolUnavailableError, match=r"torn\.db"):
        find_orphans(writer.lake, writer.table)


def test_young_files_can_be_left_out(writer: Any) -> None:
    writer.write(3)
    commit_file(writer.table, 1).unlink()
    assert [o.verdict for o in find_orphans(writer.lake, writer.table)] == [Verdict.LOST]
    assert find_orphans(writer.lake, writer.table, older_than_s=1.0) == []


def test_ranges_are_searched_however_many_there_are() -> None:
    recorded = Recorded(ranges={"s": [(n, n + 2) for n in range(0, 1_000_000, 5)]})
    assert [recorded.covers("s", n) for n in (0, 2, 3, 4, 5, 999_997, 999_998, -1)] == [
        True, True, False, False, True, True, False, False,
    ]  # fmt: skip
    assert recorded.overlaps("s", 3, 5)
    assert not recorded.overlaps("s", 3, 4)
    assert not recorded.covers("other", 1)
