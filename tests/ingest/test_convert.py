"""Every offered row becomes exactly one row or one reject, and values arrive as they were meant."""

from __future__ import annotations

import json
import math
import time
from collections import UserDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.reference import ReferenceData
from ingest.convert import Converted, convert
from ingest.events import ChainUpdate, Reject

IST = ZoneInfo("Asia/Kolkata")
REFERENCE = ReferenceData.load()
NOW_NS = int(datetime(2026, 11, 20, 6, 0, tzinfo=UTC).timestamp()) * 1_000_000_000
AT = datetime(2026, 11, 20, 11, 30, tzinfo=IST)
NUMERIC = ("strike", "ltp", "bid", "ask", "bid_qty", "ask_qty", "oi", "oi_change", "volume", "iv")
WHOLE = {"bid_qty", "ask_qty", "oi", "oi_change", "volume"}


def update(calls: Any = (), puts: Any = (), **more: Any) -> ChainUpdate:
    given = {"exchange": "NSE", "symbol": "NIFTY", "event_time": AT, "received_ns": NOW_NS}
    return ChainUpdate(**{**given, "calls": calls, "puts": puts, "expiry": "2026-12-29", **more})


def leg(strike: Any = 26000.0, **more: Any) -> dict[str, Any]:
    return {"strike": strike, "ltp": 10.5, **more}


def rows_of(done: Converted, table: str = "option_chain") -> list[dict[str, Any]]:
    return [row for entry in done.entries if entry.table == table for row in entry.batch.to_pylist()]


def one(calls: Any = (), puts: Any = (), **more: Any) -> Converted:
    return convert([update(calls, puts, **more)], REFERENCE)


def reasons(done: Converted) -> list[str]:
    return [row["reason"] for row in rows_of(done, "quarantine")]


def assert_conserved(done: Converted) -> None:
    """Offered rows of every table are rows or rejects of that table and exchange, no more, no fewer."""
    kept: dict[tuple[str, str], int] = {}
    for entry in done.entries:
        key = (entry.origin, entry.group)
        kept[key] = kept.get(key, 0) + entry.batch.num_rows
    assert kept == {key: rows for key, rows in done.offered.items() if rows}
    assert sum(done.rejects.values()) == len(rows_of(done, "quarantine"))


def plain_number(value: Any) -> float | None:
    """The conversion again, value by value, without arrays: None is missing, ValueError no number."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str):
        text = value.strip().lower()
        if text in {"", "-", "--", "nan", "na", "n/a", "null", "none"}:
            return None
        value = text.replace(",", "")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError from error
    return None if math.isnan(result) else result


def plain_leg(found: dict[Any, Any]) -> dict[str, float | int | None] | None:
    """What a leg must become, None if it must be rejected."""
    row: dict[str, float | int | None] = {}
    for name in NUMERIC:
        try:
            value = plain_number(found.get(name))
        except ValueError:
            return None
        if value is None:
            if name == "strike":
                return None
            row[name] = None
            continue
        too_low = value <= 0 if name == "strike" else value < 0 and name != "oi_change"
        if math.isinf(value) or too_low:
            return None
        if name in WHOLE:
            if value != int(value) or abs(value) >= 2**53:
                return None
            row[name] = int(value)
        else:
            row[name] = value
    return row


class Raises:  # noqa: PLW1641 - its hash raises as well
    """An object of the app none of whose methods can be trusted."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    __int__ = __str__ = __repr__ = __hash__ = __float__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


