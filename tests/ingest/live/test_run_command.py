"""`ingest run` as a user calls it, against local servers."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from deltalake import DeltaTable
from feed_server import Play, feed_server

from lake.errors import SettingsError

NIFTY = "nse_api_json/v1/nifty_option_chain.at_9713306.json.gz"
SECRET = "s3cr3t-of-the-feed"  # noqa: S105 - made up


@pytest.fixture
def nifty(samples: Path) -> str:
    return gzip.decompress((samples / NIFTY).read_bytes()).decode()


def option_chain(root: Path) -> int:
    return int(DeltaTable(str(root / "raw_stream/option_chain")).to_pyarrow_table().num_rows)


def test_a_run_prints_states_and_a_summary_and_never_the_token(
    tmp_path: Path, nifty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIKELAKE_WEBSOCKET_TOKEN", SECRET)

    def script(play: Play) -> None:
        play.hear()
        play.send("ping", nifty, "<html>blocked</html>")
        play.stay()

    with feed_server(script) as server:
        done = call(
            [
                "--root", str(tmp_path / "lake"), "--verbose", "ingest", "run", "--source", "websocket",
                "--url", f"{server.url}/feed?key={{token}}", "--subscribe", '{"auth": "{token}"}',
                "--heartbeat", "ping", "--for", "2", "--output", "json",
            ]
        )  # fmt: skip
        assert server.heard == [json.dumps({"auth": SECRET})]
        assert server.requests[0].path == f"/feed?key={SECRET}"
    assert done.exit_code == 0
    summary = json.loads(done.stdout)
    assert (summary["chains"], summary["rejected"], summary["committed"]) == (
        1, {"html_instead_of_json": 1}, True,
    )  # fmt: skip
    assert "websocket NSE up" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert option_chain(tmp_path / "lake") == summary["rows"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--source", "nse-pol"], "no live source"),
        (["--source", "nse-poll"], "--symbols"),
        (["--source", "nse-poll", "--symbols", "SENSEX"], "bse-poll"),
        (["--source", "bse-poll", "--symbols", "NIFTY"], "SENSEX, BANKEX"),
        (
            ["--source", "nse-poll", "--symbols", "NIFTY", "--base-url", "http://nse.example"],
            "this machine only",
        ),
        (["--source", "nse-poll", "--symbols", "NIFTY", "--every", "0"], "once a second at most"),
        (["--source", "upstox", "--symbols", "NIFTY"], "STRIKELAKE_UPSTOX_ACCESS_TOKEN"),
        (["--source", "kite", "--symbols", "NIFTY"], "--instruments"),
        (["--source", "websocket"], "--url"),
        (["--source", "websocket", "--url", "wss://x.example", "--format", "xml"], "nse-json, bse-json"),
    ],
)
def test_what_is_missing_or_wrong_is_told_before_anything_is_connected_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.delenv("STRIKELAKE_UPSTOX_ACCESS_TOKEN", raising=False)
    with pytest.raises(SettingsError, match=told):
        call(["--root", str(tmp_path / "lake"), "ingest", "run", *words])
    assert not (tmp_path / "lake").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a test cannot send Ctrl-C to one process there")
def test_ctrl_c_commits_what_was_taken_and_ends_well(tmp_path: Path, nifty: str) -> None:
    root = tmp_path / "lake"

    def script(play: Play) -> None:
        play.send(nifty)
        play.stay()

    environment: dict[str, Any] = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with feed_server(script) as server:
        process = subprocess.Popen(
            [
                sys.executable, "-c", "from lake.cli import main; main()", "--root", str(root), "ingest",
                "run", "--source", "websocket", "--url", server.url,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, encoding="utf-8",
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            # The chain is in the spool once it is offered in the ledger: nothing is committed for a minute.
            while not _spooled(root) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, stderr
    assert "1 chains" in stdout
    assert "down: stopped" in stderr
    assert "Traceback" not in stderr
    assert option_chain(root) > 0


def _spooled(root: Path) -> bool:
    import sqlite3

    try:
        db = sqlite3.connect(f"{(root / 'spool/live-websocket.db').resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return False
    try:
        found = db.execute(
            "SELECT COALESCE(SUM(offered), 0) FROM ledger_balance WHERE table_name = 'option_chain'"
        ).fetchone()
        return bool(found[0])
    except sqlite3.OperationalError:
        return False
    finally:
        db.close()
