"""Adapter `bhavcopy-fo`: NSE's bhavcopy of futures and options until July 2024 (`fo01AUG2019bhav.csv`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.sources.base import FileReject
from ingest.sources.bhavcopy import UNKNOWN_LOT_SIZE, Bhavcopy, Contract
from ingest.sources.candle_format import CandleFormat, Instrument, rejecting_candles, underlying
from ingest.sources.recognise import Sample
from ingest.sources.values import BadValueError, Unit, named_month_date, shown, strike_price
from ingest.sources.wire_format import OPTION_TYPES, Field

EXCHANGE: Final = "NSE"

# Open interest is in shares, and what was traded, in the same row, in contracts. Prices of 0 stand for none:
# contracts without a trade have them as open, high and low, and the close of the day before as close.
WIRE: Final = CandleFormat(
    source="bhavcopy-fo",
    suffixes=(".csv", ".zip"),
    nulls=frozenset({"", "-"}),
    fields=(
        Field("open", Unit.RUPEES, ("OPEN",)),
        Field("high", Unit.RUPEES, ("HIGH",)),
        Field("low", Unit.RUPEES, ("LOW",)),
        Field("close", Unit.RUPEES, ("CLOSE",)),
        Field("settle", Unit.RUPEES, ("SETTLE_PR",)),
        Field("volume", Unit.CONTRACTS, ("CONTRACTS",)),
        Field("turnover", Unit.LAKHS, ("VAL_INLAKH",)),
        Field("oi", Unit.UNITS, ("OPEN_INT",)),
        Field("oi_change", Unit.UNITS, ("CHG_IN_OI",)),
    ),
    needed=tuple(
        (name,)
        for name in (
            "INSTRUMENT", "SYMBOL", "EXPIRY_DT", "STRIKE_PR", "OPTION_TYP", "OPEN", "HIGH", "LOW", "CLOSE",
            "SETTLE_PR", "CONTRACTS", "VAL_INLAKH", "OPEN_INT", "CHG_IN_OI", "TIMESTAMP",
        )
    ),
    # Where pandas wrote the file, its row numbers stand in front.
    ignored=frozenset({"Unnamed: 0"}),
)  # fmt: skip

_FUTURES: Final = frozenset({"FUTIDX", "FUTSTK", "FUTIVX"})
_OPTIONS: Final = frozenset({"OPTIDX", "OPTSTK"})
_NOT_AN_OPTION: Final = "XX"


def _contract(row: Mapping[str, str]) -> Contract:
    day, expiry = named_month_date(row["TIMESTAMP"]), named_month_date(row["EXPIRY_DT"])
    if day is None:
        raise BadValueError("bad_event_time", f"TIMESTAMP: {shown(row['TIMESTAMP'])} is no date")
    if expiry is None:
        raise BadValueError("bad_expiry", f"EXPIRY_DT: {shown(row['EXPIRY_DT'])} is no date")
    symbol = underlying(row["SYMBOL"])
    kind, option_type = row["INSTRUMENT"].strip(), row["OPTION_TYP"].strip()
    if kind in _FUTURES and option_type == _NOT_AN_OPTION:
        instrument = Instrument(EXCHANGE, symbol, "future", expiry)
    elif kind in _OPTIONS and option_type in OPTION_TYPES:
        strike = strike_price(row["STRIKE_PR"], WIRE.nulls)
        instrument = Instrument(EXCHANGE, symbol, "option", expiry, strike, option_type)
    else:
        raise BadValueError("unknown_instrument", f"{shown(kind)} with OPTION_TYP {shown(option_type)}")
    return Contract(instrument, day)


def _lot_size(_row: Mapping[str, str], contract: Contract, reference: ReferenceData) -> int:
    symbol, expiry, day = contract.instrument.symbol, contract.instrument.expiry, contract.day
    lot_size = reference.lots.lot_size(EXCHANGE, symbol, day, expiry)
    if lot_size is None:
        raise BadValueError(
            UNKNOWN_LOT_SIZE,
            f"contracts of {EXCHANGE} {symbol} on {day} that expire on {expiry} cannot become units;"
            " add a line to lot_sizes.csv in the lake's folder and load again",
        )
    return lot_size


_BHAVCOPY: Final = Bhavcopy(
    wire=WIRE,
    # With the expiry, since lots may differ by it: a run has a lot size or has none.
    run_names=("TIMESTAMP", "INSTRUMENT", "SYMBOL", "EXPIRY_DT"),
    contract_of=_contract,
    lot_size_of=_lot_size,
)


class BhavcopyLegacy:
    """Reads one `CandleUpdate` per run of rows of one underlying, see `ingest.sources.bhavcopy`."""

    name = WIRE.source
    about = "CSV or zip, NSE futures and options of a day, until 2024"
    suffixes = WIRE.suffixes

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read."""
        return sample.has_columns(WIRE.needed)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[CandleUpdate | FileReject]:
        """Yield the runs of one file; see `SourceAdapter.read`."""
        return rejecting_candles(WIRE, path, _BHAVCOPY.updates(path, reference))
