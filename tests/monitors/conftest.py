"""Lakes for the monitors to look at: one in which everything is well, copied for each test that breaks it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from health_lake import NOW, PLENTY, HealthLake, build

from catalog.calendar import SessionCalendar
from monitors.check import Check, run_check
from monitors.rules import RuleSet, load_rules

Look = Callable[..., Check]


@pytest.fixture(scope="session")
def calendar() -> SessionCalendar:
    return SessionCalendar.load()


@pytest.fixture(scope="session")
def rules() -> RuleSet:
    return load_rules()


@pytest.fixture(scope="session")
def well(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    """A lake in which everything is well; tests only look at it."""
    return build(tmp_path_factory.mktemp("well"))


@pytest.fixture
def sick(well: HealthLake, tmp_path: Path) -> HealthLake:
    """A copy of it, to be broken."""
    folder = tmp_path / "sick lake"
    shutil.copytree(well.folder, folder)
    return HealthLake(folder)


@pytest.fixture(scope="session")
def look(calendar: SessionCalendar, rules: RuleSet) -> Look:
    """One check of a lake, as of a time, by default the lake's own noon."""

    def look_at(made: HealthLake, now: datetime = NOW, *, keep: bool = True, **given: object) -> Check:
        given = {"disk_usage": lambda _: PLENTY, "rule_set": rules, **given}
        return run_check(made.settings, calendar, now=now, keep=keep, **given)  # type: ignore[arg-type]

    return look_at
