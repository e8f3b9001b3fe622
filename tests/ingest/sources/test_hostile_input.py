"""Broken, hostile and huge input: a reject, bounded memory, nothing lost, and nothing that hangs."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from small_files import live_csv

from catalog.reference import ReferenceData
from ingest.load import load
from ingest.sources import ADAPTERS, recording_files
from ingest.sources.recorded_file import DOCUMENT_BYTES, LINE_CHARACTERS
from lake.settings import Settings

# A quarter of a gigabyte, or with STRIKELAKE_HUGE_BYTES=1073741824 a whole one.
HUGE_BYTES = int(os.environ.get("STRIKELAKE_HUGE_BYTES", "268435456"))
_MEMBER_BYTES = 1 << 24
MEMORY_KB = 400_000

READ = """
import json, resource, sys
from pathlib import Path
from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources import ADAPTERS, AnyFormat
reference = ReferenceData.load()
adapters = {**ADAPTERS, "any": AnyFormat(ADAPTERS.values())}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
told = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    for source in path.name.split(".")[0].split("+"):
        legs, reasons = 0, []
        for item in adapters[source].read(path, reference):
            if isinstance(item, ChainUpdate):
                legs += len(item.calls) + len(item.puts)
                reasons += [reject.reason for reject in item.rejects]
            else:
                reasons.append(getattr(item, "reject", item).reason)
        told[f"{source} {path.name}"] = [legs, sorted(set(reasons)), len(reasons)]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"grown_kb": grown, "told": told}))
