"""Table contracts: every column explained, and fit for the tables and rules built on them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from catalog.contracts import CONTRACTS, TIME, Contract
from lake.snapshot import duckdb_type
from lake.table import Lake

every_contract = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=list(CONTRACTS))


@every_contract
def test_deltalake_makes_a_table_of_exactly_the_contracts_columns(contract: Contract, tmp_path: Path) -> None:
    path = Lake.at(tmp_path).create(contract.spec)

    handle = DeltaTable(str(path))
    assert pa.schema(handle.schema().to_arrow()) == contract.schema
    assert handle.metadata().partition_columns == ["date", "exchange"] == list(contract.partition_by)
    configuration = handle.metadata().configuration
    assert configuration["delta.appendOnly"] == "true"
    assert configuration["delta.dataSkippingStatsColumns"].split(",") == list(contract.statistics)


@every_contract
def test_keys_stand_first_the_batch_last_and_no_name_twice(contract: Contract) -> None:
    names = [column.name for column in contract.columns]
    assert names[:2] == ["date", "exchange"]
    assert names[-1] == "batch_id"
    assert len({name.casefold() for name in names}) == len(names)


@every_contract
def test_what_the_contract_names_exists(contract: Contract) -> None:
    names = set(contract.schema.names)
    for named in (contract.grain, contract.statistics, contract.dictionary, contract.partition_by):
        assert set(named) <= names
        assert len(set(named)) == len(named)
    assert not set(contract.statistics) & set(contract.partition_by)


@every_contract
def test_columns_of_the_grain_and_of_the_layout_are_required(contract: Contract) -> None:
    required = {column.name for column in contract.columns if column.required}
    if contract.table == "candles":
        # An index has no contract: null is a value of these, one that GROUP BY takes for equal.
        required |= {"expiry", "strike", "option_type"}
    assert {*contract.grain, *contract.partition_by, "batch_id"} <= required


@every_contract
def test_every_column_is_explained_and_every_quantity_has_its_unit(contract: Contract) -> None:
    without_unit = {"pcr", "delta", "gamma", "theta", "vega"}
    for column in contract.columns:
        assert column.about
        assert not column.about.endswith(".")
        if pa.types.is_floating(column.type) or pa.types.is_int64(column.type):
            assert column.unit or column.name in without_unit, column.name
        if pa.types.is_timestamp(column.type):
            assert column.type == TIME
            assert column.unit == "UTC"


@every_contract
def test_bounds_stand_on_numbers_only_and_never_both(contract: Contract) -> None:
    for column in contract.columns:
        if column.minimum is not None or column.above is not None:
            assert pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
            assert column.minimum is None or column.above is None


@every_contract
def test_the_session_can_read_every_type(contract: Contract) -> None:
    assert all(duckdb_type(kind) for kind in contract.schema.types)


def test_a_contract_is_found_under_its_own_name() -> None:
    assert all(name == contract.table for name, contract in CONTRACTS.items())
    assert {"option_chain", "ml_features", "quarantine"} <= set(CONTRACTS)


def test_units_a_reader_would_otherwise_guess_are_as_the_design_says() -> None:
    units = {column.name: column.unit for column in CONTRACTS["option_chain"].columns}
    assert {units[name] for name in ("strike", "ltp", "bid", "ask", "underlying_price")} == {"rupees"}
    assert {units[name] for name in ("oi", "volume", "bid_qty", "lot_size")} == {"units of the underlying"}
    assert units["iv"] == "annualised fraction"
    assert units["time_to_expiry_s"] == "seconds"
