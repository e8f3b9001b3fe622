"""Lot sizes: the shipped table against every quantity in the recordings, and the user's own lines."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import math
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.lots import LotSizes
from lake.errors import SettingsError

HEADER = "exchange,symbol,valid_from,lot_size\n"
BY_CONTRACT = "exchange,symbol,valid_from,lot_size,expires_by\n"
SHIPPED = LotSizes.load(None)

Contract = tuple[str, str, date]
"""Exchange, symbol and session date."""


def _lot(exchange: str, symbol: str, day: date) -> int | None:
    """The lot that all contracts have that day, whenever they expire."""
    (lot,) = {SHIPPED.lot_size(exchange, symbol, day, day + timedelta(days=n)) for n in range(0, 1500, 7)}
    assert SHIPPED.lot_size(exchange, symbol, day, None) == lot
    return lot


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
            lot, divisor = _lot(*contract), math.gcd(*found)
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
        assert _lot(exchange, symbol, day) == lot, (exchange, symbol, day)


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
    assert _lot(exchange, symbol, date.fromisoformat(day)) == lot


# Days of a revision at their edges: before it, on its first and last day, and after it, with the expiries at
# which the lot changes. From the circulars' own tables of last and first expiry.
@pytest.mark.parametrize(
    ("exchange", "symbol", "day", "lots"),
    [
        ("NSE", "NIFTY", "2021-04-29", {"2021-07-29": 75, "2021-12-30": 75}),
        (
            "NSE", "NIFTY", "2021-04-30",
            {"2021-07-22": 75, "2021-07-29": 50,
             "2021-08-05": 50, "2021-12-30": 75},
        ),
        ("NSE", "NIFTY", "2021-06-24", {"2021-06-24": 75, "2021-08-26": 50, "2021-12-30": 75}),
        ("NSE", "NIFTY", "2021-06-25", {"2021-07-22": 75, "2021-07-29": 50, "2021-12-30": 50}),
        ("NSE", "NIFTY", "2021-07-23", {"2021-07-29": 50, "2021-12-30": 50}),
        ("NSE", "NIFTY", "2024-11-19", {"2024-11-28": 25, "2025-03-27": 25}),
        (
            "NSE", "NIFTY", "2024-11-20",
            {"2024-12-19": 25, "2024-12-26": 25, "2025-01-02": 75, "2025-01-23": 75, "2025-01-30": 25,
             "2025-02-27": 75, "2025-03-27": 25, "2028-06-29": 25},
        ),
        ("NSE", "NIFTY", "2024-12-26", {"2024-12-26": 25, "2025-01-02": 75, "2025-03-27": 25}),
        (
            "NSE", "NIFTY", "2024-12-27",
            {"2025-01-02": 75, "2025-01-30": 25,
             "2025-02-06": 75, "2025-03-27": 75},
        ),
        ("NSE", "NIFTY", "2025-01-30", {"2025-01-30": 25, "2025-02-06": 75}),
        ("NSE", "NIFTY", "2025-01-31", {"2025-02-06": 75, "2025-03-27": 75}),
        ("NSE", "NIFTY", "2025-10-28", {"2025-10-28": 75, "2026-01-27": 75, "2026-03-30": 75}),
        ("NSE", "NIFTY", "2025-10-29", {"2025-12-30": 75, "2026-01-27": 65, "2026-03-30": 75}),
        (
            "NSE", "NIFTY", "2025-11-26",
            {"2025-12-02": 75, "2025-12-30": 75, "2026-01-06": 65, "2026-01-27": 65, "2026-02-24": 65,
             "2026-03-30": 75, "2026-12-29": 75},
        ),
        ("NSE", "NIFTY", "2025-12-30", {"2025-12-30": 75, "2026-01-06": 65, "2026-06-30": 75}),
        ("NSE", "NIFTY", "2025-12-31", {"2026-01-06": 65, "2026-03-30": 65, "2026-06-30": 65}),
        ("NSE", "BANKNIFTY", "2020-05-03", {"2020-07-23": 20, "2020-12-31": 20}),
        ("NSE", "BANKNIFTY", "2020-05-04", {"2020-07-23": 20, "2020-07-30": 25, "2020-12-31": None}),
        ("NSE", "BANKNIFTY", "2020-07-24", {"2020-07-30": 25, "2020-12-31": 25}),
        ("NSE", "BANKNIFTY", "2023-04-28", {"2023-07-20": 25, "2023-07-27": 15, "2023-12-28": 25}),
        ("NSE", "BANKNIFTY", "2023-06-30", {"2023-07-20": 25, "2023-07-27": 15, "2023-12-28": 15}),
        ("NSE", "BANKNIFTY", "2024-12-24", {"2025-01-29": 15, "2025-02-26": 30, "2025-03-26": 15}),
        ("NSE", "BANKNIFTY", "2024-12-26", {"2025-01-29": 15, "2025-01-30": 15, "2025-03-27": 30}),
        ("NSE", "BANKNIFTY", "2025-04-24", {"2025-06-26": 30, "2025-09-25": 30}),
        ("NSE", "BANKNIFTY", "2025-04-25", {"2025-06-26": 30, "2025-07-31": 35, "2025-09-25": 35}),
        (
            "NSE", "BANKNIFTY", "2025-12-24",
            {"2025-12-30": 35, "2026-01-27": 30,
             "2026-02-24": 30, "2026-03-30": 35},
        ),
        ("NSE", "FINNIFTY", "2024-04-26", {"2024-07-23": 40, "2024-07-30": 25, "2024-08-06": 25}),
        ("NSE", "FINNIFTY", "2025-01-23", {"2025-01-28": 25, "2025-01-30": 25, "2025-02-27": 65}),
        ("NSE", "FINNIFTY", "2025-12-24", {"2025-12-30": 65, "2026-01-27": 60}),
        ("NSE", "MIDCPNIFTY", "2024-04-26", {"2024-07-22": 75, "2024-07-29": 50}),
        ("NSE", "MIDCPNIFTY", "2025-06-26", {"2025-06-26": 120, "2025-07-31": 140}),
        ("NSE", "NIFTYNXT50", "2024-11-20", {"2025-01-31": 10, "2025-02-28": 25}),
        (
            "BSE", "SENSEX", "2024-11-20",
            {"2024-12-27": 10, "2025-01-03": 10, "2025-01-10": 20, "2025-01-31": 10, "2025-02-28": 20,
             "2025-03-28": 10},
        ),
        (
            "BSE", "SENSEX", "2025-01-02",
            {"2025-01-03": 10, "2025-01-07": 20,
             "2025-01-28": 10, "2025-03-25": 20},
        ),
        ("BSE", "SENSEX", "2025-01-29", {"2025-02-04": 20, "2025-03-25": 20}),
        ("BSE", "BANKEX", "2025-01-23", {"2025-01-27": 15, "2025-01-28": 15, "2025-02-25": 30}),
        ("BSE", "SENSEX50", "2025-04-11", {"2025-06-24": 60, "2025-07-29": 75}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_after_a_revision_each_contract_has_the_lot_of_its_expiry(
    exchange: str, symbol: str, day: str, lots: dict[str, int | None]
) -> None:
    session = date.fromisoformat(day)
    found = {e: SHIPPED.lot_size(exchange, symbol, session, date.fromisoformat(e)) for e in lots}
    assert found == lots


@pytest.mark.parametrize(
    ("symbol", "day"), [("NIFTY", "2025-11-26"), ("NIFTY", "2024-12-27"), ("FINNIFTY", "2024-04-26")]
)
def test_without_an_expiry_there_is_no_lot_where_contracts_differ(symbol: str, day: str) -> None:
    assert SHIPPED.lot_size("NSE", symbol, date.fromisoformat(day), None) is None


def test_a_lot_that_divides_the_old_one_changes_from_one_day_to_the_next() -> None:
    assert _lot("NSE", "NIFTY", date(2024, 4, 25)) == 50
    assert _lot("NSE", "NIFTY", date(2024, 4, 26)) == 25


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
    assert _lot(exchange, symbol, date.fromisoformat(day)) is None


# The user's file.

MARCH_2027 = date(2027, 3, 30)


def _user_file(folder: Path, lines: str, header: str = HEADER) -> Path:
    path = folder / "lot_sizes.csv"
    path.write_text(header + lines, encoding="utf-8")
    return path


def test_a_users_file_that_does_not_exist_changes_nothing(tmp_path: Path) -> None:
    lots = LotSizes.load(tmp_path / "lot_sizes.csv")
    assert lots.lot_size("NSE", "NIFTY", date(2026, 6, 8), MARCH_2027) == 65


def test_a_users_lines_are_laid_over_the_shipped_ones(tmp_path: Path) -> None:
    path = _user_file(
        tmp_path,
        "# ours\nNSE,NIFTY,2025-10-29,75\nNSE,RELIANCE,2025-01-01,500\nNSE,NIFTY,2026-06-09,\n",
    )
    lots = LotSizes.load(path)
    for expiry in (date(2025, 12, 2), date(2026, 1, 27), MARCH_2027):
        assert lots.lot_size("NSE", "NIFTY", date(2025, 11, 26), expiry) == 75
    assert lots.lot_size("NSE", "NIFTY", date(2025, 12, 31), MARCH_2027) == 65
    assert lots.lot_size("NSE", "NIFTY", date(2026, 6, 9), MARCH_2027) is None
    assert lots.lot_size("NSE", "RELIANCE", date(2024, 12, 31), MARCH_2027) is None
    assert lots.lot_size("NSE", "RELIANCE", date(2026, 6, 8), MARCH_2027) == 500


def test_a_users_lines_by_contract_replace_all_shipped_ones_of_their_day(tmp_path: Path) -> None:
    path = _user_file(
        tmp_path, "NSE,NIFTY,2026-10-28,65,2026-12-29\nNSE,NIFTY,2025-10-29,70,2026-01-06\n", BY_CONTRACT
    )
    lots = LotSizes.load(path)
    assert lots.lot_size("NSE", "NIFTY", date(2026, 11, 25), date(2026, 12, 29)) == 65
    assert lots.lot_size("NSE", "NIFTY", date(2026, 11, 25), date(2027, 1, 5)) is None
    assert lots.lot_size("NSE", "NIFTY", date(2025, 11, 26), date(2025, 12, 2)) == 70
    assert lots.lot_size("NSE", "NIFTY", date(2025, 11, 26), date(2026, 1, 27)) is None
    assert lots.lot_size("NSE", "BANKNIFTY", date(2025, 11, 26), date(2026, 1, 27)) == 30


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
        ("NSE,NIFTY,2026-01-01,65,2026-01-06", "expected 4 fields"),
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


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("NSE,NIFTY,2026-01-01,65,06-01-2026", "expires_by '06-01-2026' must be a date"),
        ("NSE,NIFTY,2026-01-07,65,2026-01-06", "expires_by 2026-01-06 is before valid_from 2026-01-07"),
        ("NSE,NIFTY,2026-02-01,70,2026-02-24", "NSE NIFTY has a second line for 2026-02-01 and contracts"),
        ("NSE,NIFTY,2026-01-01,65", "expected 5 fields"),
    ],
)  # fmt: skip
def test_a_bad_line_by_contract_is_refused_by_file_and_line_number(
    tmp_path: Path, line: str, problem: str
) -> None:
    path = _user_file(tmp_path, f"NSE,NIFTY,2026-02-01,65,2026-02-24\n\n{line}\n", BY_CONTRACT)
    with pytest.raises(SettingsError) as raised:
        LotSizes.load(path)
    assert str(raised.value).startswith(f"{path}, line 4: {problem}")


def test_a_header_of_neither_form_is_refused_and_both_are_named(tmp_path: Path) -> None:
    path = _user_file(tmp_path, "NSE,NIFTY,2026-02-01,65\n", "exchange,symbol,from,lot\n")
    with pytest.raises(SettingsError) as raised:
        LotSizes.load(path)
    assert str(raised.value) == (
        f"{path}, line 1: expected the header exchange,symbol,valid_from,lot_size"
        " or exchange,symbol,valid_from,lot_size,expires_by"
    )
