"""Whatever happens in whatever order: the table is what was acknowledged, and all books agree.

Crashes are raised here, at the steps where test_crash_matrix.py kills processes: what is new is the order.
"""

from __future__ import annotations

import gzip
import importlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from catalog.batches import rebuild, sync
from catalog.contracts import CAPTURED
from catalog.database import open_database
from catalog.doctor import examine
from catalog.doctor_repairs import repair
from catalog.reference import ReferenceData
from catalog.upkeep import SPECS
from ingest.committer import Committer
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.feed_quality import FeedQuality
from lake.append import write_log_checkpoint
from lake.log_recovery import recover_log
from lake.maintenance import maintain
from lake.settings import Settings
from lake.spool import Spool
from lake.table import Lake
from tests.durability.conftest import FOLDERS, TABLES, expected_rows, rows_by_table, update

STEPS = [
    "deltalake:DeltaTable.create_write_transaction",
    "deltalake.table:TableAlterer.add_columns",
    "ingest.committer:append",
    "ingest.committer:sync",
    "ingest.committer:_with_batch_id",
    "lake.append:fsync_directory",
    "lake.append:fsync_file",
    "lake.append:write_data_file",
    "lake.spool:Spool.clear",
    "lake.spool:Spool.waiting",
]


def checkpoint_logs(lake: Lake) -> None:
    for path in lake.tables().values():
        write_log_checkpoint(path)


def compact_everything(lake: Lake) -> None:
    for done in maintain(lake, SPECS, lambda _: True):
        assert not done.problems


def clean_up(lake: Lake) -> None:
    """As in a month: commits leave the log, files that compaction replaced are deleted."""
    for done in maintain(lake, SPECS, lambda _: False, now=datetime.now(UTC) + timedelta(days=30)):
        assert not done.problems


def call_the_doctor(lake: Lake) -> None:
    url = f"sqlite:///{(lake.root / 'catalog.db').as_posix()}"
    findings = examine(lake, url, finished=lambda _: True)
    for finding in repair(lake, url, findings, specs=SPECS, finished=lambda _: True):
        # While the committer is open, files that a crash has just left may be about to be committed.
        assert finding.repaired or finding.kind in {"orphan_file", "spool_committed"}, finding


MAINTENANCE: dict[str, Callable[[Lake], None]] = {
    "log checkpoint": checkpoint_logs,
    "compaction": compact_everything,
    "clean-up": clean_up,
    "doctor": call_the_doctor,
}
"""What may be done to a lake at any time, by anyone, without a row changing."""


def commits_on_disk(table: Path) -> list[tuple[int, list[dict[str, Any]]]]:
    """Version and actions of every commit, of the archive and of the log."""
    found: dict[int, list[dict[str, Any]]] = {}
    for archive in sorted((table / "_strikelake").glob("commits-*.jsonl.gz")):
        for line in gzip.decompress(archive.read_bytes()).decode().split("\n"):
            if line:
                commit = json.loads(line)
                found[commit["version"]] = commit["actions"]
    for path in sorted((table / "_delta_log").glob("*.json")):
        found[int(path.stem)] = [json.loads(line) for line in path.read_text().split("\n") if line]
    assert sorted(found) == list(range(len(found))), "a version is missing"
    return sorted(found.items())


class Crash(BaseException):
    """The process ends here; nothing may catch it and go on."""


