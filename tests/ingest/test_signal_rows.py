"""Every offered signal becomes exactly one row or one reject, and rows hold what was offered."""

from __future__ import annotations

import json
import math
from collections import UserDict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.reference import ReferenceData
from ingest.convert import Converted, convert
from ingest.events import ChainUpdate
from ingest.tap import StreamTap

REFERENCE = ReferenceData.load()
RECEIVED_NS = int(datetime(2026, 11, 20, 6, 0, tzinfo=UTC).timestamp()) * 1_000_000_000
AT = "2026-11-20T11:29:58+05:30"


class Raises:
    def __float__(self) -> float:
        raise RuntimeError("no")

    __len__ = __hash__ = __eq__ = __str__ = __repr__ = __float__  # type: ignore[assignment]


def record(**changes: Any) -> dict[str, Any]:
    good = {
        "signal": "SELL", "confidence": 0.5, "probabilities": {"BUY": 0.125, "HOLD": 0.375, "SELL": 0.5},
        "regime": {"vix": "low", "trend": "unknown"}, "model_version": "2026-11-19-0123456789ab",
        "dataset": "week47", "dataset_digest": "00ff", "depth": "exact",
        "top_features": [
            {"name": "vix", "value": 12.5, "z": -0.5, "magnitude": 0.75, "contribution": 0.25},
            {"name": "trend", "value": None, "z": None, "magnitude": 0.25, "contribution": -0.125},
        ],
        "expected": -1.0, "raw_score": -0.875,
        "narrative": "VIX 12.5 (for): the model leans bearish, SELL 50%.",
    }  # fmt: skip
    return good | changes


def converted(*records: Any, **more: Any) -> Converted:
    given = {"exchange": "NSE", "symbol": "Nifty 50", "event_time": AT, "received_ns": RECEIVED_NS}
    return convert([ChainUpdate(**given | more, signal=each) for each in records], REFERENCE)


def rows_of(done: Converted, table: str) -> list[dict[str, Any]]:
    return [row for entry in done.entries if entry.table == table for row in entry.batch.to_pylist()]


def reasons(done: Converted) -> list[str]:
    return [row["reason"] for row in rows_of(done, "quarantine")]


def assert_conserved(done: Converted, offered: int) -> None:
    assert sum(done.offered.values()) == offered
    assert len(rows_of(done, "signals")) + len(rows_of(done, "quarantine")) == offered
    assert {entry.origin for entry in done.entries} == {"signals"}


def test_an_app_need_not_tell_where_the_score_starts_but_not_half_of_it() -> None:
    plain = record()
    del plain["expected"], plain["raw_score"]
    (row,) = rows_of(converted(plain), "signals")
    assert (row["expected"], row["raw_score"]) == (None, None)
    assert reasons(converted(record(expected=None))) == ["contract"]
    assert reasons(converted(record(raw_score=float("inf")))) == ["contract"]


def test_a_row_holds_what_was_offered_and_whose_it_is() -> None:
    (row,) = rows_of(converted(record()), "signals")
    assert row == record() | {
        "regime": {"vix": "low", "trend": "unknown", "expiry": None},
        "date": datetime(2026, 11, 20, tzinfo=UTC).date(), "exchange": "NSE", "symbol": "NIFTY",
        "event_time": datetime(2026, 11, 20, 5, 59, 58, tzinfo=UTC),
        "received_time": datetime(2026, 11, 20, 6, 0, tzinfo=UTC), "source": "live",
    }  # fmt: skip


def test_what_need_not_be_there_is_null_and_a_signal_without_depth_has_none() -> None:
    least = {name: record()[name] for name in ("signal", "confidence", "probabilities", "model_version")}
    (row,) = rows_of(converted(least), "signals")
    absent = ("regime", "dataset", "dataset_digest", "top_features", "narrative")
    assert [row[name] for name in absent] == [None] * len(absent)
    assert row["depth"] == "none"


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, Decimal, str])
def test_numbers_of_every_kind_are_stored_as_the_same_numbers(kind: Callable[[float], Any]) -> None:
    given = record(
        confidence=kind(0.5),
        probabilities={name: kind(value) for name, value in record()["probabilities"].items()},
        top_features=[{"name": "vix", "value": kind(12.5), "z": pd.NA, "contribution": math.nan}],
    )
    (row,) = rows_of(converted(UserDict(given)), "signals")
    assert (row["confidence"], row["probabilities"]) == (0.5, record()["probabilities"])
    assert row["top_features"] == [
        {"name": "vix", "value": 12.5, "z": None, "magnitude": None, "contribution": None}
    ]


