"""Each kind of finding, made by what really happens to a lake: named, mended or left, and never twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from deltalake import DeltaTable, write_deltalake

from catalog import batches as mirror
from catalog.contracts import CONTRACTS, ML_FEATURES, OPTION_CHAIN, Contract
from catalog.database import open_database
from catalog.doctor import MANY_SMALL_FILES, examine
from catalog.doctor_repairs import examine_and_repair
from catalog.findings import Finding, told
from catalog.reference import ReferenceData
from catalog.upkeep import SPECS, finished_sessions
from lake.append import append, write_log_checkpoint
from lake.commit_log import commit_file, read_commit, versions
from lake.compaction import active_files, compact
from lake.log_cleanup import clean_log
from lake.maintenance import maintain, maintenance_lock
from lake.process_lock import ProcessLock
from lake.spool import Entry, Spool
from lake.table import CHECKPOINT_INTERVAL, Lake, open_table

MONDAY = date(2026, 1, 5)
Say = Callable[[], list[Finding]]


@dataclass
class Desk:
    """A lake with one app's spool; every chain row has a strike of its own."""

    lake: Lake
    spool: Spool
    url: str
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def chain(self) -> Path:
        return self.lake.path("option_chain")

    def put(
        self, count: int, *, day: date = MONDAY, contract: Contract = OPTION_CHAIN, **more: float
    ) -> None:
        first = self.rows.get(contract.table, 0)
        self.rows[contract.table] = first + count
        opening = datetime(day.year, day.month, day.day, 3, 45, tzinfo=UTC)
        times = [opening + timedelta(seconds=first + n) for n in range(count)]
        given: dict[str, list[Any]] = {
            "date": [day] * count,
            "exchange": ["NSE"] * count,
            "event_time": times,
            "received_time": times,
            "symbol": ["NIFTY"] * count,
            "expiry": [date(2026, 1, 27)] * count,
            "strike": [float(first + n) for n in range(count)],
            "option_type": ["CE"] * count,
            "source": ["live"] * count,
            "dq_flags": [0] * count,
        }
        schema = pa.schema([f for f in contract.schema if f.name != "batch_id"])
        rows = pa.table([pa.array(given.get(f.name, [None] * count), f.type) for f in schema], schema=schema)
        for name, value in more.items():
            rows = rows.append_column(name, pa.array([value] * count))
        entry = Entry(contract.table, "NSE", contract.table, rows)
        self.spool.put([entry], offered={(contract.table, "NSE"): count})

    def commit(self, contract: Contract = OPTION_CHAIN, *, clear: bool = True, mirrored: bool = True) -> None:
        waiting = self.spool.waiting(contract.table)
        assert waiting is not None
        batch_id = self.spool.batch_id(waiting.last)
        rows = waiting.rows.append_column("batch_id", pa.repeat(batch_id, waiting.rows.num_rows))
        names = contract.schema.names
        append(
            self.lake.path(contract.table), contract.spec,
            rows.select([*names, *(n for n in rows.column_names if n not in names)]),
            stream=self.spool.stream, sequence=waiting.last,
            metadata={"batch_id": batch_id, "app_id": "live", "seq_first": waiting.first,
                      "seq_last": waiting.last},
        )  # fmt: skip
        if clear:
            self.spool.clear(contract.table, waiting.last)
        if mirrored:
            self.sync()

    def write(self, count: int, **options: Any) -> None:
        self.put(count, **{k: v for k, v in options.items() if k not in {"clear", "mirrored"}})
        contract = options.get("contract", OPTION_CHAIN)
        self.commit(contract, **{k: v for k, v in options.items() if k in {"clear", "mirrored"}})

    def sync(self) -> None:
        engine = open_database(self.url)
        mirror.sync(self.lake, engine)
        engine.dispose()

    def strikes(self) -> list[float]:
        return sorted(DeltaTable(str(self.chain)).to_pyarrow_table()["strike"].to_pylist())

    def all_rows_once(self) -> bool:
        return self.strikes() == [float(n) for n in range(self.rows["option_chain"])]

    def batches(self) -> list[dict[str, Any]]:
        """The mirror, but for the ids."""
        engine = open_database(self.url)
        found = [{k: v for k, v in row.items() if k != "id"} for row in mirror.batches(engine)]
        engine.dispose()
        return sorted(found, key=lambda r: (r["table_name"], r["table_version"], r["parquet_path"]))

    def _look(self, action: Callable[..., list[Finding]], **more: Any) -> list[Finding]:
        finished = finished_sessions(ReferenceData.load().calendar)
        return action(self.lake, self.url, finished=finished, **more)

    def examine(self, **more: Any) -> list[Finding]:
        return self._look(examine, **more)

    def repair(self) -> list[Finding]:
        return self._look(examine_and_repair, specs=SPECS)

    def kinds(self) -> set[str]:
        return {f.kind for f in self.examine()}

    def data_file(self, number: int = 0) -> Path:
        """A data file of the chain, by the order of commits."""
        return self.chain / read_commit(self.chain, number + 1).adds[0]["path"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    lake = Lake.at(tmp_path / "my lake")
    for contract in CONTRACTS.values():
        lake.create(contract.spec)
    spool = Spool(lake.spools / "live.db")
    desk = Desk(lake, spool, f"sqlite:///{(lake.root / 'catalog.db').as_posix()}")
    for count in (2, 3, 4):
        desk.write(count)
    yield desk
    spool.close()


def mended(desk: Desk, *kinds: str) -> list[Finding]:
    """Repair: exactly these kinds are found and mended, and nothing is left or found again."""
    found = desk.examine()
    assert {f.kind for f in found} == set(kinds), found
    after = desk.repair()
    assert all(f.repaired for f in after), after
    assert set(kinds) <= {f.kind for f in after}
    assert desk.examine() == []
    assert desk.repair() == []
    return after


def test_of_a_sound_lake_there_is_nothing_to_say(desk: Desk) -> None:
    before = {p: p.stat().st_mtime_ns for p in desk.lake.raw_stream.rglob("*") if p.is_file()}
    assert desk.examine() == []
    assert desk.repair() == []
    assert {p: p.stat().st_mtime_ns for p in desk.lake.raw_stream.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(("kind", "content"), [("empty_commit", b""), ("torn_commit", b'{"commitInfo":{"ti')])
def test_a_damaged_commit_is_put_right_and_the_mirror_stays_what_it_was(
    desk: Desk, kind: str, content: bytes, version: int
) -> None:
    before = desk.batches()
    commit_file(desk.chain, version).write_bytes(content)

    found = desk.examine()
    assert kind in {f.kind for f in found}
    assert [f.subject for f in found if f.kind == kind] == [f"version {version}"]
    after = desk.repair()

    assert all(f.repaired for f in after), after
    assert desk.all_rows_once()
    assert desk.examine() == []
    assert [
        {k: v for k, v in row.items() if k not in {"batch_time", "created_at"}} for row in desk.batches()
    ] == [{k: v for k, v in row.items() if k not in {"batch_time", "created_at"}} for row in before]


def test_a_missing_middle_commit_is_put_there_again(desk: Desk) -> None:
    commit_file(desk.chain, 2).unlink()
    after = desk.repair()
    assert ("missing_commit", True) in {(f.kind, f.repaired) for f in after}
    assert desk.all_rows_once()
    assert desk.examine() == []


def test_the_newest_commit_gone_is_a_lost_batch_and_a_mirror_that_differs(desk: Desk) -> None:
    commit_file(desk.chain, 3).unlink()
    mended(desk, "lost_batch", "catalog_differs")
    assert desk.all_rows_once()
    assert len(desk.batches()) == 3


def test_so_it_is_when_its_number_was_used_again(desk: Desk) -> None:
    commit_file(desk.chain, 3).unlink()
    desk.write(5)
    mended(desk, "lost_batch", "catalog_differs")
    assert desk.all_rows_once()
    assert len(desk.batches()) == 4


def test_the_commit_that_created_the_table_is_made_again(desk: Desk) -> None:
    commit_file(desk.chain, 0).write_bytes(b"")
    after = desk.repair()
    assert all(f.repaired for f in after)
    assert desk.all_rows_once()
    assert desk.examine() == []


def test_a_torn_checkpoint_is_removed(desk: Desk) -> None:
    write_log_checkpoint(desk.chain)
    (checkpoint,) = (desk.chain / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:99])
    after = desk.repair()
    assert {(f.kind, f.repaired) for f in after} == {("torn_checkpoint", True)}
    assert desk.all_rows_once()
    assert desk.examine() == []


def test_a_pointer_to_a_checkpoint_that_is_gone_is_removed(desk: Desk) -> None:
    write_log_checkpoint(desk.chain)
    (checkpoint,) = (desk.chain / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.unlink()
    after = desk.repair()
    assert {(f.kind, f.repaired) for f in after} == {("torn_checkpoint", True)}
    assert desk.all_rows_once()


def test_a_torn_archive_is_named_and_nothing_is_made_worse(desk: Desk) -> None:
    write_log_checkpoint(desk.chain)
    clean_log(desk.chain, before=datetime(2100, 1, 1, tzinfo=UTC))
    (archive,) = (desk.chain / "_strikelake").glob("commits-*.gz")
    archive.write_bytes(archive.read_bytes()[:40])
    before = desk.batches()

    for _ in range(2):
        after = desk.repair()
        assert "torn_archive" in {f.kind for f in after if not f.repaired}
        assert "history_gap" not in {f.kind for f in after}
    assert desk.all_rows_once()
    assert desk.batches() == before


def test_a_log_that_another_tool_cleaned_is_a_gap_and_the_mirror_is_kept(desk: Desk) -> None:
    write_log_checkpoint(desk.chain)
    for version in range(3):
        commit_file(desk.chain, version).unlink()
    before = desk.batches()

    (gap,) = desk.repair()

    assert (gap.kind, gap.subject, gap.repaired) == ("history_gap", "versions 0 to 2", False)
    assert desk.batches() == before
    assert desk.all_rows_once()


def test_a_gap_within_the_archive_is_named_too(desk: Desk) -> None:
    write_log_checkpoint(desk.chain)
    commit_file(desk.chain, 1).unlink()
    clean_log(desk.chain, before=datetime(2100, 1, 1, tzinfo=UTC))
    assert len(list((desk.chain / "_strikelake").glob("commits-*.gz"))) == 2
    (gap,) = desk.examine()
    assert (gap.kind, gap.subject) == ("history_gap", "versions 1 to 1")


def test_a_leftover_of_a_failed_attempt_is_deleted(desk: Desk) -> None:
    leftover = desk.data_file(1).with_name(f"part-{'0' * 8}-{'1' * 32}.parquet")
    shutil.copy(desk.data_file(1), leftover)
    mended(desk, "orphan_file")
    assert not leftover.exists()
    assert desk.all_rows_once()


def test_a_file_whose_rows_still_wait_in_the_spool_is_deleted_and_they_are_committed_once(desk: Desk) -> None:
    desk.put(5)
    desk.commit(clear=False, mirrored=False)
    commit_file(desk.chain, 4).unlink()
    assert desk.kinds() == {"orphan_file"}
    mended(desk, "orphan_file")
    desk.commit()
    assert desk.all_rows_once()


def test_a_file_of_nobody_stays(desk: Desk) -> None:
    stranger = desk.data_file().with_name("notes.parquet")
    pq.write_table(pa.table({"a": [1]}), stranger)
    torn = desk.data_file().with_name("torn.parquet")
    torn.write_bytes(b"PAR1 and no more")
    after = desk.repair()
    assert sorted((f.kind, Path(f.subject).name, f.repaired) for f in after) == [
        ("unknown_file", "notes.parquet", False),
        ("unknown_file", "torn.parquet", False),
    ]
    assert stranger.exists()
    assert torn.exists()


def test_young_files_that_another_tool_may_be_writing_stay(desk: Desk) -> None:
    """`optimize` of deltalake writes its files first, and commits them when all are there."""
    young = desk.data_file().with_name("part-00000-2f3e.c000.zstd.parquet")
    shutil.copy(desk.data_file(), young)
    (left,) = desk.repair()
    assert (left.kind, left.repaired) == ("orphan_file", False)
    assert "hour" in left.detail
    assert young.exists()


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("missing_file", lambda path: path.unlink()),
        ("file_size", lambda path: path.write_bytes(path.read_bytes()[:-5])),
        ("file_size", lambda path: path.write_bytes(b"")),
        (
            "file_checksum",
            lambda path: path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:]),
        ),
    ],
)
def test_a_damaged_data_file_is_named_and_left(
    desk: Desk, kind: str, damage: Callable[[Path], object]
) -> None:
    path = desk.data_file(1)
    damage(path)
    for found in (desk.examine(), desk.repair(), desk.repair()):
        assert [(f.kind, f.subject, f.repaired) for f in found] == [
            (kind, path.relative_to(desk.chain).as_posix(), False)
        ]
    if kind == "file_checksum":
        assert desk.examine(checksums=False) == []


