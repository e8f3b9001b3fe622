"""Lot sizes: the shipped table against every quantity in the recordings, and the user's own lines."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import math
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from catalog.lots import LotSizes
from lake.errors import SettingsError

HEADER = "exchange,symbol,valid_from,lot_size\n"
SHIPPED = LotSizes.load(None)

Contract = tuple[str, str, date]
"""Exchange, symbol and session date."""


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(_text(path).splitlines())


def _quantity(text: str) -> int:
    return 0 if text in {"", "-"} else int(float(text))


def _day(text: str) -> date:
    return datetime.strptime(text, "%d-%b-%Y").date()  # noqa: DTZ007


# One reader a recorded format: yields quantities in units of the underlying, as the source gave them.


def _kite_poll(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.rglob("*.csv*")):
        for row in _rows(path):
            key = ("NSE", row.get("Symbol") or row["Stock"], date.fromisoformat(row["timestamp"][:10]))
            for column in ("CE_OI", "PE_OI", "CE_Volume", "PE_Volume"):
                yield key, _quantity(row[column])


def _nse_web_table(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.rglob("*.csv*")):
        day, symbol = path.relative_to(folder).parts[:2]
        for row in _rows(path):
            for column in ("CallOI", "PutOI", "CallBidQty", "CallAskQty", "PutBidQty", "PutAskQty"):
                yield ("NSE", symbol, date.fromisoformat(day)), _quantity(row[column])


def _nse_api(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.rglob("*.json*")):
        text = _text(path)
        if not text.startswith("{"):
            continue
        answer = json.loads(text)
        answer = answer.get("records", answer)
        if "timestamp" not in answer:
            continue
        day = _day(answer["timestamp"][:11])
        for row in answer["data"]:
            for leg in (row.get("CE"), row.get("PE")):
                for field in ("bidQty", "askQty", "buyQuantity1", "sellQuantity1"):
                    if leg and field in leg:
                        yield ("NSE", leg["underlying"], day), int(leg[field])


def _nse_live_derivatives(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.glob("*.csv*")):
        for row in _rows(path):
            symbol, day = row["contract"].split()[0], date.fromisoformat(row["datetime"][:10])
            yield ("NSE", symbol, day), int(row["volume"])


def _kite_ticks(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.glob("BANKNIFTY*_2021_08_20.txt*")):
        for line in _text(path).splitlines():
            tick: dict[str, Any] = ast.literal_eval(line)
            yield ("NSE", "BANKNIFTY", date(2021, 8, 20)), tick["volume"]
            yield ("NSE", "BANKNIFTY", date(2021, 8, 20)), tick["oi"]


def _kite_option_candles(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.rglob("SENSEX*.csv*")):
        for row in _rows(path):
            yield ("BSE", "SENSEX", date.fromisoformat(row["timestamp"][:10])), _quantity(row["volume"])


def _kite_future_candles(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.glob("nifty50_futures*.json*")):
        for candle in json.loads(_text(path))["data"]["candles"]:
            key = ("NSE", "NIFTY", date.fromisoformat(candle[0][:10]))
            yield key, candle[5]
            yield key, candle[6]


def _bhavcopy(folder: Path) -> Iterator[tuple[Contract, int]]:
    for path in sorted(folder.glob("fo_legacy*.csv*")):
        for row in _rows(path):
            if row["INSTRUMENT"] == "OPTIDX":
                day = _day(row["TIMESTAMP"])
                yield ("NSE", row["SYMBOL"], day), _quantity(row["OPEN_INT"])


READERS = {
    "kite_poll_csv": _kite_poll,
    "nse_web_table_csv": _nse_web_table,
    "nse_api_json": _nse_api,
    "nse_live_derivatives_csv": _nse_live_derivatives,
    "kite_ticks": _kite_ticks,
    "kite_candles_3min_csv": _kite_option_candles,
    "kite_candles_json": _kite_future_candles,
    "bhavcopy": _bhavcopy,
}


def test_the_lot_of_the_day_is_the_greatest_common_divisor_of_all_recorded_quantities(
    recordings: Path,
) -> None:
    at_hand = [name for name in READERS if (recordings / name).is_dir()]
    assert at_hand, f"no recording was found in {recordings}"
    for name in at_hand:
        quantities: dict[Contract, set[int]] = {}
        for contract, quantity in READERS[name](recordings / name):
            quantities.setdefault(contract, set()).add(quantity)
        assert quantities, f"{name} is there, but nothing in it could be checked"
        for contract, found in quantities.items():
            lot, divisor = SHIPPED.lot_size(*contract), math.gcd(*found)
            assert lot is not None, f"{name}: no lot for {contract}"
            assert divisor % lot == 0, f"{name}: {contract} has quantities that are no multiple of {lot}"
            # Few quantities may share a larger divisor by chance; fifty multiples of the lot do not.
            if len(found) >= 50:
                assert divisor == lot, f"{name}: {contract}"


def test_the_lots_of_listed_contracts_are_those_of_the_table(recordings: Path) -> None:
    instruments = sorted((recordings / "kite_instruments").glob("instruments_bfo.csv*"))
    bhavcopies = sorted((recordings / "bhavcopy").glob("fo_udiff*.csv*"))
    listed = {("BSE", r["name"], date(2025, 9, 5), int(r["lot_size"])) for p in instruments for r in _rows(p)}
    listed |= {
        ("NSE", row["TckrSymb"], date.fromisoformat(row["TradDt"]), int(row["NewBrdLotQty"]))
        for path in bhavcopies
        for row in _rows(path)
        if row["FinInstrmTp"] == "IDO"
    }
    # Known beside the recordings, so that the table is checked where these two files are not at hand.
    listed |= {("BSE", "SENSEX", date(2025, 9, 5), 20), ("NSE", "NIFTYNXT50", date(2026, 5, 19), 25)}
    for exchange, symbol, day, lot in sorted(listed):
        assert SHIPPED.lot_size(exchange, symbol, day) == lot, (exchange, symbol, day)


# Read from the recordings once (the greatest common divisors above), so that a wrong edit of the table
# is found without them too.
@pytest.mark.parametrize(
    ("exchange", "symbol", "day", "lot"),
    [
        ("NSE", "NIFTY", "2019-07-18", 75),
        ("NSE", "NIFTY", "2025-07-16", 75),
        ("NSE", "NIFTY", "2025-08-05", 75),
        ("NSE", "NIFTY", "2026-01-22", 65),
        ("NSE", "NIFTY", "2026-06-08", 65),
        ("NSE", "NIFTY", "2026-07-10", 65),
        ("NSE", "BANKNIFTY", "2019-07-18", 20),
        ("NSE", "BANKNIFTY", "2021-08-20", 25),
        ("NSE", "BANKNIFTY", "2025-07-16", 35),
        ("NSE", "BANKNIFTY", "2026-01-22", 30),
        ("NSE", "FINNIFTY", "2025-07-16", 65),
        ("NSE", "MIDCPNIFTY", "2025-07-16", 140),
        ("NSE", "MIDCPNIFTY", "2026-01-22", 120),
        ("BSE", "SENSEX", "2025-09-05", 20),
        ("BSE", "SENSEX", "2026-07-10", 20),
        ("BSE", "BANKEX", "2025-09-05", 30),
        ("BSE", "BANKEX", "2026-06-08", 30),
        ("BSE", "SENSEX50", "2025-09-05", 75),
    ],
)
def test_the_table_has_the_lots_that_recordings_prove(exchange: str, symbol: str, day: str, lot: int) -> None:
    assert SHIPPED.lot_size(exchange, symbol, date.fromisoformat(day)) == lot


@pytest.mark.parametrize(
    ("symbol", "last_before", "lot_before", "first_after", "lot_after"),
    [
        ("NIFTY", "2021-04-29", 75, "2021-07-23", 50),
        ("NIFTY", "2024-11-19", 25, "2025-01-31", 75),
        ("NIFTY", "2025-10-28", 75, "2025-12-31", 65),
        ("BANKNIFTY", "2020-05-03", 20, "2020-07-24", 25),
        ("BANKNIFTY", "2023-04-27", 25, "2023-07-21", 15),
        ("BANKNIFTY", "2025-04-24", 30, "2025-06-27", 35),
        ("FINNIFTY", "2024-04-25", 40, "2024-07-24", 25),
        ("MIDCPNIFTY", "2024-04-25", 75, "2024-07-23", 50),
    ],
)
def test_no_lot_is_given_while_contracts_of_two_lots_trade_side_by_side(
    symbol: str, last_before: str, lot_before: int, first_after: str, lot_after: int
) -> None:
    before, after = date.fromisoformat(last_before), date.fromisoformat(first_after)
    assert SHIPPED.lot_size("NSE", symbol, before) == lot_before
    assert SHIPPED.lot_size("NSE", symbol, after) == lot_after
    between = [date.fromordinal(n) for n in range(before.toordinal() + 1, after.toordinal())]
    assert between
    assert {SHIPPED.lot_size("NSE", symbol, day) for day in between} == {None}


def test_a_lot_that_divides_the_old_one_changes_from_one_day_to_the_next() -> None:
    assert SHIPPED.lot_size("NSE", "NIFTY", date(2024, 4, 25)) == 50
    assert SHIPPED.lot_size("NSE", "NIFTY", date(2024, 4, 26)) == 25


@pytest.mark.parametrize(
    ("exchange", "symbol", "day"),
    [
        ("NSE", "NIFTY", "2018-12-31"),
        ("NSE", "FINNIFTY", "2021-01-10"),
        ("NSE", "RELIANCE", "2026-06-08"),
        ("BSE", "NIFTY", "2026-06-08"),
        ("BSE", "SENSEX", "2023-05-14"),
        ("BSE", "BANKEX", "2026-11-02"),
        ("NSE", "NIFTY", "2027-01-04"),
        ("MCX", "CRUDEOIL", "2026-06-08"),
    ],
)
def test_what_is_not_known_is_none(exchange: str, symbol: str, day: str) -> None:
    assert SHIPPED.lot_size(exchange, symbol, date.fromisoformat(day)) is None


# The user's file.


def _user_file(folder: Path, lines: str) -> Path:
    path = folder / "lot_sizes.csv"
    path.write_text(HEADER + lines, encoding="utf-8")
    return path


def test_a_users_file_that_does_not_exist_changes_nothing(tmp_path: Path) -> None:
    lots = LotSizes.load(tmp_path / "lot_sizes.csv")
    assert lots.lot_size("NSE", "NIFTY", date(2026, 6, 8)) == 65


def test_a_users_lines_are_laid_over_the_shipped_ones(tmp_path: Path) -> None:
    path = _user_file(
        tmp_path,
        "# ours\nNSE,NIFTY,2025-10-29,75\nNSE,RELIANCE,2025-01-01,500\nNSE,NIFTY,2026-06-09,\n",
    )
    lots = LotSizes.load(path)
    assert lots.lot_size("NSE", "NIFTY", date(2025, 11, 26)) == 75
    assert lots.lot_size("NSE", "NIFTY", date(2025, 12, 31)) == 65
    assert lots.lot_size("NSE", "NIFTY", date(2026, 6, 9)) is None
    assert lots.lot_size("NSE", "RELIANCE", date(2024, 12, 31)) is None
    assert lots.lot_size("NSE", "RELIANCE", date(2026, 6, 8)) == 500


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("NFO,NIFTY,2026-01-01,65", "'NFO' is no exchange"),
        ("NSE,Nifty 50,2026-01-01,65", "must be written 'NIFTY'"),
        ("NSE,,2026-01-01,65", "symbol is empty"),
        ("NSE,NIFTY,01-01-2026,65", "valid_from '01-01-2026'"),
        ("NSE,NIFTY,2026-01-01,0", "lot_size '0'"),
        ("NSE,NIFTY,2026-01-01,-65", "lot_size '-65'"),
        ("NSE,NIFTY,2026-01-01,65.0", "lot_size '65.0'"),
        ("NSE,NIFTY,2026-01-01,²", "lot_size '²'"),
        ("NSE,NIFTY,2026-01-01", "expected 4 fields"),
        ("NSE,NIFTY,2026-02-01,70", "second line for 2026-02-01"),
    ],
)
def test_a_bad_line_is_refused_by_file_and_line_number(tmp_path: Path, line: str, problem: str) -> None:
    path = _user_file(tmp_path, f"NSE,NIFTY,2026-02-01,65\n\n{line}\n")
    with pytest.raises(SettingsError) as raised:
        LotSizes.load(path)
    message = str(raised.value)
    assert message.startswith(f"{path}, line 4: ")
    assert problem in message
