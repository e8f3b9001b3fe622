"""A real writer in a process of its own, for tests that kill it: run by path, never imported.

With `--zygote` it imports everything once and forks a writer for each line on its standard input, which
costs a hundredth of starting Python; with an address it is such a writer. A writer does what its parent tells
it over a connection, one command at a time, and dies where it was told to: for this, functions are wrapped in
this process only, and everything else is the code under test.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import inspect
import io
import json
import logging
import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0

# Where a writer can be told to die: (how, where). A name that is not there any more is an error at once.
BOUNDARIES: dict[str, tuple[str, str]] = {
    "table created": ("before", "lake.table:fsync_file"),
    "tables there": ("after", "lake.table:Lake.create"),
    "spool opened": ("after", "lake.spool:Spool.__init__"),
    "drained": ("after", "ingest.worker:convert"),
    "spooling": ("statement", "INSERT INTO ledger"),
    "spool transaction ending": ("commit of", "INSERT INTO entries"),
    "spooled": ("after", "lake.spool:Spool.put"),
    "columns added": ("after", "deltalake.table:TableAlterer.add_columns"),
    "data file written": ("after", "lake.append:write_data_file"),
    "folders synced": ("before", "deltalake:DeltaTable.create_write_transaction"),
    "committed": ("after", "deltalake:DeltaTable.create_write_transaction"),
    "commit synced": ("after", "lake.append:fsync_file"),
    "log synced": ("after", "ingest.committer:append"),
    "log checkpoint written": ("after", "deltalake:DeltaTable.create_checkpoint"),
    "log checkpoint synced": ("after", "lake.append:write_log_checkpoint"),
    "mirroring": ("after", "catalog.batches:_sync_some"),
    "mirrored": ("after", "ingest.committer:sync"),
    "clearing": ("statement", "DELETE FROM entries"),
    "clear transaction ending": ("commit of", "DELETE FROM entries"),
    "cleared": ("after", "lake.spool:Spool.clear"),
}


class Death:
    """Kills this process hard at the n-th passage of a boundary, and leaves a marker that says so."""

    def __init__(self, boundary: str, occurrence: int, marker: str) -> None:
        self.boundary, self.left, self.marker = boundary, occurrence, marker
        how, where = BOUNDARIES[boundary]
        if how in ("after", "before"):
            self._wrap(where, before=how == "before")
        else:
            self._trace(where, at_commit=how == "commit of")

    def passed(self) -> None:
        self.left -= 1
        if self.left == 0:
            Path(self.marker).write_text(self.boundary, encoding="utf-8")
            os.kill(os.getpid(), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
            time.sleep(PATIENCE_S)

    def _wrap(self, where: str, *, before: bool) -> None:
        module, _, path = where.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        original = getattr(owner, name)

        def wrapped(*args: Any, **given: Any) -> Any:
            if before:
                self.passed()
            result = original(*args, **given)
            if not before and (path != "convert" or result.offered):
                self.passed()
            return result

        bound = isinstance(inspect.getattr_static(owner, name), classmethod)
        setattr(owner, name, staticmethod(wrapped) if bound else wrapped)

    def _trace(self, statement: str, *, at_commit: bool) -> None:
        """Watch the statements on each spool connection; SQLite reports one before it runs it."""
        spool: Any = importlib.import_module("lake.spool")
        connect = spool._connect

        def connected(*args: Any, **given: Any) -> Any:
            db = connect(*args, **given)
            seen = False

            def heard(text: str) -> None:
                nonlocal seen
                if text.startswith("BEGIN"):
                    seen = False
                if text.startswith(statement):
                    seen = True
                    if not at_commit:
                        self.passed()
                elif at_commit and seen and text.startswith("COMMIT"):
                    self.passed()

            db.set_trace_callback(heard)
            return db

        spool._connect = connected


class Writer:
    """The commands; each answers with something that can be pickled."""

    def __init__(self) -> None:
        self.tap: Any = None
        self.committer: Any = None
        self.acknowledged: int | None = None
        self.shim = ctypes.CDLL(None) if "LD_PRELOAD" in os.environ else None

    def die_at(self, boundary: str, occurrence: int, marker: str) -> None:
        Death(boundary, occurrence, marker)

    def checkpoint_every(self, commits: int) -> None:
        """A log checkpoint every so many commits, so that a short test has some."""
        for module in ("lake.append", "lake.table"):
            vars(importlib.import_module(module))["CHECKPOINT_INTERVAL"] = commits

    def set_clock_back(self, seconds: int) -> None:
        """From now on it is earlier, for everything in this process."""
        assert self.shim is not None
        self.shim.shim_set_clock_back(ctypes.c_long(seconds))

    def wait_for_the_catalog(self, seconds: float) -> None:
        """How long a locked catalog is waited for; so that a test need not wait as long as the app."""
        database: Any = importlib.import_module("catalog.database")
        create_engine = database.create_engine
        database.create_engine = lambda url, connect_args, **given: create_engine(
            url, connect_args=dict(connect_args, timeout=seconds), **given
        )

    def limit_micro_batches(self, rows: int) -> None:
        vars(importlib.import_module("ingest.committer"))["MICRO_BATCH_ROWS"] = rows

    def open_tap(self, **settings: Any) -> None:
        from ingest.tap import StreamTap
        from lake.settings import Settings

        self.tap = StreamTap(Settings(**settings))

    def open_committer(self, **settings: Any) -> None:
        from ingest.committer import Committer
        from lake.settings import Settings

        self.committer = Committer(Settings(**settings))

    def offer(self, *updates: dict[str, Any], wait: bool = True) -> int:
        """Offer and wait until the spool has acknowledged all; answers the updates spooled so far."""
        from ingest.events import ChainUpdate

        for update in updates:
            if "signal" in update:
                # With its chain in one update, so that all of it is spooled or none.
                self.tap.put(ChainUpdate(received_ns=time.time_ns(), **update))
            else:
                self.tap.offer(**update)
        deadline = time.monotonic() + PATIENCE_S
        wanted = self.tap.stats().offered
        while wait and self.tap.stats().spooled < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not spooled: {self.tap.stats()}")
            time.sleep(0.001)
        spooled: int = self.tap.stats().spooled
        if self.acknowledged is not None:
            os.write(self.acknowledged, b"%d\n" % spooled)
        return spooled

    def spooled(self) -> int:
        return int(self.tap.stats().spooled)

    def flush(self, timeout_s: float = PATIENCE_S) -> bool:
        return bool(self.tap.flush(timeout_s))

    def commit(self) -> tuple[dict[str, int], bool]:
        """One flush of the committer: rows by table, and whether the catalog has them."""
        result = self.committer.flush()
        return result.rows, result.mirrored

    def commit_until(self, rows: int, table: str) -> None:
        """Flush until so many rows of a table were committed by this process."""
        done = 0
        while done < rows:
            done += self.committer.flush().rows.get(table, 0)

    def close(self) -> bool:
        if self.committer is not None:
            self.committer.close()
        return bool(self.tap.close()) if self.tap is not None else True

    def command_line(self, *arguments: str) -> tuple[int, str, str]:
        """`strikelake ...` within this process: exit code, standard output and error."""
        from lake import cli

        out, err = io.StringIO(), io.StringIO()
        sys.argv = ["strikelake", *arguments]
        code: Any = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
        return int(code), out.getvalue(), err.getvalue()

    def watch(self, folder: str) -> None:
        assert self.shim is not None
        self.shim.shim_watch(folder.encode())

    def keep_journal(self, path: str, acknowledged: str) -> None:
        """Note every call that changes something, and each acknowledgement between them."""
        assert self.shim is not None
        assert self.shim.shim_journal(path.encode()) == 0
        self.acknowledged = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def fail(self, kinds: int, error: int, pattern: str, skip: int = 0, times: int = -1) -> None:
        assert self.shim is not None
        self.shim.shim_fail(kinds, error, pattern.encode(), skip, times)

    def heal(self) -> int:
        assert self.shim is not None
        return int(self.shim.shim_heal())


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname} {super().format(record)} {getattr(record, 'error', '')}"


def serve(address: str, key: str, log: str) -> None:
    """Do what the parent says until it hangs up."""
    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(_Line())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    writer = Writer()
    with Client(address, authkey=bytes.fromhex(key)) as parent:
        while True:
            try:
                name, args, given = parent.recv()
            except EOFError:
                return
            answer: tuple[str, Any]
            try:
                answer = ("done", getattr(writer, name)(*args, **given))
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent wants to know
                answer = (type(error).__name__, f"{error}\n{traceback.format_exc()}")
            parent.send(answer)


def zygote() -> None:
    """Fork a writer for each order to start one; answer orders to wait with an exit code, or null."""
    import_everything()
    gc.freeze()  # a collection in a child would copy every page it shares
    for line in sys.stdin:
        order = json.loads(line)
        answer: int | None = None
        if "start" in order:
            answer = os.fork()
            if answer == 0:
                _child(*order["start"])
        else:
            deadline = time.monotonic() + order["patience_s"]
            while answer is None and time.monotonic() < deadline:
                ended, status = os.waitpid(order["wait"], os.WNOHANG)
                if ended:
                    answer = os.waitstatus_to_exitcode(status)
                else:
                    time.sleep(0.002)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _child(address: str, key: str, log: str) -> None:
    code = 1
    try:
        # The standard streams are the zygote's talk with the parent.
        for stream, file in ((0, os.devnull), (1, log), (2, log)):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), stream)
        serve(address, key, log)
        code = 0
    except BaseException:  # noqa: BLE001 - the zygote's own code must never go on in a child
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def import_everything() -> None:
    """All that a writer imports; none of it starts a thread that a fork would lose."""
    import numpy as np
    import pyarrow as pa

    for name in ("ingest.worker", "ingest.cli", "lake.cli", "alembic.command", "catalog.database"):
        importlib.import_module(name)
    # The first array makes pyarrow import pandas.
    pa.array(np.zeros(1))


if __name__ == "__main__":
    if sys.argv[1] == "--zygote":
        zygote()
    else:
        serve(*sys.argv[1:4])
