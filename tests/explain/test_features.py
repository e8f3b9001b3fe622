"""Every feature against plain Python, and no feature that knows the future."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from feature_reference import reference_rows
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from small_lake import SmallLake
from training_lake import empty_lake, lake_of, training_lake

from catalog import datasets
from catalog.contracts import ML_FEATURES, OPTION_CHAIN
from catalog.reference import ReferenceData
from explain.app_features import PREFIX, refuse_lookahead
from explain.features import FeatureRow, build_frame, feature_names, feature_rows, features_at
from explain.frame import KEYS, LabelTerms
from ingest.convert import convert
from ingest.events import ChainUpdate
from ingest.load import load
from ingest.sources import adapter, recording_files
from lake.asof import AsOfColumn
from lake.errors import ContractError, NotEnoughDataError, QueryError
from lake.session import Session
from lake.settings import Settings
from lake.spool import Spool
from lake.table import Lake

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)
CALENDAR = ReferenceData.load().calendar

Rows = list[dict[str, Any]]


def at(hour: int, minute: int, second: int = 0, *, day: date = MONDAY) -> datetime:
    """A moment of Indian clocks."""
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC) - timedelta(
        hours=5, minutes=30
    )


def legs_of(session: Session) -> Rows:
    table = session.table("SELECT * FROM option_chain")
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def assert_same(found: Rows, expected: Rows) -> None:
    """Same rows, same features, equal to the precision of doubles."""
    keys = [[tuple(row[name] for name in KEYS) for row in rows] for rows in (found, expected)]
    assert keys[0] == keys[1]
    for one, other in zip(found, expected, strict=True):
        features = {name for name in one if not name.startswith(PREFIX)}
        assert features == other.keys()
        for name in features:
            if isinstance(one[name], float) and isinstance(other[name], float):
                assert one[name] == pytest.approx(other[name], rel=1e-9, abs=1e-12), (name, one["event_time"])
            else:
                assert one[name] == other[name], (name, one["event_time"])


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLake]:
    """Two sessions of two indices, with strikes that come and go, gaps, missing figures and late chains."""
    rng = random.Random(5)  # noqa: S311

    def disturb(update: ChainUpdate) -> ChainUpdate | None:
        if rng.random() < 0.05:
            return None
        drop = rng.random()
        update = replace(
            update,
            calls=[leg for leg in update.calls if rng.random() > 0.03],
            puts=[leg for leg in update.puts if rng.random() > 0.03] if drop > 0.02 else [],
        )
        for leg in (*update.calls, *update.puts):
            for name in ("oi", "volume", "iv"):
                if rng.random() < 0.02:
                    leg[name] = rng.choice([None, 0])
        if rng.random() < 0.03:
            update.context = {**(update.context or {}), "underlying_price": None}
        if rng.random() < 0.05:
            update.received_ns += rng.randrange(300) * 1_000_000_000
        return update

    made = training_lake(
        tmp_path_factory.mktemp("captured") / "lake",
        [MONDAY, TUESDAY],
        symbols=("NIFTY", "BANKNIFTY"),
        strikes=14,
        interval_s=120,
        expiries=2,
        change=disturb,
    )
    yield made
    made.engine.dispose()


@pytest.fixture(scope="module")
def loaded(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Real recordings: two days of polls every five minutes, two of another source, some single chains."""
    root = tmp_path_factory.mktemp("loaded") / "lake"
    settings = Settings(root=root)
    morning = [f"_{hour:02}-" for hour in range(9, 12)]
    for name, folder in (
        ("nse-live-csv", "nse_live_derivatives_csv"),
        ("kite-poll", "kite_poll_csv/2026-01-30"),
        ("nse-json", "nse_api_json/v1"),
    ):
        source = adapter(name)
        files = recording_files(source, recordings / folder)
        if name == "kite-poll":
            files = [file for file in files if any(hour in file.name for hour in morning)]
        load(settings, source, files)
    return settings.lake


def test_every_feature_of_simulated_sessions_is_that_of_plain_python(captured: SmallLake) -> None:
    with Session(captured.lake) as session:
        found = feature_rows(session, "NSE")
        expected = reference_rows(legs_of(session), "NSE", CALENDAR)
    assert found.num_rows > 400
    assert all(found.column(name).null_count < found.num_rows for name in found.column_names)
    assert_same(found.to_pylist(), expected)


