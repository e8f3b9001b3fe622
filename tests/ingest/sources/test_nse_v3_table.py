"""Long tables of NSE minutes, Parquet and SQLite, against polars' reading of the same files."""

from __future__ import annotations

import sqlite3
import tracemalloc
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typed_specimens import ParquetSpecimen, SqliteSpecimen

from ingest.sources import ADAPTERS, AnyFormat

SOURCE = "nse-v3-table"
LOT = 65
INDIA = ZoneInfo("Asia/Kolkata")


def files(recordings: Path) -> list[Path]:
    return sorted((recordings / "nse_v3_parquet").glob("*.parquet"))


def test_the_recordings_add_up(recordings: Path, read: Any) -> None:
    for path in files(recordings):
        frame = pl.read_parquet(path)
        reading = read(SOURCE, path)
        assert (reading.files, reading.rejects) == ([], [])
        assert len(reading.legs) == frame.height
        assert reading.total("oi") == LOT * frame["oi"].sum()
        assert reading.total("oi_change") == LOT * frame["oi_chg"].sum()
        assert reading.total("volume") == LOT * frame["volume"].sum()
        assert reading.total("ltp") == pytest.approx(frame["ltp"].sum(), rel=1e-12)
        solved = frame.filter(~pl.col("iv").is_in([0.0, 0.1]) & pl.col("iv").is_not_null())
        assert reading.total("iv") == pytest.approx(solved["iv"].sum() / 100, rel=1e-12)
        assert reading.nulls("iv") == frame.height - solved.height > 0
        assert {leg["expiry"] for leg in reading.legs} == {
            datetime.strptime(text, "%d-%b-%Y").replace(tzinfo=INDIA).date()
            for text in frame["expiry"].unique()
        }


def test_each_minute_is_a_chain_of_all_its_expiries(recordings: Path, read: Any) -> None:
    for path in files(recordings):
        minutes = pl.read_parquet(path).partition_by("timestamp", maintain_order=True)
        chains = read(SOURCE, path).chains
        assert len(chains) == len(minutes) > 1
        for chain, minute in zip(chains, minutes, strict=True):
            assert (chain.exchange, chain.symbol) == ("NSE", "NIFTY")
            text = minute["timestamp"][0]
            assert chain.event_time == datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=INDIA)
            for side, legs in (("CE", chain.calls), ("PE", chain.puts)):
                rows = minute.filter(pl.col("option_type") == side)
                assert [leg["strike"] for leg in legs] == rows["strike"].to_list()
                assert [leg["oi"] for leg in legs] == [LOT * int(oi) for oi in rows["oi"]]
                assert [leg["underlying_price"] for leg in legs] == rows["spot"].to_list()


def test_sqlite_and_parquet_of_the_same_rows_are_the_same_legs(read: Any) -> None:
    parquet = read(SOURCE, ParquetSpecimen().good())
    sqlite = read(SOURCE, SqliteSpecimen().good())
    assert sqlite.legs == parquet.legs
    assert sqlite.identities == parquet.identities


def test_a_time_kept_as_a_number_is_the_same_time(read: Any) -> None:
    specimen = SqliteSpecimen()
    columns = specimen.columns()
    numbers = {**columns, "timestamp": [int(text) for text in columns["timestamp"]]}
    times = [chain.event_time for chain in read(SOURCE, specimen.dump(numbers)).chains]
    assert times == [chain.event_time for chain in read(SOURCE, specimen.good()).chains]


@pytest.mark.parametrize("value", [20260819, -1, True, 1e20, "20260819 1127", "202613011127", None])
def test_a_time_that_is_none_rejects_its_legs(value: Any, read: Any) -> None:
    specimen = SqliteSpecimen()
    columns = {**specimen.columns(), "timestamp": [value] * specimen.leg_count()}
    reading = read(SOURCE, specimen.dump(columns))
    assert {reject.reason for reject in reading.rejects} == {"bad_event_time"}
    assert len(reading.rejects) == specimen.leg_count()


