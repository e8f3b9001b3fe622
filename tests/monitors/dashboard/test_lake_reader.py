"""Reads of the page: made once, remembered until a table changes, stopped when they take too long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from small_lake import legs

from catalog.contracts import ML_FEATURES, OPTION_CHAIN
from lake.append import append
from lake.errors import QueryError, TableNotFoundError
from lake.session import Session
from lake.table import Lake
from monitors.dashboard.lake_reader import LakeReader


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake.at(tmp_path)
    made.create(ML_FEATURES.spec)
    add(made, 1)
    return made


def add(lake: Lake, number: int) -> None:
    """Ten legs more."""
    path = lake.create(OPTION_CHAIN.spec)
    note = {"batch_id": f"b{number}", "app_id": "a", "seq_first": number, "seq_last": number}
    rows = legs(10, batch=f"b{number}", seed=number)
    append(path, OPTION_CHAIN.spec, rows, stream="a", sequence=number, metadata=note)


class Counting:
    """Counts the legs, and how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, session: Session) -> int:
        self.calls += 1
        (count,) = session.table("SELECT count(*) AS n FROM option_chain")["n"].to_pylist()
        return int(count)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))  # type: ignore[arg-type]


def test_a_result_is_remembered_until_its_table_has_a_new_version(lake: Lake) -> None:
    async def test() -> None:
        reader, count = LakeReader(lake), Counting()
        tables = ["option_chain"]
        assert [(await reader.read("n", count, tables=tables)).value for _ in range(3)] == [10, 10, 10]
        assert count.calls == 1
        add(lake, 2)
        again = await reader.read("n", count, tables=tables)
        assert (again.value, count.calls) == (20, 2)
        assert dict(again.versions) == {"option_chain": 2}
        other = await reader.read("n of features", count, tables=["ml_features"])
        add(lake, 3)
        # It said that it depends on another table.
        assert (await reader.read("n of features", count, tables=["ml_features"])) == other
        reader.close()

    run(test)


def test_equal_reads_at_the_same_time_are_one(lake: Lake) -> None:
    async def test() -> None:
        reader, count = LakeReader(lake), Counting()
        found = await asyncio.gather(*(reader.read("n", count) for _ in range(50)))
        assert {one.value for one in found} == {10}
        assert count.calls == 1
        reader.close()

    run(test)


def test_one_who_goes_does_not_stop_what_others_wait_for(lake: Lake) -> None:
    async def test() -> None:
        reader, begun, may_end = LakeReader(lake), threading.Event(), threading.Event()

        def slow(session: Session) -> str:
            begun.set()
            assert may_end.wait(30)
            return "done"

        first = asyncio.create_task(reader.read("slow", slow))
        second = asyncio.create_task(reader.read("slow", slow))
        await asyncio.to_thread(begun.wait, 30)
        first.cancel()
        may_end.set()
        assert (await second).value == "done"
        reader.close()

    run(test)


def test_one_that_takes_too_long_is_stopped_and_the_next_is_served(lake: Lake) -> None:
    async def test() -> None:
        reader = LakeReader(lake, threads=1)
        sql = "SELECT count(*) FROM range(1000000000000) a, range(1000000) b"
        began = time.monotonic()
        with pytest.raises(QueryError, match=r"longer than 0\.3 s"):
            await reader.read("for ever", lambda session: session.table(sql), timeout_s=0.3)
        # The only thread is free again: the query itself was stopped.
        assert (await reader.read("n", Counting())).value == 10
        assert time.monotonic() - began < 20
        reader.close()

    run(test)


def test_a_failure_is_told_and_not_remembered(lake: Lake) -> None:
    async def test() -> None:
        reader = LakeReader(lake)
        with pytest.raises(QueryError):
            await reader.read("n", lambda session: session.table("SELECT nothing FROM option_chain"))
        assert (await reader.read("n", Counting())).value == 10
        reader.close()

    run(test)


def test_old_sessions_and_results_are_let_go(lake: Lake) -> None:
    async def test() -> None:
        reader, count = LakeReader(lake, kept=3), Counting()
        for number in range(2, 8):
            await reader.read(("n", number % 4), count)
            await reader.read("n", count)
            add(lake, number)
            assert len(reader._idle) <= 2
            assert len(reader._cache) <= 3
        reader.close()

    run(test)


def test_a_lake_that_appears_later_is_read_then(tmp_path: Path) -> None:
    async def test() -> None:
        lake = Lake.at(tmp_path)
        reader = LakeReader(lake)
        with pytest.raises(TableNotFoundError, match="no lake at"):
            await reader.read("n", Counting())
        add(lake, 1)
        assert (await reader.read("n", Counting())).value == 10
        reader.close()

    run(test)
