"""The frame of a dataset: proven rows and nothing else, or a clear word why not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_lake import SmallLake, rewrite
from training_lake import sessions, training_lake

from catalog.contracts import OPTION_CHAIN
from catalog.datasets import open_proven_session, read
from explain.boosting import BoostingTerms, model_text
from explain.dataset_frame import frame_of, frame_of_rows, rows_to_read
from explain.features import build_frame
from explain.frame import KEYS, LabelTerms
from explain.training import TrainingTerms, train
from lake.errors import (
    ContractError,
    DamagedTableError,
    NotEnoughDataError,
    SchemaMismatchError,
    TableNotFoundError,
)
from lake.session import Session

DAYS = sessions(2)
TERMS = LabelTerms(horizon=timedelta(minutes=10))
QUERY = """
    SELECT event_time, symbol, exchange, pcr_oi, pcr_volume, underlying, underlying - lag(underlying) OVER (
        PARTITION BY symbol ORDER BY event_time) AS move,
        CASE minute(event_time) % 3 WHEN 0 THEN 'BUY' WHEN 1 THEN 'SELL' ELSE 'HOLD' END AS label
    FROM (
        SELECT event_time, symbol, exchange, avg(underlying_price) AS underlying,
            sum(oi) FILTER (option_type = 'PE') / sum(oi) FILTER (option_type = 'CE') AS pcr_oi,
            sum(volume) FILTER (option_type = 'PE') / sum(volume) FILTER (option_type = 'CE') AS pcr_volume
        FROM option_chain GROUP BY event_time, symbol, exchange
    )
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLake]:
    """Two simulated sessions, a chain in two minutes."""
    made = training_lake(tmp_path_factory.mktemp("lake") / "lake", DAYS, interval_s=120, symbols=("NIFTY",))
    made.create("both", first=DAYS[0], last=DAYS[-1])
    yield made
    made.engine.dispose()


def test_it_is_the_frame_of_the_proven_rows(made: SmallLake) -> None:
    dataset = made.create("plain")
    done: list[int] = []
    found = frame_of(made.lake, dataset, "NSE", TERMS, progress=done.append)
    with open_proven_session(made.lake, dataset) as session:
        expected = build_frame(session, "NSE", terms=TERMS)
    assert found.rows.equals(expected.rows)
    assert found.features == expected.features
    assert found.terms == TERMS
    assert sum(done) == rows_to_read(dataset, "NSE") == 2 * dataset.row_count


def test_later_rows_change_neither_frame_nor_model(tmp_path: Path) -> None:
    made = training_lake(tmp_path / "lake", DAYS, interval_s=180)
    dataset = made.create("kept", first=DAYS[0], last=DAYS[-1])
    terms = TrainingTerms(folds=2, boosting=BoostingTerms(rounds=5))

    def text() -> bytes:
        return model_text(train(frame_of(made.lake, dataset, "NSE", LabelTerms()), terms).booster)

    before = text()
    late = training_lake(tmp_path / "other", DAYS[:1], interval_s=200, seed=3)
    made.add(rows_of(late, batch="late"))
    made.maintain()
    assert text() == before
    made.engine.dispose()
    late.engine.dispose()


def rows_of(other: SmallLake, *, batch: str) -> pa.Table:
    """All legs of a lake, as one batch."""
    with Session(other.lake) as session:
        rows = session.table("SELECT * FROM option_chain")
    index = rows.schema.get_field_index("batch_id")
    rows = rows.set_column(index, "batch_id", pa.array([batch] * rows.num_rows, pa.string()))
    return rows.cast(OPTION_CHAIN.schema)


def test_a_changed_row_never_trains_a_model(tmp_path: Path) -> None:
    made = training_lake(tmp_path / "lake", DAYS[:1], interval_s=600)
    dataset, queried = made.create("tables"), made.create("query", query=QUERY)
    (batch,) = dataset.batches().column("batch_id").to_pylist()
    rewrite(made.files()[0], oi=123_456_789)
    for one in (dataset, queried):
        with pytest.raises(DamagedTableError, match=batch):
            frame_of(made.lake, one, "NSE", TERMS)
    made.engine.dispose()