class Unequal:
    """Counts as five, iterates as one."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Any:
        return iter([leg()])


numbers = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(10**6), 10**6),
    st.sampled_from([10**400, -(10**400), 2**53, 2**53 + 1, 2**63, 1e308]),
    st.booleans(),
    st.floats(0, 1e6).map(np.float64),
    st.integers(0, 1000).map(np.int32),
    st.integers(0, 255).map(np.uint8),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-10, max_value=10**7),
    st.sampled_from(
        ["", "-", "--", "nan", "N/A", " 12.5 ", "1,03,805", "26,000.00", "-3", "abc", "1.2.3", "inf"]
    ),
    st.text(max_size=3),
    st.binary(max_size=2).filter(lambda b: not b.strip().isdigit()),
    st.sampled_from([pd.NA, pd.NaT, Decimal("NaN"), np.nan]),
    st.lists(st.integers(), max_size=2),
    st.just({"a": 1}),
    st.builds(Raises),
    st.builds(object),
)
likely = st.one_of(st.integers(1, 50_000), st.floats(0.05, 50_000), st.none())
legs = st.dictionaries(st.sampled_from([*NUMERIC, "extra", "LTP"]), likely | numbers, max_size=8).map(
    lambda found: {"strike": 25_000.0, **found}
)
things = st.one_of(
    legs, legs, legs, st.none(), st.integers(), st.text(max_size=4), st.lists(st.integers(), max_size=2),
    legs.map(UserDict), st.builds(Raises), st.just({}), st.just({1: 2, None: 3, ("a",): 4}),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(legs, max_size=6), st.lists(legs, max_size=6))
def test_each_leg_becomes_the_row_a_plain_conversion_gives_or_one_reject(
    calls: list[dict[str, Any]], puts: list[dict[str, Any]]
) -> None:
    done = one(calls, puts)
    assert_conserved(done)
    expected = [("CE", plain_leg(each)) for each in calls] + [("PE", plain_leg(each)) for each in puts]
    wanted = [(side, row) for side, row in expected if row is not None]
    got = [(row["option_type"], {name: row[name] for name in NUMERIC}) for row in rows_of(done)]
    assert got == wanted
    assert len(reasons(done)) == len(expected) - len(wanted)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.lists(things, max_size=5), st.lists(things, max_size=5)), max_size=4))
def test_whatever_legs_are_none_is_lost_and_none_is_doubled(
    given_updates: list[tuple[list[Any], list[Any]]],
) -> None:
    done = convert([update(calls, puts) for calls, puts in given_updates], REFERENCE)
    assert_conserved(done)
    assert sum(done.offered.values()) == sum(len(c) + len(p) for c, p in given_updates)
    for row in rows_of(done, "quarantine"):
        json.loads(row["payload"], parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "hostile",
    [
        {"calls": [leg(ltp=Raises())]},
        {"calls": [leg(expiry=Raises())]},
        {"calls": [leg(option_type=Raises())]},
        {"calls": [{**leg(-1.0), Raises.__new__(type("Key", (), {"__str__": Raises.__float__})): 1}]},
        {"calls": Raises()},
        {"calls": Unequal()},
        {"calls": [leg()], "context": Raises()},
        {"calls": [leg()], "context": {"vix": Raises()}},
        {"calls": [leg()], "features": {"a": Raises()}},
        {"calls": [leg()], "symbol": "\ud800"},
        {"calls": [leg()], "source": "\ud800"},
        {"calls": [leg()], "source": Raises()},
        {"calls": [leg()], "expiry": Raises()},
        {"calls": [leg()], "event_time": Raises()},
        {"calls": [leg()], "exchange": Raises()},
        {"calls": (leg() for _ in range(3))},
        {"calls": "CE"},
        {"calls": 5},
    ],
)  # fmt: skip
def test_one_hostile_update_costs_no_row_of_the_others(hostile: dict[str, Any]) -> None:
    good = [update([leg(25_000.0 + i) for i in range(3)]) for _ in range(2)]
    done = convert([good[0], update(**hostile), good[1]], REFERENCE)
    assert_conserved(done)
    assert [row["strike"] for row in rows_of(done)].count(25_000.0) == 2
    assert len(rows_of(done)) >= 6


def test_an_update_that_the_app_empties_meanwhile_is_balanced() -> None:
    class Shrinking(list[Any]):
        def __iter__(self) -> Any:
            self.clear()
            return super().__iter__()

    done = one(Shrinking([leg(), leg()]))
    assert_conserved(done)
    assert reasons(done) == ["unreadable", "unreadable"]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda legs: legs, id="list"),
        pytest.param(tuple, id="tuple"),
        pytest.param(lambda legs: [UserDict(each) for each in legs], id="mappings"),
        pytest.param(lambda legs: {each["strike"]: {**each} for each in legs}, id="by_strike"),
        pytest.param(
            lambda legs: {e["strike"]: {k: e[k] for k in e if k != "strike"} for e in legs},
            id="by_bare_strike",
        ),
        pytest.param(pd.DataFrame, id="pandas"),
        pytest.param(pl.DataFrame, id="polars"),
        pytest.param(pa.Table.from_pylist, id="arrow"),
        pytest.param(pd.Series, id="series"),
    ],
)
def test_every_form_of_a_side_gives_the_same_rows(form: Any) -> None:
    given_legs = [leg(25_000.0, oi=75), leg(25_050.0, oi=None), leg(25_100.0, oi=150)]
    done = one(form(given_legs), [])
    assert [(row["strike"], row["ltp"], row["oi"]) for row in rows_of(done)] == [
        (25_000.0, 10.5, 75), (25_050.0, 10.5, None), (25_100.0, 10.5, 150),
    ]  # fmt: skip
    assert_conserved(done)


def test_fractional_open_interest_is_rejected_and_not_cut() -> None:
    done = one([leg(oi=92.5), leg(25_000.0, oi=92.0), leg(oi="92.5")])
    assert [row["oi"] for row in rows_of(done)] == [92]
    assert reasons(done) == ["contract", "contract"]
    assert json.loads(rows_of(done, "quarantine")[0]["payload"])["oi"] == 92.5


def test_a_leg_has_the_lot_of_its_own_and_else_that_of_the_update() -> None:
    given = {25_000.0: 65, 25_050.0: None, 25_100.0: 0, 25_150.0: "30", 25_200.0: 0.5, 25_250.0: -65}
    done = one([leg(strike, lot_size=own) for strike, own in given.items()], context={"lot_size": 75})
    assert {row["strike"]: row["lot_size"] for row in rows_of(done)} == {
        25_000.0: 65, 25_050.0: 75, 25_100.0: 75, 25_150.0: 30,
    }  # fmt: skip
    assert reasons(done) == ["contract", "contract"]
    assert_conserved(done)


@pytest.mark.parametrize("lot_size", [2**31, 3e9, 2**53, 0.5, -75])
def test_a_lot_size_that_its_column_cannot_hold_is_rejected(lot_size: float) -> None:
    done = one([leg()], context={"lot_size": lot_size})
    assert rows_of(done) == []
    assert reasons(done) == ["contract"]


def test_whole_numbers_that_a_double_cannot_tell_apart_are_rejected() -> None:
    assert reasons(one([leg(oi=2**53 + 1)])) == ["contract"]
    assert rows_of(one([leg(oi=2**53 - 1)]))[0]["oi"] == 2**53 - 1


def test_context_is_for_every_leg_and_zero_in_it_is_missing_but_for_the_ratio() -> None:
    context = {
        "underlying_price": "26,010.50",
        "vix": Decimal("13.5"),
        "atm_strike": 0,
        "pcr": 0,
        "lot_size": 75,
    }
    done = one([leg(), leg(underlying_price=26_011.0)], [leg()], context=context)
    assert [row["underlying_price"] for row in rows_of(done)] == [26_010.5, 26_011.0, 26_010.5]
    assert {(r["vix"], r["atm_strike"], r["pcr"], r["lot_size"]) for r in rows_of(done)} == {
        (13.5, None, 0.0, 75)
    }


def test_a_bad_context_rejects_the_legs_and_keeps_the_features() -> None:
    done = one([leg()], [leg()], context={"vix": "high"}, features={"rsi": 50.0})
    assert reasons(done) == ["bad_number", "bad_number"]
    assert rows_of(done, "ml_features")[0]["rsi"] == 50.0
    assert_conserved(done)


@pytest.mark.parametrize(
    ("event_time", "expected"),
    [
        (datetime(2026, 11, 20, 11, 30, tzinfo=IST), datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),
        (datetime(2026, 11, 20, 11, 30), datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),  # noqa: DTZ001
        ("2026-11-20T11:30:00", datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),
        ("2026-11-20 06:00:00+00:00", datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),
        (1_795_154_400, datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),
        (1_795_154_400.25, datetime(2026, 11, 20, 6, 0, 0, 250_000, tzinfo=UTC)),
        (np.int64(1_795_154_400), datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),
        (pd.Timestamp("2026-11-20 11:30", tz="Asia/Kolkata"), datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),
        (pd.Timestamp("2026-11-20 11:30:00.123456789"), datetime(2026, 11, 20, 6, 0, 0, 123_456, tzinfo=UTC)),
        (None, datetime(2026, 11, 20, 6, 0, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_event_times_of_every_form_mean_the_same_moment(event_time: Any, expected: datetime) -> None:
    (row,) = rows_of(one([leg()], event_time=event_time))
    assert row["event_time"] == expected
    assert row["received_time"] == datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "event_time",
    [
        0, datetime(1970, 1, 1, 5, 30, tzinfo=IST), "1970-01-01", "1999-12-31T23:59:59+00:00",
        datetime(2030, 1, 1, tzinfo=UTC), 1_795_154_400_000, math.nan, math.inf, pd.NaT, "soon", "", True,
        b"x", [],
        datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=IST), 10**30,
    ],
)  # fmt: skip
def test_an_impossible_event_time_rejects_every_row_of_the_update(event_time: Any) -> None:
    done = one([leg(), leg()], [leg()], event_time=event_time, features={"rsi": 1.0})
    assert rows_of(done) == rows_of(done, "ml_features") == []
    assert reasons(done) == ["bad_event_time"] * 4
    assert_conserved(done)


@pytest.mark.parametrize(
    ("moment", "session_date"),
    [
        (datetime(2026, 11, 19, 18, 29, 59, tzinfo=UTC), date(2026, 11, 19)),
        (datetime(2026, 11, 19, 18, 30, tzinfo=UTC), date(2026, 11, 20)),
        (datetime(2026, 11, 19, 23, 59, tzinfo=UTC), date(2026, 11, 20)),
        (datetime(2026, 11, 20, 0, 1, tzinfo=UTC), date(2026, 11, 20)),
    ],
)
def test_the_session_date_is_the_exchange_local_one(moment: datetime, session_date: date) -> None:
    done = one([leg(), leg(-1.0)], event_time=moment, features={"rsi": 1.0})
    tables = ("option_chain", "ml_features", "quarantine")
    assert [row["date"] for table in tables for row in rows_of(done, table)] == [session_date] * 3


def test_time_to_expiry_counts_to_the_close_of_the_expiry_session() -> None:
    expiries = [date(2026, 11, 24), date(2026, 12, 29), AT.date()]
    done = one([leg(expiry=day) for day in expiries])
    for row, day in zip(rows_of(done), expiries, strict=True):
        close = REFERENCE.calendar.close_of("NSE", day)
        assert row["expiry"] == day
        assert row["time_to_expiry_s"] == (close - AT).total_seconds()
    assert rows_of(done)[2]["time_to_expiry_s"] in {4 * 3600.0, 4 * 3600.0 + 600}


def test_an_expiry_of_the_leg_goes_before_that_of_the_update_and_a_missing_one_does_not() -> None:
    forms = [None, "2026-12-01", date(2026, 12, 1), datetime(2026, 12, 1, tzinfo=UTC),
             pd.Timestamp("2026-12-01"), "01-12-2026", pd.NaT, math.nan, "-", ""]  # fmt: skip
    done = one([leg(25_000.0 + i, expiry=form) for i, form in enumerate(forms)])
    own, update_s = date(2026, 12, 1), date(2026, 12, 29)
    assert [row["expiry"] for row in rows_of(done)] == [update_s, *[own] * 5, *[update_s] * 4]


@pytest.mark.parametrize("expiry", [None, "soon", 20261229, math.nan, pd.NaT, [], "2026-13-01"])
def test_without_a_usable_expiry_the_leg_is_rejected(expiry: Any) -> None:
    done = one([leg(), leg(expiry="2026-12-29")], expiry=expiry)
    assert [row["expiry"] for row in rows_of(done)] == [date(2026, 12, 29)]
    assert reasons(done) == ["bad_expiry"]


@pytest.mark.parametrize("size", [199, 200, 201, 4095, 4096, 4097, 8193])
def test_rejects_at_the_edges_of_steps_and_blocks_are_the_right_legs(size: int) -> None:
    bad = {0, 199, 200, 201, 4094, 4095, 4096, size - 1} & set(range(size))
    calls = [leg(float(i + 1), oi=0.5 if i in bad else i, tag=i) for i in range(size)]
    puts = [leg(float(i + 1), oi=i) for i in range(10)]
    done = one(calls, puts)
    assert_conserved(done)
    got = [(row["option_type"], row["strike"], row["oi"]) for row in rows_of(done)]
    assert got == [("CE", i + 1.0, i) for i in range(size) if i not in bad] + [
        ("PE", i + 1.0, i) for i in range(10)
    ]
    assert sorted(json.loads(r["payload"])["tag"] for r in rows_of(done, "quarantine")) == sorted(bad)


def test_many_updates_in_one_block_keep_their_own_times_symbols_and_contexts() -> None:
    given_updates = [
        update([leg(float(i + 1))], [leg(float(i + 1), oi=-1)], symbol=f"S{i}", source=f"a{i % 2}",
               event_time=AT + timedelta(seconds=i), context={"vix": i + 1.0})
        for i in range(50)
    ]  # fmt: skip
    done = convert(given_updates, REFERENCE)
    got = [(r["strike"], r["symbol"], r["source"], r["event_time"], r["vix"]) for r in rows_of(done)]
    assert got == [
        (i + 1.0, f"S{i}", f"a{i % 2}", AT + timedelta(seconds=i), i + 1.0) for i in range(50)
    ]  # fmt: skip
    assert sorted(r["source"] for r in rows_of(done, "quarantine")) == ["a0"] * 25 + ["a1"] * 25


def test_exchanges_are_told_apart_and_an_unknown_one_is_refused() -> None:
    done = convert([update([leg()], exchange=name) for name in ("NSE", "bfo", "MCX", None)], REFERENCE)
    assert [row["exchange"] for row in rows_of(done)] == ["NSE", "BSE"]
    assert reasons(done) == ["unknown_exchange"] * 2
    assert done.offered == {("option_chain", "NSE"): 3, ("option_chain", "BSE"): 1}


def test_a_leg_on_the_wrong_side_is_rejected() -> None:
    done = one([leg(option_type="CE"), leg(option_type="PE"), leg(option_type=pd.NA)])
    assert len(rows_of(done)) == 2
    assert reasons(done) == ["bad_option_type"]


def test_rejects_of_the_source_are_kept_beside_the_rows() -> None:
    done = one(
        [leg()], rejects=(Reject("bad_number", "x", {"a": math.nan, "b": [math.inf, np.float32("nan")]}),)
    )
    assert_conserved(done)
    (row,) = rows_of(done, "quarantine")
    assert json.loads(row["payload"], parse_constant=pytest.fail) == {"a": None, "b": ["inf", None]}


def test_between_steps_the_interpreter_is_offered_to_others() -> None:
    pauses: list[float] = []
    convert([update([leg()] * 1000, [leg()] * 200)], REFERENCE, pause=lambda: pauses.append(time.monotonic()))
    assert len(pauses) == 6


def test_features_are_one_row_with_a_column_each() -> None:
    features = {"rsi": 51.5, "odd name".replace(" ", "_"): "1,234.5", "Ünï": np.float32(2), "flag": True,
                "gone": None, "nan": math.nan, "na": pd.NA}  # fmt: skip
    done = one(features=features)
    (row,) = rows_of(done, "ml_features")
    assert {name: row[name] for name in features} == {
        "rsi": 51.5, "odd_name": 1234.5, "Ünï": 2.0, "flag": 1.0, "gone": None, "nan": None, "na": None,
    }  # fmt: skip
    assert (row["symbol"], row["exchange"], row["event_time"]) == ("NIFTY", "NSE", AT)


def test_updates_with_different_features_fill_what_they_lack_with_null() -> None:
    done = convert(
        [update(features={"a": 1.0}), update(features={"b": 2.0}), update(features={"a": 3.0})], REFERENCE
    )
    assert sorted((r["a"] or 0, r["b"] or 0) for r in rows_of(done, "ml_features")) == [
        (0, 2),
        (1, 0),
        (3, 0),
    ]


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"date": 1.0}, "bad_feature_name"),
        ({"Symbol": 1.0}, "bad_feature_name"),
        ({"BATCH_ID": 1.0}, "bad_feature_name"),
        ({"rsi": 1.0, "RSI": 2.0}, "bad_feature_name"),
        ({"": 1.0}, "bad_feature_name"),
        ({"a b": 1.0}, "bad_feature_name"),
        ({"a\x00": 1.0}, "bad_feature_name"),
        ({"\ud800": 1.0}, "bad_feature_name"),
        ({5: 1.0}, "bad_feature_name"),
        ({"x" * 201: 1.0}, "bad_feature_name"),
        ({"x": "high"}, "bad_number"),
        ({"x": [1.0]}, "bad_number"),
        ({"x": {}}, "bad_number"),
        ({"x": Raises()}, "bad_number"),
        ({"x": 10**400}, "bad_number"),
        ({"x": math.inf}, "contract"),
        ({"x": "-inf"}, "contract"),
        ({f"f{i}": 1.0 for i in range(2001)}, "too_many_features"),
        ([1.0], "bad_features"),
        ("rsi", "bad_features"),
    ],
)
def test_features_that_cannot_be_a_row_are_one_reject(features: Any, reason: str) -> None:
    done = one([leg()], features=features)
    assert len(rows_of(done)) == 1
    (row,) = rows_of(done, "quarantine")
    offered = 4 if features == "rsi" else 2
    assert sum(done.offered.values()) == 2 or offered == 4
    assert (row["table"], row["reason"]) == ("ml_features", reason)
    assert_conserved(done)


def test_two_thousand_features_are_taken() -> None:
    (row,) = rows_of(one(features={f"f{i}": float(i) for i in range(2000)}), "ml_features")
    assert row["f1999"] == 1999.0