def test_every_feature_of_real_recordings_is_that_of_plain_python(loaded: Lake) -> None:
    with Session(loaded) as session:
        found = feature_rows(session, "NSE").to_pylist()
        assert found
        assert_same(found, reference_rows(legs_of(session), "NSE", CALENDAR))


def test_features_that_the_simulated_app_computes_as_well_agree(captured: SmallLake) -> None:
    with Session(captured.lake) as session:
        rows = feature_rows(session, "NSE").to_pylist()
    compared = 0
    for row in rows:
        for name in ("vix", "minutes_to_close", "days_to_expiry"):
            app = row[PREFIX + name]
            if app is not None and row[name] is not None:
                compared += 1
                assert row[name] == pytest.approx(app, abs=0.011)
    assert compared > 500


def tables_of(lake: Lake) -> dict[str, pa.Table]:
    with Session(lake) as session:
        return {
            name: session.table(f"SELECT * FROM {name}").cast(session.snapshots[name].schema)
            for name in ("option_chain", "ml_features")
        }


def change_the_future(
    tables: dict[str, pa.Table], moment: datetime, *, live: bool, seed: int
) -> dict[str, pa.Table]:
    """Other figures, fewer and more rows after a moment, and late news of what was before it."""
    rng = np.random.default_rng(seed)
    changed = {}
    for name, rows in tables.items():
        event, received = rows["event_time"], rows["received_time"]
        known = pc.if_else(pc.greater(received, event), received, event) if live else event
        is_past = pc.less_equal(known, pa.scalar(moment, rows.schema.field("event_time").type))
        past, future = rows.filter(is_past), rows.filter(pc.invert(is_past))
        assert past.num_rows
        assert future.num_rows
        future = other_figures(future.filter(pa.array(rng.random(future.num_rows) > 0.1)), rng)
        parts = [past, future]
        if live:
            late = other_figures(past.filter(pa.array(rng.random(past.num_rows) > 0.5)), rng)
            shift = pa.scalar(timedelta(seconds=1)) if seed % 2 else pa.scalar(timedelta(0))
            late = replaced(late, "event_time", pc.subtract(late["event_time"], shift))
            delay = pa.array(rng.integers(1, 10**9, late.num_rows), pa.duration("us"))
            parts.append(
                replaced(late, "received_time", pc.add(pa.scalar(moment, late["event_time"].type), delay))
            )
        changed[name] = pa.concat_tables(parts)
    return changed


def other_figures(rows: pa.Table, rng: np.random.Generator) -> pa.Table:
    for column in rows.schema:
        if column.name in ("strike", "batch_id"):
            continue
        if pa.types.is_floating(column.type) or pa.types.is_int64(column.type):
            factor = pa.array(rng.uniform(0.5, 2.0, rows.num_rows))
            values = pc.multiply(rows[column.name].cast(pa.float64()), factor)
            rows = replaced(
                rows,
                column.name,
                pc.round(values).cast(column.type) if pa.types.is_int64(column.type) else values,
            )
    return rows


def replaced(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, values)


MOMENTS = [(at(9, 40, 7), 0), (at(13, 0), 1), (at(11, 59, 59, day=TUESDAY), 2), (at(18, 0), 3)]


@pytest.mark.parametrize(
    ("moment", "seed", "live"),
    [(*each, True) for each in MOMENTS] + [(*each, False) for each in MOMENTS[1:3]],
    ids=["live_0940", "live_1300", "live_1159", "live_1800", "recorded_1300", "recorded_1159"],
)
def test_no_feature_of_the_past_moves_when_the_future_changes(
    captured: SmallLake, tmp_path: Path, moment: datetime, seed: int, live: bool
) -> None:
    tables = tables_of(captured.lake)
    if not live:
        tables = {
            name: replaced(rows, "source", pa.array(["kite-poll"] * rows.num_rows))
            for name, rows in tables.items()
        }
    before = lake_of(tmp_path / "before", tables)
    after = lake_of(tmp_path / "after", change_the_future(tables, moment, live=live, seed=seed))
    with Session(before.lake) as one, Session(after.lake) as other:
        known = feature_rows(one, "NSE", at=moment)
        assert known.num_rows > 10
        assert known.equals(feature_rows(other, "NSE", at=moment))
        newest = pc.max(known["event_time"])
        for session in (one, other):
            rows = feature_rows(session, "NSE")
            for symbol in ("NIFTY", "BANKNIFTY"):
                mine = known.filter(pc.equal(known["symbol"], symbol))
                same = rows.filter(pc.equal(rows["symbol"], symbol)).slice(0, mine.num_rows)
                assert mine.equals(same)
        assert not feature_rows(one, "NSE").equals(feature_rows(other, "NSE"))
        assert newest.as_py() <= moment
    before.engine.dispose()
    after.engine.dispose()


