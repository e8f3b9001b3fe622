"""Health: values and states of the rules, alerts with what they rest on, and what people do about them."""

from __future__ import annotations

import html
import re
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from health_lake import PLENTY, HealthLake, at, build
from page_server import Served, Visitor, noon, serving

from catalog.calendar import SessionCalendar
from monitors.alert_store import FILE_NAME, AlertStore
from monitors.alerts import AlertState
from monitors.dashboard.alert_look import read_alerts
from monitors.dashboard.runbook_html import runbook_html
from monitors.dashboard.security import Access
from monitors.rules import load_rules, runbook_sections
from monitors.service import Service


def stopped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The feed of NSE stopped half an hour before noon."""
    return [row for row in rows if row["exchange"] != "NSE" or row["event_time"] < at(11, 30)]


def alerted(folder: Path) -> HealthLake:
    """A lake whose feed stopped, after a check that found it."""
    made = build(folder, change=stopped)
    made.further = {"alerts_log": folder / "alerts.log"}
    service = Service(
        made.settings, SessionCalendar.load(), load_rules(), disk_usage=lambda _: PLENTY, clock=noon
    )
    assert service.check().standing.firing
    return made


@pytest.fixture(scope="module")
def alerted_lake(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    """Tests get copies of it."""
    return alerted(tmp_path_factory.mktemp("alerted"))


@pytest.fixture
def broken(alerted_lake: HealthLake, tmp_path: Path) -> HealthLake:
    shutil.copytree(alerted_lake.folder, tmp_path, dirs_exist_ok=True)
    return HealthLake(tmp_path, {"alerts_log": tmp_path / "alerts.log"})


@pytest.fixture
def served(broken: HealthLake) -> Iterator[Served]:
    with serving(broken.settings, clock=noon) as page:
        yield page


def shown(served: Served) -> str:
    """The page once its rules are judged."""
    end = time.monotonic() + 60
    with served.client() as client:
        while time.monotonic() < end:
            text = client.get("/health").text
            if "being judged" not in text:
                return text
            time.sleep(0.05)
    raise AssertionError("the rules were never judged")


def fingerprint_of(made: HealthLake, rule: str) -> str:
    found = read_alerts(made.settings, load_rules(), SessionCalendar.load(), noon())
    (mark,) = [one.fingerprint for one in found.active if one.finding.rule == rule]
    return mark


def test_every_rule_of_every_exchange_has_a_line(served: Served) -> None:
    text = shown(served)
    for rule in load_rules().rules.values():
        if rule.enabled:
            assert text.count(f">{rule.name}<") >= len(rule.exchanges), rule.name


def test_a_value_stands_beside_its_threshold_and_state(served: Served) -> None:
    text = shown(served)
    card = text.partition('id="health-NSE"')[2].partition("</article>")[0]
    row = next(
        one for one in re.findall(r"<tr [^>]*data-state.*?</tr>", card, re.DOTALL) if ">feed_stale<" in one
    )
    # The last chain before 11:30 is of 11:29; noon is twenty seconds past.
    assert "31 m 20 s" in row
    assert "8 m 00 s" in row
    assert 'data-state="bad"' in row
    assert "critical" in row


def test_the_course_of_a_metric_is_drawn(served: Served) -> None:
    text = shown(served)
    card = text.partition('id="health-NSE"')[2].partition("</article>")[0]
    row = next(
        one for one in re.findall(r"<tr [^>]*data-state.*?</tr>", card, re.DOTALL) if ">rows_dropped<" in one
    )
    assert "<polyline" in row


def test_an_alert_shows_its_evidence_and_runbook(served: Served, broken: HealthLake) -> None:
    text = html.unescape(shown(served))
    mark = fingerprint_of(broken, "feed_stale")
    alert = text.partition(f'id="alert-{mark}"')[2].partition("The SQL that found it")[0]
    assert "no chain for 1880 s" in alert
    assert "option_chain-000000000001" in alert  # the batch of the newest chain
    assert "strikelake --root" in alert
    assert "Halt auto-execution" in alert
    assert "SELECT" in alert


def test_who_has_seen_an_alert_is_kept_and_shown(served: Served, broken: HealthLake) -> None:
    mark = fingerprint_of(broken, "feed_stale")
    with served.visitor() as visitor:
        answer = visitor.send("/health/acknowledge", fingerprint=mark, comment="<b>restarting</b>")
    assert answer.status_code == 200
    assert "&lt;b&gt;restarting&lt;/b&gt;" in answer.text
    with AlertStore(broken.settings.root / FILE_NAME) as store:
        (alert,) = [one for one in store.alerts() if one.fingerprint == mark]
    assert alert.acknowledgement is not None
    assert alert.acknowledgement.comment == "<b>restarting</b>"
    assert alert.acknowledgement.author


def test_a_silence_mutes_this_alert_and_can_be_ended(served: Served, broken: HealthLake) -> None:
    mark = fingerprint_of(broken, "feed_stale")
    with served.visitor() as visitor:
        answer = visitor.send("/health/silence", fingerprint=mark, length="1h", comment="exchange halt")
        assert "exchange halt" in answer.text
        alerts = read_alerts(broken.settings, load_rules(), SessionCalendar.load(), noon())
        (silence,) = alerts.silences
        assert silence.ends_at == noon() + timedelta(hours=1)
        assert alerts.muted[mark].silences == (silence.id,)
        others = [why for one, why in alerts.muted.items() if one != mark]
        assert not any(why.silences for why in others)
        ended = visitor.send("/health/end-silence", id=silence.id)
        assert "exchange halt" not in ended.text
    after = read_alerts(broken.settings, load_rules(), SessionCalendar.load(), noon() + timedelta(seconds=1))
    assert after.silences == ()
    assert not after.muted[mark].silences


@pytest.mark.parametrize(
    ("path", "form", "told"),
    [
        ("/health/acknowledge", {"fingerprint": "nothing"}, "no pending or firing alert"),
        ("/health/acknowledge", {}, "pending or firing alert"),
        ("/health/silence", {"fingerprint": "nothing", "length": "1h", "comment": "x"}, "this alert is over"),
        ("/health/end-silence", {"id": "nothing"}, "there is no silence"),
    ],
)
def test_what_cannot_be_done_is_said(served: Served, path: str, form: dict[str, str], told: str) -> None:
    with served.visitor() as visitor:
        answer = visitor.send(path, **form)
    assert answer.status_code == 200
    assert told in html.unescape(answer.text)


@pytest.mark.parametrize(
    ("length", "comment", "told"),
    [
        ("", "x", "duration"),
        ("99d", "x", "longer than"),
        ("-1h", "x", "duration"),
        ("1h", " ", "needs the comment"),
        ("1h", "x" * 501, "500 characters"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(
    served: Served, broken: HealthLake, length: str, comment: str, told: str
) -> None:
    mark = fingerprint_of(broken, "feed_stale")
    with served.visitor() as visitor:
        answer = visitor.send("/health/silence", fingerprint=mark, length=length, comment=comment)
    assert told in html.unescape(answer.text)
    assert answer.status_code == 200  # the card, with what was wrong in it
    assert 'id="health-alerts"' in answer.text
    assert read_alerts(broken.settings, load_rules(), SessionCalendar.load(), noon()).silences == ()


def test_whom_the_proxy_names_is_the_author(broken: HealthLake) -> None:
    access = Access(proxy_header="X-Forwarded-User")
    mark = fingerprint_of(broken, "feed_stale")
    asha = {"x-forwarded-user": "asha"}
    with serving(broken.settings, clock=noon, access=access) as served, served.client(headers=asha) as client:
        Visitor(client).send("/health/acknowledge", fingerprint=mark, comment="seen")
    with AlertStore(broken.settings.root / FILE_NAME) as store:
        (alert,) = [one for one in store.alerts() if one.fingerprint == mark]
    assert alert.acknowledgement is not None
    assert alert.acknowledgement.author == "asha"


def test_without_a_monitor_no_alert_is_not_called_health(page: Served, made: HealthLake) -> None:
    text = html.unescape(shown(page))
    assert "no monitor has run on this lake" in text
    assert "nobody would be told" in text
    assert "no alert fires" not in text
    assert not (made.settings.root / FILE_NAME).exists()  # looking makes nothing


def test_alerts_that_cannot_be_read_are_not_called_health(broken: HealthLake) -> None:
    for file in broken.settings.root.glob(f"{FILE_NAME}*"):
        file.write_bytes(b"this is no database, and long enough to be looked at as one" * 40)
    with serving(broken.settings, clock=noon) as served:
        text = html.unescape(shown(served))
    assert "alerts cannot be read" in text
    assert "no alert fires" not in text


def test_an_alert_of_a_firing_state_is_in_the_line_on_every_page(served: Served) -> None:
    with served.client() as client:
        for path in ("/", "/lake"):
            strip = client.get(path).text.partition('id="strip"')[2].partition("</header>")[0]
            assert "1 critical" in strip


def test_every_section_of_the_runbook_is_whole_as_html() -> None:
    for name, text in runbook_sections().items():
        made = str(runbook_html(text))
        assert "```" not in made, name
        assert "**" not in made, name
        words = re.findall(r"\w+", re.sub(r"```\w*", "", text))
        assert re.findall(r"\w+", html.unescape(re.sub(r"<[^>]+>", " ", made))) == words, name


def test_the_runbook_is_escaped() -> None:
    assert "<script>" not in runbook_html("a <script> **<b>** `<i>`\n\n```\n<script>\n```\n- <u>\n")


def test_the_alerts_that_the_monitor_keeps_are_those_shown(served: Served, broken: HealthLake) -> None:
    with AlertStore(broken.settings.root / FILE_NAME) as store:
        firing = [one for one in store.alerts() if one.state is AlertState.FIRING]
    text = shown(served)
    assert text.count('<details class="alert') == len(firing)
