"""What is printed for the system's scheduler is what that scheduler takes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from lake.errors import SettingsError
from monitors.schedule import Job, Scheduler, schedule, unit_files

NAMESPACE = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
FIELD = re.compile(r"\*(/\d+)?|\d+")


def job(folder: Path = Path("/srv/my lake"), every: int = 5) -> Job:
    program = Path(sys.executable).parent / "strikelake"
    return Job(program, ("--root", str(folder / "100% data")), folder, timedelta(minutes=every))


def cron_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("every", [1, 5, 15, 60])
def test_a_crontab_has_five_fields_and_a_command_whose_percents_are_escaped(every: int) -> None:
    check, watch = cron_lines(schedule(job(every=every), Scheduler.CRON))
    for line in (check, watch):
        fields = line.split(None, 5)
        assert all(FIELD.fullmatch(field) for field in fields[:5])
        assert not re.search(r"(?<!\\)%", fields[5])
    words = shlex.split(check.split(None, 5)[5].replace(r"\%", "%"))
    assert words[:3] == ["cd", "/srv/my lake", "&&"]
    assert words[4:6] == ["--root", "/srv/my lake/100% data"]
    assert words[6:10] == ["monitors", "check", "--every", f"{every}m"]


@pytest.mark.skipif(shutil.which("crontab") is None, reason="there is no cron here")
def test_cron_takes_the_crontab(tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(schedule(job(), Scheduler.CRON), encoding="utf-8")
    done = subprocess.run(["crontab", "-T", str(file)], capture_output=True, text=True, check=False)
    if "invalid option" in done.stderr:
        pytest.skip("this crontab cannot only check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("every", [7, 50])
def test_cron_cannot_keep_every_time(every: int) -> None:
    with pytest.raises(SettingsError, match="divisor of 60"):
        schedule(job(every=every), Scheduler.CRON)


@pytest.mark.parametrize("every", [timedelta(seconds=90), timedelta(hours=2), timedelta(0)])
@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_time_that_no_scheduler_keeps_is_refused(scheduler: Scheduler, every: timedelta) -> None:
    with pytest.raises(SettingsError, match="whole minutes"):
        schedule(Job(Path("/x"), (), Path("/"), every), scheduler)


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_path_with_a_line_break_is_refused(scheduler: Scheduler) -> None:
    with pytest.raises(SettingsError, match="control character"):
        schedule(Job(Path("/x"), (), Path("/a\nb"), timedelta(minutes=5)), scheduler)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    folder = tmp_path / "my lake"
    folder.mkdir()
    files = unit_files(schedule(job(folder), Scheduler.SYSTEMD))
    assert sorted(files) == [
        "strikelake-check.service", "strikelake-check.timer", "strikelake-watch.service",
        "strikelake-watch.timer",
    ]  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in files)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "strikelake" in line]
    assert complaints == []


@pytest.mark.parametrize("watch", [False, True])
@pytest.mark.parametrize("every", [5, 60])
def test_the_task_is_well_formed_and_its_elements_are_in_the_order_of_the_schema(
    watch: bool, every: int
) -> None:
    text = schedule(job(every=every), Scheduler.WINDOWS, watch=watch)
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert root.tag == f"{{{NAMESPACE['t']}}}Task"
    assert [child.tag.rpartition("}")[2] for child in root] == [
        "RegistrationInfo", "Triggers", "Principals", "Settings", "Actions",
    ]  # fmt: skip
    trigger = root.find("t:Triggers/t:TimeTrigger", NAMESPACE)
    assert trigger is not None
    # triggerBaseType is a sequence, [MS-TSCH] 2.5.3.1; all the other types used here have their elements in
    # any order.
    assert [child.tag.rpartition("}")[2] for child in trigger] == ["Enabled", "StartBoundary", "Repetition"]
    interval = trigger.findtext("t:Repetition/t:Interval", namespaces=NAMESPACE)
    assert interval == ("PT15M" if watch else {5: "PT5M", 60: "PT1H"}[every])
    arguments = root.findtext("t:Actions/t:Exec/t:Arguments", namespaces=NAMESPACE) or ""
    assert '"/srv/my lake/100% data"' in arguments
    assert arguments.endswith("monitors watch" if watch else f"monitors check --every {every}m")
    assert root.findtext("t:Actions/t:Exec/t:WorkingDirectory", namespaces=NAMESPACE) == "/srv/my lake"
