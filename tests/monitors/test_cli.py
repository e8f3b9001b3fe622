"""The commands, as a user calls them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from health_lake import NOW, HealthLake

from monitors.alerts import LAKE
from monitors.metrics import METRICS

AT_NOON = ["--now", NOW.isoformat()]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative settings, like the alert log's, are meant from here."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def monitors(made: HealthLake, *words: str) -> Any:
    return call(["--root", str(made.settings.root), "monitors", *words])


@pytest.fixture
def near(sick: HealthLake, monkeypatch: pytest.MonkeyPatch) -> HealthLake:
    """The broken lake's copy, with summaries and disk of a user who set the settings."""
    monkeypatch.setenv("STRIKELAKE_PHASE2_METRICS_DIR", str(sick.settings.phase2_metrics_dir))
    monkeypatch.setenv("STRIKELAKE_MODELS_DIR", str(sick.settings.models_dir))
    (sick.settings.root / "rules.yaml").write_text(
        # The disk is the machine's own.
        "rules:\n  disk_low: {enabled: false}\n  disk_full: {enabled: false}\n",
        encoding="utf-8",
    )
    return sick


def test_a_look_at_a_lake_that_is_well_ends_with_0(near: HealthLake) -> None:
    done = monitors(near, "check", *AT_NOON)
    assert done.exit_code == 0, done.stdout
    assert re.search(r"^\d+ fine, 0 firing, 0 pending, 0 not known", done.stdout)


def test_a_look_at_a_broken_lake_ends_with_3_and_names_rule_command_and_runbook(near: HealthLake) -> None:
    near.summary("NSE", macro_availability_pct=12.0)
    done = monitors(near, "check", *AT_NOON)
    assert done.exit_code == 3
    first, command, section = done.stdout.splitlines()[:3]
    assert first == "WARN     NSE macro_availability: macro data was there for 12.0 % of the updates"
    assert command.strip().startswith("see:     strikelake --root ")
    assert section.strip() == "runbook: strikelake monitors runbook macro_availability"


def test_the_json_has_everything(near: HealthLake) -> None:
    near.summary("NSE", macro_availability_pct=12.0)
    done = monitors(near, "check", *AT_NOON, "--output", "json")
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.exit_code == 3
    (alert,) = document["alerts"]
    assert (alert["rule"], alert["state"], alert["value"]) == ("macro_availability", "firing", 12.0)
    assert {"command", "values", "batch_ids", "table_versions", "threshold"} <= alert["evidence"].keys()
    assert document["outcomes"]["error"] == 0
    assert set(document["exchanges"]) == {"NSE", "BSE", LAKE}


def test_only_the_exchange_that_was_named_is_looked_at(near: HealthLake) -> None:
    near.summary("NSE", macro_availability_pct=12.0)
    assert monitors(near, "check", "--exchange", "BSE", *AT_NOON).exit_code == 0
    assert monitors(near, "check", "--exchange", "NSE", *AT_NOON).exit_code == 3


