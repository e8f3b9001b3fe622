"""The audit: every file against its checksum, every batch against its digest, damage told to the batch."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_databases import Database, sqlite_only
from deltalake import write_deltalake
from small_lake import MONDAY, TUESDAY, SmallLake, legs, rewrite, rewrite_row

from catalog import batches as mirror
from catalog.audit import AuditResult, audit, files_to_audit
from catalog.database import opened_database
from lake.session import Session


def audited(small: SmallLake, **options: Any) -> AuditResult:
    mirror.sync(small.lake, small.engine)
    return audit(small.lake, small.engine, **options)


def damage(small: SmallLake, **options: Any) -> set[tuple[str, str | None, str, str]]:
    """(kind, batch, date, exchange) of everything that is told."""
    return {(d.kind, d.batch_id, d.date, d.exchange) for d in audited(small, **options).damage}


def test_a_lake_as_it_was_committed_has_no_damage(small: SmallLake) -> None:
    found = audited(small)
    assert found == AuditResult(files=7, batches=7, rows=207, damage=())
    small.maintain()
    assert audited(small) == AuditResult(files=5, batches=7, rows=207, damage=())
    small.foreign_compaction()
    assert audited(small).damage == ()


@sqlite_only
@pytest.mark.parametrize("compacted", ["not", "ours", "foreign"])
def test_one_changed_value_is_told_to_the_batch(small: SmallLake, compacted: str) -> None:
    if compacted == "ours":
        small.maintain()
    if compacted == "foreign":
        small.foreign_compaction()
    file = small.file_of("b2")
    row = pq.read_table(file, partitioning=None)["batch_id"].to_pylist().index("b2")
    rewrite_row(file, row, ltp=0.1)
    told = damage(small)
    assert ("values", "b2", "2026-01-05", "NSE") in told
    assert {batch for _, batch, _, _ in told} <= {"b2", None}
    # Another tool records no checksum of the files it writes; the file's size may differ as well.
    kinds = {kind for kind, batch, _, _ in told if batch is None}
    assert kinds <= {"file_checksum", "file_size"}
    assert kinds or compacted == "foreign"


@sqlite_only
def test_a_missing_and_a_torn_file_are_told_with_their_batches(small: SmallLake) -> None:
    small.file_of("b2").unlink()
    torn = small.file_of("b1", "BSE")
    torn.write_bytes(torn.read_bytes()[:-50])
    assert damage(small) == {
        ("missing_file", None, "2026-01-05", "NSE"), ("missing", "b2", "2026-01-05", "NSE"),
        ("file_size", None, "2026-01-05", "BSE"), ("missing", "b1", "2026-01-05", "BSE"),
    }  # fmt: skip


@sqlite_only
def test_files_swapped_within_a_session_are_told_by_their_checksums_alone(small: SmallLake) -> None:
    one, other = small.file_of("b1"), small.file_of("b2")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    told = audited(small).damage
    assert {d.kind for d in told} <= {"file_checksum", "file_size"}
    assert {Path(str(d.path)).name for d in told} == {one.name, other.name}


@sqlite_only
def test_files_swapped_between_exchanges_name_their_batches(small: SmallLake) -> None:
    one, other = small.file_of("b1", "BSE"), small.file_of("b2")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    told = {found for found in damage(small) if found[1] is not None}
    assert told == {
        ("missing", "b1", "2026-01-05", "BSE"), ("unknown_batch", "b2", "2026-01-05", "BSE"),
        ("missing", "b2", "2026-01-05", "NSE"), ("rows", "b1", "2026-01-05", "NSE"),
    }  # fmt: skip


@sqlite_only
def test_since_leaves_earlier_sessions_alone(small: SmallLake) -> None:
    rewrite(small.file_of("b2"), oi=1)
    assert damage(small, since=TUESDAY) == set()
    assert audited(small, since=TUESDAY).batches == 2
    assert files_to_audit(small.lake, since=TUESDAY) == 2
    assert damage(small, since=MONDAY)
    assert damage(small, tables=["ml_features"]) == set()


@sqlite_only
def test_checksums_alone_tell_of_the_file(small: SmallLake) -> None:
    rewrite(small.file_of("b2"), oi=1)
    (found,) = audited(small, checksums_only=True).damage
    assert found.kind in {"file_checksum", "file_size"}


@sqlite_only
def test_rows_of_another_tool_are_checked_as_what_they_are(small: SmallLake) -> None:
    rows = legs(3, batch="x").drop_columns(["batch_id"])
    rows = rows.append_column("batch_id", pa.nulls(3, pa.string()))
    write_deltalake(str(small.lake.path("option_chain")), rows, mode="append")
    write_deltalake(str(small.lake.path("option_chain")), rows, mode="append")
    assert audited(small).damage == ()


@sqlite_only
def test_progress_counts_every_file_once(small: SmallLake) -> None:
    seen: list[int] = []
    audited(small, progress=seen.append)
    assert sum(seen) == files_to_audit(small.lake) == 7


def test_a_rebuilt_catalog_says_the_same(small: SmallLake, database: Database) -> None:
    small.maintain()
    rewrite(small.file_of("b1"), iv=0.5)
    before = damage(small)
    assert before
    small.engine.dispose()
    database.delete()
    with opened_database(database.url) as engine:
        mirror.rebuild(small.lake, engine)
        again = audit(small.lake, engine)
    assert {(d.kind, d.batch_id, d.date, d.exchange) for d in again.damage} == before


def quality(small: SmallLake) -> list[dict[str, Any]]:
    with Session(small.lake) as session:
        rows: list[dict[str, Any]] = session.table(
            "SELECT * FROM batch_quality ORDER BY date, exchange, batch_id"
        ).to_pylist()
        return rows


@sqlite_only
def test_quality_is_still_right_after_compaction(small: SmallLake) -> None:
    again = legs(20, batch="again", day=TUESDAY)
    small.add(pa.concat_tables([again, again.slice(0, 3)]))
    before = quality(small)
    by_batch = {(row["batch_id"], row["date"], row["exchange"]): row for row in before}
    for (batch, day, exchange), row in by_batch.items():
        file = next(f for f in small.files() if f == small.file_of(batch, exchange, day=day))
        rows = pq.read_table(file, partitioning=None)
        mine = rows.filter(pa.compute.equal(rows["batch_id"], batch))
        assert row["row_count"] == mine.num_rows
        assert row["ltp_null_rate"] == mine["ltp"].null_count / mine.num_rows
        times = zip(mine["received_time"].to_pylist(), mine["event_time"].to_pylist(), strict=True)
        late = max(received - event for received, event in times)
        assert timedelta(seconds=row["max_lateness_s"]) == late
    assert by_batch["again", TUESDAY, "NSE"]["duplicate_rows"] == 3
    small.maintain()
    assert quality(small) == before
    small.foreign_compaction()
    assert quality(small) == before
