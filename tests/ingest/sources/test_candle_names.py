"""What a file of candles is of, and how long they are, from its name and its labels."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.sources import ADAPTERS
from ingest.sources.base import FileReject
from ingest.sources.candle_intervals import interval_of, spaced_interval, stated_interval
from ingest.sources.candle_names import instrument_of
from ingest.sources.recorded_file import NotARecordingError

INDIA = timezone(timedelta(hours=5, minutes=30))
HEADER = "datetime,open,high,low,close,volume\n"


def labels(*texts: str, day: str = "2026-01-30") -> list[datetime]:
    return [datetime.fromisoformat(f"{day} {text}").replace(tzinfo=INDIA) for text in texts]


@pytest.mark.parametrize(
    ("path", "symbol", "exchange"),
    [
        ("INDIA_VIX/3m.2026-01.csv", "INDIAVIX", "NSE"),
        ("INDIA VIX/3m.csv.gz", "INDIAVIX", "NSE"),
        ("india-vix/3m.csv", "INDIAVIX", "NSE"),
        ("BANK_NIFTY/1m.csv", "BANKNIFTY", "NSE"),
        ("NIFTY/3m.csv", "NIFTY", "NSE"),
        ("BANKNIFTY/2026-01-30.csv", "BANKNIFTY", "NSE"),
        ("SENSEX/5minute.csv", "SENSEX", "BSE"),
        ("anything/NIFTY 50_minute.csv", "NIFTY", "NSE"),
        ("anything/Nifty Bank.csv", "BANKNIFTY", "NSE"),
        ("anything/FINNIFTY_15m_2026.csv", "FINNIFTY", "NSE"),
        ("NIFTY/INDIAVIX.json", "INDIAVIX", "NSE"),
    ],
)
def test_an_index_is_found_in_the_name_or_the_folder(
    path: str, symbol: str, exchange: str, reference: ReferenceData
) -> None:
    found = instrument_of(Path(path), reference)
    assert (found.symbol, found.exchange, found.kind) == (symbol, exchange, "index")
    assert (found.expiry, found.strike, found.option_type) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SENSEX2591180300CE_2025-09-05.csv", ("BSE", "SENSEX", "option", date(2025, 9, 11), 80300.0, "CE")),
        ("NIFTY26APRFUT.json", ("NSE", "NIFTY", "future", date(2026, 4, 28), None, None)),
        ("nifty50_futures_apr_2026.json", ("NSE", "NIFTY", "future", date(2026, 4, 28), None, None)),
        ("bank-nifty_fut_March_2026.json", ("NSE", "BANKNIFTY", "future", date(2026, 3, 30), None, None)),
        ("M&M_futures_feb_2026.json", ("NSE", "M&M", "future", date(2026, 2, 24), None, None)),
        ("BANKNIFTY_FUT_MAR_2026.json", ("NSE", "BANKNIFTY", "future", date(2026, 3, 30), None, None)),
        ("BANKNIFTY21SEP35300PE.csv.gz", ("NSE", "BANKNIFTY", "option", date(2021, 9, 30), 35300.0, "PE")),
    ],
)
def test_a_contract_is_found_in_the_name(name: str, found: tuple[Any, ...], reference: ReferenceData) -> None:
    # A folder of an index does not make an index of a contract.
    one = instrument_of(Path("NIFTY") / name, reference)
    assert (one.exchange, one.symbol, one.kind, one.expiry, one.strike, one.option_type) == found


@pytest.mark.parametrize(
    "path",
    [
        "recordings/3m.csv",
        "NIFTY/notes.csv",
        "NIFTY/RELIANCE_3m.csv",
        "x/NIFTY2513299999CE.csv",
        "x/nifty50_futures_foo_2026.json",
        "x/my notes_futures_apr_2026.json",
        "x/.csv",
        "x/CE.csv",
    ],
)
def test_a_name_that_says_nothing_known_is_not_guessed_at(path: str, reference: ReferenceData) -> None:
    with pytest.raises(NotARecordingError) as caught:
        instrument_of(Path(path), reference)
    assert caught.value.reason in {"unknown_contract", "bad_trading_symbol", "unknown_expiry"}


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("3m.2026-01", 180),
        ("NIFTY_5minute", 300),
        ("NIFTY 50_minute", 60),
        ("x-15min-x", 900),
        ("1h", 3600),
        ("NIFTY_day", 86400),
        ("1d", 86400),
        ("7m", None),
        ("SENSEX2591180300CE_2025-09-05", None),
        ("nifty50_futures_apr_2026", None),
        ("m", None),
    ],
)
def test_a_name_states_an_interval_or_none(name: str, seconds: int | None) -> None:
    assert stated_interval(name) == seconds


def test_labels_tell_the_interval_by_what_most_of_them_are_apart() -> None:
    assert spaced_interval(labels("09:15", "09:18", "09:21", "09:27", "09:30")) == 180
    assert spaced_interval(reversed(labels("09:15", "09:18", "09:21"))) == 180
    assert spaced_interval([*labels("15:15"), *labels("09:15", "09:45", day="2026-02-02")]) == 1800
    midnights = [at for day in ("2026-01-29", "2026-01-30", "2026-02-02") for at in labels("00:00", day=day)]
    assert spaced_interval(midnights) == 86400
    assert spaced_interval(midnights[:1]) is None
    assert spaced_interval(labels("09:15", "09:22", "09:29")) is None
    assert spaced_interval([]) is None


def test_a_name_that_contradicts_its_labels_is_not_believed() -> None:
    assert interval_of("3m", labels("09:15", "09:21", "09:27")) == 180  # candles may be missing
    with pytest.raises(NotARecordingError, match="180 s in a file whose name says 300 s"):
        interval_of("5m", labels("09:15", "09:18", "09:21"))
    with pytest.raises(NotARecordingError, match="name the file"):
        interval_of("NIFTY", labels("09:15"))


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("recordings/3m.csv", "2026-01-30 09:15:00,1,2,1,2,0\n", "unknown_contract"),
        ("NIFTY/2026-01.csv", "2026-01-30 09:15:00,1,2,1,2,0\n", "unknown_interval"),
        ("x/NIFTY24AUG24000FUT.csv", "2026-01-30 09:15:00,1,2,1,2,0\n", "unknown_interval"),
    ],
)
def test_a_file_that_cannot_be_placed_is_one_reject_that_says_why(
    name: str, rows: str, reason: str, tmp_path: Path, reference: ReferenceData
) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(HEADER + rows, encoding="utf-8")
    (reject,) = ADAPTERS["candle-csv"].read(path, reference)
    assert isinstance(reject, FileReject)
    assert (reject.reject.reason, reject.reject.table) == (reason, "candles")


def test_the_volume_of_an_index_is_null_and_that_of_a_contract_is_not(
    tmp_path: Path, reference: ReferenceData
) -> None:
    rows = "2025-09-05 09:15:00,1,2,1,2,0\n2025-09-05 09:18:00,1,2,1,2,0\n"
    volumes = {}
    for name in ("NIFTY.csv", "SENSEX2591180300CE.csv"):
        (tmp_path / name).write_text(HEADER + rows, encoding="utf-8")
        updates: list[Any] = list(ADAPTERS["candle-csv"].read(tmp_path / name, reference))
        volumes[name] = [candle["volume"] for update in updates for candle in update.candles]
    assert volumes == {"NIFTY.csv": [None, None], "SENSEX2591180300CE.csv": [0, 0]}
