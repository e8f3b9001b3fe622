"""Every command explains itself, and every command that the README shows exists."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[2] / "README.md"
COMMANDS = {
    "demo": [], "sql": [], "ingest": ["load", "run", "sources", "status", "quality", "commit"],
    "dataset": ["create", "list", "show", "replay", "verify", "delete"],
    "explain": ["train", "models", "report", "signal", "drift"],
    "monitors": ["drift",
        "check", "run", "watch", "alerts", "silence", "ack", "test-receivers", "rules", "metrics", "runbook",
        "schedule",
    ],
    "lake": ["tables", "history", "doctor", "maintain", "drop-before", "export"],
    "catalog": ["sync", "rebuild", "batches", "verify", "columns", "calendar"],
    "dashboard": [],
}  # fmt: skip
CALLS = [[name] for name in COMMANDS] + [[name, each] for name, subs in COMMANDS.items() for each in subs]


def readme_calls() -> list[list[str]]:
    """The `strikelake ...` lines of the README's shell blocks, without placeholders and pipes."""
    blocks = re.findall(
        r"```(?:sh|console|powershell)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    calls = []
    for line in "\n".join(blocks).splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["strikelake"]:
                calls.append(words[1:])
    return calls


@pytest.fixture(scope="module")
def help_of(in_folder: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """What `strikelake ... --help` prints, asked once for each command."""
    run = in_folder(tmp_path_factory.mktemp("help"))

    @functools.cache
    def ask(*call: str) -> str:
        return str(run(*call, "--help").stdout)

    return ask


def test_help_lists_every_command(help_of: Callable[..., str]) -> None:
    for name in COMMANDS:
        (line,) = [line for line in help_of().splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3, f"{name} has no description"


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_command_explains_itself_with_an_example(help_of: Callable[..., str], call: list[str]) -> None:
    told = help_of(*call)
    assert told.startswith(f"Usage: strikelake {call[0]}")
    if len(call) == 1 and COMMANDS[call[0]]:
        for name in COMMANDS[call[0]]:
            assert re.search(rf"^  {name}\b +\w", told, re.MULTILINE)
    else:
        example = told.partition("Example")[2]
        assert f"strikelake {' '.join(call)}" in example or call[-1] in example


def test_the_readme_shows_commands() -> None:
    assert len(readme_calls()) >= 5


@pytest.mark.parametrize("call", readme_calls(), ids=" ".join)
def test_a_command_of_the_readme_exists_with_its_options(
    help_of: Callable[..., str], call: list[str]
) -> None:
    known = [*CALLS, *(["ingest", "quarantine", name] for name in ("list", "show", "retry"))]
    command = next(call[:length] for length in (3, 2, 1) if call[:length] in known)
    for option in [word.partition("=")[0] for word in call if word.startswith("--")]:
        assert re.search(rf"{option}\b", help_of(*command) + help_of())


def test_the_version_is_told(strikelake: Any) -> None:
    assert re.fullmatch(r"strikelake \d+\.\d+\S*\n", strikelake("--version").stdout)
