"""Apprise receivers, proven at real servers: mail with a login, MQTT, IRC. And a notifier that is killed."""

from __future__ import annotations

import json
import os
import socket
import ssl  # noqa: F401 - aiosmtpd imports it within a thread, which is slow under load
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from alerting import MINUTE, Alerting
from http_sink import http_sink
from local_program import accepts, free_port, program, running

from monitors.alert_store import AlertStore
from monitors.receivers.apprise_receiver import AppriseReceiver, check_urls

PASSWORD = "c4n4ry-s3cr3t"  # noqa: S105 - of a server that a test starts
NO_TLS = "ignore:Requiring AUTH while not requiring TLS:UserWarning"


@pytest.fixture
def alerting(tmp_path: Path) -> Alerting:
    return Alerting(tmp_path / "monitors.db", ["a"])


class MailServer:
    """A mail server that asks for a login."""

    def __init__(self) -> None:
        from aiosmtpd.controller import Controller
        from aiosmtpd.smtp import AuthResult, LoginPassword

        self.mails: list[EmailMessage] = []

        def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
            del server, session, envelope, mechanism
            known = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
            return AuthResult(success=known)

        self.controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), authenticator=login, auth_required=True,
            auth_require_tls=False,
        )  # fmt: skip

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name there
        del server, session
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.controller.start()
    yield server
    server.controller.stop()


def mail_url(server: MailServer, password: str = PASSWORD) -> str:
    return (
        f"mailto://desk:{password}@127.0.0.1:{server.controller.port}"
        "/?from=lake@example.com&to=desk@example.com&mode=insecure"
    )


@pytest.mark.filterwarnings(NO_TLS)
def test_a_mail_arrives_with_what_to_do(alerting: Alerting, mail_server: MailServer) -> None:
    receiver = AppriseReceiver(mail_url(mail_server), name="a")
    check_urls([receiver])
    alerting.check("feed")

    done = alerting.send(receiver)

    assert done.failed == {}
    (mail,) = mail_server.mails
    body = mail.get_body(("plain", "html"))
    assert body is not None
    text = body.get_content()
    assert mail["Subject"] == "CRITICAL NSE: feed is in breach"
    assert "strikelake monitors runbook feed" in text
    assert "see it again: strikelake sql" in text


@pytest.mark.filterwarnings(NO_TLS)
def test_a_wrong_password_is_a_failure_and_is_not_shown(alerting: Alerting, mail_server: MailServer) -> None:
    receiver = AppriseReceiver(mail_url(mail_server, "wr0ng-s3cr3t"), name="a")
    alerting.check("feed")

    done = alerting.send(receiver)

    assert mail_server.mails == []
    assert "a" in done.failed
    assert "wr0ng-s3cr3t" not in done.failed["a"] + repr(receiver)
    assert b"wr0ng-s3cr3t" not in alerting.path.read_bytes()


def test_a_message_arrives_at_a_real_mqtt_broker(alerting: Alerting, tmp_path: Path) -> None:
    import paho.mqtt.client as mqtt

    port = free_port()
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    command = [program("mosquitto", "mosquitto"), "-c", settings]
    got: list[str] = []
    subscribed, arrived = threading.Event(), threading.Event()

    def keep(client: Any, data: Any, message: Any) -> None:
        got.append(message.payload.decode())
        arrived.set()

    with running(command, tmp_path / "mosquitto.log", accepts(port)):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_message = keep
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", port)
        client.subscribe("desk/alerts", qos=1)
        client.loop_start()
        assert subscribed.wait(10)
        alerting.check("feed")
        done = alerting.send(AppriseReceiver(f"mqtt://127.0.0.1:{port}/desk/alerts?qos=1", name="a"))
        assert arrived.wait(10)
        client.loop_stop()
        client.disconnect()

    assert done.failed == {}
    assert len(got) == 1
    assert "feed is in breach" in got[0]


