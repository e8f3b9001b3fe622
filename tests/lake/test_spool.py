"""The durable queue: nothing lost, nothing doubled, and a ledger that balances at every instant."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lake.errors import SpoolUnavailableError
from lake.spool import Entry, LedgerRow, Queue, Spool, pack, unpack

TABLES = ("readings", "events")
REJECTED = "quarantine"
GROUPS = ("A", "B")


def rows_of(count: int, start: int = 0) -> pa.Table:
    return pa.table({"n": pa.array(range(start, start + count), pa.int64())})


def entry(
    count: int, start: int = 0, *, table: str = "readings", group: str = "A", origin: str = ""
) -> Entry:
    return Entry(table, group, origin or table, rows_of(count, start))


def offered_by(entries: list[Entry]) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for one in entries:
        counts[one.origin, one.group] += one.rows
    return dict(counts)


def put(spool: Spool, *entries: Entry, **more: Any) -> None:
    spool.put(list(entries), offered=offered_by(list(entries)), **more)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool" / "app.db")
    yield spool
    spool.close()


def test_rows_come_back_in_the_order_they_were_put(spool: Spool) -> None:
    put(spool, entry(2, 0), entry(3, 10))
    put(spool, entry(1, 20, table="events"), entry(1, 30))

    assert spool.tables() == ["events", "readings"]
    assert [(seq, rows["n"].to_pylist()) for seq, rows in spool.entries("readings")] == [
        (1, [0, 1]),
        (2, [10, 11, 12]),
        (4, [30]),
    ]
    waiting = spool.waiting("readings")
    assert waiting is not None
    assert (waiting.first, waiting.last, waiting.entries) == (1, 4, 3)
    assert waiting.rows["n"].to_pylist() == [0, 1, 10, 11, 12, 30]
    assert abs(waiting.oldest_us / 1e6 - time.time()) < 30


def test_an_empty_queue_has_nothing_waiting(spool: Spool) -> None:
    assert spool.waiting("readings") is None
    assert spool.tables() == []
    assert list(spool.entries("readings")) == []
    assert spool.ledger() == []


@pytest.mark.parametrize(
    ("limits", "taken"),
    [
        ({}, [1, 2, 3]),
        ({"limit_rows": 6}, [1, 2, 3]),
        ({"limit_rows": 5}, [1, 2]),
        ({"limit_rows": 4}, [1, 2]),
        ({"limit_rows": 1}, [1]),
        ({"limit_bytes": 1}, [1]),
        ({"after": 1}, [2, 3]),
        ({"after": 1, "limit_rows": 3}, [2]),
        ({"after": 3}, []),
    ],
)
def test_whole_entries_are_taken_up_to_the_limits_and_always_at_least_one(
    spool: Spool, limits: dict[str, int], taken: list[int]
) -> None:
    put(spool, entry(2), entry(2), entry(2))

    waiting = spool.waiting("readings", **limits)

    assert ([] if waiting is None else list(range(waiting.first, waiting.last + 1))) == taken


def test_bytes_are_counted_as_they_are_stored(spool: Spool) -> None:
    put(spool, entry(500), entry(500))
    size = len(pack(rows_of(500)))

    both, one = (spool.waiting("readings", limit_bytes=limit) for limit in (2 * size, 2 * size - 1))

    assert both is not None
    assert one is not None
    assert (both.entries, one.entries) == (2, 1)


def test_columns_that_some_entries_lack_are_null_there(spool: Spool) -> None:
    wider = pa.table({"n": [5], "x": [0.5]})
    spool.put([entry(1), Entry("readings", "A", "readings", wider)], offered={("readings", "A"): 2})

    waiting = spool.waiting("readings")

    assert waiting is not None
    assert waiting.rows.to_pylist() == [{"n": 0, "x": None}, {"n": 5, "x": 0.5}]


def test_packing_keeps_types_chunks_and_no_rows_at_all() -> None:
    table = pa.concat_tables([rows_of(2), rows_of(0), rows_of(3, 9)])
    assert unpack(pack(table)).equals(table.combine_chunks())
    assert unpack(pack(rows_of(0))).schema == rows_of(0).schema


def test_entries_without_rows_are_not_kept_but_what_was_dropped_is_counted(spool: Spool) -> None:
    spool.put([entry(0)], offered={("readings", "A"): 4}, dropped={("readings", "A", "queue_full"): 4})
    spool.put([], offered={("readings", "A"): 1}, dropped={("readings", "A", "queue_full"): 1})

    assert spool.tables() == []
    assert spool.drops() == {("readings", "A", "queue_full"): 5}
    assert spool.ledger() == [LedgerRow("readings", "A", 5, 0, 0, 0, 5, 0)]


def test_cleared_rows_are_committed_or_where_they_came_from_elsewhere_quarantined(spool: Spool) -> None:
    put(spool, entry(5), entry(2, table=REJECTED, origin="readings"), entry(3, group="B"))

    assert spool.clear("readings", 3) == 8
    assert spool.clear(REJECTED, 99) == 2
    assert spool.clear("readings", 99) == 0

    assert spool.ledger() == [
        LedgerRow("readings", "A", offered=7, spooled=0, committed=5, quarantined=2, dropped=0, difference=0),
        LedgerRow("readings", "B", offered=3, spooled=0, committed=3, quarantined=0, dropped=0, difference=0),
    ]


def test_clearing_leaves_later_entries_and_other_tables(spool: Spool) -> None:
    put(spool, entry(1), entry(1, table="events"), entry(1))

    assert spool.clear("readings", 2) == 1

    assert [seq for seq, _ in spool.entries("readings")] == [3]
    assert [seq for seq, _ in spool.entries("events")] == [2]


def test_a_row_that_nobody_counted_as_offered_shows_as_a_difference(spool: Spool) -> None:
    spool.put([entry(3)], offered={}, dropped={("events", "B", "queue_full"): 2})

    assert {(row.table, row.group): row.difference for row in spool.ledger()} == {
        ("readings", "A"): -3,
        ("events", "B"): -2,
    }


def test_sequences_are_never_given_out_again_even_once_all_is_cleared_and_reopened(tmp_path: Path) -> None:
    given_out: list[int] = []
    for _ in range(3):
        spool = Spool(tmp_path / "app.db")
        put(spool, entry(1), entry(1))
        given_out += [seq for seq, _ in spool.entries("readings")]
        spool.clear("readings", given_out[-1])
        spool.close()

    assert given_out == [1, 2, 3, 4, 5, 6]


def test_a_reopened_file_is_the_same_stream_and_a_new_file_of_that_name_is_another(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    streams = []
    for reopen in (False, True, False):
        if not reopen:
            for file in tmp_path.glob("live.db*"):
                file.unlink()
        spool = Spool(path)
        streams.append((spool.stream, spool.short_stream))
        spool.close()

    assert streams[0] == streams[1]
    assert streams[2] != streams[0]
    assert all(stream.startswith("live/") and short.startswith("live-") for stream, short in streams)


def test_identities_taken_in_are_known_and_a_repeated_one_takes_nothing_in(spool: Spool) -> None:
    put(spool, entry(1), identities=[b"one", b"two"])

    assert spool.known([b"two", b"three"]) == {b"two"}
    with pytest.raises(SpoolUnavailableError, match="identit"):
        put(spool, entry(5), identities=[b"three", b"one"])
    assert spool.known([b"three"]) == set()
    assert spool.ledger() == [LedgerRow("readings", "A", 1, 1, 0, 0, 0, 0)]


def test_a_second_connection_sees_whole_puts_and_its_clearing_is_seen_by_the_first(spool: Spool) -> None:
    other = Spool(spool.path)
    assert other.stream == spool.stream
    put(spool, entry(4))
    assert other.ledger() == spool.ledger()

    assert other.clear("readings", 1) == 4

    assert spool.waiting("readings") is None
    assert spool.ledger() == [LedgerRow("readings", "A", 4, 0, 4, 0, 0, 0)]
    other.close()


def test_the_backlog_tells_rows_and_age_by_group_and_nothing_of_groups_without_any(spool: Spool) -> None:
    assert spool.backlog() == []
    before_us = time.time_ns() // 1000
    entries = [entry(3), entry(2, 3, table="events"), entry(4, group="B")]
    spool.put(entries, offered=offered_by(entries))
    spool.put([entry(1, 9)], offered={("readings", "A"): 1})
    a, b = spool.backlog()
    assert [(one.group, one.rows) for one in (a, b)] == [("A", 6), ("B", 4)]
    assert before_us <= a.oldest_us <= time.time_ns() // 1000
    spool.clear("readings", spool.newest())
    assert [(one.group, one.rows) for one in spool.backlog()] == [("A", 2)]


def test_the_newest_rows_of_a_group_come_newest_entry_first(spool: Spool) -> None:
    entries = [entry(2, 0), entry(2, 10, group="B"), entry(2, 20), entry(2, 30, table="events"), entry(2, 40)]
    spool.put(entries, offered=offered_by(entries))
    newest = spool.newest_rows("readings", "A", limit=2)
    assert [(seq, rows.column("n").to_pylist()) for seq, rows in newest] == [(5, [40, 41]), (3, [20, 21])]
    later = spool.newest_rows("readings", "A", limit=2, after=3)
    assert [seq for seq, _ in later] == [5]
    assert spool.newest_rows("readings", "C", limit=2) == []


def test_a_queue_is_told_with_rows_and_without_and_is_not_known_before(spool: Spool) -> None:
    assert spool.queue() is None
    first, second = Queue(3, 9, 100, 5_000), Queue(0, 4, 100, 6_000)
    spool.put([entry(2)], offered={("readings", "A"): 2}, queue=first)
    assert spool.queue() == first
    spool.tell(second)
    assert spool.queue() == second
    spool.put([entry(2)], offered={("readings", "A"): 2})
    assert spool.queue() == second
    db = sqlite3.connect(spool.path, isolation_level=None)
    assert db.execute("SELECT count(*) FROM queue").fetchone() == (1,)
    db.execute("DROP TABLE queue")  # a spool of an earlier version
    db.close()
    looking = Spool(spool.path, read_only=True)
    assert looking.queue() is None
    looking.close()
    reopened = Spool(spool.path)
    reopened.tell(first)
    assert reopened.queue() == first
    reopened.close()


def test_rows_put_beside_a_sign_of_life_are_synced(spool: Spool) -> None:
    spool.tell(Queue(0, 0, 100, 1))
    assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_bytes_in_use_fall_once_entries_are_cleared(spool: Spool) -> None:
    empty = spool.used_bytes()
    put(spool, *[entry(20_000, 20_000 * n) for n in range(10)])
    full = spool.used_bytes()
    spool.clear("readings", 10)

    assert full > empty + 100_000
    assert spool.used_bytes() < empty + 20_000


def test_a_locked_file_is_unavailable_and_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.05}))
    spool = Spool(tmp_path / "app.db")
    put(spool, entry(1))
    other = connect(tmp_path / "app.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    for change in (lambda: put(spool, entry(2)), lambda: spool.clear("readings", 1)):
        with pytest.raises(SpoolUnavailableError, match=r"app\.db.*locked"):
            change()
    other.execute("ROLLBACK")
    other.close()

    assert spool.ledger() == [LedgerRow("readings", "A", 1, 1, 0, 0, 0, 0)]
    put(spool, entry(2))
    assert spool.ledger()[0].spooled == 3
    spool.close()


@pytest.mark.parametrize("content", [b"this is no database, but a text file of some length\n" * 200])
def test_a_file_that_is_no_spool_is_unavailable_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(content)

    with pytest.raises(SpoolUnavailableError, match=r"app\.db"):
        Spool(path)

    assert path.read_bytes() == content


_CHILD = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from lake.errors import SpoolUnavailableError
from lake.spool import Entry, Spool

mode, path = sys.argv[1], Path(sys.argv[2])
spool = Spool(path)
rows = pa.table({"n": pa.array(range(1000), pa.int64())})
if mode == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
puts = 0
print("ready", flush=True)
try:
    while True:
        entries = [Entry("readings", group, "readings", rows) for group in "AB"]
        spool.put(entries, offered={("readings", "A"): 1003, ("readings", "B"): 1000},
                  dropped={("readings", "A", "queue_full"): 3}, identities=[puts.to_bytes(8, "big")])
        puts += 1
        if mode == "kill":
            print(puts, flush=True)
except SpoolUnavailableError as error:
    assert all(row.difference == 0 for row in spool.ledger())
    print(puts, error)
"""


