"""Specimens of formats that stand in lines of text: a tracker's log with answers of Upstox, ticks of Kite."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from specimen import INDIA, SAMPLES, Specimen, names_in, renamed_in, reversed_names, text_of

Answer = tuple[str, dict[str, Any]]
"""What stands before an answer in its line, and the answer."""


class UpstoxSpecimen(Specimen):
    source = "upstox-log"
    time_example = ("2025-01-23 13:53:30,041", datetime(2025, 1, 23, 13, 53, 30, 41_000, tzinfo=INDIA))
    legs_per_row = 2
    path = "upstox_chain_log/FinNifty.2025-01-23.payload_lines.log.gz"
    number_fields = (
        "ltp",
        "volume",
        "oi",
        "bid_price",
        "bid_qty",
        "ask_price",
        "ask_qty",
        "iv",
        "underlying_spot_price",
    )
    shared_fields = frozenset({"underlying_spot_price"})
    counts_contracts = False
    reads = "log"
    damaged_reason = "malformed_payload"
    passes_over = True
    html_reason = "html_instead_of_log"
    without_rows_reason = "no_legs"

    def answers(self) -> list[Answer]:
        """The first two answers of the sample, read by Python's own reader of literals."""
        lines = text_of(SAMPLES / self.path).splitlines()[:2]
        return [(line[: line.index("{")], ast.literal_eval(line[line.index("{") :])) for line in lines]

    def dump(self, answers: list[Answer], write: Callable[[Any], str] = repr, line_end: str = "\n") -> bytes:
        return "".join(before + write(answer) + line_end for before, answer in answers).encode()

    def good(self) -> bytes:
        return self.dump(self.answers())

    def leg_count(self) -> int:
        return sum(2 * len(answer["data"]) for _, answer in self.answers())

    def with_value(self, name: str, value: Any) -> bytes:
        answers = self.answers()
        rows = answers[0][1]["data"]
        row = rows[len(rows) // 2]
        leg = row["call_options"]
        next(each for each in (leg["market_data"], leg["option_greeks"], row) if name in each)[name] = value
        return self.dump(answers)

    def with_time(self, text: Any) -> bytes:
        return self.dump([(f"{text}{before[23:]}", answer) for before, answer in self.answers()])

    def with_symbol(self, symbol: str) -> bytes:
        answers = self.answers()
        for _, answer in answers:
            for row in answer["data"]:
                row["underlying_key"] = symbol
        return self.dump(answers)

    def symbol_key(self, symbol: str) -> str:
        return f"NSE_INDEX|{symbol}"

    def with_damaged_row(self) -> tuple[bytes, int]:
        answers = self.answers()
        lines = self.dump(answers).splitlines(keepends=True)
        return b"".join((lines[0].rstrip(b"}\n") + b"\n", *lines[1:])), 2 * len(answers[0][1]["data"])

    def with_row_twice(self) -> tuple[bytes, int]:
        answers = self.answers()
        rows = answers[0][1]["data"]
        rows.insert(len(rows) // 2, rows[len(rows) // 2])
        return self.dump(answers), 2

    def shuffled(self) -> bytes:
        return self.dump([(before, reversed_names(answer)) for before, answer in self.answers()])

    def names(self) -> set[str]:
        return names_in([answer for _, answer in self.answers()])

    def renamed(self, old: str, new: str) -> bytes:
        return self.dump([(before, renamed_in(answer, old, new)) for before, answer in self.answers()])

    def with_unknown_column(self) -> bytes:
        answers = self.answers()
        for _, answer in answers:
            for row in answer["data"]:
                row["put_options"]["market_data"]["brand new"] = "?"
        return self.dump(answers)

    def without_rows(self) -> bytes:
        before, answer = self.answers()[0]
        return self.dump([(before, {**answer, "data": []})])

    def relaid(self) -> Iterator[bytes]:
        yield self.dump(self.answers(), line_end="\r\n")
        yield self.dump(self.answers()).rstrip(b"\n")
        yield self.dump(self.answers(), json.dumps)
        yield self.dump(
            self.answers(), lambda answer: json.dumps(answer, sort_keys=True, separators=(",", ":"))
        )


class KiteTicksSpecimen(Specimen):
    source = "kite-ticks"
    time_example = ("2021-08-20T15:30:04", datetime(2021, 8, 20, 15, 30, 4, tzinfo=INDIA))
    legs_per_row = 1
    path = "kite_ticks/BANKNIFTY21SEP35300PE_2021_08_20.txt.gz"
    file_name = "BANKNIFTY21SEP35300PE_2021_08_20.txt"
    other_name = "BANKNIFTY21SEP35300PE"
    says_symbol = False
    number_fields = (
        "last_price",
        "volume",
        "oi",
        "depth.buy[0].price",
        "depth.buy[0].quantity",
        "depth.sell[0].price",
        "depth.sell[0].quantity",
    )
    counts_contracts = False
    reads = "log"
    damaged_reason = "malformed_payload"
    html_reason = "html_instead_of_ticks"
    without_rows_reason = "unknown_shape"

    def ticks(self) -> list[dict[str, Any]]:
        """The sample without its last line, whose time is none, read by Python's own reader of literals."""
        return [ast.literal_eval(line) for line in text_of(SAMPLES / self.path).splitlines()[:-1]]

    def dump(self, ticks: list[Any], write: Callable[[Any], str] = repr, line_end: str = "\n") -> bytes:
        return "".join(write(tick) + line_end for tick in ticks).encode()

    def good(self) -> bytes:
        return self.dump(self.ticks())

    def leg_count(self) -> int:
        return len(self.ticks())

    def with_value(self, name: str, value: Any) -> bytes:
        ticks = self.ticks()
        tick = ticks[len(ticks) // 2]
        if name.startswith("depth."):
            _, side, name = name.replace("[0]", "").split(".")
            tick = tick["depth"][side][0]
        tick[name] = value
        return self.dump(ticks)

    def with_time(self, text: Any) -> bytes:
        return self.dump([{**tick, "timestamp": text} for tick in self.ticks()])

    def with_damaged_row(self) -> tuple[bytes, int]:
        lines = self.good().splitlines(keepends=True)
        middle = len(lines) // 2
        lines[middle] = lines[middle].rstrip(b"}\n") + b"\n"
        return b"".join(lines), 1

    def with_row_twice(self) -> tuple[bytes, int]:
        ticks = self.ticks()
        middle = len(ticks) // 2
        return self.dump([*ticks[:middle], ticks[middle], *ticks[middle:]]), 1

    def shuffled(self) -> bytes:
        return self.dump(reversed_names(self.ticks()))

    def names(self) -> set[str]:
        return names_in(self.ticks())

    def renamed(self, old: str, new: str) -> bytes:
        return self.dump(renamed_in(self.ticks(), old, new))

    def with_unknown_column(self) -> bytes:
        return self.dump([{**tick, "brand new": "?"} for tick in self.ticks()])

    def without_rows(self) -> bytes:
        return b"{}\n"

    def relaid(self) -> Iterator[bytes]:
        yield self.dump(self.ticks(), line_end="\r\n")
        yield self.dump(self.ticks(), line_end="\n\n").rstrip(b"\n")
        yield self.dump(self.ticks(), json.dumps)
        yield self.dump(self.ticks()[::-1])
        yield self.dump([dict(reversed(tick.items())) for tick in self.ticks()])
