"""The process that runs one statement from outside, see `sql_box`: an order in, one answer out.

Its memory is limited by DuckDB, by the system where that can be done (Linux), and by whoever started it, who
watches it and kills it when it takes too much or its time is over; it ends after one statement.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from lake.errors import StrikelakeError
from lake.session import Session
from lake.table import Lake
from monitors.dashboard.sql_check import check_statement

CELL_CHARS = 2_000
"""A text of the page's table is cut here; CSV has more."""

_CSV_CELL_CHARS = 100_000
_RESULT_BYTES = 32_000_000
_CELLS = 50_000
"""Of a page: who serves it writes them all into HTML, in a fifth of a second, while nobody else is served."""

_ANSWER_BYTES = {"rows": 4_000_000, "csv": 64_000_000}
_LESS = "ask for less, or use 'strikelake sql'"
_EXACT = 2**53
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Also in their full width, which some spreadsheets take for the same (OWASP, CSV injection)."""

_WITHIN = re.compile(rf"([;\t]\"*)(?=[{re.escape(''.join(_FORMULA))}])")
"""Some split a line at semicolons or tabs, whatever quotes stand around them."""


def main() -> None:
    """Take an order, run it, answer, end."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline() or b"{}")
    if order:
        said = json.dumps(_answer(order), ensure_ascii=True, allow_nan=False).encode()
        most = _ANSWER_BYTES["csv" if order["form"] == "csv" else "rows"]
        if len(said) > most:
            told = f"the result has {len(said):,} bytes as text, more than {most:,}: {_LESS}"
            said = json.dumps({"error": told}).encode()
        sys.stdout.buffer.write(said)
        sys.stdout.buffer.flush()


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    try:
        return _run(order)
    except StrikelakeError as error:
        return {"error": str(error)}
    except RecursionError:
        return {"error": "the statement is nested too deeply to be looked at"}
    except (MemoryError, pa.ArrowMemoryError):
        return {"error": "it needs more memory than a statement may have here"}
    except pa.ArrowException as error:
        return {"error": f"the result has a value that cannot be shown: {error}"}


def _run(order: dict[str, Any]) -> dict[str, Any]:
    if hasattr(os, "nice"):
        os.nice(10)  # the writer goes first
    lake = Lake(Path(order["root"]), Path(order["raw_stream"]), order["timezone"])
    limit, zone = int(order["rows"]), ZoneInfo(order["timezone"])
    with Session(lake) as session:
        session.confine(memory_mb=int(order["memory_mb"]), threads=1)
        sql = str(order["sql"])
        if order["system_limit"]:
            _limit_memory(int(order["memory_mb"]))
        alarm = threading.Timer(float(order["timeout_s"]), session.interrupt)
        alarm.daemon = True
        alarm.start()
        try:
            found = session.table(sql, limit=limit + 1, check=check_statement)
        finally:
            alarm.cancel()
    more, found = found.num_rows > limit, found.slice(0, limit)
    if found.nbytes > _RESULT_BYTES:
        return {"error": f"the result has {found.nbytes:,} bytes, more than fit on a page: {_LESS}"}
    if order["form"] == "csv":
        return {"csv": _csv(found, zone), "rows": found.num_rows, "more": more}
    if found.num_rows * found.num_columns > _CELLS:
        return {
            "error": f"{found.num_columns:,} columns of {found.num_rows:,} rows are more than the {_CELLS:,} "
            f"values that fit on a page: {_LESS}"
        }
    columns = [{"name": one.name, "type": str(one.type), "kind": _kind(one.type)} for one in found.schema]
    return {
        "columns": columns,
        "rows": [[_cell(value, zone) for value in row] for row in _rows(found)],
        "more": more,
    }  # fmt: skip


def _limit_memory(memory_mb: int) -> None:
    """Let the system refuse what DuckDB does not count; what is mapped already stays."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit for a process that asks for it itself
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return
    mapped = int(pages.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    allowed = mapped + 2 * memory_mb * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _rows(found: pa.Table) -> Iterator[Sequence[Any]]:
    columns = [column.to_pylist() for column in found.columns]
    return zip(*columns, strict=True)


def _kind(kind: pa.DataType) -> str:
    """`time`, `number` or `text`: what a chart and an alignment need to know."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return "number" if is_number else "text"


def _cell(value: Any, zone: ZoneInfo) -> Any:
    """A value as JSON has it, exactly or as text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        # Sums of whole numbers come as decimals.
        plain = int(value) if value == value.to_integral_value() else float(value)
        return plain if abs(plain) <= _EXACT and Decimal(repr(plain)) == value else format(value, "f")
    text = _text(value, zone)
    return text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}…"


def _text(value: Any, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return (value.astimezone(zone) if value.tzinfo else value).isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value[:CELL_CHARS].hex()
    if isinstance(value, pa.MonthDayNano):
        months, days, seconds = value.months, value.days, value.nanoseconds / 1e9
        parts = [
            f"{count:g} {unit}" for count, unit in ((months, "months"), (days, "d"), (seconds, "s")) if count
        ]
        return " ".join(parts) or "0 s"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if isinstance(value, list | dict):
        return json.dumps(_plain(value, zone), ensure_ascii=False, default=str)
    return str(value)


def _plain(value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner, zone) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, zone) for inner in value]
    return _cell(value, zone)


def _csv(found: pa.Table, zone: ZoneInfo) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_safe(name) for name in found.column_names])
    for row in _rows(found):
        writer.writerow([_csv_cell(value, zone) for value in row])
    return text.getvalue()


def _csv_cell(value: Any, zone: ZoneInfo) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool | int | float | Decimal):
        return value
    return _safe(_text(value, zone)[:_CSV_CELL_CHARS])


def _safe(text: str) -> str:
    """A text that a spreadsheet does not take for a formula, nor a part of it that it splits off."""
    marked = _WITHIN.sub(r"\1'", text)
    return f"'{marked}" if marked.startswith(_FORMULA) else marked


if __name__ == "__main__":
    main()
