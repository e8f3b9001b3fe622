"""Which updates there are, that they are always the same, and how one day follows another."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.simulator import SYMBOLS, simulate_session, stream_days
from lake.errors import SettingsError

FRIDAY = date(2026, 7, 10)
BUDGET_SUNDAY = date(2026, 2, 1)

seeds = settings(max_examples=6, deadline=None)
any_seed = st.integers(0, 2**40)


def test_updates_run_from_open_to_close_in_order_of_event_time(small: Any) -> None:
    updates = list(small(1))
    opens, closes = (datetime(2026, 7, 10, hour, minute, tzinfo=UTC) for hour, minute in ((3, 45), (10, 0)))
    times = [update.event_time for update in updates]
    assert times == sorted(times)
    per_symbol = {s: [u.event_time for u in updates if u.symbol == s] for s in SYMBOLS}
    every_half_hour = [opens + timedelta(minutes=30 * n) for n in range(13)]
    assert all(own == every_half_hour for own in per_symbol.values())
    assert every_half_hour[-1] <= closes


def test_last_update_is_at_the_close_when_the_interval_divides_the_session(small: Any) -> None:
    *_, last = small(1, interval_s=375 * 60 / 7)
    assert last.event_time == datetime(2026, 7, 10, 10, 0, tzinfo=UTC)


def test_symbols_of_one_event_time_come_in_the_order_asked_for(small: Any) -> None:
    first_three = list(itertools.islice(small(1, symbols=("SENSEX", "NIFTY", "BANKNIFTY")), 3))
    assert [update.symbol for update in first_three] == ["SENSEX", "NIFTY", "BANKNIFTY"]
    assert [update.exchange for update in first_three] == ["BSE", "NSE", "NSE"]


def test_same_seed_gives_the_same_updates(small: Any, digest: Any) -> None:
    assert digest(small(11)) == digest(small(11))


def test_another_seed_gives_other_updates(small: Any, digest: Any) -> None:
    assert digest(small(11)) != digest(small(12))


def test_another_day_gives_other_updates_of_the_same_seed(simulated: Any) -> None:
    spots = {
        simulated(3, day=day)[0].context["underlying_price"]
        for day in (date(2026, 7, 8), date(2026, 7, 9), date(2026, 7, 10))
    }
    assert len(spots) == 3


def test_a_symbol_does_not_depend_on_which_others_are_asked_for(small: Any, digest: Any) -> None:
    of_three = (update for update in small(5) if update.symbol == "SENSEX")
    assert digest(of_three) == digest(small(5, symbols=("SENSEX",)))


_SCRIPT = """
import hashlib
from datetime import date
from catalog.reference import ReferenceData
from ingest.simulator import simulate_session
updates = simulate_session(date(2026, 7, 10), ReferenceData.load(), seed=11, interval_s=1800.0, strikes=5)
print(hashlib.sha256("\\n".join(map(repr, updates)).encode()).hexdigest())
"""


def test_another_process_hash_seed_and_processor_give_the_same_updates(small: Any, digest: Any) -> None:
    vector_extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environments: list[dict[str, str]] = [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}]
    if vector_extensions:
        environments[1]["NPY_DISABLE_CPU_FEATURES"] = " ".join(vector_extensions)
    printed = {
        subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            cwd=Path(__file__).parents[3],
            env=os.environ | extra,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for extra in environments
    }
    assert printed == {digest(small(11))}


@pytest.mark.parametrize(
    "day", [date(2026, 7, 11), date(2026, 7, 12), date(2026, 1, 26)], ids=["Saturday", "Sunday", "holiday"]
)
def test_a_day_without_session_is_refused_at_the_call(reference: ReferenceData, day: date) -> None:
    with pytest.raises(SettingsError, match=f"NSE has no session on {day}"):
        simulate_session(day, reference, seed=1)


def test_the_budget_sunday_is_a_full_session(simulated: Any) -> None:
    updates = simulated(1, day=BUDGET_SUNDAY)
    assert updates[0].event_time == datetime(2026, 2, 1, 3, 45, tzinfo=UTC)
    assert updates[-1].event_time == datetime(2026, 2, 1, 10, 0, tzinfo=UTC)


def test_the_muhurat_session_lasts_its_hour(simulated: Any) -> None:
    updates = simulated(1, day=date(2025, 10, 21), interval_s=60.0)
    assert updates[0].event_time == datetime(2025, 10, 21, 8, 15, tzinfo=UTC)
    assert updates[-1].event_time == datetime(2025, 10, 21, 9, 15, tzinfo=UTC)
    assert len(updates) == 61


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"symbols": ("NIFTY", "RELIANCE")}, "RELIANCE"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("NIFTY", "NIFTY")}, "symbols"),
        ({"interval_s": 0.0}, "interval_s"),
        ({"interval_s": math.nan}, "interval_s"),
        ({"strikes": 0}, "strikes"),
        ({"expiries": 0}, "expiries"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(
    reference: ReferenceData, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        simulate_session(FRIDAY, reference, **({"seed": 1} | changes))


@pytest.fixture(scope="module")
def three_days(reference: ReferenceData) -> Callable[[int], dict[date, list[ChainUpdate]]]:
    """Simulates NIFTY from Monday, the day before an expiry, to Wednesday; by day."""

    def updates(seed: int) -> dict[date, list[ChainUpdate]]:
        days = [date(2026, 7, 13), date(2026, 7, 14), date(2026, 7, 15)]
        by_day: dict[date, list[ChainUpdate]] = {day: [] for day in days}
        for update in stream_days(
            days, reference, seed=seed, symbols=("NIFTY",), interval_s=1_800.0, strikes=5, expiries=2
        ):
            by_day[update.event_time.date()].append(update)
        return by_day

    return updates


@seeds
@given(any_seed)
def test_a_day_opens_with_the_open_interest_and_strikes_the_last_one_closed_with(
    legs_of: Any, three_days: Any, seed: int
) -> None:
    carried = 0
    for before, after in itertools.pairwise(three_days(seed).values()):
        closing, opening = dict(legs_of(before[-1])), dict(legs_of(after[0]))
        session_date = after[0].event_time.date()
        for key, leg in opening.items():
            assert leg["oi_change"] == 0
            if key in closing:
                assert leg["oi"] == closing[key]["oi"]
                carried += 1
        assert {key for key in closing if key[2] >= session_date} <= set(opening)
        assert all(key[2] >= session_date for key in opening)
        gap = after[0].context["underlying_price"] / before[-1].context["underlying_price"] - 1.0
        assert 0.0 < abs(gap) < 0.04
    assert carried > 0


def test_the_first_of_several_days_is_the_session_by_itself(
    digest: Any, reference: ReferenceData, three_days: Any
) -> None:
    first = iter(three_days(4)[date(2026, 7, 13)])
    alone = simulate_session(
        date(2026, 7, 13), reference, seed=4, symbols=("NIFTY",), interval_s=1_800.0, strikes=5, expiries=2
    )
    assert digest(first) == digest(alone)


@pytest.mark.parametrize("days", [[date(2026, 7, 14), date(2026, 7, 13)], [FRIDAY, FRIDAY]])
def test_days_that_do_not_ascend_are_refused(reference: ReferenceData, days: list[date]) -> None:
    with pytest.raises(SettingsError, match="ascend"):
        stream_days(days, reference, seed=1)


def test_a_day_without_session_among_several_is_refused_before_the_first_update(
    reference: ReferenceData,
) -> None:
    with pytest.raises(SettingsError, match="2026-07-11"):
        stream_days([FRIDAY, date(2026, 7, 11)], reference, seed=1)
