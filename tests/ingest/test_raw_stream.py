"""The drop-in for trackers: off by default, started by one call or by the first update, never in the way."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingest import raw_stream
from ingest.raw_stream import enqueue_raw_stream_event, start_raw_stream, stop_raw_stream
from ingest.tap import StreamTap

HANDLER = {"symbol": "NIFTY", "expiry": "2026-12-29"}


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No tap before and after, and the settings of this test's lake in the environment."""
    for name in ("ENABLE_RAW_STREAM", "STRIKELAKE_ENABLE_RAW_STREAM_CAPTURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRIKELAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("RAW_STREAM_FLUSH_SECONDS", "3600")
    stop_raw_stream()
    yield
    stop_raw_stream()


def test_capturing_is_off_by_default_and_says_so_once(lake: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        taken = [enqueue_raw_stream_event("NSE", lake.legs(1, 1), [], HANDLER, None) for _ in range(5)]
    assert taken == [False] * 5
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "ENABLE_RAW_STREAM=true" in caplog.text
    assert not lake.settings.root.exists()
    assert start_raw_stream() is None


@pytest.mark.parametrize("name", ["ENABLE_RAW_STREAM", "STRIKELAKE_ENABLE_RAW_STREAM_CAPTURE"])
def test_the_environment_turns_capturing_on(lake: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    tap = start_raw_stream()
    assert tap is not None
    assert start_raw_stream() is tap
    assert enqueue_raw_stream_event("NSE", lake.legs(1, 2), [], HANDLER, {"rsi": 50.0})
    assert stop_raw_stream()
    assert lake.strikes() == [1.0, 2.0]
    assert lake.rows("ml_features")[0]["rsi"] == 50.0


def test_the_first_update_starts_the_tap_and_is_kept(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_RAW_STREAM", "1")
    for index in range(20):
        assert enqueue_raw_stream_event("NSE", lake.legs(index + 1, 1), [], HANDLER, None)
    assert stop_raw_stream()
    assert lake.strikes() == [float(i) for i in range(1, 21)]
    assert lake.totals()["committed"] == 20


def test_after_a_stop_it_can_be_started_again(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_RAW_STREAM", "1")
    for index in range(2):
        assert start_raw_stream() is not None
        assert enqueue_raw_stream_event("NSE", lake.legs(index + 1, 1), [], HANDLER, None)
        assert stop_raw_stream()
    assert lake.strikes() == [1.0, 2.0]


@pytest.mark.parametrize("as_mapping", [False, True])
def test_the_handlers_values_become_columns(
    lake: Any, monkeypatch: pytest.MonkeyPatch, *, as_mapping: bool
) -> None:
    monkeypatch.setenv("ENABLE_RAW_STREAM", "1")
    known = {"underlying": "Nifty 50", "expiry_date": "2026-12-29", "spot": 26_010.5, "india_vix": 13.5,
             "atm": 26_000, "pcr": 0.9, "lot_size": 75, "timestamp": "2025-11-20T11:30:00"}  # fmt: skip
    handler = known if as_mapping else SimpleNamespace(**known)
    assert start_raw_stream() is not None
    assert enqueue_raw_stream_event("NSE", lake.legs(26_000, 1), [], handler, None)
    assert stop_raw_stream()
    (row,) = lake.rows()
    names = ("symbol", "underlying_price", "vix", "atm_strike", "pcr", "lot_size")
    assert [row[name] for name in names] == ["NIFTY", 26_010.5, 13.5, 26_000.0, 0.9, 75]
    assert row["event_time"].isoformat() == "2025-11-20T06:00:00+00:00"
    assert row["expiry"].isoformat() == "2026-12-29"


def test_a_handler_that_raises_costs_only_its_values(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler:
        name = "NIFTY"
        expiry = "2026-12-29"

        def __getattr__(self, attribute: str) -> Any:
            raise RuntimeError(attribute)

    monkeypatch.setenv("ENABLE_RAW_STREAM", "1")
    assert enqueue_raw_stream_event("NSE", lake.legs(1, 1), [], Handler(), None)
    assert enqueue_raw_stream_event("NSE", lake.legs(2, 1), [], None, None)
    assert enqueue_raw_stream_event(None, object(), 5, Handler(), "features")  # type: ignore[arg-type]
    assert stop_raw_stream()
    (row,) = lake.rows()
    assert (row["strike"], row["symbol"], row["vix"]) == (1.0, "NIFTY", None)
    assert {each["reason"] for each in lake.rows("quarantine")} == {
        "bad_symbol",
        "unknown_exchange",
        "not_a_chain",
    }
    assert lake.totals()["difference"] == 0


def test_an_app_id_in_use_turns_capturing_off_and_raises_nothing(
    lake: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ENABLE_RAW_STREAM", "1")
    other = StreamTap(lake.settings)
    enqueue_raw_stream_event("NSE", lake.legs(1, 1), [], HANDLER, None)
    lake.wait(lambda: "cannot start" in caplog.text and raw_stream._tap is None, until="the start failed")
    assert not enqueue_raw_stream_event("NSE", lake.legs(2, 1), [], HANDLER, None)
    assert other.close()
    assert lake.rows() == []


def test_a_setting_that_is_not_valid_turns_capturing_off_and_raises_nothing(
    lake: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ENABLE_RAW_STREAM", "perhaps")
    assert not enqueue_raw_stream_event("NSE", lake.legs(1, 1), [], HANDLER, None)
    assert not enqueue_raw_stream_event("NSE", lake.legs(1, 1), [], HANDLER, None)
    assert caplog.text.count("cannot start") == 1


def test_a_short_script_that_never_starts_or_stops_anything_keeps_its_updates(
    lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
        from ingest.raw_stream import enqueue_raw_stream_event
        handler = {"symbol": "NIFTY", "expiry": "2026-12-29"}
        for i in range(1, 51):
            assert enqueue_raw_stream_event("NSE", [{"strike": i}], [], handler, None)
    """
    monkeypatch.setenv("ENABLE_RAW_STREAM", "1")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60,
                          capture_output=True, text=True)  # fmt: skip
    assert "Traceback" not in done.stderr
    assert lake.strikes() == [float(i) for i in range(1, 51)]


def test_handlers_of_one_type_but_other_keys_are_each_read(
    lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENABLE_RAW_STREAM", "1")
    assert enqueue_raw_stream_event("NSE", lake.legs(1, 1), [], HANDLER, None)
    other = {"underlying": "SENSEX", "expiry_date": "2026-12-31", "vix": 12.0}
    assert enqueue_raw_stream_event("BSE", lake.legs(2, 1), [], other, None)
    assert stop_raw_stream()
    got = sorted((row["strike"], row["symbol"], row["vix"]) for row in lake.rows())
    assert got == [(1.0, "NIFTY", None), (2.0, "SENSEX", 12.0)]


def test_two_handlers_of_one_class_are_each_read_whole_at_every_call(
    lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler:
        def __init__(self, symbol: str) -> None:
            self.symbol = symbol
            self.expiry = HANDLER["expiry"]

    monkeypatch.setenv("ENABLE_RAW_STREAM", "true")
    without, later = Handler("NIFTY"), Handler("BANKNIFTY")
    assert start_raw_stream(lake.but(enable_raw_stream_capture=True)) is not None
    enqueue_raw_stream_event("NSE", lake.legs(1, 1), [], without, None)
    enqueue_raw_stream_event("NSE", lake.legs(2, 1), [], later, None)
    later.vix = 13.5  # as trackers do, once its first tick came
    enqueue_raw_stream_event("NSE", lake.legs(3, 1), [], later, None)
    assert stop_raw_stream()
    assert {row["strike"]: row["vix"] for row in lake.rows()} == {1.0: None, 2.0: None, 3.0: 13.5}
