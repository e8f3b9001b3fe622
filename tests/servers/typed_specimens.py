"""Specimens of long tables that have types: one day of NSE minutes as Parquet and as SQLite."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from specimen import SAMPLES, Specimen

Columns = dict[str, list[Any]]


class TypedSpecimen(Specimen):
    source = "nse-v3-table"
    legs_per_row = 1
    is_text = False
    path = "nse_v3_parquet/option_chain_20260819.parquet"
    number_fields = ("ltp", "oi", "oi_chg", "volume", "iv", "spot")
    html_reason = "html_instead_of_table"
    without_rows_reason = "no_rows"

    def columns(self) -> Columns:
        columns: Columns = pq.read_table(SAMPLES / self.path).to_pydict()
        return columns

    def dump(self, columns: Columns, **_: Any) -> bytes:
        raise NotImplementedError

    def good(self) -> bytes:
        return self.dump(self.columns())

    def leg_count(self) -> int:
        return len(self.columns()["strike"])

    def with_value(self, name: str, value: Any) -> bytes:
        columns = self.columns()
        values = [str(each) for each in columns[name]]
        values[len(values) // 2] = value
        return self.dump({**columns, name: values})

    def with_time(self, text: Any) -> bytes:
        columns = self.columns()
        return self.dump({**columns, "timestamp": [text] * self.leg_count()})

    def with_symbol(self, symbol: str) -> bytes:
        columns = self.columns()
        return self.dump({**columns, "symbol": [symbol] * self.leg_count()})

    def with_unknown_column(self) -> bytes:
        return self.dump({**self.columns(), "brand new": ["?"] * self.leg_count()})

    def without_rows(self) -> bytes:
        return self.dump({name: values[:0] for name, values in self.columns().items()})


class ParquetSpecimen(TypedSpecimen):
    def dump(self, columns: Columns, **options: Any) -> bytes:
        out = io.BytesIO()
        pq.write_table(pa.table(columns), out, **options)
        return out.getvalue()

    def relaid(self) -> Iterator[bytes]:
        yield self.dump(self.columns(), compression="zstd", row_group_size=7)
        yield self.dump(self.columns(), use_dictionary=False, data_page_version="2.0")


class SqliteSpecimen(TypedSpecimen):
    def dump(self, columns: Columns, *, page_size: int = 4096, **_: Any) -> bytes:
        connection = sqlite3.connect(":memory:")
        try:
            connection.execute(f"PRAGMA page_size = {page_size}")
            names = ", ".join(f'"{name}"' for name in columns)
            connection.execute("CREATE TABLE settings (name TEXT, value TEXT)")
            connection.execute(f"CREATE TABLE option_chain ({names})")
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"INSERT INTO option_chain VALUES ({marks})", zip(*columns.values(), strict=True)
            )
            connection.commit()
            return connection.serialize()
        finally:
            connection.close()

    def relaid(self) -> Iterator[bytes]:
        yield self.dump(self.columns(), page_size=1024)
