"""What Prometheus is told, held against what was measured, by its own tools and by a real server."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import call
from health_lake import NOW, HealthLake, at
from prometheus import Prometheus, prometheus, promtool, serving, wait_until
from prometheus_client.parser import text_string_to_metric_families

from catalog.calendar import SessionCalendar
from lake.app_queue import AppQueue
from lake.errors import SettingsError
from lake.spool import Queue
from monitors.alerting import tell
from monitors.alerts import Outcome
from monitors.check import Check
from monitors.metrics import METRICS
from monitors.prometheus import CONTENT_TYPE, Exposed, RuleState, Value, render
from monitors.prometheus_names import EXPORTED
from monitors.prometheus_rules import alert_name, alert_rules
from monitors.prometheus_state import OLD, exposition, observe
from monitors.rules import RuleSet, load_rules

Look = Callable[..., Check]
UTC_NOW = NOW.astimezone(UTC)
DASHBOARD = Path(__file__).parents[2] / "monitors" / "grafana" / "strikelake.json"
ODD = 'NIF"TY\\ 50\n<script>, x=1'


def series(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Values by name and labels, read by Prometheus' own client; each once."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def queue_of(app_id: str, told_ago_s: float = 0.5, *, runs: bool = True) -> AppQueue:
    told_us = int((UTC_NOW.timestamp() - told_ago_s) * 1e6)
    return AppQueue(app_id, runs, Queue(3, 9, 10_000, told_us))


def everything() -> Exposed:
    """Each metric once, with labels that need escaping."""
    values = [
        Value(one.name, "LAKE" if one.of_lake else "NSE", 7.0, dict.fromkeys(one.labels, ODD))
        for one in METRICS.values()
    ]
    rules = [RuleState("feed_stale", "NSE", "CRITICAL", outcome) for outcome in (Outcome.EVALUATED,)]
    return Exposed(
        UTC_NOW, values, {"NSE": UTC_NOW - timedelta(seconds=4)}, {"NSE": True}, {"NSE": 9.0},
        {"option_chain": UTC_NOW}, (), rules, [("feed", "BSE")], [queue_of("live"), queue_of("hung", 60)],
    )  # fmt: skip


@pytest.fixture
def told(sick: HealthLake, look: Look, rules: RuleSet) -> Callable[[], Check]:
    """A check whose alerts are kept, as the service makes it."""

    def check() -> Check:
        done = look(sick)
        tell(sick.settings, rules, done.judgements, done.now, clock=lambda: done.now)
        return done

    return check


def ours(server: Prometheus) -> set[tuple[str, str]]:
    """What fires, but for the disk: that is this machine's own."""
    return {one for one in server.firing() if "Disk" not in one[0]}


def test_every_metric_has_a_name_of_its_own_in_base_units() -> None:
    assert set(EXPORTED) == set(METRICS)
    names = [one.series for one in EXPORTED.values()]
    assert len(set(names)) == len(names)
    for one in EXPORTED.values():
        assert re.fullmatch(r"strikelake_[a-z][a-z_]*[a-z]", one.name)
        assert not re.search(r"_(s|pct|mb|gb|rate|hours?)(_|$)", one.series), one.series
    units = {name: one.series.rpartition("_")[2] for name, one in EXPORTED.items()}
    for name, metric in METRICS.items():
        expected = {
            "seconds": "seconds",
            "percent": "ratio",
            "fraction": "ratio",
            "MB": "bytes",
            "GB": "bytes",
        }
        assert units[name] == expected.get(metric.unit, units[name])


def test_promtool_finds_nothing_wrong_with_any_metric() -> None:
    done = promtool("check", "metrics", given=render(everything()))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_would_find_a_wrong_unit() -> None:
    text = render(everything()).replace(b"strikelake_feed_age_seconds", b"strikelake_feed_age_milliseconds")
    assert promtool("check", "metrics", given=text).returncode != 0


def test_values_are_in_the_units_of_their_names_and_labels_survive() -> None:
    found = series(render(everything()))
    assert found["strikelake_ltp_null_ratio", (("exchange", "NSE"),)] == pytest.approx(0.07)
    assert found["strikelake_disk_free_bytes", (("exchange", "LAKE"),)] == 7e9
    assert found["strikelake_tracker_memory_bytes", (("exchange", "NSE"),)] == 7e6
    assert found["strikelake_tracker_errors_per_second", (("exchange", "NSE"),)] == pytest.approx(7 / 3600)
    assert found["strikelake_dropped_rows_total", (("exchange", "NSE"),)] == 7
    assert found["strikelake_symbol_lag_seconds", (("exchange", "NSE"), ("symbol", ODD))] == 7


