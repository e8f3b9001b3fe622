"""A real Alertmanager, for tests that compare with it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from local_program import free_port, program, running


class Alertmanager:
    """What a test says to it, by its API v2."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:  # noqa: S310 - http://
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def post_alerts(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        self._call("POST", "alerts", list(alerts))

    def silence(
        self, matchers: Sequence[tuple[str, str, bool]], starts_at: datetime, ends_at: datetime
    ) -> str:
        """Matchers as (name, value, is it a regular expression); answers the id."""
        answer = self._call(
            "POST", "silences",
            {
                "matchers": [{"name": n, "value": v, "isRegex": r, "isEqual": True} for n, v, r in matchers],
                "startsAt": starts_at.isoformat(), "endsAt": ends_at.isoformat(),
                "createdBy": "a test", "comment": "a test",
            },
        )  # fmt: skip
        return str(answer["silenceID"])

    def expire(self, silence: str) -> None:
        self._call("DELETE", f"silence/{silence}", None)

    def _call(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 - http://
            f"{self._url}/api/v2/{path}", method=method, headers={"Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            told = answer.read()
        return json.loads(told) if told else None


@contextmanager
def alertmanager(folder: Path, configuration: Mapping[str, Any]) -> Iterator[Alertmanager]:
    """One that runs with a configuration."""
    found = program("prometheus-alertmanager", "prometheus-alertmanager")
    port = free_port()
    file = folder / "alertmanager.yml"
    # JSON is YAML.
    file.write_text(json.dumps(configuration), encoding="utf-8")
    server = Alertmanager(f"http://127.0.0.1:{port}")
    command = [
        found, f"--config.file={file}", f"--storage.path={folder / 'state'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with running(command, folder / "alertmanager.log", server.is_ready):
        yield server
