"""Rules are read with a precise message and line, and a user's file changes single fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.exchanges import EXCHANGES
from lake.errors import SettingsError
from monitors.metrics import LAKE, METRICS
from monitors.rules import Measure, Phase, Policy, Severity, load_rules, runbook_sections

GOOD = """\
metric: feed_age_s
comparison: ">"
threshold: 10
severity: WARN
phase: open
summary: "old"
runbook: feed_stale
"""


def users(folder: Path, text: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def new_rule(text: str = GOOD, *, more: str = "", less: str = "") -> str:
    lines = [line for line in text.splitlines() if not less or not line.startswith(less)]
    return "rules:\n  mine:\n" + "".join(f"    {line}\n" for line in [*lines, *more.splitlines()])


def test_the_shipped_rules_are_valid_and_have_the_thresholds_of_the_team() -> None:
    rules = load_rules().rules
    expected = {
        "macro_availability": ("macro_availability_pct", "<", 90),
        "database_writes": ("database_write_success_rate", "<", 99),
        "errors_go_on": ("error_rate", ">", 0),
    }
    for name, (metric, comparison, threshold) in expected.items():
        rule = rules[name]
        assert (rule.metric, rule.comparison, rule.threshold) == (metric, comparison, threshold)
    assert rules["errors_go_on"].for_s == 2 * 3600
    assert rules["losing_fast"].measure is Measure.CHANGE
    assert len(rules) > 30
    assert all(rule.enabled for rule in rules.values())


def test_every_rule_knows_where_it_is_looked_at() -> None:
    for rule in load_rules().rules.values():
        metric = METRICS[rule.metric]
        if metric.everywhere:
            assert rule.exchanges == (*EXCHANGES, LAKE)
        else:
            assert rule.exchanges == ((LAKE,) if metric.of_lake else tuple(EXCHANGES))


def test_a_user_changes_a_single_field(tmp_path: Path) -> None:
    rules = load_rules(users(tmp_path, "rules:\n  memory_high:\n    threshold: 8000\n    for: 1h\n")).rules
    before = load_rules().rules
    changed = rules["memory_high"]
    assert (changed.threshold, changed.for_s) == (8000, 3600)
    assert changed.metric == before["memory_high"].metric
    assert {n: r for n, r in rules.items() if n != "memory_high"} == {
        n: r for n, r in before.items() if n != "memory_high"
    }


def test_a_user_turns_a_rule_off_and_adds_one(tmp_path: Path) -> None:
    text = new_rule(more="no_data: alert\nwarmup: 2m") + "  summary_missing:\n    enabled: false\n"
    found = load_rules(users(tmp_path, text))
    assert "summary_missing" not in {rule.name for rule in found.enabled}
    mine = found.rules["mine"]
    assert (mine.severity, mine.phase, mine.no_data) == (Severity.WARN, Phase.OPEN, Policy.ALERT)
    assert mine.warmup_s == 120
    assert mine.origin == f"{tmp_path / 'rules.yaml'}:2"


def test_only_watched_exchanges_have_rules(tmp_path: Path) -> None:
    found = load_rules(users(tmp_path, "exchanges: [NSE]\n"))
    assert found.exchanges == ("NSE",)
    assert found.rules["feed_stale"].exchanges == ("NSE",)
    assert found.rules["check_failed"].exchanges == ("NSE", LAKE)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert load_rules(users(tmp_path, text)) == load_rules()


def test_a_file_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    assert load_rules(tmp_path / "rules.yaml") == load_rules()


WRONG = {
    "a mapping that is none": ("rules: [1]\n", 1, "rules must be a mapping"),
    "a document that is a list": ("- a\n", 1, "the file must be a mapping"),
    "an unknown key at the top": ("exchanges: [NSE]\nrule:\n  a: 1\n", 2, "'rule' is not known"),
    "no YAML": ("rules:\n  a: [1\n  b: 2\n", 3, "no valid YAML"),
    "a tab": ("rules:\n\tmine: 1\n", 2, "no valid YAML"),
    "a tag that makes an object": ("rules: !!python/object/apply:os.system [x]\n", 1, "must be a mapping"),
    "a rule twice": ("rules:\n  mine: {}\n  mine: {}\n", 3, "twice, first in line 2"),
    "a key that YAML takes for true": ("rules:\n  mine:\n    on: 1\n", 3, "quote it"),
    "a bad name": ("rules:\n  My Rule: {}\n", 2, "lower-case"),
    "an unknown field": (new_rule(more="treshold: 3"), 10, "the field 'treshold' is not known"),
    "a missing field": (new_rule(less="severity"), 2, "'severity' is missing"),
    "an unknown metric": (
        new_rule(less="metric", more="metric: feed_age"), 9,
        "'feed_age' is no metric; did you mean 'feed_age_s'",
    ),
    "a number that is text": (new_rule(less="threshold", more='threshold: "10"'), 9, "must be a number"),
    "a number that is none": (new_rule(less="threshold", more="threshold: .nan"), 9, "must be a number"),
    "a number that is true": (new_rule(less="threshold", more="threshold: yes"), 9, "must be a number"),
    "an unknown severity": (
        new_rule(less="severity", more="severity: warn"), 9, "'warn' is no severity; there are: INFO, WARN"
    ),
    "an unknown comparison": (new_rule(less="comparison", more='comparison: "=="'), 9, "is no comparison"),
    "a bad duration": (new_rule(more="for: 5"), 10, "'5' is no duration: write 90s"),
    "an endless duration": (new_rule(more="for: 99d"), 10, "longer than 31 days"),
    "an unknown exchange": (new_rule(more="exchanges: [NSX]"), 10, "'NSX' is not known"),
    "an exchange that is no list": (new_rule(more="exchanges: NSE"), 10, "must be a list"),
    "no exchange at all": ("exchanges: []\n", 1, "at least one"),
    "an unknown policy": (new_rule(more="no_data: ignore"), 10, "'ignore' is no policy"),
    "a section that is not there": (
        new_rule(less="runbook", more="runbook: stale_feed"), 9, "the runbook has no section 'stale_feed'"
    ),
    "a broken template": (new_rule(less="summary", more='summary: "{value"'), 9, "is no template"),
    "a template that reaches in": (
        new_rule(less="summary", more='summary: "{value.real}"'), 9, "is no plain name"
    ),
    "a change without hours": (new_rule(more="measure: change"), 10, "measure change needs 'over'"),
    "hours without a change": (new_rule(more="over: 1h"), 10, "has no use for 'over'"),
    "a history out of reach": (
        new_rule(more="measure: deviation\nsessions: 5\nmin_sessions: 10"), 12, "can never be reached"
    ),
    "too little history": (new_rule(more="measure: deviation\nmin_sessions: 1"), 11, "from 3 to 250"),
    "half a session": (new_rule(more="measure: deviation\nmin_sessions: 4.5"), 11, "whole number"),
    "a switch that is none": (new_rule(more="enabled: maybe"), 10, "must be true or false"),
    "muted by itself": (new_rule(more="inhibited_by: [mine]"), 10, "no other rule"),
    "muted by nobody": (new_rule(more="inhibited_by: [nobody]"), 10, "no other rule"),
    "the lake's metric of an exchange": (
        new_rule(less="metric", more="metric: disk_free_gb\nexchanges: [NSE]"), 10, "concerns no exchange"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, name: str) -> None:
    text, line, told = WRONG[name]
    path = users(tmp_path, text)
    with pytest.raises(SettingsError) as raised:
        load_rules(path)
    assert str(raised.value).startswith(f"{path}:{line}: "), str(raised.value)
    assert told in str(raised.value)
    assert str(raised.value).count(str(path)) == 1


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"rules\.yaml cannot be read"):
        load_rules(path)


def test_every_rule_has_a_section_and_every_section_a_rule() -> None:
    from monitors.rules import RUNBOOK

    text = RUNBOOK.read_text(encoding="utf-8")
    used = {rule.runbook for rule in load_rules().rules.values()}
    delivery = {"no_receiver", "receiver_failing", "notification_given_up"}
    assert set(runbook_sections()) == used | delivery
    assert text.count("\n## ") == len(runbook_sections())
