"""Drift of a whole lake: from chains to scores, breaches, the alert, and the day's report."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_lake import SmallLake
from training_lake import sessions, training_lake

from catalog import datasets
from catalog.batches import behind
from catalog.calendar import SessionCalendar
from catalog.database import opened_database
from catalog.features import feature_names, feature_rows
from ingest.events import ChainUpdate
from lake.errors import MalformedInputError
from lake.session import Session
from lake.settings import Settings
from monitors.drift_grid import window_times
from monitors.drift_model import model_in_use
from monitors.drift_service import check_drift_now, daily_report, training_rows
from monitors.drift_told import drift_lines, drift_of
from monitors.rules import RuleSet, load_rules
from monitors.service import Service

DAYS = sessions(8)
CLEAN, SHIFTED = DAYS[6], DAYS[7]


def dearer(update: ChainUpdate) -> ChainUpdate:
    """On the last session, implied volatilities half as high again."""
    when: Any = update.event_time
    if not isinstance(when, datetime) or when.date() < SHIFTED:
        return update
    calls, puts = (
        [{**leg, "iv": leg["iv"] and leg["iv"] * 1.5} for leg in side] for side in (update.calls, update.puts)
    )
    return replace(update, calls=calls, puts=puts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    lake = training_lake(tmp_path_factory.mktemp("drift") / "lake", DAYS, change=dearer)
    lake.create("jan", tables=["option_chain", "ml_features"], first=DAYS[0], last=DAYS[5])
    return lake


@pytest.fixture
def settings(made: SmallLake, tmp_path: Path) -> Settings:
    """A copy of the lake, and a model on the first six sessions, as far as the monitors read one."""
    root = tmp_path / "lake"
    shutil.copytree(made.lake.root, root)
    with Session(made.lake) as session:
        names = feature_names(feature_rows(session, "NSE", dates=[DAYS[0]]))
    folder = tmp_path / "models" / "NSE" / "2026-01-12-0123456789ab"
    folder.mkdir(parents=True)
    info = {
        "exchange": "NSE", "model_version": folder.name, "created_at": "2026-01-13T00:00:00+00:00",
        "dataset": {"name": "jan", "content_digest": datasets.read(made.lake, "jan").content_digest},
        "symbols": ["NIFTY"], "features": [{"name": name} for name in names],
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")
    return Settings(
        root=root, models_dir=tmp_path / "models", reports_dir=tmp_path / "reports",
        alerts_log=tmp_path / "alerts.log",
    )  # fmt: skip


def end_of(calendar: SessionCalendar, day: date, window: int) -> datetime:
    session = calendar.session("NSE", day)
    assert session is not None
    return window_times(session, window)[1]


def test_a_clean_session_scores_and_a_shifted_one_is_a_breach_in_its_third_window(
    settings: Settings, calendar: SessionCalendar
) -> None:
    found = {}
    for day in (CLEAN, SHIFTED):
        for window in range(6, 13):
            at = end_of(calendar, day, window) + timedelta(minutes=1)
            check = check_drift_now(settings, calendar, "NSE", at)
            assert check is not None
            found[day, window] = {breach.feature for breach in check.breaches}
            # Once scored, a window is not looked at again.
            assert check_drift_now(settings, calendar, "NSE", at + timedelta(minutes=5)) is None

    assert all(not found[CLEAN, window] for window in range(6, 13))
    assert "atm_iv" not in found[SHIFTED, 7]
    assert "atm_iv" in found[SHIFTED, 8]
    assert not {"return_3m", "pcr_oi", "session_elapsed"} & found[SHIFTED, 12]

    told = drift_of(settings, calendar, "NSE", end_of(calendar, SHIFTED, 12), report=False)
    lines = list(drift_lines(told))
    assert any("atm_iv" in line for line in lines)
    assert all(len(line) <= 100 for line in lines)
    # And the catalog knows of every commit.
    with opened_database(settings.catalog) as engine:
        newest, followed = behind(settings.lake, engine)["drift_scores"]
    assert newest == followed > 0


def test_the_days_report_is_made_once_and_its_scores_are_kept(
    settings: Settings, calendar: SessionCalendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.evidently_report.LEAST_ROWS", 300)
    html = daily_report(settings, calendar, "NSE", SHIFTED)
    assert html is not None
    made_at = html.stat().st_mtime_ns

    assert daily_report(settings, calendar, "NSE", SHIFTED) == html
    assert html.stat().st_mtime_ns == made_at
    with Session(settings.lake) as session:
        rows = session.table(
            "SELECT feature, score, drifted FROM drift_scores"
            " WHERE method = 'evidently_wasserstein' AND date = $day",
            {"day": SHIFTED},
        ).to_pylist()
    scores = {row["feature"]: row["score"] for row in rows}
    assert scores["atm_iv"] > 5
    # The clock of a session is the same every day.
    assert not {row["feature"] for row in rows if row["drifted"]} & {"minutes_to_close", "session_elapsed"}


def test_the_reference_is_that_of_the_dataset_and_no_other(settings: Settings) -> None:
    model = model_in_use(settings.models_dir, "NSE")
    rows = training_rows(settings, model)

    with Session(settings.lake) as session:
        assert rows.equals(feature_rows(session, "NSE", symbols=["NIFTY"], dates=DAYS[:6]))
    with pytest.raises(MalformedInputError, match="another one of that name"):
        training_rows(settings, replace(model, dataset_digest="0" * 32))


def test_a_check_scores_drift_by_itself_and_tells_of_it(
    settings: Settings, calendar: SessionCalendar, rules: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.evidently_report.LEAST_ROWS", 100)
    drift_rules = RuleSet({"feature_drift": rules.rules["feature_drift"]}, ("NSE",))
    for window in (6, 7, 8, 9, 10, 11, 12):
        now = end_of(calendar, SHIFTED, window) + timedelta(minutes=2)
        service = Service(settings, calendar, drift_rules, ("NSE",), clock=lambda now=now: now)
        done = service.check()

    firing = [alert.finding for alert in done.standing.firing]
    # And that nobody but the log is told, since no receiver is set up.
    assert [finding.rule for finding in firing] == ["feature_drift", "no_receiver"]
    assert "atm_iv" in firing[0].summary
    assert math.isfinite(firing[0].value or math.nan)
    # With a link to the report that was made when it fired.
    assert "drift-2026-01-14T" in json.dumps(firing[0].evidence, default=str)


def test_without_a_model_nothing_is_scored_and_nothing_fails(
    settings: Settings, calendar: SessionCalendar, tmp_path: Path
) -> None:
    without = settings.model_copy(update={"models_dir": tmp_path / "none"})

    assert check_drift_now(without, calendar, "NSE", end_of(calendar, CLEAN, 9)) is None
    assert daily_report(without, calendar, "NSE", CLEAN) is None
    assert check_drift_now(settings, calendar, "NSE", datetime(2026, 1, 11, 6, tzinfo=UTC)) is None
    assert load_rules().rules["feature_drift"].metric == "drifted_features"


def test_a_model_whose_dataset_is_gone_is_a_check_that_could_not_run(
    settings: Settings, calendar: SessionCalendar, rules: RuleSet
) -> None:
    shutil.rmtree(settings.lake.root / "datasets" / "jan")
    now = end_of(calendar, CLEAN, 9) + timedelta(minutes=2)
    drift_rules = RuleSet({"feature_drift": rules.rules["feature_drift"]}, ("NSE",))

    done = Service(settings, calendar, drift_rules, ("NSE",), clock=lambda: now).check()

    assert done.exit_code == 1
    assert any("drift of NSE could not be measured: no dataset 'jan'" in line for line in done.lines())
