"""Adapter `bhavcopy-udiff`: the bhavcopy of NSE and BSE since July 2024, in the unified format (UDiFF).

All segments share its 34 columns; only rows of equity derivatives are contracts. A file of the cash market is
refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from catalog.exchanges import canonical_exchange
from catalog.reference import ReferenceData
from ingest.events import CandleUpdate
from ingest.sources.base import FileReject
from ingest.sources.bhavcopy import Bhavcopy, Contract
from ingest.sources.candle_format import CandleFormat, Instrument, rejecting_candles, underlying
from ingest.sources.recognise import Sample
from ingest.sources.recorded_file import NotARecordingError
from ingest.sources.values import BadValueError, Unit, iso_date, quantity, shown, strike_price
from ingest.sources.wire_format import OPTION_TYPES, Field

# Open interest is in shares, and what was traded in contracts; each row brings its contract's lot. Prices of
# 0 stand for none: contracts without a trade have them as open, high and low, but a close.
WIRE: Final = CandleFormat(
    source="bhavcopy-udiff",
    suffixes=(".csv", ".zip"),
    nulls=frozenset({"", "-"}),
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
_KINDS: Final[Mapping[str, Literal["future", "option"]]] = {
    "STF": "future", "IDF": "future", "STO": "option", "IDO": "option",
}  # fmt: skip


def _check_file(row: Mapping[str, str]) -> None:
    if (segment := row["Sgmt"].strip()) != _DERIVATIVES:
        raise NotARecordingError("not_derivatives", f"its segment is {shown(segment)}, not {_DERIVATIVES}")


def _contract(row: Mapping[str, str]) -> Contract:
    if (segment := row["Sgmt"].strip()) != _DERIVATIVES:
        raise BadValueError("not_derivatives", f"Sgmt: {shown(segment)} is not {_DERIVATIVES}")
    exchange = canonical_exchange(row["Src"])
    if exchange is None:
        raise BadValueError("unknown_exchange", f"Src: {shown(row['Src'])}")
    day = iso_date(row["TradDt"])
    if day is None:
        raise BadValueError("bad_event_time", f"TradDt: {shown(row['TradDt'])} is no date")
    expiry = iso_date(row["XpryDt"])
    if expiry is None:
        raise BadValueError("bad_expiry", f"XpryDt: {shown(row['XpryDt'])} is no date")
    symbol = underlying(row["TckrSymb"])
    kind, option_type = _KINDS.get(row["FinInstrmTp"].strip()), row["OptnTp"].strip()
    if kind == "future" and not option_type:
        instrument = Instrument(exchange, symbol, kind, expiry)
    elif kind == "option" and option_type in OPTION_TYPES:
        strike = strike_price(row["StrkPric"], WIRE.nulls)
        instrument = Instrument(exchange, symbol, kind, expiry, strike, option_type)
    else:
        raise BadValueError(
            "unknown_instrument", f"FinInstrmTp {shown(row['FinInstrmTp'])} with OptnTp {shown(option_type)}"
        )
    return Contract(instrument, day)


def _lot_size(row: Mapping[str, str], _contract: Contract, _reference: ReferenceData) -> int:
    raw = row["NewBrdLotQty"]
    try:
        lot_size = quantity(raw, WIRE.nulls)
    except BadValueError as error:
        raise BadValueError(error.reason, f"NewBrdLotQty: {error.detail}") from None
    if lot_size is None or lot_size <= 0:
        raise BadValueError("unknown_lot_size", f"NewBrdLotQty: {shown(raw)} is no lot")
    return lot_size


_BHAVCOPY: Final = Bhavcopy(
    wire=WIRE,
    run_names=("TradDt", "Src", "FinInstrmTp", "TckrSymb"),
    contract_of=_contract,
    lot_size_of=_lot_size,
    check_file=_check_file,
)


class BhavcopyUdiff:
    """Reads one `CandleUpdate` per run of rows of one underlying, see `ingest.sources.bhavcopy`."""

    name = WIRE.source
    about = "CSV or zip, UDiFF futures and options of a day"
    suffixes = WIRE.suffixes

    def recognises(self, sample: Sample) -> bool:
        """By the columns without which no row can be read, whatever the segment."""
        return sample.has_columns(WIRE.needed)

    def read(self, path: Path, reference: ReferenceData) -> Iterator[CandleUpdate | FileReject]:
        """Yield the runs of one file; see `SourceAdapter.read`."""
        return rejecting_candles(WIRE, path, _BHAVCOPY.updates(path, reference))
