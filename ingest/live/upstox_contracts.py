"""Which instrument key of Upstox is which contract, by its answers to `/v2/option/contract`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from catalog.exchanges import canonical_exchange, canonical_symbol
from ingest.live.poll_sources import Request
from ingest.live.tick_chains import Contract
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.values import iso_date, shown
from lake.errors import SettingsError

KEYS: Final = 2_000
"""What Upstox carries on the one connection that an app may have, with prices of indices beside options."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What to listen to.

    Attributes:
        contracts: By instrument key.
        indices: Symbol of an underlying by its key.
    """

    contracts: Mapping[str, Contract]
    indices: Mapping[str, str]

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Where the contracts trade."""
        return tuple(sorted({contract.exchange for contract in self.contracts.values()}))


def contracts_request(key: str) -> Request:
    """Asks for all contracts of an underlying."""
    return Request("/v2/option/contract", {"instrument_key": key})


def contracts_in(payload: Any, key: str, *, expiries: int, today: date) -> dict[str, Contract]:
    """The contracts of the nearest expiries of an answer, by instrument key.

    Args:
        payload: The answer, as JSON.
        key: The underlying it was asked for.
        expiries: How many of the nearest.
        today: Contracts that expired before are left out.

    Raises:
        NotARecordingError: `unknown_shape`, or `no_expiries`.
    """
    try:
        rows: Iterable[Mapping[str, Any]] = payload["data"]
        found = {str(row["instrument_key"]): _contract(row) for row in rows}
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError):
        raise NotARecordingError("unknown_shape", f"{shown(payload)}, no list of contracts") from None
    coming = sorted({one.expiry for one in found.values() if one is not None and one.expiry >= today})
    if not coming:
        raise NotARecordingError("no_expiries", f"no contract of {key} expires on {today} or later")
    nearest = coming[:expiries]
    return {name: one for name, one in found.items() if one is not None and one.expiry in nearest}


def checked(subscribed: Subscribed) -> Subscribed:
    """What was chosen, if one connection carries it.

    Raises:
        SettingsError: It does not.
    """
    count = len(subscribed.contracts) + len(subscribed.indices)
    if count > KEYS:
        raise SettingsError(
            f"{count:,} instruments, but Upstox carries {KEYS:,} for one app; choose fewer symbols or"
            " --expiries"
        )
    return subscribed


def _contract(row: Mapping[str, Any]) -> Contract | None:
    """One contract; None for one that is no option."""
    if row["instrument_type"] not in {"CE", "PE"}:
        return None
    exchange, symbol = (
        canonical_exchange(str(row["exchange"])),
        canonical_symbol(str(row["underlying_symbol"])),
    )
    expiry, strike = iso_date(row["expiry"]), float(row["strike_price"])
    if exchange is None or not symbol or expiry is None or not (math.isfinite(strike) and strike > 0):
        raise ValueError("no exchange, underlying, expiry or strike")
    return Contract(exchange, symbol, expiry, strike, str(row["instrument_type"]))
