"""Checks in their service: told once, kept, with a heartbeat, by the calendar, and watched themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from health_lake import INDIA, NOW, PLENTY, HealthLake, at, build, chain_rows
from pydantic import SecretStr

from catalog.calendar import SessionCalendar
from catalog.database import opened_database
from catalog.doctor import examine
from catalog.upkeep import finished_sessions, maintain_lake
from lake.errors import StreamInUseError, TableNotFoundError
from lake.process_lock import ProcessLock
from lake.session import Session
from lake.settings import Settings
from monitors.alerts import AlertState
from monitors.heartbeat import Heartbeat, beat, heartbeat_file, quiet_s, read_heartbeat
from monitors.rules import RuleSet
from monitors.service import Service


class Clock:
    """A clock that only moves when somebody sleeps, or is told to."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.woken: list[datetime] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.woken.append(self.now)


def settings_of(made: HealthLake, **more: Any) -> Settings:
    return Settings(
        **{
            "root": made.settings.root, "phase2_metrics_dir": made.settings.phase2_metrics_dir,
            "alerts_log": made.folder / "alerts.log", **more,
        }
    )  # fmt: skip


@pytest.fixture
def service(sick: HealthLake, calendar: SessionCalendar, rules: RuleSet) -> Service:
    clock = Clock(NOW)
    return Service(
        settings_of(sick), calendar, rules, disk_usage=lambda _: PLENTY, clock=clock, sleep=clock.sleep
    )


def logged(service: Service) -> list[dict[str, Any]]:
    file = service.settings.alerts_log
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def clock_of(service: Service) -> Clock:
    assert isinstance(service.clock, Clock)
    return service.clock


def test_a_check_of_a_lake_that_is_well_ends_with_0_and_leaves_a_heartbeat(service: Service) -> None:
    done = service.check()
    assert done.exit_code == 0
    sign = read_heartbeat(service.settings.root)
    assert sign is not None
    assert (sign.at, sign.next_by, sign.exit_code) == (
        NOW.astimezone(UTC), (NOW + timedelta(minutes=15)).astimezone(UTC), 0
    )  # fmt: skip
    assert logged(service) == []


def test_what_fires_is_told_once_and_its_end_as_well(service: Service, sick: HealthLake) -> None:
    sick.summary("NSE", macro_availability_pct=50.0)
    clock = clock_of(service)
    first = service.check()
    assert first.exit_code == 3
    assert {one.finding.rule for one in first.standing.firing} == {"macro_availability", "no_receiver"}
    for _ in range(3):
        clock.sleep(60)
        service.check()
    told = [row for row in logged(service) if row["rule"] == "macro_availability"]
    assert [row["status"] for row in told] == ["firing"]
    sick.summary("NSE")
    clock.sleep(60)
    assert service.check().exit_code == 0
    clock.sleep(60)
    service.check()
    told = [row for row in logged(service) if row["rule"] == "macro_availability"]
    assert [row["status"] for row in told] == ["firing", "resolved"]


def test_a_breach_that_must_last_is_pending_first(service: Service, sick: HealthLake) -> None:
    sick.summary("NSE", memory_usage_mb=9_000)
    clock = clock_of(service)
    done = service.check()
    assert done.exit_code == 0
    assert [one.finding.rule for one in done.standing.pending] == ["memory_high"]
    clock.sleep(601)
    sick.summary("NSE", memory_usage_mb=9_000)
    assert "memory_high" in {one.finding.rule for one in service.check().standing.firing}


def test_what_follows_from_another_is_muted(service: Service) -> None:
    clock_of(service).now = at(12, 25)
    done = service.check()
    rules = {one.finding.rule: one for one in done.standing.firing if one.exchange == "NSE"}
    assert {"feed_stale", "summary_old"} <= set(rules)
    assert all(row["rule"] != "signals_few" for row in logged(service))


