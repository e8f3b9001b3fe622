"""What the tests of the simulator share: sessions, remembered, and how to look into an update."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import lru_cache
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.simulator import simulate_session

FRIDAY = date(2026, 7, 10)

LegKey = tuple[str, str, date, float]


@pytest.fixture(scope="session")
def reference() -> ReferenceData:
    return ReferenceData.load()


@pytest.fixture(scope="session")
def simulated(reference: ReferenceData) -> Callable[..., tuple[ChainUpdate, ...]]:
    """Simulates one symbol's session, which is remembered: several tests look at the same one."""

    @lru_cache(maxsize=64)
    def updates(
        seed: int, symbol: str = "NIFTY", day: date = FRIDAY, interval_s: float = 900.0, strikes: int = 8
    ) -> tuple[ChainUpdate, ...]:
        return tuple(
            simulate_session(
                day,
                reference,
                seed=seed,
                symbols=(symbol,),
                interval_s=interval_s,
                strikes=strikes,
                expiries=2,
            )
        )

    return updates


@pytest.fixture(scope="session")
def small(reference: ReferenceData) -> Callable[..., Iterator[ChainUpdate]]:
    """Simulates a Friday of all symbols, every half hour."""

    def updates(seed: int, **changes: Any) -> Iterator[ChainUpdate]:
        arguments: dict[str, Any] = {"interval_s": 1_800.0, "strikes": 5, "expiries": 2} | changes
        return simulate_session(FRIDAY, reference, seed=seed, **arguments)

    return updates


@pytest.fixture(scope="session")
def legs_of() -> Callable[[ChainUpdate], Iterator[tuple[LegKey, dict[str, Any]]]]:
    """Gives an update's legs, each with its symbol, option type, expiry and strike."""

    def legs(update: ChainUpdate) -> Iterator[tuple[LegKey, dict[str, Any]]]:
        for option_type, side in (("CE", update.calls), ("PE", update.puts)):
            for leg in side:
                yield (update.symbol, option_type, leg["expiry"], leg["strike"]), leg

    return legs


@pytest.fixture(scope="session")
def digest() -> Callable[[Iterable[ChainUpdate]], str]:
    def of_updates(updates: Iterable[ChainUpdate]) -> str:
        return hashlib.sha256("\n".join(map(repr, updates)).encode()).hexdigest()

    return of_updates
