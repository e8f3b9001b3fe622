"""The same scripts through a real Alertmanager and through the alert engine: the same notifications.

All scripts run against one Alertmanager at the same time, each on a route of its own. What happened when is
noted, and the engine gets the same script by a virtual clock, at those very times. So a machine under load
moves both alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alertmanager import alertmanager
from http_sink import http_sink

from monitors.alert_store import AlertStore
from monitors.alerts import Finding, RuleRun, RuleTerms, Severity
from monitors.dispatch import dispatch
from monitors.engine import AlertEngine
from monitors.grouping import GroupTerms, Subscription
from monitors.inhibition import InhibitRule
from monitors.matchers import Matcher
from monitors.notification import Notification

EPOCH = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
NEVER_S = 3600.0
WAIT_S, INTERVAL_S = 1.0, 2.0
END_S = 14.0


@dataclass(frozen=True)
class Fire:
    rule: str
    exchange: str = "NSE"
    symbol: str = ""


@dataclass(frozen=True)
class Resolve(Fire):
    pass


@dataclass(frozen=True)
class Mute:
    """A silence of one rule, or by a regular expression."""

    rule: str
    lasts_s: float
    regex: bool = False


@dataclass(frozen=True)
class Expire:
    rule: str


Step = Fire | Resolve | Mute | Expire


@dataclass(frozen=True)
class Script:
    """What happens when, in seconds; looks are at 1, 3, 5 ... s after a group's first alert."""

    steps: Sequence[tuple[float, Step]]
    repeat_s: float = NEVER_S
    send_resolved: bool = True
    group_by: tuple[str, ...] = ("exchange", "rule")


FEED, CHAIN, DRIFT, PEER = "feed_down", "partial_chain", "drift", "peer_down"

SCRIPTS = {
    "fires, and is resolved": Script([(0, Fire(FEED)), (4, Resolve(FEED))]),
    "is resolved before anybody looks": Script([(0, Fire(DRIFT)), (0.4, Resolve(DRIFT))]),
    "others join its group": Script(
        [
            (0, Fire(DRIFT, symbol="NIFTY")), (2, Fire(DRIFT, symbol="BANKNIFTY")),
            (4, Resolve(DRIFT, symbol="NIFTY")), (8, Resolve(DRIFT, symbol="BANKNIFTY")),
        ]
    ),
    "goes on and is repeated": Script([(0, Fire(DRIFT)), (10, Resolve(DRIFT))], repeat_s=5),
    "news put the repeat off": Script(
        [(0, Fire(DRIFT)), (4, Fire(DRIFT, symbol="NIFTY"))], repeat_s=5
    ),
    "comes and goes between two looks": Script(
        [(0, Fire(DRIFT)), (1.6, Resolve(DRIFT)), (2.4, Fire(DRIFT)), (6, Resolve(DRIFT))]),
    "fires again in a group that is still there": Script(
        [(0, Fire(DRIFT)), (2, Resolve(DRIFT)), (6, Fire(DRIFT)), (8, Resolve(DRIFT))]),
    "is silenced before it fires": Script([(0, Mute(DRIFT, 5)), (0.5, Fire(DRIFT))]),
    "is silenced after it was told of": Script(
        [(0, Fire(DRIFT)), (2, Mute(DRIFT, 6)), (10, Resolve(DRIFT))], repeat_s=5
    ),
    "a silence is ended early": Script(
        [(0, Mute(DRIFT, 60)), (0.5, Fire(DRIFT)), (4, Expire(DRIFT))]),
    "one of two in a group is silenced": Script(
        [
            (0, Mute(CHAIN, 60)), (0.5, Fire(CHAIN)), (0.6, Fire(DRIFT)), (4, Resolve(CHAIN)),
            (6, Resolve(DRIFT)),
        ],
        group_by=("exchange",),
    ),
    "a silence by a regular expression": Script(
        [(0, Mute("par.*|dr..t", 60, regex=True)), (0.5, Fire(CHAIN)), (0.6, Fire(FEED, "BSE"))]),
    "is inhibited until the cause is resolved": Script(
        [(0, Fire(FEED)), (0.2, Fire(CHAIN)), (4, Resolve(FEED)), (8, Resolve(CHAIN))]),
    "is inhibited after it was told of": Script(
        [(0, Fire(CHAIN)), (2, Fire(FEED)), (6, Resolve(FEED)), (8, Resolve(CHAIN))]),
    "a cause on another exchange inhibits nothing": Script([(0, Fire(FEED)), (0.2, Fire(CHAIN, "BSE"))]),
    "a silenced cause inhibits all the same": Script(
        [(0, Mute(FEED, 60)), (0.3, Fire(FEED)), (0.5, Fire(CHAIN)), (6, Resolve(FEED))]),
    "two that would inhibit each other do not": Script(
        [(0, Fire(PEER, symbol="a")), (0.2, Fire(PEER, symbol="b"))]),
    "nobody is told when it is resolved": Script(
        [(0, Fire(DRIFT)), (2, Resolve(DRIFT)), (6, Fire(DRIFT))], send_resolved=False
    ),
    "resolved ones are not told of beside others": Script(
        [(0, Fire(DRIFT)), (0.1, Fire(DRIFT, symbol="NIFTY")), (2, Resolve(DRIFT))],
        repeat_s=5, send_resolved=False,
    ),
    "each exchange has its own group": Script(
        [(0, Fire(DRIFT)), (1.5, Fire(DRIFT, "BSE")), (4, Resolve(DRIFT))]),
}  # fmt: skip