def test_an_alert_carries_its_evidence_and_what_to_do(service: Service, sick: HealthLake) -> None:
    sick.summary("NSE", macro_availability_pct=50.0)
    (found,) = [
        one.finding for one in service.check().standing.firing if one.finding.rule == "macro_availability"
    ]
    assert found.evidence["value"] == 50.0
    assert found.evidence["table_versions"] == {"health_metrics": 2}
    assert found.evidence["command"].startswith("strikelake --root ")
    assert "macro data fails" in found.evidence["what_to_do"]
    assert json.dumps(dict(found.evidence))


def test_a_look_tells_nobody_and_keeps_nothing(service: Service, sick: HealthLake) -> None:
    sick.summary("NSE", macro_availability_pct=50.0)
    before = sorted(str(path) for path in sick.folder.rglob("*"))
    done = service.look()
    assert done.exit_code == 3
    assert sorted(str(path) for path in sick.folder.rglob("*")) == before


def test_what_could_not_be_checked_is_1_even_where_something_fires(
    service: Service, sick: HealthLake
) -> None:
    sick.summary("NSE", macro_availability_pct=50.0)
    (sick.settings.root / "catalog.db").write_bytes(b"no database at all" * 100)
    done = service.check()
    assert done.exit_code == 1
    assert {"macro_availability", "check_failed"} <= {one.finding.rule for one in done.standing.firing}


def test_measurements_that_cannot_be_kept_do_not_keep_alerts_from_being_told(
    service: Service, sick: HealthLake
) -> None:
    sick.summary("NSE", macro_availability_pct=50.0)
    table = sick.settings.root / "derived" / "health_metrics"
    table.rename(sick.folder / "gone")
    table.write_text("a file where a folder should be", encoding="utf-8")
    done = service.check()
    assert done.exit_code == 1
    assert any("could not be kept" in problem for problem in done.check.problems)
    assert "macro_availability" in {row["rule"] for row in logged(service)}


def test_a_folder_that_is_not_there_is_not_made(
    tmp_path: Path, calendar: SessionCalendar, rules: RuleSet
) -> None:
    service = Service(Settings(root=tmp_path / "nowhere"), calendar, rules)
    with pytest.raises(TableNotFoundError, match="nobody told"):
        service.check()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_lake_is_told_of_and_made_none(service: Service, sick: HealthLake) -> None:
    for name in ("raw_stream", "derived"):
        (sick.settings.root / name).rename(sick.folder / name)
    assert service.check().exit_code == 1
    assert "check_failed" in {row["rule"] for row in logged(service)}
    assert not sick.settings.lake.exists()


def test_a_feed_that_stops_and_comes_back_is_told_when_and_as_often_as_it_should(
    tmp_path: Path, calendar: SessionCalendar, rules: RuleSet
) -> None:
    rows = chain_rows(until=at(13, 15))
    made = build(
        tmp_path, change=lambda _: [row for row in rows if not at(11, 50) < row["event_time"] < at(12, 20)]
    )
    clock = Clock(at(11, 45))
    service = Service(
        settings_of(made), calendar, rules, disk_usage=lambda _: PLENTY, clock=clock, sleep=clock.sleep
    )
    lines = service.run()
    while clock.now < at(13, 10):
        next(lines)
    told = [
        (row["rule"], row["exchange"], row["status"], row["time"][:16])
        for row in logged(service)
        if row["rule"].startswith("feed")
    ]
    # UTC: five and a half hours before. Both exchanges stop; a check every five minutes sees it at 12:00.
    for exchange in ("NSE", "BSE"):
        assert [row for row in told if row[1] == exchange] == [
            ("feed_stale", exchange, "firing", "2026-10-26T06:30"),
            ("feed_stale", exchange, "resolved", "2026-10-26T06:50"),
            ("feed_paused", exchange, "firing", "2026-10-26T06:50"),
            ("feed_paused", exchange, "resolved", "2026-10-26T07:20"),
        ]


def test_two_checks_at_once_are_refused(service: Service) -> None:
    lock = ProcessLock(service.settings.root / "monitors" / "check.lock", role="check")
    try:
        with pytest.raises(StreamInUseError, match="health check of this lake"):
            service.check()
    finally:
        lock.release()
    assert service.check().exit_code == 0


