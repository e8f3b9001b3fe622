"""A small lake with its catalog, on every kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_databases import Database
from small_lake import SmallLake, fill

from catalog.contracts import CONTRACTS
from catalog.database import open_database
from lake.table import Lake


@pytest.fixture
def small(tmp_path: Path, database: Database) -> Iterator[SmallLake]:
    """Three batches of the chain over two exchanges and two days, two of the features."""
    lake = Lake.at(tmp_path / "my lake")
    for contract in CONTRACTS.values():
        lake.create(contract.spec)
    engine = open_database(database.url)
    made = SmallLake(lake, engine)
    fill(made)
    yield made
    engine.dispose()