@pytest.mark.parametrize("gone", [True, False])
def test_a_damaged_compacted_file_gives_way_to_the_files_it_was_made_of(desk: Desk, gone: bool) -> None:
    """While they are still there, no row is lost."""
    list(compact(desk.chain, OPTION_CHAIN.spec, lambda _: True))
    desk.sync()
    (path,) = (desk.chain / f.path for f in active_files(open_table(desk.chain)))
    if gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    mended(desk, "missing_file" if gone else "file_checksum")
    assert desk.all_rows_once()
    later = datetime.now(UTC) + timedelta(days=30)
    for _ in range(2):
        for one in maintain(desk.lake, SPECS, lambda _: True, now=later):
            assert one.problems == ()
        write_log_checkpoint(desk.chain)
        assert desk.all_rows_once()
    desk.sync()
    assert desk.examine() == []


def test_a_damaged_source_is_not_put_back(desk: Desk) -> None:
    list(compact(desk.chain, OPTION_CHAIN.spec, lambda _: True))
    desk.sync()
    (path,) = (desk.chain / f.path for f in active_files(open_table(desk.chain)))
    desk.data_file(1).write_bytes(b"PAR1")
    path.unlink()
    (left,) = desk.repair()
    assert (left.kind, left.repaired, left.repair) == ("missing_file", False, "")