def chain(
    event_time: datetime,
    *,
    received: datetime | None = None,
    expiry: date = date(2026, 1, 13),
    spot: float | None = 25_000.0,
    source: str = "live",
    strikes: Iterable[int] = (24_950, 25_000, 25_050),
    sides: Iterable[str] = ("CE", "PE"),
    seed: int = 0,
    symbol: str = "NIFTY",
) -> Rows:
    """Legs of one chain; figures follow from the seed."""
    rng = random.Random(seed)  # noqa: S311
    day = (event_time + timedelta(hours=5, minutes=30)).date()
    nothing = dict.fromkeys(OPTION_CHAIN.schema.names)
    return [
        {
            **nothing, "date": day, "exchange": "NSE", "event_time": event_time,
            "received_time": received or event_time + timedelta(milliseconds=40), "symbol": symbol,
            "expiry": expiry, "strike": float(strike), "option_type": side, "oi": 75 * rng.randrange(1, 900),
            "volume": 75 * rng.randrange(900), "iv": rng.uniform(0.08, 0.3), "underlying_price": spot,
            "time_to_expiry_s": 86_400.0 * (expiry - day).days, "source": source, "dq_flags": 0,
        }
        for strike in strikes
        for side in sides
    ]  # fmt: skip


def features_of(root: Path, *chains: Rows) -> Rows:
    rows = pa.Table.from_pylist([leg for legs in chains for leg in legs], schema=OPTION_CHAIN.schema)
    made = lake_of(root, {"option_chain": rows})
    made.engine.dispose()
    with Session(made.lake) as session:
        found: Rows = feature_rows(session, "NSE").to_pylist()
    return found


arrivals = st.lists(
    st.tuples(
        st.integers(0, 24),  # minutes after 10:00
        st.sampled_from([0, 0, 0, 1, 40, 100, 400]),  # seconds until received
        st.sampled_from([6, 6, 13, 27]),  # day of the expiry
        st.sampled_from(["live", "live", "simulator", "nse-json"]),
        st.integers(0, 2),  # strike the chain begins at
        st.sampled_from([("CE", "PE"), ("CE", "PE"), ("CE",), ("PE",)]),
        st.sampled_from([25_000.0, 25_010.0, 24_000.0, None]),
    ),
    min_size=1,
    max_size=30,
)


@given(arrived=arrivals)
@example_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chains_that_arrive_in_any_order_give_what_they_would_give_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, arrived: list[Any]
) -> None:
    source = arrived[0][3]
    chains = [
        chain(
            at(10, minute),
            received=at(10, minute) + timedelta(seconds=delay),
            expiry=date(2026, 1, expiry),
            source=source,
            strikes=range(24_900 + 50 * first, 25_150, 50),
            sides=sides,
            spot=spot,
            seed=number,
        )
        for number, (minute, delay, expiry, _, first, sides, spot) in enumerate(arrived)
    ]
    # A chain is one update: of those of one expiry, moment and receipt, the first is meant.
    unique = {(c[0]["event_time"], c[0]["received_time"], c[0]["expiry"]): c for c in reversed(chains)}
    legs = [leg for c in unique.values() for leg in c]
    found = features_of(tmp_path_factory.mktemp("arrivals"), legs)
    assert_same(found, reference_rows(legs, "NSE", CALENDAR))


