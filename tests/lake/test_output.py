"""Rows on stdout: what a program parses, and what a person reads."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from lake.output import Format, show_rows, to_json

MOMENT = datetime(2026, 1, 5, 3, 45, 0, 250_000, tzinfo=UTC)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make stdout a terminal of some width."""

    def of_width(columns: int) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((columns, 24)))

    return of_width


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal(123), 123),
        (Decimal("1E+3"), 1000),
        (Decimal("1.50"), 1.5),
        (Decimal(2**70), 2**70),
        (0.1, 0.1),
        (math.nan, None),
        (-math.inf, None),
        (None, None),
        (True, True),
        ("₹ é\n", "₹ é\n"),
        (MOMENT, "2026-01-05T09:15:00.250000+05:30"),
        (datetime(2026, 1, 5, 9, 15), "2026-01-05T09:15:00"),  # noqa: DTZ001
        (date(2026, 1, 5), "2026-01-05"),
        (time(9, 15), "09:15:00"),
        (timedelta(minutes=1.5), 90.0),
        ([1, None, math.nan], [1, None, None]),
        ({"a": {"b": [Decimal(1), MOMENT]}}, {"a": {"b": [1, "2026-01-05T09:15:00.250000+05:30"]}}),
        ({1: 2}, {"1": 2}),
    ],
)
def test_json_has_the_value_in_the_form_every_parser_takes(value: Any, expected: Any) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    assert json.loads(to_json(value), parse_constant=refuse) == expected


def test_sums_of_whole_numbers_are_whole_numbers_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    relation = duckdb.sql("SELECT sum(v) AS total FROM (VALUES (2::BIGINT), (40)) AS t(v)")
    assert relation is not None
    rows = relation.to_arrow_table()
    for form in Format:
        show_rows(rows.to_pylist(), form)

    assert capsys.readouterr().out.split() == [
        "total",
        "-----",
        "42",
        "[",
        "{",
        '"total":',
        "42",
        "}",
        "]",
        "total",
        "42",
    ]


def test_no_rows_are_an_empty_list_a_header_or_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], Format.JSON, columns=["a", "b"])
    assert json.loads(capsys.readouterr().out) == []
    show_rows([], Format.CSV, columns=["a", "b"])
    assert capsys.readouterr().out == "a,b\n"
    show_rows([], Format.TABLE, columns=["a", "b"])
    assert capsys.readouterr().out.splitlines() == ["a  b", "-  -", "(no rows)"]


