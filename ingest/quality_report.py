"""What a person or a program wants to know of a day's feeds: coverage, gaps, and what each detector found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import median
from typing import Any

from catalog.calendar import Session as TradingSession
from catalog.calendar import SessionCalendar
from catalog.dq_flags import flag_names
from lake.queries import QUERIES, load_query
from lake.session import Session

EVERY_SYMBOL = "*"
_FLAGS = load_query(QUERIES / "quality" / "chain_flags.sql")
_SILENCE = load_query(QUERIES / "quality" / "silent_minutes.sql")
_SHORTEST_GAP_S = 60.0
_CADENCES = 1.5


@dataclass(frozen=True, slots=True)
class Stretch:
    """An interval of time, and how many of the feed's chains are in it."""

    start: datetime
    end: datetime
    chains: int = 0

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Found:
    """What one detector found of one feed.

    Attributes:
        detector: Name of a flag, `silent` or `disconnected`.
        rows: Rows flagged; 0 for what has no rows.
        chains: Chains (of one expiry) with such a row.
        minutes: Minutes with such a chain.
        minutes_in_session: Of them, those within the session.
        worst: The longest run of event times that all have the flag, and begins earliest.
    """

    detector: str
    rows: int
    chains: int
    minutes: int
    minutes_in_session: int
    worst: Stretch


@dataclass(frozen=True, slots=True)
class FeedReport:
    """How good one source's feed of one symbol was.

    Attributes:
        symbol: Underlying, `*` for a source that was connected and sent nothing.
        source: Source adapter.
        rows: Rows of the date.
        clean_rows: Of them, those without any flag.
        polls: Distinct event times of the date.
        polls_in_session: Of them, those within the session.
        cadence_s: Median interval within the session, None with fewer than two chains.
        covered: Share of the session that lies in no gap, None without a session.
        gaps: Within the session, its edges included: longer than a minute and than 1.5 times the cadence.
        found: By detector, only those that found something.
    """

    symbol: str
    source: str
    rows: int
    clean_rows: int
    polls: int
    polls_in_session: int
    cadence_s: float | None
    covered: float | None
    gaps: tuple[Stretch, ...]
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class DayReport:
    """All feeds of an exchange on a date; `session` None where it did not trade.

    `until` is where looking ended: the session's close, or now while it runs.
    """

    exchange: str
    date: date
    session: TradingSession | None
    until: datetime | None
    feeds: tuple[FeedReport, ...]


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    chains: int = 0
    times: list[datetime] = field(default_factory=list)


def day_report(
    session: Session,
    calendar: SessionCalendar,
    exchange: str,
    day: date,
    *,
    symbol: str = EVERY_SYMBOL,
    now: datetime | None = None,
) -> DayReport:
    """Look at one date of one exchange.

    Args:
        session: The lake.
        calendar: Sessions.
        exchange: `NSE` or `BSE`.
        day: Session date.
        symbol: Only this underlying; all by default.
        now: Where a session that still runs is cut; the present by default.
    """
    given = {"date": day, "exchange": exchange, "symbol": symbol}
    there = session.snapshots
    rows = session.table(_FLAGS.sql, given).to_pylist() if "option_chain" in there else []
    silent = session.table(_SILENCE.sql, given).to_pylist() if "feed_quality" in there else []
    trading = calendar.session(exchange, day)
    until = None if trading is None else min(trading.close, now or datetime.now(UTC))
    by_feed = {key: list(of) for key, of in groupby(rows, itemgetter("symbol", "source"))}
    quiet = {key: list(of) for key, of in groupby(silent, itemgetter("symbol", "source"))}
    feeds = [
        _feed(key[0], key[1], by_feed.get(key, []), quiet.get(key, []), trading, until)
        for key in sorted(by_feed.keys() | quiet.keys())
    ]
    return DayReport(exchange, day, trading, until, tuple(feeds))


