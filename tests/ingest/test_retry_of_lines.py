"""Damaged rows of candles and lines that are too long come in, once, when they can be read."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backfilled import NOT_JUDGED, check_books, stored
from candle_specimens import (
    IndexCandleSpecimen,
    LegacyBhavcopySpecimen,
    OptionCandleSpecimen,
    UdiffBhavcopySpecimen,
)
from command_line import Called, call
from deltalake import DeltaTable
from small_files import live_csv

from ingest import retry_candles, retry_lines
from ingest.load import load
from ingest.retry import retry
from ingest.sources import ADAPTERS, csv_table, kite_ticks, recorded_file, upstox_log
from ingest.sources.csv_table import Row
from lake.settings import Settings

UPSTOX = "upstox_chain_log/FinNifty.2025-01-23.payload_lines.log.gz"


@dataclass(frozen=True)
class Kind:
    """A file of which one line is refused by a faulty adapter.

    Attributes:
        source: Its adapter.
        name: What the file is called.
        content: Its bytes.
        line: Number of the line, counted from 1.
        rows: Rows that the line brings.
        reason: Why it is refused.
    """

    source: str
    name: str
    content: bytes
    line: int
    rows: int
    reason: str

    @property
    def table(self) -> str:
        return "candles" if self.source.startswith(("bhavcopy", "candle")) else "option_chain"

    def text(self) -> str:
        return self.content.decode().splitlines()[self.line - 1]

    def faulty(self, patch: pytest.MonkeyPatch) -> None:
        """Have the adapter refuse that line."""
        if self.reason == "line_too_long":
            size = max(map(len, self.content.decode().splitlines()))
            assert size == len(self.text())
            patch.setattr(recorded_file, "LINE_CHARACTERS", size - 10)
            patch.setattr(upstox_log, "LINE_BYTES", size - 10)
            patch.setattr(kite_ticks, "LINE_BYTES", size - 10)
            return
        read, refused = csv_table.read_row, self.text()

        def strict(line: str, header: Any) -> Row:
            if line == refused:
                return Row(line, {}, ("ragged_row", "a comma too many, it seems"))
            return read(line, header)

        patch.setattr(csv_table, "read_row", strict)
        patch.setattr(retry_candles, "read_row", strict)


def lengthened(content: bytes, line: int, size: int, *, in_front: bool = False) -> bytes:
    """The content with one line made the longest, by blanks where its format minds none."""
    lines = content.decode().splitlines()
    blanks = " " * (size - len(lines[line - 1]))
    lines[line - 1] = blanks + lines[line - 1] if in_front else lines[line - 1] + blanks
    return "".join(f"{each}\n" for each in lines).encode()


def kinds(samples: Path, folder: Path) -> dict[str, Kind]:
    found = {}
    for name, one in CANDLES.items():
        content = one.good()
        middle = len(content.splitlines()) // 2
        found[name] = Kind(one.source, one.file_name, content, middle, 1, "ragged_row")
        # The first column has the row numbers of pandas, the last one the time.
        long = lengthened(content, middle, 1_000, in_front=name == "bhavcopy-fo")
        found[f"{name}-long"] = Kind(one.source, one.file_name, long, middle, 1, "line_too_long")
    polls = live_csv(folder / "polls.csv", polls=3, strikes=2, more="-").read_bytes()
    found["table-long"] = Kind(
        "nse-live-csv", "polls.csv", lengthened(polls, 4, 1_000), 4, 1, "line_too_long"
    )
    answers = gzip.decompress((samples / UPSTOX).read_bytes()).decode().splitlines()[:3]
    longest = max(answers, key=len)
    rows = longest.count("'instrument_key'") or longest.count('"instrument_key"')
    answers = [*(each for each in answers if each is not longest), longest]
    log = "".join(f"{each}\n" for each in answers)
    found["log-long"] = Kind("upstox-log", "a.log", lengthened(log.encode(), 3, len(longest) + 500), 3, rows,
                             "line_too_long")  # fmt: skip
    return found


CANDLES: dict[str, Any] = {
    "bhavcopy-fo": LegacyBhavcopySpecimen(),
    "bhavcopy-udiff": UdiffBhavcopySpecimen(),
    "candle-csv-option": OptionCandleSpecimen(),
    "candle-csv-index": IndexCandleSpecimen(),
}
NAMES = (
    "bhavcopy-fo", "bhavcopy-fo-long", "bhavcopy-udiff", "bhavcopy-udiff-long", "candle-csv-option",
    "candle-csv-option-long", "candle-csv-index", "candle-csv-index-long", "table-long", "log-long",
)  # fmt: skip


@pytest.fixture(params=NAMES)
def kind(request: pytest.FixtureRequest, samples: Path, tmp_path: Path) -> Kind:
    return kinds(samples, tmp_path)[request.param]


LONG = [name for name in NAMES if name.endswith("-long")]


class Case:
    """Two lakes: ours, and one into which the file came when all was right."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind, self.ours, self.other = kind, folder / "ours", folder / "other"
        self.path = folder / "files" / kind.name
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(kind.content)

    def load(self, root: Path) -> Any:
        return load(Settings(root=root), ADAPTERS[self.kind.source], [self.path])

    def quarantine(self, *words: str) -> Called:
        return call(["--root", str(self.ours), "ingest", "quarantine", *words])

    def retry(self, *words: str) -> dict[str, Any]:
        told = self.quarantine("retry", "--output", "json", *words)
        summary: dict[str, Any] = json.loads(told.stdout)
        assert told.exit_code == (3 if summary["failed"] else 0)
        return summary

    def listed(self, *words: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.quarantine("list", "--output", "json", *words).stdout)
        return rows

    def rows(self, root: Path) -> Counter[tuple[Any, ...]]:
        return stored(root, self.kind.table, but=NOT_JUDGED)


