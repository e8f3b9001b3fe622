"""Turn chain updates into rows that keep the contract, and everything else into rejects.

Work is done in steps of at most `STEP_ROWS` rows, with the interpreter released in between: the
embedding app's own latency is the product, and one long conversion would stop its threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from catalog.exchanges import canonical_exchange
from catalog.quarantine_store import Kept
from catalog.reference import ReferenceData
from ingest.chain_rows import ChainRows, context_numbers, leg_payload
from ingest.events import (
    CHAIN_TABLE,
    FEATURE_TABLE,
    SIGNAL_TABLE,
    ChainUpdate,
    Reject,
    exchange_key,
    has_features,
    legs_in,
    rows_offered,
)
from ingest.feature_rows import FeatureRows
from ingest.feed_quality import FeedQuality
from ingest.live_values import event_moment, moment_of, shown
from ingest.origins import origin_of
from ingest.quarantine import quarantined
from ingest.signal_rows import SignalRows, signal_values
from lake.errors import MalformedInputError
from lake.spool import Entry, Key

logger = logging.getLogger(__name__)

STEP_ROWS = 200
"""Rows converted at a stretch: about 0.3 ms of work with the interpreter held."""

_SIDES = (("CE", "calls"), ("PE", "puts"))
_Rejected = tuple[ChainUpdate, datetime | None, list[Reject]]


@dataclass(slots=True)
class Converted:
    """What some updates became.

    Attributes:
        entries: Rows and rejects, ready for the spool.
        offered: Rows that were offered, by (table, exchange); all of them are in `entries`.
        rejects: Rejects by reason.
        identities: Identities of the updates, where they have one.
        files: Rejects too long for a row; to be on the disk before the entries are in the spool.
    """

    entries: list[Entry] = field(default_factory=list)
    offered: dict[Key, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    identities: list[bytes] = field(default_factory=list)
    files: list[Kept] = field(default_factory=list)

    def add_counts(self, counts: Entry | None) -> None:
        """Take in rows of ours that nobody offered: they are counted as offered, too."""
        if counts is not None:
            self.entries.append(counts)
            key = (counts.table, counts.group)
            self.offered[key] = self.offered.get(key, 0) + counts.rows

    def add(self, other: Converted) -> None:
        """Take in what further updates became."""
        self.entries += other.entries
        self.identities += other.identities
        self.files += other.files
        for key, rows in other.offered.items():
            self.offered[key] = self.offered.get(key, 0) + rows
        for reason, count in other.rejects.items():
            self.rejects[reason] = self.rejects.get(reason, 0) + count


def convert(
    updates: Iterable[ChainUpdate],
    reference: ReferenceData,
    *,
    pause: Callable[[], None] | None = None,
    quality: FeedQuality | None = None,
) -> Converted:
    """Convert updates; every offered row becomes exactly one row or one reject.

    Args:
        updates: As handed over; nothing in them is trusted.
        reference: Calendar and lot sizes.
        pause: Called between steps, to let other threads run.
        quality: Judges the rows of chains and remembers them; None leaves `dq_flags` at 0. Its counts are
            entries of their own, offered like rows.
    """
    given = list(updates)
    try:
        return _convert(given, reference, pause, quality)
    except Exception as error:
        # One value that raises (in its `__float__`, its `__hash__`, its text) must cost no other update.
        logger.exception("updates could not be converted together", extra={"action": "convert"})
        if len(given) == 1:
            return _refused(given[0], reference, error)
    done = Converted()
    for update in given:
        done.add(convert([update], reference, pause=pause, quality=quality))
    return done


def _convert(
    updates: list[ChainUpdate],
    reference: ReferenceData,
    pause: Callable[[], None] | None,
    quality: FeedQuality | None,
) -> Converted:
    done = Converted()
    collected = _Collected(reference)
    rejected: list[_Rejected] = []
    for update in updates:
        offered = rows_offered(update)
        for key, rows in offered.items():
            done.offered[key] = done.offered.get(key, 0) + rows
        if update.identity is not None:
            done.identities.append(update.identity)
        exchange = exchange_key(update.exchange)
        try:
            # Everything of an update that may raise happens before the first row of it is collected.
            prepared = _prepare(update, exchange, reference)
            prepared.check_complete(offered)
        except Exception as error:
            # The objects are somebody else's, and any of their methods may raise anything. The drain
            # must go on, and the rows must be accounted for.
            logger.exception("update could not be read", extra={"action": "convert"})
            rejected.append((update, None, _unreadable(update, offered, error)))
            continue
        rejects = prepared.rejects
        if prepared.moment is not None:
            rejects += collected.add(update, exchange, prepared, prepared.moment, pause)
        if rejects:
            rejected.append((update, prepared.moment, rejects))
    rejected += collected.finish(done, pause, quality)
    _file(rejected, reference, done)
    return done


class _Collected:
    """Rows of many updates on their way, by table and exchange."""

    def __init__(self, reference: ReferenceData) -> None:
        self._reference = reference
        self._chains: dict[str, ChainRows] = {}
        self._features: dict[str, FeatureRows] = {}
        self._signals: dict[str, SignalRows] = {}

    def add(
        self,
        update: ChainUpdate,
        exchange: str,
        prepared: _Prepared,
        moment: datetime,
        pause: Callable[[], None] | None,
    ) -> list[Reject]:
        """Collect the rows of one update; gives back what is no row after all."""
        chain = self._chains.setdefault(exchange, ChainRows(exchange, self._reference))
        for option_type, legs in prepared.legs:
            for start in range(0, len(legs), STEP_ROWS):
                chain.add(update, moment, prepared.context, option_type, legs[start : start + STEP_ROWS])
                if pause:
                    pause()
        if not prepared.features and prepared.signal is None:
            return []
        day = self._reference.calendar.session_date(exchange, moment)
        if prepared.signal is not None:
            signals = self._signals.setdefault(exchange, SignalRows(exchange))
            signals.add(update, moment, day, prepared.signal)
        if not prepared.features:
            return []
        features = self._features.setdefault(exchange, FeatureRows(exchange))
        bad = features.add(update, moment, day)
        return [bad] if bad else []

    def finish(
        self, done: Converted, pause: Callable[[], None] | None, quality: FeedQuality | None
    ) -> list[_Rejected]:
        """Put the rows into `done`; gives back legs that are no rows after all."""
        rejected: list[_Rejected] = []
        for exchange, chain in self._chains.items():
            table, bad_legs = chain.finish()
            if table is not None:
                if quality is not None:
                    table, counts = quality.check(exchange, table, chain.update_numbers(), pause)
                    done.add_counts(counts)
                done.entries.append(Entry(CHAIN_TABLE, exchange, CHAIN_TABLE, table))
            rejected += [(leg.update, leg.moment, [leg.reject]) for leg in bad_legs]
        for exchange, features in self._features.items():
            table = features.finish()
            if table is not None:
                done.entries.append(Entry(FEATURE_TABLE, exchange, FEATURE_TABLE, table))
        for exchange, signals in self._signals.items():
            done.entries.append(Entry(SIGNAL_TABLE, exchange, SIGNAL_TABLE, signals.finish()))
        return rejected


@dataclass(slots=True)
class _Prepared:
    """An update whose objects were read once and found to be what they should."""

    moment: datetime | None
    context: list[float]
    legs: list[tuple[str, list[dict[str, Any]]]]
    features: bool
    signal: dict[str, Any] | None
    rejects: list[Reject]

    def check_complete(self, offered: Mapping[Key, int]) -> None:
        """Compare with what was counted: the app may have changed its objects in between.

        Raises:
            MalformedInputError: There are more or fewer rows than were offered.
        """
        found = {
            CHAIN_TABLE: sum(len(legs) for _, legs in self.legs),
            FEATURE_TABLE: int(self.features),
            SIGNAL_TABLE: int(self.signal is not None),
        }
        for reject in self.rejects:
            found[reject.table] = found.get(reject.table, 0) + 1
        counted = {table: rows for (table, _), rows in offered.items()}
        if any(found.get(table, 0) != counted.get(table, 0) for table in found | counted):
            raise MalformedInputError(f"{counted} rows were offered, but {found} could be read")


def _prepare(update: ChainUpdate, exchange: str, reference: ReferenceData) -> _Prepared:
    sides = [(option_type, *_as_legs(getattr(update, side))) for option_type, side in _SIDES]
    rejects = list(update.rejects)
    for _, _, bad in sides:
        rejects += bad
    legs = [(option_type, found) for option_type, found, _ in sides]
    brings_features = has_features(update)
    problem = _identity_problem(update)
    moment = None
    if not problem:
        try:
            zone = reference.calendar.timezone(exchange)
            moment = event_moment(update.event_time, update.received_ns, zone)
        except ValueError as error:
            problem = ("bad_event_time", str(error))
    if problem:
        for option_type, found in legs:
            rejects += [
                Reject(
                    *problem, leg_payload(leg, option_type), origin=origin_of(update, None, leg, option_type)
                )
                for leg in found
            ]
        if brings_features:
            rejects.append(Reject(*problem, update.features, FEATURE_TABLE))
        if update.signal is not None:
            rejects.append(Reject(*problem, update.signal, SIGNAL_TABLE))
        return _Prepared(None, [], [], False, None, rejects)
    context, problems = context_numbers(update.context)
    if problems:
        detail = "; ".join(problems)
        for option_type, found in legs:
            rejects += [
                Reject(
                    "bad_number",
                    detail,
                    leg_payload(leg, option_type),
                    origin=origin_of(update, moment, leg, option_type),
                )
                for leg in found
            ]
        legs = []
    signal = None
    if update.signal is not None:
        checked = signal_values(update.signal)
        if isinstance(checked, Reject):
            rejects.append(checked)
        else:
            signal = checked
    return _Prepared(moment, context, legs, brings_features, signal, rejects)


def _file(rejected: list[_Rejected], reference: ReferenceData, done: Converted) -> None:
    """Rejects as entries, those of one input together."""
    grouped: dict[int, _Rejected] = {}
    for update, moment, rejects in rejected:
        grouped.setdefault(id(update), (update, moment, []))[2].extend(rejects)
    for update, moment, rejects in grouped.values():
        exchange = exchange_key(update.exchange)
        source: Any = update.source
        origin = origin_of(update, moment)
        filed = quarantined(
            [reject if reject.origin is not None else replace(reject, origin=origin) for reject in rejects],
            exchange=exchange,
            day=reference.calendar.session_date(exchange, moment or moment_of(update.received_ns)),
            received_ns=update.received_ns,
            source=source if isinstance(source, str) else shown(source),
            identity=update.identity,
        )
        done.entries += filed.entries
        done.files += filed.files
        for reject in rejects:
            done.rejects[reject.reason] = done.rejects.get(reject.reason, 0) + 1


def _refused(update: ChainUpdate, reference: ReferenceData, error: Exception) -> Converted:
    """All rows of an update as rejects."""
    done = Converted(offered=rows_offered(update))
    if update.identity is not None:
        done.identities.append(update.identity)
    _file([(update, None, _unreadable(update, done.offered, error))], reference, done)
    return done


def _unreadable(update: ChainUpdate, offered: Mapping[Key, int], error: Exception) -> list[Reject]:
    """One reject for each row an update offered."""
    detail = f"reading it raised {type(error).__name__}: {shown(error)}"
    rejects = list(update.rejects)
    for (table, _), rows in offered.items():
        rest = rows - sum(1 for reject in update.rejects if reject.table == table)
        rejects += [Reject("unreadable", detail, shown(update), table)] * rest
    return rejects


def _identity_problem(update: ChainUpdate) -> tuple[str, str] | None:
    exchange: Any = update.exchange
    symbol: Any = update.symbol
    if not isinstance(exchange, str) or canonical_exchange(exchange) is None:
        return "unknown_exchange", f"exchange {shown(exchange)}; known: NSE, BSE"
    if not isinstance(symbol, str) or not symbol.strip() or not symbol.isprintable():
        return "bad_symbol", f"symbol {shown(symbol)}"
    return None


def _as_legs(given: Any) -> tuple[list[dict[str, Any]], list[Reject]]:
    """The legs of one side as dictionaries, from any of the forms an app may hold them in."""
    if given is None:
        return [], []
    records: Any = given
    if hasattr(given, "columns"):  # a DataFrame of polars or pandas, or an Arrow table
        if hasattr(given, "to_dicts"):
            records = given.to_dicts()
        elif hasattr(given, "to_pylist"):
            records = given.to_pylist()
        elif hasattr(given, "to_dict"):
            records = given.to_dict("records")
    elif isinstance(given, Mapping):
        records = [
            {"strike": strike, **leg} if isinstance(leg, Mapping) and "strike" not in leg else leg
            for strike, leg in given.items()
        ]
    if isinstance(records, str | bytes) or not hasattr(records, "__len__"):
        reject = Reject("not_a_chain", f"a {type(given).__name__} holds no legs", shown(given))
        return [], [reject] * legs_in(given)
    if all(type(leg) is dict for leg in records):
        return list(records), []
    legs, rejects = [], []
    for leg in records:
        if isinstance(leg, Mapping):
            # A copy: a mapping of another kind may raise, or answer differently, when read again.
            legs.append(dict(leg))
        else:
            rejects.append(Reject("not_a_leg", f"a leg is a {type(leg).__name__}, not a mapping", leg))
    return legs, rejects
