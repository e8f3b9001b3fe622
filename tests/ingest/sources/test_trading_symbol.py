"""Trading symbols against the broker's own list of instruments, which gives each one's parts."""

from __future__ import annotations

import csv
import gzip
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from catalog.reference import ReferenceData
from ingest.sources.trading_symbol import TradingSymbol, expiry_of, parse_trading_symbol, trading_symbol_in
from ingest.sources.values import BadValueError


def test_every_instrument_of_the_list_is_read_as_the_list_says(
    recordings: Path, reference: ReferenceData
) -> None:
    text = gzip.decompress((recordings / "kite_instruments" / "instruments_bfo.csv.gz").read_bytes()).decode()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) > 50
    for row in rows:
        contract = parse_trading_symbol(row["tradingsymbol"])
        is_option = row["instrument_type"] != "FUT"
        assert contract.symbol == row["name"]
        assert contract.exchange == "BSE"
        assert contract.strike == (float(row["strike"]) if is_option else None)
        assert contract.option_type == (row["instrument_type"] if is_option else None)
        # The list is of September 2025; that 2026-03-26 would be a holiday was settled later.
        expiry = "2026-03-25" if row["expiry"] == "2026-03-26" else row["expiry"]
        assert expiry_of(contract, reference) == date.fromisoformat(expiry), row


@pytest.mark.parametrize(
    ("text", "symbol", "expiry", "strike", "option_type"),
    [
        ("BANKNIFTY21SEP35300PE", "BANKNIFTY", date(2021, 9, 30), 35300.0, "PE"),
        ("SENSEX2591180300CE", "SENSEX", date(2025, 9, 11), 80300.0, "CE"),
        ("NIFTY25AUG24100CE", "NIFTY", date(2025, 8, 28), 24100.0, "CE"),
        ("NIFTY25SEP24100CE", "NIFTY", date(2025, 9, 30), 24100.0, "CE"),
        ("NIFTY24O1025000PE", "NIFTY", date(2024, 10, 10), 25000.0, "PE"),
        ("NIFTY25N0425000PE", "NIFTY", date(2025, 11, 4), 25000.0, "PE"),
        ("NIFTY25D0225000PE", "NIFTY", date(2025, 12, 2), 25000.0, "PE"),
        ("BFO:SENSEX2640273600CE", "SENSEX", date(2026, 4, 2), 73600.0, "CE"),
        ("SENSEX502591125900CE", "SENSEX50", date(2025, 9, 11), 25900.0, "CE"),
        ("NIFTYNXT5025AUG67000CE", "NIFTYNXT50", date(2025, 8, 28), 67000.0, "CE"),
        ("M&M25AUG3162.5CE", "M&M", date(2025, 8, 28), 3162.5, "CE"),
        ("BAJAJ-AUTO26FEB9500PE", "BAJAJ-AUTO", date(2026, 2, 24), 9500.0, "PE"),
        ("360ONE26FEB1000CE", "360ONE", date(2026, 2, 24), 1000.0, "CE"),
        ("RELIANCE19AUG1200CE", "RELIANCE", date(2019, 8, 29), 1200.0, "CE"),
        ("RELIANCE19OCT1200CE", "RELIANCE", date(2019, 10, 31), 1200.0, "CE"),
        ("ABCAPITAL26MAY300PE", "ABCAPITAL", date(2026, 5, 26), 300.0, "PE"),
        ("ABCAPITAL26JULFUT", "ABCAPITAL", date(2026, 7, 28), None, None),
        # The month's contract of January 2024 expired before the last week's.
        ("BANKNIFTY24JAN48000CE", "BANKNIFTY", date(2024, 1, 25), 48000.0, "CE"),
        ("BANKNIFTY2413148000CE", "BANKNIFTY", date(2024, 1, 31), 48000.0, "CE"),
        ("BANKNIFTY24MAR48000CE", "BANKNIFTY", date(2024, 3, 27), 48000.0, "CE"),
        ("NIFTY26APRFUT", "NIFTY", date(2026, 4, 28), None, None),
        # 2021-08-19 was a holiday: the week's contracts expired on the day before.
        ("nifty2181816000ce", "NIFTY", date(2021, 8, 18), 16000.0, "CE"),
        # 2026-03-31 is a holiday, and so the month ends on the day before.
        ("NIFTY26MAR24000CE", "NIFTY", date(2026, 3, 30), 24000.0, "CE"),
    ],
)
def test_monthly_and_weekly_codes_are_read(
    text: str, symbol: str, expiry: date, strike: Any, option_type: Any, reference: ReferenceData
) -> None:
    contract = parse_trading_symbol(text)
    assert (contract.symbol, contract.strike, contract.option_type) == (symbol, strike, option_type)
    assert expiry_of(contract, reference) == expiry


def test_the_segment_names_the_exchange() -> None:
    assert parse_trading_symbol("NFO:NIFTY26APRFUT").exchange == "NSE"
    assert parse_trading_symbol("NIFTY26APRFUT").exchange == "NSE"
    assert parse_trading_symbol("BFO:RELIANCE26APRFUT").exchange == "BSE"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NIFTY",
        "NIFTY50",
        "NIFTY25AUG24100",
        "NIFTY25AUGCE",
        "NIFTY2593124100CE",
        "NIFTY25X1124100CE",
        "25AUG24100CE",
        "MCX:GOLD25AUG24100CE",
        "NIFTY25AUG24100CE ",
        "NIFTY25AUG24100CEX",
        "../NIFTY25AUG24100CE",
        "\N{SNOWMAN}25AUG24100CE",
        "9" * 100_000,
    ],
)
def test_what_is_no_trading_symbol_is_refused(text: str) -> None:
    if text.endswith(" "):
        assert parse_trading_symbol(text).symbol == "NIFTY"
        return
    with pytest.raises(BadValueError) as caught:
        parse_trading_symbol(text)
    assert caught.value.reason == "bad_trading_symbol"
    assert len(caught.value.detail) < 200


def test_a_month_without_a_known_rule_has_no_expiry(reference: ReferenceData) -> None:
    contract = TradingSymbol("BSE", "SENSEX", 2019, 5, None, 40000.0, "CE")
    with pytest.raises(BadValueError) as caught:
        expiry_of(contract, reference)
    assert caught.value.reason == "unknown_expiry"


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BANKNIFTY21SEP35300PE_2021_08_20.txt.gz", "BANKNIFTY21SEP35300PE"),
        ("SENSEX2591180300CE_2025-09-05.csv", "SENSEX2591180300CE"),
        ("M&M25AUG3162.5CE.txt", "M&M25AUG3162.5CE"),
        ("BAJAJ-AUTO26FEB9500PE-2026-01-22.txt", "BAJAJ-AUTO26FEB9500PE"),
        ("NIFTY26APRFUT", "NIFTY26APRFUT"),
        ("ticks_NIFTY26APRFUT.txt", None),
        ("NIFTY26APRFUTURES.txt", None),
        ("", None),
    ],
)
def test_a_trading_symbol_is_found_at_the_beginning_of_a_files_name(name: str, symbol: str | None) -> None:
    assert trading_symbol_in(name) == symbol
