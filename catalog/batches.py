"""`ml_feature_batches`: the Delta logs of a lake as rows, one a batch and partition.

A mirror: the logs say what is true. Losing the database loses nothing; `rebuild` makes it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Connection, Engine, String, delete, insert, select, update

from catalog import flag_counts
from catalog.database import transaction, write_alone
from catalog.models import FeatureBatch, MirrorCursor
from lake.commit_log import Commit, commits_after, first_recorded, is_recorded, versions
from lake.data_file import restored_file
from lake.drop import DROP
from lake.errors import DamagedTableError
from lake.table import Lake, local_file

COLUMNS = tuple(column.name for column in FeatureBatch.__table__.columns)

_COMMITS_A_TRANSACTION = 200

_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What one run of the mirror did.

    Attributes:
        commits: Commits followed.
        batches: Rows added.
    """

    commits: int
    batches: int


def sync(
    lake: Lake,
    engine: Engine,
    *,
    tables: Iterable[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> SyncResult:
    """Follow the logs from where the mirror stands; running it again adds nothing.

    Args:
        lake: The lake.
        engine: The catalog.
        tables: Only these; all by default.
        progress: Called with the number of commits just mirrored.

    Raises:
        CatalogUnavailableError: The database does not answer; the mirror stands where it stood.
        DamagedTableError: A commit cannot be read, or commits that were not mirrored yet are gone.
    """
    commits = batches = 0
    wanted = None if tables is None else set(tables)
    for name, path in lake.tables().items():
        if wanted is not None and name not in wanted:
            continue
        while True:
            with transaction(engine) as connection:
                write_alone(connection)
                followed, added = _sync_some(lake, connection, name, path)
            commits, batches = commits + followed, batches + added
            if progress and followed:
                progress(followed)
            if followed < _COMMITS_A_TRANSACTION:
                break
    return SyncResult(commits, batches)


def rebuild(lake: Lake, engine: Engine, *, progress: Callable[[int], None] | None = None) -> SyncResult:
    """Forget the mirror and follow every log from its beginning.

    Raises:
        CatalogUnavailableError: The database does not answer.
        DamagedTableError: A log cannot be read from its beginning; the mirror is left as it was.
    """
    for name, path in lake.tables().items():
        oldest = first_recorded(path)
        if oldest != 0:
            raise DamagedTableError(
                f"the log of {name} starts at version {'none' if oldest is None else oldest}, and its older "
                "commits are not archived: they were cleaned up by another tool; the mirror is left as it is"
            )
    commits = batches = 0
    # One transaction: whatever goes wrong on the way, the old mirror is still there.
    with transaction(engine) as connection:
        write_alone(connection)
        connection.execute(delete(FeatureBatch))
        connection.execute(delete(MirrorCursor))
        for name, path in lake.tables().items():
            followed = _COMMITS_A_TRANSACTION
            while followed == _COMMITS_A_TRANSACTION:
                followed, added = _sync_some(lake, connection, name, path)
                commits, batches = commits + followed, batches + added
                if progress and followed:
                    progress(followed)
            # Asked once more: following ends at a hole as it does at the newest commit.
            _sync_some(lake, connection, name, path)
    return SyncResult(commits, batches)


def pending_commits(lake: Lake, engine: Engine, *, from_scratch: bool = False) -> int:
    """Commits that the mirror has not followed yet (all of them when it starts anew)."""
    with transaction(engine) as connection:
        rows = connection.execute(select(MirrorCursor.table_name, MirrorCursor.table_version))
        cursors = {row.table_name: row.table_version for row in rows}
    return sum(
        sum(1 for v in versions(path) if from_scratch or v > cursors.get(name, -1))
        for name, path in lake.tables().items()
    )


def behind(lake: Lake, engine: Engine) -> dict[str, tuple[int, int]]:
    """Newest version of each table, and the one that the mirror has followed it to (-1 for none).

    Raises:
        CatalogUnavailableError: The database does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(select(MirrorCursor.table_name, MirrorCursor.table_version))
        cursors = {row.table_name: int(row.table_version) for row in rows}
    return {
        name: (max(versions(path), default=-1), cursors.get(name, -1)) for name, path in lake.tables().items()
    }


def batches(
    engine: Engine,
    *,
    table: str | None = None,
    exchange: str | None = None,
    day: date | None = None,
    batch_id: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of `ml_feature_batches`, newest first.

    Raises:
        CatalogUnavailableError: The database does not answer.
    """
    query = select(FeatureBatch.__table__).order_by(FeatureBatch.batch_time.desc(), FeatureBatch.id.desc())
    wanted = {
        FeatureBatch.table_name: table,
        FeatureBatch.exchange: exchange,
        FeatureBatch.date: day,
        FeatureBatch.batch_id: batch_id,
    }
    for column, value in wanted.items():
        if isinstance(value, str) and not _is_text(value):
            return []
        if value is not None:
            query = query.where(column == value)
    with transaction(engine) as connection:
        return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]


def _sync_some(lake: Lake, connection: Connection, name: str, path: Path) -> tuple[int, int]:
    """Mirror up to `_COMMITS_A_TRANSACTION` commits of one table: (commits, rows added).

    Call it in a transaction that writes alone, from before the cursor is read.
    """
    if not _fits("table_name", name):
        raise DamagedTableError(f"the catalog cannot hold {name!r} as table_name")
    cursor = connection.execute(
        select(MirrorCursor.table_version).where(MirrorCursor.table_name == name)
    ).scalar_one_or_none()
    at = -1 if cursor is None else cursor
    rows: list[dict[str, Any]] = []
    followed = count = 0
    for commit in commits_after(path, at):
        if commit.operation == DROP:
            # What was not inserted yet has to be there to be marked.
            _insert(connection, rows)
            rows = []
            _mark_dropped(connection, name, commit)
        added = _rows_of(lake, name, path, commit)
        rows, count = rows + added, count + len(added)
        followed += 1
        if followed == _COMMITS_A_TRANSACTION:
            break
    if not followed:
        # Two look-ups as a rule, and a listing only when there is nothing new: a log may hold thousands.
        if not is_recorded(path, at):
            raise _lost_track(name, path, at)
        _refuse_hole(name, path, at)
    _insert(connection, rows)
    if cursor is None:
        connection.execute(insert(MirrorCursor).values(table_name=name, table_version=at + followed))
    elif followed:
        connection.execute(
            update(MirrorCursor).where(MirrorCursor.table_name == name).values(table_version=at + followed)
        )
    return followed, count


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(FeatureBatch), rows)


