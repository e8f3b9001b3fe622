"""Specimens of the formats of whole chains in text: NSE's and BSE's JSON, Kite polls, NSE's live list."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from specimen import INDIA, CsvSpecimen, JsonSpecimen


class NseSpecimen(JsonSpecimen):
    source = "nse-json"
    time_example = ("16-Jul-2025 15:30:00", datetime(2025, 7, 16, 15, 30, tzinfo=INDIA))
    legs_per_row = 1

    def legs(self, document: Any) -> list[dict[str, Any]]:
        return [row[side] for row in self.rows(document) for side in ("CE", "PE") if side in row]

    def leg_count(self) -> int:
        return len(self.legs(self.document()))

    def legs_in(self, row: dict[str, Any]) -> int:
        return len({"CE", "PE"} & row.keys())

    def with_symbol(self, symbol: str) -> bytes:
        document = self.document()
        for leg in self.legs(document):
            leg["underlying"] = symbol
        return json.dumps(document).encode()

    def with_time(self, text: Any) -> bytes:
        document = self.document()
        document.get("records", document)["timestamp"] = text
        return json.dumps(document).encode()


class NseV1Specimen(NseSpecimen):
    path = "nse_api_json/v1/nifty_option_chain.at_9713306.json.gz"
    number_fields = (
        "openInterest",
        "changeinOpenInterest",
        "totalTradedVolume",
        "impliedVolatility",
        "lastPrice",
        "bidQty",
        "bidprice",
        "askQty",
        "askPrice",
        "underlyingValue",
    )

    def rows(self, document: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = document["records"]["data"]
        return rows


class NseV3Specimen(NseSpecimen):
    path = "nse_api_json/v3/nifty_option_chain_new.json"
    number_fields = (
        "openInterest",
        "changeinOpenInterest",
        "totalTradedVolume",
        "impliedVolatility",
        "lastPrice",
        "buyQuantity1",
        "buyPrice1",
        "sellQuantity1",
        "sellPrice1",
        "underlyingValue",
    )

    def rows(self, document: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = document["data"]
        return rows


class BseSpecimen(JsonSpecimen):
    source = "bse-json"
    time_example = ("10 Jul 2026 | 19:15 ", datetime(2026, 7, 10, 19, 15, tzinfo=INDIA))
    legs_per_row = 2
    path = "bse_api_json/sensex_option_chain.json"
    number_fields = (
        *(
            prefix + name
            for prefix in ("C_", "")
            for name in (
                "Open_Interest",
                "Absolute_Change_OI",
                "Vol_Traded",
                "IV",
                "Last_Trd_Price",
                "BIdQty",
                "BidPrice",
                "OfferQty",
                "OfferPrice",
            )
        ),
        "UlaValue",
    )
    shared_fields = frozenset({"UlaValue"})

    def rows(self, document: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = document["Table"]
        return rows

    legs = rows

    def leg_count(self) -> int:
        return 2 * len(self.document()["Table"])

    def with_symbol(self, symbol: str) -> bytes:
        document = self.document()
        for row in document["Table"]:
            row["Ula_Code"] = row["comapny_name"] = row["C_comapny_name"] = symbol
        return json.dumps(document).encode()

    def with_time(self, text: Any) -> bytes:
        document = self.document()
        document["ASON"]["DT_TM"] = text
        return json.dumps(document).encode()


class KiteSpecimen(CsvSpecimen):
    source = "kite-poll"
    time_example = ("2026-01-30 09:16:05", datetime(2026, 1, 30, 9, 16, 5, tzinfo=INDIA))
    legs_per_row = 2
    path = "kite_poll_csv/2026-01-30/index_OC_2026-01-30_11-01.csv"
    time_column = "timestamp"
    number_fields = ("CE_LTP", "CE_OI", "CE_Volume", "PE_LTP", "PE_OI", "PE_Volume", "Spot")
    shared_fields = frozenset({"Spot"})
    counts_contracts = False

    def with_symbol(self, symbol: str) -> bytes:
        return self.dump([{**row, "Symbol": symbol} for row in self.rows()])


class KiteStocksSpecimen(KiteSpecimen):
    path = "kite_poll_stocks_csv/option_chain_2026-02-02_15-26.csv.gz"
    number_fields = ("CE_LTP", "CE_OI", "CE_Volume", "PE_LTP", "PE_OI", "PE_Volume", "Stock_LTP")
    shared_fields = frozenset({"Stock_LTP"})

    def with_symbol(self, symbol: str) -> bytes:
        return self.dump([{**row, "Stock": symbol} for row in self.rows()])


class NseLiveSpecimen(CsvSpecimen):
    source = "nse-live-csv"
    time_example = ("2026-06-08 09:01:52", datetime(2026, 6, 8, 9, 1, 52, tzinfo=INDIA))
    legs_per_row = 1
    path = "nse_live_derivatives_csv/nifty50-16-Jun-2026.csv.gz"
    time_column = "datetime"
    number_fields = ("lastPrice", "volume", "openInterest", "underlyingValue")

    def with_symbol(self, symbol: str) -> bytes:
        rows = self.rows()
        return self.dump([{**row, "contract": f"{symbol} {row['expiryDate']}"} for row in rows])
