"""The process that runs Apprise, see `apprise_receiver`: an order as JSON on standard input, one answer out.

Nothing that Apprise or its plugins log, print or raise leaves this process, but a number that looks like an
HTTP status.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from typing import Any

_STATUS = re.compile(r"\berror=(\d{3})\b")


class _Statuses(logging.Handler):
    """Remembers the last HTTP status that was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.last: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Look for `error=429`, which is how the plugins write it."""
        found = _STATUS.search(record.getMessage())
        if found:
            self.last = int(found[1])


def _apprise() -> Any:
    """An Apprise that follows no redirects, loads no pictures, writes no files and starts no programs."""
    import apprise

    asset = apprise.AppriseAsset(
        app_id="strikelake",
        app_desc="strikelake alerts",
        app_url="",
        http_redirects=False,
        image_url_mask="",
        image_url_logo="",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        plugin_paths=[],
    )
    return apprise.Apprise(asset=asset)


def check(order: dict[str, Any]) -> dict[str, Any]:
    """Which URLs Apprise knows."""
    return {"known": [bool(_apprise().add(url)) for url in order["urls"]]}


def send(order: dict[str, Any]) -> dict[str, Any]:
    """Send one notification, and say how that ended."""
    client = _apprise()
    if not client.add(order["url"]):
        return {"outcome": "UNKNOWN_URL"}
    statuses = _Statuses()
    logger = logging.getLogger("apprise")
    logger.addHandler(statuses)
    logger.setLevel(logging.WARNING)
    result = client.notify(
        body=order["body"], title=order["title"], notify_type=order["type"], body_format="text",
        timeout=order["timeout"],
    )  # fmt: skip
    return {"outcome": result.status.name, "status": statuses.last}


def main() -> None:
    """Do one order, and end without waiting for threads that Apprise gave up."""
    logging.raiseExceptions = False
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    task = {"check": check, "send": send}[sys.argv[1]]
    code = 0
    try:
        answer = json.dumps(task(json.load(sys.stdin)))
        os.write(answers, answer.encode())
    except BaseException:  # noqa: BLE001 - a traceback may have secrets in it
        code = 1
    os._exit(code)


if __name__ == "__main__":
    main()
