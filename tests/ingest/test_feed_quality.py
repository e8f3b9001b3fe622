"""What a detector must find is put into a simulated session: it is found there, and nowhere else."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_readers import alarms, flagged, judged

from catalog.dq_flags import DqFlag
from catalog.reference import ReferenceData
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.feed_quality import FeedQuality
from ingest.simulator import simulate_session

IST = ZoneInfo("Asia/Kolkata")
DAY = date(2026, 6, 11)
REFERENCE = ReferenceData.load()
UPDATES = 24
AT = 12
"""Number of the update that a fault is put into."""

COMPARING = (
    DqFlag.REPEATED | DqFlag.FROZEN | DqFlag.STALE | DqFlag.VOLUME_FALLS | DqFlag.WRONG_CLOCK | DqFlag.PARTIAL
)
Updates = list[ChainUpdate]
Fault = Callable[[Updates], Updates | None]


@cache
def _session(symbols: tuple[str, ...], count: int) -> Updates:
    stream = simulate_session(
        DAY, REFERENCE, seed=5, symbols=symbols, interval_s=60, strikes=12, expiries=2
    )  # fmt: skip
    return [next(stream) for _ in range(count)]


def session(*symbols: str, count: int = UPDATES) -> Updates:
    """The first minutes of a simulated session: one update a minute and symbol, two expiries in each."""
    return copy.deepcopy(_session(symbols or ("NIFTY",), count))


def legs_of(update: ChainUpdate) -> list[dict[str, Any]]:
    return [*update.calls, *update.puts]


def take_legs(update: ChainUpdate, other: ChainUpdate) -> None:
    update.calls, update.puts = copy.deepcopy(other.calls), copy.deepcopy(other.puts)


def near_the_money(update: ChainUpdate) -> dict[str, Any]:
    """The call of the nearest expiry whose strike is nearest to the spot."""
    expiry = min(leg["expiry"] for leg in update.calls)
    calls = [leg for leg in update.calls if leg["expiry"] == expiry]
    return min(calls, key=lambda leg: abs(leg["strike"] - update.context["underlying_price"]))  # type: ignore[index]


def repeated(updates: Updates) -> None:
    take_legs(updates[AT], updates[AT - 1])


def frozen(updates: Updates) -> None:
    spot = updates[AT - 1].context["underlying_price"]  # type: ignore[index]
    for number, factor in ((AT, 1.0001), (AT + 1, 1.0004), (AT + 2, 1.0002)):
        take_legs(updates[number], updates[AT - 1])
        updates[number].context = {**updates[number].context, "underlying_price": spot * factor}  # type: ignore[dict-item]


def zeroed(updates: Updates) -> None:
    for leg in legs_of(updates[AT]):
        leg.update(dict.fromkeys(("ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "volume", "iv"), 0))


def partial(updates: Updates) -> None:
    updates[AT].calls, updates[AT].puts = updates[AT].calls[::2], updates[AT].puts[::2]


def one_sided(updates: Updates) -> None:
    updates[AT].puts = [leg for leg in updates[AT].puts if leg is not updates[AT].puts[3]]


def stale(updates: Updates) -> None:
    take_legs(updates[AT], updates[AT - 5])


def second_collector(updates: Updates) -> None:
    for number in range(AT, AT + 8, 2):
        take_legs(updates[number], updates[AT - 4])


def volume_falls(updates: Updates) -> None:
    near_the_money(updates[AT])["volume"] = near_the_money(updates[AT - 1])["volume"] - 65


def crossed(updates: Updates) -> None:
    leg = near_the_money(updates[AT])
    leg["bid"], leg["ask"] = leg["ask"], leg["bid"]


def iv_bounds(updates: Updates) -> None:
    updates[AT].calls[0]["iv"], updates[AT].puts[0]["iv"] = 0.001, 3.5


def parity(updates: Updates) -> None:
    leg = near_the_money(updates[AT])
    leg.update({name: leg[name] + 900 for name in ("bid", "ask", "ltp")})


def off_spot(updates: Updates) -> None:
    context = updates[AT].context
    updates[AT].context = {**context, "underlying_price": context["underlying_price"] * 1.03}  # type: ignore[dict-item, index]


def late(updates: Updates) -> None:
    updates[AT].received_ns += 130_000_000_000


def ahead(updates: Updates) -> None:
    updates[AT].received_ns -= 10_000_000_000


def out_of_order(updates: Updates) -> Updates:
    return [*updates[:AT], updates[AT + 1], updates[AT], *updates[AT + 2 :]]


def pre_open_totals(updates: Updates) -> Updates:
    """The close of another day, shown before the open, and once more after it."""
    old = copy.deepcopy(updates[-1])
    opening: datetime = updates[0].event_time
    for leg in legs_of(old):
        leg["volume"] = (leg["volume"] or 0) * 50 + 65
    early = []
    for minutes in (-10, -5, 0):
        again = copy.deepcopy(old)
        again.event_time = opening + timedelta(minutes=minutes, seconds=-1 if minutes else 1)
        again.received_ns = int(again.event_time.timestamp()) * 1_000_000_000
        again.context = {**(old.context or {}), "underlying_price": 23_000.0 + minutes}
        early.append(again)
    return [*early, *updates[1:]]


def found_at(rows: pl.DataFrame, flag: DqFlag, times: list[Any]) -> set[int]:
    """Numbers of the updates with a flagged row."""
    return {times.index(at) for at in flagged(rows, flag)["event_time"].unique().to_list()}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (repeated, {DqFlag.REPEATED: {AT}}),
        (
            frozen,
            {DqFlag.REPEATED: {AT, AT + 1, AT + 2}, DqFlag.FROZEN: {AT + 1, AT + 2}},
        ),
        (zeroed, {DqFlag.ZEROED: {AT}}),
        (partial, {DqFlag.PARTIAL: {AT}}),
        (one_sided, {DqFlag.ONE_SIDED: {AT}}),
        (stale, {DqFlag.STALE: {AT}, DqFlag.VOLUME_FALLS: {AT}}),
        (volume_falls, {DqFlag.VOLUME_FALLS: {AT}}),
        (crossed, {DqFlag.CROSSED: {AT}}),
        (iv_bounds, {DqFlag.IV_BOUNDS: {AT}}),
        (parity, {DqFlag.PARITY: {AT}}),
        (off_spot, {DqFlag.OFF_SPOT: {AT}}),
        (late, {DqFlag.LATE: {AT}}),
        (ahead, {DqFlag.AHEAD: {AT}}),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_a_fault_is_flagged_where_it_is_and_nowhere_else(
    fault: Fault, expected: dict[DqFlag, set[int]]
) -> None:
    updates = session()
    fault(updates)
    rows = judged(updates, REFERENCE, live=True)
    times = [update.event_time for update in updates]
    found = {flag: at for flag in DqFlag if (at := found_at(rows, flag, times))}
    assert found == expected


@pytest.mark.parametrize(
    ("fault", "flag", "rows"),
    [
        (one_sided, DqFlag.ONE_SIDED, 1),
        (volume_falls, DqFlag.VOLUME_FALLS, 1),
        (crossed, DqFlag.CROSSED, 1),
        (iv_bounds, DqFlag.IV_BOUNDS, 2),
        (parity, DqFlag.PARITY, 2),
        (zeroed, DqFlag.ZEROED, 100),
        (stale, DqFlag.STALE, 100),
        (partial, DqFlag.PARTIAL, 50),
    ],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
def test_a_flag_of_a_leg_is_on_that_leg_and_one_of_a_chain_on_all(
    fault: Fault, flag: DqFlag, rows: int
) -> None:
    updates = session()
    fault(updates)
    assert len(flagged(judged(updates, REFERENCE, live=True), flag)) == rows


def test_a_second_collector_that_stands_still_is_told_from_the_one_that_moves() -> None:
    updates = session()
    second_collector(updates)
    rows = judged(updates, REFERENCE, live=True)
    times = [update.event_time for update in updates]
    wrong = set(range(AT, AT + 8, 2))
    assert found_at(rows, DqFlag.STALE | DqFlag.WRONG_CLOCK, times) == wrong
    assert found_at(rows, DqFlag(2**31 - 1), times) == wrong


def test_what_comes_out_of_order_is_flagged_live_and_compared_with_nothing() -> None:
    updates = out_of_order(session())
    rows = judged(updates, REFERENCE, live=True)
    assert set(alarms(rows)) == {"out_of_order"}
    assert flagged(rows, DqFlag.OUT_OF_ORDER)["event_time"].unique().to_list() == [updates[AT + 1].event_time]
    assert alarms(judged(updates, REFERENCE, live=False)) == {}


def test_a_recording_is_never_late(reference: ReferenceData) -> None:
    updates = session()
    for update in updates:
        update.received_ns += 10**18
    assert alarms(judged(updates, reference, live=False)) == {}


def test_totals_of_the_session_before_are_flagged_until_they_are_gone() -> None:
    updates = pre_open_totals(session())
    rows = judged(updates, REFERENCE, live=True)
    found = flagged(rows, DqFlag.PRE_OPEN_TOTALS)["event_time"].unique().sort().to_list()
    assert found == [update.event_time for update in updates[:3]]
    later = rows.filter(pl.col("event_time") > updates[2].event_time)
    assert alarms(later) == {}, "the session's own volume is lower, and right"


@pytest.mark.parametrize("interval_s", [60, 5])
def test_a_clean_simulated_session_raises_no_alarm(interval_s: int) -> None:
    stream = simulate_session(DAY, REFERENCE, seed=11, interval_s=interval_s)
    updates = [next(stream) for _ in range(600)]
    rows = judged(updates, REFERENCE, live=True, together=64)
    assert len(rows) > 90_000
    assert alarms(rows) == {}


FAULTS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        repeated, frozen, zeroed, partial, one_sided, stale, second_collector, volume_falls, crossed,
        iv_bounds, parity, off_spot, late, ahead, out_of_order, pre_open_totals,
    )
}  # fmt: skip


def split_by_side(updates: Updates) -> Updates:
    """Each chain as two updates, as feeds send it that answer for calls and puts apart."""
    halves = []
    for update in updates:
        for side in ("calls", "puts"):
            half = copy.copy(update)
            setattr(half, side, ())
            halves.append(half)
    return halves


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(FAULTS)), max_size=3, unique=True),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    split=st.booleans(),
)
def test_flags_do_not_depend_on_what_is_converted_together(
    names: list[str], cuts: list[int], split: bool
) -> None:
    updates = session("NIFTY", "SENSEX")
    for name in names:
        updates = FAULTS[name](updates) or updates
    if split:
        updates = split_by_side(updates)
    columns = ["exchange", "symbol", "expiry", "event_time", "received_time", "strike", "option_type"]
    alone = judged(updates, REFERENCE, live=True).sort(columns)
    quality = FeedQuality(REFERENCE.calendar, live=True)
    pieces, start = [], 0
    for cut in cuts * len(updates):
        if start >= len(updates):
            break
        pieces.append(judged(updates[start : start + cut], REFERENCE, together=cut, quality=quality))
        start += cut
    together = pl.concat(pieces).sort(columns)
    assert together.select(*columns, "dq_flags").equals(alone.select(*columns, "dq_flags"))


def test_calls_and_puts_that_come_apart_are_no_fault() -> None:
    updates = split_by_side(session())
    assert alarms(judged(updates, REFERENCE, live=True)) == {}


def test_a_repeat_is_found_where_calls_and_puts_come_apart() -> None:
    updates = session()
    repeated(updates)
    rows = judged(split_by_side(updates), REFERENCE, live=True)
    assert set(alarms(rows)) == {"repeated"}
    assert flagged(rows, DqFlag.REPEATED).height == len(legs_of(updates[AT]))


def test_the_order_of_the_legs_changes_no_flag() -> None:
    rng = np.random.default_rng(3)
    for name, fault in FAULTS.items():
        updates = session()
        updates = fault(updates) or updates
        shuffled = copy.deepcopy(updates)
        for update in shuffled:
            update.calls = [update.calls[i] for i in rng.permutation(len(update.calls))]
            update.puts = [update.puts[i] for i in rng.permutation(len(update.puts))]
        columns = ["event_time", "received_time", "expiry", "strike", "option_type", "dq_flags"]
        one, other = (
            judged(each, REFERENCE, live=True).select(columns).sort(columns) for each in (updates, shuffled)
        )
        assert one.equals(other), name


def test_after_a_restart_only_the_first_chain_cannot_be_compared() -> None:
    for name, fault in FAULTS.items():
        if name in {"out_of_order", "second_collector", "pre_open_totals", "frozen"}:
            continue  # they go on from what was before the restart
        updates = session()
        fault(updates)
        whole = judged(updates, REFERENCE, live=True)
        before = judged(updates[: AT - 1], REFERENCE, live=True)
        after = judged(updates[AT - 1 :], REFERENCE, live=True)
        assert flagged(after.filter(pl.col("event_time") == updates[AT - 1].event_time), COMPARING).is_empty()
        both = pl.concat([before, after])
        assert both["dq_flags"].to_list() == whole["dq_flags"].to_list(), name


def test_nothing_but_the_flags_is_changed() -> None:
    updates = session()
    second_collector(updates)
    plain = convert(updates, REFERENCE)
    done = convert(updates, REFERENCE, quality=FeedQuality(REFERENCE.calendar, live=True))
    (rows,) = [entry.batch for entry in plain.entries if entry.table == "option_chain"]
    (judged_rows,) = [entry.batch for entry in done.entries if entry.table == "option_chain"]
    assert judged_rows.schema == rows.schema
    assert judged_rows.drop_columns("dq_flags").equals(rows.drop_columns("dq_flags"))
    assert done.offered[("option_chain", "NSE")] == plain.offered[("option_chain", "NSE")]


def test_rows_that_cannot_be_judged_are_kept_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    """The calendar does not know the exchange: a stand-in for any error in a detector."""
    (entry,) = [e for e in convert(session()[:1], REFERENCE).entries if e.table == "option_chain"]
    quality = FeedQuality(REFERENCE.calendar, live=True)
    rows, counts = quality.check("MCX", entry.batch, np.zeros(entry.rows, np.int64))
    assert set(rows.column("dq_flags").to_pylist()) == {int(DqFlag.UNCHECKED)}
    assert rows.drop_columns("dq_flags").equals(entry.batch.drop_columns("dq_flags"))
    assert counts is None
    assert "rows could not be judged" in caplog.text


def test_counts_by_minute_add_up_to_the_flags_of_the_rows() -> None:
    updates = session("NIFTY", "SENSEX", count=48)
    for fault in (repeated, crossed, off_spot):
        fault(updates)
    quality = FeedQuality(REFERENCE.calendar, live=True)
    counted: Counter[Any] = Counter()
    expected: Counter[Any] = Counter()
    for start in range(0, len(updates), 7):
        for entry in convert(updates[start : start + 7], REFERENCE, quality=quality).entries:
            for row in entry.batch.to_pylist():
                if entry.table == "feed_quality":
                    minute = row["event_time"]
                    key = (row["exchange"], row["symbol"], minute, row["detector"])
                    if row["detector"] == "seen":
                        counted[*key, "rows"] += row["rows_seen"]
                    counted[*key, "flagged"] += row["rows_flagged"]
                elif entry.table == "option_chain":
                    minute = row["event_time"].replace(second=0, microsecond=0)
                    key = (row["exchange"], row["symbol"], minute)
                    expected[*key, "seen", "rows"] += 1
                    expected[*key, "seen", "flagged"] += row["dq_flags"] != 0
                    for flag in DqFlag:
                        expected[*key, str(flag.name).lower(), "flagged"] += bool(row["dq_flags"] & flag)
    assert +counted == +expected
    assert sum(count for key, count in counted.items() if key[-1] == "flagged") > 100


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.feed_quality.MOST_HISTORIES", 50)
    quality = FeedQuality(REFERENCE.calendar, live=False)
    (update,) = session(count=1)
    for number in range(200):
        update.symbol = f"STOCK{number}"
        convert([update], REFERENCE, quality=quality)
    assert len(quality._histories) == 50


def test_a_new_session_begins_without_a_history() -> None:
    updates = session()[:2]
    take_legs(updates[1], updates[0])
    updates[1].event_time += timedelta(days=1)
    rows = judged(updates, REFERENCE, live=False)
    assert flagged(rows, COMPARING).is_empty()
