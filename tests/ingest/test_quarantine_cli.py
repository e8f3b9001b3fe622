"""`strikelake ingest quarantine` says what is there, what to do, and what came of it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Called, call
from small_files import live_csv, write_lots

from lake.errors import MalformedInputError, SettingsError

ESCAPE = "\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lake with a chain without a lot size, a number that is none, and a page instead of a file."""
    files = tmp_path / "files"
    files.mkdir()
    live_csv(files / "new.csv", polls=2, strikes=3, symbol="NEWINDEX")
    text = live_csv(files / "known.csv", polls=1, strikes=3).read_text(encoding="utf-8")
    (files / "known.csv").write_text(text.replace("24000.5", f"24{ESCAPE}", 1), encoding="utf-8")
    (files / "page.json").write_text(f"<html>{ESCAPE}", encoding="utf-8")
    root = tmp_path / "lake"
    assert run(root.parent, "load", str(files)).exit_code == 0
    return root


def run(folder: Path, *words: str) -> Called:
    root = folder if folder.name == "lake" else folder / "lake"
    return call(["--root", str(root), "ingest", *words])


def quarantine(root: Path, *words: str) -> Called:
    return run(root, "quarantine", *words)


def listed(root: Path, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(quarantine(root, "list", *words, "--output", "json").stdout)
    return rows


def test_list_groups_by_reason_and_source_with_an_example(root: Path) -> None:
    rows = listed(root)
    assert [(row["reason"], row["source"], row["row_count"]) for row in rows] == [
        ("unknown_lot_size", "nse-live-csv", 12),
        ("bad_number", "nse-live-csv", 1),
        ("unknown_format", "any", 1),
    ]
    told = quarantine(root, "list").stdout
    assert "12 x unknown_lot_size" in told
    assert f"show {rows[1]['example']}" in told
    assert told.splitlines()[-1] == "14 rows"
    as_csv = list(csv.DictReader(io.StringIO(quarantine(root, "list", "--output", "csv").stdout)))
    assert [row["reason"] for row in as_csv] == [row["reason"] for row in rows]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--reason", "bad_number"), 1),
        (("--source", "any"), 1),
        (("--date", "2026-06-10"), 13),
        (("--exchange", "bse"), 0),
        (("--exchange", "nse"), 14),
    ],
)
def test_list_can_be_narrowed(root: Path, words: tuple[str, ...], count: int) -> None:
    assert sum(row["row_count"] for row in listed(root, *words)) == count


def test_nothing_that_is_printed_drives_the_terminal_and_all_of_it_fits(root: Path) -> None:
    told = [quarantine(root, "list").stdout, quarantine(root, "retry").stdout]
    shown = [quarantine(root, "show", row["example"]).stdout for row in listed(root)]
    assert all(line.isprintable() for text in (*told, *shown) for line in text.splitlines())
    assert all(len(line) <= 80 for text in told for line in text.splitlines())


def test_show_tells_all_there_is(root: Path) -> None:
    example = next(row["example"] for row in listed(root) if row["reason"] == "bad_number")
    row = json.loads(quarantine(root, "show", example[:20], "--output", "json").stdout)
    assert row["payload"]["underlyingValue"] == f"24{ESCAPE}"
    assert row["origin"]["format"] == "nse-live-csv"
    assert row["batch_id"].startswith("backfill-")
    assert row["retry"].endswith(f"ingest quarantine retry --id {example}")
    assert f"try it again: {row['retry']}" in quarantine(root, "show", example).stdout


def test_an_id_that_is_none_or_many_is_told(root: Path) -> None:
    with pytest.raises(MalformedInputError, match="no row of quarantine has the id 'nothing'"):
        quarantine(root, "show", "nothing")
    example = listed(root)[0]["example"]
    with pytest.raises(MalformedInputError, match="more than one"):
        quarantine(root, "show", example[:32])


def test_retry_says_what_came_in_and_what_still_fails(root: Path) -> None:
    dry = quarantine(root, "retry", "--dry-run")
    assert (dry.exit_code, "nothing was changed" in dry.stderr) == (3, True)
    assert "14 tried: 0 would come in" in dry.stdout
    assert listed(root)[0]["attempted"] == 0
    write_lots(root, "NEWINDEX", 60)
    done = quarantine(root, "retry", "--reason", "unknown_lot_size")
    assert done.exit_code == 0
    assert "12 tried: 12 came in as rows: 12 of option_chain" in done.stdout
    rest = quarantine(root, "retry", "--output", "json")
    assert rest.exit_code == 3
    summary = json.loads(rest.stdout)
    assert summary["failed"] == {"bad_number": 1, "unknown_format": 1}
    assert sum(row["row_count"] for row in listed(root)) == 2
    everything = listed(root, "--all")
    assert {row["reason"]: row["came_in"] for row in everything}["unknown_lot_size"] == 12
    shown = quarantine(root, "show", everything[0]["example"])
    assert "it came in since" in shown.stdout


def test_one_row_can_be_tried_alone(root: Path) -> None:
    write_lots(root, "NEWINDEX", 60)
    example = listed(root)[0]["example"]
    done = quarantine(root, "retry", "--id", example)
    assert (done.exit_code, "1 tried: 1 came in" in done.stdout) == (0, True)


def test_an_exchange_that_is_none_is_told(root: Path) -> None:
    with pytest.raises(SettingsError, match="there are NSE and BSE"):
        quarantine(root, "list", "--exchange", "MCX")


def test_an_empty_quarantine_says_so(tmp_path: Path) -> None:
    live_csv(tmp_path / "known.csv", polls=1, strikes=1)
    assert run(tmp_path, "load", str(tmp_path / "known.csv")).exit_code == 0
    assert quarantine(tmp_path / "lake", "list").stdout == "nothing is open\n"
    assert quarantine(tmp_path / "lake", "retry").stdout == "0 tried: 0 came in\n"
