"""The two threads behind a tap: one moves updates into the spool, one commits the spool."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from catalog.quarantine_store import QuarantineStore
from catalog.reference import ReferenceData
from ingest.after_close import AfterClose
from ingest.committer import Committer
from ingest.convert import Converted, convert
from ingest.feed_quality import FeedQuality
from ingest.tap import SPOOL_FULL
from lake.errors import SpoolUnavailableError, StrikelakeError
from lake.process_lock import ProcessLock
from lake.spool import Queue, Spool

if TYPE_CHECKING:
    from ingest.tap import StreamTap

logger = logging.getLogger(__name__)

DRAIN_UPDATES = 64
"""Updates of one spool transaction at most."""

_PAUSE_S = 0.000_05  # long enough that a waiting thread of the app surely gets the interpreter
_RETRY_S = 1.0
_TELL_EVERY_S = 1.0
"""While nothing comes, the spool is told this often that the app lives."""

DEPTH_WINDOW_S = 10.0
"""The spool is told the most that waited within so long: between two drains nobody else could see it."""

_WARN_EVERY_S = 10.0


class TapWorkers:
    """Starts, feeds and ends the threads of one tap."""

    def __init__(self, tap: StreamTap, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Take the tap's lock and open its spool.

        Args:
            tap: Whose updates to keep.
            clock_ns: Now, epoch nanoseconds, by which feeds are found silent.

        Raises:
            StreamInUseError: Another process already taps under this app id.
            SpoolUnavailableError: The spool cannot be opened.
        """
        # The first array makes pyarrow import pandas: half a second with the interpreter held, so now.
        pa.array(np.zeros(1))
        self._tap = tap
        self._clock_ns = clock_ns
        self._settings = tap.settings
        self._stop = threading.Event()
        self._drain_now = threading.Event()
        self._commit_now = threading.Event()
        self._drains = _Runs()
        self._commits = _Runs()
        self._unsaved: tuple[int, Converted, dict[tuple[str, str, str], int]] | None = None
        self._depths: deque[tuple[float, int]] = deque()
        self._told_at = float("-inf")
        self._warned_at = 0.0
        self._warned_of = 0
        self._lock = ProcessLock(
            self._settings.lake.spools / f"{self._settings.app_id}.tap.lock",
            role=f"tap of app id {self._settings.app_id!r}",
        )
        try:
            self._reference = ReferenceData.load(self._settings.root)
            self._quality = FeedQuality(self._reference.calendar, live=True, freshness=tap.freshness)
            self._after_close = AfterClose(self._settings.lake, self._reference.calendar)
            self._spool = Spool(tap.spool_path)
            self._quarantine = QuarantineStore(self._settings.lake)
        except BaseException:
            self._lock.release()
            raise
        self._threads = [threading.Thread(target=self._drain_loop, name="strikelake-spool", daemon=True)]
        self._commits_here = self._settings.committer == "thread"
        if self._commits_here:
            self._threads.append(
                threading.Thread(target=self._commit_loop, name="strikelake-commit", daemon=True)
            )

    @property
    def is_draining(self) -> bool:
        """Whether the drain is at work: a tap whose drain died keeps nothing of what it is offered."""
        return not self._stop.is_set() and self._threads[0].is_alive()

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def flush(self, timeout_s: float) -> bool:
        """Spool, and commit unless another process does, what was offered until now; True if in time."""
        deadline = time.monotonic() + timeout_s
        drained = self._drains.request(self._drain_now, deadline)
        return drained and (not self._commits_here or self._commits.request(self._commit_now, deadline))

    def stop(self, timeout_s: float) -> bool:
        """Drain and commit once more, then end; True if everything was kept (and committed) in time."""
        deadline = time.monotonic() + timeout_s
        self._stop.set()
        for thread, wake in zip(self._threads, (self._drain_now, self._commit_now), strict=False):
            wake.set()
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread is self._threads[0] and not thread.is_alive():
                self._sweep()
        if any(thread.is_alive() for thread in self._threads):
            logger.error("tap did not end in time", extra={"action": "close", "timeout_s": timeout_s})
            return False
        self._spool.close()
        self._lock.release()
        return self._drains.succeeded and (not self._commits_here or self._commits.succeeded)

    def _sweep(self) -> None:
        """Take what an `offer` that was under way while the tap closed put behind the last drain."""
        run = self._drains.begin()
        try:
            self._drain()
            self._drains.end(run, succeeded=True)
        except (StrikelakeError, OSError) as error:
            self._drains.end(run, succeeded=False)
            logger.error("spool failed", extra={"action": "spool", "error": str(error)})  # noqa: TRY400

    def _drain_loop(self) -> None:
        while True:
            # Read before the work: whatever was offered before the stop is then drained by this run.
            self._drain_now.clear()
            last = self._stop.is_set()
            run = self._drains.begin()
            try:
                self._drain()
                self._drains.end(run, succeeded=True)
            except (StrikelakeError, OSError) as error:
                self._drains.end(run, succeeded=False)
                logger.error(  # noqa: TRY400 - the next run tries again; one line is enough
                    "spool failed",
                    extra={"action": "spool", "error": str(error), "queued": self._tap.stats().queued},
                )
                if not last:
                    self._stop.wait(_RETRY_S)
            except Exception:
                # Not foreseen, but a drain that died would turn the tap into a silent hole.
                self._drains.end(run, succeeded=False)
                logger.exception("drain failed", extra={"action": "spool"})
                if not last:
                    self._stop.wait(_RETRY_S)
            self._warn_of_drops()
            if last:
                return
            self._drain_now.wait(self._settings.raw_stream_spool_seconds)

    def _drain(self) -> None:
        """Move everything that is queued now into the spool."""
        left = self._tap.stats().queued
        self._look_at_queue(left)
        self._save()
        while True:
            updates = self._tap.take(min(DRAIN_UPDATES, left))
            left -= len(updates)
            drops = self._tap.take_drops()
            if updates or drops:
                converted = convert(updates, self._reference, pause=_pause, quality=self._quality)
                self._unsaved = (len(updates), converted, drops)
                self._save()
            # Not "until nothing is dropped any more": while the queue is full that would never come.
            if not updates or left <= 0:
                break
        self._note_silence()
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            # A sign of life that could not be given is seen by its age; nothing was lost.
            with suppress(SpoolUnavailableError):
                self._spool.tell(self._queue())
                self._told_at = time.monotonic()

    def _look_at_queue(self, waiting: int) -> None:
        """Remember how many updates wait, for `DEPTH_WINDOW_S`."""
        now = time.monotonic()
        self._depths.append((now, waiting))
        while self._depths[0][0] < now - DEPTH_WINDOW_S:
            self._depths.popleft()

    def _queue(self) -> Queue:
        """How full the tap's queue is now, and was at most when the last drains began."""
        waiting = self._tap.stats().queued
        self._look_at_queue(waiting)
        return Queue(
            waiting, max(depth for _, depth in self._depths), self._settings.raw_stream_queue_size,
            self._clock_ns() // 1000,
        )  # fmt: skip

    def _note_silence(self) -> None:
        """Spool what the minute that just ended lacked, after everything that came in it."""
        silence = Converted()
        for entry in self._quality.look(self._clock_ns() // 1000):
            silence.add_counts(entry)
        if silence.entries:
            self._unsaved = (0, silence, {})
            self._save()

    def _save(self) -> None:
        """Put what was converted into the spool; it is kept in memory until that worked."""
        if self._unsaved is None:
            return
        updates, converted, drops = self._unsaved
        if self._spool.used_bytes() > self._settings.raw_stream_spool_max_bytes:
            given_up = {(*key, SPOOL_FULL): rows for key, rows in converted.offered.items()}
            self._spool.put(
                [], offered=_with_drops(converted.offered, drops), dropped={**drops, **given_up},
                queue=self._queue(),
            )  # fmt: skip
            self._tap.count_lost(updates, {}, SPOOL_FULL)
        else:
            for file in converted.files:
                self._quarantine.keep(file)
            self._spool.put(
                converted.entries, offered=_with_drops(converted.offered, drops), dropped=drops,
                queue=self._queue(),
            )  # fmt: skip
            self._tap.count_spooled(updates)
        self._unsaved = None
        self._told_at = time.monotonic()

    def _warn_of_drops(self) -> None:
        dropped = self._tap.stats().dropped
        total = sum(dropped.values())
        now = time.monotonic()
        if total > self._warned_of and now - self._warned_at >= _WARN_EVERY_S:
            self._warned_at, self._warned_of = now, total
            logger.warning("updates dropped: %s", dict(dropped), extra={"action": "drop", "total": total})

    def _commit_loop(self) -> None:
        # Made here and not at the start: a damaged table, or another process that commits this spool, must
        # not keep the app's updates from being spooled.
        committer = self._make_committer()
        due = time.monotonic() + self._settings.raw_stream_flush_seconds
        while True:
            self._commit_now.wait(max(0.0, due - time.monotonic()))
            # Cleared before the look at the stop: a wake-up in between must not be lost.
            self._commit_now.clear()
            # The drain ends first, see stop(): what it spooled last is committed by this run.
            last = self._stop.is_set() and not self._threads[0].is_alive()
            due = time.monotonic() + self._settings.raw_stream_flush_seconds
            run = self._commits.begin()
            succeeded = False
            try:
                committer = committer or self._make_committer()
                if committer is not None:
                    committer.flush()
                    succeeded = True
            except (StrikelakeError, OSError) as error:
                logger.error("commit failed", extra={"action": "commit", "error": str(error)})  # noqa: TRY400
            except Exception:
                # Not foreseen; the rows are in the spool, and the next run tries again.
                logger.exception("commit failed", extra={"action": "commit"})
            self._commits.end(run, succeeded=succeeded)
            if committer is not None and succeeded and not last and self._after_close.run_if_due():
                committer.mirror()
            if not succeeded:
                due = min(due, time.monotonic() + 5 * _RETRY_S)
            if last:
                if committer is not None:
                    committer.close()
                return

    def _make_committer(self) -> Committer | None:
        try:
            return Committer(self._settings)
        except (StrikelakeError, OSError) as error:
            logger.error("nothing can be committed", extra={"action": "commit", "error": str(error)})  # noqa: TRY400
            return None


class _Runs:
    """Counts the runs of a loop, so that others can wait for one that began after they asked."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._begun = 0
        self._ended = 0
        self.succeeded = True

    def begin(self) -> int:
        with self._changed:
            self._begun += 1
            return self._begun

    def end(self, run: int, *, succeeded: bool) -> None:
        with self._changed:
            self._ended, self.succeeded = run, succeeded
            self._changed.notify_all()

    def request(self, wake: threading.Event, deadline: float) -> bool:
        """Wake the loop and wait for a run that begins from now on; True if it succeeded in time."""
        with self._changed:
            target = self._begun + 1
            wake.set()
            in_time = self._changed.wait_for(
                lambda: self._ended >= target, max(0.0, deadline - time.monotonic())
            )
            return in_time and self.succeeded


def _pause() -> None:
    time.sleep(_PAUSE_S)


def _with_drops(
    offered: Mapping[tuple[str, str], int], drops: Mapping[tuple[str, str, str], int]
) -> dict[tuple[str, str], int]:
    """Rows offered, those dropped before they were converted included."""
    total = dict(offered)
    for (table, group, _), rows in drops.items():
        total[table, group] = total.get((table, group), 0) + rows
    return total