def start_child(mode: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, mode, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def check_whole_puts(path: Path, acknowledged: int) -> None:
    """Every put that returned is there, at most one more is, and none is there in part."""
    spool = Spool(path)
    entries = list(spool.entries("readings"))
    puts, rest = divmod(len(entries), 2)
    assert rest == 0
    assert puts in {acknowledged, acknowledged + 1}
    assert all(rows.num_rows == 1000 for _, rows in entries)
    assert spool.known([n.to_bytes(8, "big") for n in range(puts + 1)]) == {
        n.to_bytes(8, "big") for n in range(puts)
    }
    assert spool.ledger() == [
        LedgerRow("readings", "A", 1003 * puts, 1000 * puts, 0, 0, 3 * puts, 0),
        LedgerRow("readings", "B", 1000 * puts, 1000 * puts, 0, 0, 0, 0),
    ]
    spool.close()


@pytest.mark.parametrize("wait_s", [0.0, 0.013, 0.05])
def test_a_process_killed_while_it_puts_leaves_whole_puts_only(tmp_path: Path, wait_s: float) -> None:
    path = tmp_path / "app.db"
    with start_child("kill", path) as child:
        assert child.stdout is not None
        for _ in range(3):
            child.stdout.readline()
        time.sleep(wait_s)
        child.kill()
        acknowledged = 2 + sum(1 for line in child.stdout if line.endswith("\n"))

    check_whole_puts(path, acknowledged)


@pytest.mark.skipif(sys.platform == "win32", reason="sets a POSIX limit on file size")
def test_a_full_disk_is_unavailable_and_what_was_put_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with start_child("full", path) as child:
        output, _ = child.communicate(timeout=60)

    puts, _, message = output.removeprefix("ready\n").partition(" ")
    assert int(puts) > 5
    assert f"spool {path}" in message
    check_whole_puts(path, int(puts))


class SpoolMachine(RuleBasedStateMachine):
    """Random puts, clears and reopenings against a model in plain Python."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self.folder.name) / "app.db")
        self.queue: list[tuple[int, str, str, str, int]] = []
        self.sequence = 0
        self.counts: dict[str, Counter[tuple[str, str]]] = {
            kind: Counter() for kind in ("offered", "committed", "quarantined", "dropped")
        }

    @rule(
        parts=st.lists(
            st.tuples(
                st.sampled_from([*TABLES, REJECTED]), st.sampled_from(GROUPS), st.sampled_from(TABLES),
                st.integers(0, 3),
            ),
            max_size=3,
        ),
        drops=st.dictionaries(
            st.tuples(st.sampled_from(TABLES), st.sampled_from(GROUPS), st.sampled_from(["full", "bad"])),
            st.integers(1, 5),
            max_size=2,
        ),
    )  # fmt: skip
    def put(self, parts: list[tuple[str, str, str, int]], drops: dict[tuple[str, str, str], int]) -> None:
        entries = [
            entry(count, table=table, group=group, origin=origin if table == REJECTED else table)
            for table, group, origin, count in parts
        ]
        offered = Counter(offered_by(entries))
        for (table, group, _), count in drops.items():
            offered[table, group] += count
            self.counts["dropped"][table, group] += count
        self.spool.put(entries, offered=offered, dropped=drops)
        self.counts["offered"].update(offered)
        for one in entries:
            if one.rows:
                self.sequence += 1
                self.queue.append((self.sequence, one.table, one.group, one.origin, one.rows))

    @rule(table=st.sampled_from([*TABLES, REJECTED]), back=st.integers(0, 3))
    def clear(self, table: str, back: int) -> None:
        through = self.sequence - back
        gone = [one for one in self.queue if one[1] == table and one[0] <= through]
        self.queue = [one for one in self.queue if one not in gone]
        for _, _, group, origin, count in gone:
            self.counts["committed" if origin == table else "quarantined"][origin, group] += count
        assert self.spool.clear(table, through) == sum(one[4] for one in gone)

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.spool = Spool(Path(self.folder.name) / "app.db")

    @invariant()
    def the_ledger_equals_the_model_and_balances(self) -> None:
        spooled: Counter[tuple[str, str]] = Counter()
        for _, _, group, origin, count in self.queue:
            spooled[origin, group] += count
        for row in self.spool.ledger():
            key = (row.table, row.group)
            assert row.difference == 0
            assert row.spooled == spooled.pop(key, 0)
            for kind, counts in self.counts.items():
                assert getattr(row, kind) == counts[key]
        assert not +spooled
        waiting = [seq for table in (*TABLES, REJECTED) for seq, _ in self.spool.entries(table)]
        assert sorted(waiting) == [one[0] for one in self.queue]

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
            self.folder.cleanup()


TestSpoolAgainstAModel = SpoolMachine.TestCase
TestSpoolAgainstAModel.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
