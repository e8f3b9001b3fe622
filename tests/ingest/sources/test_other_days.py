"""The formats of the recordings on other days and of other instruments.

What is expected is worked out here from the words of a row; lot sizes and expiry days are written out.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.sources.trading_symbol import expiry_of, parse_trading_symbol

INDIA = timezone(timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("symbol", "when", "expiry", "lot_size"),
    [
        ("NIFTY", "16-Jul-2019 15:30:00", "18-Jul-2019", 75),
        ("NIFTY", "30-Jul-2021 15:30:00", "05-Aug-2021", 50),
        ("NIFTY", "25-Apr-2024 15:30:00", "02-May-2024", 50),
        ("NIFTY", "26-Apr-2024 15:30:00", "02-May-2024", 25),
        # For two months contracts of two lots traded side by side.
        ("NIFTY", "20-Nov-2024 09:20:00", "21-Nov-2024", 25),
        ("NIFTY", "20-Nov-2024 09:20:00", "27-Feb-2025", 75),
        ("NIFTY", "02-Jan-2025 09:20:00", "30-Jan-2025", 25),
        ("BANKNIFTY", "01-Aug-2025 12:00:00", "30-Sep-2025", 35),
        ("NIFTY", "03-Feb-2026 12:00:00", "10-Feb-2026", 65),
        ("BANKNIFTY", "03-Feb-2026 12:00:00", "24-Feb-2026", 30),
        ("FINNIFTY", "03-Feb-2026 12:00:00", "24-Feb-2026", 60),
        ("MIDCPNIFTY", "03-Feb-2026 12:00:00", "24-Feb-2026", 120),
        ("NIFTYNXT50", "03-Feb-2026 12:00:00", "24-Feb-2026", 25),
        ("RELIANCE", "03-Feb-2026 12:00:00", "24-Feb-2026", None),
    ],
)
def test_an_answer_of_nse_counts_in_the_lots_of_its_day(
    symbol: str, when: str, expiry: str, lot_size: int | None, read: Any
) -> None:
    leg = {
        "strikePrice": 100, "expiryDate": expiry, "underlying": symbol, "openInterest": 1205,
        "changeinOpenInterest": -2, "totalTradedVolume": "1,03,805", "impliedVolatility": 12.5,
        "lastPrice": 3.05, "bidQty": 150, "bidprice": 0, "askQty": "-", "askPrice": "", "underlyingValue": 0,
    }  # fmt: skip
    rows = [{"strikePrice": 100, "expiryDate": expiry, "CE": leg}]
    answer = {
        "records": {"data": rows, "timestamp": when, "underlyingValue": 101.5},
        "filtered": {"data": []},
    }
    reading = read("nse-json", json.dumps(answer).encode())
    (chain,) = reading.chains
    moment = datetime.strptime(when, "%d-%b-%Y %H:%M:%S").replace(tzinfo=INDIA)
    assert (chain.exchange, chain.symbol, chain.event_time) == ("NSE", symbol, moment)
    if lot_size is None:
        assert [reject.reason for reject in reading.rejects] == ["unknown_lot_size"]
        return
    (found,) = reading.legs
    assert found == {
        "strike": 100.0, "expiry": datetime.strptime(expiry, "%d-%b-%Y").replace(tzinfo=INDIA).date(),
        "ltp": 3.05, "bid": None, "ask": None, "bid_qty": 150, "ask_qty": None, "oi": 1205 * lot_size,
        "oi_change": -2 * lot_size, "volume": 103_805 * lot_size, "iv": 0.125, "underlying_price": 101.5,
        "lot_size": lot_size,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expiry"),
    [
        # Weekly codes: the month is a digit, or O, N, D.
        ("SENSEX25O0980300CE", "2025-10-09"),
        ("NIFTY25N1124500PE", "2025-11-11"),
        ("NIFTY25D0226000CE", "2025-12-02"),
        ("NIFTY2610625000CE", "2026-01-06"),
        ("NIFTY20D3114000CE", "2020-12-31"),
        ("SENSEX5025O1426000CE", "2025-10-14"),
        ("BANKNIFTY1971829000CE", "2019-07-18"),
        # Monthly codes: the last weekday of that time, the session before where it was a holiday.
        ("NIFTY19OCT11500CE", "2019-10-31"),
        ("NIFTY23MAR17000CE", "2023-03-29"),
        ("NIFTY23JUN18000CE", "2023-06-28"),
        ("BANKNIFTY24JAN45000CE", "2024-01-25"),
        ("BANKNIFTY24MAR45000CE", "2024-03-27"),
        ("BANKNIFTY24DEC45000CE", "2024-12-24"),
        ("BANKNIFTY25JAN45000CE", "2025-01-30"),
        ("FINNIFTY24DEC19000CE", "2024-12-31"),
        ("MIDCPNIFTY24DEC12000CE", "2024-12-30"),
        ("SENSEX24DEC80000CE", "2024-12-27"),
        ("SENSEX25JAN80000CE", "2025-01-28"),
        ("SENSEX25SEP80000CE", "2025-09-25"),
        ("NIFTY25AUG24000CE", "2025-08-28"),
        ("NIFTY25SEP24000CE", "2025-09-30"),
        ("NIFTY26MAR24000CE", "2026-03-30"),
        ("NIFTYNXT5025OCT67000CE", "2025-10-28"),
        ("RELIANCE26MAR1300CE", "2026-03-30"),
        ("M&M25OCT3500PE", "2025-10-28"),
        ("BAJAJ-AUTO25OCT9000CE", "2025-10-28"),
    ],
)
def test_a_trading_symbol_expires_on_the_day_it_did(code: str, expiry: str, reference: ReferenceData) -> None:
    assert expiry_of(parse_trading_symbol(code), reference).isoformat() == expiry


@pytest.mark.parametrize(
    ("code", "symbol", "when", "lot_size"),
    [
        ("BSX", "SENSEX", "05 Jan 2024 | 12:00 ", 10),
        ("BSX", "SENSEX", "13 Jan 2025 | 9:20 ", 20),
        ("BKX", "BANKEX", "05 Sep 2025 | 15:30 ", 30),
        ("SX50", "SENSEX50", "10 Jul 2026 | 19:15 ", None),
    ],
)
def test_an_answer_of_bse_of_another_index(
    code: str, symbol: str, when: str, lot_size: int | None, samples: Path, read: Any
) -> None:
    answer = json.loads((samples / "bse_api_json" / "sensex_option_chain.json").read_text(encoding="utf-8"))
    moment = datetime.strptime(when.strip(), "%d %b %Y | %H:%M").replace(tzinfo=INDIA)
    day = f"{moment:%d %b %Y}"
    row = {**answer["Table"][0], "Ula_Code": code, "End_TimeStamp": day, "C_Open_Interest": "1,23,456.00"}
    reading = read("bse-json", json.dumps({"Table": [row], "ASON": {"DT_TM": when}}).encode())
    (chain,) = reading.chains
    assert (chain.exchange, chain.symbol, chain.event_time) == ("BSE", symbol, moment)
    if lot_size is None:
        assert {reject.reason for reject in reading.rejects} == {"unknown_lot_size"}
    else:
        assert (chain.calls[0]["oi"], chain.calls[0]["expiry"]) == (123_456 * lot_size, moment.date())


LEGACY = (
    "INSTRUMENT,SYMBOL,EXPIRY_DT,STRIKE_PR,OPTION_TYP,OPEN,HIGH,LOW,CLOSE,SETTLE_PR,CONTRACTS,VAL_INLAKH,"
    "OPEN_INT,CHG_IN_OI,TIMESTAMP,\n"
)


@pytest.mark.parametrize(
    ("row", "lot_size", "reason"),
    [
        ("OPTIDX,FINNIFTY,25-Jan-2022,18000,CE,10,12,9,11,11,100,72.4,4000,-40,11-JAN-2022,", 40, None),
        ("OPTIDX,MIDCPNIFTY,22-Feb-2022,7000,PE,10,12,9,11,11,100,72.4,7500,-75,11-FEB-2022,", 75, None),
        ("OPTIDX,NIFTY,26-Jun-2024,23000,CE,10,12,9,11,11,100,72.4,2500,25,21-Jun-2024,", 25, None),
        ("FUTIDX,BANKNIFTY,29-Aug-2019,0,XX,10,12,9,11,11,100,72.4,2000,20,01-AUG-2019,", 20, None),
        ("OPTSTK,M&M,29-Aug-2019,540,CE,0,0,0,11,5,0,0,1000,0,01-AUG-2019,", None, "unknown_lot_size"),
        ("OPTIDX,NIFTY,08-AUG-19,11100,CE,10,12,9,11,11,1,1,75,75,01-AUG-2019,", None, "bad_expiry"),
        ("OPTSTK,ACC,29-Aug-2019,1100,CA,0,0,0,11,5,0,0,1000,0,01-AUG-2019,", None, "unknown_instrument"),
    ],
)
def test_a_row_of_a_legacy_bhavcopy_of_another_day(
    row: str, lot_size: int | None, reason: str | None, read: Any
) -> None:
    said = next(csv.DictReader(io.StringIO(LEGACY + row)))
    reading = read("bhavcopy-fo", f"{LEGACY}{row}\n".encode())
    assert [reject.reason for reject in reading.rejects] == ([reason] if reason else [])
    for leg in reading.legs:
        assert leg["volume"] == int(said["CONTRACTS"]) * (lot_size or 0)
        assert leg["turnover"] == pytest.approx(float(said["VAL_INLAKH"]) * 100_000)
        assert (leg["oi"], leg["oi_change"]) == (int(said["OPEN_INT"]), int(said["CHG_IN_OI"]))
        assert leg["lot_size"] == lot_size
        day = datetime.strptime(said["TIMESTAMP"].title(), "%d-%b-%Y").replace(tzinfo=INDIA)
        assert leg["start_time"] == day
        assert leg["expiry"] > date(2019, 1, 1)
    assert len(reading.legs) == (reason is None)


POLL = "Symbol,Expiry,Strike,CE_LTP,CE_OI,CE_Volume,PE_LTP,PE_OI,PE_Volume,Spot,%Change,timestamp,Max_Pain\n"


@pytest.mark.parametrize(
    ("row", "exchange", "symbol", "rejected"),
    [
        ("SENSEX50,2026-02-10,25000,10.5,75,75,3,75,0,1,0.1,2026-02-03 09:16:05,1", "BSE", "SENSEX50", 0),
        ("NIFTY NEXT 50,2026-02-24,67000,1,25,25,3,25,0,0,0,2026-02-03 09:16,1", "NSE", "NIFTYNXT50", 0),
        ('SENSEX,2026-02-05,83000,"1,234.5",20,20,-,,nan,0,0,2026-02-03 09:16,1', "BSE", "SENSEX", 0),
        ("NIFTY,2026-02-10,25000,10.5,6500.5,65,3,65,0,1,0,2026-02-03 09:16:05,1", "NSE", "NIFTY", 1),
    ],
)  # fmt: skip
def test_a_poll_of_kite_of_another_index(
    row: str, exchange: str, symbol: str, rejected: int, read: Any
) -> None:
    reading = read("kite-poll", (POLL + row + "\n").encode())
    (chain,) = reading.chains
    assert (chain.exchange, chain.symbol) == (exchange, symbol)
    assert [reject.reason for reject in reading.rejects] == ["fractional_units"] * rejected
    said = next(csv.DictReader(io.StringIO(POLL + row)))
    for side, legs in (("CE", chain.calls), ("PE", chain.puts)):
        for leg in legs:
            for column, name in (("oi", "OI"), ("volume", "Volume")):
                text = said[f"{side}_{name}"]
                assert leg[column] == (None if text in {"", "-", "nan"} else int(text))
