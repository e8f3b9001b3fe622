"""Recordings come in whole, once, whatever interrupts the load and whatever the files are called."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.load import LoadSummary, load
from ingest.sources import ADAPTERS, recording_files
from lake.errors import StrikelakeError

SAMPLES = Path(__file__).parents[1] / "data"
GRAIN = ("event_time", "exchange", "symbol", "expiry", "strike", "option_type")


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")


def wide_csv_legs(path: Path) -> int:
    """A line is a strike: a call and a put."""
    return 2 * len(list(csv.DictReader(io.StringIO(text_of(path)))))


def long_csv_legs(path: Path) -> int:
    """A line is a leg."""
    return len(list(csv.DictReader(io.StringIO(text_of(path)))))


def nse_json_legs(path: Path) -> int:
    document = json.loads(text_of(path))
    rows = document["records"]["data"] if "records" in document else document["data"]
    return sum(1 for row in rows for side in ("CE", "PE") if row.get(side))


def bse_json_legs(path: Path) -> int:
    return 2 * len(json.loads(text_of(path))["Table"])


SOURCES: dict[str, tuple[list[str], Callable[[Path], int]]] = {
    "nse-json": (["nse_api_json/v1", "nse_api_json/v3/nifty_option_chain_new.json"], nse_json_legs),
    "bse-json": (["bse_api_json"], bse_json_legs),
    "kite-poll": (["kite_poll_csv", "kite_poll_stocks_csv"], wide_csv_legs),
    "nse-live-csv": (["nse_live_derivatives_csv"], long_csv_legs),
}


def run(lake: Any, source: str, *paths: Path) -> LoadSummary:
    adapter = ADAPTERS[source]
    return load(lake.settings, adapter, [file for path in paths for file in recording_files(adapter, path)])


def files_of(source: str) -> list[Path]:
    return [f for part in SOURCES[source][0] for f in recording_files(ADAPTERS[source], SAMPLES / part)]


@pytest.mark.parametrize("source", SOURCES)
def test_every_leg_of_the_samples_is_a_row_or_a_reject(lake: Any, source: str) -> None:
    files = files_of(source)
    legs = sum(SOURCES[source][1](file) for file in files)
    summary = run(lake, source, *files)
    rejected = [row for row in lake.rows("quarantine") if row["table"] == "option_chain"]
    assert legs == len(lake.rows()) + len(rejected)
    assert (summary.files, summary.rows) == (len(files), len(lake.rows()))
    assert sum(summary.quarantined.values()) == len(rejected)
    assert summary.quarantined == Counter(row["reason"] for row in rejected)
    totals = lake.totals(app_id="backfill")
    assert totals == {"offered": legs, "spooled": 0, "committed": len(lake.rows()),
                      "quarantined": len(rejected), "dropped": 0, "difference": 0}  # fmt: skip
    assert len(lake.rows()) > legs / 2
    assert {row["source"] for row in lake.rows()} == {source}


@pytest.mark.parametrize("source", SOURCES)
def test_loading_again_adds_nothing_whatever_the_files_are_called(
    lake: Any, source: str, tmp_path: Path
) -> None:
    files = files_of(source)
    first = run(lake, source, *files)
    rows, rejects = len(lake.rows()), len(lake.rows("quarantine"))
    elsewhere = tmp_path / "other folder"
    elsewhere.mkdir()
    for number, file in enumerate(files):
        text = text_of(file).encode("utf-8")
        suffix = next(
            each for each in ADAPTERS[source].suffixes if file.name.removesuffix(".gz").endswith(each)
        )
        # The adapters read symbols from some names: keep the name and change what is around it.
        (elsewhere / str(number)).mkdir()
        (
            elsewhere / str(number) / f"{file.name.removesuffix('.gz').removesuffix(suffix)}{suffix}.gz"
        ).write_bytes(gzip.compress(text))
    for paths in (files, [elsewhere]):
        again = run(lake, source, *paths)
        assert (again.chains, again.rows, again.quarantined) == (0, 0, {})
        assert again.known == first.chains
    assert (len(lake.rows()), len(lake.rows("quarantine"))) == (rows, rejects)


def test_a_renamed_poll_is_known(lake: Any, tmp_path: Path) -> None:
    (first, *_) = files_of("kite-poll")
    run(lake, "kite-poll", first)
    renamed = tmp_path / "something.csv"
    shutil.copy(first, renamed)
    assert run(lake, "kite-poll", renamed).rows == 0


def test_of_a_grown_file_only_the_new_chains_are_taken(lake: Any, tmp_path: Path) -> None:
    (recording,) = files_of("nse-live-csv")
    head, *lines = text_of(recording).splitlines(keepends=True)
    polls = list(dict.fromkeys(line.rsplit(",", 1)[1] for line in lines))
    early = {poll for poll in polls if poll < "2026-06-08 12"}
    growing = tmp_path / recording.name.removesuffix(".gz")
    growing.write_text(head + "".join(x for x in lines if x.rsplit(",", 1)[1] in early), encoding="utf-8")
    before = run(lake, "nse-live-csv", growing)
    growing.write_text(head + "".join(lines), encoding="utf-8")
    after = run(lake, "nse-live-csv", growing)
    assert 0 < before.chains < before.chains + after.chains
    assert after.known == before.chains
    totals = lake.totals(app_id="backfill")
    assert totals["offered"] == len(lines) == totals["committed"] + totals["quarantined"]


def test_malformed_files_are_quarantined_once_and_stop_nothing(lake: Any, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "a.json").write_text("<html>busy</html>", encoding="utf-8")
    (folder / "b.json").write_bytes(b"")
    (folder / "c.json").write_bytes(gzip.compress(b'{"records":')[:-5])
    (good,) = recording_files(ADAPTERS["nse-json"], SAMPLES / "nse_api_json/v3/nifty_option_chain_new.json")
    shutil.copy(good, folder / "d.json")
    summary = run(lake, "nse-json", folder)
    assert summary.rows == len(lake.rows()) > 0
    bad = [row for row in lake.rows("quarantine") if "sha256" in (row["payload"] or "")]
    assert {json.loads(row["payload"])["file"] for row in bad} == {"a.json", "b.json", "c.json"}
    assert sum(summary.quarantined.values()) == len(lake.rows("quarantine"))
    assert run(lake, "nse-json", folder).quarantined == {}
    assert lake.totals(app_id="backfill")["difference"] == 0
    assert len([row for row in lake.rows("quarantine") if "sha256" in (row["payload"] or "")]) == 3


def command(lake: Any, *arguments: str) -> list[str]:
    main = "from lake.cli import main; main()"
    return [sys.executable, "-c", main, "--root", str(lake.settings.root), *arguments]


def test_an_unreadable_file_is_told_with_exit_1_while_the_others_load(lake: Any, tmp_path: Path) -> None:
    good, *_ = files_of("kite-poll")
    folder = tmp_path / "not a file.csv"
    folder.mkdir()
    adapter = ADAPTERS["kite-poll"]
    summary = load(lake.settings, adapter, [folder, tmp_path / "gone.csv", good])
    assert sorted(Path(name).name for name in summary.unreadable) == ["gone.csv", "not a file.csv"]
    assert summary.rows == len(lake.rows()) > 0


def test_a_lake_that_cannot_be_written_is_no_unreadable_file(lake: Any) -> None:
    good, *_ = files_of("kite-poll")
    run(lake, "bse-json", *files_of("bse-json"))
    day = lake.settings.root / "raw_stream" / "option_chain" / "date=2026-01-22"
    day.write_text("in the way", encoding="utf-8")
    with pytest.raises(StrikelakeError, match=r"load again|cannot commit"):
        run(lake, "kite-poll", good)
    done = subprocess.run(
        command(lake, "ingest", "load", "--source", "kite-poll", str(good)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    day.unlink()
    before = len(lake.rows())
    run(lake, "kite-poll", good)
    totals = lake.totals(app_id="backfill")
    assert len(lake.rows()) > before
    assert totals["spooled"] == totals["difference"] == 0
    assert totals["committed"] == len(lake.rows())


SLOW_LOAD = """
import sys
from pathlib import Path
import ingest.load as loading
from ingest.sources import ADAPTERS
from lake.settings import Settings
loading._SPOOL_ROWS, loading._COMMIT_ROWS = 100, 300
files = [Path(name) for name in sys.argv[2:]]
print("ready", flush=True)
loading.load(Settings(root=sys.argv[1]), ADAPTERS["kite-poll"], files,
             progress=lambda f: print(f, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL] if hasattr(signal, "SIGKILL") else [])
