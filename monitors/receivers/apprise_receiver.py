"""Any Apprise URL: Slack, Teams (`workflows://`), Telegram, e-mail, ntfy, MQTT ...

Apprise runs in a process of its own for each notification. Its plugins have no total deadline, and log URLs
and answers with secrets in them: a process can be ended, and what it logs goes nowhere. The URL goes there by
standard input, never as an argument.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from lake.errors import DeliveryError, SettingsError
from monitors.notification import Notification, text_of
from monitors.outbox import Failure
from monitors.plain_json import json_text

_CHILD = "monitors.receivers.apprise_child"
_OF_THE_WEBHOOK = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
_TYPES = {"INFO": "info", "WARN": "warning", "CRITICAL": "failure"}
_MOST_STATUS = 599


class AppriseReceiver:
    """Sends notifications as text to one Apprise URL.

    Guarantee: at least once, as far as Apprise and the service tell: some plugins (XMPP) report success
    where nothing arrived. So try each receiver out once, and look whether it came.
    """

    def __init__(self, url: str, *, name: str, deadline_s: float = 20.0) -> None:
        """Prepare; Apprise is asked whether it knows the URL by `check_urls`, and at each notification.

        Args:
            url: The Apprise URL, a secret.
            name: Name of the receiver.
            deadline_s: The longest that one attempt lasts.

        Raises:
            SettingsError: It is no URL, or a generic one that the webhook is for; it is not shown.
        """
        self.name, self.deadline_s = name, deadline_s
        scheme, found, rest = url.partition("://")
        if not found or not scheme.isascii() or not scheme.replace("-", "").isalnum() or not rest:
            raise SettingsError(f"receiver {name}: not an Apprise URL like mailto://... (not shown here)")
        if scheme.lower() in _OF_THE_WEBHOOK:
            raise SettingsError(
                f"receiver {name}: {scheme.lower()}:// shows its tokens in logs;"
                " use the webhook (ALERT_WEBHOOK_URL, ALERT_WEBHOOK_TOKEN)"
            )
        self._url = url

    def __repr__(self) -> str:
        return f"AppriseReceiver(name={self.name!r}, url=***)"

    def send(self, notification: Notification) -> Failure | None:
        """Send one notification by Apprise."""
        content = notification.content
        is_firing = content["status"] == "firing"
        order = {
            "url": self._url,
            "title": content["title"],
            "body": text_of(content),
            "type": _TYPES[content["severity"]] if is_firing else "success",
            # Apprise is to end by itself a little earlier than it is ended.
            "timeout": self.deadline_s * 0.9,
        }
        try:
            answer = _ask_child("send", order, self.deadline_s)
        except subprocess.TimeoutExpired:
            return Failure(f"no answer within {self.deadline_s:g} s", may_have_arrived=True)
        except DeliveryError as error:
            return Failure(str(error), may_have_arrived=True)
        return _judged(answer, self.deadline_s)


def check_urls(receivers: Sequence[AppriseReceiver], *, deadline_s: float = 30.0) -> None:
    """Ask Apprise whether it knows the URLs; takes about a second, and sends nothing.

    Raises:
        SettingsError: It does not take one of them; named, but not shown.
        DeliveryError: Apprise could not be started.
    """
    if not receivers:
        return
    urls = [receiver._url for receiver in receivers]
    try:
        answer = _ask_child("check", {"urls": urls}, deadline_s)
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"Apprise did not answer within {deadline_s:g} s") from None
    for receiver, known in zip(receivers, answer["known"], strict=True):
        if known is not True:
            raise SettingsError(
                f"receiver {receiver.name}: Apprise does not take its URL (not shown here); its forms are at"
                " https://appriseit.com/services/"
            )


def _judged(answer: dict[str, Any], deadline_s: float) -> Failure | None:
    outcome = answer.get("outcome")
    if outcome == "SUCCESS":
        return None
    if outcome == "UNKNOWN_URL":
        return Failure("Apprise does not take its URL; see strikelake monitors test-receivers")
    if outcome == "TIMEOUT":
        return Failure(f"no answer within {deadline_s * 0.9:g} s", may_have_arrived=True)
    status = answer.get("status")
    if isinstance(status, int) and 100 <= status <= _MOST_STATUS:
        return Failure(f"the service answered {status}", may_have_arrived=status >= 500)
    return Failure("the service did not take it, and Apprise does not say why", may_have_arrived=True)


def _ask_child(task: str, order: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    """Have the other process do something.

    Raises:
        subprocess.TimeoutExpired: It was ended at the deadline.
        DeliveryError: It did not answer; what it said is not shown, since it may contain secrets.
    """
    # Without -P, a file apprise.py in the working folder would be run.
    process = subprocess.Popen(  # noqa: S603 - nothing from outside is in the arguments
        [sys.executable, "-P", "-m", _CHILD, task],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip
    with process:
        try:
            told, _ = process.communicate(json_text(order).encode(), timeout=deadline_s)
        except BaseException:
            process.kill()
            raise
    try:
        answer = json.loads(told)
    except ValueError:
        answer = None
    if process.returncode or not isinstance(answer, dict):
        raise DeliveryError(f"the process that runs Apprise ended with code {process.returncode}")
    return answer
