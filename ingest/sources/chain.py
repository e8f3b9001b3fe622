"""One chain in the making: legs are added as they came, a `ChainUpdate` comes out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from catalog.exchanges import home_exchange
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject
from ingest.live_values import event_moment
from ingest.origins import ChainOrigin, LegOrigin, Line, RawLegs
from ingest.sources.base import identity_of
from ingest.sources.growth import Growth
from ingest.sources.values import BadValueError, shown, strike_price
from ingest.sources.wire_format import UNKNOWN_LOT_SIZE, UNKNOWN_SYMBOL, BoundField, OptionType, WireFormat

_LEG_COLUMNS: Final = (
    "strike",
    "expiry",
    "ltp",
    "bid",
    "ask",
    "bid_qty",
    "ask_qty",
    "oi",
    "oi_change",
    "volume",
    "iv",
    "underlying_price",
    "lot_size",
)
_EMPTY_LEG: Final[dict[str, Any]] = dict.fromkeys(_LEG_COLUMNS)


class Occurrences:
    """Tells apart equal chains within one file.

    A chain that stands in a file twice is two chains; loading the file again, or loading it after it
    grew, must give both of them the identities they had.
    """

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()

    def identity(self, content: bytes) -> bytes:
        """Return the identity of the next chain of this content: the content's own for the first."""
        earlier = self._seen[content]
        self._seen[content] = earlier + 1
        return content if earlier == 0 else identity_of(content, str(earlier))