def test_values_of_other_types_are_rejects_and_can_be_kept_as_json(read: Any) -> None:
    specimen = SqliteSpecimen()
    columns = specimen.columns()
    oi: list[Any] = list(columns["oi"])
    oi[3:6] = [b"\x00\xff", float("inf"), "12 lots"]
    types: list[Any] = list(columns["option_type"])
    types[7:9] = ["XX", 5]
    reading = read(SOURCE, specimen.dump({**columns, "oi": oi, "option_type": types}))
    reasons = sorted(reject.reason for reject in reading.rejects)
    assert reasons == ["bad_number"] * 3 + ["bad_option_type"] * 2
    assert reading.accounted == specimen.leg_count()


def test_nan_and_infinity_in_parquet_are_null_and_a_reject(read: Any) -> None:
    specimen = ParquetSpecimen()
    columns = specimen.columns()
    oi: list[Any] = list(columns["oi"])
    oi[3:5] = [float("nan"), float("inf")]
    reading = read(SOURCE, specimen.dump({**columns, "oi": oi}))
    assert [reject.payload["oi"] for reject in reading.rejects] == ["inf"]
    assert reading.nulls("oi") == 1


def test_a_database_with_two_such_tables_is_refused_by_their_names(read: Any, tmp_path: Path) -> None:
    path = tmp_path / "two.db"
    path.write_bytes(SqliteSpecimen().good())
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE second AS SELECT * FROM option_chain")
    connection.close()
    (reject,) = read(SOURCE, path).files
    assert reject.reject.reason == "missing_columns"
    assert "option_chain, second" in reject.reject.detail


def test_a_view_is_no_table_and_a_recording_is_opened_to_read_only(read: Any, tmp_path: Path) -> None:
    path = tmp_path / "only a view?mode=rwc#%41.db"
    with sqlite3.connect(tmp_path / "made.db") as connection:
        names = ", ".join(f"1 AS {name}" for name in ParquetSpecimen().columns())
        connection.execute(f"CREATE VIEW option_chain AS SELECT {names}, load_extension('x') AS evil")
    connection.close()
    (tmp_path / "made.db").rename(path)
    before = path.read_bytes()
    assert read(SOURCE, path).file_reasons == ["missing_columns"]
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_value_of_many_megabytes_is_refused(read: Any) -> None:
    specimen = SqliteSpecimen()
    reading = read(SOURCE, specimen.with_value("oi", "9" * 5_000_000))
    assert reading.file_reasons == ["undecodable"]
    assert set(reading.identities) < set(read(SOURCE, specimen.with_value("oi", "124")).identities)


def test_a_row_group_that_unpacks_to_gigabytes_is_refused_unread(read: Any, tmp_path: Path) -> None:
    columns = ParquetSpecimen().columns()
    long_text = pa.repeat("x" * 1_000_000, 700)
    small = {name: pa.array([values[0]] * 700) for name, values in columns.items()}
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({**small, "note": long_text}), path, compression="zstd", use_dictionary=False)
    del long_text
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        assert read(SOURCE, path).file_reasons == ["too_large"]
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_other_parquet_and_sqlite_files_are_not_taken_for_recordings(tmp_path: Path, reference: Any) -> None:
    pq.write_table(pa.table({"timestamp": ["202608191127"], "close": [1.0]}), tmp_path / "candles.parquet")
    with sqlite3.connect(tmp_path / "catalog.db") as connection:
        connection.execute("CREATE TABLE batches (id INTEGER)")
    connection.close()
    for path in tmp_path.iterdir():
        (reject,) = AnyFormat(ADAPTERS.values()).read(path, reference)
        assert reject.reject.reason == "unknown_format"


def test_the_names_of_the_exchange_become_ours(read: Any) -> None:
    reading = read(SOURCE, ParquetSpecimen().with_symbol("NIFTY50"))
    assert {chain.symbol for chain in reading.chains} == {"NIFTY"}
    assert {leg["expiry"] for leg in reading.legs} >= {date(2026, 8, 25)}
