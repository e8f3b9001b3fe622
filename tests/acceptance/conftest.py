"""The installed command, run as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 120


@dataclass(frozen=True)
class Strikelake:
    """Runs `strikelake` in a folder of its own, with nothing of the caller's settings."""

    program: Path
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def but(self, **settings: str) -> Strikelake:
        """The same with settings in the environment, by their keys."""
        return replace(self, settings={f"STRIKELAKE_{key.upper()}": value for key, value in settings.items()})

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if "STRIKELAKE" not in name.upper()}
        environment |= {"PYTHONUTF8": "1", **self.settings}
        done = subprocess.run(
            [str(self.program), *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, encoding="utf-8",
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        told = f"strikelake {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert done.returncode == code, told
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--output", "json").stdout)

    def error(self, *arguments: str) -> str:
        """The one line that a command which fails prints."""
        done = self(*arguments, code=1)
        assert done.stdout == ""
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("strikelake: ")
        return line


@pytest.fixture(scope="session")
def program() -> Path:
    found = shutil.which("strikelake", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.fail(f"no strikelake beside {sys.executable}: install the project (pip install -e .)")
    return Path(found)


@pytest.fixture(scope="session")
def in_folder(program: Path) -> Callable[[Path], Strikelake]:
    return lambda folder: Strikelake(program, folder)


@pytest.fixture
def strikelake(in_folder: Callable[[Path], Strikelake], tmp_path: Path) -> Strikelake:
    return in_folder(tmp_path)
