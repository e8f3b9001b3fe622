"""Who is told what and when, beyond what the comparison with Alertmanager covers."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import jsonschema
import pytest
from inboxes import START, Inbox, Watch, finding, watching

from lake.errors import AlertNotFoundError, MonitorsUnavailableError, SilenceNotFoundError
from monitors.alert_store import AlertStore
from monitors.alerts import Outcome, RuleRun, RuleTerms, Severity, fingerprint
from monitors.engine import AlertEngine, Muted
from monitors.grouping import Reason, Subscription
from monitors.matchers import Matcher
from monitors.notification import text_of

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
STALE = fingerprint("stale_feed", {"exchange": "NSE"})
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "monitors" / "receivers" / "notification.schema.json").read_text("utf-8")
)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox("people")


@pytest.fixture
def watch(tmp_path: Path, inbox: Inbox) -> Iterator[Watch]:
    with watching(tmp_path, inbox) as made:
        yield made


@pytest.fixture
def teams(tmp_path: Path) -> Iterator[Watch]:
    """The log, and three receivers that take different things."""
    boxes = [Inbox("log"), Inbox("data"), Inbox("trading"), Inbox("night")]
    subscriptions = [
        Subscription("log", reaches_people=False),
        Subscription("data", tags=("data",), minimum_severity=Severity.WARN),
        Subscription("trading", tags=("trading",), minimum_severity=Severity.WARN),
        Subscription("night", minimum_severity=Severity.CRITICAL, matchers=(Matcher.parse("exchange=NSE"),)),
    ]
    with watching(tmp_path, *boxes, subscriptions=subscriptions) as made:
        yield made


def told(watch: Watch) -> dict[str, list[str]]:
    """What each receiver was told; forgotten afterwards."""
    found = {}
    for box in watch.boxes:
        found[box.name] = sorted(f"{reason} {rule}" for reason, rules in box.told for rule in rules)
        box.taken.clear()
    return {name: rules for name, rules in found.items() if rules}


def test_one_day_of_an_alert_is_told_of_when_it_begins_every_four_hours_and_when_it_ends(
    watch: Watch, inbox: Inbox
) -> None:
    times: list[int] = []
    for minute in range(0, 24 * 60, 5):
        watch.now = START + minute * MINUTE
        watch.run(finding())
        times += [minute] * (len(inbox.taken) - len(times))
    watch.run()
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [reason for reason, _ in inbox.told] == ["new", *["repeat"] * len(gaps), "resolved"]
    assert all(240 <= gap <= 246 for gap in gaps), gaps
    assert len(gaps) == 5


def test_an_acknowledged_alert_does_not_repeat_until_it_gets_worse(watch: Watch, inbox: Inbox) -> None:
    watch.run(finding())
    watch.engine.acknowledge(watch.now, STALE[:6], author="asha", comment="looking into it")
    for _ in range(30):
        watch.now += HOUR
        watch.run(finding())
    assert [reason for reason, _ in inbox.told] == ["new"]
    watch.run(finding(severity=Severity.CRITICAL))
    assert inbox.told[-1][0] == "worse"
    watch.now += 5 * HOUR
    watch.run(finding(severity=Severity.CRITICAL))
    assert inbox.told[-1][0] == "repeat"
    watch.run()
    assert inbox.told[-1][0] == "resolved"
    watch.run(finding())
    assert inbox.told[-1][0] == "new", "an acknowledgement ends with its alert"
    assert len(inbox.taken) == 5


def test_an_acknowledged_alert_is_still_told_of_when_it_is_resolved(watch: Watch, inbox: Inbox) -> None:
    watch.run(finding())
    watch.engine.acknowledge(watch.now, STALE, author="asha")
    watch.run()
    assert [reason for reason, _ in inbox.told] == ["new", "resolved"]
    assert inbox.taken[-1].content["alerts"][0]["acknowledged"]["author"] == "asha"


@pytest.mark.parametrize("mark", ["", "zz", fingerprint("stale_feed", {"exchange": "BSE"})])
def test_what_does_not_fire_cannot_be_acknowledged(watch: Watch, mark: str) -> None:
    watch.run(finding())
    with pytest.raises(AlertNotFoundError):
        watch.engine.acknowledge(watch.now, mark, author="asha")


def test_held_alerts_are_not_repeated_and_are_told_of_when_they_end(watch: Watch, inbox: Inbox) -> None:
    watch.run(finding())
    for _ in range(17):
        watch.now += HOUR
        watch.run(outcome=Outcome.OFF)
    assert watch.engine.muted(watch.now)[STALE] == Muted(held=True)
    watch.run()
    assert [reason for reason, _ in inbox.told] == ["new", "resolved"]


def test_muted_says_by_what(watch: Watch) -> None:
    watch.run(finding())
    silence = watch.engine.silence(
        watch.now, [Matcher.parse("rule=stale_feed")], ends_at=watch.now + HOUR, author="me", comment="x"
    )
    assert watch.engine.muted(watch.now)[STALE].silences == (silence.id,)
    watch.engine.expire_silence(watch.now, silence.id)
    assert not watch.engine.muted(watch.now)[STALE]
    with pytest.raises(SilenceNotFoundError):
        watch.engine.expire_silence(watch.now, silence.id)


def test_tags_severity_and_matchers_say_who_is_told(teams: Watch) -> None:
    teams.run(finding(tags=("data",)))
    assert told(teams) == {"log": ["new stale_feed"], "data": ["new stale_feed"]}
    teams.run(finding(tags=("data",), severity=Severity.CRITICAL))
    worse = {name: ["worse stale_feed"] for name in ("log", "data")}
    assert told(teams) == {**worse, "night": ["new stale_feed"]}
    # Who was told of the worst is told of the end, however mild it was by then.
    teams.run(finding(tags=("data",), severity=Severity.INFO))
    teams.run()
    assert told(teams) == {name: ["resolved stale_feed"] for name in ("log", "data", "night")}
    teams.run(finding(severity=Severity.WARN))
    assert told(teams) == {name: ["new stale_feed"] for name in ("log", "data", "trading")}


def test_an_alert_that_no_receiver_takes_is_an_alert_to_all(teams: Watch) -> None:
    teams.run(finding(severity=Severity.INFO))
    people = ("data", "trading", "night")
    assert told(teams) == {
        "log": ["new no_receiver", "new stale_feed"],
        **{name: ["new no_receiver"] for name in people},
    }
    teams.run()
    assert told(teams) == {
        "log": ["resolved no_receiver", "resolved stale_feed"],
        **{name: ["resolved no_receiver"] for name in people},
    }


def test_a_check_that_was_overtaken_changes_nothing(watch: Watch) -> None:
    watch.run(finding())
    runs = [RuleRun(RuleTerms("stale_feed"), "NSE")]
    assert watch.engine.observe(START - MINUTE, [], runs) == []
    assert [alert.state.value for alert in watch.engine.alerts()] == ["firing"]
    assert watch.engine.last_runs()["stale_feed", "NSE"] == (START, Outcome.EVALUATED, "")


def test_a_new_process_goes_on_where_the_last_one_ended(watch: Watch, inbox: Inbox) -> None:
    watch.check(finding())
    with AlertStore(watch.store.path) as store:
        again = AlertEngine(store, [Subscription("people")])
        assert again.notify(watch.now) == [], "it is in the outbox already"
        assert [alert.fingerprint for alert in again.alerts()] == [STALE]
    watch.deliver()
    assert [reason for reason, _ in inbox.told] == ["new"]


def test_a_receiver_that_is_new_hears_of_what_fires_already(watch: Watch) -> None:
    watch.run(finding())
    engine = AlertEngine(watch.store, [Subscription("people"), Subscription("late")])
    engine.observe(watch.now, [finding()], [RuleRun(RuleTerms("stale_feed"), "NSE")])
    assert [(e.receiver, e.reason) for e in engine.notify(watch.now)] == [("late", Reason.NEW)]


def test_alerts_of_retired_rules_are_resolved_and_told_of(watch: Watch, inbox: Inbox) -> None:
    watch.run(finding())
    watch.engine.retire(watch.now, ["another"])
    watch.run(rules=["another"])
    assert [reason for reason, _ in inbox.told] == ["new", "resolved"]


def test_every_payload_keeps_its_schema_and_is_json(watch: Watch, inbox: Inbox) -> None:
    odd = {"values": [math.nan, math.inf, -math.inf, 1.5], "day": date(2026, 11, 25), "by": {1: Reason.NEW}}
    watch.run(finding(evidence=odd, runbook="stale_feed"), finding("drift", severity=Severity.INFO))
    watch.run(finding("drift"))
    watch.engine.acknowledge(watch.now, fingerprint("drift", {"exchange": "NSE"}), author="ä", comment="ü")
    watch.run(rules=["drift"])
    watch.run(outcome=Outcome.NO_DATA)
    watch.engine.enqueue_test(watch.now, "people")
    watch.deliver()
    assert {n.content["reason"] for n in inbox.taken} >= {"new", "worse", "resolved"}
    for notification in inbox.taken:
        content = json.loads(notification.payload, parse_constant=pytest.fail)
        jsonschema.validate(content, SCHEMA, cls=jsonschema.Draft202012Validator)
        assert content["key"] == notification.key
    evidence = next(
        a["evidence"] for n in inbox.taken for a in n.content["alerts"] if a["rule"] == "stale_feed"
    )
    assert evidence == {"values": ["nan", "inf", "-inf", 1.5], "day": "2026-11-25", "by": {"1": "new"}}


def test_the_schema_refuses_what_is_not_a_notification(watch: Watch, inbox: Inbox) -> None:
    watch.run(finding())
    content = dict(inbox.taken[0].content)
    for key in list(content):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({k: v for k, v in content.items() if k != key}, SCHEMA)


def test_the_text_says_what_since_when_how_to_see_it_and_what_to_do(watch: Watch, inbox: Inbox) -> None:
    evidence = {"command": "strikelake sql 'SELECT 1'"}
    symbols = [f"S{number:02}" for number in range(12)]
    watch.run(*(finding(labels={"symbol": s}, evidence=evidence, runbook="stale_feed") for s in symbols))
    content = inbox.taken[0].content
    assert content["title"] == "WARN NSE: 12 alerts: stale_feed"
    parts = text_of(content).split("\n\n")
    assert parts[0].splitlines() == [
        "WARN NSE: stale_feed found",
        "since 2026-11-25T04:00:00.000Z",
        "see it again: strikelake sql 'SELECT 1'",
        "what to do: strikelake monitors runbook stale_feed",
    ]
    assert parts[-1] == "... and 2 more"


def test_a_store_of_a_newer_strikelake_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "monitors.db"
    with AlertStore(path) as store, store.transaction() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(MonitorsUnavailableError, match="schema 99"):
        AlertStore(path)


def test_a_damaged_store_and_a_locked_one_are_said_to_be_so(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database" * 1000)
    with pytest.raises(MonitorsUnavailableError, match=r"damaged\.db"):
        AlertStore(damaged)
    with (
        AlertStore(tmp_path / "m.db") as one,
        AlertStore(tmp_path / "m.db", timeout_s=0.05) as other,
        one.transaction(),
        pytest.raises(MonitorsUnavailableError, match="locked"),
        other.transaction(),
    ):
        pass


def test_what_is_long_over_is_forgotten_and_what_fires_is_not(watch: Watch) -> None:
    watch.run(finding(), finding("drift"))
    watch.run(finding(), rules=["drift"])
    watch.now += timedelta(days=91)
    watch.run(finding())
    assert [alert.finding.rule for alert in watch.engine.alerts()] == ["stale_feed"]
    assert watch.store.rows("SELECT COUNT(*) FROM transitions") == [(0,)]
