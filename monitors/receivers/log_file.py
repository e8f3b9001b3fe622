"""The alert log: one JSON line an alert, in a file that is rotated by size.

A line has `time` (when the notification was made), `exchange`, `severity`, `message`, `metrics` (the values
of the evidence), and more of the alert. By its `key` and `fingerprint` a reader tells whether it has it
already; so do we.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lake.durability import fsync_directory
from monitors.notification import Notification
from monitors.outbox import Failure
from monitors.plain_json import json_text


class LogFile:
    """Appends to `logs/alerts.log`, synced before it counts as delivered.

    Older files are `alerts.log.1` (the newest) and so on. The lease on the receiver keeps two processes from
    writing at once. A notification that may be there already is looked for and not written twice.
    """

    deadline_s = 10.0

    def __init__(
        self, path: Path, *, name: str = "log", rotate_bytes: int = 10_000_000, kept_files: int = 5
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            path: The file.
            name: Name of the receiver.
            rotate_bytes: A file that has reached this is rotated before the next lines.
            kept_files: Older files that are kept.
        """
        self.path, self.name = path, name
        self._rotate_bytes, self._kept_files = rotate_bytes, kept_files

    def __repr__(self) -> str:
        return f"LogFile({str(self.path)!r})"

    def send(self, notification: Notification) -> Failure | None:
        """Append the lines of a notification that are not there yet."""
        try:
            self._write(notification)
        except OSError as error:
            return Failure(f"{self.path}: {error.strerror or error}", may_have_arrived=True)
        return None

    def _write(self, notification: Notification) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(self.path)
        there = set(self._written(notification.key)) if notification.in_doubt else set()
        lines = [line for line in _lines(notification) if line["fingerprint"] not in there]
        if not lines:
            return
        if self.path.exists() and self.path.stat().st_size >= self._rotate_bytes:
            self._rotate()
        is_new = not self.path.exists()
        with self.path.open("ab") as file:
            file.write("".join(json_text(line) + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            fsync_directory(self.path.parent)

    def _written(self, key: str) -> Iterator[str]:
        """Fingerprints that the newest two files have of a notification."""
        for path in (self.path, self._older(1)):
            if not path.exists():
                continue
            with path.open(encoding="utf-8", errors="replace") as file:
                for text in file:
                    if key in text:
                        line = json.loads(text)
                        if line["key"] == key:
                            yield str(line["fingerprint"])

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _rotate(self) -> None:
        for number in range(self._kept_files - 1, 0, -1):
            if self._older(number).exists():
                self._older(number).replace(self._older(number + 1))
        if self._kept_files:
            self.path.replace(self._older(1))
        else:
            self.path.unlink()
        fsync_directory(self.path.parent)


def _lines(notification: Notification) -> Iterator[dict[str, Any]]:
    content = notification.content
    for alert in content["alerts"]:
        yield {
            "time": content["made_at"],
            "exchange": alert["labels"]["exchange"],
            "severity": alert["severity"],
            "message": alert["summary"],
            "status": alert["status"],
            "reason": content["reason"],
            "rule": alert["rule"],
            "labels": alert["labels"],
            "value": alert["value"],
            "metrics": alert["evidence"].get("values", {}),
            "starts_at": alert["starts_at"],
            "ends_at": alert["ends_at"],
            "key": notification.key,
            "fingerprint": alert["fingerprint"],
        }


def _cut_torn_line(path: Path) -> None:
    """Remove a last line that a death within a write left unfinished; its notification is sent again."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        keep, block = end, 4096
        while keep > 0:
            start = max(0, keep - block)
            file.seek(start)
            found = file.read(keep - start).rfind(b"\n")
            if found >= 0:
                keep = start + found + 1
                break
            keep = start
        if keep < end:
            file.truncate(keep)
            file.flush()
            os.fsync(file.fileno())