def test_many_small_files_of_a_finished_session_are_compacted(desk: Desk) -> None:
    for _ in range(MANY_SMALL_FILES - 3):
        desk.write(1)
    mended(desk, "small_files")
    assert len(DeltaTable(str(desk.chain)).file_uris()) == 1
    assert desk.all_rows_once()


def test_a_table_without_a_recent_checkpoint_gets_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake.append.write_log_checkpoint", lambda _: None)
    day = datetime.now(UTC).date() + timedelta(days=1)
    for _ in range(2 * CHECKPOINT_INTERVAL):
        desk.write(1, mirrored=False, day=day)
    monkeypatch.undo()
    desk.sync()
    mended(desk, "old_checkpoint")
    assert list((desk.chain / "_delta_log").glob("*.checkpoint.parquet"))


def test_a_table_that_an_interrupted_drop_left_open_is_append_only_again(desk: Desk) -> None:
    open_table(desk.chain).alter.set_table_properties({"delta.appendOnly": "false"})
    desk.sync()
    mended(desk, "not_append_only")
    assert open_table(desk.chain).metadata().configuration["delta.appendOnly"] == "true"


def test_lost_columns_are_added_again(desk: Desk) -> None:
    desk.write(2, contract=ML_FEATURES, rsi=1.5)
    features = desk.lake.path("ml_features")
    info = json.dumps({"commitInfo": {"timestamp": 1, "operation": "ADD COLUMN"}})
    commit_file(features, 1).write_text(info + "\n", encoding="utf-8")
    mended(desk, "lost_columns")
    assert DeltaTable(str(features)).to_pyarrow_table()["rsi"].to_pylist() == [1.5, 1.5]


