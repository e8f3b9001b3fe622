"""Text for the system's scheduler: cron, systemd or the Windows Task Scheduler.

Each has two tasks: the check, every few minutes, and the watch, which tells when the check has gone quiet.
They run all day; `strikelake monitors check` itself knows from the session calendar what to look at when, so
that what must hold always is looked at in the night as well.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree as ET

from lake.errors import SettingsError
from lake.settings import Settings

_WATCH_MINUTES = 15

_TASK = "http://schemas.microsoft.com/windows/2004/02/mit/task"


class Scheduler(StrEnum):
    """What the text is for."""

    CRON = "cron"
    SYSTEMD = "systemd"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run.

    Attributes:
        program: Absolute path of `strikelake`.
        options: Options before the command, e.g. `--root`.
        folder: Folder to run it in: relative settings are meant from there.
        every: Time between two checks.
    """

    program: Path
    options: tuple[str, ...]
    folder: Path
    every: timedelta

    def words(self, *command: str) -> list[str]:
        """Program and arguments of a command."""
        return [str(self.program), *self.options, "monitors", *command]


def job_of(settings: Settings, every: timedelta) -> Job:
    """The check of this lake with the program that is running, from the folder it was called in.

    Raises:
        SettingsError: The program `strikelake` cannot be found.
    """
    beside = shutil.which("strikelake", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("strikelake")
    if program is None:
        raise SettingsError("there is no program strikelake on the PATH, or beside this Python")
    return Job(Path(program).absolute(), ("--root", str(settings.root.absolute())), Path.cwd(), every)


def schedule(job: Job, scheduler: Scheduler, *, watch: bool = False) -> str:
    """Text for the scheduler, ready to be saved; how to install it is said in comments.

    Args:
        job: What is to be run.
        scheduler: What the text is for.
        watch: For Windows, where each task is a document of its own: that of the watch, not of the check.

    Raises:
        SettingsError: The time between two checks is none that the scheduler can keep, or a path has a line
            break.
    """
    minutes, rest = divmod(int(job.every.total_seconds()), 60)
    if rest or not 1 <= minutes <= 60:
        raise SettingsError(f"--every {job.every}: schedulers take whole minutes, from 1m to 60m")
    texts = [str(job.program), str(job.folder), *job.options]
    if any(ord(char) < 32 for text in texts for char in text):
        raise SettingsError("a path with a control character cannot be scheduled")
    if scheduler is Scheduler.WINDOWS:
        return _windows(job, minutes, watch=watch)
    return _cron(job, minutes) if scheduler is Scheduler.CRON else _systemd(job, minutes)


def _cron(job: Job, minutes: int) -> str:
    if 60 % minutes:
        raise SettingsError(f"--every {minutes}m: cron needs a divisor of 60 minutes (5m, 10m, 15m ...)")
    every = "0" if minutes == 60 else f"*/{minutes}"
    # cron takes % for the end of the command.
    folder = shlex.quote(str(job.folder)).replace("%", r"\%")

    def line(when: str, command: Sequence[str]) -> str:
        text = shlex.join(command).replace("%", r"\%")
        return f"{when} * * * * cd {folder} && {text} >> monitors.log 2>&1"

    return "\n".join(
        [
            "# Save as a file and install it beside what you have: crontab -e",
            "# A check; it knows the sessions by itself. Exit 3 means that something fires, and is told.",
            line(every, job.words("check", "--every", f"{minutes}m")),
            "# The watch over the check.",
            line(f"*/{_WATCH_MINUTES}", job.words("watch")),
            "",
        ]
    )


def _systemd(job: Job, minutes: int) -> str:
    def unit(name: str, about: str, command: Sequence[str]) -> str:
        # Exit 3 is a finding, told by the monitors themselves: no failure of the unit.
        return "\n".join(
            [
                f"# ---- ~/.config/systemd/user/{name}.service",
                "[Unit]", f"Description={about}", "",
                "[Service]", "Type=oneshot", f"WorkingDirectory={_unit_text(str(job.folder))}",
                f"ExecStart={' '.join(_unit_word(word) for word in command)}", "SuccessExitStatus=3", "",
            ]
        )  # fmt: skip

    def timer(name: str, about: str, every: int) -> str:
        return "\n".join(
            [
                f"# ---- ~/.config/systemd/user/{name}.timer",
                "[Unit]", f"Description={about}", "",
                "[Timer]", "OnBootSec=1min", f"OnUnitActiveSec={every}min", "AccuracySec=1s", "",
                "[Install]", "WantedBy=timers.target", "",
            ]
        )  # fmt: skip

    check, watch = "strikelake health check", "strikelake watch over the health check"
    return "\n".join(
        [
            "# Four files; then: systemctl --user enable --now strikelake-check.timer strikelake-watch.timer",
            unit("strikelake-check", check, job.words("check", "--every", f"{minutes}m")),
            timer("strikelake-check", check, minutes),
            unit("strikelake-watch", watch, job.words("watch")),
            timer("strikelake-watch", watch, _WATCH_MINUTES),
        ]
    )


def unit_files(text: str) -> dict[str, str]:
    """The files of a text for systemd, by name."""
    files: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# ---- "):
            name = line.rpartition("/")[2]
            files[name] = []
        elif name:
            files[name].append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in files.items()}


