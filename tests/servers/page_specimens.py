"""Specimens of NSE's page as files: scraped until 2020, downloaded today. Much of them is in their names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from specimen import INDIA, CsvSpecimen


class NseTableSpecimen(CsvSpecimen):
    source = "nse-table-csv"
    time_example = ("19-07-2019 10:15", datetime(2019, 7, 19, 10, 15, tzinfo=INDIA))
    legs_per_row = 2
    path = "nse_web_table_csv/2019-07-19/NIFTY/25JUL2019/NIFTY_19-07-2019_10-15.csv"
    file_name = "25JUL2019/NIFTY_19-07-2019_10-15.csv"
    other_name = "25JUL2019/NIFTY_19-07-2019_10-15"
    says_time = says_symbol = False
    number_fields = (
        *(
            f"{side}{name}"
            for side in ("Call", "Put")
            for name in ("OI", "ChnginOI", "Volume", "IV", "LTP", "BidQty", "BidPrice", "AskPrice", "AskQty")
        ),
        "CurrentVal",
    )
    shared_fields = frozenset({"CurrentVal"})


class NseWebsiteSpecimen(CsvSpecimen):
    source = "nse-website-csv"
    time_example = ("2026-06-25 15:30", datetime(2026, 6, 25, 15, 30, tzinfo=INDIA))
    legs_per_row = 2
    path = "nse_website_csv/option-chain-ED-NIFTY-30-Jun-2026.csv"
    file_name = "option-chain-ED-NIFTY-30-Jun-2026.csv"
    other_name = "option-chain-ED-NIFTY-30-Jun-2026"
    unknown_column = "CALLS brand new"
    says_time = says_symbol = False
    number_fields = tuple(
        f"{side} {name}"
        for side in ("CALLS", "PUTS")
        for name in ("OI", "CHNG IN OI", "VOLUME", "IV", "LTP", "BID QTY", "BID", "ASK", "ASK QTY")
    )

    def cells(self) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.good().decode())))

    def dump_cells(self, cells: list[list[str]]) -> bytes:
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerows(cells)
        return out.getvalue().encode()

    def leg_count(self) -> int:
        return 2 * (len(self.cells()) - 2)

    def with_value(self, name: str, value: Any) -> bytes:
        cells = self.cells()
        side, _, column = name.partition(" ")
        header = cells[1]
        middle = header.index("STRIKE")
        place = header.index(column) if side == "CALLS" else header.index(column, middle)
        cells[len(cells) // 2][place] = value
        return self.dump_cells(cells)

    def names(self) -> set[str]:
        header = self.cells()[1]
        middle = header.index("STRIKE")
        calls, puts = header[:middle], header[middle + 1 :]
        return {"STRIKE", *(f"CALLS {name}" for name in calls), *(f"PUTS {name}" for name in puts)}

    def renamed(self, old: str, new: str) -> bytes:
        cells = self.cells()
        side, _, column = old.partition(" ")
        middle = cells[1].index("STRIKE")
        place = cells[1].index(column, middle if side == "PUTS" else 0) if column else middle
        cells[1][place] = new if not column else new.removeprefix(f"{side} ")
        return self.dump_cells(cells)

    def shuffled(self) -> bytes:
        preamble, header, *rows = self.cells()
        middle = header.index("STRIKE")
        order = [*range(middle - 1, -1, -1), middle, *range(len(header) - 1, middle, -1)]
        return self.dump_cells([preamble, *([row[place] for place in order] for row in (header, *rows))])

    def with_unknown_column(self) -> bytes:
        preamble, header, *rows = self.cells()
        return self.dump_cells([preamble, ["brand new", *header], *([["?", *row] for row in rows])])

    def without_rows(self) -> bytes:
        return self.dump_cells(self.cells()[:2])

    def relaid(self) -> Iterator[bytes]:
        yield self.good().replace(b"\r\n", b"\n")
        yield self.good().replace(b"\r\n", b"\r\n\r\n")
        _, *rest = self.good().splitlines(keepends=True)
        yield b"".join((b",CALLS" + 11 * b"," + b"PUTS" + 9 * b"," + b"\r\n", *rest))
