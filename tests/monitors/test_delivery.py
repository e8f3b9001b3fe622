"""Each notification reaches each receiver: at least once, in order, and never twice but in doubt."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
from alerting import HOURS, START, Alerting, Recorder
from http_sink import Answer, HttpSink, http_sink
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import SettingsError
from lake.settings import load_settings
from monitors import receivers
from monitors.alert_store import AlertStore
from monitors.outbox import Failure, Outbox, RetryTerms
from monitors.receivers.apprise_receiver import AppriseReceiver, check_urls
from monitors.receivers.configured import configured_receivers
from monitors.receivers.log_file import LogFile
from monitors.receivers.retry_after import retry_after
from monitors.receivers.webhook import MOST_ANSWER_BYTES, Webhook

MINUTE = timedelta(minutes=1)
DOWN = Failure("down")
SCHEMA = json.loads(
    (Path(str(receivers.__file__)).parent / "notification.schema.json").read_text(encoding="utf-8")
)
CANARY = "c4n4ry-s3cr3t"


@pytest.fixture
def alerting(tmp_path: Path) -> Alerting:
    return Alerting(tmp_path / "monitors.db", ["a", "b"])


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as server:
        yield server


def keys(recorder: Recorder) -> list[str]:
    return [notification.key for notification in recorder.taken]


def test_a_notification_is_sent_once_to_each_receiver_and_then_no_more(alerting: Alerting) -> None:
    a, b = Recorder("a"), Recorder("b")
    alerting.check("feed")
    alerting.send(a, b)
    for _ in range(5):
        alerting.now += MINUTE
        alerting.check("feed")
        alerting.send(a, b)

    assert len(a.taken) == len(b.taken) == 1
    assert keys(a) != keys(b)


def test_it_is_repeated_after_the_repeat_interval_and_not_before(alerting: Alerting) -> None:
    a, b = Recorder("a"), Recorder("b")
    at: list[datetime] = []
    for _ in range(10 * 12):
        alerting.check("feed")
        before = len(a.taken)
        alerting.send(a, b)
        at += [alerting.now] * (len(a.taken) - before)
        alerting.now += 5 * MINUTE

    # As with Alertmanager, at the first look after the interval has gone by.
    assert at == [START, START + HOURS + 5 * MINUTE, START + 2 * HOURS + 10 * MINUTE]
    assert [n.content["reason"] for n in a.taken] == ["new", "repeat", "repeat"]


def test_a_receiver_that_is_down_delays_no_other_and_gets_everything_in_order_later(
    alerting: Alerting,
) -> None:
    a, b = Recorder("a"), Recorder("b", failures=[DOWN] * 5)
    alerting.check("feed")
    alerting.send(a, b)
    alerting.now += 2 * MINUTE
    alerting.check("feed", "chain")
    alerting.send(a, b)
    alerting.now += 2 * MINUTE
    alerting.check("chain")
    alerting.send(a, b)
    for _ in range(10):
        alerting.now += 5 * MINUTE
        alerting.send(a, b)

    told_a = [(n.content["group"]["rule"], n.content["status"]) for n in a.taken]
    assert told_a == [("feed", "firing"), ("chain", "firing"), ("feed", "resolved")]
    assert [(n.content["group"]["rule"], n.content["status"]) for n in b.taken] == told_a


def test_waits_grow_to_a_limit_and_a_retry_after_is_kept(alerting: Alerting) -> None:
    alerting.terms = RetryTerms(
        first=10 * timedelta(seconds=1), longest=MINUTE, longest_retry_after=timedelta(minutes=10)
    )
    asked = timedelta(minutes=7)
    failures: list[Failure | Exception | None] = [DOWN] * 5
    failures += [Failure("busy", retry_after=asked), Failure("busy", retry_after=timedelta(days=9)), None]
    a = Recorder("a", failures=failures)
    alerting.check("feed")
    began, tries = alerting.now, []
    while not a.taken and alerting.now < began + timedelta(hours=1):
        before = len(a.tried)
        alerting.send(a)
        tries += [alerting.now] * (len(a.tried) - before)
        alerting.now += timedelta(seconds=5)

    waits = [(later - earlier).total_seconds() for earlier, later in pairwise(tries)]
    assert waits == [10, 20, 40, 60, 60, 420, 600]
    assert [n.attempt for n in a.tried] == list(range(1, 9))
    assert len({n.key for n in a.tried}) == 1


def test_what_was_given_up_is_an_alert_to_the_others(alerting: Alerting) -> None:
    alerting.terms = RetryTerms(give_up_after=timedelta(hours=2))
    a, b = Recorder("a"), Recorder("b", failures=[DOWN] * 1000)
    for _ in range(40):
        alerting.check("feed")
        alerting.send(a, b)
        alerting.now += 5 * MINUTE

    rules = [n.content["alerts"][0]["rule"] for n in a.taken]
    assert rules[0] == "feed"
    assert "receiver_failing" in rules
    assert "notification_given_up" in rules
    about = [n.content["alerts"][0] for n in a.taken if n.content["alerts"][0]["rule"] == "receiver_failing"]
    assert {alert["labels"]["receiver"] for alert in about} == {"b"}


def test_a_receiver_that_raises_shows_nothing_of_what_it_raised(
    alerting: Alerting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    a = Recorder("a", failures=[RuntimeError(f"https://x/{CANARY}")])
    alerting.check("feed")

    done = alerting.send(a)

    assert "RuntimeError" in done.failed["a"]
    assert CANARY not in caplog.text + done.failed["a"]
    alerting.now += MINUTE
    alerting.send(a)
    # The one that may have arrived says so.
    assert [n.in_doubt for n in a.tried] == [False, True]


def test_two_dispatchers_at_once_send_each_notification_once(alerting: Alerting) -> None:
    alerting.check("feed", "chain")
    gate = threading.Barrier(4)
    taken: list[str] = []

    class Slow(Recorder):
        def send(self, notification: object) -> Failure | None:
            time.sleep(0.02)
            return super().send(notification)  # type: ignore[arg-type]

    def run() -> None:
        receiver = Slow("a")
        gate.wait()
        alerting.send(receiver)
        taken.extend(keys(receiver))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == len(set(taken)) == 2


def test_a_receiver_that_hangs_is_left_behind_and_the_others_get_theirs(alerting: Alerting) -> None:
    hold = threading.Event()

    class Hanging(Recorder):
        def send(self, notification: object) -> Failure | None:
            del notification
            hold.wait(30)
            return None

    a, b = Recorder("a"), Hanging("b", deadline_s=0.0)
    alerting.check("feed")
    began = time.monotonic()
    thread = threading.Thread(target=lambda: alerting.send(a, b, budget_s=0.5))
    thread.start()
    while not a.taken and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert len(a.taken) == 1
    assert thread.is_alive()
    hold.set()
    thread.join()


def test_a_dead_dispatchers_lease_ends_and_what_it_sent_is_in_doubt(alerting: Alerting) -> None:
    alerting.check("feed")
    with AlertStore(alerting.path) as store:
        outbox = Outbox(store)
        lease = outbox.lease("a", alerting.now, MINUTE)
        assert lease is not None
        assert outbox.take("a", lease, alerting.now, MINUTE) is not None
    a = Recorder("a")
    alerting.send(a)
    assert a.tried == []
    alerting.now += 2 * MINUTE
    alerting.send(a)

    assert [(n.attempt, n.in_doubt) for n in a.taken] == [(2, True)]


@given(st.integers(1, 40), st.floats(0, 1), st.none() | st.integers(0, 10**6))
def test_a_delay_is_never_longer_than_its_limits_nor_shorter_than_half(
    failures: int, jitter: float, asked_s: int | None
) -> None:
    terms = RetryTerms()
    asked = None if asked_s is None else timedelta(seconds=asked_s)
    delay = terms.delay(failures, asked, jitter)

    assert terms.first / 2 <= delay <= max(terms.longest, terms.longest_retry_after)
    if asked is None:
        assert delay <= terms.longest


def test_the_alert_log_has_a_line_an_alert_and_is_rotated(alerting: Alerting, tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "alerts.log", name="a", rotate_bytes=2000, kept_files=2)
    for number in range(20):
        alerting.check(*(["feed"] if number % 2 == 0 else []))
        alerting.send(log)
        alerting.now += 2 * MINUTE

    files = sorted(path.name for path in log.path.parent.iterdir())
    assert files == ["alerts.log", "alerts.log.1", "alerts.log.2"]
    lines = [json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines()]
    assert {"time", "exchange", "severity", "message", "metrics"} <= set(lines[0])
    assert lines[-1]["status"] == "resolved"
    assert lines[-1]["message"] == "feed is in breach"
    assert lines[-1]["metrics"] == {"age_s": 7.0}


def test_a_line_torn_by_a_death_is_cut_and_one_that_is_there_is_not_written_twice(
    alerting: Alerting, tmp_path: Path
) -> None:
    log = LogFile(tmp_path / "alerts.log", name="a")
    a = Recorder("a")
    alerting.check("feed")
    alerting.send(a)
    (notification,) = a.taken
    assert log.send(notification) is None
    with log.path.open("ab") as file:
        file.write(b'{"time": "2026')
    again = type(notification)(notification.key, "a", notification.payload, 2, in_doubt=True)

    assert log.send(again) is None

    lines = log.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["key"] for line in lines] == [notification.key]


def test_the_webhook_posts_what_the_schema_says_with_the_token(alerting: Alerting, sink: HttpSink) -> None:
    hook = Webhook(f"{sink.url}/hook?x=1", CANARY, name="a", deadline_s=5)
    alerting.check("feed")
    alerting.send(hook)

    (request,) = sink.on("/hook?x=1")
    jsonschema.validate(request.json, SCHEMA)
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert headers["idempotency-key"] == request.json["key"]
    assert request.json["alerts"][0]["evidence"]["values"] == {"age_s": 7.0}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(500), "500 Internal Server Error"),
        (Answer(404, body=CANARY.encode()), "404 Not Found"),
        (Answer(302, {"Location": f"/{CANARY}"}), "redirects are not followed"),
        (Answer(manner="hang"), "no answer within 0.5 s"),
        (Answer(manner="drip head"), "no answer within 0.5 s"),
        (Answer(manner="drip body"), "no answer within 0.5 s"),
        (Answer(manner="garbage"), "the connection broke"),
        (Answer(manner="hang up"), "the connection broke"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_answer_is_a_failure_in_time_that_tells_no_secret(
    alerting: Alerting, sink: HttpSink, caplog: pytest.LogCaptureFixture, answer: Answer, told: str
) -> None:
    caplog.set_level(logging.DEBUG)
    sink.answer(f"/{CANARY}", answer)
    hook = Webhook(f"{sink.url}/{CANARY}", CANARY, name="a", deadline_s=0.5)
    alerting.check("feed")

    done = alerting.send(hook)

    assert told in done.failed["a"]
    stored = alerting.path.read_bytes()
    assert CANARY not in repr(hook) + done.failed["a"] + caplog.text
    assert CANARY.encode() not in stored
    assert len(sink.requests) == 1


def test_an_endless_answer_that_says_yes_is_read_to_a_limit(alerting: Alerting, sink: HttpSink) -> None:
    sink.answer("/", Answer(manner="endless"))
    alerting.check("feed")

    done = alerting.send(Webhook(f"{sink.url}/", name="a", deadline_s=20))

    assert MOST_ANSWER_BYTES < 10**6
    assert len(done.delivered["a"]) == 1


def test_a_refused_connection_is_a_failure_that_did_not_arrive(alerting: Alerting, sink: HttpSink) -> None:
    url = sink.url
    sink.close()
    alerting.check("feed")

    assert "no connection" in alerting.send(Webhook(f"{url}/", name="a")).failed["a"]
    alerting.now += MINUTE
    a = Recorder("a")
    alerting.send(a)
    assert [n.in_doubt for n in a.taken] == [False]


@pytest.mark.parametrize("dated", [False, True])
def test_a_webhook_that_is_busy_is_left_alone_for_as_long_as_it_asks(
    alerting: Alerting, sink: HttpSink, dated: bool
) -> None:
    until = START + timedelta(minutes=9)
    value = format_datetime(until, usegmt=True) if dated else "540"
    sink.answer("/", Answer(429, {"Retry-After": value}), Answer())
    hook = Webhook(f"{sink.url}/", name="a", clock=lambda: alerting.now)
    alerting.check("feed")
    alerting.send(hook)
    for _ in range(8):
        alerting.now += MINUTE
        alerting.send(hook)
    assert len(sink.requests) == 1
    alerting.now += MINUTE
    alerting.send(hook)

    assert len(sink.requests) == 2


@given(st.text(max_size=30))
def test_any_retry_after_is_a_wait_or_none(value: str) -> None:
    wait = retry_after(value, START)
    assert wait is None or wait >= timedelta(0)


def test_settings_name_the_entry_that_is_wrong_and_not_its_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (f"json://host/?+token={CANARY}", f"no url {CANARY}", f"xml://{CANARY}"):
        with pytest.raises(SettingsError) as caught:
            AppriseReceiver(url, name="desk")
        assert "desk" in str(caught.value)
        assert CANARY not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        check_urls([AppriseReceiver(f"nosuch://{CANARY}@host", name="desk")])
    assert CANARY not in str(caught.value)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"ftp://{CANARY}")
    settings = load_settings()
    assert CANARY not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        configured_receivers(settings)
    assert CANARY not in str(caught.value)
