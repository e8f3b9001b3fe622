"""The point-in-time join and its audit, against a reference that looks at every pair of rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.asof import AsOfColumn, asof_join
from lake.errors import ContractError, QueryError
from lake.lookahead import OFFENCES, audit_lookahead

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
TIME = pa.timestamp("us", tz="UTC")
Row = dict[str, Any]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


LEFT = pa.schema([("station", pa.string()), ("level", pa.float64()), ("event_time", TIME), ("n", pa.int64())])
RIGHT = pa.schema(
    [
        ("station", pa.string()),
        ("level", pa.float64()),
        ("event_time", TIME),
        ("received_time", TIME),
        ("batch", pa.string()),
        ("celsius", pa.float64()),
        ("samples", pa.int64()),
        ("label", pa.dictionary(pa.int32(), pa.string())),
    ]
)


def readings(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows (station, event second, received second, celsius)."""
    return pa.table(
        {
            "station": pa.array([row[0] for row in rows], pa.string()),
            "event_time": pa.array([None if row[1] is None else at(row[1]) for row in rows], TIME),
            "received_time": pa.array([None if row[2] is None else at(row[2]) for row in rows], TIME),
            "celsius": pa.array([row[3] for row in rows], pa.float64()),
        }
    )


def moments(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows (station, second)."""
    return pa.table(
        {
            "station": pa.array([row[0] for row in rows], pa.string()),
            "event_time": pa.array([None if row[1] is None else at(row[1]) for row in rows], TIME),
        }
    )


# The definition once more, slowly: every left row looks at every right row.


def newer(row: Row, other: Row | None, tie_break: str | None) -> bool:
    """Whether `row`, which stands later in its table, is at least as new as `other`."""
    if other is None:
        return True

    def rank(of: Row) -> tuple[Any, ...]:
        received = of["received_time"]
        tie = None if tie_break is None else of[tie_break]
        return (
            of["event_time"],
            received is not None, received or START,
            tie is not None, tie or "",
        )  # fmt: skip

    return rank(row) >= rank(other)


def slow_source(
    row: Row,
    right: list[Row],
    column: AsOfColumn,
    *,
    by: list[str],
    hide_unreceived: bool = True,
    allow_exact_matches: bool = True,
    tie_break: str | None = None,
) -> Row | None:
    """The right row that counts for one left row and one column."""
    moment = row["event_time"]
    best: Row | None = None
    for other in right:
        if moment is None or other["event_time"] is None:
            continue
        if any(row[key] is None or other[key] is None or row[key] != other[key] for key in by):
            continue
        if other["event_time"] > moment or (not allow_exact_matches and other["event_time"] == moment):
            continue
        if hide_unreceived and (other["received_time"] is None or other["received_time"] > moment):
            continue
        if column.ignore_nulls and other[column.name] is None:
            continue
        if newer(other, best, tie_break):
            best = other
    if best is not None and column.tolerance is not None and moment - best["event_time"] > column.tolerance:
        return None
    return best


def slow_join(
    left: pa.Table, right: pa.Table, columns: list[AsOfColumn], *, source_times: bool = False, **terms: Any
) -> list[Row]:
    past = right.to_pylist()
    rows = []
    for row in left.to_pylist():
        joined = dict(row)
        for column in columns:
            source = slow_source(row, past, column, **terms) or {}
            joined[column.output] = source.get(column.name)
            if source_times:
                joined[f"{column.output}_event_time"] = source.get("event_time")
                joined[f"{column.output}_received_time"] = source.get("received_time")
        rows.append(joined)
    return rows


quick = settings(max_examples=250, deadline=None)
with_audit = settings(max_examples=80, deadline=None)  # each opens DuckDB

# Few values, so that ties, equal keys and events at the very moment are common; null is rare.
LEFT_SECONDS = st.sampled_from([*(at(n) for n in range(1, 8)), None])
SECONDS = st.sampled_from([*map(at, (0, 1, 1, 2, 2, 2, 3, 3, 4, 6)), None])
STATIONS = st.sampled_from([*"AAAAAABBB", None])
LEVELS = st.sampled_from([0.0, 0.0, -0.0, -0.0, 0.0, 1.5, None])
LEFT_ROWS = st.lists(
    st.fixed_dictionaries({"station": STATIONS, "level": LEVELS, "event_time": LEFT_SECONDS}),
    min_size=2,
    max_size=6,
).map(lambda rows: pa.Table.from_pylist([{**row, "n": n} for n, row in enumerate(rows)], schema=LEFT))
RIGHT_ROW = st.fixed_dictionaries(
    {
        "station": STATIONS,
        "level": LEVELS,
        "event_time": SECONDS,
        "received_time": SECONDS,
        "batch": st.sampled_from(["b1", "b2", "b3", None]),
        "celsius": st.sampled_from([1.0, 2.0, 3.0, -3.5, None]),
        "samples": st.sampled_from([1, 2, 3, 4, None]),
        "label": st.sampled_from(["x", "y", "z", None]),
    }
)
RIGHT_LISTS = st.lists(RIGHT_ROW, min_size=6, max_size=16)
COLUMNS = st.fixed_dictionaries(
    {
        name: st.builds(
            AsOfColumn,
            st.just(name),
            tolerance=st.none() | st.integers(0, 5).map(s),
            rename=st.sampled_from([None, f"{name}_known"]),
            ignore_nulls=st.booleans(),
        )
        for name in ("celsius", "samples", "label")
    }
).map(lambda columns: list(columns.values()))
TERMS = st.fixed_dictionaries(
    {
        "by": st.sampled_from([["station"], ["station", "level"], []]),
        "hide_unreceived": st.booleans(),
        "allow_exact_matches": st.booleans(),
        "tie_break": st.sampled_from([None, "batch"]),
    }
)


def history(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=RIGHT)


@given(LEFT_ROWS, RIGHT_LISTS.map(history), COLUMNS, TERMS, st.booleans())
@quick
def test_the_join_gives_what_looking_at_every_pair_gives(
    left: pa.Table, right: pa.Table, columns: list[AsOfColumn], terms: dict[str, Any], source_times: bool
) -> None:
    joined = asof_join(left, right, columns=columns, source_times=source_times, **terms)
    assert joined.to_pylist() == slow_join(left, right, columns, source_times=source_times, **terms)


@given(LEFT_ROWS, RIGHT_LISTS.map(history), COLUMNS, TERMS, st.booleans())
@with_audit
def test_what_the_join_gives_passes_the_audit(
    left: pa.Table, right: pa.Table, columns: list[AsOfColumn], terms: dict[str, Any], source_times: bool
) -> None:
    joined = asof_join(left, right, columns=columns, source_times=source_times, **terms)
    offences = audit_lookahead(joined, right, columns=columns, source_times=source_times, **terms)
    assert offences.to_pylist() == []


@given(LEFT_ROWS, RIGHT_LISTS.map(history), COLUMNS, TERMS, st.data())
@with_audit
def test_the_audit_finds_exactly_the_cells_that_are_not_what_every_pair_gives(
    left: pa.Table, right: pa.Table, columns: list[AsOfColumn], terms: dict[str, Any], data: st.DataObject
) -> None:
    truth = slow_join(left, right, columns, **terms)
    told = [dict(row) for row in truth]
    for column in columns:
        values = [*right.column(column.name).to_pylist(), None]
        for row in told:
            if data.draw(st.booleans()):
                row[column.output] = data.draw(st.sampled_from(values))
    frame = pa.Table.from_pylist(
        told,
        schema=pa.schema([*LEFT, *(RIGHT.field(c.name).with_name(c.output) for c in columns)]),
    )
    offences = audit_lookahead(frame, right, columns=columns, **terms)
    assert offences.schema == OFFENCES
    assert [(o["row"], o["column"]) for o in offences.to_pylist()] == [
        (number, column.output)
        for number, (row, true) in enumerate(zip(told, truth, strict=True))
        for column in columns
        if row[column.output] != true[column.output]
    ]


@given(LEFT_ROWS, RIGHT_LISTS, COLUMNS, TERMS, st.lists(st.tuples(RIGHT_ROW, st.integers(0, 10)), max_size=4))
@quick
def test_rows_of_the_future_change_nothing(
    left: pa.Table,
    past: list[Row],
    columns: list[AsOfColumn],
    terms: dict[str, Any],
    future: list[tuple[Row, int]],
) -> None:
    horizon = max((row["event_time"] for row in left.to_pylist() if row["event_time"]), default=START)
    more = list(past)
    for row, position in future:
        shift = {"event_time": horizon + s(1)} if position % 2 else {"received_time": horizon + s(1)}
        if terms["hide_unreceived"] or "event_time" in shift:
            more.insert(position, {**row, **shift})
    before = asof_join(left, history(past), columns=columns, **terms).to_pylist()
    assert asof_join(left, history(more), columns=columns, **terms).to_pylist() == before


@given(LEFT_ROWS, RIGHT_LISTS, COLUMNS, TERMS, st.integers(1, 1000))
@quick
def test_moving_the_future_further_away_changes_nothing(
    left: pa.Table, rows: list[Row], columns: list[AsOfColumn], terms: dict[str, Any], seconds: int
) -> None:
    horizon = max((row["event_time"] for row in left.to_pylist() if row["event_time"]), default=START)
    moved = [
        {**row, "event_time": row["event_time"] + s(seconds)}
        if row["event_time"] and row["event_time"] > horizon
        else row
        for row in rows
    ]
    before = asof_join(left, history(rows), columns=columns, **terms).to_pylist()
    assert asof_join(left, history(moved), columns=columns, **terms).to_pylist() == before


@given(LEFT_ROWS, RIGHT_LISTS, COLUMNS, TERMS, st.randoms(use_true_random=False))
@quick
def test_the_order_of_the_right_rows_does_not_matter_where_a_tie_break_tells_them_apart(
    left: pa.Table, rows: list[Row], columns: list[AsOfColumn], terms: dict[str, Any], random: Any
) -> None:
    rows = [{**row, "batch": f"b{number:02}"} for number, row in enumerate(rows)]
    shuffled = list(rows)
    random.shuffle(shuffled)
    terms = {**terms, "tie_break": "batch"}
    before = asof_join(left, history(rows), columns=columns, **terms).to_pylist()
    assert asof_join(left, history(shuffled), columns=columns, **terms).to_pylist() == before


# One rule at a time.


def celsius(left: pa.Table, right: pa.Table, column: str | AsOfColumn = "celsius", **terms: Any) -> list[Any]:
    joined = asof_join(left, right, **{"by": "station", "columns": [column], **terms})
    values: list[Any] = joined.column(joined.num_columns - 1).to_pylist()
    return values


def test_a_row_is_hidden_until_it_is_received() -> None:
    right = readings(("A", 0, 0, 1.0), ("A", 10, 15, 2.0))
    left = moments(("A", 9), ("A", 10), ("A", 14), ("A", 15))
    assert celsius(left, right) == [1.0, 1.0, 1.0, 2.0]
    assert celsius(left, right, hide_unreceived=False) == [1.0, 2.0, 2.0, 2.0]


def test_an_older_event_that_arrives_late_displaces_nothing() -> None:
    right = readings(("A", 10, 11, 2.0), ("A", 5, 20, 1.0), ("A", 30, 31, 3.0))
    assert celsius(moments(("A", 12), ("A", 25), ("A", 31)), right) == [2.0, 2.0, 3.0]


def test_a_clock_ahead_of_ours_does_not_show_an_event_before_it_happened() -> None:
    right = readings(("A", 0, 0, 1.0), ("A", 10, 8, 2.0))
    assert celsius(moments(("A", 9), ("A", 10)), right) == [1.0, 2.0]


def test_of_one_moment_the_row_received_last_counts() -> None:
    right = readings(("A", 5, 9, 2.0), ("A", 5, 6, 1.0))
    assert celsius(moments(("A", 7), ("A", 9)), right) == [1.0, 2.0]


def test_of_rows_with_equal_times_the_later_in_the_table_counts_unless_a_tie_break_says_otherwise() -> None:
    right = readings(("A", 5, 6, 1.0), ("A", 5, 6, 2.0)).append_column("batch", pa.array(["b2", "b1"]))
    assert celsius(moments(("A", 7)), right) == [2.0]
    assert celsius(moments(("A", 7)), right, tie_break="batch") == [1.0]


def test_a_row_without_tie_break_loses_to_one_that_has_it() -> None:
    right = readings(("A", 5, 6, 1.0), ("A", 5, 6, 2.0)).append_column("batch", pa.array(["b1", None]))
    assert celsius(moments(("A", 7)), right, tie_break="batch") == [1.0]


def test_a_value_counts_up_to_the_age_of_its_own_tolerance() -> None:
    right = readings(("A", 0, 0, 1.0))
    joined = asof_join(
        moments(("A", 0), ("A", 3), ("A", 4)),
        right,
        by="station",
        columns=[
            AsOfColumn("celsius", rename="ever"),
            AsOfColumn("celsius", tolerance=s(3), rename="three"),
            AsOfColumn("celsius", tolerance=s(0), rename="now"),
        ],
    )
    assert joined.select(["ever", "three", "now"]).to_pylist() == [
        {"ever": 1.0, "three": 1.0, "now": 1.0},
        {"ever": 1.0, "three": 1.0, "now": None},
        {"ever": 1.0, "three": None, "now": None},
    ]


def test_without_exact_matches_an_event_counts_a_microsecond_later() -> None:
    right = readings(("A", 0, 0, 1.0))
    left = moments(("A", 0), ("A", 0.000001))
    assert celsius(left, right, allow_exact_matches=False) == [None, 1.0]


def test_a_null_in_the_newest_row_counts_unless_nulls_are_ignored() -> None:
    right = readings(("A", 0, 0, 1.0), ("A", 5, 5, None))
    left = moments(("A", 6))
    assert celsius(left, right) == [None]
    assert celsius(left, right, AsOfColumn("celsius", ignore_nulls=True)) == [1.0]
    assert celsius(left, right, AsOfColumn("celsius", ignore_nulls=True, tolerance=s(5))) == [None]


def test_nulls_match_nothing() -> None:
    right = readings((None, 0, 0, 1.0), ("A", None, 0, 2.0), ("A", 0, None, 3.0))
    left = moments((None, 9), ("A", None), ("A", 9))
    assert celsius(left, right) == [None, None, None]
    assert celsius(left, right, hide_unreceived=False) == [None, None, 3.0]


def test_left_rows_keep_their_order_and_their_number() -> None:
    left = moments(("A", 9), ("B", 1), ("A", 9), ("A", 1), ("B", 9))
    right = readings(("A", 0, 0, 1.0), ("A", 5, 5, 2.0), ("B", 5, 5, 3.0))
    joined = asof_join(left, right, by=["station"], columns=["celsius"])
    assert joined.select(left.column_names) == left
    assert joined.column("celsius").to_pylist() == [2.0, None, 2.0, 1.0, 3.0]


def test_without_keys_every_row_is_asked_of_all() -> None:
    assert celsius(moments(("A", 9), (None, 9)), readings(("B", 1, 1, 1.0)), by=[]) == [1.0, 1.0]


def test_empty_tables_join() -> None:
    assert celsius(moments(("A", 9)), readings()) == [None]
    joined = asof_join(moments(), readings(("A", 1, 1, 1.0)), by="station", columns=["celsius"])
    assert joined.column_names == ["station", "event_time", "celsius"]
    assert joined.num_rows == 0


def test_source_times_say_where_a_value_is_from() -> None:
    joined = asof_join(
        moments(("A", 9), ("B", 9)),
        readings(("A", 1, 2, None)),
        by="station",
        columns=[AsOfColumn("celsius", rename="warmth")],
        source_times=True,
    )
    assert joined.column_names[2:] == ["warmth", "warmth_event_time", "warmth_received_time"]
    assert joined.to_pylist() == [
        {"station": "A", "event_time": at(9), "warmth": None,
         "warmth_event_time": at(1), "warmth_received_time": at(2)},
        {"station": "B", "event_time": at(9), "warmth": None,
         "warmth_event_time": None, "warmth_received_time": None},
    ]  # fmt: skip


def test_a_table_without_received_times_joins_on_event_time_when_told_so() -> None:
    right = readings(("A", 1, 5, 1.0)).drop_columns(["received_time"])
    joined = asof_join(
        moments(("A", 2)),
        right,
        by="station",
        columns=["celsius"],
        received_time=None,
        hide_unreceived=False,
        source_times=True,
    )
    assert joined.column_names == ["station", "event_time", "celsius", "celsius_event_time"]
    assert joined.column("celsius").to_pylist() == [1.0]


def test_values_keep_their_types() -> None:
    right = history(
        [{"station": "A", "event_time": at(1), "received_time": at(1), "label": "x", "samples": 3}]
    )
    joined = asof_join(moments(("A", 2), ("B", 2)), right, by="station", columns=["label", "samples"])
    assert joined.schema.field("label").type == RIGHT.field("label").type
    assert joined.schema.field("samples").type == pa.int64()
    assert joined.column("samples").to_pylist() == [3, None]


def test_times_of_another_zone_or_unit_are_the_same_moments() -> None:
    right = readings(("A", 1, 1, 1.0), ("A", 3, 3, 2.0))
    for kind in (pa.timestamp("s", tz="Asia/Tokyo"), pa.timestamp("ns", tz="UTC")):
        moved = right.set_column(1, "event_time", right.column("event_time").cast(kind))
        assert celsius(moments(("A", 2)), moved) == [1.0]


@pytest.mark.parametrize("kind", ["polars", "pandas", "duckdb", "string_view"])
def test_other_tables_than_arrow_are_taken_too(kind: str) -> None:
    right = readings(("A", 0, 0, 1.0), ("A", 5, 5, 2.0)).append_column("name", pa.array(["x", "y"]))
    with duckdb.connect() as connection:
        table: Any = {
            "polars": lambda: pl.DataFrame(right),
            "pandas": right.to_pandas,
            "duckdb": lambda: connection.from_arrow(right),
            "string_view": lambda: right.set_column(4, "name", right.column("name").cast(pa.string_view())),
        }[kind]()
        joined = asof_join(moments(("A", 3)), table, by="station", columns=["celsius", "name"])
    assert joined.column("celsius").to_pylist() == [1.0]
    assert joined.column("name").to_pylist() == ["x"]


# What is refused.

A = readings(("A", 1, 1, 1.0))
ONE = moments(("A", 1))
NAIVE = pa.timestamp("us")


def with_times(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    position = table.column_names.index(name)
    return table.set_column(position, name, table.column(name).cast(kind))


@pytest.mark.parametrize(
    ("left", "right", "change", "message"),
    [
        (ONE, A, {"columns": ["kelvin"]}, "right table has no column 'kelvin'"),
        (ONE, A, {"columns": []}, "at least one column"),
        (ONE, A, {"columns": "celsius"}, "list"),
        (ONE, A, {"by": "city"}, "left table has no column 'city'"),
        (ONE, A, {"as_of": "moment"}, "left table has no column 'moment'"),
        (ONE, A, {"tie_break": "batch"}, "right table has no column 'batch'"),
        (ONE, A.drop_columns(["received_time"]), {}, "right table has no column 'received_time'"),
        (ONE, A, {"received_time": None}, "hide_unreceived=False"),
        (ONE, A.append_column("celsius", A.column("celsius")), {}, "2 column 'celsius'"),
        (ONE.append_column("celsius", pa.array([1])), A, {}, "twice: celsius"),
        (ONE, A, {"columns": ["celsius", "celsius"]}, "twice: celsius"),
        (
            ONE.append_column("celsius_event_time", pa.array([1])),
            A,
            {"source_times": True},
            "twice: celsius_event_time",
        ),
        (ONE.set_column(0, "station", pa.array([1])), A, {}, "'station' is int64 on the left"),
        (7, A, {}, "int is no table"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    left: Any, right: pa.Table, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        asof_join(left, right, **{"by": "station", "columns": ["celsius"], **change})


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (with_times(ONE, "event_time", NAIVE), A, "'event_time' of the left table has no zone"),
        (ONE, with_times(A, "event_time", NAIVE), "'event_time' of the right table has no zone"),
        (ONE, with_times(A, "received_time", NAIVE), "'received_time' of the right table has no zone"),
        (ONE, with_times(A, "event_time", pa.int64()), "is int64; it must be a time"),
        (
            ONE,
            A.set_column(1, "event_time", pa.array([1], pa.timestamp("ns", tz="UTC"))),
            "does not fit UTC microseconds",
        ),
        (ONE, A.set_column(1, "event_time", pa.array([2**63 - 1], TIME)), "infinity"),
    ],
)
def test_times_that_are_no_moments_in_utc_microseconds_are_refused(
    left: pa.Table, right: pa.Table, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        asof_join(left, right, by="station", columns=["celsius"])


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(QueryError, match="negative"):
        AsOfColumn("celsius", tolerance=s(-1))


# The audit on frames that lie.


@dataclass(frozen=True)
class Session:
    """A walk in steps of 0.05, so that values come back, one reading every ten seconds, received late."""

    right: pa.Table
    left: pa.Table


@pytest.fixture(scope="module")
def session() -> Session:
    def walk(station: str, start: float) -> list[tuple[Any, ...]]:
        steps = [(7 * n * n + 3 * n) % 5 - 2 for n in range(200)]
        values = [round(start + 0.05 * sum(steps[: n + 1]), 2) for n in range(200)]
        return [(station, 10 * n, 10 * n + 1 + n % 17, value) for n, value in enumerate(values)]

    rows = [*walk("A", 20.0), *walk("B", 20.1)]
    left = [(station, 7 * n + 5) for n in range(280) for station in ("A", "B")]
    return Session(readings(*rows), moments(*left))


HOW: dict[str, Any] = {"by": "station", "columns": [AsOfColumn("celsius", tolerance=s(60))]}


def naive_join(
    session: Session, strategy: Any = "backward", tolerance: timedelta | None = None
) -> pl.DataFrame:
    left = pl.DataFrame(session.left).with_row_index("n").sort("event_time")
    right = pl.DataFrame(session.right).drop("received_time").sort("event_time")
    joined = left.join_asof(
        right, on="event_time", by="station", strategy=strategy, tolerance=tolerance, check_sortedness=False
    )
    return joined.sort("n").drop("n")


def reasons(frame: Any, right: pa.Table, **change: Any) -> dict[str, int]:
    offences = audit_lookahead(frame, right, **{**HOW, **change})
    counts = offences.column("reason").value_counts().to_pylist()
    return {count["values"]: count["counts"] for count in counts}


def test_an_honest_frame_passes_the_audit(session: Session) -> None:
    assert reasons(asof_join(session.left, session.right, **HOW), session.right) == {}


def test_a_join_on_event_time_alone_is_caught(session: Session) -> None:
    found = reasons(naive_join(session), session.right)
    assert found["received_after_as_of"] > 200
    assert reasons(naive_join(session, tolerance=s(60)), session.right, hide_unreceived=False) == {}


def test_a_join_by_pandas_on_event_time_alone_is_caught(session: Session) -> None:
    joined = pd.merge_asof(
        session.left.to_pandas().sort_values("event_time"),
        session.right.to_pandas().sort_values("event_time").drop(columns="received_time"),
        on="event_time",
        by="station",
    )
    assert reasons(joined, session.right)["received_after_as_of"] > 200


@pytest.mark.parametrize("strategy", ["forward", "nearest"])
def test_a_join_that_looks_forward_is_caught(session: Session, strategy: str) -> None:
    found = reasons(naive_join(session, strategy), session.right, hide_unreceived=False)
    assert found["event_after_as_of"] > 100


def test_a_column_shifted_back_by_a_row_is_caught(session: Session) -> None:
    honest = pl.DataFrame(asof_join(session.left, session.right, **HOW))
    shifted = honest.with_columns(pl.col("celsius").shift(-3).over("station"))
    found = reasons(shifted, session.right)
    assert found["event_after_as_of"] + found["received_after_as_of"] > 150


def test_the_last_value_of_the_session_in_every_row_is_caught(session: Session) -> None:
    last = pl.DataFrame(session.right).group_by("station").agg(pl.col("celsius").last())
    frame = pl.DataFrame(session.left).join(last, on="station", how="left", maintain_order="left")
    assert audit_lookahead(frame, session.right, **HOW).num_rows > 400


def test_a_wrong_cell_says_where_its_value_is_from() -> None:
    right = readings(("A", 0, 1, 1.0), ("A", 10, 11, 2.0), ("A", 20, 29, 3.0), ("A", 40, 41, 4.0))
    cells = [(25, 4.0), (25, 3.0), (25, 2.0), (25, 1.0), (25, 9.0), (25, None), (99, 4.0), (99, None)]
    frame = moments(*(("A", second) for second, _ in cells))
    frame = frame.append_column("celsius", pa.array([value for _, value in cells], pa.float64()))
    offences = audit_lookahead(frame, right, by="station", columns=[AsOfColumn("celsius", s(30))])
    assert [
        (o["row"], o["event_time"], o["received_time"], o["known_event_time"], o["reason"])
        for o in offences.to_pylist()
    ] == [
        (0, at(40), at(41), at(10), "event_after_as_of"),
        (1, at(20), at(29), at(10), "received_after_as_of"),
        (3, at(0), at(1), at(10), "superseded"),
        (4, None, None, at(10), "value_not_found"),
        (5, None, None, at(10), "value_missing"),
        (6, at(40), at(41), None, "older_than_tolerance"),
    ]
    assert set(offences.column("column").to_pylist()) == {"celsius"}
    assert offences.column("as_of").to_pylist() == [at(25)] * 5 + [at(99)]


def test_of_rows_received_together_the_audit_takes_the_newest_whatever_their_order() -> None:
    together = [("A", (7 * n) % 40, 50, float((7 * n) % 40)) for n in range(40)]
    right = readings(*together)
    assert reasons(moments(("A", 50)).append_column("celsius", pa.array([39.0])), right) == {}
    assert reasons(moments(("A", 50)).append_column("celsius", pa.array([38.0])), right) == {"superseded": 1}


def test_a_null_instead_of_a_known_value_is_missing_whatever_nulls_the_history_has() -> None:
    right = readings(("A", 0, 0, None), ("A", 5, 5, 1.0), ("A", 20, 20, None))
    frame = moments(("A", 10)).append_column("celsius", pa.array([None], pa.float64()))
    (offence,) = audit_lookahead(frame, right, **HOW).to_pylist()
    assert (offence["reason"], offence["event_time"], offence["received_time"]) == (
        "value_missing",
        None,
        None,
    )
    claimed = {"celsius_event_time": at(20), "celsius_received_time": at(20)}
    for name, time in claimed.items():
        frame = frame.append_column(name, pa.array([time], TIME))
    assert reasons(frame, right, source_times=True) == {"event_after_as_of": 1}


def test_a_value_that_was_received_twice_counts_from_the_first_time() -> None:
    right = readings(("A", 0, 30, 1.0), ("A", 0, 1, 1.0), ("A", 10, 11, 2.0))
    frame = moments(("A", 20)).append_column("celsius", pa.array([1.0]))
    assert reasons(frame, right) == {"superseded": 1}


def test_of_two_sources_equally_near_the_later_is_reported() -> None:
    right = readings(("A", 0, 0, 1.0), ("A", 5, 5, 2.0), ("A", 20, 20, 1.0))
    frame = moments(("A", 10), ("A", 9)).append_column("celsius", pa.array([1.0, 1.0]))
    offences = audit_lookahead(frame, right, **HOW)
    assert offences.column("reason").to_pylist() == ["event_after_as_of", "superseded"]


def test_an_event_at_the_very_moment_is_caught_where_exact_matches_are_not_allowed() -> None:
    frame = moments(("A", 1)).append_column("celsius", pa.array([1.0]))
    assert reasons(frame, A, allow_exact_matches=False) == {"event_after_as_of": 1}


def test_a_value_beside_no_key_or_no_moment_is_caught() -> None:
    frame = moments((None, 5), ("A", None)).append_column("celsius", pa.array([1.0, 1.0]))
    assert reasons(frame, A) == {"value_not_found": 2}


def test_a_row_never_received_was_never_known() -> None:
    frame = moments(("A", 5)).append_column("celsius", pa.array([2.0]))
    right = readings(("A", 1, 1, 1.0), ("A", 2, None, 2.0))
    assert reasons(frame, right) == {"received_after_as_of": 1}


def test_source_times_tell_rows_of_equal_value_apart() -> None:
    right = readings(("A", 0, 0, 1.0), ("A", 10, 10, 1.0), ("A", 20, 20, 1.0))
    frame = asof_join(moments(("A", 15)), right, **HOW, source_times=True)
    for second, reason in ((20, "event_after_as_of"), (0, "superseded"), (3, "value_not_found")):
        lie = frame.set_column(3, "celsius_event_time", pa.array([at(second)], TIME))
        assert reasons(lie, right) == {}
        assert reasons(lie, right, source_times=True) == {reason: 1}


def test_the_audit_compares_in_the_type_of_the_frame_and_takes_nan_for_null() -> None:
    right = readings(("A", 1, 1, 0.1), ("B", 1, 1, None)).append_column("samples", pa.array([3, None]))
    frame = moments(("A", 5), ("B", 5))
    frame = frame.append_column("celsius", pa.array([0.1, float("nan")], pa.float32()))
    frame = frame.append_column("samples", pa.array([3.0, float("nan")]))
    assert reasons(frame, right, columns=["celsius", "samples"]) == {}


def test_a_column_without_any_value_is_audited_too() -> None:
    frame = moments(("A", 5), ("B", 5)).append_column("celsius", pa.nulls(2))
    assert reasons(frame, A) == {"value_missing": 1}
    assert reasons(frame, A.set_column(3, "celsius", pa.nulls(1))) == {}


def test_a_column_that_cannot_be_compared_is_an_error_and_no_pass() -> None:
    frame = moments(("A", 5)).append_column("celsius", pa.array([[1.0]]))
    with pytest.raises(QueryError, match="celsius"):
        audit_lookahead(frame, A, **HOW)
    with pytest.raises(QueryError, match="frame has no column 'celsius'"):
        audit_lookahead(moments(("A", 5)), A, **HOW)
    with pytest.raises(QueryError, match="at least one"):
        audit_lookahead(frame, A, by="station", columns=[])


def test_the_example_of_the_readme_runs() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Point-in-time joins")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert names["training"].column("iv").to_pylist() == [0.13, 0.13, 0.15]
    assert names["offences"].num_rows == 0