class WriterAndLake(RuleBasedStateMachine):
    """One stream into a small lake."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="strikelake-"))
        self.settings = Settings(root=self.folder / "lake", app_id="live")
        self.reference = ReferenceData.load()
        self.quality = FeedQuality(self.reference.calendar, live=True)
        self.updates: dict[int, dict[str, bool]] = {}
        self.spool = Spool(self.settings.root / "spool" / "live.db")
        self.committer: Committer | None = None
        self.all_committed = True
        self.has_catalog = False
        self.open_committer()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.spool.close()
            self.stop()
            shutil.rmtree(self.folder)

    def open_committer(self) -> Committer:
        if self.committer is None:
            self.committer = Committer(self.settings)
        return self.committer

    def stop(self) -> None:
        """What the system does for a process that ends: files are closed, and so locks released."""
        if self.committer is not None:
            self.committer.close()
            self.committer = None

    @rule(content=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=3))
    def spool_updates(self, content: list[tuple[bool, bool]]) -> None:
        given = []
        for features, rejects in content:
            number = len(self.updates)
            self.updates[number] = {"features": features, "rejects": rejects}
            made = update(number, features=features, rejects=rejects)
            given.append(ChainUpdate(received_ns=time.time_ns(), **made))
        done = convert(given, self.reference, quality=self.quality)
        self.spool.put(done.entries, offered=done.offered)
        self.all_committed = False

    @rule()
    def flush(self) -> None:
        result = self.open_committer().flush()
        assert result.mirrored
        self.all_committed = True
        self.has_catalog = self.has_catalog or bool(result.rows)
        if self.has_catalog:
            self.mirror_follows()

    @rule(step=st.sampled_from(STEPS), passage=st.integers(1, 3), done=st.booleans())
    def flush_and_crash(self, step: str, passage: int, done: bool) -> None:
        """At the n-th passage of a step, before or after it is done; a flush may well end before that."""
        committer = self.open_committer()
        module, _, path = step.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        original = getattr(owner, name)
        left = passage

        def crashing(*args: Any, **given: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not done:
                raise Crash
            result = original(*args, **given)
            if left == 0:
                raise Crash
            return result

        with mock.patch.object(owner, name, crashing):
            try:
                committer.flush()
                self.all_committed = True
            except Crash:
                self.stop()

    @rule()
    def restart(self) -> None:
        self.stop()
        self.open_committer()

    @rule(kind=st.sampled_from(sorted(MAINTENANCE)))
    def look_after(self, kind: str) -> None:
        MAINTENANCE[kind](self.settings.lake)
        self.has_catalog = self.has_catalog or kind == "doctor"

    @rule(table=st.sampled_from(list(TABLES)), left=st.sampled_from([0.0, 0.5]))
    def damage_the_newest_commit(self, table: str, left: float) -> None:
        """Also of batches that the spool has forgotten: their data files are then all there is."""
        self.stop()
        newest = max((self.settings.root / TABLES[table] / table / "_delta_log").glob("*.json"))
        if int(newest.stem):
            content = newest.read_bytes()
            newest.write_bytes(content[: int(len(content) * left)])
            # Behind a log checkpoint it is in nobody's way but the mirror's, so only the doctor looks there.
            recover_log(self.settings.lake, newest.parents[1], whole=True)
            self.open_committer()
            # What was mirrored of that version may stand in another one now.
            engine = open_database(self.settings.catalog)
            rebuild(self.settings.lake, engine)
            engine.dispose()
            self.has_catalog = True

    @rule(anew=st.booleans())
    def mirror(self, anew: bool) -> None:
        """By the command, while the writer runs."""
        engine = open_database(self.settings.catalog)
        (rebuild if anew else sync)(self.settings.lake, engine)
        engine.dispose()
        self.has_catalog = True
        self.mirror_follows()

    @rule()
    def lose_the_catalog(self) -> None:
        self.stop()
        (self.settings.root / "catalog.db").unlink(missing_ok=True)
        self.has_catalog = False

    def mirror_follows(self) -> None:
        """The catalog has each batch of each log once, with the rows the log says."""
        logged = []
        for table in FOLDERS:
            folder = self.settings.root / FOLDERS[table] / table
            for version, actions in commits_on_disk(folder):
                adds = [action["add"] for action in actions if "add" in action]
                logged += [
                    (table, version, f"{FOLDERS[table]}/{table}/{add['path']}",
                     json.loads(add["stats"])["numRecords"])
                    for add in adds if add["dataChange"]
                ]  # fmt: skip
        with closing(sqlite3.connect(self.settings.root / "catalog.db")) as db:
            mirrored = db.execute(
                "SELECT table_name, table_version, parquet_path, record_count FROM ml_feature_batches"
            ).fetchall()
        assert sorted(mirrored) == sorted(logged)

    @invariant()
    def every_acknowledged_row_is_there_once(self) -> None:
        if not hasattr(self, "folder"):
            return
        wanted: dict[str, Counter[float]] = {table: Counter() for table in TABLES}
        for number, content in self.updates.items():
            for table, values in expected_rows([number], **content).items():
                wanted[table] += values
        found = rows_by_table(self.settings.root)
        for table in TABLES:
            assert max(found[table].values(), default=1) == 1, f"{table}: rows are there twice"
            spooled: set[float] = set()
            for _, rows in self.spool.entries(table):
                column = {"option_chain": "strike", "ml_features": "number", "quarantine": "payload"}[table]
                for value in rows.column(column).to_pylist():
                    spooled.add(json.loads(value)["strike"] if table == "quarantine" else value)
            assert set(found[table]) | spooled == set(wanted[table])
            if self.all_committed:
                assert not spooled

    @invariant()
    def the_ledger_balances(self) -> None:
        if not hasattr(self, "folder"):
            return
        with closing(sqlite3.connect(self.settings.root / "spool" / "live.db")) as db:
            for table, offered, difference in db.execute(
                "SELECT table_name, SUM(offered), SUM(ABS(difference)) FROM ledger_balance GROUP BY 1"
            ):
                assert difference == 0
                if table == "feed_quality":
                    continue
                rejects = {"option_chain": "rejects"}.get(table, "")
                assert offered == sum(
                    expected_rows([number], **content)[table].total() + content.get(rejects, False)
                    for number, content in self.updates.items()
                )


TestWriterAndLake = WriterAndLake.TestCase
TestWriterAndLake.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
assert set(FOLDERS) == set(CAPTURED)