@pytest.fixture
def case(kind: Kind, tmp_path: Path) -> Case:
    return Case(kind, tmp_path)


@pytest.fixture
def rejected(case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The file was loaded by an adapter that refused one line of it, and tried again in vain."""
    if case.kind.reason == "line_too_long":
        # What identities have of a line does not change with the limit.
        size = max(map(len, case.kind.content.decode().splitlines()))
        monkeypatch.setattr(recorded_file, "IDENTIFIED_CHARACTERS", size - 10)
    with monkeypatch.context() as patch:
        case.kind.faulty(patch)
        assert case.load(case.ours).quarantined == {case.kind.reason: 1}
        before = stored(case.ours, "quarantine", but=NOT_JUDGED)
        still = case.retry()
        assert (still["tried"], still["accepted"], still["failed"]) == (1, 0, {case.kind.reason: 1})
        assert stored(case.ours, "quarantine", but=NOT_JUDGED) == before, "no new row of quarantine"
    return case


def test_a_line_comes_in_once_when_it_can_be_read(rejected: Case) -> None:
    case, kind = rejected, rejected.kind
    case.load(case.other)
    right, before = case.rows(case.other), case.rows(case.ours)
    assert (right - before).total() == kind.rows
    assert case.retry("--dry-run")["accepted"] == 1
    assert case.rows(case.ours) == before
    done = case.retry()
    assert (done["accepted"], done["failed"], done["rows"]) == (1, {}, {kind.table: kind.rows})
    assert case.rows(case.ours) == right
    assert case.retry()["tried"] == 0
    assert case.load(case.ours).rows == 0
    assert case.rows(case.ours) == right
    assert case.listed() == []
    (closed,) = case.listed("--all")
    assert (closed["row_count"], closed["came_in"]) == (1, 1)
    check_books(case.ours)


def test_a_line_that_a_load_brought_in_is_not_brought_in_by_a_retry(rejected: Case) -> None:
    case = rejected
    case.load(case.other)
    # A poll is known as a whole: there, only a retry brings a line in.
    loaded = case.load(case.ours).rows
    assert loaded == (0 if case.kind.source == "nse-live-csv" else case.kind.rows)
    done = case.retry()
    assert (done["loaded"], done["accepted"]) == ((1, 0) if loaded else (0, 1))
    assert case.rows(case.ours) == case.rows(case.other)
    assert case.listed() == []
    check_books(case.ours)


def test_what_is_told_of_a_line_fits_the_screen(rejected: Case) -> None:
    case = rejected
    (row,) = case.listed()
    assert (row["row_count"], row["attempted"], row["not_retriable"]) == (1, 1, 0)
    shown = case.quarantine("show", row["example"]).stdout
    assert "try it again: " in shown
    told = [case.quarantine("list").stdout, case.quarantine("retry", "--dry-run").stdout, shown]
    lines = [line for text in told for line in text.splitlines()]
    # A command is one line, whatever its length, so that it can be copied.
    assert all(len(line) <= 80 for line in lines if not line.startswith("try it again: "))
    # All of the line, or of what is kept of it, is shown, its blanks included.
    begin = case.kind.text()[:60]
    whole = json.loads(case.quarantine("show", row["example"], "--output", "json").stdout)
    assert begin in json.dumps(whole, ensure_ascii=False)


@pytest.fixture(params=LONG)
def long(
    request: pytest.FixtureRequest, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Case:
    case = Case(kinds(samples, tmp_path)[request.param], tmp_path)
    with monkeypatch.context() as patch:
        case.kind.faulty(patch)
        assert case.load(case.ours).quarantined == {"line_too_long": 1}
    return case


def failure(case: Case) -> str:
    done = case.retry()
    assert (done["accepted"], list(done["failed"])) == (0, ["file_not_at_hand"])
    detail: str = done["examples"]["file_not_at_hand"]["detail"]
    return detail


def test_a_long_line_is_found_by_its_place_and_digest(long: Case) -> None:
    (row,) = DeltaTable(str(long.ours / "raw_stream" / "quarantine")).to_pyarrow_table().to_pylist()
    origin = json.loads(row["origin"])
    place = origin.get("place") or {"line": origin["line"], "sha256": origin["line_sha256"]}
    assert place["line"] == long.kind.line
    assert place["sha256"] == hashlib.sha256(long.kind.text().encode()).hexdigest()
    assert len(row["payload"]) < 3_000


def test_a_file_that_is_gone_changed_or_shorter_is_told_and_comes_in_when_it_is_back(long: Case) -> None:
    content, path = long.kind.content, long.path
    path.unlink()
    assert "is gone" in failure(long)
    # One byte at the very end of the line: its length and beginning are the same.
    text = long.kind.text().encode()
    path.write_bytes(content.replace(text, text[:-1] + b"!"))
    assert "another one now" in failure(long)
    path.write_bytes(b"".join(content.splitlines(keepends=True)[: long.kind.line - 1]))
    assert "another one now" in failure(long)
    path.unlink()
    path.mkdir()
    assert "is gone" in failure(long)
    path.rmdir()
    path.write_bytes(gzip.compress(content)[:40])
    assert "cannot be read" in failure(long) or "another one now" in failure(long)
    # It has grown, and is packed now: the line is the same.
    path.write_bytes(gzip.compress(content + content.splitlines(keepends=True)[-2]))
    done = long.retry()
    assert (done["accepted"], done["rows"]) == (1, {long.kind.table: long.kind.rows})


def test_long_lines_of_one_file_are_read_in_one_passage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=20, strikes=4, more="y" * 300)
    text = path.read_text(encoding="utf-8")
    # The header is short; of the rows, each third is.
    lines = [line if at % 3 else line.replace("y" * 300, "") for at, line in enumerate(text.splitlines())]
    path.write_text("\n".join(lines), encoding="utf-8")
    long = sum("yyy" in line for line in lines)
    settings = Settings(root=tmp_path / "ours")
    with monkeypatch.context() as patch:
        patch.setattr(recorded_file, "LINE_CHARACTERS", 250)
        assert load(settings, ADAPTERS["nse-live-csv"], [path]).quarantined == {"line_too_long": long}
    opened = []
    real = retry_lines.open_lines

    def counted(path: Path) -> Any:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(retry_lines, "open_lines", counted)
    done = retry(settings)
    assert (done.accepted, done.failed) == (long, {})
    assert len(opened) == 1
    assert stored(settings.root, "option_chain", but=NOT_JUDGED).total() == 160
