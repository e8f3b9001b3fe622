"""One holder of a role at a time, whatever becomes of the holder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lake.errors import StreamInUseError
from lake.process_lock import ProcessLock

_HOLDER = """
import sys
from pathlib import Path
from lake.errors import StreamInUseError
from lake.process_lock import ProcessLock
try:
    lock = ProcessLock(Path(sys.argv[1]), role="writer of app id 'x'")
except StreamInUseError as error:
    print("refused:", error, flush=True)
else:
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    repository = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": repository},
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_another_process_is_refused_with_role_file_and_advice(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "x.lock"
    lock = ProcessLock(path, role="writer of app id 'x'")
    try:
        with start_holder(path) as other:
            line = first_line(other)
    finally:
        lock.release()

    assert line.startswith("refused: another process already is the writer of app id 'x'")
    assert str(path) in line
    assert "use another app id" in line


def test_a_second_holder_in_the_same_process_is_refused(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "x.lock", role="writer")
    with pytest.raises(StreamInUseError):
        ProcessLock(tmp_path / "x.lock", role="writer")
    lock.release()


def test_release_lets_the_next_one_in_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(3):
        lock = ProcessLock(tmp_path / "x.lock", role="writer")
        lock.release()
        lock.release()


def test_the_lock_dies_with_a_holder_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with start_holder(path) as holder:
        assert first_line(holder) == "held"
        with pytest.raises(StreamInUseError):
            ProcessLock(path, role="writer")
        holder.kill()
        holder.wait(timeout=10)

    deadline = time.monotonic() + 5
    while True:
        try:
            lock = ProcessLock(path, role="writer")
            break
        except StreamInUseError:
            assert time.monotonic() < deadline, "the lock outlived its holder"
    lock.release()


def test_locks_on_different_files_do_not_touch_each_other(tmp_path: Path) -> None:
    locks = [ProcessLock(tmp_path / f"{name}.lock", role=name) for name in ("a", "b")]
    for lock in locks:
        lock.release()