def _unit_text(text: str) -> str:
    return text.replace("%", "%%")


def _unit_word(word: str) -> str:
    quoted = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{quoted}"'


def _windows(job: Job, minutes: int, *, watch: bool) -> str:
    """One task as an XML document of the Task Scheduler's schema, version 1.2."""
    name = "strikelake-watch" if watch else "strikelake-check"
    about = "strikelake watch over the health check" if watch else "strikelake health check"
    words = job.words("watch") if watch else job.words("check", "--every", f"{minutes}m")
    root = ET.Element("Task", {"version": "1.2", "xmlns": _TASK})
    ET.SubElement(ET.SubElement(root, "RegistrationInfo"), "Description").text = about
    trigger = ET.SubElement(ET.SubElement(root, "Triggers"), "TimeTrigger")
    # The order of the elements is that of triggerBaseType, [MS-TSCH] 2.5.3.1.
    ET.SubElement(trigger, "Enabled").text = "true"
    ET.SubElement(trigger, "StartBoundary").text = "2026-01-01T00:00:00"
    repetition = ET.SubElement(trigger, "Repetition")
    every = _WATCH_MINUTES if watch else minutes
    ET.SubElement(repetition, "Interval").text = "PT1H" if every == 60 else f"PT{every}M"
    ET.SubElement(repetition, "StopAtDurationEnd").text = "false"
    principal = ET.SubElement(ET.SubElement(root, "Principals"), "Principal", {"id": "Author"})
    ET.SubElement(principal, "LogonType").text = "InteractiveToken"
    ET.SubElement(principal, "RunLevel").text = "LeastPrivilege"
    settings = ET.SubElement(root, "Settings")
    for key, value in _WINDOWS_SETTINGS:
        ET.SubElement(settings, key).text = value
    action = ET.SubElement(ET.SubElement(root, "Actions", {"Context": "Author"}), "Exec")
    ET.SubElement(action, "Command").text = words[0]
    ET.SubElement(action, "Arguments").text = subprocess.list2cmdline(words[1:])
    ET.SubElement(action, "WorkingDirectory").text = str(job.folder)
    ET.indent(root)
    # No encoding is declared: shells write UTF-8 or UTF-16 with a mark, and a parser tells them apart.
    return (
        '<?xml version="1.0"?>\n'
        f"<!-- Save as {name}.xml, then: schtasks /Create /TN {name} /XML {name}.xml -->\n"
        f"{ET.tostring(root, encoding='unicode')}\n"
    )


_WINDOWS_SETTINGS = (
    ("MultipleInstancesPolicy", "IgnoreNew"),
    ("DisallowStartIfOnBatteries", "false"),
    ("StopIfGoingOnBatteries", "false"),
    ("StartWhenAvailable", "true"),
    ("Enabled", "true"),
    ("WakeToRun", "false"),
    ("ExecutionTimeLimit", "PT10M"),
    ("Priority", "7"),
)