def test_it_checks_by_the_calendar_and_sums_the_day_up(service: Service) -> None:
    clock = clock_of(service)
    clock.now = at(15, 29)
    lines = service.run()
    told: list[str] = []
    while clock.now < at(18, 0):
        told.append(next(lines))
    assert clock.woken[:4] == [at(15, 34), at(15, 39), at(15, 44), at(15, 55)]
    assert all(
        later - earlier <= timedelta(hours=1)
        for earlier, later in zip(clock.woken[3:], clock.woken[4:], strict=False)
    )
    for exchange in ("NSE", "BSE"):
        file = service.settings.root / "monitors" / "daily" / f"2026-10-26_{exchange}.json"
        document = json.loads(file.read_text("utf-8"))
        assert document["checks"] >= 4
        assert {"feed_age_s", "total_signals"} <= {row["metric"] for row in document["metrics"]}
        assert len([line for line in told if line.startswith(f"{exchange} 2026-10-26")]) == 1


def test_it_goes_on_when_a_check_fails(service: Service) -> None:
    lock = ProcessLock(service.settings.root / "monitors" / "check.lock", role="check")
    lines = service.run()
    try:
        assert "another process" in next(lines)
    finally:
        lock.release()
    assert any("fine" in line for line in islice(lines, 10))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (at(11, 0), at(11, 5)),
        (at(15, 39, 30), at(15, 44, 30)),
        (at(8, 0), at(9, 0)),
        (at(8, 30), at(9, 15)),
        (at(15, 45), at(15, 55)),
        (at(22, 0), at(23, 0)),
        (datetime(2026, 10, 25, 9, 0, tzinfo=INDIA), datetime(2026, 10, 25, 10, 0, tzinfo=INDIA)),
        (datetime(2025, 10, 21, 13, 30, tzinfo=INDIA), datetime(2025, 10, 21, 13, 45, tzinfo=INDIA)),
        (datetime(2025, 10, 21, 14, 0, tzinfo=INDIA), datetime(2025, 10, 21, 14, 5, tzinfo=INDIA)),
    ],
    ids=[
        "open", "close", "early", "before the open", "before the summary", "night", "sunday", "muhurat",
        "in it",
    ],
)  # fmt: skip
def test_the_next_check_is_due_by_the_calendar(service: Service, now: datetime, expected: datetime) -> None:
    clock_of(service).now = now
    assert service.next_check(now) == expected


def test_after_a_sleep_of_the_machine_missed_checks_are_not_made_up_for(service: Service) -> None:
    clock_of(service).now = at(14, 0)
    assert service.next_check(at(10, 0)) == at(14, 0)


SIGN = Heartbeat(at(10, 0), at(10, 15), 0)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (at(10, 10), 0), (at(10, 15), 0), (at(11, 0), 45 * 60), (at(15, 40), 325 * 60), (at(20, 0), 325 * 60),
        (at(9, 25) + timedelta(days=1), 325 * 60), (at(9, 35) + timedelta(days=1), 330 * 60),
    ],
)  # fmt: skip
def test_only_open_market_counts_as_quiet(calendar: SessionCalendar, now: datetime, expected: float) -> None:
    assert quiet_s(calendar, SIGN, now, ("NSE", "BSE")) == expected


def test_a_night_and_a_weekend_are_not_quiet(calendar: SessionCalendar) -> None:
    friday = Heartbeat(
        datetime(2026, 10, 23, 15, 38, tzinfo=INDIA), datetime(2026, 10, 23, 15, 53, tzinfo=INDIA), 0
    )
    assert quiet_s(calendar, friday, at(9, 29), ("NSE",)) == 0
    assert quiet_s(calendar, friday, at(9, 40), ("NSE",)) == 600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"at": 1}', b"\xff"])
def test_a_heartbeat_that_says_nothing_is_none(tmp_path: Path, content: bytes) -> None:
    file = heartbeat_file(tmp_path)
    file.parent.mkdir()
    file.write_bytes(content)
    assert read_heartbeat(tmp_path) is None


