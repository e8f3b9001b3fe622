"""What the durability tests share: writers in processes of their own, and looks at a lake from outside.

A lake is looked at with deltalake, pyarrow and `sqlite3`, not through the code under test.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ingest.committer import Committer
from ingest.events import ChainUpdate
from ingest.tap import StreamTap
from lake.settings import Settings

HERE = Path(__file__).parent
PATIENCE_S = 120.0
KILLED = signal.SIGTERM if sys.platform == "win32" else -signal.SIGKILL
"""Exit code of a process that was killed hard; TerminateProcess takes the number it is given."""

TABLES = {
    "option_chain": "raw_stream",
    "ml_features": "raw_stream",
    "quarantine": "raw_stream",
    "signals": "derived",
}
"""Every table of what was offered, and the folder it is in."""

FOLDERS = TABLES | {
    "feed_quality": "derived",
    "candles": "raw_stream",
    "quarantine_retries": "raw_stream",
}
"""With the tables of what was said of them, and of what became of them, and the one only recordings fill."""

NUMBERED_BY = {
    "option_chain": "strike", "ml_features": "number", "quarantine": "payload", "signals": "top_features"
}  # fmt: skip
LEGS = 3
EXPIRY = "2026-12-29"


class WriterDiedError(Exception):
    """The writer hung up instead of answering."""


class WriterError(Exception):
    """A command raised in the writer; the message begins with the name of the error."""


class Zygote:
    """Starts writers: by fork where there is one, else each as a new Python."""

    def __init__(self, *, preload: Path | None = None) -> None:
        self._environment = dict(os.environ, PYTHONPATH=str(HERE.parents[1]))
        if preload is not None:
            self._environment["LD_PRELOAD"] = str(preload)
        self._process: subprocess.Popen[str] | None = None
        self._spawned: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, address: str, key: str, log: Path) -> int:
        """Process id of a new writer, which will connect to the address."""
        if not hasattr(os, "fork"):
            command = [sys.executable, str(HERE / "writer.py"), address, key, str(log)]
            one = subprocess.Popen(command, env=self._environment)
            self._spawned[one.pid] = one
            return one.pid
        pid = self._ask({"start": [address, key, str(log)]})
        assert isinstance(pid, int)
        return pid

    def wait(self, pid: int) -> int:
        """Exit code of a writer, once it has ended."""
        if pid in self._spawned:
            return self._spawned.pop(pid).wait(PATIENCE_S)
        code = self._ask({"wait": pid, "patience_s": PATIENCE_S})
        if code is None:
            pytest.fail(f"the writer did not end in {PATIENCE_S:.0f} s")
        return code

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait(PATIENCE_S)
            self._process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> int | None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "writer.py"), "--zygote"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


class Writer:
    """One writer process. Calling it runs one of the commands of `writer.py` there."""

    def __init__(self, zygote: Zygote, log: Path) -> None:
        self.log = log
        self._zygote = zygote
        key = secrets.token_hex(16)
        with Listener(authkey=bytes.fromhex(key)) as listener:
            self.pid = zygote.start(str(listener.address), key, log)
            self._connection: Connection[Any, Any] | None = listener.accept()
        self.code: int | None = None

    def __call__(self, command: str, *args: Any, **given: Any) -> Any:
        """Run a command and answer with what it returned.

        Raises:
            WriterDiedError: The process ended meanwhile; its exit code is in `code`.
            WriterError: The command raised.
        """
        assert self._connection is not None
        try:
            self._connection.send((command, args, given))
            if not self._connection.poll(PATIENCE_S):
                self.kill()
                pytest.fail(f"the writer did not answer {command} in {PATIENCE_S:.0f} s")
            outcome, value = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            self.end()
            raise WriterDiedError(f"exit code {self.code}; its log:\n{self.log_text()}") from error
        if outcome != "done":
            raise WriterError(f"{outcome}: {value}")
        return value

    def send(self, command: str, *args: Any, **given: Any) -> None:
        """Let it run a command without waiting for the answer; `answer` fetches that."""
        assert self._connection is not None
        self._connection.send((command, args, given))

    def answer(self) -> Any:
        """What the command of the last `send` returned."""
        assert self._connection is not None
        if not self._connection.poll(PATIENCE_S):
            pytest.fail(f"the writer did not answer in {PATIENCE_S:.0f} s")
        outcome, value = self._connection.recv()
        if outcome != "done":
            raise WriterError(f"{outcome}: {value}")
        return value

    def kill(self) -> None:
        """From outside, as the system would."""
        os.kill(self.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        self.end()

    def end(self) -> int:
        """Hang up and wait for its end."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self.code = self._zygote.wait(self.pid)
        assert self.code is not None
        return self.code

    def wait_for_log(self, pattern: str) -> None:
        """Until a line says it."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.log_text()):
            if time.monotonic() > deadline:
                pytest.fail(f"the log never said {pattern!r}:\n{self.log_text()}")
            time.sleep(0.01)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""


@dataclass
class Case:
    """One lake, the writers on it, and what they were told."""

    folder: Path
    features: bool = False
    rejects: bool = False
    signals: bool = False
    app_id: str = "live"
    day: str | None = "2026-11-20"
    offered: int = 0
    acknowledged: list[int] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "lake"

    def settings(self, **more: Any) -> dict[str, Any]:
        """For a writer that commits only when asked to."""
        return {"root": self.root, "app_id": self.app_id, "raw_stream_flush_seconds": 3600.0,
                "raw_stream_spool_seconds": 0.002, **more}  # fmt: skip

    def next_update(self) -> dict[str, Any]:
        """Arguments of `StreamTap.offer`; rows of different updates differ, exchanges take turns."""
        number = self.offered
        self.offered += 1
        return update(number, self.day, features=self.features, rejects=self.rejects, signals=self.signals)

    def offer(self, writer: Writer, updates: int = 1) -> None:
        """Offer one by one; what the writer acknowledged is noted before the next."""
        for _ in range(updates):
            writer("offer", self.next_update())
            self.acknowledged.append(self.offered - 1)

    def finish(self) -> None:
        """The next start of the real tap and committer, in this process; one more update comes in."""
        tap = StreamTap(Settings(**self.settings(committer="process")))
        committer = None
        try:
            committer = Committer(Settings(**self.settings()))
            committer.flush()
            tap.put(ChainUpdate(received_ns=time.time_ns(), **self.next_update()))
            assert tap.flush(PATIENCE_S)
            committer.flush()
            self.acknowledged.append(self.offered - 1)
        finally:
            tap.close(PATIENCE_S)
            if committer is not None:
                committer.close()

    def check(self, sure: Iterable[int] | None = None, *, possible: int | None = None) -> None:
        """Every acknowledged row exactly once, no row twice, all books balanced.

        Args:
            sure: Numbers of the updates that must be there; those acknowledged by default.
            possible: How many updates there may be at most; those offered by default.
        """
        sure = self.acknowledged if sure is None else sure
        found = rows_by_table(self.root)
        content = {"features": self.features, "rejects": self.rejects, "signals": self.signals}
        wanted = expected_rows(sure, **content)
        possible_rows = expected_rows(range(self.offered if possible is None else possible), **content)
        for table in TABLES:
            missing = wanted[table] - found[table]
            assert not missing, f"{table}: acknowledged and lost: {sorted(missing)[:5]}"
            assert max(found[table].values(), default=1) == 1, f"{table}: rows are there twice"
            strange = found[table] - possible_rows[table]
            assert not strange, f"{table}: never offered: {sorted(strange)[:5]}"
        check_ledger(self.root, found, [self.app_id])
        check_catalog(self.root)


def update(
    number: int,
    day: str | None = "2026-11-20",
    *,
    features: bool = False,
    rejects: bool = False,
    signals: bool = False,
) -> dict[str, Any]:
    exchange, symbol = (("NSE", "NIFTY"), ("BSE", "SENSEX"))[number % 2]
    legs = [{"strike": float(100 * number + leg + 1), "ltp": 1.5, "oi": 75} for leg in range(LEGS)]
    if rejects:
        legs.append({"strike": -1.0 - number, "ltp": 1.5})
    given = {"exchange": exchange, "symbol": symbol, "calls": legs, "puts": [], "expiry": EXPIRY,
             "event_time": day and f"{day}T10:00:00+05:30"}  # fmt: skip
    if features:
        # A new column now and then, so that commits of columns are among those that are cut off.
        given["features"] = {"number": float(number), f"feature_{number % 1000 // 4}": 1.0}
    if signals:
        given["signal"] = {
            "signal": "BUY",
            "confidence": 0.5,
            "model_version": "v1",
            "narrative": str(number),
            "probabilities": {"BUY": 0.5, "HOLD": 0.25, "SELL": 0.25},
            "top_features": [{"name": "vix", "value": float(number)}],
        }
    return given


def expected_rows(
    numbers: Iterable[int], *, features: bool, rejects: bool, signals: bool = False
) -> dict[str, Counter[float]]:
    numbers = list(numbers)
    return {
        "option_chain": Counter(float(100 * n + leg + 1) for n in numbers for leg in range(LEGS)),
        "ml_features": Counter(float(n) for n in numbers if features),
        "quarantine": Counter(-1.0 - n for n in numbers if rejects),
        "signals": Counter(float(n) for n in numbers if signals),
    }


def rows_by_table(root: Path) -> dict[str, Counter[float]]:
    """The number that tells each row of a table from the others, and how often it is there."""
    found: dict[str, Counter[float]] = {}
    for table, column in NUMBERED_BY.items():
        values: Counter[float] = Counter()
        for file in active_files(root, table):
            for value in pq.read_table(file, columns=[column], partitioning=None).column(0).to_pylist():
                if table == "quarantine":
                    values[json.loads(value)["strike"]] += 1
                else:
                    values[float(value[0]["value"]) if table == "signals" else value] += 1
        found[table] = values
    return found


def active_files(root: Path, table: str) -> dict[Path, int]:
    """The files of a table's newest version, and the rows that the log says they have."""
    folder = root / FOLDERS[table] / table
    actions = DeltaTable(str(folder)).get_add_actions()
    paths, rows = actions.column("path").to_pylist(), actions.column("num_records").to_pylist()
    return {folder / path: count for path, count in zip(paths, rows, strict=True)}