def test_an_interrupted_load_is_finished_by_the_next(lake: Any, tmp_path: Path, how: signal.Signals) -> None:
    parts = []
    head, *lines = text_of(SAMPLES / "kite_poll_csv/2026-01-22/index_OC_2026-01-22_03-31.csv").splitlines()
    for number in range(60):
        # The same poll at another minute: another chain with as many legs.
        part = tmp_path / f"{number:02d}.csv"
        poll = [line.replace("03:31:32", f"04:{number:02d}:00") for line in lines]
        part.write_text("\n".join([head, *poll]) + "\n", encoding="utf-8")
        parts.append(part)
    legs = 2 * len(lines) * len(parts)
    program = [sys.executable, "-c", SLOW_LOAD, str(lake.settings.root), *map(str, parts)]
    for stop_after in (5, 30):
        loader = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert loader.stdout is not None
        for seen, _ in enumerate(loader.stdout):
            if seen == stop_after:
                break
        loader.send_signal(how)
        loader.stdout.close()
        assert loader.wait(timeout=60) != 0
        assert lake.totals(app_id="backfill")["difference"] == 0
    subprocess.run(program, check=True, capture_output=True, timeout=120)
    counts = Counter(tuple(row[name] for name in GRAIN) for row in lake.rows())
    totals = lake.totals(app_id="backfill")
    assert totals["offered"] == legs == totals["committed"] + totals["quarantined"]
    assert set(counts.values()) == {1}
    assert len(counts) == totals["committed"] > legs / 2
    assert len(lake.rows("quarantine")) == totals["quarantined"]