def test_the_newest_row_is_the_same_from_every_way(captured: SmallLake) -> None:
    with Session(captured.lake) as session:
        frame = build_frame(session, "NSE")
        for moment in (
            at(9, 15, 5),
            at(10, 0),
            at(12, 34, 56),
            at(20, 0),
            at(8, 0, day=TUESDAY),
            at(15, 20, day=TUESDAY),
        ):
            rows = feature_rows(session, "NSE", symbols=["NIFTY"], at=moment)
            newest = rows.slice(rows.num_rows - 1).to_pylist()[0]
            row = features_at(session, "NSE", "NIFTY", moment)
            assert row == FeatureRow(
                newest["event_time"], "NSE", "NIFTY", {n: newest[n] for n in feature_names(rows)}
            )
            of_frame = frame.rows.filter(
                pc.and_(
                    pc.equal(frame.rows["event_time"], pa.scalar(row.event_time)),
                    pc.equal(frame.rows["symbol"], "NIFTY"),
                )
            ).to_pylist()
            if of_frame:
                assert {name: of_frame[0][name] for name in frame.features} == row.values
        assert features_at(session, "NSE", "NIFTY", at(20, 0)).event_time.date() == MONDAY


def test_spooled_rows_count_as_committed_ones_do(tmp_path: Path) -> None:
    held: list[ChainUpdate] = []

    def hold_back(update: ChainUpdate) -> ChainUpdate | None:
        if update.event_time < at(11, 0):
            return update
        held.append(update)
        return None

    made = training_lake(tmp_path / "lake", [MONDAY], change=hold_back, interval_s=120)
    converted = convert(held, ReferenceData.load())
    spool = Spool(made.lake.spools / "live.db")
    spool.put(converted.entries, offered=converted.offered)
    spool.close()
    whole = training_lake(tmp_path / "whole", [MONDAY], interval_s=120)
    with Session(made.lake, live=True) as live, Session(whole.lake) as committed:
        assert feature_rows(live, "NSE").equals(feature_rows(committed, "NSE"))
        moment = at(14, 1)
        assert features_at(live, "NSE", "NIFTY", moment) == features_at(committed, "NSE", "NIFTY", moment)
        assert build_frame(live, "NSE").rows.equals(build_frame(committed, "NSE").rows)
    made.engine.dispose()
    whole.engine.dispose()


def test_a_dataset_gives_the_same_frame_before_and_after_compaction(tmp_path: Path) -> None:
    made = training_lake(tmp_path / "lake", [MONDAY, TUESDAY], interval_s=120)
    dataset = made.create("train", tables=["option_chain", "ml_features"])
    with Session(made.lake) as session:
        frame = build_frame(session, "NSE")
    made.maintain()
    with datasets.open_session(made.lake, dataset) as session:
        again = build_frame(session, "NSE")
    assert frame.rows.equals(again.rows)
    assert frame.features == again.features
    made.engine.dispose()


def test_a_live_chain_that_comes_late_is_neither_a_row_nor_looked_back_at(tmp_path: Path) -> None:
    ahead, late = chain(at(10, 1), spot=100.0), chain(at(10, 0), spot=90.0, received=at(10, 1, 30))
    later = chain(at(10, 3), spot=110.0)
    rows = features_of(tmp_path / "late", ahead, late, later)
    assert [row["event_time"] for row in rows] == [at(10, 1), at(10, 3)]
    assert rows[1]["return_3m"] is None
    loaded = [[{**leg, "source": "nse-json"} for leg in each] for each in (ahead, late, later)]
    rows = features_of(tmp_path / "loaded", *loaded)
    assert [row["event_time"] for row in rows] == [at(10, 0), at(10, 1), at(10, 3)]
    assert rows[2]["return_3m"] == pytest.approx(math.log(110 / 90))


def test_of_a_chain_received_twice_the_first_counts_live_and_the_last_where_it_was_loaded(
    tmp_path: Path,
) -> None:
    once, again = chain(at(10, 0), seed=1), chain(at(10, 0), seed=2, received=at(10, 0, 9))
    first, second = (features_of(tmp_path / str(n), each)[0] for n, each in enumerate((once, again)))
    assert first["pcr_oi"] != second["pcr_oi"]
    assert features_of(tmp_path / "both", once, again) == [first]
    loaded = [[{**leg, "source": "nse-json"} for leg in each] for each in (once, again)]
    assert features_of(tmp_path / "loaded", *loaded) == [second]