class IrcListener:
    """A client that stays in a channel and keeps what is said there."""

    def __init__(self, port: int, channel: str) -> None:
        self.said: list[str] = []
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._send("NICK listener\r\nUSER listener 0 * :listener\r\n")
        self._file = self._socket.makefile("r", encoding="utf-8", errors="replace", newline="\r\n")
        self._until(" 001 ")
        self._send(f"JOIN {channel}\r\n")
        self._until(" 366 ")

    def _send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def _until(self, what: str) -> str:
        for line in self._file:
            if line.startswith("PING"):
                self._send(line.replace("PING", "PONG", 1))
            if what in line:
                return line
        raise AssertionError(f"the server closed before {what!r}")

    def next_said(self) -> str:
        return self._until(" PRIVMSG ")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_a_message_arrives_at_a_real_irc_server(alerting: Alerting, tmp_path: Path) -> None:
    port = free_port()
    settings = tmp_path / "ngircd.conf"
    settings.write_text(
        f"[Global]\nName = irc.example.net\nInfo = test\nListen = 127.0.0.1\nPorts = {port}\n"
        "MotdPhrase = hello\n[Options]\nIdent = no\nPAM = no\nDNS = no\n[Limits]\nMaxPenaltyTime = 0\n",
        encoding="utf-8",
    )
    command = [program("ngircd", "ngircd"), "-n", "-f", settings]
    with running(command, tmp_path / "ngircd.log", accepts(port)):
        listener = IrcListener(port, "#desk")
        alerting.check("feed")
        url = f"irc://lake@127.0.0.1:{port}/%23desk?join=yes"
        done = alerting.send(AppriseReceiver(url, name="a", deadline_s=60))
        said = listener.next_said()
        listener.close()

    assert done.failed == {}
    assert "feed is in breach" in said


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from alerting import MINUTE, Alerting
    from monitors import dispatch, outbox, engine
    from monitors.receivers.webhook import Webhook

    step, path, url = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    def after(owner, name):
        real = getattr(owner, name)
        def run(*args, **kwargs):
            done = real(*args, **kwargs)
            die()
        setattr(owner, name, run)

    def before(owner, name):
        setattr(owner, name, die)

    {
        "before evaluating": lambda: before(engine.AlertEngine, "observe"),
        "after evaluating": lambda: after(engine.AlertEngine, "observe"),
        "before the outbox is written": lambda: before(outbox.Outbox, "enqueue"),
        "within the transaction of the outbox": lambda: after(outbox.Outbox, "enqueue"),
        "after the outbox is written": lambda: after(engine.AlertEngine, "notify"),
        "after the lease": lambda: after(outbox.Outbox, "lease"),
        "before sending": lambda: after(outbox.Outbox, "take"),
        "after sending": lambda: after(Webhook, "send"),
        "after it was noted": lambda: after(outbox.Outbox, "delivered"),
        "never": lambda: None,
    }[step]()
    alerting = Alerting(path, ["a"])
    alerting.check("feed")
    alerting.send(Webhook(url, name="a"))
    """
)
STEPS = (
    "before evaluating", "after evaluating", "before the outbox is written",
    "within the transaction of the outbox", "after the outbox is written", "after the lease",
    "before sending", "after sending", "after it was noted", "never",
)  # fmt: skip


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGKILL; TerminateProcess is another test"
)
@pytest.mark.parametrize("step", STEPS)
def test_a_notifier_that_is_killed_at_any_step_tells_of_an_alert_at_least_once(
    tmp_path: Path, step: str
) -> None:
    path = tmp_path / "monitors.db"
    with http_sink() as sink:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", KILLED, step, str(path), f"{sink.url}/"]
        ended = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        assert (ended.returncode == 0) == (step == "never"), ended.stderr.decode()

        # The next one-shot runs, after the dead one's lease has ended.
        from monitors.receivers.webhook import Webhook

        alerting = Alerting(path, ["a"])
        for _ in range(3):
            alerting.now += 5 * MINUTE
            alerting.check("feed")
            alerting.send(Webhook(f"{sink.url}/", name="a"))
        told = [json.loads(request.body) for request in sink.requests]

    # Only a death between the receiver's taking and our noting it sends twice, under one key.
    assert len(told) == (2 if step == "after sending" else 1)
    assert len({notification["key"] for notification in told}) == 1
    with AlertStore(path) as store:
        assert store.rows("SELECT DISTINCT state FROM outbox") == [("delivered",)]