DIFFERENT = {
    "is resolved under a silence, then fires again": Script(
        [(0, Fire(DRIFT)), (2, Mute(DRIFT, 4)), (4, Resolve(DRIFT)), (8, Fire(DRIFT))]),
    "is resolved under a silence beside another, then fires again": Script(
        [
            (0, Fire(DRIFT)), (0.2, Fire(FEED)), (2, Mute(DRIFT, 4)), (4, Resolve(DRIFT)), (8, Fire(DRIFT)),
        ],
        group_by=("exchange",),
    ),
}  # fmt: skip
"""Where we do otherwise on purpose."""

INHIBITIONS = [((FEED,), (CHAIN,)), ((PEER,), (PEER,))]


@dataclass
class Run:
    """What Alertmanager did, and when each step was really done."""

    told: dict[str, list[Any]] = field(default_factory=dict)
    steps: dict[str, list[tuple[float, Step]]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All scripts, played to a real Alertmanager at the same time."""
    scripts = list({**SCRIPTS, **DIFFERENT}.items())
    with http_sink() as sink:
        configuration = _configuration([script for _, script in scripts], sink.url)
        with alertmanager(tmp_path_factory.mktemp("alertmanager"), configuration) as server:
            run = _play(server, scripts)
        for number, (name, _) in enumerate(scripts):
            run.told[name] = [_of_alertmanager(request.json) for request in sink.on(f"/{number}")]
    return run


def _configuration(scripts: Sequence[Script], url: str) -> dict[str, Any]:
    routes = [
        {
            "receiver": str(number),
            "matchers": [f'script="{number}"'],
            "group_by": ["alertname" if name == "rule" else name for name in script.group_by],
            "group_wait": "1s", "group_interval": "2s", "repeat_interval": f"{int(script.repeat_s)}s",
        }
        for number, script in enumerate(scripts)
    ]  # fmt: skip
    hooks = [
        {
            "name": str(number),
            "webhook_configs": [{"url": f"{url}/{number}", "send_resolved": script.send_resolved}],
        }
        for number, script in enumerate(scripts)
    ]
    return {
        "global": {"resolve_timeout": "5m"},
        "route": {"receiver": "none", "routes": routes},
        "receivers": [{"name": "none"}, *hooks],
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname="{source}"'],
                "target_matchers": [f'alertname="{target}"'],
                "equal": ["exchange", "script"],
            }
            for (source,), (target,) in INHIBITIONS
        ],
    }


def _play(server: Any, scripts: Sequence[tuple[str, Script]]) -> Run:
    run = Run(steps={name: [] for name, _ in scripts})
    plan = sorted(
        ((at, number, step) for number, (_, script) in enumerate(scripts) for at, step in script.steps),
        key=lambda item: item[0],
    )
    started: dict[tuple[int, str, str, str], datetime] = {}
    silences: dict[tuple[int, str], str] = {}
    begin = time.monotonic()
    for at, number, step in plan:
        _sleep_until(begin + at)
        now = datetime.now(UTC)
        before = time.monotonic()
        if isinstance(step, Mute):
            matchers = [("script", str(number), False), ("alertname", step.rule, step.regex)]
            ends_at = now + timedelta(seconds=step.lasts_s)
            silences[number, step.rule] = server.silence(matchers, now, ends_at)
        elif isinstance(step, Expire):
            server.expire(silences[number, step.rule])
        else:
            labels = {"alertname": step.rule, "exchange": step.exchange, "script": str(number)}
            labels |= {"symbol": step.symbol} if step.symbol else {}
            key = (number, step.rule, step.exchange, step.symbol)
            alert: dict[str, Any] = {"labels": labels}
            if isinstance(step, Resolve):
                alert["endsAt"] = now.isoformat()
                alert["startsAt"] = started.pop(key).isoformat()
            else:
                started[key] = now
                alert["startsAt"] = now.isoformat()
            server.post_alerts([alert])
        run.steps[scripts[number][0]].append(((before + time.monotonic()) / 2 - begin, step))
    _sleep_until(begin + END_S)
    return run


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _of_alertmanager(body: Any) -> Any:
    alerts = sorted(
        (a["status"], a["labels"]["alertname"], a["labels"]["exchange"], a["labels"].get("symbol", ""))
        for a in body["alerts"]
    )
    group = {"rule" if name == "alertname" else name: v for name, v in body["groupLabels"].items()}
    return body["status"], group, alerts


def _by_the_engine(folder: Path, script: Script, steps: Sequence[tuple[float, Step]]) -> list[Any]:
    """The script by a virtual clock, at the times at which Alertmanager got it."""
    second = timedelta(seconds=1)
    terms = GroupTerms(script.group_by, WAIT_S * second, INTERVAL_S * second, script.repeat_s * second)
    rules = [
        InhibitRule((Matcher("rule", "=", source),), (Matcher("rule", "=", target),))
        for (source,), (target,) in INHIBITIONS
    ]
    with AlertStore(folder / "monitors.db") as store:
        subscription = Subscription("hook", send_resolved=script.send_resolved, terms=terms)
        engine = AlertEngine(store, [subscription], rules)
        told: list[Any] = []
        firing: dict[tuple[str, str, str], Finding] = {}
        silences: dict[str, str] = {}
        names = sorted({(s.rule, s.exchange) for _, s in steps if isinstance(s, Fire)})
        runs = [RuleRun(RuleTerms(rule), exchange) for rule, exchange in names]

        def look_until(end: datetime) -> None:
            while (due := engine.next_due()) is not None and due <= end:
                told.extend(_of_the_engine(enqueued) for enqueued in engine.notify(due))
                dispatch(store.path, [Taker()], clock=lambda: due)

        for at, step in steps:
            now = EPOCH + at * second
            look_until(now)
            if isinstance(step, Mute):
                operator = "=~" if step.regex else "="
                made = engine.silence(
                    now, [Matcher("rule", operator, step.rule)], ends_at=now + step.lasts_s * second,
                    author="a test", comment="a test",
                )  # fmt: skip
                silences[step.rule] = made.id
            elif isinstance(step, Expire):
                engine.expire_silence(now, silences[step.rule])
            else:
                key = (step.rule, step.exchange, step.symbol)
                if isinstance(step, Resolve):
                    del firing[key]
                else:
                    labels = {"exchange": step.exchange} | ({"symbol": step.symbol} if step.symbol else {})
                    firing[key] = Finding(step.rule, labels, Severity.WARN, 1.0, "found")
                engine.observe(now, list(firing.values()), runs)
        look_until(EPOCH + END_S * second)
    return told


class Taker:
    """Takes everything at once, as Alertmanager's receiver does here."""

    name = "hook"
    deadline_s = 5.0

    def send(self, notification: Notification) -> None:
        pass


def _of_the_engine(enqueued: Any) -> Any:
    alerts = sorted(
        (a.state.value, a.finding.rule, a.exchange, a.finding.labels.get("symbol", ""))
        for a in enqueued.alerts
    )
    status = "firing" if any(alert[0] == "firing" for alert in alerts) else "resolved"
    return status, dict(enqueued.group), alerts


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_engine_tells_what_a_real_alertmanager_tells(real: Run, tmp_path: Path, name: str) -> None:
    script = SCRIPTS[name]
    assert _by_the_engine(tmp_path, script, real.steps[name]) == real.told[name]


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_is_resolved_under_a_silence_is_told_of_when_it_fires_again_unlike_alertmanager(
    real: Run, tmp_path: Path, name: str
) -> None:
    ours = _by_the_engine(tmp_path, DIFFERENT[name], real.steps[name])
    theirs = real.told[name]
    assert len(theirs) == 1, "Alertmanager takes it for told of until the repeat interval"
    assert ours[: len(theirs)] == theirs
    assert [status for status, *_ in ours] == ["firing", "firing"]