def check_ledger(root: Path, found: dict[str, Counter[float]], app_ids: Iterable[str]) -> None:
    """The ledgers of all spools balance, nothing waits, and they agree with the tables."""
    committed: Counter[str] = Counter()
    for app_id in app_ids:
        with closing(sqlite3.connect(root / "spool" / f"{app_id}.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("SELECT COUNT(*) FROM entries").fetchone() == (0,)
            for table, offered, spooled, kept, quarantined, dropped, difference in db.execute(
                "SELECT table_name, offered, spooled, committed, quarantined, dropped, difference"
                " FROM ledger_balance"
            ):
                assert (spooled, dropped, difference) == (0, 0, 0)
                assert offered == kept + quarantined
                committed[table] += kept
                committed["quarantine"] += quarantined
    counts = [
        pq.read_table(file, partitioning=None).to_pylist() for file in active_files(root, "feed_quality")
    ]
    judged = [row for rows in counts for row in rows]
    assert committed.pop("feed_quality") == len(judged)
    assert +committed == +Counter({table: values.total() for table, values in found.items()})
    # Rows and what was said of them are spooled together, so neither is ever there without the other.
    assert sum(r["rows_seen"] for r in judged if r["detector"] == "seen") == found["option_chain"].total()


def check_catalog(root: Path) -> None:
    """`ml_feature_batches` has each active file once, with its rows and checksum, and nothing else."""
    with closing(sqlite3.connect(root / "catalog.db")) as db:
        recorded = db.execute(
            "SELECT parquet_path, record_count, checksum FROM ml_feature_batches"
        ).fetchall()
    assert sorted(recorded) == sorted(
        (file.relative_to(root).as_posix(), rows, hashlib.sha256(file.read_bytes()).hexdigest())
        for table in FOLDERS
        for file, rows in active_files(root, table).items()
    )


class Workshop:
    """Cases in a temporary folder, and writers that are surely gone at the end of a test."""

    def __init__(self, folder: Path, zygote: Zygote, *, watched: bool = False) -> None:
        self._folder, self._zygote, self._watched = folder.resolve(), zygote, watched
        self._writers: list[Writer] = []
        self._cases = 0

    def case(self, **more: Any) -> Case:
        self._cases += 1
        folder = self._folder / str(self._cases)
        folder.mkdir()
        return Case(folder, **more)

    def writer(self, case: Case) -> Writer:
        log = self._folder / f"writer-{len(self._writers)}.log"
        one = Writer(self._zygote, log)
        self._writers.append(one)
        if self._watched:
            one("watch", str(case.folder))
        return one

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *raised: object) -> None:
        for writer in self._writers:
            if writer.code is None:
                writer.kill()


def capture(case: Case, tap: Writer, committer: Writer | None = None) -> None:
    """Open, offer and commit again and again, until a writer dies; without a committer the tap commits."""
    tap("open_tap", **case.settings(committer="thread" if committer is None else "process"))
    if committer is not None:
        committer("open_committer", **case.settings())
    for _ in range(8):
        case.offer(tap, 2)
        if committer is None:
            tap("flush")
        else:
            committer("commit")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: thousands of syncs take minutes on a busy disk, and prove nothing here.

    A killed process leaves its files to the system all the same, and power cuts are worked out on paper.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 50_000_000:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="strikelake-", dir=memory, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    one = Zygote()
    yield one
    one.close()


@pytest.fixture
def workshop(tmp_path: Path, zygote: Zygote) -> Iterator[Workshop]:
    with Workshop(tmp_path, zygote) as one:
        yield one


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`disk_shim.c`, compiled; where that cannot be, tests are skipped, but never in CI."""
    why = "" if shutil.which("cc") else "there is no C compiler (cc)"
    if sys.platform != "linux":
        why = "LD_PRELOAD and /proc are Linux's"
    if why:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the disk shim must be tested in CI, but {why}")
        pytest.skip(why)
    library = tmp_path_factory.mktemp("shim") / "disk_shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library)]
    subprocess.run([*command, str(HERE / "disk_shim.c"), "-ldl", "-lpthread"], check=True)
    return library


@pytest.fixture(scope="session")
def shim_workshops(shim_library: Path) -> Iterator[Callable[[Path], Workshop]]:
    """Makes workshops whose writers run under the disk shim."""
    zygote = Zygote(preload=shim_library)
    yield lambda folder: Workshop(folder, zygote, watched=True)
    zygote.close()


@pytest.fixture
def faulty(tmp_path: Path, shim_workshops: Callable[[Path], Workshop]) -> Iterator[Workshop]:
    """A workshop whose writers run under the disk shim."""
    with shim_workshops(tmp_path) as one:
        yield one