def test_what_is_not_known_has_no_line() -> None:
    assert render(Exposed(UTC_NOW)) == b""
    nan = Exposed(UTC_NOW, [Value("feed_age_s", "NSE", v) for v in (math.nan, math.inf)])
    assert series(render(nan)) == {}
    unknown = replace(everything(), rules=[RuleState("feed_stale", "NSE", "CRITICAL", Outcome.ERROR)])
    found = series(render(unknown))
    assert not [key for key in found if key[0] == "strikelake_alerts"]
    outcome = (("exchange", "NSE"), ("outcome", "error"), ("rule", "feed_stale"))
    assert found["strikelake_rule_outcome", outcome] == 1


def test_a_queue_is_told_while_its_app_is_heard() -> None:
    gone = AppQueue("old", runs=True, told=None)
    queues = [queue_of("live"), queue_of("hung", 60), queue_of("dead", runs=False), gone]
    told = {
        (name.removeprefix("strikelake_"), *(label for _, label in labels)): value
        for (name, labels), value in series(render(Exposed(UTC_NOW, queues=queues))).items()
    }
    assert told == {
        ("app_running", "live"): 1, ("app_running", "hung"): 1, ("app_running", "dead"): 0,
        ("app_running", "old"): 1,
        ("app_heard_age_seconds", "live"): 0.5, ("app_heard_age_seconds", "hung"): 60,
        ("queue_updates", "live"): 3, ("queue_highest_updates", "live"): 9,
        ("queue_capacity_updates", "live"): 10_000,
    }  # fmt: skip


def test_a_lake_is_told_as_its_check_measured_it(
    sick: HealthLake, calendar: SessionCalendar, rules: RuleSet, told: Callable[[], Check]
) -> None:
    sick.summary("NSE", macro_availability_pct=12.0)
    check = told()
    found = series(exposition(sick.settings, calendar, rules, now=NOW + timedelta(seconds=30)))
    live = {"feed_age_s", "disk_free_pct", "disk_free_gb", "monitor_quiet_s"}  # those go on
    compared = 0
    for sample in check.measured.samples:
        exported = EXPORTED[sample.metric]
        labels = tuple(sorted({"exchange": sample.exchange, **sample.labels}.items()))
        if sample.value is None:
            assert (exported.series, labels) not in found
        elif sample.metric not in live:
            assert found[exported.series, labels] == pytest.approx(sample.value * exported.scale)
            compared += 1
    assert compared > 50
    assert found["strikelake_feed_age_seconds", (("exchange", "NSE"),)] == 50
    assert found["strikelake_check_age_seconds", (("exchange", "NSE"),)] == 30
    assert found["strikelake_session_elapsed_seconds", (("exchange", "NSE"),)] == 2 * 3600 + 45 * 60 + 50
    firing = {dict(k[1])["rule"]: v for k, v in found.items()
              if k[0] == "strikelake_alerts" and dict(k[1])["state"] == "firing"}  # fmt: skip
    # Nobody is told here, and that is an alert of its own.
    assert {rule for rule, count in firing.items() if count} == {"macro_availability", "no_receiver"}
    assert len(firing) > 30


def test_what_a_check_found_long_ago_is_told_no_more_but_its_age_is(
    sick: HealthLake, calendar: SessionCalendar, rules: RuleSet, told: Callable[[], Check]
) -> None:
    told()
    found = series(exposition(sick.settings, calendar, rules, now=NOW + OLD + timedelta(seconds=1)))
    names = {name for name, _ in found}
    assert "strikelake_avg_confidence_ratio" not in names
    assert {"strikelake_check_age_seconds", "strikelake_feed_age_seconds"} <= names


def test_a_lake_that_is_not_there_tells_what_failed_and_makes_nothing(
    tmp_path: Path, calendar: SessionCalendar, rules: RuleSet
) -> None:
    made = HealthLake(tmp_path)
    found = series(exposition(made.settings, calendar, rules, now=NOW))
    failed = ("strikelake_scrape_probe_failed", (("exchange", "NSE"), ("probe", "feed")))
    assert found[failed] == 1
    assert not [name for name, _ in found if name.startswith("strikelake_feed")]
    assert not made.settings.root.exists()


def test_a_torn_table_is_told_and_what_was_measured_of_it_is_not_taken_for_now(
    sick: HealthLake, calendar: SessionCalendar, rules: RuleSet, told: Callable[[], Check]
) -> None:
    told()
    log = sick.settings.lake.path("option_chain") / "_delta_log"
    max(log.glob("*.json")).write_bytes(b"")
    exposed = observe(sick.settings, calendar, rules, now=NOW)
    assert exposed.failed
    assert not [value for value in exposed.values if value.metric == "feed_age_s"]


