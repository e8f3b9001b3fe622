"""Days of expiry against what exchanges had listed on the days there are recordings of."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from catalog.calendar import SessionCalendar
from catalog.expiries import ExpiryDays
from ingest.simulator import MARKETS, next_expiries
from lake.errors import SettingsError

CALENDAR = SessionCalendar.load()
SHIPPED = ExpiryDays.load()
NEAR = timedelta(days=28)
INDIA = ZoneInfo("Asia/Kolkata")


def expiries(symbol: str, first: str, last: str, *, exchange: str = "NSE") -> list[str]:
    found = SHIPPED.expiries(CALENDAR, exchange, symbol, date.fromisoformat(first), date.fromisoformat(last))
    return [day.isoformat() for day in found]


def day_of(text: str, form: str) -> date:
    return datetime.strptime(text, form).replace(tzinfo=INDIA).date()


def listed(exchange: str, symbol: str, on: date, dates: set[date]) -> None:
    """What was listed for four weeks is what the rule gives; later, only some weeks have a contract."""
    near = sorted(each for each in dates if on <= each <= on + NEAR)
    assert near
    assert SHIPPED.expiries(CALENDAR, exchange, symbol, on, max(near)) == near


def test_nse_listed_these_in_its_answers(recordings: Path) -> None:
    for path in sorted((recordings / "nse_api_json" / "v1").glob("*.json.gz")):
        records = json.loads(gzip.decompress(path.read_bytes()))["records"]
        on = day_of(records["timestamp"][:11], "%d-%b-%Y")
        rows = (leg for row in records["data"] for leg in (row.get("CE"), row.get("PE")) if leg)
        symbol = next(leg["underlying"] for leg in rows if leg["underlying"])
        listed("NSE", symbol, on, {day_of(text, "%d-%b-%Y") for text in records["expiryDates"]})


def test_nse_listed_these_in_its_newer_answers(recordings: Path) -> None:
    answer = json.loads((recordings / "nse_api_json/v3/nifty_dropdown.json").read_text(encoding="utf-8"))
    dates = {day_of(text, "%d-%b-%Y") for text in answer["expiryDates"]}
    listed("NSE", "NIFTY", date(2026, 7, 10), dates)
    frame = pl.read_parquet(recordings / "nse_v3_parquet" / "option_chain_20260819.parquet")
    dates = {day_of(text, "%d-%b-%Y") for text in frame["expiry"].unique()}
    listed("NSE", "NIFTY", date(2026, 8, 19), dates)


def test_bse_listed_these_in_september_2025(recordings: Path) -> None:
    path = recordings / "kite_instruments" / "instruments_bfo.csv.gz"
    if not path.exists():
        pytest.skip("the list of instruments is in the whole recordings only")
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    for symbol in ("SENSEX", "BANKEX", "SENSEX50"):
        dates = {date.fromisoformat(row["expiry"]) for row in rows if row["name"] == symbol}
        listed("BSE", symbol, date(2025, 9, 5), dates)


def test_nse_listed_these_in_its_bhavcopy_of_2019(whole_recordings: Path) -> None:
    path = whole_recordings / "bhavcopy" / "fo_legacy_sample_01AUG2019.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    dates = {
        day_of(row["EXPIRY_DT"], "%d-%b-%Y")
        for row in rows
        if row["SYMBOL"] == "BANKNIFTY" and row["OPTION_TYP"] != "XX"
    }
    # The file is cut after its thousandth row, within the expiry of 2019-08-29.
    listed("NSE", "BANKNIFTY", date(2019, 8, 1), dates)


@pytest.mark.parametrize(
    ("symbol", "first", "last", "expected"),
    [
        ("NIFTY", "2025-08-20", "2025-09-10", ["2025-08-21", "2025-08-28", "2025-09-02", "2025-09-09"]),
        # The month's contract is the week's contract of its week, also where they are on two weekdays.
        ("BANKNIFTY", "2023-09-01", "2023-09-30", ["2023-09-06", "2023-09-13", "2023-09-20", "2023-09-28"]),
        ("BANKNIFTY", "2024-11-01", "2025-02-28",
         ["2024-11-06", "2024-11-13", "2024-11-27", "2024-12-24", "2025-01-30", "2025-02-27"]),
        # Moved to the session before: 2019-08-15 and 2026-03-31 are holidays.
        ("BANKNIFTY", "2019-08-10", "2019-08-20", ["2019-08-14"]),
        ("NIFTY", "2026-03-25", "2026-03-31", ["2026-03-30"]),
        # Looked for up to a day before the holiday that moves it.
        ("NIFTY", "2026-03-30", "2026-03-30", ["2026-03-30"]),
        ("NIFTY", "2019-01-01", "2019-02-20", ["2019-01-31", "2019-02-14"]),
        # The Diwali hour is no day of expiry: brokers' symbols have 25O20 and, of SENSEX below, 24O31.
        ("NIFTY", "2025-10-15", "2025-10-27", ["2025-10-20"]),
        ("NIFTY", "2021-10-29", "2021-11-10", ["2021-11-03"]),
        # NSE/FAOP/61517 names 2024-05-17 in place of the election day, NSE/MSD/60340 the Saturday 2024-01-20.
        ("MIDCPNIFTY", "2024-05-14", "2024-05-26", ["2024-05-17"]),
        ("MIDCPNIFTY", "2024-01-16", "2024-01-28", ["2024-01-20"]),
        # Circulars 55/2023 and 118/2023 give these as the first Wednesday and the first Monday.
        ("MIDCPNIFTY", "2023-04-24", "2023-05-04", ["2023-04-25", "2023-05-03"]),
        ("MIDCPNIFTY", "2023-08-15", "2023-08-22", ["2023-08-16", "2023-08-21"]),
        ("FINNIFTY", "2021-10-14", "2021-10-27", ["2021-10-14", "2021-10-19", "2021-10-26"]),
        ("UNHEARD", "2026-01-01", "2026-12-31", []),
    ],
)  # fmt: skip
def test_changes_of_the_weekday_are_followed(symbol: str, first: str, last: str, expected: list[str]) -> None:
    assert expiries(symbol, first, last) == expected


def test_the_first_tuesday_of_bse_spares_the_week_it_began_in() -> None:
    found = expiries("SENSEX", "2024-12-25", "2025-01-15", exchange="BSE")
    assert found == ["2024-12-27", "2025-01-03", "2025-01-07", "2025-01-14"]


def test_an_expiry_of_bse_that_falls_on_the_diwali_hour_is_the_day_before() -> None:
    assert expiries("SENSEX", "2024-10-28", "2024-11-07", exchange="BSE") == ["2024-10-31"]


def test_every_expiry_is_a_session_and_a_longer_range_contains_a_shorter_one() -> None:
    for exchange in ("NSE", "BSE"):
        for symbol in SHIPPED.symbols(exchange):
            whole = SHIPPED.expiries(CALENDAR, exchange, symbol, date(2019, 1, 1), date(2026, 12, 31))
            assert all(CALENDAR.session(exchange, day) for day in whole)
            for start in range(0, 2900, 173):
                first = date(2019, 1, 1) + timedelta(days=start)
                last = first + timedelta(days=start % 40)
                part = SHIPPED.expiries(CALENDAR, exchange, symbol, first, last)
                assert part == [day for day in whole if first <= day <= last]


def test_the_month_of_a_contract_gives_its_day() -> None:
    month_expiry = SHIPPED.month_expiry
    assert month_expiry(CALENDAR, "NSE", "BANKNIFTY", 2021, 9) == date(2021, 9, 30)
    assert month_expiry(CALENDAR, "NSE", "NIFTY", 2026, 3) == date(2026, 3, 30)
    assert month_expiry(CALENDAR, "BSE", "SENSEX", 2025, 12) == date(2025, 12, 24)
    assert month_expiry(CALENDAR, "BSE", "SENSEX", 2022, 12) is None


def test_the_simulator_follows_the_same_rule_where_it_is_in_force() -> None:
    for market in MARKETS.values():
        for offset in range(0, 440, 7):
            day = date(2025, 9, 1) + timedelta(days=offset)
            found = next_expiries(market.symbol, day, CALENDAR, 2)
            assert SHIPPED.expiries(CALENDAR, market.exchange, market.symbol, day, found[-1]) == found


def test_a_users_line_wins_and_a_bad_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "expiry_days.csv"
    header = "exchange,symbol,cycle,valid_from,weekday\n"
    path.write_text(header + "NSE,NIFTY,weekly,2026-12-01,Monday\n", encoding="utf-8")
    days: Any = ExpiryDays.load(path)
    found = days.expiries(CALENDAR, "NSE", "NIFTY", date(2026, 11, 29), date(2026, 12, 14))
    assert found == [date(2026, 12, 7), date(2026, 12, 14)]
    for line in (
        "LSE,NIFTY,weekly,2026-12-01,Monday",
        "NSE,NIFTY50,weekly,2026-12-01,Monday",
        "NSE,NIFTY,daily,2026-12-01,Monday",
        "NSE,NIFTY,weekly,soon,Monday",
        "NSE,NIFTY,weekly,2026-12-01,Sunday",
        "NSE,NIFTY,weekly,2026-12-01,Monday\nNSE,NIFTY,weekly,2026-12-01,Friday",
    ):
        path.write_text(header + line + "\n", encoding="utf-8")
        with pytest.raises(SettingsError, match=r"expiry_days\.csv"):
            ExpiryDays.load(path)