def test_commits_that_are_not_mirrored_are_mirrored(desk: Desk) -> None:
    desk.write(2, mirrored=False)
    mended(desk, "catalog_behind")
    assert len(desk.batches()) == 4


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ml_feature_batches WHERE table_version = 2",
        "UPDATE ml_feature_batches SET checksum = 'x' WHERE table_version = 2",
        "UPDATE ml_feature_batches SET table_version = 9 WHERE table_version = 2",
        "UPDATE mirror_cursors SET table_version = 99 WHERE table_name = 'option_chain'",
    ],
)
def test_a_mirror_that_differs_is_made_again(desk: Desk, statement: str) -> None:
    before = desk.batches()
    engine = open_database(desk.url)
    with engine.begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount == 1
    engine.dispose()
    mended(desk, "catalog_differs")
    assert desk.batches() == before


def test_commits_of_other_tools_are_part_of_the_mirror_and_no_finding(desk: Desk) -> None:
    rows = DeltaTable(str(desk.chain)).to_pyarrow_table().slice(0, 1)
    write_deltalake(str(desk.chain), rows, mode="append", partition_by=["date", "exchange"])
    desk.sync()
    assert [b["state"] for b in desk.batches()] == ["committed"] * 3 + ["foreign"]
    assert desk.examine() == []
    commit_file(desk.chain, 4).write_text('{"commitInfo":{"timestamp":1}}\n', encoding="utf-8")
    assert "catalog_differs" in desk.kinds()