def test_csv_reads_back_with_its_moments_lists_and_line_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "text": 'a,"b"\nc', "none": None, "nan": math.nan, "moment": MOMENT, "day": date(2026, 1, 5),
        "sum": Decimal(7), "list": ["x", None, 1.5], "struct": {"k": "v"},
    }  # fmt: skip

    show_rows([row], Format.CSV)

    (found,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert found == {
        "text": 'a,"b"\nc', "none": "", "nan": "", "moment": "2026-01-05T09:15:00.250000+05:30",
        "day": "2026-01-05", "sum": "7", "list": '["x", null, 1.5]', "struct": '{"k": "v"}',
    }  # fmt: skip


def test_only_the_columns_asked_for_are_shown_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    for form in Format:
        show_rows([{"a": 1, "b": 2, "c": 3}], form, columns=["c", "a"])
    table = capsys.readouterr().out
    assert "b" not in table
    assert table.startswith("c  a\n")


def test_a_table_aligns_numbers_right_and_text_left(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [
        {"name": "x", "value": 1.5},
        {"name": "longer", "value": 12345.25},
        {"name": None, "value": None},
    ]

    show_rows(rows, Format.TABLE)

    assert capsys.readouterr().out.splitlines() == [
        "name       value",
        "------  --------",
        "x            1.5",
        "longer  12345.25",
        "",
    ]


def test_a_table_shows_moments_in_the_zone_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for zone in ("Asia/Kolkata", "UTC"):
        show_rows([{"at": MOMENT}, {"at": MOMENT.replace(microsecond=0)}], Format.TABLE, zone=zone)

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("2026")]
    assert lines == [
        "2026-01-05 09:15:00.25", "2026-01-05 09:15:00", "2026-01-05 03:45:00.25", "2026-01-05 03:45:00",
    ]  # fmt: skip


def test_columns_that_do_not_fit_the_terminal_are_named_below(
    terminal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["first", "second", "third", "fourth", "fifth"]
    row = {name: name[0] * 10 for name in names}
    whole = len(names) * 10 + (len(names) - 1) * 2

    for columns in range(24, whole + 3):
        terminal(columns)
        show_rows([row], Format.TABLE)
        lines = capsys.readouterr().out.splitlines()
        assert all(len(line) <= columns for line in lines[:3])
        shown = [title for title in lines[0].split() if title != ".."]
        hidden = [name for name in names if name not in shown]
        assert shown[0] == "first"
        assert shown == [name for name in names if name in shown]
        if columns >= whole:
            assert hidden == []
            assert len(lines) == 3
        else:
            assert ".." in lines[0]
            footer = " ".join(lines[3:])
            assert footer == f"(no room for {', '.join(hidden)}: see --output csv)"
            assert all(len(line) <= columns for line in lines)


def test_a_table_that_goes_into_a_file_is_never_clipped(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{f"column_{n}": "x" * 50 for n in range(20)}], Format.TABLE)
    assert capsys.readouterr().out.splitlines()[0].split() == [f"column_{n}" for n in range(20)]


def test_a_limit_cuts_tables_and_says_so_but_never_json_or_csv(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"n": n} for n in range(1500)]

    show_rows(rows, Format.TABLE, limit=10)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:12] == [str(n) for n in range(10)]
    assert lines[12].startswith("... and more rows")
    show_rows(rows, Format.JSON, limit=10)
    assert len(json.loads(capsys.readouterr().out)) == 1500
    show_rows(rows, Format.CSV, limit=10)
    assert len(capsys.readouterr().out.splitlines()) == 1501


def test_control_characters_of_the_data_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "a\x1b[31m\nb\r\t\x07\x9b\u202e"

    show_rows([{bad: bad, "list": [bad], "struct": {"k": bad}}], Format.TABLE)

    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert [c for c in out if not c.isprintable() and c != "\n"] == []
    assert "a\\x1b[31m\\x0ab" in out


@pytest.mark.parametrize("form", list(Format))
def test_a_console_that_lacks_a_character_gets_its_escape(
    form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(console, encoding="cp1252"))

    show_rows([{"price": "₹ 5", "name": "é"}], form)

    text = console.getvalue().decode("cp1252")
    assert "\\u20b9 5" in text
    assert "é" in text
    monkeypatch.undo()


def test_long_text_is_cut_before_a_column_is_left_out(
    terminal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "name": "chains",
        "about": "a sentence that goes on for rather longer than there is room",
        "rows": 7,
    }
    terminal(60)
    show_rows([row], Format.TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "about", "rows"]
    assert len(lines[2]) == 60
    assert lines[2].startswith("chains  a sentence that goes on for ")
    assert lines[2].endswith("..     7")


def test_folded_texts_go_on_below_and_fit_80_columns_wherever_they_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = " ".join(f"word{number}" for number in range(40))
    rows = [{"name": "a" * 20, "kind": "one two three four five", "about": words, "n": 1}]
    show_rows([*rows, {"name": "b", "kind": "", "about": "", "n": 2}], Format.TABLE, fold=("kind", "about"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    start = lines[1].split("  ").index("-" * 20)
    assert start == 0
    kind, about = (lines[0].index(title) for title in ("kind", "about"))
    body = [line.ljust(80) for line in lines[2:]]
    assert " ".join(" ".join(line[kind : about - 2] for line in body).split()) == "one two three four five"
    assert all(word in " ".join(body) for word in words.split())
    assert [line.split()[0] for line in body if line.strip() and not line.startswith(" ")] == ["a" * 20, "b"]
