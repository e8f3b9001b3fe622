"""A durable queue of record batches in one SQLite file, with the ledger of every row.

A writer puts batches in; a committer takes whole entries out once they are in a Delta table. The file
is readable with any SQLite tool; `ledger_balance` is the invariant as a view. One spool is one stream:
its random id goes into Delta's txn action, so a new file under an old name never looks committed.
"""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lake.durability import sync_names
from lake.errors import SpoolUnavailableError

_SCHEMA = Path(__file__).with_name("spool.sql")
_BATCH_ID = re.compile(r"(?P<stream>.+-[0-9a-f]{8})-(?P<last>\d{12,})")
_IPC = pa.ipc.IpcWriteOptions(compression="lz4")

Key = tuple[str, str]
"""What the ledger is kept by: table name and group (the second partition column)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Rows on their way into a table.

    Attributes:
        table: The table they go to.
        group: Value of the second partition column.
        origin: The table they were offered to; differs from `table` for rejected rows.
        rows: What one row of the ledger counts: rows of `batch`.
        batch: The rows.
    """

    table: str
    group: str
    origin: str
    batch: pa.Table

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return int(self.batch.num_rows)


@dataclass(frozen=True, slots=True)
class SpooledRows:
    """Consecutive entries of one table, oldest first.

    Attributes:
        first: Sequence of the first entry.
        last: Sequence of the last entry.
        entries: How many entries there are.
        oldest_us: When the first was spooled, epoch microseconds.
        rows: Their rows; columns that one entry lacks are null.
    """

    first: int
    last: int
    entries: int
    oldest_us: int
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a spool of one group: how many rows, and since when (epoch microseconds)."""

    group: str
    rows: int
    oldest_us: int


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue in the memory of the app in front of a spool, as the app told it.

    Attributes:
        waiting: Updates that waited when it was told.
        highest: The most that waited of late, see who tells it.
        capacity: Updates it holds; beyond that the oldest go.
        told_us: When, epoch microseconds.
    """

    waiting: int
    highest: int
    capacity: int
    told_us: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The ledger of one table and group: offered = spooled + committed + quarantined + dropped."""

    table: str
    group: str
    offered: int
    spooled: int
    committed: int
    quarantined: int
    dropped: int
    difference: int


class Spool:
    """One connection to a spool file; use it from one thread, open as many as there are threads.

    Raises:
        SpoolUnavailableError: From every method: the file is locked, the disk full or failing; nothing
            was changed, try again.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open a spool, creating it if need be.

        Args:
            path: The file; its stem is the app id.
            read_only: Look at a spool that is there, without ever taking the lock of who writes it.
        """
        self.path = path
        with _mapped(path):
            if read_only:
                self._db = _connect(f"{path.resolve().as_uri()}?mode=ro")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = _connect(path)
            try:
                self._stream_id = self._open(create=not read_only)
                if not read_only:
                    # SQLite syncs what is in its files; that they are there at all, nobody has synced yet.
                    sync_names(path.parent, up_to=path.parent.parent)
            except BaseException:
                self._db.close()
                raise

    def _open(self, *, create: bool) -> str:
        """Make or complete the schema, and return the id of this spool."""
        if create:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA.read_text(encoding="utf-8"))
            self._db.execute(
                "INSERT INTO meta VALUES ('stream_id', ?) ON CONFLICT DO NOTHING", (uuid.uuid4().hex,)
            )
        found = self._db.execute("SELECT value FROM meta WHERE key = 'stream_id'").fetchone()
        if found is None:
            raise SpoolUnavailableError(f"spool {self.path} is only being made; try again")
        return str(found[0])

    @property
    def stream(self) -> str:
        """The stream's name in Delta's txn action: app id and the id of this spool file."""
        return f"{self.path.stem}/{self._stream_id}"

    @property
    def short_stream(self) -> str:
        """App id and the first digits of the spool's id, for batch ids."""
        return f"{self.path.stem}-{self._stream_id[:8]}"

    def batch_id(self, last: int) -> str:
        """Name of the micro-batch whose newest entry has this sequence; `parse_batch_id` reads it."""
        return f"{self.short_stream}-{last:012d}"

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _mapped(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def put(
        self,
        entries: Sequence[Entry],
        *,
        offered: Mapping[Key, int],
        dropped: Mapping[tuple[str, str, str], int] | None = None,
        identities: Iterable[bytes] = (),
        queue: Queue | None = None,
    ) -> None:
        """Take rows in and count them, in one synced transaction.

        Args:
            entries: What to keep.
            offered: Rows offered since the last call, by the table they were meant for; whatever was
                offered is in `entries` or in `dropped`.
            dropped: Rows given up since the last call, by (table, group, reason).
            identities: Input taken in with these rows, see `known`.
            queue: How full the app's own queue is.
        """
        now_us = time.time_ns() // 1000
        packed = [(e.table, e.group, e.origin, e.rows, now_us, pack(e.batch)) for e in entries if e.rows]
        # What is not in `offered` gets a line as well: a row that was never counted must not be invisible.
        counted = {*offered, *((e.origin, e.group) for e in entries), *(key[:2] for key in dropped or {})}
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO entries (table_name, group_key, origin_table, rows, spooled_us, payload)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                packed,
            )
            db.executemany(
                "INSERT INTO ledger (table_name, group_key, offered) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET offered = offered + excluded.offered",
                [(*key, offered.get(key, 0)) for key in sorted(counted)],
            )
            db.executemany(
                "INSERT INTO drops VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows",
                [(*key, rows) for key, rows in (dropped or {}).items()],
            )
            db.executemany("INSERT INTO identities VALUES (?)", [(identity,) for identity in identities])
            if queue is not None:
                _note(db, queue)

    def tell(self, queue: Queue) -> None:
        """Tell how full the app's own queue is, without rows: a sign of life, which is not synced to disk."""
        with _mapped(self.path):
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                _note(self._db, queue)
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    def queue(self) -> Queue | None:
        """The app's own queue as it was told last; None if it never was, or by an earlier version."""
        with _mapped(self.path):
            made = self._db.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'queue'"
            ).fetchone()
            found = (
                made and self._db.execute("SELECT waiting, highest, capacity, told_us FROM queue").fetchone()
            )
        return Queue(*found) if found else None

    def known(self, identities: Sequence[bytes]) -> set[bytes]:
        """Which of these were taken in before."""
        found: set[bytes] = set()
        with _mapped(self.path):
            for identity in identities:
                if self._db.execute("SELECT 1 FROM identities WHERE identity = ?", (identity,)).fetchone():
                    found.add(identity)
        return found

    def oldest(self, table: str) -> int | None:
        """Sequence of the first waiting entry of a table."""
        with _mapped(self.path):
            (seq,) = self._db.execute(
                "SELECT MIN(seq) FROM entries WHERE table_name = ?", (table,)
            ).fetchone()
        return None if seq is None else int(seq)

    def newest(self) -> int:
        """Sequence of the newest entry that waits, of any table; 0 if none does."""
        with _mapped(self.path):
            (seq,) = self._db.execute("SELECT COALESCE(MAX(seq), 0) FROM entries").fetchone()
        return int(seq)

    def tables(self) -> list[str]:
        """Tables that have entries waiting."""
        with _mapped(self.path):
            rows = self._db.execute("SELECT DISTINCT table_name FROM entries ORDER BY 1").fetchall()
        return [name for (name,) in rows]

    def waiting(
        self, table: str, *, after: int = 0, limit_rows: int | None = None, limit_bytes: int | None = None
    ) -> SpooledRows | None:
        """The oldest entries of a table, at least one; None if there are none.

        Args:
            table: Table name.
            after: Only entries of a higher sequence.
            limit_rows: Stop before this many rows are exceeded.
            limit_bytes: Stop before this many stored bytes are exceeded.
        """
        taken: list[pa.Table] = []
        first = last = oldest = rows = size = 0
        with _mapped(self.path):
            cursor = self._db.execute(
                "SELECT seq, rows, spooled_us, payload FROM entries"
                " WHERE table_name = ? AND seq > ? ORDER BY seq",
                (table, after),
            )
            for seq, count, spooled_us, payload in cursor:
                over_rows = limit_rows is not None and rows + count > limit_rows
                over_bytes = limit_bytes is not None and size + len(payload) > limit_bytes
                if taken and (over_rows or over_bytes):
                    break
                if not taken:
                    first, oldest = seq, spooled_us
                taken.append(unpack(payload))
                last, rows, size = seq, rows + count, size + len(payload)
            cursor.close()
        if not taken:
            return None
        return SpooledRows(
            first, last, len(taken), oldest, pa.concat_tables(taken, promote_options="default")
        )

    def entries(self, table: str) -> Iterator[tuple[int, pa.Table]]:
        """Sequence and rows of every waiting entry of a table, oldest first, as of one instant."""
        with _mapped(self.path):
            stored = self._db.execute(
                "SELECT seq, payload FROM entries WHERE table_name = ? ORDER BY seq", (table,)
            ).fetchall()
        for seq, payload in stored:
            yield seq, unpack(payload)

    def backlog(self) -> list[Backlog]:
        """What waits, by group, consistent at one instant; nothing for a group that has nothing waiting."""
        with _mapped(self.path):
            rows = self._db.execute(
                "SELECT group_key, SUM(rows), MIN(spooled_us) FROM entries GROUP BY group_key"
                " ORDER BY group_key"
            ).fetchall()
        return [Backlog(*row) for row in rows]

    def newest_rows(
        self, table: str, group: str, *, limit: int, after: int = 0
    ) -> list[tuple[int, pa.Table]]:
        """Sequence and rows of the newest waiting entries of a table and group, newest first.

        Args:
            table: Table name.
            group: Value of the second partition column.
            limit: Entries at most.
            after: Only entries of a later sequence.
        """
        with _mapped(self.path):
            stored = self._db.execute(
                "SELECT seq, payload FROM entries WHERE table_name = ? AND group_key = ? AND seq > ?"
                " ORDER BY seq DESC LIMIT ?",
                (table, group, after, limit),
            ).fetchall()
        return [(seq, unpack(payload)) for seq, payload in stored]

    def clear(self, table: str, through: int) -> int:
        """Forget entries that a Delta commit has, and count them as committed or quarantined.

        Args:
            table: Table name.
            through: Last sequence that is committed.

        Returns:
            Rows that moved.
        """
        with self._transaction() as db:
            moved = db.execute(
                "SELECT origin_table, group_key, SUM(rows) FROM entries"
                " WHERE table_name = ? AND seq <= ? GROUP BY origin_table, group_key",
                (table, through),
            ).fetchall()
            for origin, group, rows in moved:
                column = "committed" if origin == table else "quarantined"
                db.execute(
                    f"UPDATE ledger SET {column} = {column} + ? WHERE table_name = ? AND group_key = ?",
                    (rows, origin, group),
                )
            db.execute("DELETE FROM entries WHERE table_name = ? AND seq <= ?", (table, through))
        return sum(rows for _, _, rows in moved)

    def ledger(self) -> list[LedgerRow]:
        """The ledger, consistent at one instant."""
        with _mapped(self.path):
            rows = self._db.execute(
                "SELECT table_name, group_key, offered, spooled, committed, quarantined, dropped, difference"
                " FROM ledger_balance ORDER BY table_name, group_key"
            ).fetchall()
        return [LedgerRow(*row) for row in rows]

    def drops(self) -> dict[tuple[str, str, str], int]:
        """Rows given up, by (table, group, reason)."""
        with _mapped(self.path):
            rows = self._db.execute("SELECT table_name, group_key, reason, rows FROM drops").fetchall()
        return {(table, group, reason): count for table, group, reason, count in rows}

    def used_bytes(self) -> int:
        """Bytes of the file that are in use, free pages not counted."""
        with _mapped(self.path):
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)


def parse_batch_id(batch_id: str) -> tuple[str, int] | None:
    """Short stream name and last sequence of a batch, None if no spool gave it that name."""
    found = _BATCH_ID.fullmatch(batch_id)
    return (found["stream"], int(found["last"])) if found else None


def _note(db: sqlite3.Connection, queue: Queue) -> None:
    db.execute(
        "INSERT OR REPLACE INTO queue VALUES (1, ?, ?, ?, ?)",
        (queue.waiting, queue.highest, queue.capacity, queue.told_us),
    )


def _connect(database: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(
        database, timeout=30, isolation_level=None, check_same_thread=False, uri=isinstance(database, str)
    )


def pack(batch: pa.Table) -> bytes:
    """Arrow IPC stream, lz4."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_IPC) as writer:
        writer.write_table(batch.combine_chunks())
    return bytes(sink.getvalue())


def unpack(payload: bytes) -> pa.Table:
    """The table that `pack` was given."""
    with pa.ipc.open_stream(payload) as reader:
        return reader.read_all()


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SpoolUnavailableError(f"spool {path}: {error}") from error
