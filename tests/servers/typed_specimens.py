"""Specimens of long tables that have types: one day of NSE minutes as Parquet and as SQLite."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from specimen import INDIA, SAMPLES, Specimen

Columns = dict[str, list[Any]]


class TypedSpecimen(Specimen):
    source = "nse-v3-table"
    time_example = ("202608191127", datetime(2026, 8, 19, 11, 27, tzinfo=INDIA))
    legs_per_row = 1
    is_text = False
    reads = "table"
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

    def with_row_twice(self) -> tuple[bytes, int]:
        columns = self.columns()
        middle = self.leg_count() // 2
        twice = {name: [*v[:middle], v[middle], *v[middle:]] for name, v in columns.items()}
        return self.dump(twice), 1

    def shuffled(self) -> bytes:
        return self.dump(dict(reversed(self.columns().items())))

    def names(self) -> set[str]:
        return set(self.columns())

    def renamed(self, old: str, new: str) -> bytes:
        columns = {name: values for name, values in self.columns().items() if name != new}
        return self.dump({new if name == old else name: values for name, values in columns.items()})

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
