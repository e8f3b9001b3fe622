"""The tap: a live app hands over each chain update and goes on at once.

`offer` appends one reference to a bounded deque. It copies nothing, converts nothing, waits for
nothing and raises nothing. Two background threads do the rest: one moves updates to the spool every
quarter of a second, one commits the spool to the Delta tables every minute.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - pandas, which pyarrow imports, cannot do it at exit
import copy as copying
import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time_ns as _now_ns
from typing import TYPE_CHECKING, Any

from ingest.events import ChainUpdate, rows_offered
from ingest.freshness import DEFAULT_WITHIN_S, EVERY_SYMBOL, Freshness

if TYPE_CHECKING:
    from lake.settings import Settings
    from lake.spool import Key

logger = logging.getLogger(__name__)

QUEUE_FULL = "queue_full"
SPOOL_FULL = "spool_full"
COPY_FAILED = "copy_failed"
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class TapStats:
    """Counts since the tap was made, in updates; what happened to rows is in the ledger.

    Attributes:
        offered: Updates handed over.
        queued: Waiting in memory now.
        spooled: Safe on disk or further.
        dropped: Given up, by reason.
    """

    offered: int
    queued: int
    spooled: int
    dropped: Mapping[str, int]


class StreamTap:
    """Takes chain updates from a live app and keeps them, each exactly once.

    The updates' own objects are kept by reference until they are spooled (a quarter of a second, by
    default): do not change them after `offer`, or pass `copy=True`. What was spooled survives any crash
    and a power cut; what is still in memory then is lost, which is the price of never waiting.

    Attributes:
        settings: As given; see `lake.settings`.
        freshness: Signs of life of the feeds, kept by the drain; `is_fresh` reads it.
        copy: Whether updates are copied as they are handed over.
    """

    # Slots, and a clock at hand: after a sleep everything is out of the cache, and each look-up counts.
    __slots__ = (
        "__weakref__", "_accepting", "_closed", "_closed_whole", "_drop_lock", "_dropped_updates", "_drops",
        "_limit", "_queue", "_spooled_updates", "_straight", "_taken", "_workers", "copy",
        "freshness", "settings",
    )  # fmt: skip

    def __init__(self, settings: Settings, *, copy: bool = False, start: bool = True) -> None:
        """Make a tap and, by default, start its threads.

        Args:
            settings: Root of the lake, app id, sizes and intervals.
            copy: Copy each update in `offer` (about 250 us for 200 legs), for apps that change them later.
            start: False to call `start` later; updates queue up to `raw_stream_queue_size` until then.

        Raises:
            StreamInUseError: Another process already taps under this app id.
            SpoolUnavailableError: The spool cannot be opened.
        """
        self.settings = settings
        self.copy = copy
        self.freshness = Freshness()
        self._queue: deque[ChainUpdate | tuple[Any, ...]] = deque()
        self._limit = settings.raw_stream_queue_size
        # Taken by callers that drop something, and by the drain for the time of swapping one dict.
        self._drop_lock = threading.Lock()
        self._drops: dict[tuple[str, str, str], int] = {}
        self._taken = 0
        self._dropped_updates: dict[str, int] = {}
        self._spooled_updates = 0
        self._accepting = True
        self._straight = not copy
        self._closed = threading.Event()
        self._closed_whole = False
        self._workers: Any = None
        if start:
            self.start()

    def offer(
        self,
        exchange: str,
        calls: Any,
        puts: Any,
        *,
        symbol: str,
        expiry: Any = None,
        event_time: Any = None,
        context: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        source: str = "live",
    ) -> bool:
        """Hand over one update of one symbol's chain. Never waits, never raises.

        Args:
            exchange: `NSE` or `BSE`.
            calls: Call legs: a sequence of mappings, a mapping by strike, or a DataFrame. Keys: `strike`,
                `expiry` (unless given for all), `ltp`, `bid`, `ask` in rupees, `bid_qty`, `ask_qty`, `oi`,
                `oi_change`, `volume` in units of the underlying, `iv` as a fraction (0.135). Missing is
                None, NaN or absent.
            puts: Put legs, likewise.
            symbol: Underlying, e.g. `NIFTY`.
            expiry: Expiry of legs that do not carry one: a date or ISO text.
            event_time: When it happened: aware datetime, naive exchange-local datetime, ISO text or epoch
                seconds; the time of this call by default.
            context: For all legs: `underlying_price`, `vix`, `atm_strike`, `pcr`, `lot_size`.
            features: One number a feature, kept as one row of `ml_features`.
            source: What the column `source` says.

        Returns:
            True if it was queued; False if it was dropped at once, which is counted. A queued update can
            still be dropped later, as the oldest of a full queue.
        """
        try:
            # A tuple in the order of ChainUpdate's fields: the cheapest thing that holds references.
            offered = (
                exchange, symbol, event_time, _now_ns(), calls, puts, expiry, features, context, source
            )  # fmt: skip
            if not self._straight:
                return self.put(ChainUpdate(*offered))
            queue = self._queue
            queue.append(offered)
            if len(queue) > self._limit:
                self._drop_oldest()
        except Exception:
            logger.exception("update was not taken", extra={"action": "offer"})
            return False
        return True

    def offer_signal(
        self, exchange: str, record: Any, *, symbol: str, event_time: Any = None, source: str = "live"
    ) -> bool:
        """Hand over one signal of a model, for the table `signals`. Never waits, never raises.

        Args:
            exchange: `NSE` or `BSE`.
            record: A mapping by the table's columns, as `explain.signals.Signal.to_record` gives it:
                `signal`, `confidence`, `probabilities` and `model_version` must be there. What breaks the
                table's contract goes to quarantine, with the reason.
            symbol: Underlying, e.g. `NIFTY`.
            event_time: Of the features the signal was made of, see `offer`; a signal can be rebuilt only if
                it is given.
            source: What the column `source` says.

        Returns:
            As `offer` does.
        """
        # Nothing at all is one signal offered as well, and one reject: it must not go uncounted.
        given = () if record is None else record
        return self.put(ChainUpdate(exchange, symbol, event_time, _now_ns(), source=source, signal=given))

    def put(self, update: ChainUpdate) -> bool:
        """`offer` for an update that is made already; never waits, never raises."""
        try:
            if not self._accepting:
                self._count_drop(update, CLOSED)
                return False
            if self.copy:
                try:
                    update = copying.deepcopy(update)
                except Exception:
                    logger.exception("update cannot be copied", extra={"action": "offer"})
                    self._count_drop(update, COPY_FAILED)
                    return False
            self._queue.append(update)
            if len(self._queue) > self._limit:
                self._drop_oldest()
        except Exception:
            logger.exception("update was not taken", extra={"action": "offer"})
            return False
        return True

    def connection(self, exchange: str, source: str, *, up: bool) -> None:
        """Tell that a source's connection came up or went down. Never waits, never raises.

        A source that never tells is taken as up once it has sent something that session.

        Args:
            exchange: `NSE` or `BSE`.
            source: As in the updates it hands over.
            up: Whether data can come.
        """
        self.freshness.connection(exchange, source, up=up)

    def is_fresh(
        self, exchange: str, *, within_s: float = DEFAULT_WITHIN_S, symbol: str = EVERY_SYMBOL
    ) -> bool:
        """Whether the feed of an exchange is known to live: False when in doubt. Never waits, never raises.

        For an app that is about to act on its own. True only if a chain came within the limit that is new in
        its values, timely and plausible (see `catalog.dq_flags.LIFELESS`), the drain is at work, and the
        connection it came over is not known to be down. The first chain after a start cannot be compared
        with anything, so a feed is fresh from its second one on.

        Args:
            exchange: `NSE` or `BSE`.
            within_s: How old the newest living chain may be, by time of receipt.
            symbol: Only chains of this underlying count; those of any by default.
        """
        try:
            workers = self._workers
            return (
                workers is not None
                and workers.is_draining
                and self.freshness.is_fresh(exchange, within_s, symbol)
            )
        except Exception:  # noqa: BLE001 - asked by a live app, with whatever arguments
            return False

    def start(self) -> None:
        """Start the background threads; starting twice does nothing.

        Raises:
            StreamInUseError: Another process already taps under this app id.
            SpoolUnavailableError: The spool cannot be opened.
        """
        if self._workers is None:
            from ingest.worker import TapWorkers

            self._workers = TapWorkers(self)
            self._workers.start()
            # Daemon threads still run while atexit functions do, so the last updates are kept.
            atexit.register(self.close)

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Commit everything offered until now; True if that was done in time.

        With `committer="process"`, everything is spooled; committing is the other process's. A tap that was
        not started, or is closed, has nobody to do it: False.
        """
        if self._workers is None or self._closed.is_set():
            return False
        return bool(self._workers.flush(timeout_s))

    def close(self, timeout_s: float = 60.0) -> bool:
        """Take nothing more, commit what was taken, end the threads; True if all was committed in time.

        What could not be committed stays in the spool for the next start.
        """
        if self._closed.is_set():
            return self._closed_whole
        self._accepting = self._straight = False
        self._closed.set()
        done = not self._queue
        if self._workers is not None:
            done = bool(self._workers.stop(timeout_s))
        atexit.unregister(self.close)
        self._closed_whole = done
        return done

    def stats(self) -> TapStats:
        """What happened so far."""
        with self._drop_lock:
            dropped = dict(self._dropped_updates)
        queued, taken = len(self._queue), self._taken
        # What the drain gave up after taking it is in `dropped` as well: count it once.
        before = sum(n for reason, n in dropped.items() if reason != SPOOL_FULL)
        return TapStats(taken + queued + before, queued, self._spooled_updates, dropped)

    @property
    def spool_path(self) -> Path:
        """The spool file of this app id."""
        return self.settings.lake.spools / f"{self.settings.app_id}.db"

    def take(self, limit: int) -> list[ChainUpdate]:
        """The oldest queued updates, for the drain."""
        taken: list[ChainUpdate] = []
        while len(taken) < limit:
            try:
                taken.append(_as_update(self._queue.popleft()))
            except IndexError:
                break
        self._taken += len(taken)
        return taken

    def take_drops(self) -> dict[tuple[str, str, str], int]:
        """Rows dropped since the last call, by (table, exchange, reason), for the drain."""
        with self._drop_lock:
            drops, self._drops = self._drops, {}
        return drops

    def count_spooled(self, updates: int) -> None:
        """For the drain."""
        self._spooled_updates += updates

    def count_lost(self, updates: int, rows: Mapping[Key, int], reason: str) -> None:
        """Count updates that the drain gave up."""
        with self._drop_lock:
            self._dropped_updates[reason] = self._dropped_updates.get(reason, 0) + updates
            for (table, exchange), count in rows.items():
                key = (table, exchange, reason)
                self._drops[key] = self._drops.get(key, 0) + count

    def _drop_oldest(self) -> None:
        try:
            oldest = self._queue.popleft()
        except IndexError:  # the drain was faster
            return
        self._count_drop(_as_update(oldest), QUEUE_FULL)

    def _count_drop(self, update: ChainUpdate, reason: str) -> None:
        self.count_lost(1, rows_offered(update), reason)


def _as_update(item: ChainUpdate | tuple[Any, ...]) -> ChainUpdate:
    return item if isinstance(item, ChainUpdate) else ChainUpdate(*item)
