"""What the section Now shows of one exchange, from what was looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catalog.calendar import SessionCalendar
from lake.app_queue import AppQueue
from lake.session import Session
from lake.spool import Queue
from monitors.check import Check
from monitors.dashboard.passing_chains import PassingChain
from monitors.dashboard.queries import dashboard_query
from monitors.dashboard.sections.states import BY_SEVERITY, State, state_of
from monitors.dashboard.session_state import SessionState, session_state
from monitors.dashboard.stream_facts import StreamFacts, StreamLook, Writer
from monitors.evaluate import Judgement
from monitors.metrics import METRICS
from monitors.rules import RuleSet

_QUALITY = (
    ("chain_completeness_pct", "Legs that came"),
    ("ltp_null_pct", "Without a last price"),
    ("oi_null_pct", "Without open interest"),
    ("underlying_null_pct", "Without the underlying"),
    ("one_sided_pct", "Strikes with one side"),
    ("duplicate_pct", "Doubled rows"),
    ("lateness_s", "Lateness (95 %)"),
    ("feed_gap_s", "Longest pause, 30 m"),
    ("quarantine_rate_pct", "Quarantined"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Attributes:
        label: What it is.
        value: The value, None for none.
        unit: Name of its unit.
        state: How it stands.
        told: What it is compared with, or why there is none.
    """

    label: str
    value: float | None
    unit: str
    state: State
    told: str = ""


@dataclass(frozen=True, slots=True)
class Underlying:
    """One underlying: the price and the time of its newest chain, be it spooled or committed."""

    symbol: str
    price: float | None
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class Feed:
    """How fresh the feed is.

    Attributes:
        newest: `event_time` of the newest chain, spooled ones included; None if there never was one.
        limit_s: Seconds after which it is stale, None if no rule says.
        state: How it stands at the time of the look.
        told: In words, when it is not counted.
        counts: Whether its age is counted: while a session runs.
    """

    newest: datetime | None
    limit_s: float | None
    state: State
    told: str
    counts: bool


@dataclass(frozen=True, slots=True)
class AppNow:
    """The queue in the memory of one app.

    Attributes:
        app_id: The app.
        queue: How full it is; None if that is not known now.
        told_at: When the app told it last.
        state: How it stands.
        told: In words.
    """

    app_id: str
    queue: Queue | None
    told_at: datetime | None
    state: State
    told: str


@dataclass(frozen=True, slots=True)
class ExchangeNow:
    """The card of one exchange.

    Attributes:
        exchange: Its code.
        session: Where its day stands.
        feed: How fresh its feed is.
        underlyings: Newest prices.
        quality: Measures of the last minutes.
        quality_told: Why there is none.
        stream: What the spools say.
        writers: Writers of the apps that feed it.
        apps: The apps that feed it, with what waits in their memory; it is of all exchanges together.
        ledger_state: Whether every row is accounted for.
        backlog_state: Whether rows wait too long.
        batches: The newest micro-batches.
        problem: What could not be read.
        looked_at: When all this was looked at.
        has_lake: Whether there is a lake at all.
    """

    exchange: str
    session: SessionState
    feed: Feed
    underlyings: tuple[Underlying, ...]
    quality: tuple[Figure, ...]
    quality_told: str
    stream: StreamFacts
    writers: tuple[Writer, ...]
    apps: tuple[AppNow, ...]
    ledger_state: State
    backlog_state: State
    batches: tuple[Mapping[str, Any], ...]
    problem: str
    looked_at: datetime
    has_lake: bool = True


def newest_chains(session: Session) -> list[dict[str, Any]]:
    """The newest chain of every underlying; nothing where no chain was captured."""
    if "option_chain" not in session.snapshots:
        return []
    rows: list[dict[str, Any]] = session.table(dashboard_query("newest_chains").sql).to_pylist()
    return rows


def underlyings_of(
    committed: Sequence[Mapping[str, Any]], passing: Mapping[str, PassingChain]
) -> tuple[Underlying, ...]:
    """The newest of what is committed and what was seen in the spools, by symbol."""
    found = {
        row["symbol"]: Underlying(row["symbol"], row["underlying_price"], row["newest_event_time"])
        for row in committed
    }
    for symbol, chain in passing.items():
        known = found.get(symbol)
        if known is None or known.newest is None or chain.event_time >= known.newest:
            price = chain.price if chain.price is not None or known is None else known.price
            found[symbol] = Underlying(symbol, price, chain.event_time)
    return tuple(found[symbol] for symbol in sorted(found))