def test_sources_are_never_mixed_and_live_comes_first(tmp_path: Path) -> None:
    minutes = range(0, 60, 3)
    recorded = [chain(at(10, m), source="nse-json", spot=100.0 + m) for m in minutes]
    other = [chain(at(10, m, 30), source="kite-poll", spot=9_000.0 + m) for m in minutes]
    live = [chain(at(10, m), spot=500.0 + m) for m in minutes if m >= 30]
    assert [r["event_time"] for r in features_of(tmp_path / "a", *recorded, *live)] == [
        at(10, m) for m in minutes
    ]
    rows = features_of(tmp_path / "b", *recorded, *other, *live)
    # nse-json until kite-poll has spoken, kite-poll until live has.
    assert [r["event_time"] for r in rows] == [
        at(10, 0), *(at(10, m, 30) for m in minutes if m < 30), *(at(10, m) for m in minutes if m >= 30)
    ]  # fmt: skip
    assert all(abs(row["return_3m"]) < 0.1 for row in rows if row["return_3m"] is not None)
    assert next(r for r in rows if r["event_time"] == at(10, 30))["return_3m"] is None
    assert next(r for r in rows if r["event_time"] == at(10, 33))["return_3m"] == pytest.approx(
        math.log(533 / 530)
    )


def test_chains_outside_of_a_session_are_neither_rows_nor_looked_back_at(tmp_path: Path) -> None:
    saturday = date(2026, 1, 10)
    rows = features_of(
        tmp_path / "lake",
        *(chain(at(9, minute)) for minute in range(19)),
        chain(at(15, 30)),
        chain(at(15, 30, 1)),
        chain(at(18, 0)),
        chain(at(11, 0, day=saturday)),
        chain(at(9, 15, day=TUESDAY)),
    )
    assert [row["event_time"] for row in rows] == [
        at(9, 15), at(9, 16), at(9, 17), at(9, 18), at(15, 30), at(9, 15, day=TUESDAY)
    ]  # fmt: skip
    assert [row["return_3m"] is None for row in rows] == [True, True, True, False, True, True]
    assert [row["session_elapsed"] for row in rows] == pytest.approx([0, 1 / 375, 2 / 375, 3 / 375, 1, 0])


def test_one_sided_chains_without_a_price_leave_missing_what_they_do_not_say(tmp_path: Path) -> None:
    (row,) = features_of(tmp_path / "calls", chain(at(10, 0), sides=["CE"], spot=None))
    told = {name for name in row if row[name] is not None} - set(KEYS)
    assert told == {"call_oi_concentration", "days_to_expiry", "session_elapsed", "minutes_to_close"}
    (row,) = features_of(tmp_path / "zero", [{**leg, "oi": 0, "iv": 0.0} for leg in chain(at(10, 0))])
    assert [row[n] for n in ("pcr_oi", "max_pain_distance", "atm_iv", "put_oi_concentration")] == [None] * 4


def test_strikes_that_come_and_go_make_no_change_of_open_interest(tmp_path: Path) -> None:
    narrow, wide = chain(at(10, 0)), chain(at(10, 3), strikes=range(24_000, 26_050, 50), seed=3)
    common = {(leg["strike"], leg["option_type"]): leg["oi"] for leg in narrow}
    for leg in wide:
        leg["oi"] = common.get((leg["strike"], leg["option_type"]), leg["oi"])
    row = features_of(tmp_path / "lake", narrow, wide)[1]
    assert (row["call_oi_change_3m"], row["put_oi_change_3m"], row["pcr_oi_change_3m"]) == (0, 0, 0)


def feature_table(*rows: dict[str, Any]) -> pa.Table:
    schema = ML_FEATURES.schema.append(pa.field("rsi", pa.float64()))
    given = {"date": MONDAY, "exchange": "NSE", "symbol": "NIFTY", "source": "live"}
    return pa.Table.from_pylist(
        [{**given, "received_time": row["event_time"], **row} for row in rows], schema=schema
    )


def app_rsi(root: Path, chains: list[Rows], features: pa.Table) -> list[float | None]:
    rows = pa.Table.from_pylist([leg for legs in chains for leg in legs], schema=OPTION_CHAIN.schema)
    made = lake_of(root, {"option_chain": rows, "ml_features": features})
    made.engine.dispose()
    with Session(made.lake) as session:
        found: list[float | None] = feature_rows(session, "NSE")["app_rsi"].to_pylist()
    return found