def test_the_commands_print_what_promtool_takes(
    sick: HealthLake, told: Callable[[], Check], tmp_path: Path
) -> None:
    told()
    root = ["--root", str(sick.settings.root), "monitors"]
    printed = call([*root, "metrics", "--prometheus"])
    assert printed.exit_code == 0
    assert promtool("check", "metrics", given=printed.stdout.encode()).returncode == 0
    file = tmp_path / "collector" / "strikelake.prom"
    done = call([*root, "metrics", "--prometheus", "--file", str(file)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert {name for name, _ in series(file.read_bytes())} == {
        name for name, _ in series(printed.stdout.encode())
    }
    assert [one.name for one in file.parent.iterdir()] == ["strikelake.prom"]
    with pytest.raises(SettingsError, match="prom only"):
        call([*root, "metrics", "--prometheus", "--file", "x.txt"])

    rule_file = tmp_path / "rules.yml"
    rule_file.write_text(call([*root, "rules", "--prometheus"]).stdout, encoding="utf-8")
    done_rules = promtool("check", "rules", rule_file)
    assert done_rules.returncode == 0, done_rules.stderr


def test_every_rule_that_is_on_has_its_alert_and_no_other(tmp_path: Path) -> None:
    users = tmp_path / "rules.yaml"
    users.write_text("exchanges: [NSE]\nrules:\n  memory_high: {enabled: false}\n", encoding="utf-8")
    rules = load_rules(users)
    document = yaml.safe_load(alert_rules(rules))
    made = document["groups"][0]["rules"]
    assert {one["alert"] for one in made} == {alert_name(rule.name) for rule in rules.enabled}
    assert alert_name("memory_high") not in {one["alert"] for one in made}
    for one in made:
        assert "BSE" not in one["expr"]
        assert one["annotations"]["runbook"].startswith("strikelake monitors runbook ")
    [stale] = [one for one in made if one["labels"]["rule"] == "macro_availability"]
    assert '_ratio{exchange=~"NSE"} < 0.9)' in stale["expr"]


@pytest.fixture
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def expressions(dashboard: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [expression.replace("$exchange", ".+") for expression in asked]


def known_names() -> set[str]:
    states = {f"strikelake_{name}" for name in ("alerts", "rule_outcome")}
    return {name for name, _ in series(render(everything()))} | states


def test_the_dashboard_asks_only_for_what_is_told(dashboard: dict[str, Any]) -> None:
    asked = {name for text in expressions(dashboard) for name in re.findall(r"strikelake_\w+", text)}
    assert asked
    assert asked <= known_names()


def test_the_dashboards_panels_do_not_lie_over_one_another(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) <= variables
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }  # fmt: skip
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"]
            assert panel["datasource"]["uid"] == "${datasource}"


def test_a_real_prometheus_reads_the_same_values_fires_the_same_alerts_and_knows_every_query(
    sick: HealthLake, calendar: SessionCalendar, rules: RuleSet, tmp_path: Path, dashboard: dict[str, Any],
    told: Callable[[], Check],
) -> None:  # fmt: skip
    # It looks at its own clock for nothing: values carry no times, so the lake's noon is now.
    text = {"now": exposition(sick.settings, calendar, rules, now=NOW)}
    rule_file = tmp_path / "rules.yml"
    rule_file.write_text(alert_rules(rules), encoding="utf-8")
    with (
        serving(lambda: text["now"], CONTENT_TYPE) as port,
        prometheus(tmp_path, scraped=port, rules=[rule_file]) as server,
    ):
        # The newest check was made at ten: that is the one thing wrong so far.
        wait_until(lambda: ours(server) == {("StrikelakeCheckOld", name) for name in ("NSE", "BSE")})

        sick.summary("NSE", macro_availability_pct=12.0, error_rate=30.0)
        done = told()
        text["now"] = exposition(sick.settings, calendar, rules, now=NOW)
        expected = {
            (alert_name(one.rule.name), one.labels["exchange"]) for one in done.alerting if not one.rule.for_s
        }
        assert expected == {(alert_name("macro_availability"), "NSE")}
        # What must last, like errors, does not fire yet.
        wait_until(lambda: ours(server) == expected)

        for (name, labels), value in series(text["now"]).items():
            selector = ",".join(f"{key}={json.dumps(label)}" for key, label in labels)
            [one] = server.query(f"{name}{{{selector}}}")
            assert float(one["value"][1]) == pytest.approx(value), name
        for expression in expressions(dashboard):
            server.query(expression)
        assert server.target_errors() == [""]
        assert server.rule_errors() == []


def test_a_feed_that_stands_still_fires_in_a_real_prometheus_as_it_does_here(
    sick: HealthLake, calendar: SessionCalendar, rules: RuleSet, tmp_path: Path, look: Look
) -> None:
    late = at(12, 20)
    expected = {
        (alert_name(one.rule.name), one.labels["exchange"])
        for one in look(sick, late).alerting
        if not one.rule.for_s
    }
    assert (alert_name("feed_stale"), "NSE") in expected
    text = exposition(sick.settings, calendar, rules, now=late)
    rule_file = tmp_path / "rules.yml"
    rule_file.write_text(alert_rules(rules), encoding="utf-8")
    with (
        serving(lambda: text, CONTENT_TYPE) as port,
        prometheus(tmp_path, scraped=port, rules=[rule_file]) as server,
    ):
        wait_until(
            lambda: ours(server) - {("StrikelakeCheckOld", "NSE"), ("StrikelakeCheckOld", "BSE")} == expected
        )