def feed_of(rules: RuleSet, state: SessionState, newest: datetime | None, now: datetime) -> Feed:
    """How fresh a feed is; its age counts from the open, and only while a session runs."""
    rule = next((one for one in rules.enabled if one.metric == "feed_age_s"), None)
    limit_s = rule.threshold if rule else None
    if not state.is_open or state.session is None:
        told = "no session runs" if newest else "no chain was ever captured"
        return Feed(newest, limit_s, State.OFF if newest else State.NONE, told, counts=False)
    since = max(newest or state.session.open, state.session.open)
    is_late = rule is not None and rule.breaches((now - since).total_seconds())
    if newest is None or newest < state.session.open:
        found = BY_SEVERITY[rule.severity] if rule and is_late else State.NONE
        return Feed(newest, limit_s, found, "no chain yet in this session", counts=False)
    return Feed(
        newest, limit_s, BY_SEVERITY[rule.severity] if rule and is_late else State.OK, "", counts=True
    )


def app_of(rules: RuleSet, app: AppQueue, now: datetime) -> AppNow:
    """How the queue of an app stands; what was told long ago is not shown as if it were so now."""
    queue = app.known(now)
    if queue is not None:
        rule = next((one for one in rules.enabled if one.metric == "queue_used_pct"), None)
        if rule is not None and rule.breaches(100.0 * queue.highest / queue.capacity):
            return AppNow(app.app_id, queue, app.told_at, BY_SEVERITY[rule.severity], "nearly full")
        return AppNow(app.app_id, queue, app.told_at, State.OK, State.OK.word)
    if not app.runs:
        return AppNow(app.app_id, None, app.told_at, State.OFF, "does not run")
    if app.told is None:
        return AppNow(app.app_id, None, None, State.UNKNOWN, "does not tell")
    return AppNow(app.app_id, None, app.told_at, State.WARN, "is silent")


def quality_of(check: Check | None, exchange: str) -> tuple[tuple[Figure, ...], str]:
    """Measures of the last minutes with their rules, and why there are none."""
    if check is None:
        return (), "being measured"
    moment = check.measured.moments.get(exchange)
    if moment is not None and not moment.has_opened:
        return (), "measured from the open of a session on"
    found = []
    for metric, label in _QUALITY:
        judgements = [
            one for one in check.judgements
            if one.rule.metric == metric and one.labels.get("exchange") == exchange
        ]  # fmt: skip
        samples = check.measured.of(metric, exchange)
        chosen = max(judgements, key=lambda one: state_of(one).rank, default=None)
        values = [one.value for one in samples if one.value is not None]
        # Of several series, e.g. one an expiry, the one that its rule likes least.
        value = (min(values) if metric == "chain_completeness_pct" else max(values)) if values else None
        state = state_of(chosen) if chosen else (State.OK if values else State.NONE)
        told = limit_text(chosen) if chosen else next((one.why for one in samples if one.why), "")
        found.append(Figure(label, value, METRICS[metric].unit, state, told))
    return tuple(found), ""


def limit_text(judgement: Judgement) -> str:
    """What a rule compares with, in words."""
    rule = judgement.rule
    told = judgement.told if judgement.value is None and judgement.told else ""
    return f"{rule.name}: {told}" if told else f"{rule.name}: alert if {rule.comparison} {rule.threshold:g}"


def exchange_now(
    exchange: str,
    now: datetime,
    *,
    calendar: SessionCalendar,
    rules: RuleSet,
    look: StreamLook,
    check: Check | None,
    chains: Sequence[Mapping[str, Any]],
    batches: Sequence[Mapping[str, Any]],
    problem: str,
    has_lake: bool = True,
) -> ExchangeNow:
    """The card of one exchange."""
    state = session_state(calendar, exchange, now)
    mine = [row for row in chains if row["exchange"] == exchange]
    stream = look.exchanges[exchange]
    underlyings = underlyings_of(mine, stream.chains)
    newest = max((one.newest for one in underlyings if one.newest is not None), default=None)
    quality, quality_told = quality_of(check, exchange)
    lag = next((one for one in rules.enabled if one.metric == "writer_lag_s"), None)
    waited = (now - stream.waiting_since).total_seconds() if stream.waiting_since else 0.0
    is_late = lag is not None and lag.breaches(waited)
    return ExchangeNow(
        exchange,
        state,
        feed_of(rules, state, newest, now),
        underlyings,
        quality,
        quality_told,
        stream,
        tuple(one for one in look.writers if one.app_id in stream.apps),
        tuple(app_of(rules, one, now) for one in look.queues if one.app_id in stream.apps),
        State.NONE if not stream.apps else State.BAD if stream.ledger.difference else State.OK,
        State.NONE if not stream.apps else BY_SEVERITY[lag.severity] if lag and is_late else State.OK,
        tuple(batches),
        problem or look.problem,
        now,
        has_lake,
    )