def test_a_catalog_that_cannot_be_read_is_named(desk: Desk) -> None:
    (desk.lake.root / "catalog.db").write_bytes(b"no database " * 999)
    for found in (desk.examine(), desk.repair()):
        assert [(f.kind, f.repaired) for f in found] == [("catalog_unavailable", False)]


def test_entries_that_the_log_has_are_cleared_and_counted(desk: Desk) -> None:
    desk.put(5)
    desk.commit(clear=False)
    mended(desk, "spool_committed")
    assert desk.spool.tables() == []
    (row,) = desk.spool.ledger()
    assert (row.offered, row.committed, row.spooled, row.difference) == (14, 14, 0, 0)
    assert desk.all_rows_once()


def test_rows_that_are_nowhere_are_named(desk: Desk) -> None:
    desk.put(5)
    db = sqlite3.connect(desk.spool.path)
    db.execute("DELETE FROM entries")
    db.commit()
    db.close()
    (left,) = desk.repair()
    assert (left.kind, left.repaired) == ("ledger_unbalanced", False)
    assert "5 rows" in left.detail


@pytest.mark.parametrize("content", [b"", b"no database " * 500])
def test_beside_a_spool_that_cannot_be_read_nothing_is_deleted_or_committed(
    desk: Desk, content: bytes
) -> None:
    (desk.lake.spools / "other.db").write_bytes(content)
    copy = desk.data_file(1).with_name(f"part-{'0' * 8}-{'1' * 32}.parquet")
    shutil.copy(desk.data_file(1), copy)
    commit_file(desk.chain, 2).write_bytes(b"")

    after = desk.repair()

    assert ("unreadable_spool", "other") in {(f.kind, f.table) for f in after}
    (torn,) = [f for f in after if f.kind == "empty_commit"]
    assert not torn.repaired
    assert "other" in torn.detail
    assert copy.exists()
    (desk.lake.spools / "other.db").unlink()
    assert all(f.repaired for f in desk.repair())
    assert desk.all_rows_once()


