"""How good each chain of a feed is: flags on its rows, counts by minute, and whether the feed lives.

One `FeedQuality` belongs to one tap or load. Rows are judged as they are converted, chain by chain in the
order of arrival; what is remembered from one call to the next is the newest state of each source, symbol
and expiry. A chain here is what one update brought of one expiry: an update is always converted whole, so
the flags do not depend on how many updates are converted together. After a start, and for every new
session, the first chain has nothing to be compared with.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from catalog.calendar import SessionCalendar
from catalog.dq_flags import AHEAD_S, LATE_S, LIFELESS, DqFlag
from ingest.freshness import Freshness
from ingest.quality_columns import Block, Chain, Flags, Ints
from ingest.quality_counts import Counts
from ingest.quality_history import History
from ingest.quality_legs import flag_legs, flag_pairs, is_zeroed
from ingest.quality_silence import SilenceWatch
from lake.spool import Entry

logger = logging.getLogger(__name__)

MOST_HISTORIES = 2_000
"""Histories kept, the longest unused goes first: of 200 legs each, about 60 MB."""

_CHAINS_AT_A_STRETCH = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_SESSION = 1 << 62
_LIFELESS = int(LIFELESS)
_Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class _Day:
    """Session date of a stretch of time, and when its session opens; `_NO_SESSION` for none."""

    day: date
    start_us: int
    end_us: int
    open_us: int


class FeedQuality:
    """Judges the rows of one tap or load; use it from one thread.

    Attributes:
        freshness: Signs of life, for any thread to ask.
    """

    def __init__(self, calendar: SessionCalendar, *, live: bool, freshness: Freshness | None = None) -> None:
        """Begin without any history.

        Args:
            calendar: Sessions of every exchange.
            live: Whether rows are received as they happen: only then lateness and order say anything.
            freshness: Where signs of life go; one of its own by default.
        """
        self.freshness = freshness or Freshness()
        self._calendar = calendar
        self._live = live
        self._histories: OrderedDict[_Key, History] = OrderedDict()
        self._calendar_version = calendar.version
        self._silence = SilenceWatch(calendar)
        self._days: dict[str, _Day] = {}

    def check(
        self, exchange: str, rows: pa.Table, updates: Ints, pause: Callable[[], None] | None = None
    ) -> tuple[pa.Table, Entry | None]:
        """Judge rows; gives them back with their flags, and the counts to be spooled with them.

        A detector that fails costs no row: all of them are then `UNCHECKED`.

        Args:
            exchange: Canonical.
            rows: Of `option_chain`; those of one update together.
            updates: One a row, ascending: which update brought it.
            pause: Called between some chains, to let other threads run.
        """
        counts = Counts(exchange)
        now_us, now_s = time.time_ns() // 1000, time.monotonic()
        try:
            flags = self._judge(exchange, rows, updates, counts, (now_us, now_s), pause)
        except Exception:
            logger.exception("rows could not be judged", extra={"action": "quality", "exchange": exchange})
            flags = np.full(rows.num_rows, int(DqFlag.UNCHECKED), np.int32)
            counts = Counts(exchange)
        position = rows.schema.get_field_index("dq_flags")
        flagged = rows.set_column(position, rows.schema.field(position), pa.array(flags, pa.int32()))
        return flagged, counts.entry(now_us)

    def look(self, now_us: int) -> list[Entry]:
        """Note the minute that ended since the last look, where a feed was silent in it.

        Args:
            now_us: Now, epoch microseconds.
        """
        found = self._silence.look(now_us, self.freshness.connections(), time.monotonic())
        return [entry for counts in found if (entry := counts.entry(now_us)) is not None]

    def _judge(
        self,
        exchange: str,
        rows: pa.Table,
        updates: Ints,
        counts: Counts,
        now: tuple[int, float],
        pause: Callable[[], None] | None,
    ) -> Flags:
        pause = pause or _go_on
        pause()
        block = Block(rows, updates)
        pause()
        flag_legs(block)
        for number, chain in enumerate(block.chains(), start=1):
            self._judge_chain(exchange, chain, counts, now)
            if number % _CHAINS_AT_A_STRETCH == 0:
                pause()
        pause()
        return block.flags()

    def _judge_chain(self, exchange: str, chain: Chain, counts: Counts, now: tuple[int, float]) -> None:
        day = self._day_of(exchange, chain.event_us)
        history = self._history(exchange, chain, day.day)
        figures: dict[DqFlag, float] = {}
        if self._live:
            self._flag_times(chain, figures)
        in_session = chain.event_us >= day.open_us
        if not in_session:
            chain.flags[chain.volume > 0] |= DqFlag.PRE_OPEN_TOTALS
        zeroed = is_zeroed(chain)
        if zeroed:
            chain.flags |= DqFlag.ZEROED
        pairing = history.pairing(chain)
        distance = flag_pairs(chain, pairing)
        if distance is not None:
            figures[DqFlag.OFF_SPOT] = 100 * distance
        # Nothing to compare with, or the same answer once more: no sign of life, nor of the reverse.
        known = history.is_known and chain.event_us > history.event_us
        if history.is_earlier(chain):
            if self._live:
                chain.flags |= DqFlag.OUT_OF_ORDER
        else:
            figures |= history.flag(chain, pairing, in_session=in_session, zeroed=zeroed)
        counts.add(chain, day.day, figures)
        if self._live:
            self._note_life(exchange, chain, now, known=known)

    def _note_life(self, exchange: str, chain: Chain, now: tuple[int, float], *, known: bool) -> None:
        now_us, now_s = now
        received = self._day_of(exchange, chain.received_us)
        self._silence.heard(exchange, chain.source, chain.symbol, chain.received_us, received.day)
        if known and not int(np.bitwise_or.reduce(chain.flags)) & _LIFELESS:
            came_at = now_s - max(0, now_us - chain.received_us) / 1e6
            self.freshness.chain_lives(exchange, chain.symbol, chain.source, came_at)

    def _flag_times(self, chain: Chain, figures: dict[DqFlag, float]) -> None:
        late_s = (chain.received_us - chain.event_us) / 1e6
        if late_s > LATE_S:
            chain.flags |= DqFlag.LATE
            figures[DqFlag.LATE] = late_s
        elif late_s < -AHEAD_S:
            chain.flags |= DqFlag.AHEAD
            figures[DqFlag.AHEAD] = -late_s

    def _history(self, exchange: str, chain: Chain, day: date) -> History:
        key = (exchange, chain.source, chain.symbol, chain.expiry)
        history = self._histories.get(key)
        if history is None or history.day != day:
            history = self._histories[key] = History(day)
            if len(self._histories) > MOST_HISTORIES:
                self._histories.popitem(last=False)
        self._histories.move_to_end(key)
        return history

    def _day_of(self, exchange: str, moment_us: int) -> _Day:
        if self._calendar_version != self._calendar.version:
            self._calendar_version = self._calendar.version
            self._days.clear()
        known = self._days.get(exchange)
        if known is None or not known.start_us <= moment_us < known.end_us:
            known = self._days[exchange] = self._work_out(exchange, moment_us)
        return known

    def _work_out(self, exchange: str, moment_us: int) -> _Day:
        zone = self._calendar.timezone(exchange)
        day = (_EPOCH + timedelta(microseconds=moment_us)).astimezone(zone).date()
        start = datetime(day.year, day.month, day.day, tzinfo=zone)
        session = self._calendar.session(exchange, day)
        open_us = _NO_SESSION if session is None else _us(session.open)
        return _Day(day, _us(start), _us(start + timedelta(days=1)), open_us)


def _go_on() -> None:
    """In place of a pause."""


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
