"""Adapter `bhavcopy-udiff`: the bhavcopy of NSE and BSE since July 2024, in the unified format (UDiFF).

All segments share its 34 columns; only rows of equity derivatives are contracts. A file of the cash market is
refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from catalog.exchanges import canonical_exchange
from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.sources.base import FileReject
from ingest.sources.bhavcopy import Bhavcopy, Contract, contract_in
from ingest.sources.candle_format import CandleFormat, rejecting_candles
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.values import INDIA, BadValueError, Unit, iso_date, iso_midnight, quantity, shown
from ingest.sources.wire_format import UNKNOWN_LOT_SIZE, Field

# Open interest is in shares, and what was traded in contracts; each row brings its contract's lot. Prices of
# 0 stand for none: contracts without a trade have them as open, high and low, but a close.
WIRE: Final = CandleFormat(
    source="bhavcopy-udiff",
    exchange=None,
    suffixes=(".csv", ".zip"),
    nulls=frozenset({"", "-"}),
    timezone=INDIA,
    event_time=iso_midnight,
    expiry=iso_date,
    symbol_names=("TckrSymb",),
    time_names=("TradDt",),
    strike_names=("StrkPric",),
    expiry_names=("XpryDt",),
    option_type_names=("OptnTp",),
    kinds={"STF": "future", "IDF": "future", "STO": "option", "IDO": "option"},
    fields=(
        Field("open", Unit.RUPEES, ("OpnPric",)),
        Field("high", Unit.RUPEES, ("HghPric",)),
        Field("low", Unit.RUPEES, ("LwPric",)),
        Field("close", Unit.RUPEES, ("ClsPric",)),
        Field("settle", Unit.RUPEES, ("SttlmPric",)),
        Field("underlying_price", Unit.RUPEES, ("UndrlygPric",)),
        Field("oi", Unit.UNITS, ("OpnIntrst",)),
        Field("oi_change", Unit.UNITS, ("ChngInOpnIntrst",)),
        Field("volume", Unit.CONTRACTS, ("TtlTradgVol",)),
        Field("turnover", Unit.VALUE, ("TtlTrfVal",)),
        Field("trades", Unit.COUNT, ("TtlNbOfTxsExctd",)),
    ),
    needed=tuple(
        (name,)
        for name in (
            "TradDt", "Sgmt", "Src", "FinInstrmTp", "TckrSymb", "XpryDt", "StrkPric", "OptnTp", "OpnPric",
            "HghPric", "LwPric", "ClsPric", "UndrlygPric", "SttlmPric", "OpnIntrst", "ChngInOpnIntrst",
            "TtlTradgVol", "TtlTrfVal", "TtlNbOfTxsExctd", "NewBrdLotQty",
        )
    ),
    ignored=frozenset(
        {
            "BizDt", "FinInstrmId", "ISIN", "SctySrs", "FininstrmActlXpryDt", "FinInstrmNm", "LastPric",
            "PrvsClsgPric", "SsnId", "Rmks", "Rsvd1", "Rsvd2", "Rsvd3", "Rsvd4", "Rsvd01", "Rsvd02",
            "Rsvd03", "Rsvd04",
        }
    ),
)  # fmt: skip

_DERIVATIVES: Final = "FO"
_KIND: Final = "FinInstrmTp"
_NOT_AN_OPTION: Final = ""


def _check_file(row: Mapping[str, str]) -> None:
    if (segment := row["Sgmt"].strip()) != _DERIVATIVES:
        raise NotARecordingError("not_derivatives", f"its segment is {shown(segment)}, not {_DERIVATIVES}")


def _contract(row: Mapping[str, str]) -> Contract:
    if (segment := row["Sgmt"].strip()) != _DERIVATIVES:
        raise BadValueError("not_derivatives", f"Sgmt: {shown(segment)} is not {_DERIVATIVES}")
    exchange = canonical_exchange(row["Src"])
    if exchange is None:
        raise BadValueError("unknown_exchange", f"Src: {shown(row['Src'])}")
    return contract_in(WIRE, row, exchange, kind_name=_KIND, not_an_option=_NOT_AN_OPTION)


def _lot_size(row: Mapping[str, str], _contract: Contract, _reference: ReferenceData) -> int:
    raw = row["NewBrdLotQty"]
    try:
        lot_size = quantity(raw, WIRE.nulls)
    except BadValueError as error:
        raise BadValueError(error.reason, f"NewBrdLotQty: {error.detail}") from None
    if lot_size is None or lot_size <= 0:
        raise BadValueError(UNKNOWN_LOT_SIZE, f"NewBrdLotQty: {shown(raw)} is no lot")
    return lot_size


_BHAVCOPY: Final = Bhavcopy(
    wire=WIRE,
    run_names=("TradDt", "Src", "FinInstrmTp", "TckrSymb"),
    contract_of=_contract,
    lot_size_of=_lot_size,
    check_file=_check_file,
    lot_in_row=True,
)


class BhavcopyUdiff:
    """Reads one `CandleUpdate` per run of rows of one underlying, see `ingest.sources.bhavcopy`."""

    name = WIRE.source
    about = "CSV or zip, UDiFF futures and options of a day"
    suffixes = WIRE.suffixes
    wire = WIRE

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read, whatever the segment."""
        return sample.has_columns(WIRE.needed)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[CandleUpdate | FileReject]:
        """Yield the runs of one file; see `SourceAdapter.read`."""
        return rejecting_candles(WIRE, path, _BHAVCOPY.updates(path, reference))