def test_a_dataset_without_the_exchange_or_the_chain_is_refused(made: SmallLake) -> None:
    with pytest.raises(TableNotFoundError, match="both has nothing of BSE: it is of NSE"):
        frame_of(made.lake, read(made.lake, "both"), "BSE", TERMS)
    features = made.create("features", tables=["ml_features"])
    with pytest.raises(TableNotFoundError, match="features is of ml_features: features and labels are made"):
        frame_of(made.lake, features, "NSE", TERMS)


def test_a_symbol_that_is_not_there_is_named(made: SmallLake) -> None:
    with pytest.raises(NotEnoughDataError, match="BANKNIFTY"):
        frame_of(made.lake, read(made.lake, "both"), "NSE", TERMS, symbols=["NIFTY", "BANKNIFTY"])


def test_a_query_gives_features_and_labels_itself(made: SmallLake) -> None:
    dataset = made.create("queried", query=QUERY)
    done: list[int] = []
    found = frame_of(made.lake, dataset, "NSE", TERMS, progress=done.append)
    assert found.features == ("pcr_oi", "pcr_volume", "underlying", "move")
    assert found.rows.column_names == [*KEYS, *found.features, "forward_return", "label"]
    assert found.rows.num_rows == dataset.row_count > 300
    assert set(found.rows.column("date").to_pylist()) == set(DAYS)
    assert np.isnan(found.matrix()[:, 3]).sum() == 1
    times = found.rows.column("event_time").to_pylist()
    assert times == sorted(times)
    assert sum(done) == rows_to_read(dataset, "NSE")


ROWS: dict[str, Any] = {
    "event_time": pa.array([2_000_000, 1_000_000], pa.timestamp("us", "UTC")),
    "symbol": ["NIFTY", "BANKNIFTY"],
    "label": ["BUY", "SELL"],
    "x": [1, 2],
}


def test_rows_are_put_in_order_and_cast() -> None:
    found = frame_of_rows(pa.table(ROWS | {"flag": [True, None]}), "NSE", TERMS)
    assert found.features == ("x", "flag")
    assert found.rows.column("symbol").to_pylist() == ["BANKNIFTY", "NIFTY"]
    assert found.rows.column("date").to_pylist() == [date(1970, 1, 1)] * 2
    assert found.matrix()[:, 0].tolist() == [2.0, 1.0]
    assert np.isnan(found.matrix()[0, 1])
    assert found.rows.column("forward_return").null_count == 2


def test_a_session_date_is_that_of_the_exchange() -> None:
    late = pa.array([19 * 3600 * 1_000_000] * 2, pa.timestamp("us", "UTC"))  # after midnight in India
    found = frame_of_rows(pa.table(ROWS | {"event_time": late}), "NSE", TERMS)
    assert found.rows.column("date").to_pylist() == [date(1970, 1, 2)] * 2


def test_rows_of_another_exchange_and_symbol_are_left_out() -> None:
    rows = pa.table(ROWS | {"exchange": ["NSE", "BSE"], "forward_return": [0.1, 0.2]})
    found = frame_of_rows(rows, "NSE", TERMS)
    assert found.rows.column("symbol").to_pylist() == ["NIFTY"]
    assert found.rows.column("forward_return").to_pylist() == [0.1]
    assert found.features == ("x",)
    assert frame_of_rows(pa.table(ROWS), "NSE", TERMS, symbols=["NIFTY"]).rows.num_rows == 1


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"label": None}, SchemaMismatchError, "gives no label: training needs event_time, symbol, label"),
        ({"event_time": None, "symbol": None}, SchemaMismatchError, "no event_time and no symbol"),
        ({"event_time": ["a", "b"]}, SchemaMismatchError, "event_time is string, not a moment with zone"),
        ({"source": ["a", "b"]}, SchemaMismatchError, r"source \(string\) is no number: leave it out"),
        ({"x": None}, SchemaMismatchError, "it has no feature"),
        ({"label": ["BUY", "UP"]}, ContractError, "1 rows have the label 'UP', which is none of BUY"),
        ({"label": ["BUY", None]}, ContractError, "1 rows have the label None"),
    ],
)  # fmt: skip
def test_rows_that_are_no_frame_are_refused(
    changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    given = {name: values for name, values in (ROWS | changes).items() if values is not None}
    with pytest.raises(error, match=told):
        frame_of_rows(pa.table(given), "NSE", TERMS)
