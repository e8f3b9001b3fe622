"""Show rows: as a table that fits the terminal, as JSON, or as CSV. Data goes to stdout alone."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

Row = Mapping[str, Any]

_LONG_TEXT = 24
_PAGE_COLUMNS = 80
_FOLDED_TEXT = 14
"""A column of text is cut to no less than this to make room for others; times and ids are shorter."""


class Format(StrEnum):
    """How a command prints rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class TextOrJson(StrEnum):
    """How a command prints a result that is more than rows."""

    TEXT = "text"
    JSON = "json"


def show_rows(
    rows: Sequence[Row],
    output: Format,
    *,
    columns: Sequence[str] | None = None,
    zone: str = "Asia/Kolkata",
    limit: int | None = None,
    fold: Sequence[str] = (),
) -> None:
    """Print rows.

    Args:
        rows: What to print.
        output: Form.
        columns: Names in order, needed where there may be no row.
        zone: Moments are shown in this zone (with their offset in JSON and CSV).
        limit: Rows of a table at most; JSON and CSV are always whole.
        fold: Columns of a table whose texts go on in the line below, so that it fits 80 columns: the first
            as far as it has to, then the second.
    """
    names = list(columns if columns is not None else (rows[0] if rows else []))
    if output is Format.JSON:
        _write(to_json([{name: row[name] for name in names} for row in rows], zone=zone) + "\n")
    elif output is Format.CSV:
        _write(_csv(rows, names, zone))
    else:
        _write(_table(rows, names, zone, limit, fold))


def to_json(value: Any, *, zone: str = "Asia/Kolkata") -> str:
    """JSON in which whole decimals are integers, moments carry their offset, and NaN is null.

    What UTF-8 cannot hold, half of a surrogate pair, is escaped.
    """
    text = json.dumps(_plain(value, ZoneInfo(zone)), ensure_ascii=False, indent=2, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, zone) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, zone) for inner in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return (value.astimezone(zone) if value.tzinfo else value).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _csv(rows: Sequence[Row], names: Sequence[str], zone: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        plain = [_plain(row[n], ZoneInfo(zone)) for n in names]
        writer.writerow(
            [json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for v in plain]
        )
    return text.getvalue()


def _table(rows: Sequence[Row], names: list[str], zone: str, limit: int | None, fold: Sequence[str]) -> str:
    """Plain columns; those in the middle that do not fit the terminal are left out and named below.

    Keys stand first in our views and figures last, so that the middle is the least missed.
    """
    shown = rows if limit is None else rows[:limit]
    cells = {name: [_cell(row[name], ZoneInfo(zone)) for row in shown] for name in names}
    right = {n: all(isinstance(r[n], int | float | Decimal | None) for r in shown) for n in names}
    titles = {n: printable(n) for n in names}
    width = {n: max([len(titles[n]), *map(len, cells[n])]) for n in names}
    room = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 10_000
    if fold:
        _fold(width, fold, min(room, _PAGE_COLUMNS))
    else:
        _narrow(width, [n for n in names if not right[n]], room)
    left, right_end = _fitting(names, width, room)
    hidden = names[len(left) : len(names) - len(right_end)]
    gap = [".."] if hidden else []

    def line(texts: Mapping[str, str]) -> str:
        parts = [
            [texts[n].rjust(width[n]) if right[n] else _cut(texts[n], width[n]) for n in side]
            for side in (left, right_end)
        ]
        return "  ".join([*parts[0], *gap, *parts[1]]).rstrip()

    lines = [line(titles), line({n: "-" * width[n] for n in names})]
    for i in range(len(shown)):
        pieces = {
            n: (textwrap.wrap(cells[n][i], width[n]) or [""] if n in fold else [cells[n][i]]) for n in names
        }
        below = itertools.zip_longest(*pieces.values(), fillvalue="")
        lines += [line(dict(zip(names, texts, strict=True))) for texts in below]
    if len(rows) > len(shown):
        lines.append("... and more rows: raise --limit, or use --output csv")
    elif not rows:
        lines.append("(no rows)")
    if hidden:
        left_out = f"(no room for {', '.join(titles[n] for n in hidden)}: see --output csv)"
        lines += textwrap.wrap(left_out, room)
    return "\n".join(lines) + "\n"


def _narrow(width: dict[str, int], texts: Sequence[str], room: int) -> None:
    """Make columns of long text narrower, the widest first, as far as that lets everything fit."""
    over = sum(w + 2 for w in width.values()) - 2 - room
    spare = {n: width[n] - _LONG_TEXT for n in texts if width[n] > _LONG_TEXT}
    if over <= 0 or sum(spare.values()) < over:
        return
    while over > 0:
        widest = max(spare, key=lambda n: width[n])
        width[widest] -= 1
        over -= 1
        if width[widest] == _LONG_TEXT:
            del spare[widest]


def _fold(width: dict[str, int], fold: Sequence[str], room: int) -> None:
    """Make columns whose texts may go on below narrower, one after the other, until everything fits."""
    over = sum(w + 2 for w in width.values()) - 2 - room
    for name in fold:
        narrower = max(0, min(over, width[name] - _FOLDED_TEXT))
        width[name] -= narrower
        over -= narrower


def _cut(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 2]}.."


def _fitting(names: list[str], width: Mapping[str, int], room: int) -> tuple[list[str], list[str]]:
    """The columns that fit, from both ends: all of them, or a left and a right part with a gap between."""
    if sum(width[n] + 2 for n in names) - 2 <= room:
        return names, []
    left: list[str] = []
    right: list[str] = []
    rest = list(names)
    used = len("..")
    while rest:
        take_left = len(left) <= len(right)
        name = rest[0] if take_left else rest[-1]
        if used + width[name] + 2 > room and (left or right):
            break
        used += width[name] + 2
        (left if take_left else right).append(rest.pop(0 if take_left else -1))
    return left, right[::-1]


def _cell(value: Any, zone: ZoneInfo) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return str(int(value))
    if isinstance(value, float | Decimal):
        return f"{float(value):.10g}"
    if isinstance(value, datetime):
        moment = value.astimezone(zone) if value.tzinfo else value
        return moment.strftime("%Y-%m-%d %H:%M:%S") + (
            f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
        )
    if isinstance(value, list | dict):
        return printable(json.dumps(_plain(value, zone), ensure_ascii=False))
    return printable(str(value))


def printable(text: str) -> str:
    """Text from data as a terminal may show it: line breaks and control characters would drive it."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _write(text: str) -> None:
    # Windows consoles and pipes may be set to a code page that lacks a character of the data.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
