"""A signal given live can be made again from the lake, to the last bit, whatever came in since."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from signal_models import write_small_model
from training_lake import sessions

from catalog import datasets
from catalog.database import open_database
from catalog.features import feature_names, feature_rows, features_at
from catalog.reference import ReferenceData
from catalog.upkeep import SPECS
from explain.rebuild import Rebuilt, newest_recorded, rebuild_signal, signal_lines
from explain.signals import Signal, SignalGenerator
from ingest.simulator import stream_days
from ingest.status import ledger
from ingest.tap import StreamTap
from lake.errors import NotEnoughDataError
from lake.maintenance import maintain
from lake.session import Session
from lake.settings import Settings

MINUTES = 60
ASKED_AT = 40
SOON = timedelta(seconds=30)
"""After a chain was received, and before the next one was."""


@dataclass
class LiveDay:
    """An hour of a live app that asked its model at the fortieth minute, and recorded what it said."""

    settings: Settings
    signal: Signal
    asked_at: datetime


def play(root: Path, models: Path, day: date) -> LiveDay:
    settings = Settings(root=root, models_dir=models, app_id="desk", raw_stream_flush_seconds=3600)
    updates = list(
        stream_days(
            [day], ReferenceData.load(), seed=7, symbols=["NIFTY"], interval_s=60.0, strikes=5, expiries=2
        )
    )[:MINUTES]
    tap = StreamTap(settings)
    signal, asked_at = None, updates[ASKED_AT].event_time
    try:
        for number, update in enumerate(updates):
            tap.put(update)
            if number == ASKED_AT:
                assert tap.flush()
                with Session(settings.lake, live=True) as session:
                    row = features_at(session, "NSE", "NIFTY", asked_at + SOON)
                    if not any((models / "NSE").glob("*/model.json")):
                        write_small_model(models, features=feature_names(feature_rows(session, "NSE")))
                generator = SignalGenerator(models / "NSE", allow_missing=True, max_age_days=10_000)
                signal = generator.generate_signal(row.values, event_time=row.event_time, symbol="NIFTY")
                assert tap.offer_signal(
                    "NSE", signal.to_record(), symbol="NIFTY", event_time=signal.event_time
                )
    finally:
        assert tap.close()
    assert signal is not None
    assert signal.event_time == asked_at
    return LiveDay(settings, signal, asked_at)


@pytest.fixture
def live(tmp_path: Path) -> LiveDay:
    return play(tmp_path / "lake", tmp_path / "models", sessions(1)[0])


def test_the_recorded_signal_is_made_again_to_the_last_bit(live: LiveDay, tmp_path: Path) -> None:
    rows = signals_of(live.settings)
    assert len(rows) == 1
    record = live.signal.to_record()
    assert {name: rows[0][name] for name in record} == record
    assert {row["table"]: row["committed"] for row in ledger(live.settings.lake)}["signals"] == 1

    rebuilt = again(live)

    assert rebuilt.differences == ()
    assert rebuilt.signal == live.signal
    assert "the same as recorded" in signal_lines(rebuilt)[-1]
    assert all(len(line) <= 80 for line in signal_lines(rebuilt))


def again(live: LiveDay, **options: Any) -> Rebuilt:
    """As of the moment at which the app asked."""
    settings, at = live.settings, live.asked_at + SOON
    return rebuild_signal(settings.lake, settings.models_dir, "NSE", "NIFTY", at, **options)


def signals_of(settings: Settings) -> list[dict[str, Any]]:
    with Session(settings.lake) as session:
        return session.table("SELECT * FROM signals").to_pylist()


def test_it_is_the_same_after_compaction_and_from_a_dataset(live: LiveDay, tmp_path: Path) -> None:
    before = again(live)
    later = datetime.now(live.asked_at.tzinfo) + timedelta(days=8)
    for done in maintain(live.settings.lake, SPECS, lambda _: True, now=later):
        assert not done.problems
    assert again(live) == before

    engine = open_database(live.settings.catalog)
    day = live.asked_at.date()
    made = datasets.create(
        live.settings.lake, engine, "said", tables=["signals"], first=day, last=day + timedelta(days=1)
    )
    assert datasets.replay_to_arrow(live.settings.lake, made).num_rows == 1
    assert datasets.verify(live.settings.lake, made).intact
    engine.dispose()


def test_another_model_or_another_record_is_told(live: LiveDay, tmp_path: Path) -> None:
    models = live.settings.models_dir
    names = SignalGenerator(models / "NSE").info.feature_names
    other = write_small_model(models, 5, features=names)
    # The record names its model, so a newer one changes nothing.
    assert again(live).differences == ()

    rebuilt = again(live, version=other.name)

    assert any(difference.startswith("model_version: recorded") for difference in rebuilt.differences)
    assert any(difference.startswith("probabilities") for difference in rebuilt.differences)
    lines = signal_lines(rebuilt)
    assert "NOT as recorded" in "\n".join(lines)
    assert all(len(line) <= 80 for line in lines)
    told = " ".join(" ".join(lines).split())
    assert all(" ".join(difference.split()[:3]) in told for difference in rebuilt.differences)


def test_the_context_of_a_recorded_signal_is_no_difference_but_of_depth(live: LiveDay) -> None:
    rebuilt = again(live, depth="context")
    assert len(rebuilt.differences) == 1
    assert rebuilt.differences[0].startswith("depth")


def test_a_record_that_breaks_the_contract_is_in_quarantine_with_its_reason(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path / "lake", app_id="desk")
    good = {
        "signal": "BUY", "confidence": 0.5, "probabilities": {"BUY": 0.5, "HOLD": 0.25, "SELL": 0.25},
        "model_version": "m",
    }  # fmt: skip
    bad: list[tuple[Any, str]] = [
        ({**good, "signal": "STRONG BUY"}, "contract"),
        ({**good, "confidence": 0.4}, "contract"),
        ({**good, "probabilities": {"BUY": 1.0}}, "contract"),
        ({**good, "mood": 1}, "unknown_field"),
        ({**good, "narrative": 5}, "bad_text"),
        (None, "bad_signal"),
    ]
    tap = StreamTap(settings)
    for record, _ in [(good, ""), *bad]:
        assert tap.offer_signal("NSE", record, symbol="NIFTY", event_time="2026-01-05T10:00:00+05:30")
    assert tap.close()

    with Session(settings.lake) as session:
        assert session.table("SELECT count(*) AS n FROM signals").to_pylist() == [{"n": 1}]
        rows = session.table('SELECT reason, "table" FROM quarantine').to_pylist()
    assert sorted(row["reason"] for row in rows) == sorted(reason for _, reason in bad)
    assert {row["table"] for row in rows} == {"signals"}
    (counts,) = [row for row in ledger(settings.lake) if row["table"] == "signals"]
    assert (counts["offered"], counts["committed"], counts["quarantined"]) == (7, 1, 6)


def test_the_command_compares_and_ends_with_3_where_something_differs(
    live: LiveDay,
) -> None:
    at = (live.asked_at + SOON).isoformat()
    call = ["explain", "signal", "NSE", "--symbol", "NIFTY", "--at", at]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        settings = live.settings
        environment = {**os.environ, "STRIKELAKE_MODELS_DIR": str(settings.models_dir), "PYTHONUTF8": "1"}
        command = [str(Path(sys.executable).with_name("strikelake")), "--root", str(settings.root)]
        return subprocess.run(
            [*command, *call, *more], env=environment, capture_output=True, text=True, encoding="utf-8",
            check=False,
        )  # fmt: skip

    same = run("--output", "json")
    told = json.loads(same.stdout)
    assert same.returncode == 0
    assert told["signal"] == live.signal.signal
    assert told["differences"] == []
    # Without exchange and symbol it is the one that was recorded last by then.
    call[2:5] = []
    assert json.loads(run("--output", "json").stdout)["metadata"] == told["metadata"]
    differs = run("--depth", "context")
    assert differs.returncode == 3
    assert "NOT as recorded" in differs.stdout


def test_a_time_before_the_first_signal_says_what_to_name(live: LiveDay) -> None:
    with pytest.raises(NotEnoughDataError, match="name EXCHANGE and --symbol"):
        newest_recorded(live.settings.lake, live.asked_at - timedelta(seconds=1))
    assert newest_recorded(live.settings.lake, live.asked_at) == ("NSE", "NIFTY", live.asked_at)
