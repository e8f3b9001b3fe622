"""Adapter `bhavcopy-fo`: NSE's bhavcopy of futures and options until July 2024 (`fo01AUG2019bhav.csv`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.sources.base import FileReject
from ingest.sources.bhavcopy import Bhavcopy, Contract, contract_in
from ingest.sources.candle_format import CandleFormat, rejecting_candles
from ingest.sources.recognise import Sample
from ingest.sources.values import INDIA, BadValueError, Unit, named_month_date, named_month_midnight
from ingest.sources.wire_format import UNKNOWN_LOT_SIZE, Field

EXCHANGE: Final = "NSE"

# Open interest is in shares, and what was traded, in the same row, in contracts. Prices of 0 stand for none:
# contracts without a trade have them as open, high and low, and the close of the day before as close.
WIRE: Final = CandleFormat(
    source="bhavcopy-fo",
    exchange=EXCHANGE,
    suffixes=(".csv", ".zip"),
    nulls=frozenset({"", "-"}),
    timezone=INDIA,
    event_time=named_month_midnight,
    expiry=named_month_date,
    symbol_names=("SYMBOL",),
    time_names=("TIMESTAMP",),
    strike_names=("STRIKE_PR",),
    expiry_names=("EXPIRY_DT",),
    option_type_names=("OPTION_TYP",),
    kinds={
        "FUTIDX": "future", "FUTSTK": "future", "FUTIVX": "future", "OPTIDX": "option", "OPTSTK": "option",
    },
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

_KIND: Final = "INSTRUMENT"
_NOT_AN_OPTION: Final = "XX"


def _contract(row: Mapping[str, str]) -> Contract:
    return contract_in(WIRE, row, EXCHANGE, kind_name=_KIND, not_an_option=_NOT_AN_OPTION)


def _lot_size(_row: Mapping[str, str], contract: Contract, reference: ReferenceData) -> int:
    symbol, expiry, day = contract.instrument.symbol, contract.instrument.expiry, contract.day
    lot_size = reference.lots.lot_size(EXCHANGE, symbol, day, expiry)
    if lot_size is None:
        raise BadValueError(
            UNKNOWN_LOT_SIZE,
            f"contracts of {EXCHANGE} {symbol} on {day} that expire on {expiry} cannot become units;"
            " add a line to lot_sizes.csv in the lake's folder and run 'strikelake ingest quarantine retry'",
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
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read."""
        return sample.has_columns(WIRE.needed)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[CandleUpdate | FileReject]:
        """Yield the runs of one file; see `SourceAdapter.read`."""
        return rejecting_candles(WIRE, path, _BHAVCOPY.updates(path, reference))
