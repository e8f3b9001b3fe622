"""Specimens of the formats of candles: bhavcopies, candles of one instrument in CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from specimen import SAMPLES, CsvSpecimen, text_of


class CandleSpecimen(CsvSpecimen):
    """A CSV file of candles.

    Attributes:
        file_name: Where the format reads what the candles are of from a name: that name.
        grows: Whether each candle is taken in by itself.
        interval_s: Length of its candles.
    """

    legs_per_row = 1
    file_name = "folder/recorded.csv"
    grows = False
    interval_s = 86_400

    def leg_count(self) -> int:
        return len(self.rows())

    def with_symbol(self, symbol: str) -> bytes:
        raise NotImplementedError(f"{self.source}: {symbol}")


class LegacyBhavcopySpecimen(CandleSpecimen):
    source = "bhavcopy-fo"
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
    path = "bhavcopy/fo_udiff_excerpt_20260519.csv"
    time_column = "TradDt"
    number_fields = ("OpnPric", "HghPric", "LwPric", "ClsPric", "SttlmPric", "UndrlygPric", "OpnIntrst",
                     "ChngInOpnIntrst", "TtlTradgVol", "TtlTrfVal", "TtlNbOfTxsExctd")  # fmt: skip

    def with_symbol(self, symbol: str) -> bytes:
        return self.dump([{**row, "TckrSymb": symbol} for row in self.rows()])


class OptionCandleSpecimen(CandleSpecimen):
    source = "candle-csv"
    path = "kite_candles_3min_csv/sensex_options/2025-09-05/SENSEX2591180300CE_2025-09-05.csv"
    file_name = "options/SENSEX2591180300CE_2025-09-05.csv"
    time_column = "timestamp"
    number_fields = ("open", "high", "low", "close", "volume")
    grows = True
    interval_s = 180


class IndexCandleSpecimen(CandleSpecimen):
    source = "candle-csv"
    path = "index_3min_csv/INDIA_VIX/3m.2026-01.csv"
    file_name = "INDIA_VIX/3m.2026-01.csv"
    time_column = "datetime"
    number_fields = ("open", "high", "low", "close", "volume")
    grows = True
    interval_s = 180


class CandleJsonSpecimen(CandleSpecimen):
    source = "candle-json"
    path = "kite_candles_json/nifty50_futures_apr_2026.json"
    file_name = "futures/nifty50_futures_apr_2026.json"
    number_fields = ("open", "high", "low", "close", "volume", "oi")
    time_column = "time"
    html_reason = "html_instead_of_json"
    without_rows_reason = "no_candles"
    grows = True
    interval_s = 1800

    def rows(self) -> list[dict[str, Any]]:
        candles = json.loads(text_of(SAMPLES / self.path))["data"]["candles"]
        return [dict(zip((self.time_column, *self.number_fields), candle, strict=True)) for candle in candles]

    def good(self) -> bytes:
        return self.dump(self.rows())

    def dump(self, rows: list[dict[str, Any]], **layout: Any) -> bytes:
        candles = [list(row.values()) for row in rows]
        return json.dumps({"status": "success", "data": {"candles": candles}}, **layout).encode()

    def without_rows(self) -> bytes:
        return self.dump([])

    def relaid(self) -> Iterator[bytes]:
        yield self.dump(self.rows(), indent=4)
        yield self.dump(self.rows(), indent=1).replace(b"\n", b"\r\n")
        yield self.dump(self.rows(), separators=(",", ":"))


CANDLE_SPECIMENS: dict[str, CandleSpecimen] = {
    "bhavcopy-fo": LegacyBhavcopySpecimen(),
    "bhavcopy-udiff": UdiffBhavcopySpecimen(),
    "candle-csv-option": OptionCandleSpecimen(),
    "candle-csv-index": IndexCandleSpecimen(),
    "candle-json": CandleJsonSpecimen(),
}