def test_the_watch_tells_when_the_monitor_has_gone_quiet(service: Service) -> None:
    beat(service.settings.root, Heartbeat(at(10, 0), at(10, 15), 0))
    done = service.watch()
    assert done.exit_code == 3
    assert "monitor_quiet" in {one.finding.rule for one in done.standing.firing}
    assert "monitor_quiet" in {row["rule"] for row in logged(service)}
    sign = read_heartbeat(service.settings.root)
    assert sign is not None
    assert sign.at == at(10, 0)


def test_the_watch_tells_when_the_writer_has_stopped(service: Service, sick: HealthLake) -> None:
    sick.spool("live").close()
    service.check()
    clock_of(service).sleep(150)
    assert "writer_stopped" in {one.finding.rule for one in service.watch().standing.firing}


@pytest.fixture
def watcher() -> Iterator[tuple[str, list[str]]]:
    """A watcher elsewhere: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(500 if "down" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not to stderr."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_watcher_elsewhere_is_asked_after_each_check(
    service: Service, sick: HealthLake, watcher: tuple[str, list[str]]
) -> None:
    address, asked = watcher
    service.settings = settings_of(sick, heartbeat_url=SecretStr(f"{address}/ping/secret-id"))
    assert service.check().exit_code == 0
    assert asked == ["/ping/secret-id"]


@pytest.mark.parametrize("path", ["/down/secret-id", None])
def test_a_watcher_that_does_not_answer_is_a_problem_and_its_address_stays_secret(
    service: Service, sick: HealthLake, watcher: tuple[str, list[str]], path: str | None
) -> None:
    address = f"{watcher[0]}{path}" if path else "http://127.0.0.1:9/secret-id"
    service.settings = settings_of(sick, heartbeat_url=SecretStr(address))
    done = service.check()
    told = "\n".join(done.lines())
    assert done.exit_code == 1
    assert "heartbeat_url" in told
    assert "secret-id" not in told + repr(service.settings)


def test_what_the_monitors_write_is_no_trouble_for_doctor_maintenance_and_registry(
    service: Service, sick: HealthLake, calendar: SessionCalendar
) -> None:
    for _ in range(20):
        service.check()
        clock_of(service).sleep(60)
    lake, url = sick.settings.lake, sick.settings.catalog
    later = datetime(2026, 10, 27, 6, 0, tzinfo=INDIA)
    maintain_lake(lake, calendar, now=later)
    with opened_database(url) as engine:
        from catalog.batches import sync

        sync(lake, engine)
    assert examine(lake, url, finished=finished_sessions(calendar, later)) == []
    with Session(lake) as session:
        found = session.table("SELECT count(DISTINCT event_time) AS n FROM health_metrics WHERE unit <> 'x'")
    assert found.to_pylist() == [{"n": 20}]
    names = {path.name for path in (sick.settings.root / "derived" / "health_metrics").glob("date=*")}
    assert f"date={date(2026, 10, 26)}" in names
    assert all(one.state is not AlertState.FIRING for one in service.check().standing.pending)


KILLED = """
import os, signal, sys
from pathlib import Path
import lake.append
from monitors.cli import app

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{where} = die
sys.argv[0] = "strikelake"
import lake.cli
lake.cli.app(["--root", sys.argv[1], "monitors", "check"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("where", ["lake.append._commit", "lake.append.sync_log"])
def test_a_check_that_is_killed_while_it_keeps_what_it_measured_leaves_nothing_behind(
    service: Service, sick: HealthLake, calendar: SessionCalendar, where: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(where=where), str(sick.settings.root)],
        check=False, capture_output=True, cwd=sick.folder,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    assert read_heartbeat(sick.settings.root) is None
    table = sick.settings.root / "derived" / "health_metrics"
    long_ago = time.time() - 3_600
    for file in table.rglob("*.parquet"):
        os.utime(file, (long_ago, long_ago))
    assert service.check().exit_code == 0
    clock_of(service).now = at(16, 0)
    list(service.run(once=True))
    finished = finished_sessions(calendar, NOW)
    findings = examine(sick.settings.lake, sick.settings.catalog, finished=finished)
    assert findings == []
