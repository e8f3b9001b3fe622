"""The command: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from command_line import call
from health_lake import HealthLake
from page_server import PROGRAM, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends servers by a signal")


def ended(process: subprocess.Popen[str], *, within_s: float = 20.0) -> str:
    """What it said on stderr, once Ctrl-C has ended it."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=within_s)
    assert process.returncode == 0
    return said


def test_ctrl_c_ends_it_although_pages_are_open(made: HealthLake) -> None:
    with (
        running(made) as (process, url),
        httpx.Client(timeout=30) as client,
        client.stream("GET", f"{url}live/now") as one,
        client.stream("GET", f"{url}live/health") as other,
    ):
        next(one.iter_text())
        next(other.iter_text())
        began = time.monotonic()
        said = ended(process)
        assert time.monotonic() - began < 15
    assert "Traceback" not in said
    assert "stopped" in said


def test_a_port_in_use_is_a_clear_error(made: HealthLake) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(made, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.strip() == f"strikelake: port {port} is in use: give another with --port, 0 for any"


def test_an_address_of_another_machine_is_a_clear_error(made: HealthLake) -> None:
    done = run(made, "--host", "192.0.2.1", "--token")
    assert done.returncode == 1
    assert "--host 192.0.2.1" in done.stderr


def test_another_address_needs_the_token_it_names(made: HealthLake) -> None:
    with running(made, "--host", "0.0.0.0") as (process, url):  # noqa: S104 - that is the point
        file = made.settings.root / "dashboard.token"
        token = file.read_text(encoding="ascii").strip()
        assert httpx.get(url).status_code == 303
        right = httpx.get(f"{url}metrics", headers={"authorization": f"Bearer {token}"}, timeout=30)
        assert right.status_code == 200
        said = ended(process)
    assert str(file) in said
    assert token not in said
    file.unlink()


def test_on_this_machine_no_token_is_made(made: HealthLake) -> None:
    with running(made) as (process, url):
        assert httpx.get(url, timeout=30).status_code == 200
        ended(process)
    assert not (made.settings.root / "dashboard.token").exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "--root", str(tmp_path / "nothing"), "dashboard"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no lake at" in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_proxy_s_address_without_its_header_is_refused(made: HealthLake) -> None:
    done = run(made, "--trusted-proxy", "10.0.0.1")
    assert done.returncode == 1
    assert "--trusted-proxy-header" in done.stderr


def test_the_help_has_an_example_and_fits() -> None:
    done = call(["dashboard", "--help"])
    assert done.exit_code == 0
    assert "strikelake dashboard --open" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def run(made: HealthLake, *words: str) -> subprocess.CompletedProcess[str]:
    """A call that ends by itself."""
    command = [*PROGRAM, "--root", str(made.settings.root), "dashboard", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