class Chain:
    """The legs of one chain: every leg that is added becomes one mapping or one `Reject`.

    What is wrong with the chain as a whole (its time, its symbol) rejects all its legs. In the weeks after a
    revision the legs of one chain have different lots, and some may have none that is known.

    Attributes:
        underlying_price: Of the chain, in rupees; where the source gives none, of its first leg with one.
    """

    def __init__(
        self,
        wire: WireFormat,
        reference: ReferenceData,
        *,
        symbol: object,
        event_time: object,
        underlying_price: float | None = None,
    ) -> None:
        self._wire = wire
        self._nulls = wire.nulls
        self._symbol = wire.symbol(symbol)
        self._exchange = wire.exchange or home_exchange(self._symbol or "")
        self._event_time = wire.moment(event_time)
        self._reference = reference
        self._lot_sizes: dict[date, int | None] = {}
        self._counts_contracts = wire.counts_contracts
        self._lacks_lot_size = False
        self._fault = self._chain_fault(symbol, event_time)
        self._legs: dict[OptionType, list[dict[str, Any]]] = {"CE": [], "PE": []}
        self._rejects: list[Reject] = []
        self._origin = ChainOrigin(wire.format, wire.exchange, symbol, event_time)
        self._raw_legs = RawLegs(self._origin)
        self.underlying_price = underlying_price

    def _chain_fault(self, symbol: object, event_time: object) -> tuple[str, str] | None:
        if self._event_time is None:
            return "bad_event_time", f"{shown(event_time)} is no time of this format"
        try:
            event_moment(self._event_time, time.time_ns(), self._wire.timezone)
        except ValueError as error:
            return "bad_event_time", str(error)
        if self._symbol is None:
            return "bad_symbol", f"{shown(symbol)} is no name of an underlying"
        return None

    def add(
        self,
        option_type: OptionType,
        raw: Mapping[str, Any],
        fields: tuple[BoundField, ...],
        *,
        strike: object,
        expiry: object,
    ) -> bool:
        """Add one leg; False if it became a reject.

        Args:
            option_type: Call or put.
            raw: The leg as it came, or the row it is half of; it is the payload of a reject.
            fields: Where its numbers stand in `raw`.
            strike: Strike as it came.
            expiry: Expiry as it came.
        """
        if self._fault is not None:
            self.reject(option_type, *self._fault, raw, strike=strike, expiry=expiry)
            return False
        name = None
        leg = _EMPTY_LEG.copy()
        try:
            leg["strike"] = strike_price(strike, self._nulls)
            leg["expiry"] = self._expiry(expiry)
            lot_size = leg["lot_size"] = self._lot_size(leg["expiry"])
            for column, name, convert in fields:
                leg[column] = convert(raw[name], self._nulls, lot_size)
        except BadValueError as error:
            detail = error.detail if name is None else f"{name}: {error.detail}"
            self.reject(option_type, error.reason, detail, raw, strike=strike, expiry=expiry)
            return False
        if self.underlying_price is None:
            self.underlying_price = leg["underlying_price"]
        self._legs[option_type].append(leg)
        self._raw_legs.keep(leg, option_type, raw, strike, expiry)
        return True

    def _expiry(self, raw: object) -> date:
        expiry = self._wire.expiry(raw)
        if expiry is None:
            raise BadValueError("bad_expiry", f"{shown(raw)} is no expiry date of this format")
        return expiry

    def _lot_size(self, expiry: date) -> int | None:
        """The lot of the chain's contracts of one expiry; None where it is unknown and not needed.

        Raises:
            BadValueError: It is unknown, and the format counts contracts.
        """
        if expiry not in self._lot_sizes:
            self._lot_sizes[expiry] = self._look_up_lot_size(expiry)
        lot_size = self._lot_sizes[expiry]
        if lot_size is None and self._counts_contracts:
            self._lacks_lot_size = True
            raise BadValueError(
                UNKNOWN_LOT_SIZE,
                f"contracts of {self._exchange} {self._symbol} on {self._event_time:%Y-%m-%d} that expire on"
                f" {expiry} cannot become units; add a line to lot_sizes.csv in the lake's folder and run"
                " 'strikelake ingest quarantine retry'",
            )
        return lot_size

    def _look_up_lot_size(self, expiry: date) -> int | None:
        if self._event_time is None or self._symbol is None:
            return None
        day = self._reference.calendar.session_date(self._exchange, self._event_time)
        return self._reference.lots.lot_size(self._exchange, self._symbol, day, expiry)

    def reject(
        self,
        option_type: OptionType | None,
        reason: str,
        detail: str,
        payload: object,
        *,
        strike: object = None,
        expiry: object = None,
        said: object = None,
        line: Line | None = None,
    ) -> None:
        """Keep one leg that cannot become a row.

        Args:
            option_type: None if it is not known.
            reason: Stable code.
            detail: For a person.
            payload: The leg as it came.
            strike: Strike as it came.
            expiry: Expiry as it came.
            said: What the source says where it should say call or put.
            line: Where the leg is a line that could not be read.
        """
        told = f"{option_type}: {detail}" if option_type else detail
        origin = LegOrigin(self._origin, option_type or said, strike, expiry, line=line)
        self._rejects.append(Reject(reason, told, payload, origin=origin))

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many calls, puts and rejects there are so far."""
        return len(self._legs["CE"]), len(self._legs["PE"]), len(self._rejects)

    def finish(self, identity: bytes, growth: Growth | None = None) -> ChainUpdate:
        """Return the chain; nothing may be added after.

        Args:
            identity: Of all its rows.
            growth: How it came together, if its file may be read while it is written.
        """
        for legs in self._legs.values():
            for leg in legs:
                if leg["underlying_price"] is None:
                    leg["underlying_price"] = self.underlying_price
        self._origin.underlying_price = self.underlying_price
        if self._lacks_lot_size and not any(self._legs.values()):
            # Another identity: once a lot size is known, loading the same file again brings the rows in. With
            # some legs in, that would bring these in twice: the others come in by a retry of quarantine only.
            self._origin.loads_as = identity.hex()
            identity, growth = identity_of(identity, UNKNOWN_LOT_SIZE), None
        lot_sizes = {leg["lot_size"] for legs in self._legs.values() for leg in legs}
        return ChainUpdate(
            exchange=self._exchange,
            symbol=self._symbol or UNKNOWN_SYMBOL,
            event_time=self._event_time,
            received_ns=time.time_ns(),
            calls=self._legs["CE"],
            puts=self._legs["PE"],
            context={
                "underlying_price": self.underlying_price,
                "lot_size": lot_sizes.pop() if len(lot_sizes) == 1 else None,
            },
            source=self._wire.source,
            rejects=tuple(self._rejects),
            identity=identity,
            raw_legs=self._raw_legs,
            growth=growth,
        )
