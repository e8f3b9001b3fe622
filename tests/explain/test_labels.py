"""Labels against brute force, and none that reaches across the end of a session."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from small_lake import SmallLake
from training_lake import lake_of, sessions, training_lake

from catalog.reference import ReferenceData
from explain.features import build_frame, feature_rows
from explain.frame import CLASSES, KEYS, LabelTerms
from lake.session import Session

MONDAY, TUESDAY = sessions(2)
YEAR_S = 252 * 375 * 60

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLake]:
    """Two sessions, the second of which ends early; now and then a chain is missing or has no price."""
    count = 0

    def disturb(update: Any) -> Any:
        nonlocal count
        count += 1
        if count % 11 == 0 or update.event_time > datetime(2026, 1, 6, 8, 20, tzinfo=UTC):
            return None
        if count % 17 == 0:
            update.context = {**update.context, "underlying_price": None}
        return update

    lake = training_lake(
        tmp_path_factory.mktemp("labels") / "lake",
        [MONDAY, TUESDAY],
        interval_s=75,
        strikes=2,
        change=disturb,
    )
    yield lake
    lake.engine.dispose()


def prices(session: Session) -> dict[date, list[tuple[datetime, float | None]]]:
    """The underlying at every chain, by session date."""
    found: dict[date, list[tuple[datetime, float | None]]] = {}
    for row in session.table(
        "SELECT date, event_time, max(underlying_price) AS price FROM option_chain"
        " GROUP BY date, event_time ORDER BY event_time"
    ).to_pylist():
        found.setdefault(row["date"], []).append((row["event_time"].astimezone(UTC), row["price"]))
    return found


def expected_labels(session: Session, terms: LabelTerms) -> dict[datetime, tuple[float, str]]:
    """Forward return and label of every moment that has them, by search."""
    volatility = {
        row["event_time"]: row["realised_volatility_15m"] for row in feature_rows(session, "NSE").to_pylist()
    }
    labels = {}
    for series in prices(session).values():
        last = series[-1][0]
        for moment, price in series:
            until = moment + terms.horizon
            ahead = [(m, p) for m, p in series if moment < m <= until]
            if not ahead or until > last or price is None or not volatility[moment]:
                continue
            then, later = ahead[-1]
            if then - moment < terms.horizon * 2 / 3 or later is None:
                continue
            move = math.log(later / price)
            expected = volatility[moment] * math.sqrt((then - moment).total_seconds() / YEAR_S)
            above, below = move > terms.threshold * expected, move < -terms.threshold * expected
            labels[moment] = (move, "BUY" if above else "SELL" if below else "HOLD")
    return labels


@pytest.mark.parametrize(
    "terms",
    [LabelTerms(), LabelTerms(timedelta(minutes=5), 1.0), LabelTerms(timedelta(minutes=4), 0.0)],
    ids=["15m", "5m", "4m"],
)
def test_labels_are_those_of_brute_force(made: SmallLake, terms: LabelTerms) -> None:
    with Session(made.lake) as session:
        frame = build_frame(session, "NSE", terms=terms)
        expected = expected_labels(session, terms)
    rows = frame.rows.select(["event_time", "forward_return", "label"]).to_pylist()
    assert [row["event_time"] for row in rows] == sorted(expected)
    assert len(rows) > 200
    for row in rows:
        move, label = expected[row["event_time"]]
        assert row["forward_return"] == pytest.approx(move, rel=1e-12, abs=1e-15)
        assert row["label"] == label
    assert len({row["label"] for row in rows}) >= 2


def test_no_label_reaches_across_the_end_of_a_session_or_of_what_was_recorded(made: SmallLake) -> None:
    with Session(made.lake) as session:
        frame = build_frame(session, "NSE")
        series = prices(session)
    calendar = ReferenceData.load().calendar
    for row in frame.rows.select(KEYS).to_pylist():
        end = row["event_time"] + frame.terms.horizon
        assert end <= calendar.close_of("NSE", row["date"])
        assert end <= series[row["date"]][-1][0]
        assert row["date"] == row["event_time"].date()


def test_a_frame_has_the_features_of_its_rows_and_a_label_for_each(made: SmallLake) -> None:
    with Session(made.lake) as session:
        frame = build_frame(session, "NSE")
        every = {row["event_time"]: row for row in feature_rows(session, "NSE").to_pylist()}
    for row in frame.rows.to_pylist():
        assert {name: row[name] for name in frame.features} == {
            name: every[row["event_time"]][name] for name in frame.features
        }
    assert frame.rows.column_names == [*KEYS, *frame.features, "forward_return", "label"]
    assert set(frame.rows["label"].to_pylist()) == set(CLASSES)
    assert frame.matrix().shape == (frame.rows.num_rows, len(frame.features))
    assert not set(frame.features) & {"forward_return", "label", "chain", "known_time", "source", "is_live"}


def test_a_forward_return_does_not_depend_on_what_was_before(made: SmallLake, tmp_path: Any) -> None:
    moment = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
    with Session(made.lake) as session:
        rows = session.table("SELECT * FROM option_chain WHERE date = DATE '2026-01-05'")
        rows = rows.cast(session.snapshots["option_chain"].schema)
    shift = pc.if_else(pc.less(rows["event_time"], pa.scalar(moment, rows["event_time"].type)), 1.25, 1.0)
    index = rows.schema.get_field_index("underlying_price")
    shifted = rows.set_column(index, "underlying_price", pc.multiply(rows["underlying_price"], shift))
    returns = []
    for name, table in (("as_it_was", rows), ("shifted", shifted)):
        lake = lake_of(tmp_path / name, {"option_chain": table})
        with Session(lake.lake) as session:
            frame = build_frame(session, "NSE").rows
        lake.engine.dispose()
        later = frame.filter(pc.greater_equal(frame["event_time"], pa.scalar(moment)))
        returns.append(later.select(["event_time", "forward_return"]))
    assert returns[0].num_rows > 50
    assert returns[0].equals(returns[1])


def test_labels_of_a_session_that_is_not_over_are_those_it_will_have(made: SmallLake, tmp_path: Any) -> None:
    moment = datetime(2026, 1, 5, 7, 7, tzinfo=UTC)
    with Session(made.lake) as session:
        rows = session.table("SELECT * FROM option_chain").cast(session.snapshots["option_chain"].schema)
        whole = build_frame(session, "NSE").rows
    so_far = rows.filter(pc.less_equal(rows["received_time"], pa.scalar(moment)))
    lake = lake_of(tmp_path / "so_far", {"option_chain": so_far})
    with Session(lake.lake) as session:
        part = build_frame(session, "NSE").rows
    lake.engine.dispose()
    assert part.num_rows > 50
    assert part.equals(whole.slice(0, part.num_rows).select(part.column_names))