def test_what_cannot_be_checked_ends_with_1(near: HealthLake) -> None:
    (near.settings.root / "catalog.db").write_bytes(b"no database at all" * 100)
    done = monitors(near, "check", *AT_NOON)
    assert done.exit_code == 1
    assert "NOT KNOWN LAKE registry:" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check", "--exchange", "NSX"], "--exchange NSX: it is not watched"),
        (["check", "--now", "noon"], "--now 'noon' is no time"),
        (["check", "--every", "soon"], "--every 'soon' is no duration"),
        (["runbook", "nothing"], "the runbook has no section 'nothing'"),
        (["silence", "rule=x", "--by", "me"], "a silence needs the comment"),
        (["ack", "0000"], "no pending or firing alert"),
        (["test-receivers", "--receiver", "pigeon"], "there is none of that name"),
        (["schedule", "--print", "cron", "--every", "7m"], "divisor of 60"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_user_gets_wrong_is_told(near: HealthLake, words: list[str], told: str) -> None:
    from lake.errors import StrikelakeError

    with pytest.raises(StrikelakeError, match=re.escape(told)):
        monitors(near, *words)


def test_a_mistake_in_the_rules_is_told_with_its_line(near: HealthLake) -> None:
    from lake.errors import SettingsError

    (near.settings.root / "rules.yaml").write_text("rules:\n  memory_high:\n    treshold: 1\n", "utf-8")
    with pytest.raises(SettingsError, match=r"rules\.yaml:3: rule memory_high: the field 'treshold'"):
        monitors(near, "check")


def test_the_rules_in_force_are_listed_with_the_user_s_changes(near: HealthLake) -> None:
    rows = json.loads(monitors(near, "rules", "--output", "json").stdout)
    by_name = {row["rule"]: row for row in rows}
    assert by_name["disk_low"]["enabled"] is False
    assert by_name["feed_stale"]["breach"] == "> 480"
    assert by_name["feed_stale"]["severity"] == "CRITICAL"


def test_every_metric_is_listed_with_its_unit(near: HealthLake) -> None:
    rows = json.loads(monitors(near, "metrics", "--output", "json").stdout)
    assert {row["metric"] for row in rows} == set(METRICS)
    assert all(row["unit"] and row["about"] for row in rows)


def test_a_check_can_be_seen_silenced_and_acknowledged(
    near: HealthLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its model has no dataset, so that drift could not be measured in the hours of a session.
    monkeypatch.setenv("STRIKELAKE_MODELS_DIR", str(tmp_path / "no models"))
    assert monitors(near, "check").exit_code in {0, 3}
    # Now is not the lake's day: whatever the calendar says of it, this much must hold always.
    (near.settings.root / "catalog.db").write_bytes(b"no database at all" * 100)
    assert monitors(near, "check").exit_code == 1
    rows = json.loads(monitors(near, "alerts", "--output", "json").stdout)
    failed = next(row for row in rows if row["rule"] == "check_failed" and row["exchange"] == LAKE)
    assert (failed["state"], failed["severity"], failed["muted"]) == ("firing", "CRITICAL", "")
    assert monitors(near, "alerts").exit_code == 3
    told = monitors(near, "ack", failed["fingerprint"][:8], "--by", "me", "--why", "mending it")
    assert "seen by me" in told.stdout
    made = monitors(near, "silence", "rule=check_failed", "--for", "2h", "--why", "moving", "--by", "me")
    assert made.exit_code == 0
    (silence,) = json.loads(monitors(near, "silence", "--output", "json").stdout)
    assert silence["matchers"] == 'rule="check_failed"'
    rows = json.loads(monitors(near, "alerts", "--output", "json").stdout)
    failed = next(row for row in rows if row["fingerprint"] == failed["fingerprint"])
    assert failed["muted"] == f"silence {silence['id']}"
    assert failed["acknowledged"] == "me: mending it"
    assert monitors(near, "silence", "--end", silence["id"]).exit_code == 0
    assert json.loads(monitors(near, "silence", "--output", "json").stdout) == []
    assert "check_failed" in Path("logs/alerts.log").read_text("utf-8")


def test_receivers_are_tried(near: HealthLake) -> None:
    rows = json.loads(monitors(near, "test-receivers", "--output", "json").stdout)
    assert rows == [{"receiver": "log", "taken": True, "why": ""}]
    assert "receiver_test" in Path("logs/alerts.log").read_text("utf-8")


def test_one_run_checks_once(near: HealthLake) -> None:
    done = monitors(near, "run", "--once")
    assert done.exit_code == 0
    assert re.search(r"\d+ fine", done.stdout)


def test_the_watch_of_a_lake_that_is_not_watched_yet_is_fine(near: HealthLake) -> None:
    assert monitors(near, "watch").exit_code == 0


@pytest.mark.parametrize("scheduler", ["cron", "systemd", "windows"])
def test_the_schedule_is_printed_and_nothing_else(near: HealthLake, scheduler: str) -> None:
    done = monitors(near, "schedule", "--print", scheduler, "--every", "10m")
    assert done.exit_code == 0
    assert str(near.settings.root) in done.stdout
    assert "10m" in done.stdout


def test_a_time_without_an_offset_is_exchange_local(near: HealthLake) -> None:
    near.summary("NSE", macro_availability_pct=12.0)
    local = (NOW + timedelta(0)).replace(tzinfo=None).isoformat()
    assert monitors(near, "check", "--now", local).exit_code == 3