def test_once_a_lot_size_is_known_the_same_file_brings_its_rows_in(lake: Any, tmp_path: Path) -> None:
    chain = json.loads(
        text_of(next(f for f in files_of("nse-json") if "v3" in f.parts and "option_chain" in f.name))
    )
    for row in chain["data"]:
        for side in ("CE", "PE"):
            row[side]["underlying"] = "WIDGET"
    file = tmp_path / "widget.json"
    file.write_text(json.dumps(chain), encoding="utf-8")
    legs = nse_json_legs(file)

    assert run(lake, "nse-json", file).quarantined == {"unknown_lot_size": legs}
    assert run(lake, "nse-json", file).known == 1, "nothing changed: nothing is taken again"
    (lake.settings.root / "lot_sizes.csv").write_text(
        "exchange,symbol,valid_from,lot_size\nNSE,WIDGET,2026-01-01,50\n", encoding="utf-8"
    )
    assert run(lake, "nse-json", file).rows == legs
    assert run(lake, "nse-json", file).known == 1
    contracts = sum(row[side]["openInterest"] for row in chain["data"] for side in ("CE", "PE"))
    assert sum(row["oi"] for row in lake.rows()) == 50 * contracts
    assert lake.totals(app_id="backfill")["difference"] == 0


@pytest.mark.parametrize("time", ["01-Jan-1970 15:30:00", "01-Jan-2099 15:30:00"])
def test_an_impossible_time_is_told_as_such_and_not_as_a_missing_lot_size(
    lake: Any, tmp_path: Path, time: str
) -> None:
    chain = json.loads(
        text_of(next(f for f in files_of("nse-json") if "v3" in f.parts and "option_chain" in f.name))
    )
    chain["timestamp"] = time
    file = tmp_path / "clock.json"
    file.write_text(json.dumps(chain), encoding="utf-8")
    assert run(lake, "nse-json", file).quarantined == {"bad_event_time": nse_json_legs(file)}
