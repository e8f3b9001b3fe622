"""The one spelling of exchanges and underlyings."""

from __future__ import annotations

import subprocess
import sys
from datetime import time
from pathlib import Path

import pytest

from catalog.exchanges import (
    EXCHANGES,
    canonical_exchange,
    canonical_symbol,
    exchange_and_symbol,
    home_exchange,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NSE", "NSE"),
        ("nfo", "NSE"),
        ("NSE_FO", "NSE"),
        ("Nse_Index", "NSE"),
        ("BSE", "BSE"),
        (" bfo ", "BSE"),
        ("BSE_FO", "BSE"),
        ("bse_index", "BSE"),
        ("MCX", None),
        ("", None),
    ],
)
def test_every_name_a_broker_gives_an_exchange_means_that_exchange(text: str, expected: str | None) -> None:
    assert canonical_exchange(text) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("NSE_INDEX|Nifty 50", ("NSE", "NIFTY")),
        ("NSE_INDEX|Nifty Bank", ("NSE", "BANKNIFTY")),
        ("NSE_INDEX|Nifty Fin Service", ("NSE", "FINNIFTY")),
        ("NSE_INDEX|NIFTY MID SELECT", ("NSE", "MIDCPNIFTY")),
        ("BSE_INDEX|BANKEX", ("BSE", "BANKEX")),
        ("bse_index| SENSEX ", ("BSE", "SENSEX")),
        ("NSE:NIFTY BANK", ("NSE", "BANKNIFTY")),
        ("NSE_EQ|RELIANCE", ("NSE", "RELIANCE")),
        ("NSE_EQ|INE002A01018", None),
        ("MCX_FO|GOLD", None),
        ("NSE_INDEX|", None),
        ("NIFTY", None),
        ("", None),
    ],
)
def test_a_brokers_key_names_an_exchange_and_an_underlying(
    key: str, expected: tuple[str, str] | None
) -> None:
    assert exchange_and_symbol(key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NIFTY50", "NIFTY"),
        ("NIFTY 50", "NIFTY"),
        ("Nifty 50", "NIFTY"),
        ("NIFTY", "NIFTY"),
        ("Nifty Bank", "BANKNIFTY"),
        ("NIFTY BANK", "BANKNIFTY"),
        ("BankNifty", "BANKNIFTY"),
        ("Nifty Fin Service", "FINNIFTY"),
        ("NIFTY MID SELECT", "MIDCPNIFTY"),
        ("Nifty Next 50", "NIFTYNXT50"),
        ("BSX", "SENSEX"),
        ("BKX", "BANKEX"),
        ("SENSEX              ", "SENSEX"),
        ("SENSEX50", "SENSEX50"),
        (" reliance ", "RELIANCE"),
        ("BAJAJ-AUTO", "BAJAJ-AUTO"),
        ("Some Index", "SOME INDEX"),
    ],
)
def test_every_name_a_source_gives_an_underlying_is_spelled_one_way(text: str, expected: str) -> None:
    assert canonical_symbol(text) == expected


@pytest.mark.parametrize("text", ["NIFTY 50", "bsx", "Nifty Fin Service", "reliance", "Some Index", ""])
def test_a_canonical_symbol_is_already_canonical(text: str) -> None:
    once = canonical_symbol(text)
    assert canonical_symbol(once) == once


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("SENSEX", "BSE"),
        ("bankex", "BSE"),
        ("SENSEX50", "BSE"),
        ("BSX", "BSE"),
        ("NIFTY", "NSE"),
        ("BANKNIFTY", "NSE"),
        ("RELIANCE", "NSE"),
    ],
)
def test_only_the_indices_of_bse_are_at_home_there(symbol: str, expected: str) -> None:
    assert home_exchange(symbol) == expected


def test_the_exchanges_are_those_of_the_column_exchange() -> None:
    assert set(EXCHANGES) == {"NSE", "BSE"}
    for code, exchange in EXCHANGES.items():
        assert exchange.code == code
        assert exchange.timezone == "Asia/Kolkata"
        assert (exchange.regular_open, exchange.regular_close) == (time(9, 15), time(15, 30))


def test_importing_the_exchanges_loads_no_heavy_package() -> None:
    code = "import sys, catalog.exchanges; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True
    )
    loaded = set(done.stdout.split())
    assert "catalog" in loaded
    assert not loaded & {"pyarrow", "pydantic", "numpy", "pandas", "polars", "duckdb", "deltalake"}
