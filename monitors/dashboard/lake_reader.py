"""Queries of the page: in threads, with a time limit, remembered until a table has a new version."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, cast

from lake.commit_log import versions
from lake.errors import QueryError
from lake.session import Session
from lake.table import Lake

T = TypeVar("T")

Versions = tuple[tuple[str, int], ...]
"""Newest version of each table, sorted by name."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What was read.

    Attributes:
        value: The result.
        versions: Versions of the tables that it may depend on.
        read_at: When it was read, UTC.
    """

    value: T
    versions: Versions
    read_at: datetime


class LakeReader:
    """Reads one lake for any number of pages; to be used within one event loop.

    Equal reads at the same time are made once. A session is bound to the newest versions when it is opened,
    and used again until there are newer ones.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        threads: int = 2,
        timeout_s: float = 10.0,
        kept: int = 256,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            lake: The lake.
            threads: Reads that run at the same time.
            timeout_s: After this a read is interrupted.
            kept: Results that are remembered.
            clock: The moment it is.
        """
        self._lake = lake
        self._timeout_s = timeout_s
        self._kept = kept
        self._clock = clock
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="lake-reader")
        # The newest of each key: what was read of older versions is never asked for again.
        self._cache: OrderedDict[Hashable, Reading[Any]] = OrderedDict()
        self._running: dict[tuple[Hashable, Versions], asyncio.Task[Any]] = {}
        self._idle: list[tuple[Versions, Session]] = []
        self._lock = threading.Lock()

    def versions(self) -> Versions:
        """Newest version of every table, by the names of the commit files."""
        found = []
        for name, path in self._lake.tables().items():
            known = versions(path)
            found.append((name, known[-1] if known else -1))
        return tuple(found)

    async def read(
        self,
        key: Hashable,
        look: Callable[[Session], T],
        *,
        tables: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Reading[T]:
        """The result of a function of a session, remembered under a key.

        Args:
            key: Tells this read from others: the function's name and every value that it depends on.
            look: Reads; runs in a thread of the reader.
            tables: What it depends on; every table by default.
            timeout_s: Instead of the reader's limit.

        Raises:
            QueryError: It took too long and was stopped, or a statement failed.
            StrikelakeError: The lake cannot be read.
        """
        now = await asyncio.to_thread(self.versions)
        wanted = tuple(one for one in now if not tables or one[0] in tables)
        place = (key, wanted)
        found = self._cache.get(key)
        if found is not None and found.versions == wanted:
            self._cache.move_to_end(key)
            return cast("Reading[T]", found)
        task = self._running.get(place)
        if task is None:
            task = asyncio.create_task(self._run(place, now, look, timeout_s or self._timeout_s))
            self._running[place] = task
            task.add_done_callback(lambda done: self._forget(place, done))
        # A page that is closed must not stop what others wait for.
        return cast("Reading[T]", await asyncio.shield(task))

    def close(self) -> None:
        """Close the sessions; what still runs is interrupted."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            idle, self._idle = self._idle, []
        for _, session in idle:
            session.close()

    def _forget(self, place: tuple[Hashable, Versions], done: asyncio.Task[Any]) -> None:
        self._running.pop(place, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may have

    async def _run(
        self, place: tuple[Hashable, Versions], now: Versions, look: Callable[[Session], T], limit_s: float
    ) -> Reading[T]:
        used: list[Session] = []
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, self._look, now, look, used)
        try:
            value = await asyncio.wait_for(asyncio.shield(future), limit_s)
        except TimeoutError:
            for session in used:
                session.interrupt()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise QueryError(f"it took longer than {limit_s:g} s, and was stopped") from None
        reading = Reading(value, place[1], self._clock())
        self._cache[place[0]] = reading
        self._cache.move_to_end(place[0])
        while len(self._cache) > self._kept:
            self._cache.popitem(last=False)
        return reading

    def _look(self, now: Versions, look: Callable[[Session], T], used: list[Session]) -> T:
        session = self._session(now)
        used.append(session)
        try:
            result = look(session)
        except BaseException:
            session.close()  # it may be in the middle of something
            raise
        with self._lock:
            self._idle.append((now, session))
        return result

    def _session(self, now: Versions) -> Session:
        """One that is idle and of these versions, or a new one; older ones are closed."""
        with self._lock:
            fitting = next((one for one in self._idle if one[0] == now), None)
            if fitting is not None:
                self._idle.remove(fitting)
            old = [one for one in self._idle if one[0] != now]
            self._idle = [one for one in self._idle if one[0] == now]
        for _, session in old:
            session.close()
        return fitting[1] if fitting is not None else Session(self._lake)