"""


def endless(path: Path, *, before: bytes = b"", unit: bytes = b"x", after: bytes = b"") -> None:
    """A gzip file that unpacks to `HUGE_BYTES` of one thing; gzip files one after the other are one."""
    member = gzip.compress(unit * (_MEMBER_BYTES // len(unit)), 1, mtime=0)
    with path.open("wb") as file:
        file.write(gzip.compress(before, mtime=0))
        for _ in range(HUGE_BYTES // _MEMBER_BYTES):
            file.write(member)
        file.write(gzip.compress(after, mtime=0))


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with the module resource")
def test_huge_input_is_told_within_bounded_memory(tmp_path: Path) -> None:
    good = live_csv(tmp_path / "good.csv", polls=1, strikes=2).read_bytes()
    header, first, *rest = good.splitlines(keepends=True)
    files = tmp_path / "files"
    files.mkdir()
    endless(files / "nse-live-csv.line.gz", before=header + first, after=b"\n" + b"".join(rest))
    endless(files / "kite-poll+nse-live-csv+any.header.gz")
    endless(files / "nse-json+bse-json.document.gz", before=b'{"records": {"data": [', unit=b"{},")
    (files / "nse-json+bse-json.deep").write_bytes(b"[" * 100_000)
    (files / "nse-json.digits").write_bytes(b'{"data": [{"CE": ' + b"9" * 1_000_000 + b"}]}")
    (files / "nse-json.fraction").write_bytes(b'{"data": [{"CE": 0.' + b"9" * 1_000_000 + b"}]}")
    wide = b",".join(b"c%d" % number for number in range(20_000))
    (files / "kite-poll+nse-live-csv.columns").write_bytes(wide + b"\n")
    (files / "nse-live-csv.poll").write_bytes(header + first.replace(b",100.5,", b",%s,") % (b"1" * 200_000))
    one_poll = b"".join(first.replace(b"20000", b"%d" % (20_000 + n)) for n in range(250_000))
    (files / "nse-live-csv.rows").write_bytes(header + one_poll)
    command = [sys.executable, "-c", READ, str(files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=500)
    result = json.loads(done.stdout)
    told = result["told"]
    assert told["nse-live-csv nse-live-csv.line.gz"] == [4, ["line_too_long"], 1]
    for source in ("kite-poll", "nse-live-csv"):
        assert told[f"{source} kite-poll+nse-live-csv+any.header.gz"] == [0, ["too_large"], 1]
        assert told[f"{source} kite-poll+nse-live-csv.columns"] == [0, ["too_large"], 1]
    assert told["any kite-poll+nse-live-csv+any.header.gz"] == [0, ["unknown_format"], 1]
    for source in ("nse-json", "bse-json"):
        assert told[f"{source} nse-json+bse-json.document.gz"] == [0, ["too_large"], 1]
        assert told[f"{source} nse-json+bse-json.deep"] == [0, ["malformed_json"], 1]
    assert told["nse-json nse-json.digits"] == [0, ["bad_leg"], 1]
    assert told["nse-json nse-json.fraction"] == [0, ["bad_leg"], 1]
    assert told["nse-live-csv nse-live-csv.poll"] == [0, ["bad_number"], 1]
    assert told["nse-live-csv nse-live-csv.rows"] == [0, ["too_large"], 1]
    assert result["grown_kb"] < MEMORY_KB


def test_the_largest_document_that_is_parsed_is_parsed(tmp_path: Path, reference: ReferenceData) -> None:
    start, end = b'{"data": [', b"]}"
    path = tmp_path / "large.json"
    for more, reason in ((0, "no_legs"), (1, "too_large")):
        path.write_bytes(start + b" " * (DOCUMENT_BYTES - len(start) - len(end) + more) + end)
        (reject,) = ADAPTERS["nse-json"].read(path, reference)
        assert reject.reject.reason == reason  # type: ignore[union-attr]


@pytest.mark.parametrize("more", [-1, 0, 1, LINE_CHARACTERS])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_line_at_the_limit(tmp_path: Path, reference: ReferenceData, more: int, end: str) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=1, strikes=1)
    header, first, _ = path.read_text(encoding="utf-8").splitlines()
    long = f"{first.replace('20000', '20050')},"
    long += "y" * (LINE_CHARACTERS - 1 + more - len(long))
    text = "\n".join([f"{header},remark", f"{first},short", f"{long}{end}"])
    path.write_text(text, encoding="utf-8", newline="")
    (chain,) = ADAPTERS["nse-live-csv"].read(path, reference)
    too_long = more > 0
    assert len(chain.calls) == (1 if too_long else 2)  # type: ignore[union-attr]
    assert [each.reason for each in chain.rejects] == ["line_too_long"] * too_long  # type: ignore[union-attr]


NAMES = [
    "a\nb.csv", "\x1b[2J\x1b]0;owned\x07.csv", "\N{RIGHT-TO-LEFT OVERRIDE}vsc.csv", "-rf.csv", "%00.csv",
    "n" * 251 + ".csv", "\N{DEVANAGARI LETTER KA}'\"; DROP TABLE.csv",
]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
def test_names_of_files_neither_drive_the_terminal_nor_lead_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "\x1b[31m..\n"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b"<html>" + name.encode())
    (folder / os.fsdecode(b"\xff\xfe.csv")).write_bytes(b"<html>")
    live_csv(folder / "good.csv", polls=1, strikes=2)
    root = ["--root", str(tmp_path / "lake"), "ingest"]
    done = call([*root, "load", str(folder)])
    assert done.exit_code == 0
    assert f"{len(NAMES) + 2} files" in done.stdout
    listed = call([*root, "quarantine", "list", "--output", "json"])
    example = json.loads(listed.stdout)[0]["example"]
    printed = [done.stdout, done.stderr, call([*root, "quarantine", "show", example]).stdout]
    printed += [call([*root, "quarantine", "retry"]).stdout]
    assert all(line.isprintable() for text in printed for line in text.splitlines())
    inside = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert inside == {"lake", folder.name}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_what_is_no_regular_file_never_hangs(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    live_csv(folder / "good.csv", polls=1, strikes=2)
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "itself.csv").symlink_to(folder / "itself.csv")
    (folder / "nowhere.csv").symlink_to(folder / "not there")
    with socket.socket(socket.AF_UNIX) as server:
        working = Path.cwd()
        os.chdir(folder)  # the name of a socket may have 108 bytes
        try:
            server.bind("socket.csv")
        finally:
            os.chdir(working)
        adapter = ADAPTERS["nse-live-csv"]
        assert recording_files(adapter, folder) == [folder / "good.csv"]
        settings = Settings(root=tmp_path / "lake")
        given = [
            folder / name for name in ("good.csv", "pipe.csv", "socket.csv", "itself.csv", "nowhere.csv")
        ]
        summary = load(settings, adapter, [*given, Path("/dev/zero"), folder])
    assert summary.rows == 4
    assert set(summary.unreadable) == {str(path) for path in (*given[1:], Path("/dev/zero"), folder)}
    assert summary.unreadable[str(folder / "pipe.csv")] == "it is no regular file"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = live_csv(tmp_path / "good.csv", polls=1, strikes=2)
    path.chmod(0)
    summary = load(Settings(root=tmp_path / "lake"), ADAPTERS["nse-live-csv"], [path])
    assert set(summary.unreadable) == {str(path)}


@pytest.mark.parametrize("change", ["grows", "shrinks", "goes"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path = live_csv(tmp_path / "polls.csv", polls=400, strikes=20)
    whole = path.read_bytes()

    class Changing:
        """Reads as the adapter does, and changes the file after the first chain."""

        def __init__(self) -> None:
            inner = ADAPTERS["nse-live-csv"]
            self.name, self.about, self.suffixes, self._inner = inner.name, inner.about, inner.suffixes, inner

        def recognises(self, sample: Any) -> bool:
            return self._inner.recognises(sample)

        def read(self, file: Path, reference: ReferenceData) -> Any:
            items = self._inner.read(file, reference)
            yield next(items)
            actions: dict[str, Callable[[], object]] = {
                "grows": lambda: file.write_bytes(whole + b"cut off,"),
                "shrinks": lambda: os.truncate(file, len(whole) // 2),
                "goes": file.unlink,
            }
            actions[change]()
            yield from items

    settings = Settings(root=tmp_path / "lake")
    first = load(settings, Changing(), [path])  # type: ignore[arg-type]
    path.write_bytes(whole)
    second = load(settings, ADAPTERS["nse-live-csv"], [path])
    # What was read before the change is not there twice, but for the chain that was cut.
    assert 16_000 <= first.rows + second.rows <= 16_000 + 40
    assert first.rows > 0
