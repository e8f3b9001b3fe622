"""Each check finds what it is for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest

from lake.queries import QUERIES, load_query

INDIA = timezone(timedelta(hours=5, minutes=30))
TEN = datetime(2026, 1, 30, 10, 0, tzinfo=INDIA)

Rows = list[dict[str, Any]]
Check = Callable[[str, Sequence[Mapping[str, Any]]], Rows]


@pytest.fixture
def check(
    session: Callable[..., duckdb.DuckDBPyConnection],
    fetch: Callable[[duckdb.DuckDBPyConnection, str], Rows],
) -> Check:
    def run(name: str, rows: Sequence[Mapping[str, Any]]) -> Rows:
        with session(rows) as connection:
            return fetch(connection, load_query(QUERIES / "checks" / f"{name}.sql").sql)

    return run


def sound_rows() -> Rows:
    return [
        {"event_time": TEN + timedelta(minutes=minute), "option_type": kind, "volume": 65 * minute}
        for minute in range(3)
        for kind in ("CE", "PE")
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in (QUERIES / "checks").glob("*.sql")))
def test_sound_rows_pass_every_check(check: Check, name: str) -> None:
    assert check(name, sound_rows()) == []


def test_a_leg_stored_twice_is_told_with_the_reason_it_can_have(check: Check) -> None:
    leg = {"event_time": TEN, "received_time": TEN}
    again = {**leg, "received_time": TEN + timedelta(seconds=5), "batch_id": "batch-2"}
    other = {**leg, "source": "nse-json"}

    def counts(*rows: Mapping[str, Any]) -> tuple[int, ...]:
        (found,) = check("option_chain_duplicates", [*rows, {"strike": 1.0}])
        return tuple(found[name] for name in ("row_count", "receptions", "sources", "batches"))

    assert counts(leg, leg) == (2, 1, 1, 1)
    assert counts(leg, again) == (2, 2, 1, 2)
    assert counts(leg, other) == (2, 1, 2, 1)


def test_a_volume_that_falls_is_told_with_the_one_before_it(check: Check) -> None:
    volumes = ((0, 100), (1, None), (2, 90), (3, 90), (4, 120))
    rows = [{"event_time": TEN + timedelta(minutes=minute), "volume": volume} for minute, volume in volumes]
    (found,) = check("volume_falls", rows)
    assert found["event_time"] == TEN + timedelta(minutes=2)
    assert (found["volume"], found["previous_volume"], found["previous_event_time"]) == (90, 100, TEN)


@pytest.mark.parametrize(
    "later",
    [
        {"event_time": TEN + timedelta(days=1)},
        {"symbol": "BANKNIFTY"},
        {"strike": 1.0},
        {"option_type": "PE"},
        {"source": "nse-json"},
    ],
    ids=lambda later: next(iter(later)),
)
def test_volume_may_be_lower_on_another_date_contract_or_source(check: Check, later: dict[str, Any]) -> None:
    rows = [
        {"event_time": TEN, "volume": 100},
        {"event_time": TEN + timedelta(minutes=1), "volume": 5, **later},
    ]
    assert check("volume_falls", rows) == []


def test_a_stale_repeat_of_a_chain_that_was_received_again_does_not_fall(check: Check) -> None:
    rows = [
        {"event_time": TEN, "volume": 100, "received_time": TEN + timedelta(seconds=1)},
        {"event_time": TEN, "volume": 90, "received_time": TEN},
    ]
    assert check("volume_falls", rows) == []


@pytest.mark.parametrize("batch_id", [None, "", "  "])
def test_rows_without_a_batch_are_told(check: Check, batch_id: str | None) -> None:
    rows = [
        *sound_rows(),
        {"batch_id": batch_id, "event_time": TEN},
        {"batch_id": batch_id, "event_time": TEN},
    ]
    (found,) = check("batch_id_missing", rows)
    assert (found["event_time"], found["row_count"]) == (TEN, 2)


@pytest.mark.parametrize(
    ("local", "filed_under", "offends"),
    [
        ("2026-01-30T00:00:00", date(2026, 1, 30), False),
        ("2026-01-30T00:00:00", date(2026, 1, 29), True),
        ("2026-01-30T05:29:59", date(2026, 1, 30), False),
        ("2026-01-30T23:59:59.999999", date(2026, 1, 30), False),
        ("2026-01-30T23:59:59.999999", date(2026, 1, 31), True),
        ("2024-02-29T15:30:00", date(2024, 2, 29), False),
    ],
)
def test_a_chain_filed_under_another_date_than_its_local_one_is_told(
    check: Check, local: str, filed_under: date, offends: bool
) -> None:
    row = {"event_time": datetime.fromisoformat(f"{local}+05:30"), "date": filed_under}
    found = check("date_differs", [row])
    expected = [(filed_under, date.fromisoformat(local[:10]))] if offends else []
    assert [(each["date"], each["event_date"]) for each in found] == expected