def _mark_dropped(connection: Connection, name: str, commit: Commit) -> None:
    for partition in commit.batch.get("partitions", ()):
        connection.execute(
            update(FeatureBatch)
            .where(FeatureBatch.table_name == name)
            .where(FeatureBatch.date == date.fromisoformat(partition["date"]))
            .where(FeatureBatch.exchange == (partition.get("exchange") or ""))
            .where(FeatureBatch.table_version <= commit.batch["through_version"])
            .values(state="dropped")
        )


def _refuse_hole(name: str, path: Path, at: int) -> None:
    """Raise if there are commits after a version, but not the next one.

    Raises:
        DamagedTableError: There are.
    """
    newest = max(versions(path), default=-1)
    # Looked at again: the next one may have been made just now.
    if newest > at and not is_recorded(path, at + 1):
        raise DamagedTableError(
            f"{name} has a commit {newest}, but not {at + 1}: run 'strikelake lake doctor --repair'"
        )


def _lost_track(name: str, path: Path, at: int) -> DamagedTableError:
    """Why a log has neither the version that is mirrored last nor the one after it."""
    known = versions(path)
    if known and known[-1] > at:
        return DamagedTableError(
            f"commits {at + 1} to {known[0] - 1} of {name} were cleaned up before they were mirrored"
        )
    newest = known[-1] if known else "none"
    return DamagedTableError(
        f"the log of {name} ends at version {newest}, but version {at} was mirrored: it is "
        "another table than before; run 'strikelake catalog rebuild'"
    )


def files_of(lake: Lake, path: Path, commit: Commit) -> Iterator[tuple[str, str | None]]:
    """What the mirror has of a commit: path and checksum of each file, None where none is recorded."""
    recorded = commit.batch.get("files", {})
    for add in commit.adds:
        if add.get("dataChange", True):
            checksum = recorded[add["path"]]["sha256"] if add["path"] in recorded else None
            yield _relative(local_file(path, add["path"]), lake.root), checksum


def _rows_of(lake: Lake, name: str, path: Path, commit: Commit) -> list[dict[str, Any]]:
    rows = []
    recorded = commit.batch.get("files", {})
    for add in commit.adds:
        if not add.get("dataChange", True):
            continue
        file = local_file(path, add["path"])
        partition = add["partitionValues"]
        if not partition.get("date"):
            raise DamagedTableError(f"{name} is not partitioned by date: {file} has no place in the mirror")
        facts = recorded.get(add["path"]) or restored_file(path, unquote(add["path"])).record
        rows.append(
            {
                "batch_time": commit.time,
                "exchange": partition.get("exchange") or "",
                "parquet_path": _relative(file, lake.root),
                "record_count": _count(add, file),
                "checksum": facts["sha256"],
                "created_at": datetime.fromtimestamp(add["modificationTime"] / 1000, UTC),
                "table_name": name,
                "table_version": commit.version,
                "date": date.fromisoformat(partition["date"]),
                "batch_id": commit.batch.get("batch_id"),
                "app_id": commit.batch.get("app_id"),
                "seq_first": commit.batch.get("seq_first"),
                "seq_last": commit.batch.get("seq_last"),
                "size_bytes": add["size"],
                "first_event_time": _moment(facts.get("first_event_time")),
                "last_event_time": _moment(facts.get("last_event_time")),
                "content_digest": facts["content_digest"],
                "state": "committed" if add["path"] in recorded else "foreign",
                "flagged_rows": flag_counts.of_partition(commit.batch, partition),
            }
        )
        for column, value in rows[-1].items():
            if not _fits(column, value):
                raise DamagedTableError(
                    f"commit {commit.version} of {name}: the catalog cannot hold {value!r} as {column}"
                )
    return rows


def _fits(column: str, value: object) -> bool:
    """Whether PostgreSQL can hold a value, so that SQLite, which takes more, does not take it either."""
    kind = FeatureBatch.__table__.columns[column].type
    if value is None:
        return True
    if isinstance(kind, String):
        return isinstance(value, str) and len(value) <= (kind.length or 0) and _is_text(value)
    if isinstance(kind, BigInteger):
        return isinstance(value, int) and -(2**63) <= value < 2**63
    return True


def _is_text(value: str) -> bool:
    """Whether databases take it: no NUL, and no half of a surrogate pair."""
    return not _NO_TEXT.search(value)


def _count(add: Any, file: Path) -> int:
    count = json.loads(add.get("stats") or "{}").get("numRecords")
    return int(count) if count is not None else int(pq.read_metadata(file).num_rows)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _relative(file: Path, root: Path) -> str:
    resolved, base = file.resolve(), root.resolve()
    return resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else resolved.as_posix()
