"""Turn chain updates into Arrow rows that keep the contract, and everything else into rejects.

Work is done in steps of at most `STEP_ROWS` rows, with the interpreter released in between: the
embedding app's own latency is the product, and one long conversion would stop its threads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog.contracts import ML_FEATURES, OPTION_CHAIN, Column
from catalog.exchanges import canonical_exchange, canonical_symbol
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject, exchange_key, has_features, legs_in, rows_offered
from ingest.quarantine import quarantine_entries
from lake.spool import Entry, Key

logger = logging.getLogger(__name__)

STEP_ROWS = 200
"""Rows converted at a stretch: about 0.3 ms of work with the interpreter held."""

MAX_FEATURES = 2_000
"""Features in one update; more are a mistake (a key made from a value) and would widen the table for ever."""

EARLIEST_EVENT = datetime(2000, 1, 1, tzinfo=UTC)
"""Index options began to trade in India in 2001: an earlier time is a broken clock."""

LATEST_EVENT_AFTER_RECEIPT = timedelta(days=1)
"""An event can be ahead of our clock by a wrong zone or clock, but not by more than a day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULL_TEXTS = frozenset({"", "-", "--", "nan", "na", "n/a", "null", "none"})
_EXACT_INTEGERS = 2.0**53
_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

# What a leg brings itself; everything else of a row comes from the update.
_LEG_NUMBERS = tuple(
    c
    for c in OPTION_CHAIN.columns
    if c.name in {"strike", "ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "oi_change", "volume", "iv"}
)
_CONTEXT_NUMBERS = tuple(
    c for c in OPTION_CHAIN.columns if c.name in {"underlying_price", "vix", "atm_strike", "pcr", "lot_size"}
)
_CHAIN_SCHEMA = pa.schema([f for f in OPTION_CHAIN.schema if f.name != "batch_id"])
_FEATURE_SCHEMA = pa.schema([f for f in ML_FEATURES.schema if f.name != "batch_id"])
_RESERVED = frozenset(name.casefold() for name in ML_FEATURES.schema.names)
_BAD_IN_NAMES = frozenset(' ,;{}()\n\t="\'`:/\\%')


@dataclass(slots=True)
class Converted:
    """What some updates became.

    Attributes:
        entries: Rows and rejects, ready for the spool.
        offered: Rows that were offered, by (table, exchange); all of them are in `entries`.
        rejects: Rejects by reason.
        identities: Identities of the updates, where they have one.
    """

    entries: list[Entry] = field(default_factory=list)
    offered: dict[Key, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    identities: list[bytes] = field(default_factory=list)


def convert(
    updates: Iterable[ChainUpdate], reference: ReferenceData, *, pause: Callable[[], None] | None = None
) -> Converted:
    """Convert updates; every offered row becomes exactly one row or one reject.

    Args:
        updates: As handed over; nothing in them is trusted.
        reference: Calendar and lot sizes.
        pause: Called between steps, to let other threads run.
    """
    done = Converted()
    chains: dict[str, list[pa.Table]] = {}
    features: dict[str, list[pa.Table]] = {}
    for update in updates:
        offered = rows_offered(update)
        for key, rows in offered.items():
            done.offered[key] = done.offered.get(key, 0) + rows
        if update.identity is not None:
            done.identities.append(update.identity)
        exchange = exchange_key(update.exchange)
        try:
            one = _convert_update(update, exchange, reference, pause)
        except Exception as error:
            # The objects are somebody else's, and any of their methods may raise anything. The drain
            # must go on, and the rows must be accounted for.
            logger.exception("update could not be read", extra={"action": "convert"})
            one = _Update(None, [], [], _unreadable(update, offered, error))
        chains.setdefault(exchange, []).extend(one.chain)
        features.setdefault(exchange, []).extend(one.features)
        if one.rejects:
            seen = one.moment or _EPOCH + timedelta(microseconds=update.received_ns // 1000)
            done.entries += quarantine_entries(
                one.rejects,
                exchange=exchange,
                day=reference.calendar.session_date(exchange, seen),
                received_ns=update.received_ns,
                source=_source(update),
            )
            for reject in one.rejects:
                done.rejects[reject.reason] = done.rejects.get(reject.reason, 0) + 1
    for table, parts in ((OPTION_CHAIN.table, chains), (ML_FEATURES.table, features)):
        for exchange, tables in parts.items():
            if tables:
                batch = pa.concat_tables(tables, promote_options="default")
                done.entries.append(Entry(table, exchange, table, batch))
    return done


@dataclass(slots=True)
class _Update:
    """What one update became."""

    moment: datetime | None
    chain: list[pa.Table]
    features: list[pa.Table]
    rejects: list[Reject]


def _convert_update(
    update: ChainUpdate, exchange: str, reference: ReferenceData, pause: Callable[[], None] | None
) -> _Update:
    done = _Update(None, [], [], list(update.rejects))
    try:
        done.moment = _event_time(update, reference)
    except ValueError as error:
        done.rejects += _reject_all(update, "bad_event_time", str(error))
        return done
    problem = _identity_problem(update)
    if problem:
        done.rejects += _reject_all(update, *problem)
        return done
    for rows, bad in _convert_chain(update, exchange, done.moment, reference):
        if rows is not None:
            done.chain.append(rows)
        done.rejects += bad
        if pause:
            pause()
    if has_features(update):
        row, bad = _convert_features(update, exchange, done.moment, reference)
        if row is not None:
            done.features.append(row)
        done.rejects += bad
    return done


def _unreadable(update: ChainUpdate, offered: Mapping[Key, int], error: Exception) -> list[Reject]:
    detail = f"reading it raised {type(error).__name__}: {_short(error)}"
    from_source = dict.fromkeys((reject.table for reject in update.rejects), 0)
    for reject in update.rejects:
        from_source[reject.table] += 1
    rejects = list(update.rejects)
    for (table, _), rows in offered.items():
        rest = rows - from_source.get(table, 0)
        rejects += [Reject("unreadable", detail, _short(update), table)] * rest
    return rejects


def _convert_chain(
    update: ChainUpdate, exchange: str, moment: datetime, reference: ReferenceData
) -> Iterator[tuple[pa.Table | None, list[Reject]]]:
    day = reference.calendar.session_date(exchange, moment)
    expiries = _Expiries(exchange, moment, reference)
    context, context_problems = _context_numbers(update)
    for option_type, given in (("CE", update.calls), ("PE", update.puts)):
        legs, rejects = _as_legs(given)
        if rejects:
            yield None, rejects
        for start in range(0, len(legs), STEP_ROWS):
            yield _convert_step(
                legs[start : start + STEP_ROWS], option_type, update, exchange, moment, day,
                expiries, context, context_problems,
            )  # fmt: skip


def _convert_step(
    legs: Sequence[Mapping[str, Any]],
    option_type: str,
    update: ChainUpdate,
    exchange: str,
    moment: datetime,
    day: date,
    expiries: _Expiries,
    context: Mapping[str, float],
    context_problems: Sequence[str],
) -> tuple[pa.Table | None, list[Reject]]:
    problems: dict[int, list[tuple[str, str]]] = {}
    size = len(legs)
    numbers: dict[str, _Floats] = {}
    for column in _LEG_NUMBERS:
        numbers[column.name] = _numbers(column, [leg.get(column.name) for leg in legs], problems)
    for column in _CONTEXT_NUMBERS:
        own = [leg.get(column.name) for leg in legs]
        whole = context.get(column.name, math.nan)
        values = _numbers(column, own, problems) if any(v is not None for v in own) else None
        if values is None:
            values = np.full(size, whole)
            _check_bounds(column, values, None, problems)
        else:
            values = np.where(np.isnan(values), whole, values)
        numbers[column.name] = values
    if context_problems:
        for index in range(size):
            problems.setdefault(index, []).extend(("bad_number", text) for text in context_problems)

    expiry: list[date | None] = []
    seconds: list[float | None] = []
    for index, leg in enumerate(legs):
        value = leg.get("expiry", update.expiry)
        try:
            parsed, remaining = expiries[value]
        except ValueError as error:
            problems.setdefault(index, []).append(("bad_expiry", str(error)))
            parsed, remaining = None, None
        expiry.append(parsed)
        seconds.append(remaining)
        stated = leg.get("option_type")
        if stated is not None and stated != option_type:
            problems.setdefault(index, []).append(
                ("bad_option_type", f"option_type is {stated!r} among the {option_type} legs")
            )
    if problems:
        rejects = [_reject(legs[i], option_type, found) for i, found in sorted(problems.items())]
        keep = [i for i in range(size) if i not in problems]
        if not keep:
            return None, rejects
        # Bad rows are rare: converting the good ones again keeps the common way short.
        rows, more = _convert_step(
            [legs[i] for i in keep], option_type, update, exchange, moment, day, expiries, context, ()
        )
        return rows, rejects + more

    arrays: dict[str, pa.Array] = {
        "date": pa.repeat(pa.scalar(day, pa.date32()), size),
        "exchange": pa.repeat(exchange, size),
        "event_time": _same_time(moment, size),
        "received_time": _same_time(_EPOCH + timedelta(microseconds=update.received_ns // 1000), size),
        "symbol": pa.repeat(canonical_symbol(update.symbol), size),
        "expiry": pa.array(expiry, pa.date32()),
        "option_type": pa.repeat(option_type, size),
        "time_to_expiry_s": pa.array(seconds, pa.float64()),
        "source": pa.repeat(_source(update), size),
        "dq_flags": pa.repeat(pa.scalar(0, pa.int32()), size),
    }
    for column in (*_LEG_NUMBERS, *_CONTEXT_NUMBERS):
        arrays[column.name] = _to_arrow(numbers[column.name], column.type)
    return pa.table([arrays[f.name] for f in _CHAIN_SCHEMA], schema=_CHAIN_SCHEMA), []


def _numbers(column: Column, values: Sequence[Any], problems: dict[int, list[tuple[str, str]]]) -> _Floats:
    """Values as doubles, NaN where missing; what is no number, or out of bounds, is noted."""
    try:
        result: _Floats = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        result = np.full(len(values), np.nan)
        for index, value in enumerate(values):
            try:
                result[index] = number(value)
            except ValueError as error:
                problems.setdefault(index, []).append(("bad_number", f"{column.name}: {error}"))
    if result.ndim != 1:  # every value a sequence of one length
        for index, value in enumerate(values):
            problems.setdefault(index, []).append(("bad_number", f"{column.name}: {value!r} is no number"))
        return np.full(len(values), np.nan)
    _check_bounds(column, result, values, problems)
    return result


def number(value: Any) -> float:
    """A number from what a feed may send for one; NaN for its forms of "missing".

    Raises:
        ValueError: It is neither.
    """
    if value is None:
        return math.nan
    if isinstance(value, str):
        text = value.strip()
        if text.casefold() in _NULL_TEXTS:
            return math.nan
        try:
            return float(text.replace(",", ""))
        except ValueError:
            raise ValueError(f"{value[:80]!r} is no number") from None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{_short(value)} is no number") from None


def _check_bounds(
    column: Column,
    values: _Floats,
    given: Sequence[Any] | None,
    problems: dict[int, list[tuple[str, str]]],
) -> None:
    bad: _Mask = np.isinf(values)
    if column.required:
        bad = bad | np.isnan(values)
    if column.minimum is not None:
        bad = bad | (values < column.minimum)
    if column.above is not None:
        bad = bad | (values <= column.above)
    if pa.types.is_integer(column.type):
        with np.errstate(invalid="ignore"):
            bad = bad | (values != np.floor(values)) & ~np.isnan(values) | (np.abs(values) > _EXACT_INTEGERS)
    if not bad.any():
        return
    for index in np.flatnonzero(bad):
        at = int(index)
        if at in problems and any(text.startswith(f"{column.name}:") for _, text in problems[at]):
            continue
        shown = _short(given[at] if given is not None else float(values[at]))
        problems.setdefault(at, []).append(("contract", f"{column.name}: {shown} {_rule(column)}"))


def _rule(column: Column) -> str:
    rules = []
    if column.required:
        rules.append("must be there")
    if column.above is not None:
        rules.append(f"must be above {column.above:g}")
    if column.minimum is not None:
        rules.append(f"must be at least {column.minimum:g}")
    if pa.types.is_integer(column.type):
        rules.append("must be a whole number")
    rules.append("must be finite")
    return "breaks: " + ", ".join(rules)


def _to_arrow(values: _Floats, kind: pa.DataType) -> pa.Array:
    if pa.types.is_integer(kind):
        missing = np.isnan(values)
        whole = np.where(missing, 0, values).astype(np.int64)
        return pa.array(whole, pa.int64(), mask=missing).cast(kind)
    return pa.array(values, kind, from_pandas=True)


def _context_numbers(update: ChainUpdate) -> tuple[dict[str, float], list[str]]:
    values: dict[str, float] = {}
    problems: list[str] = []
    context = update.context or {}
    for column in _CONTEXT_NUMBERS:
        try:
            value = number(context.get(column.name))
        except ValueError as error:
            problems.append(f"{column.name}: {error}")
            continue
        # A source that has no figure says 0, for these as for prices; a ratio of 0 is a figure.
        values[column.name] = math.nan if value == 0 and column.name != "pcr" else value
    return values, problems


def _convert_features(
    update: ChainUpdate, exchange: str, moment: datetime, reference: ReferenceData
) -> tuple[pa.Table | None, list[Reject]]:
    features = update.features
    if not isinstance(features, Mapping):
        return None, [Reject("bad_features", f"features are a {type(features).__name__}, not a mapping",
                             features, ML_FEATURES.table)]  # fmt: skip
    reason, detail = _features_problem(features)
    values: dict[str, float] = {}
    if not reason:
        for name, value in features.items():
            try:
                values[name] = number(value)
            except ValueError as error:
                reason, detail = "bad_number", f"{name}: {error}"
                break
    if reason:
        return None, [Reject(reason, detail, dict(features), ML_FEATURES.table)]
    day = reference.calendar.session_date(exchange, moment)
    received = _EPOCH + timedelta(microseconds=update.received_ns // 1000)
    row = pa.table(
        {
            "date": [day],
            "exchange": [exchange],
            "event_time": [moment],
            "received_time": [received],
            "symbol": [canonical_symbol(update.symbol)],
            "source": [_source(update)],
        },
        schema=_FEATURE_SCHEMA,
    )
    names = list(values)
    block = pa.table(
        [pa.array([values[name]], pa.float64(), from_pandas=True) for name in names], names=names
    )
    for name in names:
        row = row.append_column(name, block.column(name))
    return row, []


def _features_problem(features: Mapping[Any, Any]) -> tuple[str, str]:
    if len(features) > MAX_FEATURES:
        return "too_many_features", f"{len(features)} features; at most {MAX_FEATURES} are kept"
    folded: set[str] = set()
    for name in features:
        if not isinstance(name, str) or not name or len(name) > 200 or _BAD_IN_NAMES & set(name):
            return "bad_feature_name", f"{_short(name)} cannot be a column name"
        low = name.casefold()
        if low in _RESERVED:
            return "bad_feature_name", f"{name!r} is a column of the table already"
        if low in folded:
            return "bad_feature_name", f"{name!r} is there twice but for upper and lower case"
        folded.add(low)
    return "", ""


class _Expiries(dict[Any, tuple[date, float]]):
    """Expiry as given -> (date, seconds from the event to that session's close); worked out once each."""

    def __init__(self, exchange: str, moment: datetime, reference: ReferenceData) -> None:
        super().__init__()
        self._exchange, self._moment, self._reference = exchange, moment, reference

    def __missing__(self, value: Any) -> tuple[date, float]:
        day = _expiry(value)
        close = self._reference.calendar.close_of(self._exchange, day)
        found = (day, (close - self._moment).total_seconds())
        self[value] = found
        return found


def _expiry(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        for pattern in (None, "%d-%m-%Y"):
            try:
                if pattern is None:
                    return date.fromisoformat(value.strip()[:10])
                return datetime.strptime(value.strip(), pattern).replace(tzinfo=UTC).date()
            except ValueError:
                continue
    raise ValueError(f"expiry {_short(value)} is no date; give a date or YYYY-MM-DD")


def _event_time(update: ChainUpdate, reference: ReferenceData) -> datetime:
    """Aware moment of the event, plausible.

    Raises:
        ValueError: It is no time, or one that cannot be.
    """
    received = _EPOCH + timedelta(microseconds=update.received_ns // 1000)
    value = update.event_time
    if value is None:
        return received
    moment: datetime
    try:
        if isinstance(value, datetime):
            # pandas' Timestamp is a datetime with nanoseconds that Arrow would refuse to cut.
            moment = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = _EPOCH + timedelta(seconds=value)
        else:
            raise ValueError(f"event_time {_short(value)} is no time")
        if moment.tzinfo is None:
            zone = reference.calendar.timezone(exchange_key(update.exchange))
            moment = moment.replace(tzinfo=zone)
        moment = moment.astimezone(UTC)
    except (TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"event_time {_short(value)} is no time: {error}") from error
    if moment < EARLIEST_EVENT:
        raise ValueError(f"event_time {moment.isoformat()} is before {EARLIEST_EVENT.date()}")
    if moment > received + LATEST_EVENT_AFTER_RECEIPT:
        raise ValueError(
            f"event_time {moment.isoformat()} is more than a day after its receipt, {received.isoformat()}"
        )
    return moment


def _identity_problem(update: ChainUpdate) -> tuple[str, str] | None:
    if canonical_exchange(str(update.exchange)) is None:
        return "unknown_exchange", f"exchange {_short(update.exchange)}; known: NSE, BSE"
    if not isinstance(update.symbol, str) or not update.symbol.strip():
        return "bad_symbol", f"symbol {_short(update.symbol)}"
    return None


def _source(update: ChainUpdate) -> str:
    return str(update.source)


def _as_legs(given: Any) -> tuple[list[Mapping[str, Any]], list[Reject]]:
    """The legs of one side as mappings, from any of the forms an app may hold them in."""
    if given is None:
        return [], []
    records: Any = given
    if hasattr(given, "to_dict") and hasattr(given, "columns"):  # a DataFrame
        records = given.to_dict("records")
    elif isinstance(given, Mapping):
        records = [
            {"strike": strike, **leg} if isinstance(leg, Mapping) and "strike" not in leg else leg
            for strike, leg in given.items()
        ]
    if isinstance(records, str | bytes) or not hasattr(records, "__len__"):
        pieces = legs_in(given)
        return [], [Reject("not_a_chain", f"a {type(given).__name__} holds no legs", _short(given))] * pieces
    legs, rejects = [], []
    for leg in records:
        if isinstance(leg, Mapping):
            legs.append(leg)
        else:
            rejects.append(Reject("not_a_leg", f"a leg is a {type(leg).__name__}, not a mapping", leg))
    return legs, rejects


def _reject_all(update: ChainUpdate, reason: str, detail: str) -> list[Reject]:
    """One reject for each row the update offers."""
    found = []
    for option_type, given in (("CE", update.calls), ("PE", update.puts)):
        legs, rejects = _as_legs(given)
        found += [Reject(reason, detail, _payload(leg, option_type)) for leg in legs]
        found += rejects
    if has_features(update):
        payload = dict(update.features) if isinstance(update.features, Mapping) else update.features
        found.append(Reject(reason, detail, payload, ML_FEATURES.table))
    return found


def _reject(leg: Mapping[str, Any], option_type: str, problems: Sequence[tuple[str, str]]) -> Reject:
    return Reject(problems[0][0], "; ".join(text for _, text in problems), _payload(leg, option_type))


def _payload(leg: Mapping[str, Any], option_type: str) -> dict[str, Any]:
    return {"option_type": option_type, **{str(key): value for key, value in leg.items()}}


def _same_time(moment: datetime, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(moment, pa.timestamp("us", tz="UTC")), size)


def _short(value: Any) -> str:
    try:
        return repr(value)[:80]
    except Exception as error:  # noqa: BLE001 - a foreign object's repr() may raise anything
        return f"<{type(value).__name__}: {type(error).__name__}>"
