"""Specimens of the formats of candles: bhavcopies, candles of one instrument in CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from specimen import INDIA, SAMPLES, CsvSpecimen, text_of


class CandleSpecimen(CsvSpecimen):
    """A CSV file of candles. Without a time of their own they are not told how long they are."""

    table = "candles"
    legs_per_row = 1
    counts_contracts = False
    file_name = "folder/recorded.csv"
    other_name = "folder/no-ending"
    interval_s = 86_400

    def leg_count(self) -> int:
        return len(self.rows())


class SeriesSpecimen(CandleSpecimen):
    """Candles of one instrument, which only names say."""

    says_symbol = False
    grows = True


class LegacyBhavcopySpecimen(CandleSpecimen):
    source = "bhavcopy-fo"
    time_example = ("01-AUG-2019", datetime(2019, 8, 1, tzinfo=INDIA))
    counts_contracts = True
    path = "bhavcopy/fo_legacy_sample_01AUG2019.csv"
    time_column = "TIMESTAMP"
    number_fields = ("OPEN", "HIGH", "LOW", "CLOSE", "SETTLE_PR", "CONTRACTS", "VAL_INLAKH", "OPEN_INT",
                     "CHG_IN_OI")  # fmt: skip

    def good(self) -> bytes:
        """The rows of underlyings whose lot is known."""
        rows = csv.DictReader(io.StringIO(text_of(SAMPLES / self.path)))
        return self.dump([row for row in rows if row["SYMBOL"] in {"NIFTY", "BANKNIFTY"}])

    def with_symbol(self, symbol: str) -> bytes:
        return self.dump([{**row, "SYMBOL": symbol} for row in self.rows()])

    def relaid(self) -> Iterator[bytes]:
        yield from super().relaid()
        # As NSE shipped it: no row numbers of pandas in front, and a comma at the end of each line.
        lines = self.good().decode().splitlines()
        yield "".join(line.partition(",")[2] + ",\n" for line in lines).encode()


class UdiffBhavcopySpecimen(CandleSpecimen):
    source = "bhavcopy-udiff"
    time_example = ("2026-05-19", datetime(2026, 5, 19, tzinfo=INDIA))
    path = "bhavcopy/fo_udiff_excerpt_20260519.csv"
    time_column = "TradDt"
    number_fields = ("OpnPric", "HghPric", "LwPric", "ClsPric", "SttlmPric", "UndrlygPric", "OpnIntrst",
                     "ChngInOpnIntrst", "TtlTradgVol", "TtlTrfVal", "TtlNbOfTxsExctd")  # fmt: skip

    def with_symbol(self, symbol: str) -> bytes:
        return self.dump([{**row, "TckrSymb": symbol} for row in self.rows()])


class OptionCandleSpecimen(SeriesSpecimen):
    source = "candle-csv"
    time_example = ("2025-09-05 09:15:00", datetime(2025, 9, 5, 9, 15, tzinfo=INDIA))
    path = "kite_candles_3min_csv/sensex_options/2025-09-05/SENSEX2591180300CE_2025-09-05.csv"
    file_name = "options/SENSEX2591180300CE_2025-09-05.csv"
    other_name = "SENSEX2591180300CE"
    time_column = "timestamp"
    number_fields = ("open", "high", "low", "close", "volume", "oi")
    interval_s = 180

    def good(self) -> bytes:
        """The sample with open interest, which other tools write: that sample has none."""
        rows = csv.DictReader(io.StringIO(text_of(SAMPLES / self.path)))
        return self.dump([{**row, "oi": 20 * number} for number, row in enumerate(rows, start=1)])


class IndexCandleSpecimen(SeriesSpecimen):
    source = "candle-csv"
    time_example = ("2026-01-01 09:15:00", datetime(2026, 1, 1, 9, 15, tzinfo=INDIA))
    path = "index_3min_csv/INDIA_VIX/3m.2026-01.csv"
    file_name = "INDIA_VIX/3m.2026-01.csv"
    other_name = "INDIAVIX_3m"
    interval_in_name = is_of_index = True
    time_column = "datetime"
    number_fields = ("open", "high", "low", "close", "volume")
    interval_s = 180


class CandleJsonSpecimen(SeriesSpecimen):
    source = "candle-json"
    time_example = ("2026-02-18T09:15:00", datetime(2026, 2, 18, 9, 15, tzinfo=INDIA))
    path = "kite_candles_json/nifty50_futures_apr_2026.json"
    file_name = "futures/nifty50_futures_apr_2026.json"
    other_name = "NIFTY26APRFUT"
    reads = "document"
    names_matter = False
    damaged_reason = "not_a_candle"
    number_fields = ("open", "high", "low", "close", "volume", "oi")
    time_column = "time"
    html_reason = "html_instead_of_json"
    without_rows_reason = "no_candles"
    interval_s = 1800

    def rows(self) -> list[dict[str, Any]]:
        candles = json.loads(text_of(SAMPLES / self.path))["data"]["candles"]
        return [dict(zip((self.time_column, *self.number_fields), candle, strict=True)) for candle in candles]

    def good(self) -> bytes:
        return self.dump(self.rows())

    def dump(self, rows: list[dict[str, Any]], **layout: Any) -> bytes:
        candles = [list(row.values()) for row in rows]
        return json.dumps({"status": "success", "data": {"candles": candles}}, **layout).encode()

    def with_damaged_row(self) -> tuple[bytes, int]:
        rows = self.rows()
        rows[len(rows) // 2] = {"time": 17}
        return self.dump(rows), 1

    def with_row_twice(self) -> tuple[bytes, int]:
        rows = self.rows()
        rows.insert(len(rows) // 2, rows[len(rows) // 2])
        return self.dump(rows), 1

    def without_rows(self) -> bytes:
        return self.dump([])

    def relaid(self) -> Iterator[bytes]:
        yield self.dump(self.rows(), indent=4)
        yield self.dump(self.rows(), indent=1).replace(b"\n", b"\r\n")
        yield self.dump(self.rows(), separators=(",", ":"))
