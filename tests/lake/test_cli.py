"""The command `strikelake` itself: what it imports, explains, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import typer

from lake.cli import GROUP
from lake.commit_log import Commit
from lake.table import Lake

MakeRows = Callable[..., pa.Table]
CommitRows = Callable[..., Commit | None]
_REPOSITORY = Path(__file__).parents[2]
_MAIN = "from lake.cli import main; main()"


def environment(**more: str) -> dict[str, str]:
    """Ours without settings of the machine the tests run on."""
    ours = ("STRIKELAKE_", "RAW_STREAM_", "ENABLE_RAW_STREAM")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return {**clean, "PYTHONPATH": str(_REPOSITORY), **more}


def strikelake(*arguments: str | Path, cwd: Path, code: str = _MAIN, **more: Any) -> Any:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd, env=environment(), capture_output=True, text=True, encoding="utf-8", timeout=60,
        check=False, **more,
    )  # fmt: skip


@pytest.fixture
def filled(lake: Lake, commit: CommitRows, make_rows: MakeRows) -> Lake:
    commit(make_rows(5000), 1, batch_id="app-1")
    return lake


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for sub, inner in command.commands.items():
                yield from walk(f"{name} {sub}", inner)
        else:
            yield name, command

    for entry in entry_points(group=GROUP):
        yield from walk(entry.name, typer.main.get_command(entry.load()))


def test_help_imports_none_of_the_heavy_packages_and_lists_every_command(tmp_path: Path) -> None:
    heavy = (
        "duckdb", "deltalake", "pyarrow", "pydantic", "sqlalchemy", "polars", "alembic", "numpy", "rich",
        "shap", "lightgbm", "evidently",
    )  # fmt: skip
    code = (
        "import sys\nfrom lake.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print('HEAVY', sorted(set(sys.modules) & set({heavy!r})), file=sys.stderr)"
    )

    ended = strikelake("--help", cwd=tmp_path, code=code)

    assert (ended.returncode, ended.stderr.strip()) == (0, "HEAVY []")
    listed = [line.split()[0] for line in ended.stdout.splitlines() if line.startswith("  ") and line.split()]
    assert {entry.name for entry in entry_points(group=GROUP)} <= set(listed)


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_is_described_and_its_help_has_an_example_that_calls_it(
    name: str, command: Any
) -> None:
    examples = [line for line in (command.epilog or "").splitlines() if "strikelake " in line]
    called = [re.sub(r".*strikelake (--root \S+ )?", "", line) for line in examples]

    assert (command.help or "").strip()
    assert "Example" in (command.epilog or "")
    assert any(f"{call} ".startswith(f"{name} ") for call in called)
    undescribed = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", None)]
    assert undescribed == []


def test_without_arguments_it_shows_its_help_as_a_usage_error(tmp_path: Path) -> None:
    ended = strikelake(cwd=tmp_path)
    assert ended.returncode == 2
    assert "Commands:" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sqll"], "Did you mean 'sql'?"),
        (["zzzz"], "No such command 'zzzz'"),
        (["sql", "SELECT 1", "--nope"], "--nope"),
        (["sql"], "give one SQL statement"),
        (["lake", "history"], "TABLE"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_was_wrong(
    tmp_path: Path, filled: Lake, arguments: list[str], said: str
) -> None:
    ended = strikelake("--root", filled.root, *arguments, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert said.casefold() in ended.stderr.casefold()
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lake", "history", "nope"], "no table 'nope'"),
        (["sql", "SELECT 1", "--at", "yesterday"], "'yesterday'"),
        (["sql", "SELECT 1", "--at", "99"], "no version 99"),
        (["sql", "SELECT 1", "--at", "9" * 30], "no version 999"),
        (["sql", "--file", "absent.sql"], "absent.sql"),
        (["--root", "elsewhere", "lake", "tables"], "no lake at elsewhere"),
        (["--root", "a_file/x", "ingest", "commit", "--once"], "a_file"),
    ],
)
def test_our_errors_end_with_1_in_one_line_on_stderr(
    tmp_path: Path, filled: Lake, arguments: list[str], said: str
) -> None:
    (tmp_path / "a_file").write_text("", encoding="utf-8")

    ended = strikelake("--root", filled.root, *arguments, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("strikelake: ")
    assert said in line


def test_a_traceback_is_shown_with_debug_only(tmp_path: Path, filled: Lake) -> None:
    quiet = strikelake("--root", filled.root, "sql", "SELECT nope", cwd=tmp_path)
    loud = strikelake("--root", filled.root, "--debug", "sql", "SELECT nope", cwd=tmp_path)

    assert (quiet.returncode, loud.returncode) == (1, 1)
    assert "Traceback" not in quiet.stderr
    assert quiet.stderr.startswith("strikelake: Binder Error")
    assert "Traceback" in loud.stderr
    assert "QueryError" in loud.stderr


def test_data_goes_to_stdout_alone_and_as_utf_8(tmp_path: Path, filled: Lake) -> None:
    statement = "SELECT count(*) AS n, sum(samples) AS total, '₹' AS sign FROM readings"
    ended = strikelake("--root", filled.root, "sql", statement, "--output", "json", cwd=tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == [{"n": 5000, "total": sum(range(0, 50_000, 10)), "sign": "₹"}]


def test_a_statement_may_come_from_a_file_or_from_stdin(tmp_path: Path, filled: Lake) -> None:
    (tmp_path / "q.sql").write_text("SELECT 41 + 1 AS n -- ₹", encoding="utf-8")

    from_file = strikelake("--root", filled.root, "sql", "--file", "q.sql", "--output", "csv", cwd=tmp_path)
    piped = strikelake(
        "--root", filled.root, "sql", "-", "--output", "csv", cwd=tmp_path, input="SELECT 43 AS n"
    )

    assert (from_file.stdout, piped.stdout) == ("n\n42\n", "n\n43\n")


def test_at_takes_a_version_or_a_time_in_the_lakes_zone(tmp_path: Path, filled: Lake) -> None:
    for at in ("0", "1", "2999-01-01 09:15", "2999-01-01T09:15:00+05:30"):
        ended = strikelake(
            "--root", filled.root, "sql", "SELECT count(*) AS n FROM readings", "--at", at, "--output",
            "csv", cwd=tmp_path,
        )  # fmt: skip
        assert ended.stdout == ("n\n0\n" if at == "0" else "n\n5000\n"), ended.stderr


def test_tables_and_history_say_what_is_there(tmp_path: Path, filled: Lake) -> None:
    tables = strikelake("--root", filled.root, "lake", "tables", "--output", "json", cwd=tmp_path)
    history = strikelake(
        "--root", filled.root, "lake", "history", "readings", "--output", "json", "--limit", "1", cwd=tmp_path
    )

    (table,) = json.loads(tables.stdout)
    assert (table["table"], table["version"], table["files"], table["rows"]) == ("readings", 1, 1, 5000)
    assert table["size_bytes"] == sum(p.stat().st_size for p in filled.root.rglob("date=*/**/*.parquet"))
    (newest,) = json.loads(history.stdout)
    assert (newest["version"], newest["operation"], newest["rows"]) == (1, "WRITE", 5000)
    assert newest["batch_id"] == "app-1"


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    ended = strikelake("--version", cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.startswith("strikelake 0.")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes and signals")
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, filled: Lake) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, "--root", str(filled.root), "sql",
         "SELECT * FROM readings, range(8)", "--output", "csv"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("date,station")
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()

    assert (process.wait(timeout=60), errors) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes and signals")
def test_a_committer_that_is_told_to_stop_says_so_and_ends_well(tmp_path: Path, filled: Lake) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, "--root", str(filled.root), "ingest", "commit"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "committing the spool of live every 60 s; Ctrl-C ends it\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "stopped" in errors
    assert "Traceback" not in errors


def test_an_interrupted_query_ends_with_130_and_a_word(tmp_path: Path, filled: Lake) -> None:
    endless = "SELECT sum(a.range * b.range) FROM range(3000000) a, range(3000000) b"
    process = subprocess.Popen(
        [sys.executable, "-c", _MAIN, "--root", str(filled.root), "sql", endless],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running = psutil.Process(process.pid)
    while sum(running.cpu_times()[:2]) < 4:  # more than the start takes: the query is running
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
