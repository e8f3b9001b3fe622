"""The example of a live app: features as the lake knows them, a signal of them, recorded; or why none."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from signal_models import write_small_model
from training_lake import sessions

from catalog.features import feature_names, feature_rows
from catalog.reference import ReferenceData
from explain.rebuild import rebuild_signal
from explain.signals import SignalGenerator
from ingest.simulator import stream_days
from ingest.tap import StreamTap
from lake.session import Session
from lake.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_app.py"
CHAINS = 40
SOON = timedelta(seconds=30)


@pytest.fixture
def app() -> ModuleType:
    spec = importlib.util.spec_from_file_location("live_app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[StreamTap]:
    """Of an app that has offered forty minutes of chains."""
    tap = StreamTap(
        Settings(
            root=tmp_path / "lake", models_dir=tmp_path / "models", app_id="desk",
            raw_stream_flush_seconds=3600,
        )
    )  # fmt: skip
    updates = stream_days(
        sessions(1), ReferenceData.load(), seed=7, symbols=["NIFTY"], interval_s=60.0, strikes=5, expiries=2
    )
    try:
        for _, update in zip(range(CHAINS), updates, strict=False):
            tap.put(update)
        assert tap.flush()
        yield tap
    finally:
        tap.close()


def now_is(app: ModuleType, monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """The example asks for what is known now; here that is a moment of the simulated session."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return moment.astimezone(tz)

    monkeypatch.setattr(app, "datetime", Clock)


class Minutes(threading.Event):
    """So many minutes, each over at once; then the end."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        self._left -= 1
        return self._left < 0


def newest_chain(settings: Settings) -> datetime:
    with Session(settings.lake, live=True) as session:
        (row,) = session.table("SELECT max(event_time) AS newest FROM option_chain").to_pylist()
    newest: datetime = row["newest"]
    return newest


def write_model(settings: Settings) -> None:
    with Session(settings.lake, live=True) as session:
        names = feature_names(feature_rows(session, "NSE"))
    write_small_model(settings.models_dir, features=names)


def test_its_signal_is_the_models_and_is_recorded_and_made_again(
    app: ModuleType, tap: StreamTap, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tap.settings
    write_model(settings)
    newest = newest_chain(settings)
    now_is(app, monkeypatch, newest + SOON)

    app.make_signals(tap, Minutes(1))
    assert tap.close()

    rebuilt = rebuild_signal(settings.lake, settings.models_dir, "NSE", "NIFTY", newest + SOON)
    assert rebuilt.recorded is not None
    assert rebuilt.recorded["event_time"] == newest
    assert rebuilt.differences == ()
    assert rebuilt.signal.metadata["narrative"] in capsys.readouterr().out
    assert (
        rebuilt.signal.metadata["model_version"]
        == SignalGenerator(settings.models_dir / "NSE").info.model_version
    )


def test_without_a_model_it_says_so_and_goes_on(
    app: ModuleType, tap: StreamTap, capsys: pytest.CaptureFixture[str]
) -> None:
    app.make_signals(tap, Minutes(1))
    assert "no signals: no model of NSE" in capsys.readouterr().out
    with Session(tap.settings.lake, live=True) as session:
        assert session.table("SELECT count(*) AS n FROM signals").to_pylist() == [{"n": 0}]


def test_a_minute_without_features_is_told_and_the_next_one_is_asked_again(
    app: ModuleType, tap: StreamTap, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tap.settings)
    now_is(app, monkeypatch, newest_chain(tap.settings) - timedelta(days=1))
    app.make_signals(tap, Minutes(2))
    assert capsys.readouterr().out.count("no signal: ") == 2
