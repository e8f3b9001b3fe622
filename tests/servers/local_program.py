"""Servers that Debian packages, started by tests on a free port of this machine and stopped again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

_START_S = 30.0


def program(name: str, package: str) -> Path:
    """Where a program is; the test is skipped where it is not installed, but fails in CI."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=folders)
    return Path(found) if found else missing(f"{name} is not installed: apt-get install {package}")


def missing(why: str) -> NoReturn:
    """Skip, but fail in CI: what a test needs is installed there."""
    if os.environ.get("CI") == "true" and sys.platform == "linux":
        pytest.fail(why)
    pytest.skip(why)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, is_ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program, from when it is ready until it is killed."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent
        )
    try:
        deadline = time.monotonic() + _START_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                told = log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{command[0]} did not start:\n{told}")
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def accepts(port: int) -> Callable[[], bool]:
    """Whether a port takes connections."""

    def ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return ready
