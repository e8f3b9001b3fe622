"""Statements from outside: each in a process of its own, with limits of time, memory, rows and number."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from lake.errors import QueryError
from lake.settings import Settings
from monitors.dashboard.memory_watch import MemoryWatch
from monitors.dashboard.sql_result import Column, Result

ROWS = 1_000
CSV_ROWS = 100_000
TIMEOUT_S = 10.0
MEMORY_MB = 512
_GRACE_S = 3.0
_SQL_CHARS = 20_000
_NOISE = re.compile(
    r"(?:\n(?:Possible solutions|Database is launched in in-memory)| Use \"SET ).*", re.DOTALL
)
"""What DuckDB advises needs settings that are locked here."""

_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "TZ")
"""The rest stays here: it may hold credentials."""


@dataclass(slots=True)
class SqlBox:
    """Runs statements of strangers over one lake; for one event loop.

    Attributes:
        settings: Of the lake.
        timeout_s: Seconds a statement may take.
        memory_mb: Megabytes that it may take, beyond what its process has before it begins.
        system_limit: Whether the system is asked to limit it as well, where it can.
    """

    settings: Settings
    timeout_s: float = TIMEOUT_S
    memory_mb: int = MEMORY_MB
    system_limit: bool = True
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _spare: subprocess.Popen[bytes] | None = None
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)

    async def run(self, sql: str) -> Result:
        """The first rows of a statement.

        Raises:
            QueryError: It failed, is none that reads, took too long or needed too much; or others wait.
        """
        started = time.perf_counter()
        answer = await self._ask(sql, "rows", ROWS)
        return Result(
            tuple(Column(**one) for one in answer["columns"]),
            tuple(tuple(row) for row in answer["rows"]),
            bool(answer["more"]),
            time.perf_counter() - started,
        )

    async def csv(self, sql: str) -> str:
        """The rows of a statement as CSV, at most `CSV_ROWS`.

        Raises:
            QueryError: As `run`; or there are more rows, which must not go unnoticed in a file.
        """
        answer = await self._ask(sql, "csv", CSV_ROWS)
        if answer["more"]:
            raise QueryError(f"there are more than {CSV_ROWS:,} rows: use 'strikelake sql --output csv'")
        return str(answer["csv"])

    def prepare(self) -> None:
        """Have a process ready, so that the first statement need not wait for its imports."""
        if self._spare is None or self._spare.poll() is not None:
            self._spare = self._start()

    def close(self) -> None:
        """End the processes."""
        for process in (*self._running, *([self._spare] if self._spare else [])):
            process.kill()
            process.communicate()

    async def _ask(self, sql: str, form: str, rows: int) -> dict[str, Any]:
        if not sql.strip():
            raise QueryError("there is no statement")
        if "\0" in sql:
            raise QueryError("a statement is text: this has a character of no text (NUL)")
        if len(sql) > _SQL_CHARS:
            raise QueryError(f"a statement may have {_SQL_CHARS:,} characters here")
        try:
            await asyncio.wait_for(self._turn.acquire(), self.timeout_s + _GRACE_S)
        except TimeoutError:
            raise QueryError("other statements are running: try again") from None
        try:
            lake = self.settings.lake
            order = {
                "root": str(lake.root.absolute()), "raw_stream": str(lake.raw_stream.absolute()),
                "timezone": lake.timezone, "sql": sql, "form": form, "rows": rows,
                "timeout_s": self.timeout_s, "memory_mb": self.memory_mb, "system_limit": self.system_limit,
            }  # fmt: skip
            return await asyncio.to_thread(self._exchange, order)
        finally:
            self._turn.release()

    def _exchange(self, order: dict[str, Any]) -> dict[str, Any]:
        process, self._spare = self._spare or self._start(), None
        if process.poll() is not None:
            process = self._start()
        self._running.add(process)
        watch = MemoryWatch(process, self.memory_mb * 1_000_000)
        watch.start()
        try:
            said, _ = process.communicate(
                json.dumps(order).encode() + b"\n", timeout=self.timeout_s + _GRACE_S
            )
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise QueryError(f"it took longer than {self.timeout_s:g} s, and was stopped") from None
        finally:
            watch.stop()
            self._running.discard(process)
            self.prepare()
        if watch.exceeded:
            raise QueryError(
                f"it needed more memory than a statement may have here ({self.memory_mb} MB), and was stopped"
            )
        try:
            answer: dict[str, Any] = json.loads(said)
        except ValueError:
            raise QueryError(
                "its process ended without an answer: it needed more memory than a statement may have here"
            ) from None
        if "error" in answer:
            told = _NOISE.sub("", str(answer["error"])).strip()
            if "INTERRUPT" in told.upper():
                told = f"it took longer than {self.timeout_s:g} s, and was stopped"
            raise QueryError(told)
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "monitors.dashboard.sql_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
        )
