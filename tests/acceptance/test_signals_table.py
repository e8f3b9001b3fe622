"""The table `signals` is a table like the others: every command that takes a table takes it."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pyarrow.parquet as pq
import pytest

from ingest.tap import StreamTap
from lake.settings import Settings

DAY = "2026-01-05"
SIGNAL = {
    "signal": "SELL", "confidence": 0.625, "probabilities": {"BUY": 0.125, "HOLD": 0.25, "SELL": 0.625},
    "regime": {"vix": "high", "trend": None, "expiry": "near"}, "model_version": "m1", "dataset": "oct",
    "dataset_digest": "0" * 32, "depth": "exact", "narrative": "3m call OI +10.0% (for): SELL; \"62%\".",
    "top_features": [
        {"name": "vix", "value": 18.25, "z": 1.5, "magnitude": 0.5, "contribution": 0.25},
        {"name": "trend", "value": None, "z": None, "magnitude": 0.25, "contribution": -0.125},
    ],
}  # fmt: skip
MINUTES = range(15, 45)


@pytest.fixture
def signals(strikelake: Any) -> Any:
    """Thirty signals of one session, in three commits."""
    settings = Settings(root=strikelake.folder / "data", app_id="desk", raw_stream_flush_seconds=3600)
    tap = StreamTap(settings)
    for minute in MINUTES:
        assert tap.offer_signal("NSE", SIGNAL, symbol="NIFTY", event_time=f"{DAY}T10:{minute}:00+05:30")
        if minute % 10 == 4:
            assert tap.flush()
    assert tap.close()
    return strikelake


def count(strikelake: Any, *more: str) -> int:
    (row,) = strikelake.json("sql", "SELECT count(*) AS n FROM signals", *more)
    return int(row["n"])


def test_nested_columns_are_told_whole_in_every_form(signals: Any) -> None:
    told = ("signal", "probabilities", "regime", "top_features", "narrative")
    query = f"SELECT {', '.join(told)} FROM signals ORDER BY event_time LIMIT 1"
    expected = {name: SIGNAL[name] for name in told}
    assert signals.json("sql", query) == [expected]
    (row,) = csv.DictReader(io.StringIO(signals("sql", query, "--output", "csv").stdout))
    assert {name: json.loads(row[name]) for name in ("probabilities", "regime", "top_features")} == {
        name: SIGNAL[name] for name in ("probabilities", "regime", "top_features")
    }
    assert row["narrative"] == SIGNAL["narrative"]
    assert '"contribution": -0.125' in signals("sql", query).stdout
    taken = "SELECT probabilities.SELL AS sell, top_features[1].name AS first FROM signals LIMIT 1"
    assert signals.json("sql", taken) == [{"sell": 0.625, "first": "vix"}]


def test_the_catalog_and_the_ledger_know_it(signals: Any) -> None:
    (told,) = [row for row in signals.json("ingest", "status") if row["table"] == "signals"]
    assert (told["offered"], told["committed"], told["quarantined"], told["dropped"]) == (30, 30, 0, 0)
    batches = signals.json("catalog", "batches", "--table", "signals")
    assert sum(row["record_count"] for row in batches) == 30
    signals("catalog", "sync")
    signals("catalog", "rebuild")
    again = signals.json("catalog", "batches", "--table", "signals")
    assert [row["batch_id"] for row in again] == [row["batch_id"] for row in batches]
    signals("catalog", "verify")
    signals("catalog", "batches", "--quality")
    assert "STRUCT" in signals("catalog", "columns", "signals").stdout


def test_a_dataset_of_it_is_the_same_after_compaction(signals: Any) -> None:
    signals("dataset", "create", "said", "--table", "signals", "--from", DAY, "--to", DAY)
    signals("dataset", "verify", "said")
    history = signals.json("lake", "history", "signals")
    newest = max(int(row["version"]) for row in history)
    first = count(signals, "--at", "1")
    assert 0 < first < len(MINUTES)

    done = signals("lake", "maintain").stdout
    assert re.search(r"signals: \d+ compacted files?", done), done
    signals("lake", "doctor")
    signals("dataset", "verify", "said")

    assert count(signals, "--at", "1") == first
    assert count(signals, "--at", str(newest)) == count(signals) == len(MINUTES)
    signals("dataset", "replay", "said", "--to", "said.parquet")
    rows = pq.read_table(signals.folder / "said.parquet").to_pylist()
    assert len(rows) == 30
    assert all(row["top_features"] == SIGNAL["top_features"] for row in rows)