BREACHES: list[tuple[dict[str, Any], str, str]] = [
    ({"signal": None}, "contract", "signal"),
    ({"signal": "buy"}, "contract", "signal"),
    ({"signal": "BUY"}, "contract", "confidence"),
    ({"confidence": None}, "contract", "confidence"),
    ({"confidence": 0.4999}, "contract", "confidence"),
    ({"confidence": "high"}, "bad_number", "confidence"),
    ({"confidence": -0.1}, "contract", "confidence"),
    ({"probabilities": None}, "contract", "probabilities"),
    ({"probabilities": [0.125, 0.375, 0.5]}, "contract", "probabilities"),
    ({"probabilities": {"BUY": 0.5, "SELL": 0.5}}, "contract", "probabilities"),
    ({"probabilities": {"BUY": 0.25, "HOLD": 0.375, "SELL": 0.5}}, "contract", "probabilities"),
    ({"probabilities": {"BUY": math.nan, "HOLD": 0.5, "SELL": 0.5}}, "contract", "probabilities.BUY"),
    ({"probabilities": {"BUY": 1.5, "HOLD": -1.0, "SELL": 0.5}}, "contract", "probabilities.BUY"),
    ({"regime": "low"}, "contract", "regime"),
    ({"regime": {"moon": "full"}}, "contract", "regime"),
    ({"regime": {"vix": 1}}, "bad_text", "regime.vix"),
    ({"model_version": None}, "bad_text", "model_version"),
    ({"model_version": " "}, "bad_text", "model_version"),
    ({"dataset": "\ud800"}, "bad_text", "dataset"),
    ({"depth": "deep"}, "contract", "depth"),
    ({"top_features": {"vix": 1.0}}, "contract", "top_features"),
    ({"top_features": ["vix"]}, "contract", "top_features[0]"),
    ({"top_features": [{"value": 1.0}]}, "bad_text", "top_features[0].name"),
    ({"top_features": [{"name": "vix", "values": 1.0}]}, "contract", "top_features[0]"),
    ({"top_features": [{"name": "a"}, {"name": "b", "z": math.inf}]}, "contract", "top_features[1].z"),
    ({"top_features": [{"name": "vix", "value": "x"}]}, "bad_number", "top_features[0].value"),
    ({"top_features": [{"name": f"f{i}"} for i in range(101)]}, "contract", "top_features"),
    ({"narrative": "x" * 10_001}, "bad_text", "narrative"),
    ({"batch_id": "mine"}, "unknown_field", "batch_id"),
    ({"event_time": AT}, "unknown_field", "event_time"),
    ({"mood": 1}, "unknown_field", "mood"),
]


@pytest.mark.parametrize(("changes", "reason", "field"), BREACHES)
def test_a_breach_is_one_reject_that_names_the_field_and_keeps_the_record(
    changes: dict[str, Any], reason: str, field: str
) -> None:
    done = converted(record(), record(**changes), record())
    assert_conserved(done, 3)
    (row,) = rows_of(done, "quarantine")
    assert (row["table"], row["reason"], row["exchange"]) == ("signals", reason, "NSE")
    assert field in row["detail"]
    assert json.loads(row["payload"])["narrative"]


@pytest.mark.parametrize("given", [(), [], "BUY", 5, 0.5, False, [("signal", "BUY")], object()])
def test_what_is_no_mapping_is_one_reject(given: Any) -> None:
    done = converted(given)
    assert_conserved(done, 1)
    assert reasons(done) == ["bad_signal"]


@pytest.mark.parametrize(
    "given",
    [Raises(), record(confidence=Raises()), record(top_features=[Raises()]), record(regime=Raises()),
     {Raises: 1}, record(probabilities={"BUY": Raises(), "HOLD": 0.5, "SELL": 0.5})],
)  # fmt: skip
def test_objects_that_raise_cost_no_other_signal(given: Any) -> None:
    done = converted(record(), given, record())
    assert_conserved(done, 3)
    assert len(rows_of(done, "signals")) == 2


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"exchange": "MCX"}, "unknown_exchange"),
        ({"symbol": None}, "bad_symbol"),
        ({"event_time": "soon"}, "bad_event_time"),
    ],
)
def test_a_signal_of_nobody_or_of_no_time_is_one_reject(more: dict[str, Any], reason: str) -> None:
    done = converted(record(), **more)
    assert_conserved(done, 1)
    assert reasons(done) == [reason]


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["BUY", "exact"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "value", "BUY", "HOLD", "SELL", "vix", "?"]), inner, max_size=4
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*record(), "further"]), _VALUES, max_size=3), max_size=4))
def test_whatever_a_signal_holds_it_becomes_one_row_or_one_reject(changes: list[dict[str, Any]]) -> None:
    done = converted(record(), *(record(**each) for each in changes))
    assert_conserved(done, len(changes) + 1)
    for row in rows_of(done, "signals"):
        shares = row["probabilities"]
        assert row["confidence"] == pytest.approx(shares[row["signal"]], abs=2e-6)
        assert sum(shares.values()) == pytest.approx(1, abs=2e-6)
        for feature in row["top_features"] or ():
            numbers = [value for name, value in feature.items() if name != "name" and value is not None]
            assert all(map(math.isfinite, numbers))


def test_signals_that_find_the_queue_full_or_the_tap_closed_are_counted_as_signals(lake: Any) -> None:
    tap = StreamTap(lake.but(raw_stream_queue_size=2), start=False)
    for _ in range(5):
        assert tap.offer_signal("NSE", record(), symbol="NIFTY", event_time=AT)
    tap.start()
    assert tap.flush()
    assert tap.close()
    assert not tap.offer_signal("NSE", record(), symbol="NIFTY")
    assert tap.stats().dropped == {"queue_full": 3, "closed": 1}
    assert lake.totals("signals") == {
        "offered": 5, "spooled": 0, "committed": 2, "quarantined": 0, "dropped": 3, "difference": 0
    }  # fmt: skip
    assert lake.totals("option_chain")["offered"] == 0


def test_a_copying_tap_keeps_the_signal_that_the_app_changes_later(lake: Any) -> None:
    tap = StreamTap(lake.settings, copy=True, start=False)
    given = record()
    assert tap.offer_signal("NSE", given, symbol="NIFTY", event_time=AT)
    given["top_features"].clear()
    given["probabilities"]["SELL"] = 0.0
    tap.start()
    assert tap.close()
    assert lake.totals("signals")["committed"] == 1