def _feed(
    symbol: str,
    source: str,
    rows: Sequence[dict[str, Any]],
    silent: Sequence[dict[str, Any]],
    trading: TradingSession | None,
    until: datetime | None,
) -> FeedReport:
    times = [time for time, _ in groupby(rows, itemgetter("event_time"))]
    within = [t for t in times if trading and trading.open <= t < trading.close]
    cadence = median((b - a).total_seconds() for a, b in pairwise(within)) if len(within) > 1 else None
    gaps: tuple[Stretch, ...] = ()
    covered = None
    if trading is not None and until is not None and until > trading.open:
        gaps = tuple(_gaps(within, trading.open, until, cadence))
        whole = (until - trading.open).total_seconds()
        covered = max(0.0, 1 - sum(gap.seconds for gap in gaps) / whole)
    return FeedReport(
        symbol=symbol,
        source=source,
        rows=sum(row["row_count"] for row in rows),
        clean_rows=sum(row["row_count"] for row in rows if not row["dq_flags"]),
        polls=len(times),
        polls_in_session=len(within),
        cadence_s=cadence,
        covered=covered,
        gaps=gaps,
        found=(*_flagged(rows, times, trading), *_silences(silent, trading)),
    )


def _gaps(
    times: Sequence[datetime], start: datetime, end: datetime, cadence_s: float | None
) -> Iterator[Stretch]:
    longest = max(_SHORTEST_GAP_S, _CADENCES * (cadence_s or 0.0))
    for a, b in pairwise([start, *(t for t in times if t <= end), end]):
        if (b - a).total_seconds() > longest:
            yield Stretch(a, b)


def _flagged(
    rows: Iterable[dict[str, Any]], times: Sequence[datetime], trading: TradingSession | None
) -> Iterator[Found]:
    tallies: dict[str, _Tally] = {}
    bits_of_chain = itemgetter("event_time", "expiry")
    for (time, _), chain in groupby(rows, bits_of_chain):
        counted: dict[str, int] = {}
        for row in chain:
            for name in flag_names(row["dq_flags"]):
                counted[name] = counted.get(name, 0) + row["row_count"]
        for name, count in counted.items():
            tally = tallies.setdefault(name, _Tally())
            tally.rows += count
            tally.chains += 1
            if not tally.times or tally.times[-1] != time:
                tally.times.append(time)
    place = {time: index for index, time in enumerate(times)}
    for name, tally in sorted(tallies.items(), key=lambda item: (-item[1].rows, item[0])):
        yield Found(
            name,
            tally.rows,
            tally.chains,
            *_minutes(tally.times, trading),
            _longest(tally.times, [place[time] for time in tally.times]),
        )


def _silences(silent: Iterable[dict[str, Any]], trading: TradingSession | None) -> Iterator[Found]:
    for detector, of in groupby(silent, itemgetter("detector")):
        times = [row["event_time"] for row in of]
        minutes = [int(time.timestamp()) // 60 for time in times]
        longest = _longest(times, minutes)
        worst = Stretch(longest.start, longest.end + timedelta(minutes=1))
        yield Found(detector, 0, 0, *_minutes(times, trading), worst)


def _minutes(times: Iterable[datetime], trading: TradingSession | None) -> tuple[int, int]:
    minutes = {int(time.timestamp()) // 60: time for time in times}
    inside = [t for t in minutes.values() if trading and trading.open <= t < trading.close]
    return len(minutes), len(inside)


def _longest(times: Sequence[datetime], places: Sequence[int]) -> Stretch:
    """The longest run of neighbours, by time."""
    best = Stretch(times[0], times[0], 1)
    start = 0
    for index in range(len(times)):
        if index and places[index] != places[index - 1] + 1:
            start = index
        run = Stretch(times[start], times[index], index - start + 1)
        if (run.seconds, run.chains) > (best.seconds, best.chains):
            best = run
    return best