def test_a_lake_without_a_spool_or_with_a_folder_and_no_table_can_be_examined(desk: Desk) -> None:
    desk.spool.close()
    shutil.rmtree(desk.lake.spools)
    assert desk.examine() == []
    (desk.lake.raw_stream / "nothing" / "_delta_log").mkdir(parents=True)
    (left,) = desk.repair()
    assert (left.kind, left.table) == ("unreadable_table", "nothing")


def test_one_damage_that_hides_another_is_mended_with_it(desk: Desk) -> None:
    for _ in range(MANY_SMALL_FILES):
        desk.write(1)
    commit_file(desk.chain, 5).write_bytes(b'{"commitInfo"')
    commit_file(desk.chain, versions(desk.chain)[-1]).write_bytes(b"\n")
    after = desk.repair()
    assert all(f.repaired for f in after), after
    assert {"torn_commit", "small_files"} <= {f.kind for f in after}
    assert desk.examine() == []
    assert desk.all_rows_once()


def test_a_table_under_maintenance_is_left_to_it(desk: Desk) -> None:
    commit_file(desk.chain, 2).write_bytes(b"")
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from lake.maintenance import maintain, maintenance_lock
        with maintenance_lock(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
        """
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(desk.chain)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder:
        holder.stdout.readline()
        with pytest.raises(Exception, match="wait until it is done"):
            desk.repair()
        assert commit_file(desk.chain, 2).read_bytes() == b""
        holder.stdin.close()
    assert all(f.repaired for f in desk.repair())


def test_all_locks_are_let_go(desk: Desk) -> None:
    commit_file(desk.chain, 2).write_bytes(b"")
    desk.put(3)
    desk.commit(clear=False)
    shutil.copy(desk.data_file(2), desk.data_file(2).with_name(f"part-{'0' * 8}-{'1' * 32}.parquet"))
    desk.repair()
    ProcessLock(desk.lake.spools / "live.commit.lock", role="committer").release()
    with maintenance_lock(desk.chain):
        pass


def test_what_a_running_writer_has_under_way_is_no_finding_and_is_left(desk: Desk) -> None:
    desk.put(5)
    desk.commit(clear=False, mirrored=False)
    commit_file(desk.chain, 4).unlink()  # the moment before the commit
    files = set(desk.chain.rglob("*.parquet"))
    lock = ProcessLock(desk.lake.spools / "live.commit.lock", role="committer")
    assert desk.examine() == []
    assert desk.repair() == []
    lock.release()
    assert set(desk.chain.rglob("*.parquet")) == files


def test_rows_doubled_by_another_tools_compaction_are_taken_out(desk: Desk) -> None:
    early = DeltaTable(str(desk.chain))
    list(compact(desk.chain, OPTION_CHAIN.spec, lambda _: True))
    early.optimize.compact()
    desk.sync()
    assert len(desk.strikes()) == 18
    mended(desk, "doubled_rows")
    assert desk.all_rows_once()


def test_many_findings_of_a_kind_are_counted_and_lines_fit_80_columns() -> None:
    path = f"date=2026-01-05/exchange=NSE/part-0123abcd-{'e' * 32}.parquet"
    many = [
        Finding("missing_file", "option_chain", f"{path}{n}", "the log names it, and " * 9)
        for n in range(312)
    ]
    one = Finding("torn_commit", "ml_features", "version 3", "torn", "put it there")
    lines = list(told([*many, one], repaired=False))
    assert lines[0] == "312 x missing_file  option_chain  [left]"
    assert "  ... and 307 more: see --output json" in lines
    assert lines[-1] == "313 findings"
    assert [line for line in lines if len(line) > 80 and path not in line] == []
    assert len(lines) < 40