def test_features_of_the_app_count_once_received_and_for_five_minutes(tmp_path: Path) -> None:
    chains = [chain(at(10, minute)) for minute in (0, 1, 6, 7)]
    features = feature_table(
        {"event_time": at(10, 0), "received_time": at(10, 0) + timedelta(milliseconds=40), "rsi": 1.0},
        {"event_time": at(10, 1), "received_time": at(10, 4), "rsi": 2.0},
        {"event_time": at(10, 0, 30), "source": "kite-poll", "rsi": 3.0},
        {"event_time": at(10, 0, 30), "symbol": "BANKNIFTY", "rsi": 4.0},
        {"event_time": at(10, 7, 30), "rsi": 5.0},
    )
    # At 10:06:00.040 the value of 10:01 is 40 ms too old.
    assert app_rsi(tmp_path / "live", chains, features) == [1.0, 1.0, None, None]


def test_features_that_were_loaded_count_from_when_they_happened(tmp_path: Path) -> None:
    chains = [chain(at(10, minute), source="nse-json", received=at(23, 0)) for minute in (0, 1, 6, 7)]
    features = feature_table(
        {"event_time": at(10, 0), "received_time": at(23, 30), "source": "nse-json", "rsi": 1.0},
        {"event_time": at(10, 1), "received_time": at(23, 20), "source": "nse-json", "rsi": 2.0},
        {"event_time": at(10, 1), "received_time": at(23, 30), "source": "nse-json", "rsi": 3.0},
    )
    assert app_rsi(tmp_path / "loaded", chains, features) == [1.0, 3.0, 3.0, None]


def test_a_value_from_the_future_among_the_features_of_the_app_is_refused() -> None:
    history = feature_table({"event_time": at(10, 0), "rsi": 1.0}, {"event_time": at(10, 5), "rsi": 2.0})
    frame = pa.table(
        {
            "exchange": ["NSE"], "symbol": ["NIFTY"], "source": ["live"], "app_rsi": [2.0],
            "known_time": pa.array([at(10, 1)], pa.timestamp("us", tz="UTC")),
        }
    )  # fmt: skip
    terms: dict[str, Any] = {
        "by": ["exchange", "symbol", "source"],
        "as_of": "known_time",
        "columns": [AsOfColumn("rsi", rename="app_rsi")],
    }
    with pytest.raises(ContractError, match=r"app_rsi.*event_after_as_of"):
        refuse_lookahead(frame, history, **terms)
    refuse_lookahead(replaced(frame, "app_rsi", pa.array([1.0])), history, **terms)


def test_a_lake_without_features_of_the_app_has_only_ours(tmp_path: Path) -> None:
    made = empty_lake(tmp_path / "lake")
    with Session(made.lake) as session:
        names = feature_names(feature_rows(session, "NSE"))
        assert feature_rows(session, "NSE").num_rows == 0
    assert len(names) > 30
    assert not [name for name in names if name.startswith(PREFIX)]
    made.engine.dispose()


def test_what_cannot_be_answered_is_said(tmp_path: Path) -> None:
    made = lake_of(
        tmp_path / "lake",
        {"option_chain": pa.Table.from_pylist(chain(at(10, 0)), schema=OPTION_CHAIN.schema)},
    )
    with Session(made.lake) as session:
        with pytest.raises(
            NotEnoughDataError, match="no chain of NIFTY in a session of NSE was known at 2026-01-05"
        ):
            features_at(session, "NSE", "NIFTY", at(10, 0))
        with pytest.raises(NotEnoughDataError, match="no label for NSE in 1 sessions"):
            build_frame(session, "NSE")
        with pytest.raises(NotEnoughDataError, match="no chains of BSE"):
            build_frame(session, "BSE")
        with pytest.raises(QueryError, match="no zone"):
            features_at(session, "NSE", "NIFTY", datetime(2026, 1, 5, 10, 0))  # noqa: DTZ001
        with pytest.raises(QueryError, match="'MCX' is no exchange"):
            feature_rows(session, "MCX")
        with pytest.raises(QueryError, match="horizon"):
            build_frame(session, "NSE", terms=LabelTerms(horizon=timedelta(0)))
        assert features_at(session, "NSE", "NIFTY", at(10, 1)).event_time == at(10, 0)
    made.engine.dispose()
